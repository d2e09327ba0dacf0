import { runCycles } from "./run-cycles.js";

/**
 * Nobody waits for anybody: what a lock costs when it is free.
 *
 * @param {number} workers
 * @returns {import("./index.js").Workload}
 */
export const distinctNames = (workers) => ({
  name: `x${workers}`,
  about: workers === 1 ? "1 worker, 1 name" : `${workers} workers in one process, each on its own name`,
  figures: [{ key: "cyclesPerSecond", title: "cycles/s" }],
  unfit: () => undefined,
  async run(client, timing) {
    const { cyclesPerSecond, violations } = await runCycles({
      client,
      workers,
      nameOf: (worker) => `own-${worker}`,
      timing,
    });
    return { figures: { cyclesPerSecond }, violations };
  },
});
