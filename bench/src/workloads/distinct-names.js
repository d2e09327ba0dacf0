import { unlessDurable, unlessVolatile } from "./fitness.js";
import { namesOf } from "./names.js";
import { runCycles } from "./run-cycles.js";

const FIGURES = [{ key: "cyclesPerSecond", title: "cycles/s" }];

/**
 * Nobody waits for anybody: what a lock costs when it is free.
 *
 * @param {number} workers
 * @returns {import("./index.js").Workload}
 */
export const distinctNames = (workers) => ({
  name: `x${workers}`,
  about: workers === 1 ? "1 worker, 1 name" : `${workers} workers in one process, each on its own name`,
  figures: FIGURES,
  // One alone waits for the disk each time, and that is what some pay for.
  unfit: workers === 1 ? () => undefined : unlessDurable,
  run: runDistinct(workers),
});

/**
 * The same, with each grant on disk before it is answered.
 *
 * @param {number} workers
 * @returns {import("./index.js").Workload}
 */
export const distinctNamesDurable = (workers) => ({
  name: `durable-x${workers}`,
  about: `${workers} workers in one process, each on its own name, each grant on disk before it is answered`,
  figures: FIGURES,
  subject: "lockdb-durable",
  unfit: unlessVolatile,
  run: runDistinct(workers),
});

/**
 * The same from several processes, each with a client and a connection of its own.
 *
 * @param {number} processes
 * @param {number} workers
 * @returns {import("./index.js").Workload}
 */
export const distinctNamesInProcesses = (processes, workers) => ({
  name: `${processes}x${workers}`,
  about: `${processes} processes with ${workers} workers each, each worker on its own name`,
  figures: FIGURES,
  processes,
  together: (parts) => ({
    cyclesPerSecond: parts.reduce((sum, { cyclesPerSecond }) => sum + cyclesPerSecond, 0),
  }),
  unfit: unlessDurable,
  run: runDistinct(workers),
});

/**
 * @param {number} workers
 * @returns {import("./index.js").Workload["run"]}
 */
function runDistinct(workers) {
  return async (client, timing, { prefix }) => {
    const names = namesOf(prefix, workers);
    const { cyclesPerSecond, violations, isUnfinished } = await runCycles({
      workers,
      timing,
      cycle: (worker, inside) => client.cycle(names[worker], inside.exclusive),
    });
    return { figures: { cyclesPerSecond }, violations, isUnfinished };
  };
}
