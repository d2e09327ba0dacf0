// Clients that do nothing but `withLock`, again and again, several for each service. Each has one more lock that it never gives back.
import { setTimeout } from "node:timers/promises";
import LockDB from "lockdb";
import { clockMs, given, serveCalls } from "../../processes/mailbox.mjs";

const { services, each, urls, apiKey, holdMs = 0, names = 1, loops = 1, lease = "10s" } = given;
let isStopping = false;
let lost = 0;
let calls = 0;
let longestMs = 0;
/** @type {string[]} */
let failures = [];
/** When each lock was given, by service. */
const grants = new Map(services.map((service) => [service, []]));

const clients = services.flatMap((service) =>
  Array.from({ length: each }, () => ({
    service,
    locker: new LockDB(service, { serverUrl: urls, apiKey, lease }),
  })),
);
const kept = await Promise.all(
  clients.map(async ({ locker }, at) => {
    const hold = await locker.acquire(`kept/${at}`);
    hold.signal.addEventListener("abort", () => lost++);
    return hold;
  }),
);
const running = clients.flatMap((client, at) =>
  Array.from({ length: loops }, (_, loop) => use(client, at, loop)),
);

async function use({ service, locker }, at, loop) {
  const name = `shared/${(at * loops + loop) % names}`;
  while (!isStopping) {
    const fromMs = clockMs();
    try {
      await locker.withLock(name, () => {
        grants.get(service).push(clockMs());
        return holdMs > 0 ? setTimeout(holdMs) : undefined;
      });
      calls++;
    } catch (error) {
      failures.push(`${error.code ?? error.name}: ${error.message}`);
    }
    longestMs = Math.max(longestMs, clockMs() - fromMs);
  }
}

serveCalls({
  ready: () => true,
  /** What has come since it was asked last. */
  report: () => {
    const seen = { calls, failures, lost, longestMs, gapsMs: Object.fromEntries([...grants].map(gapOf)) };
    [calls, failures, longestMs] = [0, [], 0];
    for (const times of grants.values()) times.splice(0, times.length - 1);
    return seen;
  },
  stop: async () => {
    isStopping = true;
    await Promise.all(running);
    const released = await Promise.all(kept.map((hold) => hold.release().catch(() => false)));
    await Promise.all(clients.map(({ locker }) => locker.close()));
    return { failures, lost: Math.max(lost, released.filter((is) => !is).length) };
  },
});

/** The longest time in which nobody was given a lock. */
function gapOf([service, times]) {
  let gapMs = 0;
  const all = [...times, clockMs()];
  for (let at = 1; at < all.length; at++) gapMs = Math.max(gapMs, all[at] - all[at - 1]);
  return [service, gapMs];
}
