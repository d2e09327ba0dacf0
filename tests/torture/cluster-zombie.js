// An owner that is stopped beyond its lease, and goes on with requests in its socket buffers.
import { setTimeout } from "node:timers/promises";
import LockDB from "lockdb";
import { partitionOf } from "../../packages/server/dist/cluster/index.js";
import { counts } from "./lib/judge.js";
import { RawHttp, RawSession } from "./lib/raw.js";
import { asked, atMost, clockMs, ROOT_KEY } from "./lib/stage.js";

export const about = "an owner is stopped, replaced, and goes on with 1,000 requests in its socket buffers";
export const needs = ["etcd"];

const ROUNDS = 6;
const ROUNDS_QUICK = 2;
const SESSIONS = 10;
const CONNECTIONS = 10;
/** Of each session or connection. */
const REQUESTS = 50;
const NAMES = 20;
const TAKE_OVER_MS = 30_000;
const AFTER_MS = 4_000;

export async function run(stage) {
  const cluster = await stage.cluster();
  const native = [];
  const http = [];
  const takenMs = [];
  let untrue = 0;
  let renewals = 0;
  for (let round = 0; round < stage.count(ROUNDS_QUICK, ROUNDS); round++) {
    await cluster.settled();
    const owner = cluster.members[round % 3];
    const [service] = await cluster.servicesOf(owner, 1, `zombie${round}-`);
    const sessions = await some(SESSIONS, () => RawSession.open(owner.url, service));
    const connections = await some(CONNECTIONS, () => RawHttp.open(owner.url));
    stage.onEnd(() => {
      for (const each of [...sessions, ...connections]) each.close();
    });
    for (const [at, session] of sessions.entries()) session.send(["acquire", 1, `own/${at}`, 0]);
    const holds = await Promise.all(sessions.map((session) => session.next(([kind]) => kind === "granted")));
    for (const connection of connections)
      connection.post(`/v1/services/${service}/acquire`, {
        names: `first-${connections.indexOf(connection)}`,
        waitMs: 0,
      });
    while (connections.some((connection) => connection.answers().length === 0)) await setTimeout(20);

    const stoppedMs = clockMs();
    await owner.child.pause();
    await takenOver(cluster, owner, service);
    takenMs.push(clockMs() - stoppedMs);
    // What is asked of the old owner is somebody else's by now. For sessions that do not come back it waits a lease (R4).
    const urls = cluster.urls.filter((url) => url !== owner.url);
    const taker = new LockDB(service, { serverUrl: urls, apiKey: ROOT_KEY });
    stage.onEnd(() => taker.close());
    const names = Array.from({ length: NAMES }, (_, at) => `wanted/${at}`);
    const before = sessions.map(({ messages }) => messages.length);
    for (let number = 0; number < REQUESTS; number++) {
      for (const [at, session] of sessions.entries())
        session.send(nativeRequest(number, at, names, holds[at][2]));
      for (const connection of connections)
        connection.post(`/v1/services/${service}/acquire`, { names: names[number % NAMES], waitMs: 0 });
    }
    await setTimeout(200);
    owner.child.resume();
    await setTimeout(AFTER_MS);

    for (const [at, session] of sessions.entries()) {
      const since = session.messages.slice(before[at]);
      native.push(...since.map((message) => wordOf(message)));
      renewals += since.filter(([kind]) => ["granted", "done", "welcome", "queued"].includes(kind)).length;
    }
    const answers = connections.flatMap((connection) => connection.answers().slice(1));
    http.push(...answers.map(({ status }) => `${status}`));
    // The old owner is a member again, and may have passed a request on: then the new one knows of the hold.
    const granted = answers.filter(({ status }) => status === 200).map(({ body }) => tokenIn(body));
    const known = new Set();
    for (const name of names)
      for (const { token } of (
        await asked(`${urls[0]}/v1/services/${service}/locks/${encodeURIComponent(name)}`)
      ).holders)
        known.add(token);
    untrue += granted.filter((token) => !known.has(token)).length;
    for (const each of [...sessions, ...connections]) each.close();
    console.log(`  round ${round + 1}: taken over ${takenMs.at(-1).toFixed(0)} ms after the stop`);
  }
  const requests = (SESSIONS + CONNECTIONS) * REQUESTS * takenMs.length;
  return [
    { what: "requests in the buffers of a stopped owner", seen: `${requests}, half of them over HTTP` },
    { what: "taken over after", seen: takenMs.map((each) => `${each.toFixed(0)} ms`).join(", ") },
    atMost("native requests that it acknowledged", renewals, 0),
    { what: "what it said to native sessions", seen: counts(native) },
    atMost("grants over HTTP that the new owner knows nothing of", untrue, 0),
    { what: "what it said over HTTP", seen: counts(http) },
  ];
}

function nativeRequest(number, at, names, token) {
  const id = 100 + number;
  if (number % 5 === 0) return ["heartbeat", id];
  if (number === 1) return ["check", id, names[0], 0];
  if (number === REQUESTS - 1) return ["release", id, token];
  return ["acquire", id, names[(number + at) % names.length], number % 2 === 0 ? 0 : null];
}

function wordOf([kind, first]) {
  return kind === "ended" ? `ended ${first}` : kind;
}

function tokenIn(body) {
  return Number(/"token":(\d+)/.exec(body)?.[1]);
}

async function takenOver(cluster, owner, service) {
  const partition = partitionOf("default", service);
  const by = cluster.members.findIndex((member) => member !== owner);
  for (const endMs = clockMs() + TAKE_OVER_MS; clockMs() < endMs; await setTimeout(50)) {
    const seen = await cluster.seen(by);
    const { owner: id, state } = seen?.partitions[partition] ?? {};
    const url = seen?.members.find((member) => member.id === id)?.url;
    if (state === "served" && url !== undefined && url !== owner.url) return;
  }
  throw new Error(`nobody has taken ${service} over within ${TAKE_OVER_MS} ms`);
}

function some(count, make) {
  return Promise.all(Array.from({ length: count }, make));
}
