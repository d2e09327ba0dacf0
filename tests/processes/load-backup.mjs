// Thousands of grants a second, of all kinds, in some services. It knows which detached and leased holds it was told of and has not let
// go, which of them it has, and each token that it has seen.
import { Agent, request } from "node:http";
import LockDB from "lockdb";
import { given, notify, serveCalls } from "./mailbox.mjs";

const { id, services, serverUrl, apiKey } = given;
const NATIVE_LOOPS = 64;
const HTTP_LOOPS = 16;
/** In a service of their own, where they wait for no disk. */
const SESSION_LOOPS = 8;
const FAST = "fast";
/** One in so many is kept. */
const KEPT = 10;
const PROGRESS = 1_000;

const agent = new Agent({ keepAlive: true, maxSockets: HTTP_LOOPS });
const clients = services.map((service) => ({ service, client: new LockDB(service, { serverUrl, apiKey }) }));
const fast = { service: FAST, client: new LockDB(FAST, { serverUrl, apiKey }) };
const seen = new Map();
const kept = [];
const freed = [];
const wrong = [];
let grants = 0;
let names = 0;
let holds = 0;
let isStopping = false;

function noteToken(service, token) {
  const tokens = seen.get(service) ?? { set: new Set(), highest: 0, lowest: token };
  seen.set(service, tokens);
  if (tokens.set.has(token)) wrong.push(`${service}: token ${token} twice`);
  tokens.set.add(token);
  tokens.highest = Math.max(tokens.highest, token);
  tokens.lowest = Math.min(tokens.lowest, token);
  if (++grants % PROGRESS === 0) notify("progress");
}

function post(service, path, body) {
  const text = JSON.stringify(body);
  const headers = { authorization: `Bearer ${apiKey}`, "content-length": Buffer.byteLength(text) };
  return new Promise((resolve, reject) => {
    const options = { method: "POST", agent, headers };
    const asked = request(`${serverUrl}/v1/services/${service}${path}`, options, async (response) => {
      const chunks = [];
      for await (const chunk of response) chunks.push(chunk);
      const answer = JSON.parse(Buffer.concat(chunks).toString());
      if (response.statusCode < 300) resolve(answer);
      else reject(new Error(`${response.statusCode} ${answer.error?.code}`));
    });
    asked.on("error", reject).end(text);
  });
}

async function hold(service, name, acquire, release) {
  const token = await acquire();
  noteToken(service, token);
  if (++holds % KEPT === 0) return void kept.push({ service, name, token });
  await release(token);
  freed.push({ service, name });
}

const kinds = {
  native: ({ service, client }, name) =>
    hold(
      service,
      name,
      async () => (await client.acquire(name, { detached: "1h" })).token,
      (token) => client.release(name, token),
    ),
  http: ({ service }, name) =>
    hold(
      service,
      name,
      async () => (await post(service, "/acquire", { names: name, leaseMs: 3_600_000 })).token,
      (token) => post(service, "/release", { token }),
    ),
  session: async ({ service, client }, name) => {
    const lease = await client.acquire(name);
    noteToken(service, lease.token);
    await lease.release();
  },
};

async function loop(kind, at) {
  while (!isStopping) {
    const target = kind === "session" ? fast : clients[at++ % clients.length];
    // The server is killed in the end.
    await kinds[kind](target, `${id}/${kind}/${++names}`).catch(async (error) => {
      if (/^[45]\d\d /.test(error.message)) wrong.push(error.message);
      await new Promise((resolve) => setTimeout(resolve, 50));
    });
  }
}

for (let at = 0; at < NATIVE_LOOPS; at++) void loop("native", at);
for (let at = 0; at < HTTP_LOOPS; at++) void loop("http", at);
for (let at = 0; at < SESSION_LOOPS; at++) void loop("session", at);

serveCalls({
  /** What was acknowledged until now. */
  mark: () => ({ kept: [...kept], freed: [...freed], grants }),
  report: () => ({
    wrong,
    grants,
    tokens: [...seen].map(([service, { highest, lowest }]) => ({ service, highest, lowest })),
  }),
  stop: () => {
    isStopping = true;
  },
});
notify("ready");
