import { runCycles } from "./run-cycles.js";

/**
 * Everybody wants the same lock: what a hand-over costs, and whether each gets a turn.
 *
 * @param {number} workers
 * @returns {import("./index.js").Workload}
 */
export const hotName = (workers) => ({
  name: `hot-x${workers}`,
  about: `${workers} workers in one process, all on one name`,
  figures: [
    { key: "cyclesPerSecond", title: "cycles/s" },
    { key: "fewest", title: "fewest" },
    { key: "most", title: "most" },
  ],
  unfit: (peer) => (peer.excludes ? undefined : "it excludes nobody, so nobody waits"),
  async run(client, timing) {
    const { cyclesPerSecond, cyclesByWorker, violations } = await runCycles({
      client,
      workers,
      nameOf: () => "hot",
      timing,
    });
    const fewest = Math.min(...cyclesByWorker);
    const most = Math.max(...cyclesByWorker);
    return { figures: { cyclesPerSecond, fewest, most }, violations };
  },
});
