import { percentile } from "../report.js";
import { unlessDurable, unlessFloor } from "./fitness.js";
import { runCycles } from "./run-cycles.js";

/**
 * Everybody wants the same lock: what a hand-over costs, and whether each gets a turn.
 *
 * @param {number} workers
 * @returns {import("./index.js").Workload}
 */
export const hotName = (workers) => ({
  name: `hot-x${workers}`,
  about: `${workers.toLocaleString("en-US")} workers in one process, all on one name: a cycle is a hand-over`,
  figures: [
    { key: "cyclesPerSecond", title: "cycles/s" },
    { key: "waitMs99", title: "p99 wait, ms", digits: 1, isLessBetter: true },
    { key: "fewest", title: "fewest" },
    { key: "most", title: "most" },
  ],
  unfit: (peer) => unlessFloor(peer) ?? unlessDurable(peer),
  async run(client, timing, { prefix }) {
    const name = `${prefix}-hot`;
    const { cyclesPerSecond, cyclesByWorker, waitsMs, violations, isUnfinished } = await runCycles({
      workers,
      timing,
      cycle: (_, inside) => client.cycle(name, inside.exclusive),
      isTimed: true,
    });
    const fewest = Math.min(...cyclesByWorker);
    const most = Math.max(...cyclesByWorker);
    return {
      figures: { cyclesPerSecond, waitMs99: percentile(waitsMs, 99), fewest, most },
      violations,
      isUnfinished,
    };
  },
});
