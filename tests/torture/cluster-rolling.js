// All members are restarted, one after the other, while clients work.
import { setTimeout } from "node:timers/promises";
import { atMost, ms, ROOT_KEY } from "./lib/stage.js";

export const about = "all members are restarted, one after the other, under load";
export const needs = ["etcd"];

const ROUNDS = 3;
const SERVICES = 6;
const CLIENTS = 30;

export async function run(stage) {
  const cluster = await stage.cluster();
  const services = Array.from({ length: SERVICES }, (_, at) => `rolling${at}`);
  const given = {
    services,
    each: CLIENTS / SERVICES,
    urls: cluster.urls,
    apiKey: ROOT_KEY,
    holdMs: 5,
    names: 3,
  };
  const users = stage.script("users.js", given);
  await users.call("ready");
  await setTimeout(1_000);
  let calls = 0;
  let longestMs = 0;
  const failures = [];
  const rounds = stage.count(1, ROUNDS);
  for (let round = 0; round < rounds; round++) {
    for (const member of cluster.members) {
      await member.child.kill("SIGTERM");
      await member.restart();
      await cluster.settled();
    }
    const seen = await users.call("report");
    calls += seen.calls;
    failures.push(...seen.failures);
    longestMs = Math.max(longestMs, seen.longestMs);
    console.log(`  round ${round + 1}: ${seen.calls} calls, ${seen.failures.length} failed`);
  }
  const { lost, failures: last } = await users.call("stop");
  failures.push(...last);
  for (const failure of new Set(failures)) console.log(`  ! ${failure}`);
  return [
    {
      what: "restarts",
      seen: `${rounds * cluster.members.length}, ${CLIENTS} clients, ${calls} withLock calls`,
    },
    atMost("withLock calls that failed", failures.length, 0),
    atMost("leases lost", lost, 0),
    { what: "the longest call", seen: ms(longestMs) },
  ];
}
