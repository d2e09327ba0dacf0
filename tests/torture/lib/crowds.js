// Crowds of sessions (crowd.js) over as many processes as it takes.
import { setTimeout } from "node:timers/promises";
import { clockMs, ROOT_KEY } from "./stage.js";

/** One process has no more than so many: it has file descriptors of its own, and one core. */
const A_PROCESS = 5_000;
const READY_MS = 600_000;

/**
 * So many sessions, all of which have what they came for when this resolves.
 * @param {import("./stage.js").Stage} stage
 * @param {{ url: string, service: string, count: number, first?: number, leaseMs?: number, holdsEach?: number, waitersEach?: number, wanted?: string }} given
 * @returns {Promise<import("./child.js").Child[]>}
 */
export async function crowd(stage, { count, first = 0, ...given }) {
  const processes = [];
  for (let from = 0; from < count; from += A_PROCESS) {
    const some = {
      ...given,
      apiKey: ROOT_KEY,
      first: first + from,
      count: Math.min(A_PROCESS, count - from),
    };
    processes.push(stage.script("crowd.js", some));
  }
  for (const endMs = clockMs() + READY_MS; ; ) {
    const are = await Promise.all(processes.map((each) => each.call("ready")));
    if (are.every((is) => is)) return processes;
    if (clockMs() > endMs) throw new Error("a crowd does not come");
    await setTimeout(50);
  }
}

/** @param {readonly import("./child.js").Child[]} processes */
export async function crowdState(processes) {
  const states = await Promise.all(processes.map((each) => each.call("state")));
  const sum = (/** @type {string} */ what) => states.reduce((all, state) => all + state[what], 0);
  return {
    granted: sum("granted"),
    queued: sum("queued"),
    served: sum("served"),
    troubled: sum("troubled"),
    troubles: states.flatMap(({ troubles }) => troubles),
  };
}
