// Ten thousand wait for one lock, all but the last of them are killed, and the holder lets go: nobody who is gone stands in the way.
import { setTimeout } from "node:timers/promises";
import LockDB from "lockdb";
import { crowd, crowdState } from "./lib/crowds.js";
import { atMost, clockMs, ROOT_KEY } from "./lib/stage.js";

export const about =
  "9,999 of 10,000 who wait for one lock are killed, and it is released: when the last one has it";

const WAITERS = 10_000;
const SERVED_MS = 1_000;
/** Whoever is gone would be waited for so long. */
const LEASE_MS = 120_000;
const SERVICE = "waiters";

export async function run(stage) {
  const waiters = stage.count(WAITERS, WAITERS);
  const server = await stage.single();
  const holder = new LockDB(SERVICE, { serverUrl: server.url, apiKey: ROOT_KEY });
  stage.onEnd(() => Promise.race([holder.close().catch(() => {}), setTimeout(1_000)]));
  const lease = await holder.acquire("wanted");
  const terms = { url: server.url, service: SERVICE, leaseMs: LEASE_MS, waitersEach: 1 };
  const crowded = await crowd(stage, { ...terms, count: waiters - 1 });
  const [last] = await crowd(stage, { ...terms, first: waiters, count: 1 });
  const before = await crowdState([...crowded, last]);
  await Promise.all(crowded.map((each) => each.kill()));
  const releasedMs = clockMs();
  const released = await lease.release();
  let seen = await last.call("state");
  for (const endMs = clockMs() + 2 * LEASE_MS; seen.servedMs === null && clockMs() < endMs; ) {
    await setTimeout(20);
    seen = await last.call("state");
  }
  return [
    { what: "waiters", seen: `${before.queued}` },
    atMost("of these, and the holder, those who had trouble before", before.troubled + (released ? 0 : 1), 0),
    stage.within(
      "the last one served after the release",
      (seen.servedMs ?? Number.POSITIVE_INFINITY) - releasedMs,
      SERVED_MS,
    ),
  ];
}
