import { setTimeout as sleep } from "node:timers/promises";
import { Exclusion } from "../exclusion.js";

/**
 * Workers lock and unlock without a pause; what they did in the window counts.
 *
 * @param {object} options
 * @param {import("../peers/index.js").Client} options.client
 * @param {number} options.workers
 * @param {(worker: number) => string} options.nameOf
 * @param {import("./index.js").Timing} options.timing
 */
export async function runCycles({ client, workers, nameOf, timing }) {
  const exclusion = new Exclusion();
  const cycles = new Uint32Array(workers);
  let running = true;

  // Inside for one microtask: seen are two grants that arrive together. `proveExclusion` sees the others.
  const inside = async (/** @type {string} */ name) => {
    exclusion.enter(name);
    await null;
    exclusion.leave(name);
  };
  const work = async (/** @type {number} */ worker) => {
    const name = nameOf(worker);
    while (running) {
      await client.cycle(name, inside);
      cycles[worker] += 1;
    }
  };
  const finished = Promise.all(Array.from(cycles, (_, worker) => work(worker)));

  await Promise.race([sleep(timing.warmUpMs), finished]);
  const before = cycles.slice();
  const startMs = performance.now();
  await Promise.race([sleep(timing.windowMs), finished]);
  const seconds = (performance.now() - startMs) / 1_000;
  const cyclesByWorker = Array.from(cycles, (count, worker) => count - before[worker]);
  running = false;
  await finished;

  const cyclesTotal = cyclesByWorker.reduce((sum, count) => sum + count, 0);
  return { cyclesPerSecond: cyclesTotal / seconds, cyclesByWorker, violations: exclusion.violations };
}
