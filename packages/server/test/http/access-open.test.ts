import LockDB from "lockdb";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AccessServer, type Made } from "./access.js";
import { refusalOf } from "./api.js";
import { EventReader } from "./event-reader.js";
import { callBody, HttpConnection, isRefusal, NativeClient, requestBytes, within } from "./server.js";

/** A2: it is heard of within a second. */
const HEARD_MS = 1_000;

let server: AccessServer;

beforeAll(async () => {
  server = await AccessServer.start();
});

afterAll(() => server.close());

/** How a key becomes less, what those who have it open are told, and what a waiting call of the original client is. */
const ENDS: readonly {
  readonly what: string;
  readonly wish?: object;
  readonly code: "UNAUTHORIZED" | "FORBIDDEN";
  readonly happen: (key: Made) => Promise<void>;
}[] = [
  {
    what: "is revoked",
    code: "UNAUTHORIZED",
    happen: async ({ id }) => void (await server.revoke(id)),
  },
  {
    what: "loses the scope",
    code: "FORBIDDEN",
    happen: async ({ id }) => void (await server.narrow(id, { scopes: ["admin"] })),
  },
  {
    what: "loses the service",
    wish: { services: ["reports", "billing"] },
    code: "FORBIDDEN",
    happen: async ({ id }) => void (await server.narrow(id, { services: ["billing"] })),
  },
  {
    what: "is narrowed to an end that has passed",
    code: "UNAUTHORIZED",
    happen: async ({ id }) => void (await server.narrow(id, { expiresAt: "2020-01-01T00:00:00Z" })),
  },
  {
    what: "comes to its end",
    code: "UNAUTHORIZED",
    happen: async ({ id }) => {
      const endsMs = Date.now() + server.ahead.wallMs + 3_600_000;
      await server.narrow(id, { expiresAt: new Date(endsMs).toISOString() });
      server.ahead.wallMs += 3_600_000;
    },
  },
  {
    what: "gets another secret, and the old one has no time",
    code: "UNAUTHORIZED",
    happen: async ({ id }) => void (await server.api.post(`/v1/keys/${id}/rotate`, { oldKeptMs: 0 })),
  },
  {
    what: "gets another secret, and the old one comes to its end",
    code: "UNAUTHORIZED",
    happen: async ({ id }) => {
      await server.api.post(`/v1/keys/${id}/rotate`, { oldKeptMs: 3_600_000 });
      server.ahead.wallMs += 3_600_000;
    },
  },
];

/** What somebody else has meanwhile, so that others wait. */
async function held(name: string): Promise<number> {
  return server.api.token(name, { leaseMs: 60_000 });
}

async function queueLength(name: string): Promise<number> {
  return (await server.api.inspect(name)).queueLength;
}

async function untilQueued(name: string, count = 1): Promise<void> {
  const startedMs = performance.now();
  while ((await queueLength(name)) !== count)
    if (performance.now() - startedMs > 5_000) throw new Error("it never waits");
}

describe.each(ENDS)("what is open when a key $what", ({ what, wish, code, happen }) => {
  test("[A2aa] native connections are closed with the reason, within a second, busy or silent", async () => {
    const key = await server.key(wish);
    const other = await NativeClient.welcome(server.as((await server.key()).apiKey));
    const [silent, waiting, fresh] = [
      await NativeClient.welcome(server.as(key.apiKey)),
      await NativeClient.welcome(server.as(key.apiKey)),
      await NativeClient.open(server.as(key.apiKey)),
    ];
    const name = `native ${what}`;
    const token = await held(name);
    waiting.send(["acquire", 1, name, null]);
    await waiting.next("queued", 1);
    await happen(key);
    const startedMs = performance.now();
    for (const client of [silent, waiting]) {
      expect(await client.next("ended")).toMatchObject(["ended", code, expect.any(String)]);
      expect((await client.closed).code).toBe(1008);
    }
    // Before its hello it is about no service, so that a lost one is no matter yet.
    if (!what.includes("service")) await within(2_000, "the end", fresh.closed);
    fresh.close();
    expect(performance.now() - startedMs).toBeLessThan(HEARD_MS);
    // Nothing is granted to whoever waited.
    await server.api.post("/release", { token });
    expect(await server.api.inspect(name)).toMatchObject({ held: false });
    expect((await other.request("heartbeat"))[0]).toBe("done");
    other.close();
  });

  test("[A2ab] streams of events end with the reason, within a second", async () => {
    const key = await server.key(wish);
    const [reader, other] = [await EventReader.open(server.as(key.apiKey)), await EventReader.open(server)];
    await reader.until("start");
    await other.until("start");
    await happen(key);
    const startedMs = performance.now();
    expect(await reader.next()).toMatchObject({ type: "ended", data: { reason: code } });
    await within(2_000, "the end", reader.closed);
    expect(performance.now() - startedMs).toBeLessThan(HEARD_MS);
    await server.api.acquire(`seen ${what}`, { leaseMs: 3_600_000 });
    expect((await other.next()).data.names).toEqual([`seen ${what}`]);
    expect(reader.waiting).toEqual([]);
    other.close();
  });

  test("[A2ac] requests that wait over HTTP are refused, within a second, and granted nothing", async () => {
    const key = await server.key(wish);
    const name = `http ${what}`;
    const token = await held(name);
    const asked = server.api.acquire(name, { waitMs: null }, { key: key.apiKey });
    await untilQueued(name);
    await happen(key);
    const startedMs = performance.now();
    expect(refusalOf(await asked)).toEqual([code === "FORBIDDEN" ? 403 : 401, code]);
    expect(performance.now() - startedMs).toBeLessThan(HEARD_MS);
    await server.api.post("/release", { token });
    expect(await server.api.inspect(name)).toMatchObject({ held: false });
  });

  test("[A2ad] a call of the original client that waits is refused in plain text, and its waiter is gone (C2)", async () => {
    const key = await server.key(wish);
    const name = `original ${what}`;
    const token = await held(name);
    const connection = await HttpConnection.open(server);
    const body = callBody("lock", name, { waitForLockInMs: 60_000 });
    connection.write(requestBytes({ path: "/lock", key: key.apiKey, body }));
    await untilQueued(name);
    await happen(key);
    const startedMs = performance.now();
    const answer = (await connection.answer())!;
    expect(performance.now() - startedMs).toBeLessThan(HEARD_MS);
    expect(answer.status).toBe(code === "FORBIDDEN" ? 403 : 401);
    expect(isRefusal(answer)).toBe(true);
    expect(answer.headers["content-type"]).toContain("text/plain");
    expect(await queueLength(name)).toBe(0);
    await server.api.post("/release", { token });
    expect(await server.api.inspect(name)).toMatchObject({ held: false });
    connection.socket.destroy();
  });

  test("[A2ae] a request whose body is still on its way is refused when it has come", async () => {
    const key = await server.key(wish);
    const name = `slow body ${what}`;
    const connection = await HttpConnection.open(server);
    const path = "/v1/services/reports/acquire";
    const bytes = requestBytes({ path, key: key.apiKey, body: JSON.stringify({ names: name }) });
    connection.write(bytes.subarray(0, -4));
    // A second request on another connection: the first has been admitted by then.
    await server.api.get("/livez", { key: null });
    await happen(key);
    connection.write(bytes.subarray(-4));
    const { status, body } = (await connection.answer())!;
    expect([status, JSON.parse(body).error.code]).toEqual([code === "FORBIDDEN" ? 403 : 401, code]);
    expect(await server.api.inspect(name)).toMatchObject({ held: false });
    connection.socket.destroy();
  });
});

describe("a native connection under a key that was narrowed", () => {
  test("[A2af] is closed when it may lock no more; its locks are freed when its lease runs out, and not before", async () => {
    const key = await server.key();
    const client = await NativeClient.welcome(server.as(key.apiKey), { leaseMs: 1_500 });
    await client.acquire("until its lease ends");
    const waiting = server.api.acquire("until its lease ends", { waitMs: 20_000 });
    await untilQueued("until its lease ends");
    client.send(["heartbeat", client.newId()]);
    await client.next("done");
    const startedMs = performance.now();
    await server.narrow(key.id, { scopes: ["read"] });
    expect(await client.next("ended")).toMatchObject(["ended", "FORBIDDEN", expect.any(String)]);
    await client.closed;
    const { status, body } = await waiting;
    expect(status).toBe(200);
    expect(body.previous).toMatchObject({ endedBy: "expiry" });
    expect(performance.now() - startedMs).toBeGreaterThan(1_300);
    await server.api.post("/release", { token: body.token });
  });

  test("[A2ag] is told of no more events when it may look no more, though it may lock", async () => {
    const key = await server.key();
    const client = await NativeClient.welcome(server.as(key.apiKey));
    const [watch, another] = [client.newId(), client.newId()];
    client.send(["watch", watch, {}], ["watch", another, { prefix: "x" }]);
    await client.next("done", another);
    await server.narrow(key.id, { scopes: ["lock"] });
    for (const id of [watch, another])
      expect(await client.next("refused", id)).toMatchObject([
        "refused",
        id,
        "FORBIDDEN",
        expect.any(String),
      ]);
    client.inbox.length = 0;
    const token = await client.acquire("still its own");
    await server.api.acquire("seen by nobody", { leaseMs: 3_600_000 });
    await client.release(token);
    await client.request("heartbeat");
    expect(client.inbox.filter(([kind]) => kind === "event" || kind === "gap")).toEqual([]);
    expect(await client.request("watch", {})).toMatchObject({ 0: "refused", 2: "FORBIDDEN" });
    client.close();
  });

  test("[A2aq] ends the client's watch with the reason, and none of its leases", async () => {
    const key = await server.key();
    const locker = new LockDB("reports", { serverUrl: server.url, apiKey: key.apiKey });
    const lease = await locker.acquire("a lease");
    const watch = locker.watch();
    const next = watch.next();
    const seen = await locker.acquire("seen");
    expect(await next).toMatchObject({ value: { type: "granted", names: ["seen"] } });
    const refused = expect(watch.next()).rejects.toMatchObject({ code: "FORBIDDEN" });
    await server.narrow(key.id, { scopes: ["lock"] });
    await refused;
    lease.assertHeld();
    expect(await Promise.all([lease.release(), seen.release()])).toEqual([true, true]);
    await locker.close();
  });

  test("[A2ah] stays when it has lost nothing that it is for", async () => {
    const key = await server.key({ services: ["reports", "billing"] });
    const client = await NativeClient.welcome(server.as(key.apiKey));
    const watch = client.newId();
    client.send(["watch", watch, {}]);
    await client.next("done", watch);
    await server.narrow(key.id, { scopes: ["lock", "read"], services: ["reports"], name: "less" });
    await server.api.post(`/v1/keys/${key.id}/rotate`, { oldKeptMs: 3_600_000 });
    await client.acquire("goes on");
    expect((await client.next("event"))[4]).toMatchObject({ names: ["goes on"] });
    expect(await client.request("acquire", "goes on", 0, { steal: true })).toMatchObject({
      0: "refused",
      2: "FORBIDDEN",
    });
    expect(await client.request("force", "goes on", 1, "because")).toMatchObject({
      0: "refused",
      2: "FORBIDDEN",
    });
    client.close();
  });

  test("[A2ai] to look alone, a connection needs `read` and not `lock`: it is closed when it may nothing", async () => {
    const key = await server.key({ scopes: ["read", "admin"] });
    const client = await NativeClient.welcome(server.as(key.apiKey));
    expect((await client.request("inspect", "x"))[0]).toBe("done");
    expect(await client.request("acquire", "x", 0)).toMatchObject({ 0: "refused", 2: "FORBIDDEN" });
    await server.narrow(key.id, { scopes: ["admin"] });
    expect(await client.next("ended")).toMatchObject(["ended", "FORBIDDEN", expect.any(String)]);
    await expect(NativeClient.open(server.as(key.apiKey))).rejects.toThrow("403");
  });

  test("[A2aj] what stands behind the end in the same frame is not done", async () => {
    const key = await server.key();
    const client = await NativeClient.welcome(server.as(key.apiKey));
    const revoked = server.revoke(key.id);
    for (let n = 0; n < 200 && !client.isClosed; n++) {
      client.send(["acquire", client.newId(), `race ${n}`, 0, { detachedMs: 60_000 }]);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await revoked;
    await client.closed;
    // Each that was granted was told so before the end.
    const granted = client.inbox.filter(([kind]) => kind === "granted").length;
    const { locks } = (await server.api.get("/locks?prefix=race&limit=200")).body;
    expect(locks.length).toBe(granted);
    expect(granted).toBeLessThan(200);
  });
});
