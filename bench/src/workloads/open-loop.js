import { setTimeout as sleep } from "node:timers/promises";
import { Exclusion } from "../exclusion.js";
import { percentile } from "../report.js";
import { unlessDurable } from "./fitness.js";
import { namesOf } from "./names.js";
import { runCycles } from "./run-cycles.js";

const LOAD = 0.5;
/** The part of the window in which the peak is measured. */
const PEAK_PART = 0.3;
/** So many are begun at once at most, when it is behind; then it looks what has come back. */
const BURST = 64;

/**
 * Requests that come when they come, and not when the last is done, at half of what the peer can do. A cycle counts from
 * when it was due: one that could not even be sent, since the process was busy, has waited all the same.
 *
 * @param {number} workers whose peak it is half of
 * @returns {import("./index.js").Workload}
 */
export const openLoop = (workers) => ({
  name: `open-x${workers}`,
  about: `cycles begun at a steady rate, half of the peer's own peak with ${workers} workers a moment before; each on its own name`,
  figures: [
    { key: "ms99", title: "p99, ms", digits: 2, isLessBetter: true },
    { key: "ms50", title: "p50, ms", digits: 2, isLessBetter: true },
    { key: "ms999", title: "p99.9, ms", digits: 2, isLessBetter: true },
    { key: "perSecond", title: "begun/s" },
  ],
  unfit: unlessDurable,
  async run(client, { warmUpMs, windowMs, isQuick }, { prefix }) {
    const names = namesOf(prefix, workers);
    const peak = await runCycles({
      workers,
      timing: { warmUpMs, windowMs: windowMs * PEAK_PART, isQuick },
      cycle: (worker, inside) => client.cycle(names[worker], inside.exclusive),
    });
    const forMs = windowMs * (1 - PEAK_PART);
    // One at least, however slow it is.
    const perSecond = Math.max(peak.cyclesPerSecond * LOAD, 1_000 / forMs);
    const { cyclesMs, violations } = await begin(client, { prefix, perSecond, forMs });
    return {
      figures: {
        ms99: percentile(cyclesMs, 99),
        ms50: percentile(cyclesMs, 50),
        ms999: percentile(cyclesMs, 99.9),
        perSecond: cyclesMs.length / (forMs / 1_000),
      },
      violations: peak.violations + violations,
      isUnfinished: peak.isUnfinished,
    };
  },
});

/**
 * @param {import("../peers/index.js").Client} client
 * @param {{ prefix: string, perSecond: number, forMs: number }} options
 */
async function begin(client, { prefix, perSecond, forMs }) {
  const exclusion = new Exclusion();
  /** @type {number[]} */
  const cyclesMs = [];
  /** @type {Promise<void>[]} */
  const underWay = [];
  /** @type {string[]} Those that nobody has, so that nobody waits for a name. */
  const free = [];
  let names = 0;
  const inside = async (/** @type {string} */ name) => {
    exclusion.enter(name);
    await null;
    exclusion.leave(name);
  };
  const cycle = async (/** @type {number} */ dueMs) => {
    const name = free.pop() ?? `${prefix}-open-${names++}`;
    await client.cycle(name, inside);
    cyclesMs.push(performance.now() - dueMs);
    free.push(name);
  };

  const startMs = performance.now();
  const count = Math.max(1, Math.floor((perSecond * forMs) / 1_000));
  for (let begun = 0; begun < count; ) {
    const nowMs = performance.now();
    const dueMs = startMs + (begun / perSecond) * 1_000;
    if (dueMs <= nowMs) {
      underWay.push(cycle(dueMs));
      begun += 1;
      if (begun % BURST === 0) await new Promise(setImmediate);
    } else if (dueMs - nowMs > 2) {
      await sleep(dueMs - nowMs - 1); // A timer is late by up to a millisecond.
    } else {
      await new Promise(setImmediate);
    }
  }
  await Promise.all(underWay);
  return { cyclesMs, violations: exclusion.violations };
}
