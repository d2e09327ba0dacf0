import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Server } from "../../src/index.js";
import { Api, newId, refusalOf } from "./api.js";
import { ManualStore } from "./manual-store.js";
import {
  ask,
  HttpConnection,
  NativeClient,
  requestBytes,
  SERVICE,
  startParts,
  startServer,
  type Target,
} from "./server.js";

let server: Server;
let api: Api;
let native: NativeClient;

beforeAll(async () => {
  server = await startServer();
  api = new Api(server);
  native = await NativeClient.welcome(server);
});

afterAll(async () => {
  native.close();
  await server.close();
});

/** An acquire as bytes, on a connection of its own. */
async function call(body: object, target: Target = server): Promise<HttpConnection> {
  const connection = await HttpConnection.open(target);
  const path = `/v1/services/${SERVICE}/acquire`;
  return connection.write(requestBytes({ path, key: target.rootKey, body: JSON.stringify(body) }));
}

describe("acquire", () => {
  test("[I3a] gives a lock with a token, a requestId and a lease, which renew moves and release ends", async () => {
    const { status, body } = await api.acquire("first", {
      leaseMs: 5_000,
      metadata: { job: 7 },
      owner: "curl",
    });
    expect([status, body]).toMatchObject([200, { token: expect.any(Number), expiresInMs: 5_000 }]);
    expect(await native.inspect("first")).toMatchObject({
      held: true,
      holders: [{ token: body.token, owner: "curl", metadata: { job: 7 }, detached: true }],
    });
    const renewed = await api.post("/renew", { token: body.token, leaseMs: 60_000 });
    expect(renewed).toMatchObject({ status: 200, body: { token: body.token, expiresInMs: 60_000 } });
    expect((await native.inspect("first")).holders[0]!.expiresInMs).toBeGreaterThan(50_000);
    expect(await api.post("/release", { token: body.token })).toMatchObject({
      status: 200,
      body: { released: true },
    });
    expect(refusalOf(await api.post("/release", { token: body.token }))).toEqual([409, "NOT_HELD"]);
    expect(refusalOf(await api.post("/renew", { token: body.token }))).toEqual([409, "NOT_HELD"]);
  });

  test("[Q4h] knows shared locks and semaphores, and several names at once", async () => {
    const read = [{ name: "catalogue", mode: "shared" }];
    await api.token(read);
    await api.token(read);
    expect(refusalOf(await api.acquire("catalogue"))).toEqual([423, "LOCK_TIMEOUT"]);
    await api.token([{ name: "encoder", permits: 3, weight: 2 }]);
    expect(refusalOf(await api.acquire([{ name: "encoder", permits: 3, weight: 2 }]))).toEqual([
      423,
      "LOCK_TIMEOUT",
    ]);
    expect(refusalOf(await api.acquire([{ name: "encoder", permits: 4 }]))).toEqual([
      409,
      "PERMITS_MISMATCH",
    ]);
    const set = await api.token(["left", { name: "right" }]);
    expect(refusalOf(await api.acquire("right"))).toEqual([423, "LOCK_TIMEOUT"]);
    await api.post("/release", { token: set });
    expect((await native.inspect("right")).held).toBe(false);
  });

  test("[Q10a] a refusal has the status of its code, and tells who is in the way", async () => {
    const token = await api.token("busy");
    const refused = await api.acquire("busy");
    expect(refused).toMatchObject({
      status: 423,
      body: { error: { code: "LOCK_TIMEOUT", retryable: true, details: { ahead: 0, holder: { token } } } },
    });
  });

  test("[D2h] a request that would wait for itself is refused with the way round", async () => {
    const outer = await api.token("outer");
    const waiting = api.acquire("outer", { waitMs: 5_000, within: [await api.token("inner")] });
    await native.until("outer", ({ queueLength }) => queueLength === 1);
    const refused = await api.acquire("inner", { waitMs: 5_000, within: [outer] });
    expect(refused).toMatchObject({
      status: 409,
      body: { error: { code: "DEADLOCK", details: { cycle: expect.any(Array) } } },
    });
    await api.post("/release", { token: outer });
    expect((await waiting).status).toBe(200);
  });

  test("[Q11hb] the next holder is told that the last one was lost", async () => {
    const token = await api.token("repaired");
    const forced = await api.delete(`/locks/repaired?token=${token}&reason=it%20hangs`);
    expect(forced).toMatchObject({ status: 200, body: { released: true } });
    const { body } = await api.acquire("repaired");
    expect(body.previous).toMatchObject({ endedBy: "force", token });
  });

  test.each([
    ["no names", {}],
    ["an empty list", { names: [] }],
    ["a name twice", { names: ["a", "a"] }],
    ["65 names", { names: Array.from({ length: 65 }, (_, at) => `n${at}`) }],
    ["a name of 513 bytes", { names: "x".repeat(513) }],
    ["a name of 513 bytes in fewer characters", { names: "€".repeat(171) }],
    ["a control character", { names: "a\u0000b" }],
    ["a lone surrogate", { names: "a\ud800" }],
    ["an unknown field", { names: "a", wait: 5 }],
    ["an unknown field of a lock", { names: [{ name: "a", weigth: 1 }] }],
    ["permits and a mode", { names: [{ name: "a", mode: "shared", permits: 2 }] }],
    ["a weight without permits", { names: [{ name: "a", weight: 2 }] }],
    ["more weight than permits", { names: [{ name: "a", permits: 2, weight: 3 }] }],
    ["a negative wait", { names: "a", waitMs: -1 }],
    ["a wait that is a text", { names: "a", waitMs: "5" }],
    ["a lease of less than a second", { names: "a", leaseMs: 999 }],
    ["a lease beyond ten years", { names: "a", leaseMs: 315_360_000_001 }],
    ["half a millisecond", { names: "a", leaseMs: 1_000.5 }],
    ["a slice of a minute", { names: "a", sliceMs: 60_000 }],
    ["a lease and a session", { names: "a", leaseMs: 5_000, sessionId: "s".repeat(8) }],
    ["a request id with a slash", { names: "a", requestId: "a/b" }],
    ["a request id of 129", { names: "a", requestId: "x".repeat(129) }],
    ["metadata that nests", { names: "a", metadata: { a: {} } }],
    ["metadata beyond 1 KiB", { names: "a", metadata: { a: "x".repeat(1_024) } }],
    ["an owner of 257 bytes", { names: "a", owner: "€".repeat(86) }],
    ["tokens that are none", { names: "a", within: [0] }],
    ["null", null],
    ["a list", []],
    ["no JSON", "{"],
    ["nothing", ""],
    ["a field twice", '{"names":"a","waitMs":0,"names":"b"}'],
    ["a field twice, spelled differently", '{"names":"a","n\\u0061mes":"b"}'],
    ["a field of the metadata twice", '{"names":"a","metadata":{"x":1,"x":2}}'],
    ["__proto__", '{"names":"a","__proto__":{"waitMs":5}}'],
    ["33 levels", `{"names":"a","metadata":${"[".repeat(33)}${"]".repeat(33)}}`],
  ])("[I3b] %s is refused, and nothing is granted", async (_what, body) => {
    const before = await api.token(`probe-${newId()}`);
    expect(
      refusalOf(await api.post("/acquire", typeof body === "string" ? body : JSON.stringify(body))),
    ).toEqual([400, "INVALID"]);
    expect((await api.token(`probe-${newId()}`)) - before).toBe(1);
  });

  test("[N3h] a body beyond 64 KiB is refused", async () => {
    expect(refusalOf(await api.acquire("a", { owner: "x".repeat(70_000) }))).toEqual([413, "TOO_LARGE"]);
  });

  test("[A1y] without the key nothing is read, whatever is sent", async () => {
    for (const key of [null, "wrong-key-wrong-key"]) {
      expect(refusalOf(await api.acquire("a", {}, { key }))).toEqual([401, "UNAUTHORIZED"]);
      expect(refusalOf(await api.post("/release", "{", { key }))).toEqual([401, "UNAUTHORIZED"]);
      expect(refusalOf(await api.get("/events", { key }))).toEqual([401, "UNAUTHORIZED"]);
      expect(refusalOf(await api.get("/v1/services", { key }))).toEqual([401, "UNAUTHORIZED"]);
    }
  });

  test("[I3c] the type of a body may be called anything: it is JSON", async () => {
    for (const type of [
      "application/x-www-form-urlencoded",
      "text/plain",
      "application/json; charset=utf-8",
      "x/y",
    ]) {
      const name = newId();
      expect((await api.acquire(name, {}, { headers: { "content-type": type } })).status).toBe(200);
    }
  });
});

describe("waiting", () => {
  test("[Q6hh] goes on over slices with one ticket, and the last one is granted", async () => {
    const token = await native.acquire("sliced");
    const body = { waitMs: 60_000, sliceMs: 30, requestId: newId() };
    const first = await api.acquire("sliced", body);
    expect(first).toMatchObject({ status: 202, body: { requestId: body.requestId, position: 0 } });
    const second = await api.acquire("sliced", body);
    expect(second.body).toEqual(first.body);
    const third = api.acquire("sliced", { ...body, sliceMs: 20_000 });
    await native.until("sliced", ({ queue }) => queue[0]?.away === false);
    await native.release(token);
    expect(await third).toMatchObject({ status: 200, body: { ticket: first.body.ticket } });
  });

  test("[Q3hb] ends at its own time, over however many slices", async () => {
    await native.acquire("ends");
    const body = { waitMs: 300, sliceMs: 100, requestId: newId() };
    const statuses: number[] = [];
    for (;;) {
      const { status } = await api.acquire("ends", body);
      statuses.push(status);
      if (status !== 202) break;
    }
    expect(statuses.at(-1)).toBe(423);
    expect(statuses.length).toBeGreaterThanOrEqual(3);
  });

  test("[Q7hg] between slices its place is kept, and it is passed over", async () => {
    const token = await native.acquire("passed");
    const body = { waitMs: 60_000, sliceMs: 20, requestId: newId() };
    expect((await api.acquire("passed", body)).status).toBe(202);
    await native.until("passed", ({ queue }) => queue[0]?.away === true);
    const behind = native.request("acquire", "passed", null);
    await native.until("passed", ({ queueLength }) => queueLength === 2);
    await native.release(token);
    const granted = await behind;
    expect(granted[0]).toBe("granted");
    const back = api.acquire("passed", { ...body, sliceMs: 10_000 });
    await native.until("passed", ({ queue }) => queue[0]?.away === false);
    await native.release(granted[2] as number);
    expect((await back).status).toBe(200);
  });

  test("[Q6hi] a second request with its id takes its place, and the first is told", async () => {
    const token = await native.acquire("twice");
    const body = { waitMs: 60_000, requestId: newId() };
    const first = api.acquire("twice", body);
    await native.until("twice", ({ queueLength }) => queueLength === 1);
    const second = api.acquire("twice", body);
    expect(refusalOf(await first)).toEqual([409, "REQUEST_ID_REUSED"]);
    await native.release(token);
    expect((await second).status).toBe(200);
    expect((await native.inspect("twice")).queueLength).toBe(0);
  });

  test("[Q6hj] the same id for something else is refused; for the same it is the same hold", async () => {
    const requestId = newId();
    const token = await api.token("mine", { requestId });
    expect((await api.acquire("mine", { requestId })).body.token).toBe(token);
    expect(refusalOf(await api.acquire("other", { requestId }))).toEqual([409, "REQUEST_ID_REUSED"]);
    await api.post("/release", { token });
    expect(refusalOf(await api.acquire("mine", { requestId }))).toEqual([409, "REQUEST_ID_REUSED"]);
  });

  test("[Q6hk] a release under an id of its own gets the same answer again", async () => {
    const token = await api.token("released");
    const body = { token, requestId: newId() };
    expect((await api.post("/release", body)).status).toBe(200);
    expect((await api.post("/release", body)).status).toBe(200);
    expect(refusalOf(await api.post("/release", { ...body, token: token + 1 }))).toEqual([
      409,
      "REQUEST_ID_REUSED",
    ]);
  });
});

describe("a caller that hangs up", () => {
  for (const way of ["destroy", "end", "resetAndDestroy"] as const) {
    test(`[Q7hh] keeps its place, and nothing is granted to it: ${way}`, async () => {
      const name = `hung up by ${way}`;
      const token = await native.acquire(name);
      const body = { names: name, waitMs: 60_000, requestId: newId() };
      const connection = await call(body);
      await native.until(name, ({ queueLength }) => queueLength === 1);
      connection.socket[way]();
      await native.until(name, ({ queue }) => queue[0]?.away === true);
      await native.release(token);
      expect(await native.inspect(name)).toMatchObject({ held: false, queueLength: 1 });
      expect((await api.post("/acquire", body)).status).toBe(200);
    });

    test(`[Q7hi] before its grant is durable has it taken back, and asks anew with the same id: ${way}`, async () => {
      const store = new ManualStore();
      const parts = await startParts({ store });
      const next = await NativeClient.welcome(parts);
      store.isManual = true;
      const requestId = newId();
      const connection = await call({ names: "disk", requestId }, parts);
      const commit = await store.nextCommit();
      store.isManual = false;
      connection.socket[way]();
      await connection.closed;
      commit.succeed();
      await next.until("disk", ({ held }) => !held);
      const again = await new Api(parts).acquire("disk", { requestId });
      expect(again).toMatchObject({ status: 200, body: { token: 2 } });
      next.close();
      await parts.close();
    });
  }

  test("[Q7hj] after it has read its grant keeps it", async () => {
    const connection = await call({ names: "kept" });
    expect((await connection.answer())!.status).toBe(200);
    connection.socket.end();
    await connection.closed;
    expect((await native.inspect("kept")).held).toBe(true);
  });
});

describe("durability", () => {
  test("[R1h] a grant, a renewal that is written and a release are told when they are durable", async () => {
    const store = new ManualStore();
    const parts = await startParts({ store });
    const local = new Api(parts);
    store.isManual = true;
    const commitOf = async (asked: Promise<unknown>) => {
      let isTold = false;
      void asked.then(() => {
        isTold = true;
      });
      const commit = await store.nextCommit();
      expect(isTold).toBe(false);
      commit.succeed();
      await asked;
    };
    const granted = local.acquire("disk", { leaseMs: 60_000 });
    await commitOf(granted);
    const { token } = (await granted).body;
    await commitOf(local.post("/renew", { token }));
    await commitOf(local.post("/release", { token }));
    store.isManual = false;
    await parts.close();
  });

  test("[R7h] a store that fails is UNAVAILABLE with Retry-After, and the call finds its place anew", async () => {
    const store = new ManualStore();
    const parts = await startParts({ store });
    const local = new Api(parts);
    store.isManual = true;
    const requestId = newId();
    const granted = local.acquire("disk", { requestId });
    const commit = await store.nextCommit();
    store.isManual = false;
    commit.fail(true);
    const refused = await granted;
    expect(refusalOf(refused)).toEqual([503, "UNAVAILABLE"]);
    expect(refused.headers.get("retry-after")).toBe("1");
    for (;;) {
      const again = await local.acquire("disk", { requestId });
      if (again.status === 503) continue;
      // It had been written all the same: the very hold is found.
      expect(again).toMatchObject({ status: 200, body: { token: 1 } });
      break;
    }
    await parts.close();
  });

  test("[Q10b] what stops tells all who wait UNAVAILABLE, and that the connection is over", async () => {
    const parts = await startParts({ store: new ManualStore() });
    const local = new Api(parts);
    await local.token("disk");
    const waiting = local.acquire("disk", { waitMs: 20_000 });
    const watcher = await NativeClient.welcome(parts);
    await watcher.until("disk", ({ queueLength }) => queueLength === 1);
    watcher.close();
    await parts.close();
    expect(refusalOf(await waiting)).toEqual([503, "UNAVAILABLE"]);
  });
});

test("[I3d] one keep-alive connection serves one call after the other", async () => {
  const connection = await call({ names: "k1" });
  expect((await connection.answer())!.status).toBe(200);
  const path = `/v1/services/${SERVICE}/stats`;
  connection.write(requestBytes({ method: "GET", path, key: server.rootKey }));
  expect((await connection.answer())!.status).toBe(200);
  connection.socket.destroy();
  expect((await ask(server, { method: "GET", path }))!.status).toBe(200);
});
