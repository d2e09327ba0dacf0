import { needed } from "../exclusion.js";
import { unlessDurable, unlessFloor } from "./fitness.js";
import { namesOf } from "./names.js";
import { randomOf } from "./random.js";
import { runCycles } from "./run-cycles.js";

const SHARED_PART = 0.95;

/**
 * Many readers and few writers on few names.
 *
 * @param {number} workers
 * @param {number} names
 * @returns {import("./index.js").Workload}
 */
export const readMostly = (workers, names) => ({
  name: `shared-x${workers}`,
  about: `${workers} workers in one process on ${names} names, ${SHARED_PART * 100} % of their cycles shared`,
  figures: [{ key: "cyclesPerSecond", title: "cycles/s" }],
  kind: "shared",
  unfit: (peer) =>
    unlessFloor(peer) ?? unlessDurable(peer) ?? (peer.hasShared ? undefined : "it has no shared locks"),
  async run(client, timing, { prefix }) {
    const shared = needed(client.shared);
    const all = namesOf(prefix, names);
    const randoms = Array.from({ length: workers }, (_, worker) => randomOf(worker));
    const { cyclesPerSecond, violations, isUnfinished } = await runCycles({
      workers,
      timing,
      cycle(worker, inside) {
        const random = randoms[worker];
        const name = all[Math.floor(random() * names)];
        return random() < SHARED_PART ? shared(name, inside.shared) : client.cycle(name, inside.exclusive);
      },
    });
    return { figures: { cyclesPerSecond }, violations, isUnfinished };
  },
});
