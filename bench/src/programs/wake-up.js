/** One lock for which many wait: from the sending of a release to the grant that comes of it, and who hears of it. */

import { setTimeout as sleep } from "node:timers/promises";
import { RawSession } from "../raw-session.js";
import { percentile } from "../report.js";
import { runJob } from "./job.js";

const NAME = "wanted";
const QUIET_MS = 200;

runJob(async ({ endpoint, waiters, sessions: sessionCount, releases, rounds }) => {
  const sessions = await Promise.all(
    Array.from({ length: sessionCount }, () => RawSession.open(endpoint, { leaseMs: 600_000 })),
  );
  /** @type {{ session: RawSession, token: number }[]} */
  const holders = [];
  let queued = 0;
  let onGranted = () => {};
  let onQueued = () => {};
  const join = (/** @type {RawSession} */ session) =>
    session.request("acquire", [NAME, null], (message) => {
      holders.push({ session, token: message[2] });
      onGranted();
    });
  for (const session of sessions) {
    session.onQueued = () => {
      queued += 1;
      onQueued();
    };
  }
  const all = new Promise((resolve) => {
    onQueued = () => queued === waiters && resolve(undefined);
  });
  for (let index = 0; index <= waiters; index += 1) join(sessions[index % sessionCount]);
  await all;

  const outcomes = [];
  for (let round = 0; round < rounds; round += 1) {
    const waitedMs = [];
    const heardBefore = heard(sessions);
    for (let times = 0; times < releases; times += 1) {
      const { session, token } = /** @type {typeof holders[0]} */ (holders.pop());
      const granted = new Promise((resolve) => {
        onGranted = () => resolve(performance.now());
      });
      const startMs = performance.now();
      const released = session.ask("release", token);
      waitedMs.push((await granted) - startMs);
      await released;
      // Back to the end, so that as many wait as before.
      await new Promise((resolve) => {
        onQueued = () => resolve(undefined);
        join(session);
      });
    }
    await sleep(QUIET_MS);
    // A cycle is an answer, a grant and a new place in the queue; whatever is beyond that went to somebody in vain.
    const heardMore = heard(sessions) - heardBefore - 3 * releases;
    if (holders.length !== 1) throw new Error(`${holders.length} hold the lock at once`);
    outcomes.push({
      p50Us: percentile(waitedMs, 50) * 1_000,
      p99Us: percentile(waitedMs, 99) * 1_000,
      woken: (releases + heardMore) / releases,
    });
  }
  return outcomes;
});

/** @param {readonly RawSession[]} sessions */
function heard(sessions) {
  return sessions.reduce((sum, { received, renewed }) => sum + received - renewed, 0);
}
