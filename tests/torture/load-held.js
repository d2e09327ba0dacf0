// A great many locks, sessions and waiters, held for a while, during which others lock and unlock all the time.
import { readFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import LockDB from "lockdb";
import { crowd, crowdState } from "./lib/crowds.js";
import { asked, atMost, clockMs, ms, quantile, ROOT_KEY } from "./lib/stage.js";

export const about =
  "held locks, sessions and waiters of one lock in great numbers, and constant churn: memory stays where it is";

const FULL = { locks: 1_000_000, sockets: 10_000, sessions: 100_000, waiters: 10_000, forMs: 600_000 };
const QUICK = { locks: 100_000, sockets: 1_000, sessions: 10_000, waiters: 10_000, forMs: 30_000 };
const SERVICE = "held";
const WANTED = "wanted";
/** Renewed every twenty seconds. */
const LEASE_MS = 60_000;
/** Of HTTP sessions: longer than all of this takes. */
const LONG_LEASE_MS = 3_600_000;
const LOOPS = 40;
/** Of this part itself: who holds the lock that all want, and who come and go. A service has 100,000 sessions at most (N3). */
const OTHER_SESSIONS = LOOPS + 1;
const PAUSE_MS = 20;
const LOOK_MS = 1_000;
/** Waiters that leave and come again at each look, in each process. */
const CHANGES = 20;
/** Of the time: until what is made by the way is made. */
const SETTLING_SHARE = 0.25;
const GROWTH_SHARE_MAX = 0.1;
/** Below that it is when garbage was collected last. */
const GROWTH_BYTES_MIN = 48 * 1_048_576;
const MIB = 1_048_576;

export async function run(stage) {
  const { locks, sockets, sessions, waiters, forMs } = stage.isQuick ? QUICK : FULL;
  const httpSessions = sessions - sockets - OTHER_SESSIONS;
  const server = await stage.single();
  const holder = new LockDB(SERVICE, { serverUrl: server.url, apiKey: ROOT_KEY });
  stage.onEnd(() => Promise.race([holder.close().catch(() => {}), setTimeout(1_000)]));
  const lease = await holder.acquire(WANTED);
  const buildMs = clockMs();
  const others = stage.script("http-sessions.js", {
    ...{
      url: server.url,
      service: SERVICE,
      apiKey: ROOT_KEY,
      count: httpSessions,
      leaseMs: LONG_LEASE_MS,
    },
  });
  const terms = { url: server.url, service: SERVICE, leaseMs: LEASE_MS, wanted: WANTED };
  const crowded = await crowd(stage, {
    ...terms,
    count: sockets,
    holdsEach: locks / sockets,
    waitersEach: waiters / sockets,
  });
  let http = await others.call("ready");
  while (!http.isReady) http = await others.call("ready");
  const builtMs = clockMs() - buildMs;
  const churn = stage.script("churn.js", {
    service: SERVICE,
    url: server.url,
    apiKey: ROOT_KEY,
    loops: LOOPS,
    wanted: WANTED,
    pauseMs: PAUSE_MS,
  });
  await setTimeout(LOOK_MS);
  await churn.call("report");

  const looks = [];
  const tookMs = [];
  const failures = [];
  let vain = 0;
  for (const endMs = clockMs() + forMs; clockMs() < endMs; ) {
    await setTimeout(LOOK_MS);
    for (const each of crowded) await each.call("change", { many: CHANGES });
    const seen = await churn.call("report");
    tookMs.push(...seen.tookMs);
    failures.push(...seen.failures);
    vain += seen.vain;
    looks.push(rssOf(server.child.pid));
  }
  await churn.call("stop");
  const state = await crowdState(crowded);
  const { queueLength } = await asked(`${server.url}/v1/services/${SERVICE}/locks/${WANTED}`);
  const settled = looks.slice(Math.floor(looks.length * SETTLING_SHARE));
  const third = Math.max(1, Math.floor(settled.length / 3));
  // Between collections it rises: the least of a span is what is kept.
  const [early, late] = [Math.min(...settled.slice(0, third)), Math.min(...settled.slice(-third))];
  const bound = Math.max(early * GROWTH_SHARE_MAX, GROWTH_BYTES_MIN);
  for (const each of [...failures, ...state.troubles].slice(0, 10)) console.log(`  ! ${each}`);
  return [
    {
      what: "held",
      seen: `${state.granted} locks, ${sockets} native and ${http.opened} HTTP sessions, ${queueLength ?? "?"} waiters; made in ${ms(builtMs)}`,
    },
    atMost(
      "locks, sessions and waiters that are missing",
      locks - state.granted + (httpSessions - http.opened) + state.troubled,
      0,
    ),
    {
      what: "locks and unlocks meanwhile",
      seen: `${tookMs.length}, and ${vain} that waited in vain; ${ms(forMs)}`,
    },
    atMost("of these failed", failures.length, 0),
    {
      what: "a lock and its release",
      seen: `p50 ${quantile(tookMs, 0.5).toFixed(1)} ms, p99 ${quantile(tookMs, 0.99).toFixed(1)} ms, longest ${ms(quantile(tookMs, 1))}`,
    },
    atMost(
      "MiB of resident memory more in the last third than in the first",
      Math.max(0, Math.round((late - early) / MIB)),
      Math.round(bound / MIB),
    ),
    { what: "resident memory", seen: `${Math.round(late / MIB)} MiB` },
    atMost("holders who lost the lock that all wait for", (await lease.release()) ? 0 : 1, 0),
    atMost("errors in the server's log", server.child.end.trim() === "" ? 0 : 1, 0),
  ];
}

/** @param {number} pid @returns bytes */
function rssOf(pid) {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1] ?? 0) * 1_024;
}
