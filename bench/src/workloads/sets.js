import { needed } from "../exclusion.js";
import { unlessDurable, unlessFloor } from "./fitness.js";
import { namesOf } from "./names.js";
import { randomOf } from "./random.js";
import { runCycles } from "./run-cycles.js";

const SET = 3;

/**
 * Three locks at once that nobody else wants.
 *
 * @param {number} workers
 * @returns {import("./index.js").Workload}
 */
export const setsOfOwn = (workers) => ({
  ...SETS,
  name: `sets-x${workers}`,
  about: `${workers} workers in one process, each on its own ${SET} names at once`,
  async run(client, timing, { prefix }) {
    const names = Array.from({ length: workers }, (_, worker) => namesOf(`${prefix}-${worker}`, SET));
    return runSets(client, workers, timing, (worker) => names[worker]);
  },
});

/**
 * Three locks at once that others want too, each in an order of its own.
 *
 * @param {number} workers
 * @param {number} names
 * @returns {import("./index.js").Workload}
 */
export const setsInCommon = (workers, names) => ({
  ...SETS,
  name: `sets-hot-x${workers}`,
  about: `${workers} workers in one process, each time on any ${SET} of ${names} names at once`,
  async run(client, timing, { prefix }) {
    const all = namesOf(prefix, names);
    const randoms = Array.from({ length: workers }, (_, worker) => randomOf(worker));
    return runSets(client, workers, timing, (worker) => {
      /** @type {Set<number>} */
      const chosen = new Set();
      while (chosen.size < SET) chosen.add(Math.floor(randoms[worker]() * names));
      return Array.from(chosen, (at) => all[at]);
    });
  },
});

const SETS = {
  figures: [{ key: "cyclesPerSecond", title: "cycles/s" }],
  kind: /** @type {const} */ ("sets"),
  unfit: (/** @type {import("../peers/index.js").Peer} */ peer) =>
    unlessFloor(peer) ?? unlessDurable(peer) ?? (peer.hasSets ? undefined : "it takes one lock at a time"),
};

/**
 * @param {import("../peers/index.js").Client} client
 * @param {number} workers
 * @param {import("./index.js").Timing} timing
 * @param {(worker: number) => readonly string[]} next
 */
async function runSets(client, workers, timing, next) {
  const set = needed(client.set);
  const { cyclesPerSecond, violations, isUnfinished } = await runCycles({
    workers,
    timing,
    cycle: (worker, inside) => set(next(worker), inside.set),
  });
  return { figures: { cyclesPerSecond }, violations, isUnfinished };
}
