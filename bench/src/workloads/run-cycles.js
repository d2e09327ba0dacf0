import { setTimeout as sleep } from "node:timers/promises";
import { Exclusion } from "../exclusion.js";

const DRAIN_PART = 0.5;

/**
 * What a worker does while it is inside: each is to be handed to the client's call of that kind.
 *
 * @typedef {object} Inside
 * @property {(name: string) => Promise<void>} exclusive
 * @property {(name: string) => Promise<void>} shared
 * @property {(names: readonly string[]) => Promise<void>} set
 */

/**
 * Workers lock and unlock without a pause; what they did in the window counts.
 *
 * @param {object} options
 * @param {number} options.workers
 * @param {import("./index.js").Timing} options.timing
 * @param {(worker: number, inside: Inside) => Promise<void>} options.cycle
 * @param {boolean} [options.isTimed] keep for how long each was waited for
 */
export async function runCycles({ workers, timing, cycle, isTimed = false }) {
  const exclusion = new Exclusion();
  const cycles = new Uint32Array(workers);
  const askedMs = new Float64Array(workers);
  /** @type {number[]} */
  let waitsMs = [];
  let running = true;

  // Inside for one microtask: seen are two grants that arrive together. `provoke` shows the others.
  const insideOf = (/** @type {number} */ worker) => {
    const arrive = () => {
      if (!isTimed) return;
      waitsMs.push(performance.now() - askedMs[worker]);
      askedMs[worker] = Number.NaN;
    };
    return {
      exclusive: async (/** @type {string} */ name) => {
        arrive();
        exclusion.enter(name);
        await null;
        exclusion.leave(name);
      },
      shared: async (/** @type {string} */ name) => {
        arrive();
        exclusion.enter(name, true);
        await null;
        exclusion.leave(name, true);
      },
      set: async (/** @type {readonly string[]} */ names) => {
        arrive();
        for (const name of names) exclusion.enter(name);
        await null;
        for (const name of names) exclusion.leave(name);
      },
    };
  };
  const work = async (/** @type {number} */ worker) => {
    const inside = insideOf(worker);
    while (running) {
      if (isTimed) askedMs[worker] = performance.now();
      await cycle(worker, inside);
      cycles[worker] += 1;
    }
  };
  const finished = Promise.all(Array.from(cycles, (_, worker) => work(worker)));

  await Promise.race([sleep(timing.warmUpMs), finished]);
  const before = cycles.slice();
  waitsMs = [];
  const startMs = performance.now();
  await Promise.race([sleep(timing.windowMs), finished]);
  const endMs = performance.now();
  const cyclesByWorker = Array.from(cycles, (count, worker) => count - before[worker]);
  if (isTimed) {
    // Who never got in has waited longest: left out, a peer that lets some starve would look quick.
    const waitingMs = Array.from(askedMs, (asked) => endMs - asked).filter((ms) => !Number.isNaN(ms));
    waitsMs = waitsMs.concat(waitingMs);
  }
  const waits = waitsMs;
  running = false;
  // With many on one name most of them still wait, and at some peers for long: they are left waiting, and go with us.
  finished.catch(() => {});
  const drained = finished.then(() => true);
  drained.catch(() => {});
  const isUnfinished = (await Promise.race([sleep(timing.windowMs * DRAIN_PART), drained])) !== true;

  const cyclesTotal = cyclesByWorker.reduce((sum, count) => sum + count, 0);
  return {
    cyclesPerSecond: cyclesTotal / ((endMs - startMs) / 1_000),
    cyclesByWorker,
    waitsMs: waits,
    violations: exclusion.violations,
    isUnfinished,
  };
}
