/** Runs the workloads that measure LockDB by itself. */

import { ROUNDS } from "./measure.js";
import { tableOfFigures } from "./report.js";

/** Since the start of the program: what a quick run has not begun by then is left out. */
const QUICK_ENDS_MS = 45_000;
/** After that nothing is waited for any longer. */
const QUICK_GRACE_MS = 9_000;
/** How many a quick run measures at a time: mostly they wait for processes to start, and figures mean nothing then. */
const QUICK_LANES = 3;

/**
 * @typedef {import("./workloads/alone.js").Alone} Alone
 * @typedef {import("./report.js").Result & { said: readonly string[] }} AloneResult
 */

/**
 * @param {object} options
 * @param {readonly Alone[]} options.alone
 * @param {boolean} options.isQuick
 * @param {number | undefined} options.rounds
 * @param {(text: string) => void} options.progress
 * @param {(text: string) => void} options.say
 * @returns {Promise<AloneResult[]>}
 */
export async function measureAloneAll({ alone, isQuick, rounds = ROUNDS, progress, say }) {
  const measured = alone.map(resultOf);
  const left = [...alone.entries()];
  const lane = async () => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      const [at, workload] = next;
      if (isQuick && performance.now() > QUICK_ENDS_MS) continue;
      progress(workload.name);
      measured[at] = await measureAlone(workload, { isQuick, rounds });
    }
  };
  await Promise.all(Array.from({ length: isQuick ? QUICK_LANES : 1 }, lane));
  progress("");
  for (const [at, workload] of alone.entries()) say(`${tableOfAlone(workload, measured[at])}\n`);
  return measured;
}

/**
 * @param {Alone} workload
 * @param {import("./workloads/alone.js").Context} context
 */
async function measureAlone(workload, context) {
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  const late = new Promise((_, reject) => {
    if (!context.isQuick) return;
    // What it has started is ended when we end.
    const fail = () => reject(new Error("no result within a minute"));
    timer = setTimeout(fail, QUICK_ENDS_MS + QUICK_GRACE_MS - performance.now());
  });
  try {
    const measured = await Promise.race([workload.measure(context), late]);
    return { ...resultOf(workload), ...measured };
  } catch (error) {
    return { ...resultOf(workload), failures: [error instanceof Error ? error.message : String(error)] };
  } finally {
    clearTimeout(timer);
  }
}

/**
 * @param {Alone} workload
 * @returns {AloneResult}
 */
const resultOf = ({ name }) => ({ workload: name, peer: "lockdb", rounds: [], said: [], failures: [] });

/**
 * @param {Alone} workload
 * @param {AloneResult} result
 */
const tableOfAlone = (workload, result) =>
  [tableOfFigures(workload, result), ...result.said.map((line) => `  ${line}`)].join("\n");
