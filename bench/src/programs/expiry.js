/**
 * Holds that end while others wait for them, seen from outside. Of a lease that was renewed between `sent` and `heard`, the
 * earliest end that is right is `sent` + lease: a grant that arrives before it was early for certain. What arrives later
 * than that is late by no more than the difference, which has the ways of the messages in it.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { holdMany, RawSession } from "../raw-session.js";
import { percentile } from "../report.js";
import { runJob } from "./job.js";

const AT_ONCE = 5_000;
const PATIENCE_MS = 30_000;

runJob(async ({ endpoint, holds, leaseMs, singles, earliestMs, spreadMs }) => ({
  // First: many that have ended leave the server with much to write down.
  ...(await oneByOne(endpoint, singles, earliestMs, spreadMs)),
  ...(await allAtOnce(endpoint, holds, leaseMs)),
}));

/**
 * A session that holds all of them falls silent.
 *
 * @param {{ serverUrl: string, apiKey: string }} endpoint
 * @param {number} holds
 * @param {number} leaseMs
 */
async function allAtOnce(endpoint, holds, leaseMs) {
  const holder = await RawSession.open(endpoint, { leaseMs });
  const waiter = await RawSession.open(endpoint, { leaseMs: 60_000 });
  const nameOf = (/** @type {number} */ index) => `expiring-${index}`;
  await holdMany(holder, holds, nameOf);

  let [queued, granted, firstMs, lastMs, untold] = [0, 0, 0, 0, 0];
  /** @type {() => void} */
  let arrived = () => {};
  waiter.onQueued = () => {
    queued += 1;
    arrived();
  };
  const isGranted = (/** @type {any[]} */ message) => {
    lastMs = performance.now();
    if (granted === 0) firstMs = lastMs;
    granted += 1;
    if (message[0] !== "granted" || message[3]?.previous?.endedBy !== "expiry") untold += 1;
    arrived();
  };
  const until = (/** @type {() => boolean} */ isSo, /** @type {string} */ what) =>
    within(
      what,
      new Promise((resolve) => {
        arrived = () => isSo() && resolve(undefined);
        arrived();
      }),
    );
  for (let from = 0; from < holds; from += AT_ONCE) {
    const to = Math.min(holds, from + AT_ONCE);
    for (let index = from; index < to; index += 1)
      waiter.request("acquire", [nameOf(index), null], isGranted);
    await until(() => queued === to, "their place in the queues");
  }

  // All is still when it begins.
  await sleep(Math.min(500, leaseMs / 3));
  holder.fallSilent();
  const sentMs = performance.now();
  await holder.heartbeat();
  await until(() => granted === holds, "the locks");
  const dueMs = sentMs + leaseMs;
  const failures = [];
  if (firstMs < dueMs) failures.push(`a hold ended ${(dueMs - firstMs).toFixed(1)} ms early`);
  if (untold > 0) failures.push(`${untold} were not told that the hold before them had expired`);
  await waiter.ask("bye");
  for (const session of [holder, waiter]) session.close();
  return { allMs: lastMs - dueMs, firstMs: firstMs - dueMs, failures };
}

/**
 * Detached holds, each with an end of its own and somebody who waits for it.
 *
 * @param {{ serverUrl: string, apiKey: string }} endpoint
 * @param {number} count
 * @param {number} earliestMs
 * @param {number} spreadMs
 */
async function oneByOne(endpoint, count, earliestMs, spreadMs) {
  const holder = await RawSession.open(endpoint, { leaseMs: 60_000 });
  const waiter = await RawSession.open(endpoint, { leaseMs: 60_000 });
  const lateMs = await within(
    "the locks that expire one by one",
    Promise.all(
      Array.from({ length: count }, async (_, index) => {
        const name = `single-${index}`;
        const detachedMs = earliestMs + Math.round((spreadMs * index) / count);
        const sentMs = performance.now();
        await holder.ask("acquire", name, 0, { detachedMs });
        await waiter.ask("acquire", name, null);
        return performance.now() - (sentMs + detachedMs);
      }),
    ),
  );
  for (const session of [holder, waiter]) session.close();
  const early = lateMs.filter((ms) => ms < 0).length;
  return {
    lateP50Ms: percentile(lateMs, 50),
    lateP99Ms: percentile(lateMs, 99),
    earlySingles: early,
  };
}

/**
 * @template T
 * @param {string} what
 * @param {Promise<T>} promise
 */
function within(what, promise) {
  const late = sleep(PATIENCE_MS, undefined, { ref: false }).then(() => {
    throw new Error(`waited ${PATIENCE_MS} ms for ${what}`);
  });
  return Promise.race([promise, late]);
}
