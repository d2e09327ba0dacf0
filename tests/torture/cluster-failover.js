// How long nobody is given a lock when its owner is killed, and when it is stopped as planned.
import { setTimeout } from "node:timers/promises";
import LockDB from "lockdb";
import { atMost, clockMs, ms, quantile, ROOT_KEY } from "./lib/stage.js";

export const about = "an owner is killed, or stopped as planned, and the next one gives its locks";
export const needs = ["etcd"];

const KILLS = 12;
const KILLS_QUICK = 3;
const STOPS = 12;
const STOPS_QUICK = 4;
/** Of each member. */
const SERVICES = 4;
const GRANT_MS_P50 = 6_000;
const GRANT_MS_P99 = 9_000;
const STOP_MS_P99 = 300;

export async function run(stage) {
  const cluster = await stage.cluster();
  // Who serves what depends on the addresses of those that live alone, so it is so again after each restart.
  const services = [];
  for (const member of cluster.members) services.push(await cluster.servicesOf(member, SERVICES, "failover"));
  const killed = await kills(stage, cluster, services);
  const planned = await stops(stage, cluster, services);
  return [...killed, ...planned];
}

async function kills(stage, cluster, services) {
  const clientsOf = (service) => {
    const options = { serverUrl: cluster.urls, apiKey: ROOT_KEY };
    const pair = { holder: new LockDB(service, options), waiter: new LockDB(service, options) };
    stage.onEnd(() =>
      Promise.race([Promise.all([pair.holder.close(), pair.waiter.close()]), setTimeout(1_000)]),
    );
    return pair;
  };
  const clients = services.map((some) => some.map(clientsOf));
  const grantMs = [];
  for (let kill = 0; kill < stage.count(KILLS_QUICK, KILLS); kill++) {
    await cluster.settled();
    const at = kill % cluster.members.length;
    const member = cluster.members[at];
    const samples = await Promise.all(
      clients[at].map(async ({ holder, waiter }) => {
        const held = await holder.acquire("x");
        return { held, next: waiter.acquire("x", { wait: "forever" }) };
      }),
    );
    await setTimeout(300);
    const killedMs = clockMs();
    const ended = member.child.kill();
    const some = await Promise.all(
      samples.map(async ({ held, next }) => {
        void held.release().catch(() => false);
        const lease = await next;
        const tookMs = clockMs() - killedMs;
        await lease.release();
        return tookMs;
      }),
    );
    grantMs.push(...some);
    await ended;
    await member.restart();
    console.log(
      `  kill ${kill + 1}: the next grant of ${SERVICES} services ${some.map(ms).join(", ")} after it`,
    );
  }
  return [
    { what: "kills", seen: `${grantMs.length} grants after ${grantMs.length / SERVICES} kills` },
    stage.within("from kill -9 of an owner to the next grant, median", quantile(grantMs, 0.5), GRANT_MS_P50),
    stage.within("the same, 99 of 100", quantile(grantMs, 0.99), GRANT_MS_P99),
  ];
}

async function stops(stage, cluster, services) {
  const gapsMs = [];
  const backMs = [];
  const quietMs = [];
  let lost = 0;
  const failures = [];
  for (let stop = 0; stop < stage.count(STOPS_QUICK, STOPS); stop++) {
    await cluster.settled();
    const at = stop % cluster.members.length;
    const member = cluster.members[at];
    const given = { services: services[at], each: 2, urls: cluster.urls, apiKey: ROOT_KEY, holdMs: 5 };
    const users = stage.script("users.js", given);
    await users.call("ready");
    await setTimeout(700);
    await users.call("report");
    await setTimeout(1_500);
    quietMs.push(...Object.values((await users.call("report")).gapsMs));
    await member.child.kill("SIGTERM");
    await setTimeout(500);
    const stopped = await users.call("report");
    gapsMs.push(...Object.values(stopped.gapsMs));
    await member.restart();
    await cluster.settled();
    await setTimeout(300);
    const back = await users.call("report");
    backMs.push(...Object.values(back.gapsMs));
    const ended = await users.call("stop");
    lost += ended.lost;
    failures.push(...stopped.failures, ...back.failures, ...ended.failures);
    console.log(
      `  stop ${stop + 1}: nobody was given a lock of ${SERVICES} services for ${Object.values(stopped.gapsMs).map(ms).join(", ")}`,
    );
  }
  for (const failure of new Set(failures)) console.log(`  ! ${failure}`);
  return [
    { what: "longest time between two grants without a stop, 99 of 100", seen: ms(quantile(quietMs, 0.99)) },
    { what: `around ${gapsMs.length / SERVICES} planned stops, median`, seen: ms(quantile(gapsMs, 0.5)) },
    stage.within("the same, 99 of 100", quantile(gapsMs, 0.99), STOP_MS_P99),
    { what: "when it came back, and was given its share, 99 of 100", seen: ms(quantile(backMs, 0.99)) },
    atMost("leases lost", lost, 0),
    atMost("calls that failed", failures.length, 0),
  ];
}
