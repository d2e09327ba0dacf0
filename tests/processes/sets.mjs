// Clients that take random sets of locks, several at a time each.
import { setTimeout } from "node:timers/promises";
import LockDB from "lockdb";
import { clockMs, given, notify, serveCalls } from "./mailbox.mjs";

const { service, serverUrl, apiKey, clients, setsEach, atOnce, names, permits, namesMax, heldMsMax } = given;

const lockers = clients.map((owner) => new LockDB(service, { serverUrl, apiKey, owner }));
await Promise.all(lockers.map((locker) => locker.check("anything")));

serveCalls({
  /** Everything that was granted, in any order. */
  run: async () => (await Promise.all(lockers.map(takeAll))).flat(),
});
notify("ready");

async function takeAll(locker) {
  const taken = [];
  let left = setsEach;
  const work = async () => {
    while (left-- > 0) taken.push(await take(locker));
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return taken;
}

async function take(locker) {
  const set = randomSet();
  const askedMs = clockMs();
  return locker.withLock(set, { wait: "forever" }, async ({ token, ticket = null }) => {
    const grantedMs = clockMs();
    await setTimeout(Math.random() * heldMsMax);
    return { set, token, ticket, askedMs, grantedMs };
  });
}

function randomSet() {
  const size = 2 + Math.floor(Math.random() * (namesMax - 1));
  const chosen = new Set();
  while (chosen.size < size) chosen.add(names[Math.floor(Math.random() * names.length)]);
  return [...chosen].map((name) => {
    const all = permits[name];
    if (all !== undefined) return { name, permits: all, weight: 1 + Math.floor(Math.random() * all) };
    return { name, mode: Math.random() < 0.5 ? "shared" : "exclusive" };
  });
}
