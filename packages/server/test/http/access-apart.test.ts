import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Receiver } from "../webhooks/receiver.js";
import { AccessServer, type Made } from "./access.js";
import { type CallOptions, newId, refusalOf } from "./api.js";
import { EventReader } from "./event-reader.js";
import { OriginalClient } from "./original-client.js";
import { ask, type HttpAnswer, NativeClient } from "./server.js";

let server: AccessServer;
let ann: Made;
let bob: Made;
let receiver: Receiver;

beforeAll(async () => {
  server = await AccessServer.start();
  [ann, bob] = [await server.account(), await server.account()];
  receiver = await Receiver.open();
});

afterAll(async () => {
  await receiver.close();
  await server.close();
});

const as = ({ apiKey }: Made): CallOptions => ({ key: apiKey });
const two = () => [ann, bob] as const;

describe("two accounts with a service of one name", () => {
  test("[A3b] each has the same lock for itself, over every interface, and its own tokens", async () => {
    const tokens = await Promise.all(
      two().map(async (who) => (await server.api.acquire("one", { leaseMs: 60_000 }, as(who))).body.token),
    );
    expect(tokens[0]).toBe(tokens[1]);
    const natives = await Promise.all(two().map(({ apiKey }) => NativeClient.welcome(server.as(apiKey))));
    for (const native of natives) {
      await native.acquire("two");
      expect(await native.request("acquire", "one", 0)).toMatchObject({ 0: "refused", 2: "LOCK_TIMEOUT" });
    }
    const originals = two().map(
      ({ apiKey }) => new OriginalClient("reports", { apiKey, serverUrl: server.url }),
    );
    for (const original of originals)
      expect(await original.lock("three", { waitTimeoutInMs: 2_000 })).toBe(true);
    expect(await originals[0]!.unlock("three")).toBe(true);
    expect(await Promise.all(originals.map((original) => original.check("three")))).toEqual([false, true]);
    // The release of one is none of the other's, though the token is the same.
    await server.api.post("/release", { token: tokens[0] }, as(ann));
    const held = await Promise.all(two().map((who) => server.api.get("/locks/one", as(who))));
    expect(held.map(({ body }) => body.held)).toEqual([false, true]);
    for (const native of natives) native.close();
    await server.api.post("/release", { token: tokens[1] }, as(bob));
  });

  test("[A3c] lists, statistics, services and what an account has are its own", async () => {
    await server.api.acquire("bob's lock", { leaseMs: 60_000 }, { ...as(bob), service: "bobs" });
    const before = (await server.api.get("/stats", as(ann))).body;
    for (let n = 0; n < 5; n++) await server.api.acquire(`bob ${n}`, { leaseMs: 60_000 }, as(bob));
    await server.api.post("/sessions", { sessionId: "bobs-session" }, as(bob));
    expect((await server.api.get("/stats", as(ann))).body).toEqual(before);
    const { locks } = (await server.api.get("/locks", as(ann))).body;
    expect(locks.filter(({ name }: { name: string }) => name.startsWith("bob"))).toEqual([]);
    const services = async (who: Made) =>
      (await server.api.get("/v1/services", as(who))).body.services.map(
        ({ service }: { service: string }) => service,
      );
    expect(await services(ann)).toEqual(["reports"]);
    expect(await services(bob)).toEqual(["bobs", "reports"]);
    expect((await server.api.get("/v1/self", as(ann))).body.account).toMatchObject({
      id: ann.id,
      use: { services: 1, sessions: expect.any(Number) },
    });
    const native = await NativeClient.welcome(server.as(ann.apiKey));
    expect(JSON.stringify(await native.request("list", {}))).not.toContain("bob");
    native.close();
  });

  test("[A3d] events of one are none of the other's, over both kinds of watch, and in the past", async () => {
    const reader = await EventReader.open(server.as(ann.apiKey));
    await reader.until("start");
    const native = await NativeClient.welcome(server.as(ann.apiKey));
    await native.request("watch", {});
    await server.api.get("/events?since=0", as(bob));
    await server.api.acquire("seen by bob", { leaseMs: 60_000 }, as(bob));
    await server.api.acquire("seen by ann", { leaseMs: 60_000 }, as(ann));
    const frame = await reader.next();
    expect(frame.data.names).toEqual(["seen by ann"]);
    expect((await native.next("event"))[4]).toMatchObject({ names: ["seen by ann"] });
    expect(JSON.stringify((await server.api.get("/events?since=0", as(ann))).body)).not.toContain(
      "seen by bob",
    );
    // A position of the other's log is of none of one's own.
    const theirs = (await server.api.get("/events?since=0", as(bob))).body;
    expect(JSON.stringify(theirs)).toContain("seen by bob");
    const asked = await server.api.get(`/events?since=${theirs.position}`, as(ann));
    expect(asked.body).toMatchObject({ missed: true });
    expect(JSON.stringify(asked.body)).not.toContain("seen by bob");
    reader.close();
    native.close();
  });

  test("[A3e] sessions and requests of one id are two, one an account", async () => {
    for (const who of two()) {
      const opened = await server.api.post("/sessions", { sessionId: "the-same-id" }, as(who));
      expect(opened.status).toBe(201);
    }
    await server.api.delete("/sessions/the-same-id", as(ann));
    expect((await server.api.post("/sessions/the-same-id/heartbeat", undefined, as(bob))).status).toBe(200);
    expect(refusalOf(await server.api.post("/sessions/the-same-id/heartbeat", undefined, as(ann)))).toEqual([
      409,
      "SESSION_ENDED",
    ]);
    const requestId = newId();
    const [a, b] = [
      await server.api.acquire("by id", { requestId, leaseMs: 60_000 }, as(ann)),
      await server.api.acquire("other lock", { requestId, leaseMs: 60_000 }, as(bob)),
    ];
    expect([a.status, b.status]).toEqual([200, 200]);
    // A native session, too, is of its account.
    const native = await NativeClient.welcome(server.as(bob.apiKey), { session: "native-session-id" });
    const thief = await NativeClient.open(server.as(ann.apiKey));
    thief.send([
      "hello",
      {
        service: "reports",
        client: "c0000000",
        session: "native-session-id",
        connection: 9,
        resume: true,
        leaseMs: 60_000,
        owner: "x",
      },
    ]);
    expect(await thief.next("ended")).toMatchObject(["ended", "SESSION_ENDED", expect.any(String)]);
    expect((await native.request("heartbeat"))[0]).toBe("done");
    native.close();
  });

  test("[A3f] settings, forced releases and their entries are of one account", async () => {
    await server.api.call("PUT", "/settings", { lockDelayMs: 1_000 }, as(bob));
    expect((await server.api.get("/settings", as(ann))).body).toEqual({ lockDelayMs: 0 });
    await server.api.call("PUT", "/settings", { lockDelayMs: 0 }, as(bob));
    const { token } = (await server.api.acquire("forced", { leaseMs: 60_000 }, as(bob))).body;
    const force = (who: Made) => server.api.delete(`/locks/forced?token=${token}&reason=because`, as(who));
    expect(refusalOf(await force(ann))).toEqual([409, "NOT_HELD"]);
    expect((await force(bob)).status).toBe(200);
    const audit = async (who: Made) => JSON.stringify((await server.api.get("/v1/audit", as(who))).body);
    expect(await audit(bob)).toContain("because");
    expect(await audit(ann)).not.toContain("because");
    expect(await audit(ann)).not.toContain(bob.id);
  });

  test("[A3g] webhooks: deliveries and secrets are of one account, and a call is signed with its own", async () => {
    const { token } = (
      await server.api.acquire("hooked", { leaseMs: 60_000, webhookUrl: receiver.url() }, as(bob))
    ).body;
    await server.api.post("/release", { token }, as(bob));
    await receiver.count(1);
    const page = async (who: Made) =>
      (await server.api.get("/v1/webhooks/deliveries", as(who))).body.deliveries;
    expect((await page(bob)).length).toBe(1);
    expect(await page(ann)).toEqual([]);
    const secret = async (who: Made) => (await server.api.get("/v1/webhooks/secret", as(who))).body.secret;
    const [annsSecret, bobsSecret] = [await secret(ann), await secret(bob)];
    expect(annsSecret).not.toBe(bobsSecret);
    await server.api.post("/v1/webhooks/secret/rotate", {}, as(ann));
    expect(await secret(bob)).toBe(bobsSecret);
    const [{ id }] = await page(bob);
    const acts: readonly (readonly [string, string])[] = [
      ["POST", `/v1/webhooks/deliveries/${id}/retry`],
      ["DELETE", `/v1/webhooks/deliveries/${id}`],
    ];
    for (const [method, path] of acts)
      expect(refusalOf(await server.api.call(method, path, undefined, as(ann)))).toEqual([404, "NOT_FOUND"]);
  });
});

describe("what is not there and what is not one's own", () => {
  /** An answer without its date, and with ids left out: those are what was asked for. */
  async function said(
    path: string,
    id: string,
    key: string,
    { method = "GET", body }: { method?: string; body?: object } = {},
  ) {
    const given = body === undefined ? {} : { body: JSON.stringify(body) };
    const answer = (await ask(server, { method, path: path.replace("ID", id), key, ...given })) as HttpAnswer;
    const { date: _date, "x-request-id": _id, ...headers } = answer.headers;
    return JSON.stringify({ ...answer, headers, body: answer.body.replaceAll(id, "ID") });
  }

  test("[A3h] answer the same, byte by byte", async () => {
    const bobsKey = await server.key({}, bob.apiKey);
    const { apiKey: limited } = await server.key({ services: ["reports"] }, ann.apiKey);
    const { apiKey: operator } = await server.key({ services: ["reports"] });
    await server.api.post("/sessions", { sessionId: "bobs-session" }, as(bob));
    const { deliveries } = (await server.api.get("/v1/webhooks/deliveries", as(bob))).body;
    const account = "acc_0000000000";
    const cases: readonly (readonly [string, string, string, { method?: string; body?: object }?])[] = [
      ["/v1/keys/ID", bobsKey.id, "0000000000"],
      ["/v1/keys/ID", bobsKey.id, "0000000000", { method: "PATCH", body: { scopes: ["read"] } }],
      ["/v1/keys/ID", bobsKey.id, "0000000000", { method: "DELETE" }],
      ["/v1/keys/ID/rotate", bobsKey.id, "0000000000", { method: "POST" }],
      ["/v1/accounts/ID", bob.id, account],
      ["/v1/accounts/ID", "default", account],
      ["/v1/accounts/ID", bob.id, account, { method: "PATCH", body: { trialEndsAt: null } }],
      ["/v1/keys?account=ID", bob.id, account],
      ["/v1/keys?account=ID", "default", account],
      ["/v1/keys?account=ID", bob.id, account, { method: "POST", body: { scopes: ["read"] } }],
      ["/v1/audit?account=ID", bob.id, account],
      [`/v1/keys/${bobsKey.id}?account=ID`, bob.id, account],
      [
        "/v1/webhooks/deliveries/ID/retry",
        deliveries[0].id,
        "msg_0000000000000000000000",
        { method: "POST" },
      ],
      ["/v1/webhooks/deliveries/ID", deliveries[0].id, "msg_0000000000000000000000", { method: "DELETE" }],
      ["/v1/services/reports/sessions/ID/heartbeat", "bobs-session", "nobodys-session", { method: "POST" }],
      ["/v1/services/reports/sessions/ID", "bobs-session", "nobodys-session", { method: "DELETE" }],
      ["/v1/services/ID/stats", "bobs", "nobs"],
      ["/v1/services/ID/locks", "bobs", "nobs"],
    ];
    // An account's key, one of it that is limited to some services, and one of `default` that is: none of them reaches others.
    for (const key of [ann.apiKey, limited, operator]) {
      for (const [path, foreign, absent, how] of cases)
        expect(await said(path, foreign, key, how), `${how?.method} ${path}`).toBe(
          await said(path, absent, key, how),
        );
    }
    expect((await server.api.get(`/v1/keys/${bobsKey.id}`, as(bob))).status).toBe(200);
    expect((await server.api.post("/sessions/bobs-session/heartbeat", undefined, as(bob))).status).toBe(200);
  });

  test("[A3i] a key of `default` for all services reaches other accounts by name, and only by it", async () => {
    const { api } = server;
    const bobsKey = await server.key({ scopes: ["read"] }, bob.apiKey);
    expect(refusalOf(await api.get(`/v1/keys/${bobsKey.id}`))).toEqual([404, "NOT_FOUND"]);
    expect((await api.get(`/v1/keys/${bobsKey.id}?account=${bob.id}`)).body).toMatchObject({
      account: bob.id,
    });
    expect(refusalOf(await api.get(`/v1/keys/${bobsKey.id}?account=${ann.id}`))).toEqual([404, "NOT_FOUND"]);
    expect((await api.get(`/v1/accounts/${bob.id}`)).body).toMatchObject({ id: bob.id });
    expect((await api.get(`/v1/audit?account=${bob.id}`)).body.entries.length).toBeGreaterThan(0);
    const made = await api.post(`/v1/keys?account=${bob.id}`, { scopes: ["read"] });
    expect(made.body.key).toMatchObject({ account: bob.id, createdBy: "operator" });
    expect((await api.get("/v1/self", { key: made.body.apiKey })).body.account.id).toBe(bob.id);
    expect((await server.revoke(`${bobsKey.id}?account=${bob.id}`)).status).toBe(200);
    // Even root sees no locks of theirs: those are for their own keys.
    expect((await api.get("/locks")).body.locks).toEqual([]);
  });

  test("[A3j] outside a key's services it is 403, whether the service is there or not", async () => {
    const { apiKey } = await server.key({ services: ["reports"] }, bob.apiKey);
    expect(refusalOf(await server.api.get("/stats", { key: apiKey, service: "bobs" }))).toEqual([
      403,
      "FORBIDDEN",
    ]);
    expect(await said("/v1/services/ID/stats", "bobs", apiKey)).toBe(
      await said("/v1/services/ID/stats", "nobodys", apiKey),
    );
    const { services } = (await server.api.get("/v1/services", { key: apiKey })).body;
    expect(services).toEqual([{ service: "reports" }]);
    // And it makes none: there is no trace of what it asked for.
    const { services: all } = (await server.api.get("/v1/services", as(bob))).body;
    expect(all).toEqual([{ service: "bobs" }, { service: "reports" }]);
  });
});
