import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Receiver } from "../webhooks/receiver.js";
import { AccessServer, type Made } from "./access.js";
import { type CallOptions, newId, refusalOf } from "./api.js";
import { EventReader } from "./event-reader.js";
import { ask, callBody, isRefusal, NativeClient, sleep } from "./server.js";

let server: AccessServer;

beforeAll(async () => {
  server = await AccessServer.start();
});

afterAll(() => server.close());

const MUCH = { requestsPerSecond: 1_000_000 };
const FULL = [429, "LIMIT_EXCEEDED"];
const as = ({ apiKey }: Made, service = "reports"): CallOptions => ({ key: apiKey, service });

/** So many native locks, in as few frames as will do. */
async function locks(client: NativeClient, count: number, name: string, extra?: object) {
  const ids = Array.from({ length: count }, () => client.newId());
  for (let at = 0; at < count; at += 200)
    client.send(
      ...ids.slice(at, at + 200).map((id) => ["acquire", id, `${name}${id}`, 0, ...(extra ? [extra] : [])]),
    );
  const answers = [];
  for (const _ of ids) answers.push(await client.take(([kind]) => kind === "granted" || kind === "refused"));
  return answers.filter(([kind]) => kind === "granted").map((message) => message[2] as number);
}

describe("requests a second", () => {
  test("[A5h] a trial makes 50; over it 429 with Retry-After, on every interface, and what gives back goes on", async () => {
    const trial = await server.account(true);
    const other = await server.account(true);
    const native = await NativeClient.welcome(server.as(trial.apiKey));
    server.frozenMs = performance.now() + 10_000;
    try {
      const held = await server.api.acquire("x", { leaseMs: 60_000 }, as(trial));
      expect(held.headers.get("ratelimit-policy")).toBe('"account";q=50;w=1');
      expect(held.headers.get("ratelimit")).toBe('"account";r=49;t=1');
      const nativeToken = await native.acquire("y");
      for (let n = 48; n > 0; n--) {
        const { status, headers } = await server.api.get("/stats", as(trial));
        expect([status, headers.get("ratelimit")]).toEqual([200, `"account";r=${n - 1};t=1`]);
      }
      const refused = await server.api.get("/stats", as(trial));
      expect(refusalOf(refused)).toEqual([429, "RATE_LIMITED"]);
      expect(refused.body.error.retryable).toBe(true);
      expect(refused.headers.get("retry-after")).toBe("1");
      expect(refused.headers.get("ratelimit")).toBe('"account";r=0;t=1');
      expect(await native.request("acquire", "z", 0)).toMatchObject({ 0: "refused", 2: "RATE_LIMITED" });
      const original = (await ask(server.as(trial.apiKey), { path: "/lock", body: callBody("lock", "z") }))!;
      expect(original).toMatchObject({ status: 429, headers: { "retry-after": "1" } });
      expect(isRefusal(original)).toBe(true);
      const bad = (await ask(server.as(trial.apiKey), { path: "/lock", body: "no JSON" }))!;
      expect([bad.status, isRefusal(bad)]).toEqual([429, true]);
      // What keeps a lock, or gives it back.
      const { token } = held.body;
      expect((await server.api.post("/renew", { token }, as(trial))).status).toBe(200);
      expect((await server.api.post("/release", { token }, as(trial))).status).toBe(200);
      expect((await native.request("release", nativeToken))[0]).toBe("done");
      expect((await native.request("heartbeat"))[0]).toBe("done");
      expect(
        (await ask(server.as(trial.apiKey), { path: "/unlock", body: callBody("unlock", "z") }))!.status,
      ).toBe(200);
      expect((await server.api.get("/v1/self", as(trial))).status).toBe(200);
      // Nobody else notices.
      for (let n = 0; n < 40; n++) expect((await server.api.get("/stats", as(other))).status).toBe(200);
      for (let n = 0; n < 200; n++) expect((await server.api.get("/stats")).status).toBe(200);
      expect((await server.api.get("/stats")).headers.get("ratelimit")).toBeNull();
      // A tenth of a second later there are five more.
      server.frozenMs += 100;
      const after = [];
      for (let n = 0; n < 7; n++) after.push((await server.api.get("/stats", as(trial))).status);
      expect(after).toEqual([200, 200, 200, 200, 200, 429, 429]);
    } finally {
      server.frozenMs = null;
      native.close();
    }
  });

  test("[A5i] a request is counted before it is read: what is malformed, forbidden or unknown counts too", async () => {
    const trial = await server.account(true);
    server.frozenMs = performance.now() + 20_000;
    try {
      for (let n = 0; n < 10; n++) {
        expect((await server.api.post("/acquire", "{", as(trial))).status).toBe(400);
        expect((await ask(server.as(trial.apiKey), { path: "/lock", body: "{" }))!.status).toBe(400);
        expect((await server.api.get("/v1/keys/nobodys", as(trial))).status).toBe(404);
        expect((await server.api.post("/v1/accounts", {}, as(trial))).status).toBe(403);
        expect((await server.api.get("/locks?limit=0", as(trial))).status).toBe(400);
      }
      for (const path of ["/stats", "/v1/keys"])
        expect((await server.api.get(path, as(trial))).status).toBe(429);
    } finally {
      server.frozenMs = null;
    }
  });
});

describe("what a trial has in all its services together", () => {
  test("[A5j] 1,000 holds, and `default` and another account as before", async () => {
    const trial = await server.account(true, MUCH);
    const [one, two] = [
      await NativeClient.welcome(server.as(trial.apiKey)),
      await NativeClient.welcome(server.as(trial.apiKey), { service: "billing" }),
    ];
    expect((await locks(one, 400, "a")).length).toBe(400);
    expect((await locks(one, 100, "d", { detachedMs: 600_000 })).length).toBe(100);
    const [token] = await locks(two, 499, "b");
    expect((await server.api.get("/v1/self", as(trial))).body.account.use).toMatchObject({
      holds: 999,
      services: 2,
    });
    const last = await server.api.acquire("last", { leaseMs: 600_000 }, as(trial, "third"));
    expect(last.status).toBe(200);
    for (const service of ["reports", "billing", "third", "fourth"]) {
      const refused = await server.api.acquire("more", {}, as(trial, service));
      expect(refusalOf(refused)).toEqual(FULL);
      expect(refused.headers.get("retry-after")).toBe("5");
    }
    expect(await one.request("acquire", "more", 0)).toMatchObject({ 0: "refused", 2: "LIMIT_EXCEEDED" });
    const original = (await ask(server.as(trial.apiKey), { path: "/lock", body: callBody("lock", "more") }))!;
    expect([original.status, isRefusal(original)]).toEqual([429, true]);
    // A waiter for what is held is one that will hold it.
    expect(refusalOf(await server.api.acquire("last", { waitMs: 1_000 }, as(trial, "third")))).toEqual(FULL);
    for (const who of [await server.account(true, MUCH), await server.account(false)])
      expect((await server.api.acquire("theirs", {}, as(who))).status).toBe(200);
    expect((await server.api.acquire("theirs")).status).toBe(200);
    // What is given back makes room, in any service.
    await two.release(token!);
    expect((await server.api.acquire("more", {}, as(trial, "fourth"))).status).toBe(200);
    expect(refusalOf(await server.api.acquire("more", {}, as(trial)))).toEqual(FULL);
    one.close();
    two.close();
  });

  test("[A5k] a request whose answer was lost has it again, also when there is no room", async () => {
    const trial = await server.account(true, { ...MUCH, holds: 2 });
    const requestId = newId();
    const body = { requestId, leaseMs: 60_000 };
    const first = await server.api.acquire("a", body, as(trial));
    await server.api.acquire("b", { leaseMs: 60_000 }, as(trial));
    expect(refusalOf(await server.api.acquire("c", {}, as(trial)))).toEqual(FULL);
    const again = await server.api.acquire("a", body, as(trial));
    expect([again.status, again.body.token]).toEqual([200, first.body.token]);
  });

  test("[A5l] 1,000 waiters", async () => {
    const trial = await server.account(true, { ...MUCH, holds: 100_000 });
    const [holder, other] = [
      await NativeClient.welcome(server.as(trial.apiKey)),
      await NativeClient.welcome(server.as(trial.apiKey), { service: "billing" }),
    ];
    await holder.acquire("x");
    await other.acquire("x");
    const wait = async (client: NativeClient, count: number) => {
      const ids = Array.from({ length: count }, () => client.newId());
      for (let at = 0; at < count; at += 200)
        client.send(...ids.slice(at, at + 200).map((id) => ["acquire", id, "x", null]));
      const answers = [];
      for (const _ of ids)
        answers.push(await client.take(([kind]) => kind === "queued" || kind === "refused"));
      return answers;
    };
    // The limit of one lock's queue is 1,000 in these tests: no one of the two is full.
    expect((await wait(holder, 600)).filter(([kind]) => kind === "queued").length).toBe(600);
    const rest = await wait(other, 410);
    expect(rest.filter(([kind]) => kind === "queued").length).toBe(400);
    expect(rest.at(-1)).toMatchObject({ 0: "refused", 2: "LIMIT_EXCEEDED" });
    expect(refusalOf(await server.api.acquire("x", { waitMs: 100 }, as(trial)))).toEqual(FULL);
    // Not those who do not wait, and nobody else.
    expect((await server.api.acquire("free", {}, as(trial))).status).toBe(200);
    await server.api.acquire("x", { leaseMs: 300 });
    expect((await server.api.acquire("x", { waitMs: 5_000 })).status).toBe(200);
    holder.close();
    other.close();
  });

  test("[A5m] 100 sessions, native and over HTTP", async () => {
    const trial = await server.account(true, { ...MUCH, connections: 1_000 });
    const natives = [];
    for (let n = 0; n < 50; n++)
      natives.push(await NativeClient.welcome(server.as(trial.apiKey), { service: `s${n % 3}` }));
    for (let n = 0; n < 50; n++)
      expect(
        (await server.api.post("/sessions", { sessionId: `session-${n}` }, as(trial, `s${n % 4}`))).status,
      ).toBe(201);
    expect(refusalOf(await server.api.post("/sessions", {}, as(trial, "s9")))).toEqual(FULL);
    await expect(NativeClient.welcome(server.as(trial.apiKey))).rejects.toThrow("closed");
    // Opening one again is none more.
    expect((await server.api.post("/sessions", { sessionId: "session-0" }, as(trial, "s0"))).status).toBe(
      200,
    );
    expect((await server.api.post("/sessions", {})).status).toBe(201);
    await natives[0]!.request("bye");
    expect((await server.api.post("/sessions", {}, as(trial, "s9"))).status).toBe(201);
    for (const each of natives) each.close();
  });

  test("[A5n] services: those that are there go on, and new ones are refused as such by all that would make one", async () => {
    const trial = await server.account(true, { ...MUCH, services: 2 });
    for (const service of ["a", "b"])
      expect((await server.api.acquire("x", {}, as(trial, service))).status).toBe(200);
    expect(refusalOf(await server.api.acquire("x", {}, as(trial, "c")))).toEqual(FULL);
    expect(refusalOf(await server.api.get("/locks", as(trial, "c")))).toEqual(FULL);
    expect(refusalOf(await server.api.get("/events?since=0", as(trial, "c")))).toEqual(FULL);
    expect(refusalOf(await server.api.get("/events", as(trial, "c")))).toEqual(FULL);
    expect(refusalOf(await server.api.post("/sessions", {}, as(trial, "c")))).toEqual(FULL);
    expect((await server.api.get("/stats", as(trial, "c"))).body.locks).toBe(0);
    const native = await NativeClient.open(server.as(trial.apiKey));
    native.send([
      "hello",
      {
        service: "c",
        client: "c0000000",
        session: "s0000000",
        connection: 1,
        resume: false,
        leaseMs: 9_000,
        owner: "x",
      },
    ]);
    expect(await native.next("ended")).toMatchObject(["ended", "LIMIT_EXCEEDED", expect.any(String)]);
    const original = (await ask(server.as(trial.apiKey), {
      path: "/check",
      body: callBody("check", "x", { serviceId: "c" }),
    }))!;
    expect([original.status, isRefusal(original)]).toEqual([429, true]);
    expect((await server.api.acquire("y", {}, as(trial, "a"))).status).toBe(200);
    expect((await server.api.get("/v1/services", as(trial))).body.services).toEqual([
      { service: "a" },
      { service: "b" },
    ]);
    expect((await server.api.acquire("x", {}, { service: "c" })).status).toBe(200);
  });

  test("[A5o] native connections and streams of events are one sum; each that ends makes room", async () => {
    const trial = await server.account(true, { ...MUCH, connections: 3 });
    const target = server.as(trial.apiKey);
    const native = await NativeClient.welcome(target);
    const readers = [await EventReader.open(target), await EventReader.open(target)];
    for (const reader of readers) await reader.until("start");
    await expect(NativeClient.open(target)).rejects.toThrow("429");
    for (let n = 0; n < 20; n++) {
      // Each asks for another prefix: what is refused leaves nothing behind.
      expect(refusalOf(await server.api.get(`/events?prefix=p${n}`, as(trial)))).toEqual(FULL);
    }
    readers[0]!.close();
    const again = await until(async () => {
      const reader = await EventReader.open(target);
      return (await reader.status()) === 200 ? reader : null;
    });
    await expect(NativeClient.open(target)).rejects.toThrow("429");
    native.close();
    const client = await until(() => NativeClient.open(target).catch(() => null));
    for (const each of [client, again, readers[1]!]) each.close();
    (await NativeClient.welcome(server)).close();
  });

  test("[A5p] webhook deliveries that are still to be made", async () => {
    const receiver = await Receiver.open();
    const trial = await server.account(true, { ...MUCH, deliveries: 2 });
    receiver.answer = (_request, response) => {
      response.statusCode = 503;
      response.end();
    };
    const webhookUrl = receiver.url();
    for (let n = 0; n < 2; n++) {
      const { body } = await server.api.acquire(`w${n}`, { webhookUrl }, as(trial));
      await server.api.post("/release", { token: body.token }, as(trial));
    }
    expect(refusalOf(await server.api.acquire("w", { webhookUrl }, as(trial)))).toEqual(FULL);
    expect((await server.api.acquire("w", {}, as(trial))).status).toBe(200);
    const { body } = await server.api.acquire("hooked", { webhookUrl });
    expect((await server.api.post("/release", { token: body.token })).status).toBe(200);
    await receiver.close();
  });

  test("[A5q] entries in the audit log: then nothing is done that would need one, and the rest goes on", async () => {
    // Making the account, and this limit, are two of them.
    const trial = await server.account(true, { ...MUCH, acts: 4 });
    const key = await server.key({}, trial.apiKey);
    const { token } = (await server.api.acquire("x", { leaseMs: 60_000 }, as(trial))).body;
    expect((await server.api.call("PUT", "/settings", { lockDelayMs: 0 }, as(trial))).status).toBe(200);
    const { use } = (await server.api.get("/v1/self", as(trial))).body.account;
    expect(use.acts).toBe(4);
    for (const answer of [
      await server.api.post("/v1/keys", { scopes: ["read"] }, as(trial)),
      await server.narrow(key.id, { scopes: ["read"] }, as(trial)),
      await server.api.delete(`/locks/x?token=${token}&reason=because`, as(trial)),
      await server.api.call("PUT", "/settings", { lockDelayMs: 1 }, as(trial)),
      await server.api.post("/v1/webhooks/secret/rotate", {}, as(trial)),
    ])
      expect(refusalOf(answer)).toEqual(FULL);
    // A key that has leaked can be ended all the same, and that is written down.
    expect((await server.revoke(key.id, as(trial))).status).toBe(200);
    expect((await server.api.get("/v1/self", as(trial))).body.account.use.acts).toBe(5);
    const native = await NativeClient.welcome(server.as(trial.apiKey));
    expect(await native.request("force", "x", token, "because")).toMatchObject({
      0: "refused",
      2: "LIMIT_EXCEEDED",
    });
    expect(await native.request("acquire", "x", 0, { steal: true })).toMatchObject({
      0: "refused",
      2: "LIMIT_EXCEEDED",
    });
    expect((await server.api.get("/locks/x", as(trial))).body).toMatchObject({ held: true });
    expect((await server.api.acquire("y", {}, as(trial))).status).toBe(200);
    expect((await server.api.get("/v1/audit", as(trial))).body.entries.length).toBe(5);
    // The operator is no part of that sum.
    expect((await server.change(trial.id, { limits: { keys: 5 } })).status).toBe(200);
    native.close();
  });
});

describe("what a trial could fill by another way", () => {
  test("[A5r] locks that stay closed behind their holders are among its holds, until they are open", async () => {
    const trial = await server.account(true, { ...MUCH, holds: 3 });
    await server.api.call("PUT", "/settings", { lockDelayMs: 60_000 }, as(trial));
    const client = await NativeClient.welcome(server.as(trial.apiKey));
    for (let n = 0; n < 3; n++) await client.request("acquire", `lost ${n}`, 0, { maxHoldMs: 1 });
    const [minHeld] = await locks(client, 1, "kept", { minHoldMs: 60_000 });
    expect(minHeld).toBeUndefined();
    await client.until("lost 2", ({ holders }) => holders[0]?.state === "closed");
    expect(await client.request("acquire", "one more", 0)).toMatchObject({
      0: "refused",
      2: "LIMIT_EXCEEDED",
    });
    expect((await server.api.get("/v1/self", as(trial))).body.account.use.holds).toBe(3);
    client.close();
  });
});

test("[N3zg] a trial has no more lost holds remembered than it may hold; `default` has", async () => {
  const trial = await server.account(true, { ...MUCH, holds: 2 });
  const lost = async (options: CallOptions) => {
    const target = { url: server.url, rootKey: options.key ?? server.rootKey };
    const client = await NativeClient.welcome(target, { service: "lossy" });
    for (let n = 0; n < 4; n++) {
      await client.request("acquire", `lost ${n}`, 0, { maxHoldMs: 1 });
      await client.until(`lost ${n}`, ({ held }) => !held);
    }
    const told = [];
    for (let n = 0; n < 4; n++) {
      const answer = await client.request("acquire", `lost ${n}`, 0);
      told.push(JSON.stringify(answer).includes("expiry"));
      if (answer[0] === "granted") await client.release(answer[2]);
    }
    client.close();
    return told;
  };
  expect(await lost(as(trial))).toEqual([false, false, true, true]);
  expect(await lost({})).toEqual([true, true, true, true]);
});

describe("wrong keys", () => {
  test("[A1l] 60 a minute from an address are refused as such; then 429, and a right one from it passes", async () => {
    server.ahead.monotonicMs += 61_000;
    const wrong = () => server.api.get("/stats", { key: `ldb_root_${randomBytes(19).toString("hex")}` });
    for (let n = 0; n < 60; n++) expect(refusalOf(await wrong())).toEqual([401, "UNAUTHORIZED"]);
    const refused = await wrong();
    expect(refusalOf(refused)).toEqual([429, "RATE_LIMITED"]);
    expect(refused.headers.get("retry-after")).toBe("1");
    await expect(NativeClient.open(server.as("wrong-key"))).rejects.toThrow("429");
    const original = (await ask(server.as("wrong-key"), { path: "/lock", body: callBody("lock", "x") }))!;
    expect([original.status, isRefusal(original)]).toEqual([429, true]);
    expect((await server.api.get("/stats")).status).toBe(200);
    (await NativeClient.welcome(server)).close();
    // Who shows none has tried nothing.
    expect((await server.api.get("/stats", { key: null })).status).toBe(401);
    server.ahead.monotonicMs += 60_000;
    expect(refusalOf(await wrong())).toEqual([401, "UNAUTHORIZED"]);
  });
});

async function until<T>(ask: () => Promise<T | null>): Promise<T> {
  for (let n = 0; n < 200; n++) {
    const found = await ask();
    if (found !== null) return found;
    await sleep(5);
  }
  throw new Error("it never came");
}
