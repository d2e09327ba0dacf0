import LockDB from "lockdb";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AccessServer, DAY_MS, type Made } from "./access.js";
import { newId, refusalOf } from "./api.js";
import { OriginalClient } from "./original-client.js";
import { ask, callBody, HttpConnection, isRefusal, NativeClient, requestBytes } from "./server.js";

let server: AccessServer;

beforeAll(async () => {
  server = await AccessServer.start();
});

afterAll(() => server.close());

/** A trial that began with the sign-up, and what it has before its end. */
async function trial(): Promise<Made> {
  server.ahead.monotonicMs += 3_600_000;
  const { status, body } = await server.api.post("/v1/signup", { email: "dev@example.com" }, { key: null });
  expect(status).toBe(201);
  return { id: body.account.id, apiKey: body.apiKey };
}

describe("the end of a trial", () => {
  test("[A4d] comes after 30 days by the time of day: new locks are refused, on every interface, with a way on", async () => {
    const { apiKey, id } = await trial();
    const key = { key: apiKey };
    const { trialEndsAt } = (await server.api.get("/v1/self", key)).body.account;
    const native = await NativeClient.welcome(server.as(apiKey));
    server.ahead.wallMs += Date.parse(trialEndsAt) - Date.now() - server.ahead.wallMs - 2_000;
    await native.acquire("before");
    expect((await server.api.acquire("also before", { leaseMs: 60_000 }, key)).status).toBe(200);
    expect((await server.api.get("/v1/self", key)).body.account.daysLeft).toBe(1);
    server.ahead.wallMs += 2_001;
    expect((await server.api.get("/v1/self", key)).body.account.daysLeft).toBe(0);

    const overHttp = await server.api.acquire("after", {}, key);
    expect(refusalOf(overHttp)).toEqual([403, "TRIAL_ENDED"]);
    expect(overHttp.body.error).toMatchObject({
      retryable: false,
      message: expect.stringContaining("operator"),
    });
    expect(await native.request("acquire", "after", 0)).toMatchObject({ 0: "refused", 2: "TRIAL_ENDED" });
    for (const extra of [{ detachedMs: 1_000 }, { steal: true }, { leads: true }])
      expect(await native.request("acquire", "after", 0, extra)).toMatchObject({
        0: "refused",
        2: "TRIAL_ENDED",
      });
    // A session may be opened, and has nothing of it.
    await server.api.post("/sessions", { sessionId: "late-session" }, key);
    expect(refusalOf(await server.api.acquire("after", { sessionId: "late-session" }, key))).toEqual([
      403,
      "TRIAL_ENDED",
    ]);
    const another = await NativeClient.welcome(server.as(apiKey));
    expect(await another.request("acquire", "after", null)).toMatchObject({ 0: "refused", 2: "TRIAL_ENDED" });
    expect(await server.api.get("/locks/after", key)).toMatchObject({
      body: { held: false, queueLength: 0 },
    });

    // An operator extends it, and it goes on where it was, with all that is open.
    await server.change(id, {
      trialEndsAt: new Date(Date.now() + server.ahead.wallMs + DAY_MS).toISOString(),
    });
    await another.acquire("extended");
    expect((await server.api.acquire("after", {}, key)).status).toBe(200);
    native.close();
    another.close();
  });

  test("[C2aa] the original client is refused in plain text, and not told that it has a lock", async () => {
    const { apiKey, id } = await trial();
    const client = new OriginalClient("reports", { apiKey, serverUrl: server.url });
    expect(await client.lock("theirs", { waitTimeoutInMs: 1_000 })).toBe(true);
    await server.endTrial(id);
    const answer = (await ask(server.as(apiKey), { path: "/lock", body: callBody("lock", "x") }))!;
    expect(answer).toMatchObject({
      status: 403,
      headers: { "content-type": expect.stringContaining("text/plain") },
      body: expect.stringMatching(/^TRIAL_ENDED: .*operator/),
    });
    expect(isRefusal(answer)).toBe(true);
    await expect(client.lock("x", { waitTimeoutInMs: 1_000 })).rejects.toThrow(SyntaxError);
    // What it holds it can look at and give back.
    expect(await client.check("theirs")).toBe(true);
    expect(await client.unlock("theirs")).toBe(true);
    expect(await client.check("theirs")).toBe(false);
  });

  test("[A4e] what is held can be looked at, kept and given back", async () => {
    const { apiKey, id } = await trial();
    const key = { key: apiKey };
    const native = await NativeClient.welcome(server.as(apiKey));
    const nativeToken = await native.acquire("native");
    const { token } = (await server.api.acquire("leased", { leaseMs: 60_000 }, key)).body;
    const { token: another } = (await server.api.acquire("forced", { leaseMs: 60_000 }, key)).body;
    await server.api.post("/sessions", { sessionId: "a-session" }, key);
    const { token: inSession } = (await server.api.acquire("in session", { sessionId: "a-session" }, key))
      .body;
    await server.endTrial(id);
    expect((await server.api.post("/renew", { token }, key)).status).toBe(200);
    expect((await server.api.post("/sessions/a-session/heartbeat", undefined, key)).status).toBe(200);
    expect((await server.api.get("/locks/leased", key)).body).toMatchObject({ held: true });
    expect((await server.api.get("/locks", key)).body.locks.length).toBe(4);
    expect((await native.request("check", "native", 0))[2]).toBe(true);
    expect((await native.request("list", {}))[0]).toBe("done");
    expect((await native.request("heartbeat"))[0]).toBe("done");
    expect(
      (await server.api.post("/release", { token: inSession, sessionId: "a-session" }, key)).status,
    ).toBe(200);
    expect((await server.api.post("/release", { token }, key)).status).toBe(200);
    expect((await server.api.delete(`/locks/forced?token=${another}&reason=over`, key)).status).toBe(200);
    expect((await native.request("release", nativeToken))[0]).toBe("done");
    expect((await server.api.delete("/sessions/a-session", key)).status).toBe(200);
    // Its account and keys are its own still.
    expect((await server.api.get("/v1/keys", key)).status).toBe(200);
    expect((await server.api.post("/v1/keys", { scopes: ["lock"] }, key)).status).toBe(201);
    expect((await server.api.get("/v1/audit", key)).status).toBe(200);
    native.close();
  });

  test("[A4f] who waits already may still be granted, also one that asks again for what it waits for, or has", async () => {
    const { apiKey, id } = await trial();
    const key = { key: apiKey };
    const [holder, waiter] = [
      await NativeClient.welcome(server.as(apiKey)),
      await NativeClient.welcome(server.as(apiKey)),
    ];
    const tokens = [
      await holder.acquire("a"),
      await holder.acquire("b"),
      await holder.acquire("c"),
      await holder.acquire("d"),
    ];
    waiter.send(["acquire", 1, "a", null]);
    await waiter.next("queued", 1);
    const waiting = server.api.acquire("b", { waitMs: null }, key);
    const original = await HttpConnection.open(server);
    original.write(
      requestBytes({ path: "/lock", key: apiKey, body: callBody("lock", "c", { waitForLockInMs: 9_000 }) }),
    );
    const requestId = newId();
    const slice = await server.api.acquire("d", { waitMs: null, sliceMs: 10, requestId }, key);
    expect(slice.status).toBe(202);
    for (const name of ["b", "c"]) await holder.until(name, ({ queueLength }) => queueLength === 1);
    await server.endTrial(id);
    for (const token of tokens) await holder.release(token);
    await waiter.next("granted", 1);
    expect((await waiting).status).toBe(200);
    expect(await original.answer()).toMatchObject({ status: 200, body: expect.stringContaining('"lock"') });
    const mine = await server.api.acquire("d", { waitMs: null, requestId }, key);
    expect(mine.status).toBe(200);
    expect((await server.api.acquire("d", { waitMs: null, requestId }, key)).body.token).toBe(
      mine.body.token,
    );
    const another = { waitMs: null, requestId: newId() };
    expect(refusalOf(await server.api.acquire("e", another, key))).toEqual([403, "TRIAL_ENDED"]);
    holder.close();
    waiter.close();
    original.socket.destroy();
  });

  test("[A4g] the client rejects with the code, and its lease goes on", async () => {
    const { apiKey, id } = await trial();
    const locker = new LockDB("reports", { serverUrl: server.url, apiKey });
    const lease = await locker.acquire("mine");
    await server.endTrial(id);
    await expect(locker.acquire("another")).rejects.toMatchObject({ code: "TRIAL_ENDED", retryable: false });
    lease.assertHeld();
    expect(await lease.release()).toBe(true);
    await locker.close();
  });

  test("[A4h] a converted trial is an account like others: no end, no limits", async () => {
    const { apiKey, id } = await trial();
    await server.endTrial(id);
    const { status, body } = await server.change(id, { trialEndsAt: null });
    expect([status, body.trialEndsAt, body.daysLeft]).toEqual([200, null, null]);
    expect(body.limits).toMatchObject({ holds: null, requestsPerSecond: null, keys: 10_000 });
    for (let n = 0; n < 60; n++)
      expect((await server.api.acquire(`c${n}`, {}, { key: apiKey })).status).toBe(200);
  });

  test("[A4i] a trial extends itself in no way", async () => {
    const { apiKey, id } = await trial();
    for (const change of [
      { trialEndsAt: "2099-01-01T00:00:00Z" },
      { trialEndsAt: null },
      { limits: { holds: 9 } },
    ]) {
      const answer = await server.api.call("PATCH", `/v1/accounts/${id}`, change, { key: apiKey });
      expect(refusalOf(answer)).toEqual([403, "FORBIDDEN"]);
    }
    expect(refusalOf(await server.api.post("/v1/accounts", {}, { key: apiKey }))).toEqual([403, "FORBIDDEN"]);
    expect((await server.api.get("/v1/self", { key: apiKey })).body.account.daysLeft).toBe(30);
  });
});

describe("signing up", () => {
  test("[A4j] gives an account and a key with all four scopes that works at once; an email may repeat", async () => {
    server.ahead.monotonicMs += 3_600_000;
    const answers = [];
    for (let n = 0; n < 2; n++)
      answers.push(await server.api.post("/v1/signup", { email: "Dev+x@example.com" }, { key: null }));
    const [first, second] = answers.map(({ body }) => body);
    expect(Object.keys(first).sort()).toEqual(["account", "apiKey"]);
    expect(first.account.id).not.toBe(second.account.id);
    const leftMs = Date.parse(first.account.trialEndsAt) - Date.now() - server.ahead.wallMs;
    expect(Math.round(leftMs / 60_000)).toBe(30 * 24 * 60);
    expect(first.account.trialEndsAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    const self = await server.api.get("/v1/self", { key: first.apiKey });
    expect(self.body.key).toMatchObject({
      scopes: ["lock", "read", "force", "admin"],
      services: null,
      expiresAt: null,
    });
    expect(self.body.account).toMatchObject({ email: "Dev+x@example.com", daysLeft: 30 });
    const [entry] = (await server.api.get("/v1/audit", { key: first.apiKey })).body.entries;
    expect(entry).toMatchObject({ who: "sign-up from 127.0.0.1", what: "account made" });
  });

  test("[A4k] is done five times an hour from one address; what is malformed does not count", async () => {
    server.ahead.monotonicMs += 3_600_000;
    const signUp = (body: unknown) => server.api.post("/v1/signup", body, { key: null });
    for (const body of [
      {},
      { email: "no" },
      { email: "a@b", more: 1 },
      { email: 5 },
      "{",
      { email: `a@${"b".repeat(300)}` },
    ])
      expect(refusalOf(await signUp(body))).toEqual([400, "INVALID"]);
    for (let n = 0; n < 5; n++) expect((await signUp({ email: "a@b" })).status).toBe(201);
    const refused = await signUp({ email: "a@b" });
    expect(refusalOf(refused)).toEqual([429, "RATE_LIMITED"]);
    const waitS = Number(refused.headers.get("retry-after"));
    expect(waitS).toBeGreaterThan(3_500);
    expect(waitS).toBeLessThanOrEqual(3_600);
    server.ahead.monotonicMs += waitS * 1_000;
    expect((await signUp({ email: "a@b" })).status).toBe(201);
  });

  test("[A4m] answers when the account is durable, and UNAVAILABLE when that is not known", async () => {
    server.ahead.monotonicMs += 3_600_000;
    const before = (await server.api.get("/v1/accounts?limit=1000")).body.accounts.length;
    server.store.isManual = true;
    const asked = server.api.post("/v1/signup", { email: "a@b" }, { key: null });
    let commit = await server.store.nextCommit();
    // What else was to be written goes first.
    while (!commit.batch.some(({ key }) => key.endsWith("/account"))) {
      commit.succeed();
      commit = await server.store.nextCommit();
    }
    expect(commit.batch.map(({ key }) => key.split("/")[1])).toEqual(
      expect.arrayContaining(["account", "key", "audit"]),
    );
    server.store.isManual = false;
    commit.fail();
    expect(refusalOf(await asked)).toEqual([503, "UNAVAILABLE"]);
    while (!server.parts.loop.ready) await new Promise((resolve) => setImmediate(resolve));
    expect((await server.api.get("/v1/accounts?limit=1000")).body.accounts.length).toBe(before);
  });
});
