// Keys and accounts that are made at one member, and revoked at one, at all others.
import { setTimeout } from "node:timers/promises";
import { putKeys } from "./lib/many-keys.js";
import { RawSession } from "./lib/raw.js";
import { asked, clockMs, ms, quantile } from "./lib/stage.js";

export const about = "keys and accounts are made at one member, and revoked at another";
export const needs = ["etcd"];

const ROUNDS = 12;
const ROUNDS_QUICK = 3;
/** Keys that there are besides, in the second half. */
const KEYS = 20_000;
const KEYS_QUICK = 2_000;
const HEARD_MS = 1_000;
const LOOK_MS = 10;
const PATIENCE_MS = 10_000;
/** Until all of those are known everywhere. */
const FILLED_MS = 120_000;
const FILLED_LOOK_MS = 500;

export async function run(stage) {
  const cluster = await stage.cluster();
  const services = [];
  for (const member of cluster.members) services.push((await cluster.servicesOf(member, 1, "keys"))[0]);
  const few = await rounds(stage, cluster, services, "");
  const count = stage.isQuick ? KEYS_QUICK : KEYS;
  const last = await putKeys(cluster.etcd.endpoints, count);
  const putMs = clockMs();
  const known = await everywhere(
    cluster,
    putMs,
    (url) => isTaken(url, last).catch(() => false),
    FILLED_MS,
    FILLED_LOOK_MS,
  );
  await cluster.settled();
  const many = await rounds(stage, cluster, services, `with ${count.toLocaleString("en")} other keys, `);
  const all = {
    what: `${count.toLocaleString("en")} keys that nobody made over the API are known to each`,
    seen: ms(Math.max(...known)),
  };
  return [...few, all, ...many];
}

/** Keys and accounts that come and go. @param where before what is said of them */
async function rounds(stage, cluster, services, where) {
  const madeMs = [];
  const accountMs = [];
  const refusedMs = [];
  const closedMs = [];
  for (let round = 0; round < stage.count(ROUNDS_QUICK, ROUNDS); round++) {
    const [maker, revoker] = [cluster.members[round % 3], cluster.members[(round + 1) % 3]];
    const made = await asked(`${maker.ownUrl}/v1/keys`, {
      method: "POST",
      body: { name: `round ${round}`, scopes: ["lock", "read"] },
    });
    const madeAtMs = clockMs();
    for (const tookMs of await everywhere(cluster, madeAtMs, (url) => isTaken(url, made.apiKey)))
      madeMs.push(tookMs);

    const { account } = await asked(`${maker.ownUrl}/v1/accounts`, {
      method: "POST",
      body: { email: `team${round}@example.com` },
    });
    const accountAtMs = clockMs();
    const theirs = await asked(`${revoker.ownUrl}/v1/keys?account=${account.id}`, {
      method: "POST",
      body: { name: "theirs", scopes: ["lock"] },
    });
    for (const tookMs of await everywhere(cluster, accountAtMs, (url) => isTaken(url, theirs.apiKey)))
      accountMs.push(tookMs);

    const sessions = await Promise.all(
      cluster.members.map(({ ownUrl }, at) => RawSession.open(ownUrl, services[at], { key: made.apiKey })),
    );
    await asked(`${revoker.ownUrl}/v1/keys/${made.key.id}`, { method: "DELETE" });
    const revokedMs = clockMs();
    for (const tookMs of await everywhere(
      cluster,
      revokedMs,
      async (url) => !(await isTaken(url, made.apiKey)),
    ))
      refusedMs.push(tookMs);
    for (
      const endMs = clockMs() + PATIENCE_MS;
      sessions.some(({ endedMs }) => endedMs === null);
      await setTimeout(LOOK_MS)
    )
      if (clockMs() > endMs) throw new Error("a session of a revoked key goes on");
    closedMs.push(...sessions.map(({ endedMs }) => Math.max(0, endedMs - revokedMs)));
    for (const session of sessions) session.close();
  }
  const row = (what, values) =>
    stage.within(
      `${where}${what} (median ${ms(quantile(values, 0.5))}); longest`,
      Math.max(...values),
      HEARD_MS,
    );
  return [
    row("a key made at one member works at each", madeMs),
    row("an account made at one member has a key made at another, which works at each", accountMs),
    row("a revoked key is refused by each", refusedMs),
    row("its sessions at each are closed", closedMs),
  ];
}

/** How long after that moment it was so at each member. */
function everywhere(cluster, sinceMs, isSo, patienceMs = PATIENCE_MS, lookMs = LOOK_MS) {
  return Promise.all(
    cluster.members.map(async ({ ownUrl }) => {
      for (const endMs = clockMs() + patienceMs; clockMs() < endMs; await setTimeout(lookMs)) {
        const askedMs = clockMs();
        // Known at the latest when it was asked.
        if (await isSo(ownUrl)) return Math.max(0, askedMs - sinceMs);
      }
      throw new Error(`${ownUrl} does not hear of it`);
    }),
  );
}

async function isTaken(url, key) {
  try {
    await asked(`${url}/v1/self`, { key });
    return true;
  } catch (error) {
    // Of wrong keys so many a minute are refused as such, and further ones as too many; right ones pass.
    if (error.status === 401 || error.status === 429) return false;
    throw error;
  }
}
