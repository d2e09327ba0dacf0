// Etcd has no quorum for five leases: what is said meanwhile, and how soon all is well when it is back.
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import LockDB from "lockdb";
import { counts, descents, entriesOf, holdsOf, overlaps } from "./lib/judge.js";
import { asked, atMost, clockMs, etcdAsked, LEASE_MS, ms, quantile, ROOT_KEY } from "./lib/stage.js";

export const about = "etcd has no quorum for five leases of a member";
export const needs = ["etcd"];

const ROUNDS = 4;
const ROUNDS_QUICK = 1;
const LEASES = 5;
const SERVICES = 6;
const CLIENTS = 30;
const ASK_PAUSE_MS = 400;
const WELL_MS = 5_000;
const PATIENCE_MS = 60_000;
/** A member waits 5 s for a service to be served somewhere, and so does the one that it passes a request on to. */
const ANSWER_MS = 15_000;

export async function run(stage) {
  const cluster = await stage.cluster();
  const services = Array.from({ length: SERVICES }, (_, at) => `quorum${at}`);
  const historyFile = join(stage.folder(), "load");
  const load = stage.script("load.js", {
    ...{ id: "c", urls: cluster.urls, apiKey: ROOT_KEY, historyFile, period: 0 },
    // Somebody who is gone when it is over is waited for, for a lease (R4): that is not what is measured here.
    hasPassersBy: false,
    services: Array.from({ length: CLIENTS }, (_, at) => services[at % SERVICES]),
  });
  const outages = [];
  const overHttp = [];
  const native = [];
  const electionMs = [];
  const wellMs = [];
  for (let round = 0; round < stage.count(ROUNDS_QUICK, ROUNDS); round++) {
    await setTimeout(2_000);
    const two = [cluster.etcd.members[round % 3], cluster.etcd.members[(round + 1) % 3]];
    await Promise.all(two.map((member) => member.pause()));
    const fromMs = clockMs();
    const endMs = fromMs + LEASES * LEASE_MS;
    await setTimeout(LEASE_MS);
    const saidHttp = cluster.members.map((member, at) =>
      askAgain(endMs, () => httpWord(member, services[at])),
    );
    const saidNative = services.map((service) => askAgain(endMs, () => nativeWord(cluster, service)));
    overHttp.push(...(await Promise.all(saidHttp)).flat());
    native.push(...(await Promise.all(saidNative)).flat());
    await setTimeout(Math.max(0, endMs - clockMs()));
    const untilMs = clockMs();
    outages.push({ fromMs: fromMs + LEASE_MS, untilMs });
    for (const member of two) member.resume();
    const [backMs, ...wells] = await Promise.all([
      quorumBack(cluster),
      ...services.map((service) => wellAt(cluster, service, untilMs + PATIENCE_MS)),
    ]);
    const took = wells.map((atMs) => Math.max(0, atMs - backMs));
    electionMs.push(backMs - untilMs);
    wellMs.push(...took);
    console.log(
      `  outage ${round + 1}: etcd writes again after ${ms(backMs - untilMs)}; services well ${took.map(ms).join(", ")} later`,
    );
  }
  await load.call("stop");
  const entries = entriesOf([historyFile]);
  const doubted = holdsOf(entries).filter(({ fromMs }) =>
    outages.some((outage) => outage.fromMs < fromMs && fromMs < outage.untilMs),
  );
  const [doubles, back] = [overlaps(entries), descents(entries)];
  for (const each of [...doubles, ...back].slice(0, 20)) console.log(`  ! ${each}`);
  const dishonest = [...overHttp, ...native].filter((word) => !HONEST.has(word));
  return [
    {
      what: "outages",
      seen: `${outages.length} of ${LEASES} leases; ${holdsOf(entries).length} holds of ${CLIENTS} clients around them`,
    },
    atMost("locks given later than a lease after its beginning", doubted.length, 0),
    atMost("double holds", doubles.length, 0),
    atMost("tokens that went back", back.length, 0),
    { what: "what was said over HTTP meanwhile", seen: counts(overHttp) },
    { what: "what native clients were told that waited 1 s", seen: counts(native) },
    atMost("answers that were none of the honest ones", dishonest.length, 0),
    { what: "etcd's members go on, and it writes again: longest", seen: ms(Math.max(...electionMs)) },
    { what: "services well after that, median", seen: ms(quantile(wellMs, 0.5)) },
    stage.within("the last one", Math.max(...wellMs), WELL_MS),
  ];
}

/** Try again, and: it took longer than the caller waits. */
const HONEST = new Set([
  "503 UNAVAILABLE",
  "503 RECOVERING",
  "UNAVAILABLE",
  "RECOVERING",
  "CONNECTION",
  "LOCK_TIMEOUT",
]);

async function askAgain(endMs, ask) {
  const words = [];
  for (; clockMs() < endMs - 1_000; await setTimeout(ASK_PAUSE_MS)) {
    const [word, saidMs] = [await ask(), clockMs()];
    if (saidMs < endMs) words.push(word);
  }
  return words;
}

async function httpWord(member, service) {
  try {
    await asked(`${member.ownUrl}/v1/services/${service}/acquire`, {
      method: "POST",
      withinMs: ANSWER_MS,
      body: { names: `doubt/${Math.random()}`, waitMs: 0 },
    });
    return "granted";
  } catch (error) {
    return error.status === undefined ? `no answer (${error.name})` : `${error.status} ${error.code}`;
  }
}

async function nativeWord(cluster, service) {
  const locker = new LockDB(service, { serverUrl: cluster.urls, apiKey: ROOT_KEY });
  try {
    await locker.acquire(`doubt/${Math.random()}`, { wait: 1_000 });
    return "granted";
  } catch (error) {
    return error.code ?? error.name;
  } finally {
    await Promise.race([locker.close().catch(() => {}), setTimeout(200)]);
  }
}

/** When etcd has written something again. */
async function quorumBack(cluster) {
  const write = ({ endpoint }) =>
    etcdAsked(endpoint, "kv/put", { key: "cXVvcnVt", value: "" }).then(({ header }) => {
      if (header === undefined) throw new Error("nothing was written");
    });
  for (;;) {
    try {
      await Promise.any(cluster.etcd.members.map(write));
      return clockMs();
    } catch {
      await setTimeout(20);
    }
  }
}

async function wellAt(cluster, service, endMs) {
  for (;;) {
    const locker = new LockDB(service, { serverUrl: cluster.urls, apiKey: ROOT_KEY });
    try {
      const lease = await locker.acquire("well", { wait: 10_000 });
      const atMs = clockMs();
      await lease.release().catch(() => {});
      return atMs;
    } catch (error) {
      if (clockMs() > endMs) throw error;
    } finally {
      await Promise.race([locker.close().catch(() => {}), setTimeout(1_000)]);
    }
  }
}
