import { once } from "node:events";
import { Writable } from "node:stream";
import { connect } from "node:tls";
import { pino } from "pino";
import { afterEach, expect, test, vi } from "vitest";
import { type Command, Engine } from "../../src/engine/index.js";
import { Loop, nodeRuntime, ServiceKey } from "../../src/loop/index.js";
import { SlowWaitLog } from "../../src/slow-wait-log.js";
import { openMemoryStore } from "../../src/store/index.js";
import { CA, SecretFolder } from "../tls/files.js";
import { Api } from "./api.js";
import { ask, callBody, NativeClient, startParts, startServer, within } from "./server.js";

// biome-ignore lint/suspicious/noExplicitAny: lines of a log, whatever is in them.
type Line = any;

afterEach(() => {
  vi.restoreAllMocks();
});

/** A server with a log that is read here. */
async function start(level: string, options: { readonly trustedProxies?: string } = {}) {
  const lines: Line[] = [];
  const stream = new Writable({
    write: (chunk, _encoding, done) => {
      lines.push(JSON.parse(String(chunk)));
      done();
    },
  });
  const parts = await startParts({ store: openMemoryStore(), logger: pino({ level }, stream), ...options });
  return { ...parts, lines, api: new Api(parts) };
}

const idOf = ({ headers }: { readonly headers: Headers }) => headers.get("x-request-id")!;

test("[I6zk] every HTTP answer has an id of its own; what others say is believed of a trusted proxy alone", async () => {
  const server = await start("silent");
  const ids = new Set<string>();
  for (const path of ["/livez", "/v1/services", "/v1/nowhere", "/metrics"])
    ids.add(idOf(await server.api.get(path)));
  const said = { "x-request-id": "from-outside" };
  ids.add(idOf(await server.api.get("/livez", { headers: said })));
  const original = await ask(server, { path: "/lock", body: callBody("lock", "disk"), headers: said });
  ids.add(original!.headers["x-request-id"]!);
  expect(ids.size).toBe(6);
  for (const id of ids) expect(id).toMatch(/^[0-9a-f-]{36}$/);
  await server.close();
  const behind = await start("silent", { trustedProxies: "127.0.0.1" });
  expect(idOf(await behind.api.get("/livez", { headers: said }))).toBe("from-outside");
  for (const odd of ["a b", "x".repeat(129), '{"a":1}', ""])
    expect(idOf(await behind.api.get("/livez", { headers: { "x-request-id": odd } }))).toMatch(
      /^[0-9a-f-]{36}$/,
    );
  await behind.close();
});

test("[I6zl] at info a request leaves no line; at debug one, without names, queries, bodies or keys", async () => {
  const quiet = await start("info");
  await quiet.api.acquire("secret-name");
  await quiet.api.get("/locks/secret-name?prefix=secret-query");
  (await NativeClient.welcome(quiet)).close();
  await quiet.close();
  expect(quiet.lines).toEqual([]);

  const server = await start("debug");
  const { headers } = await server.api.get(
    "/v1/services/secret-service/locks/secret-name?prefix=secret-query",
  );
  await server.api.post("/acquire", { names: "secret-name", metadata: { a: "secret-body" } });
  await server.api.get("/secret-path", { key: "secret-key" });
  const client = await NativeClient.welcome(server);
  await client.acquire("secret-name-too");
  client.close();
  await server.close();
  const answered = server.lines.filter(({ msg }) => msg === "answered");
  expect(answered).toHaveLength(3);
  expect(answered[0]).toMatchObject({
    requestId: headers.get("x-request-id"),
    method: "GET",
    route: "/v1/services/:service/locks/:name",
    status: 400,
    code: "INVALID",
    ms: expect.any(Number),
  });
  expect(server.lines.map(({ msg }) => msg)).toContain("a connection is open");
  expect(JSON.stringify(server.lines)).not.toMatch(/secret|ldb_/);
});

test("[I6zm] a handler that fails answers 500 and no more than that, is logged by its id, and touches nobody else", async () => {
  const server = await start("info");
  const client = await NativeClient.welcome(server);
  const token = await client.acquire("disk");
  const planted = vi.spyOn(server.loop.services, "idsOf").mockImplementation(() => {
    throw new Error("planted");
  });
  const { status, body, headers } = await server.api.get("/v1/services");
  expect([status, body.error.code]).toEqual([500, "INTERNAL"]);
  expect(JSON.stringify(body)).not.toContain("planted");
  expect(server.lines).toMatchObject([
    {
      level: 50,
      requestId: headers.get("x-request-id"),
      msg: "a request failed",
      err: { message: "planted" },
    },
  ]);
  planted.mockRestore();
  vi.spyOn(server.loop, "attach").mockImplementationOnce(() => {
    throw new Error("planted too");
  });
  // Not JSON: the original client would take that for a lock (C2).
  const original = await ask(server, { path: "/lock", body: callBody("lock", "tape") });
  expect(original).toMatchObject({ status: 500, headers: { "content-type": "text/plain; charset=utf-8" } });
  vi.spyOn(server.loop, "attach").mockImplementationOnce(() => {
    throw new Error("planted as well");
  });
  const acquired = await server.api.acquire("tape");
  expect([acquired.status, acquired.body.error.code]).toEqual([500, "INTERNAL"]);
  expect(server.lines.map(({ err }) => err.message)).toEqual(["planted", "planted too", "planted as well"]);
  expect((await server.api.get("/v1/services")).status).toBe(200);
  expect(await client.request("release", token)).toMatchObject(["done", expect.any(Number), true]);
  client.close();
  await server.close();
});

test("[I6zm] a native connection that fails is ended and may come back, is logged, and the others go on", async () => {
  const server = await start("info");
  const [sick, well] = [await NativeClient.welcome(server), await NativeClient.welcome(server)];
  vi.spyOn(server.loop, "submit").mockImplementationOnce(() => {
    throw new Error("planted");
  });
  sick.send(["inspect", sick.newId(), "disk"]);
  expect((await sick.next("ended"))[1]).toBe("UNAVAILABLE");
  await sick.closed;
  expect(server.lines).toMatchObject([{ level: 50, key: "root key", msg: "a connection failed" }]);
  await well.acquire("disk");
  well.close();
  await server.close();
});

test("[R7x] a server whose services fail again and again tells so, and can be closed", async () => {
  const server = await startServer();
  const apply = Engine.prototype.apply;
  vi.spyOn(Engine.prototype, "apply").mockImplementation(function (this: Engine, ...args) {
    if ("name" in args[0] && args[0].name === "poison") throw new Error("planted");
    apply.apply(this, args);
  });
  for (let at = 0; at < 4; at++) {
    const client = await NativeClient.open(server);
    client.send(["hello", { ...HELLO, service: `sick-${at}` }], ["sync"]);
    await client.next("welcome");
    client.send(["inspect", client.newId(), "poison"]);
    await client.closed;
  }
  const error = await within(5_000, "the failure", server.failed);
  expect(error.message).toContain("planted");
  await server.close();
});

const HELLO = {
  ...{ client: "c8888888", session: "s8888888", connection: 1, resume: false },
  ...{ leaseMs: 60_000, owner: "tester" },
};

test("[I6zn] who waits long is told of with lock, waiter and holder, twenty lines a minute and no more", async () => {
  let nowMs = 0;
  const loop = await Loop.start({
    openStore: async () => openMemoryStore(),
    service: { waitersMax: 100, holdsMax: 100, sessionsMax: 100, writesSessionHolds: false },
    servicesMax: 9,
    runtime: { ...nodeRuntime, monotonicMs: () => nowMs },
    log: { warn: () => {}, error: () => {} },
  });
  const key = new ServiceKey("default", "reports");
  const heard: unknown[] = [];
  const lock = (owner: string) => {
    const address = loop.attach({ service: key, receive: (message) => heard.push(message), flush: () => {} });
    const terms = { waitMs: 3_600_000, detachedMs: 3_600_000, minHoldMs: 0, maxHoldMs: null, ticket: null };
    const inside = { within: [], reentrant: false, leads: false, stolenBy: null, metadata: {} };
    const from = { session: null, address, id: 1, names: "line\nbreak", owner };
    loop.submit(key, { kind: "acquire", ...from, ...terms, ...inside } as Command);
  };
  for (let at = 0; at <= 25; at++) lock(`caller-${at}`);
  while (heard.length < 26) await new Promise((resolve) => setImmediate(resolve));
  const lines: Line[] = [];
  const slow = new SlowWaitLog(loop, 100, { warn: (facts, text) => void lines.push({ ...facts, text }) });
  slow.look();
  expect(lines).toEqual([]);
  // The clock of leases is read when something happens.
  nowMs = 200;
  lock("somebody else");
  while (heard.length < 27) await new Promise((resolve) => setImmediate(resolve));
  slow.look();
  expect(lines).toHaveLength(20);
  expect(lines[0]).toEqual({
    ...{ account: "default", service: "reports", lock: "line\nbreak", names: ["line\nbreak"] },
    ...{ owner: "caller-1", ticket: expect.any(Number), waitedMs: 200, queueLength: 26 },
    holder: { owner: "caller-0", token: expect.any(Number), heldMs: 200, state: "held" },
    text: "a request waits long for a lock",
  });
  expect(loop.totals.slowWaits).toBe(25);
  slow.look();
  nowMs = 60_200;
  slow.look();
  expect(lines.slice(20)).toEqual([
    { count: 5, text: "more requests wait long for locks" },
    // By now it, too: the clock of leases goes on, by its longest step.
    expect.objectContaining({ owner: "somebody else", waitedMs: 250 }),
  ]);
  await loop.stop();
});

test("[I6zo] a reload reads the TLS files at once, and takes a log level; a wrong one is refused", async () => {
  const folder = new SecretFolder("server");
  const server = await startServer({ tlsCert: folder.cert, tlsKey: folder.key });
  const shown = async () => {
    const { hostname: host, port } = new URL(server.url);
    const socket = connect({ host, port: Number(port), ca: CA });
    await once(socket, "secureConnect");
    const { CN } = socket.getPeerCertificate().subject;
    socket.destroy();
    return CN;
  };
  const before = await shown();
  folder.put("server-new");
  await server.reload({ logLevel: "fatal" });
  expect(await shown()).not.toBe(before);
  await expect(server.reload({ logLevel: "loud" as never })).rejects.toThrow(/must be one of/);
  await server.close();
  folder.remove();
});
