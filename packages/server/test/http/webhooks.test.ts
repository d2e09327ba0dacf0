import LockDB from "lockdb";
import { Webhook } from "standardwebhooks";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { Server } from "../../src/index.js";
import type { DeliveryInfo } from "../../src/webhooks/index.js";
import { Receiver } from "../webhooks/receiver.js";
import { Api } from "./api.js";
import { OriginalClient } from "./original-client.js";
import {
  ask,
  callBody,
  errorShape,
  HttpConnection,
  NativeClient,
  requestBytes,
  SERVICE,
  startServer,
} from "./server.js";

let server: Server;
const receivers: Receiver[] = [];
const lockers: LockDB[] = [];

beforeAll(async () => {
  server = await startServer({ webhookAllowPrivate: true });
});

afterEach(async () => {
  await Promise.all(lockers.splice(0).map((locker) => locker.close()));
  await Promise.all(receivers.splice(0).map((receiver) => receiver.close()));
});

afterAll(() => server.close());

async function receiver(): Promise<Receiver> {
  const opened = await Receiver.open();
  receivers.push(opened);
  return opened;
}

function original(url = server.url): OriginalClient {
  return new OriginalClient(SERVICE, { apiKey: server.rootKey, serverUrl: url });
}

function client(): LockDB {
  const locker = new LockDB(SERVICE, { apiKey: server.rootKey, serverUrl: server.url });
  lockers.push(locker);
  return locker;
}

function call(
  path: string,
  { method = "GET", body, key = server.rootKey }: { method?: string; body?: unknown; key?: string } = {},
) {
  return fetch(`${server.url}/v1/webhooks/${path}`, {
    method,
    headers: {
      authorization: `Bearer ${key}`,
      ...(body === undefined ? {} : { "content-type": "application/json" }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
}

async function deliveries(query = ""): Promise<{ deliveries: readonly DeliveryInfo[]; next: string | null }> {
  const answer = await call(`deliveries${query}`);
  expect(answer.status).toBe(200);
  return (await answer.json()) as never;
}

/** The delivery of a lock, once it looks as wished. */
async function shown(lockName: string, fits: (delivery: DeliveryInfo) => boolean): Promise<DeliveryInfo> {
  for (;;) {
    const found = (await deliveries()).deliveries.find((each) => each.lockName === lockName);
    if (found !== undefined && fits(found)) return found;
  }
}

async function secret(): Promise<{ secret: string; old: { secret: string; until: string } | null }> {
  return (await (await call("secret")).json()) as never;
}

describe("a lock with an unlockWebhookUrl", () => {
  test("[C5bi] tells its end, as the original did, when anybody unlocks it; signed", async () => {
    const target = await receiver();
    await original().lock("told", { unlockWebhookUrl: target.url("/a?b=c") });
    expect(target.connectionCount).toBe(0);
    await original().unlock("told");
    const [{ method, path, headers, body }] = (await target.count(1)) as [(typeof target.received)[0]];
    expect({ method, path, body }).toEqual({
      method: "POST",
      path: "/a?b=c",
      body: '{"serviceId":"reports","lockName":"told"}',
    });
    expect(headers["content-type"]).toBe("application/json");
    expect(headers).not.toHaveProperty("authorization");
    const verified = new Webhook((await secret()).secret).verify(body, headers as Record<string, string>);
    expect(verified).toEqual({ serviceId: "reports", lockName: "told" });
  });

  test("[C5bj] tells it when its time is over, too", async () => {
    const target = await receiver();
    await original().lock("short", { lockExpirationInSeconds: 0.2, unlockWebhookUrl: target.url() });
    expect((await target.count(1))[0]!.body).toBe('{"serviceId":"reports","lockName":"short"}');
    expect(await shown("short", ({ status }) => status === "delivered")).toMatchObject({ endedBy: "expiry" });
  });

  test("[C5bk] each of several names tells its own, once", async () => {
    const target = await receiver();
    await original().lock(["one", "two", "three"], { unlockWebhookUrl: target.url() });
    await original().unlock(["three", "one"]);
    await target.count(2);
    await original().unlock("two");
    const names = (await target.count(3)).map(
      ({ body }) => (JSON.parse(body) as { lockName: string }).lockName,
    );
    expect(names.sort()).toEqual(["one", "three", "two"]);
  });

  test("[C5bl] is what this client's lock takes, too, and only a detached hold of the native protocol", async () => {
    const target = await receiver();
    await client().lock(["mine", 'q"€'], { unlockWebhookUrl: target.url() });
    await client().unlock("mine");
    await target.count(1);
    const native = await NativeClient.welcome(server);
    const { holders } = await native.inspect('q"€');
    expect(await native.request("force", 'q"€', holders[0]!.token, "it hangs")).toMatchObject([
      "done",
      {},
      true,
    ]);
    expect((await target.count(2)).map(({ body }) => JSON.parse(body))).toEqual([
      { serviceId: "reports", lockName: "mine" },
      { serviceId: "reports", lockName: 'q"€' },
    ]);
    const session = await native.request("acquire", "mine", 0, { webhookUrl: target.url() });
    expect(session).toMatchObject(["refused", {}, "INVALID", "Only a detached hold has a webhook."]);
    const bad = await native.request("acquire", "mine", 0, { detachedMs: 1_000, webhookUrl: "ftp://x" });
    expect(bad).toMatchObject(["refused", {}, "INVALID", expect.stringMatching(/begins with https/)]);
    const set = await native.request("acquire", ["mine", "yours"], 0, {
      detachedMs: 9_000,
      webhookUrl: target.url(),
    });
    await native.release(set[2] as number);
    expect((await target.count(4)).length).toBe(4);
    native.close();
  });

  test("[C5bm] that leads into this server's own network is refused: in plain text, or typed", async () => {
    const closed = await startServer();
    const native = await NativeClient.welcome(closed);
    for (const host of ["127.0.0.1", "localhost", "[::ffff:10.0.0.1]", "169.254.169.254", "2130706433"]) {
      const unlockWebhookUrl = `http://${host}:9/`;
      const answer = await ask(closed, {
        path: "/lock",
        body: callBody("lock", "inner", { unlockWebhookUrl }),
      });
      expect(answer).toMatchObject({
        status: 400,
        body: expect.stringMatching(/^INVALID: .* no public address/),
      });
      const typed = await native.request("acquire", "inner", 0, {
        detachedMs: 9_000,
        webhookUrl: unlockWebhookUrl,
      });
      expect(typed).toMatchObject(["refused", {}, "INVALID", expect.stringMatching(/no public address/)]);
    }
    expect(await native.inspect("inner")).toMatchObject({ held: false });
    native.close();
    await closed.close();
  });
});

describe("a hold of the HTTP API with a webhookUrl", () => {
  const api = () => new Api(server);

  test("[C5de] tells its end there: given back, over, or freed by force; of a set, once a name", async () => {
    const target = await receiver();
    const webhookUrl = target.url();
    const released = await api().token("leased", { webhookUrl });
    expect((await api().post("/renew", { token: released })).status).toBe(200);
    expect(target.connectionCount).toBe(0);
    await api().post("/release", { token: released });
    const [{ headers, body }] = (await target.count(1)) as [(typeof target.received)[0]];
    expect(new Webhook((await secret()).secret).verify(body, headers as Record<string, string>)).toEqual({
      serviceId: "reports",
      lockName: "leased",
    });
    const forced = await api().token(["left", { name: "right", mode: "shared" }], { webhookUrl });
    await api().delete(`/locks/left?token=${forced}&reason=it+hangs`);
    await target.count(3);
    const short = await api().token("brief", { webhookUrl, leaseMs: 1_000, maxHoldMs: 200 });
    await target.count(4);
    const ends = new Map<string, object>();
    for (const lockName of ["leased", "left", "right", "brief"]) {
      const { token, endedBy } = await shown(lockName, ({ status }) => status === "delivered");
      ends.set(lockName, { token, endedBy });
    }
    expect(Object.fromEntries(ends)).toEqual({
      leased: { token: released, endedBy: "release" },
      left: { token: forced, endedBy: "force" },
      right: { token: forced, endedBy: "force" },
      brief: { token: short, endedBy: "expiry" },
    });
  });

  test("[C5df] tells nothing of a grant that its caller has hung up on (Q7)", async () => {
    const target = await receiver();
    const webhookUrl = target.url();
    const native = await NativeClient.welcome(server);
    const token = await native.acquire("unread");
    const caller = await HttpConnection.open(server, { isPaused: true });
    const body = JSON.stringify({ names: "unread", waitMs: 60_000, webhookUrl });
    caller.write(requestBytes({ path: `/v1/services/${SERVICE}/acquire`, key: server.rootKey, body }));
    await native.until("unread", ({ queueLength }) => queueLength === 1);
    await native.release(token);
    await native.until("unread", ({ holders }) => holders[0]?.detached === true);
    caller.socket.resetAndDestroy();
    await native.until("unread", ({ held }) => !held);
    native.close();
    await api().post("/release", { token: await api().token("read", { webhookUrl }) });
    expect((await target.count(1)).map(({ body }) => JSON.parse(body).lockName)).toEqual(["read"]);
    expect((await deliveries()).deliveries.map(({ lockName }) => lockName)).not.toContain("unread");
  });

  test("[C5dg] that is no URL, leads inwards, or comes with a session is refused, and locks nothing", async () => {
    const closed = await startServer();
    const there = new Api(closed);
    const { sessionId } = (await there.post("/sessions", {})).body;
    for (const [more, text] of [
      [{ webhookUrl: "ftp://example.com/" }, /begins with https/],
      [{ webhookUrl: "unlocked" }, /whole URL/],
      [{ webhookUrl: "https://ann:secret@example.com/" }, /no user name/],
      [{ webhookUrl: `https://example.com/${"€".repeat(400)}` }, /at most 1,024 bytes/],
      [{ webhookUrl: 5 }, /webhookUrl/],
      [{ webhookUrl: null }, /webhookUrl/],
      [{ webhookURL: "https://example.com/" }, /Unknown field "webhookURL"/],
      [{ webhookUrl: "http://127.0.0.1:9/" }, /no public address/],
      [{ webhookUrl: "http://[::ffff:10.0.0.1]/" }, /no public address/],
      [{ webhookUrl: "https://localhost/" }, /no public address/],
      [{ webhookUrl: "https://example.com/", sessionId }, /hold of a session has no webhook/],
    ] as const) {
      const answer = await there.acquire("inner", more);
      expect([answer.status, answer.body], JSON.stringify(more)).toMatchObject([
        400,
        { error: { code: "INVALID", message: expect.stringMatching(text) } },
      ]);
    }
    expect(await there.inspect("inner")).toMatchObject({ held: false });
    await closed.close();
  });
});

describe("what became of deliveries", () => {
  test("[C5bo] is shown: what, where to, how often tried, what was said", async () => {
    const target = await receiver();
    target.answer = (_request, response) => response.writeHead(503).end("busy");
    await original().lock("shown", { unlockWebhookUrl: target.url("/x") });
    await original().unlock("shown");
    const delivery = await shown("shown", ({ attempts }) => attempts === 1);
    const iso = expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    expect(delivery).toEqual({
      id: target.received[0]!.headers["webhook-id"],
      service: "reports",
      lockName: "shown",
      token: expect.any(Number),
      endedBy: "release",
      url: target.url("/x"),
      createdAt: iso,
      status: "pending",
      attempts: 1,
      lastAttemptAt: iso,
      lastStatus: 503,
      lastError: "answered 503",
      nextAttemptAt: iso,
      paused: false,
    });
    const inMs = Date.parse(delivery.nextAttemptAt!) - Date.parse(delivery.lastAttemptAt!);
    expect(inMs).toBeGreaterThan(2_400);
    expect(inMs).toBeLessThan(6_000);
  });

  test("[C5bp] one is tried again when somebody says so, under its id, also when it was delivered", async () => {
    const target = await receiver();
    target.answer = (_request, response) => response.writeHead(500).end();
    await original().lock("again", { unlockWebhookUrl: target.url() });
    await original().unlock("again");
    const { id } = await shown("again", ({ attempts }) => attempts === 1);
    target.answer = (_request, response) => response.end();
    const retried = await call(`deliveries/${id}/retry`, { method: "POST" });
    expect([retried.status, await retried.json()]).toMatchObject([202, { id, status: "pending" }]);
    await target.count(2);
    expect(await shown("again", ({ status }) => status === "delivered")).toMatchObject({
      attempts: 2,
      lastStatus: 200,
      lastError: null,
      nextAttemptAt: null,
    });
    await call(`deliveries/${id}/retry`, { method: "POST" });
    const ids = (await target.count(3)).map(({ headers }) => headers["webhook-id"]);
    expect(new Set(ids)).toEqual(new Set([id]));
    const unknown = await call("deliveries/msg_none/retry", { method: "POST" });
    expect([unknown.status, await unknown.json()]).toEqual([404, errorShape("NOT_FOUND")]);
  });

  test("[C5ci] one that is pending is given up when somebody says so; one that is over stays as it is", async () => {
    const target = await receiver();
    target.answer = (_request, response) => response.writeHead(500).end();
    await original().lock("unwanted", { unlockWebhookUrl: target.url() });
    await original().unlock("unwanted");
    const { id } = await shown("unwanted", ({ attempts }) => attempts === 1);
    const givenUp = await call(`deliveries/${id}`, { method: "DELETE" });
    const info = { id, status: "failed", attempts: 1, lastError: "given up by hand", nextAttemptAt: null };
    expect([givenUp.status, await givenUp.json()]).toMatchObject([200, info]);
    expect((await deliveries("?status=failed")).deliveries).toMatchObject([info]);
    target.answer = (_request, response) => response.end();
    await call(`deliveries/${id}/retry`, { method: "POST" });
    await shown("unwanted", ({ status }) => status === "delivered");
    expect(await (await call(`deliveries/${id}`, { method: "DELETE" })).json()).toMatchObject({
      status: "delivered",
    });
    const unknown = await call("deliveries/msg_none", { method: "DELETE" });
    expect([unknown.status, await unknown.json()]).toEqual([404, errorShape("NOT_FOUND")]);
  });

  test("[C5bq] the newest come first, page by page, of one kind or all", async () => {
    const target = await receiver();
    const names = Array.from({ length: 7 }, (_, at) => `page ${at}`);
    for (const name of names) {
      await original().lock(name, { unlockWebhookUrl: target.url() });
      await original().unlock(name);
    }
    await shown("page 6", ({ status }) => status === "delivered");
    const seen: string[] = [];
    let before: string | null = "";
    while (before !== null && seen.length < 7) {
      const page = await deliveries(
        `?limit=3&status=delivered${before === "" ? "" : `&before=${encodeURIComponent(before)}`}`,
      );
      seen.push(...page.deliveries.map(({ lockName }) => lockName));
      before = page.next;
    }
    expect(seen.slice(0, 7)).toEqual([...names].reverse());
    expect(
      (await deliveries("?status=pending&limit=500")).deliveries.map(({ lockName }) => lockName),
    ).not.toContain("page 6");
  });

  test.each([
    "?limit=0",
    "?limit=501",
    "?limit=x",
    "?limit=1&limit=2",
    "?status=over",
    "?before=x",
    "?after=x",
  ])("[C5br] a query that means nothing is refused: %s", async (query) => {
    const answer = await call(`deliveries${query}`);
    expect([answer.status, await answer.json()]).toEqual([400, errorShape("INVALID")]);
  });

  test("[C5bs] nothing of it is told to whoever has no key", async () => {
    for (const [path, method] of [
      ["deliveries", "GET"],
      ["deliveries/msg_1/retry", "POST"],
      ["deliveries/msg_1", "DELETE"],
      ["secret", "GET"],
      ["secret/rotate", "POST"],
    ] as const) {
      const answer = await call(path, { method, key: "ldb_wrong" });
      expect([path, answer.status, await answer.json()]).toEqual([path, 401, errorShape("UNAUTHORIZED")]);
    }
  });
});

describe("the secret", () => {
  test("[C5bt] is made at its first use and stays, until it is changed; then both sign for a day", async () => {
    const first = await secret();
    expect(first).toEqual({ secret: expect.stringMatching(/^whsec_/), old: null });
    expect(await secret()).toEqual(first);
    const rotated = await call("secret/rotate", { method: "POST" });
    expect(rotated.headers.get("cache-control")).toBe("no-store");
    const second = await secret();
    expect(await rotated.json()).toEqual(second);
    expect(second.secret).not.toBe(first.secret);
    expect(second.old!.secret).toBe(first.secret);
    expect(Date.parse(second.old!.until) - Date.now()).toBeGreaterThan(86_300_000);
    const target = await receiver();
    await original().lock("both", { unlockWebhookUrl: target.url() });
    await original().unlock("both");
    const [{ headers, body }] = (await target.count(1)) as [(typeof target.received)[0]];
    for (const each of [first.secret, second.secret])
      expect(new Webhook(each).verify(body, headers as Record<string, string>)).toBeTruthy();
    expect((headers["webhook-signature"] as string).split(" ").length).toBe(2);
  });

  test("[C5bu] changed once more, the oldest signs no more; with no time to keep it, the old one neither", async () => {
    const first = await secret();
    await call("secret/rotate", { method: "POST", body: { oldKeptMs: 60_000 } });
    const second = await secret();
    const third = (await (
      await call("secret/rotate", { method: "POST", body: { oldKeptMs: 0 } })
    ).json()) as object;
    expect(third).toEqual({ secret: expect.stringMatching(/^whsec_/), old: null });
    expect(JSON.stringify(third)).not.toContain(first.secret);
    expect(JSON.stringify(third)).not.toContain(second.secret);
    expect(await secret()).toEqual(third);
  });

  test("[C5di] is the only thing that its addresses know: other methods and fields are refused, a body may be left out", async () => {
    const api = new Api(server);
    const before = await secret();
    for (const [method, path, allow] of [
      ["POST", "deliveries", "GET, HEAD, OPTIONS"],
      ["GET", "deliveries/msg_1", "DELETE, OPTIONS"],
      ["GET", "deliveries/msg_1/retry", "POST, OPTIONS"],
      ["DELETE", "secret", "GET, HEAD, OPTIONS"],
      ["GET", "secret/rotate", "POST, OPTIONS"],
    ] as const) {
      const { status, headers, body } = await api.call(method, `/v1/webhooks/${path}`);
      expect([path, status, headers.get("allow"), body]).toEqual([path, 405, allow, errorShape("INVALID")]);
    }
    for (const [method, path, body] of [
      ["POST", "deliveries/msg_1/retry", "{}"],
      ["POST", "deliveries/msg_1/retry?now=1", undefined],
      ["POST", "deliveries/other_1/retry", undefined],
      ["DELETE", `deliveries/msg_${"x".repeat(65)}`, undefined],
      ["GET", "secret?old=1", undefined],
      ["POST", "secret/rotate", '{"oldKeptMs":1,"oldKeptMs":2}'],
      ["POST", "secret/rotate", "null"],
      ["POST", "secret/rotate", "{"],
    ] as const) {
      const answer = await api.call(method, `/v1/webhooks/${path}`, body);
      expect([path, answer.status, answer.body]).toEqual([path, 400, errorShape("INVALID")]);
    }
    expect(await secret()).toEqual(before);
    expect((await call("secret/rotate", { method: "POST", body: {} })).status).toBe(200);
  });

  test.each([
    [[]],
    [5],
    [{ oldKeptMs: -1 }],
    [{ oldKeptMs: "1" }],
    [{ oldKeptMs: 2_592_000_001 }],
    [{ oldKept: 1 }],
  ])("[C5bv] a change that means nothing is refused, and changes nothing: %j", async (body) => {
    const before = await secret();
    const answer = await call("secret/rotate", { method: "POST", body });
    expect([answer.status, await answer.json()]).toEqual([400, errorShape("INVALID")]);
    expect(await secret()).toEqual(before);
  });
});
