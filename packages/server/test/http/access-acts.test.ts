import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { decodeRecord } from "../../src/store/index.js";
import { AccessServer, type Made } from "./access.js";
import { type CallOptions, refusalOf } from "./api.js";
import { NativeClient } from "./server.js";

// biome-ignore lint/suspicious/noExplicitAny: what comes is compared with the OpenAPI document, in every-answer.ts.
type Json = any;

let server: AccessServer;
let team: Made;
let own: CallOptions;

beforeAll(async () => {
  server = await AccessServer.start();
});

beforeEach(async () => {
  team = await server.account();
  own = { key: team.apiKey };
});

afterAll(() => server.close());

async function entries(query = "", options = own): Promise<Json[]> {
  const { status, body } = await server.api.get(`/v1/audit${query}`, options);
  expect(status).toBe(200);
  return body.entries;
}

describe("keys over HTTP", () => {
  test("[A2ak] one is made, shown once in clear, looked at, listed, narrowed, rotated and revoked", async () => {
    const { api } = server;
    const wish = {
      name: "billing in production",
      scopes: ["lock", "read"],
      services: ["billing"],
      expiresAt: "2099-01-01T00:00:00Z",
    };
    const made = await api.post("/v1/keys", wish, own);
    expect(made.status).toBe(201);
    const { key, apiKey } = made.body;
    expect(key).toMatchObject({
      ...wish,
      account: team.id,
      expiresAt: "2099-01-01T00:00:00.000Z",
      oldSecretEndsAt: null,
      lastUsedAt: null,
      createdBy: expect.stringMatching(/^key \w{10}$/),
    });
    const id = key.id as string;
    expect(apiKey.startsWith(`ldb_${id}_`)).toBe(true);
    expect((await api.get(`/v1/keys/${id}`, own)).body).toEqual(key);
    expect((await api.get("/v1/keys", own)).body.keys.map((each: Json) => each.name)).toEqual([
      "first key",
      wish.name,
    ]);
    expect(JSON.stringify((await api.get("/v1/keys", own)).body)).not.toContain(apiKey.slice(-38));
    expect((await api.get("/v1/self", { key: apiKey })).body.key).toMatchObject({
      id,
      scopes: ["lock", "read"],
    });
    const narrowed = await server.narrow(id, { scopes: ["read"], name: "to look" }, own);
    expect(narrowed.body).toMatchObject({ id, scopes: ["read"], name: "to look", services: ["billing"] });
    expect(refusalOf(await server.narrow(id, { scopes: ["read", "lock"] }, own))).toEqual([400, "INVALID"]);
    const rotated = await api.post(`/v1/keys/${id}/rotate`, undefined, own);
    expect(rotated.status).toBe(200);
    expect(Date.parse(rotated.body.key.oldSecretEndsAt) - Date.now()).toBeGreaterThan(23 * 3_600_000);
    for (const secret of [apiKey, rotated.body.apiKey])
      expect((await api.get("/v1/self", { key: secret })).status).toBe(200);
    const revoked = await server.revoke(id, own);
    expect(revoked.body).toMatchObject({ id, name: "to look" });
    for (const secret of [apiKey, rotated.body.apiKey])
      expect(refusalOf(await api.get("/v1/self", { key: secret }))).toEqual([401, "UNAUTHORIZED"]);
    expect(refusalOf(await api.get(`/v1/keys/${id}`, own))).toEqual([404, "NOT_FOUND"]);
    expect((await api.get("/v1/keys", own)).body.keys.length).toBe(1);
  });

  test.each([
    ["no scope", {}],
    ["an empty list of scopes", { scopes: [] }],
    ["an unknown scope", { scopes: ["root"] }],
    ["a scope twice", { scopes: ["read", "read"] }],
    ["a scope that is no list", { scopes: "read" }],
    ["an empty list of services", { scopes: ["read"], services: [] }],
    ["a service that is none", { scopes: ["read"], services: ["a/b"] }],
    ["too many services", { scopes: ["read"], services: Array.from({ length: 257 }, (_, at) => `s${at}`) }],
    ["an end that is no time", { scopes: ["read"], expiresAt: "tomorrow" }],
    ["an end without a zone", { scopes: ["read"], expiresAt: "2099-01-01T00:00:00" }],
    ["a month that is none", { scopes: ["read"], expiresAt: "2099-13-01T00:00:00Z" }],
    ["a name with a line break", { scopes: ["read"], name: "a\nb" }],
    ["an empty name", { scopes: ["read"], name: "" }],
    ["an unknown field", { scopes: ["read"], account: "default" }],
    ["a secret of one's own", { scopes: ["read"], secrets: [] }],
    ["a list", []],
    ["no JSON", "{"],
  ])("[A2al] a key with %s is refused, and none is made", async (_what, body) => {
    expect(refusalOf(await server.api.post("/v1/keys", body, own))).toEqual([400, "INVALID"]);
    expect((await server.api.get("/v1/keys", own)).body.keys.length).toBe(1);
    expect((await entries()).length).toBe(1);
  });

  test("[A2am] a key gives what it has, also to itself, and only an admin gives anything", async () => {
    const { api } = server;
    const limited = await server.key({ scopes: ["admin", "read"], services: ["a"] }, team.apiKey);
    const by = { key: limited.apiKey };
    for (const more of [
      { scopes: ["read"] },
      { scopes: ["read"], services: ["a", "b"] },
      { scopes: ["read"], services: null },
      { scopes: ["lock"], services: ["a"] },
    ])
      expect(refusalOf(await api.post("/v1/keys", more, by))).toEqual([403, "FORBIDDEN"]);
    expect((await api.post("/v1/keys", { scopes: ["admin", "read"], services: ["a"] }, by)).status).toBe(201);
    expect((await server.narrow(limited.id, { scopes: ["admin"] }, by)).status).toBe(200);
    expect(refusalOf(await api.post("/v1/keys", { scopes: ["read"], services: ["a"] }, by))).toEqual([
      403,
      "FORBIDDEN",
    ]);
    expect((await server.revoke(limited.id, by)).status).toBe(200);
    expect(refusalOf(await api.get("/v1/self", by))).toEqual([401, "UNAUTHORIZED"]);
  });

  test("[A2an] an old secret's time is bounded, and whole milliseconds", async () => {
    const { id } = await server.key({}, team.apiKey);
    for (const oldKeptMs of [-1, 1.5, "5", null, 30 * 24 * 3_600_000 + 1])
      expect(refusalOf(await server.api.post(`/v1/keys/${id}/rotate`, { oldKeptMs }, own))).toEqual([
        400,
        "INVALID",
      ]);
  });
});

describe("accounts over HTTP", () => {
  test("[A2ao] an operator makes, lists, looks at and changes them; an account sees itself", async () => {
    const { api } = server;
    const made = await api.post("/v1/accounts", { email: "team@example.com" });
    expect(made.status).toBe(201);
    const { account, apiKey } = made.body;
    expect(account).toMatchObject({
      email: "team@example.com",
      trialEndsAt: null,
      daysLeft: null,
      use: { holds: 0, acts: 1 },
    });
    const seen: string[] = [];
    for (let after = ""; ; ) {
      const { body } = await api.get(`/v1/accounts?limit=2${after === "" ? "" : `&after=${after}`}`);
      seen.push(...body.accounts.map(({ id }: Json) => id));
      if (body.next === null) break;
      after = body.next;
    }
    expect(seen).toEqual([...new Set(seen)].sort((a, b) => (a < b ? -1 : 1)));
    expect(seen).toEqual(expect.arrayContaining(["default", team.id, account.id]));
    expect((await api.get("/v1/accounts", { key: apiKey })).body.accounts.map(({ id }: Json) => id)).toEqual([
      account.id,
    ]);
    await api.acquire("x", { leaseMs: 60_000 }, { key: apiKey });
    const looked = await api.get(`/v1/accounts/${account.id}`, { key: apiKey });
    expect(looked.body).toMatchObject({ id: account.id, use: { holds: 1, services: 1 } });
    const changed = await server.change(account.id, { limits: { holds: 1 } });
    expect(changed.body.limits).toMatchObject({ holds: 1, waiters: null });
    expect(refusalOf(await api.acquire("y", {}, { key: apiKey }))).toEqual([429, "LIMIT_EXCEEDED"]);
    await server.change(account.id, { limits: { holds: null } });
    expect((await api.acquire("y", {}, { key: apiKey })).status).toBe(200);
  });

  test.each([
    ["an email that is none", "POST", { email: "nobody" }],
    ["a trial that is no truth", "POST", { trial: "yes" }],
    ["an unknown field", "POST", { id: "acc_mine" }],
    ["an end that is no time", "PATCH", { trialEndsAt: "soon" }],
    ["an unknown limit", "PATCH", { limits: { locks: 1 } }],
    ["a limit below none", "PATCH", { limits: { holds: -1 } }],
    ["a limit that is a fraction", "PATCH", { limits: { holds: 1.5 } }],
    ["a limit that is a text", "PATCH", { limits: { holds: "5" } }],
    ["limits that are none", "PATCH", { limits: null }],
  ])("[A2ap] %s is refused, and changes nothing", async (_what, method, body) => {
    const before = (await server.api.get(`/v1/accounts/${team.id}`)).body;
    const path = method === "POST" ? "/v1/accounts" : `/v1/accounts/${team.id}`;
    expect(refusalOf(await server.api.call(method, path, body))).toEqual([400, "INVALID"]);
    expect((await server.api.get(`/v1/accounts/${team.id}`)).body).toEqual(before);
  });
});

describe("the audit log", () => {
  test("[A7b] has every act and forced release: who from where, what, on what, why", async () => {
    const { api } = server;
    const { id } = await server.key({ scopes: ["read"], services: ["a"] }, team.apiKey);
    await server.narrow(id, { name: "less" }, own);
    await api.post(`/v1/keys/${id}/rotate`, { oldKeptMs: 5 }, own);
    await server.revoke(id, own);
    await server.change(team.id, { limits: { keys: 50 } });
    await api.call("PUT", "/settings", { lockDelayMs: 5 }, own);
    await api.call("PUT", "/settings", { lockDelayMs: 0 }, own);
    await api.post("/v1/webhooks/secret/rotate", {}, own);
    const force = async (name: string) => {
      const { token } = (await api.acquire(name, { leaseMs: 60_000 }, own)).body;
      return token as number;
    };
    const tokens = [await force("f1"), await force("f2"), await force("f3"), await force("f4")];
    await api.delete(`/locks/f1?token=${tokens[0]}&reason=it%20hangs`, own);
    await api.delete(`/locks?name=f2&token=${tokens[1]}&reason=it%20hangs%20too`, own);
    const native = await NativeClient.welcome(server.as(team.apiKey), { owner: "an operator" });
    await native.request("force", "f3", tokens[2], "by hand");
    const holder = await NativeClient.welcome(server.as(team.apiKey));
    await holder.acquire("f5");
    expect((await native.request("acquire", "f5", 0, { steal: true }))[0]).toBe("granted");
    // Those that came to nothing are none.
    await api.delete(`/locks/f4?token=${tokens[3]! + 99}&reason=no`, own);
    await server.narrow("nobodys", { name: "x" }, own);
    const found = await entries();
    expect(found.map(({ what }) => what)).toEqual([
      "account made",
      "key made",
      "key narrowed",
      "key rotated",
      "key revoked",
      "account changed",
      "settings changed",
      "settings changed",
      expect.stringContaining("secret"),
      "force release",
      "force release",
      "force release",
      "force release",
    ]);
    const me = `key ${team.apiKey.split("_")[1]}`;
    expect(found[1]).toMatchObject({
      who: `${me} from 127.0.0.1`,
      details: { key: id, scopes: ["read"], services: ["a"] },
    });
    // Which of the operator's keys it was stands in his own log.
    expect(found[5]).toMatchObject({ who: "operator", details: { limits: { keys: 50 } } });
    const his = (await api.get("/v1/audit?limit=1000")).body.entries.filter(
      ({ details }: Json) => details?.account === team.id,
    );
    expect(his.map(({ who, what }: Json) => [who, what])).toEqual([
      ["root key from 127.0.0.1", "account made"],
      ["root key from 127.0.0.1", "account changed"],
    ]);
    expect(found[9]).toMatchObject({
      who: `${me} from 127.0.0.1`,
      service: "reports",
      details: { name: "f1", token: tokens[0], reason: "it hangs" },
    });
    expect(found[11]).toMatchObject({
      who: `${me}, as an operator`,
      details: { name: "f3", reason: "by hand" },
    });
    expect(found[12]).toMatchObject({ details: { name: "f5", reason: "stolen" } });
    for (const { at } of found) expect(Math.abs(Date.parse(at) - Date.now())).toBeLessThan(60_000);
    const text = JSON.stringify(found);
    expect(text).not.toMatch(/ldb_\w+_\w{38}|whsec_|[0-9a-f]{64}/);
    native.close();
    holder.close();
  });

  test("[A7c] is read page by page, in order, each entry once, also when many come in one moment", async () => {
    const made = Array.from({ length: 25 }, (_, at) =>
      server.key({ name: `n${at}`, scopes: ["read"] }, team.apiKey),
    );
    await Promise.all(made);
    const whole = await entries();
    expect(whole.length).toBe(26);
    const times = whole.map(({ at }) => at);
    expect(times).toEqual([...times].sort());
    for (const limit of [1, 7, 25, 26]) {
      const pages: Json[] = [];
      for (let after = ""; ; ) {
        const { body } = await server.api.get(`/v1/audit?limit=${limit}${after && `&after=${after}`}`, own);
        expect(body.entries.length).toBeLessThanOrEqual(limit);
        pages.push(...body.entries);
        if (body.next === null) break;
        after = body.next;
      }
      expect(pages).toEqual(whole);
    }
    // From a time on.
    expect(await entries(`?after=${times[20]}`)).toEqual(whole.filter(({ at }) => at >= times[20]));
    expect(await entries("?after=9999-01-01T00:00:00.000Z")).toEqual([]);
    for (const query of ["limit=0", "limit=1001", "after=%2F", "after=x", "before=1"])
      expect(refusalOf(await server.api.get(`/v1/audit?${query}`, own))).toEqual([400, "INVALID"]);
  });

  test("[A7d] nothing changes or deletes an entry", async () => {
    await server.key({ name: "x" }, team.apiKey);
    const before = await entries();
    for (const method of ["DELETE", "PUT", "PATCH", "POST"])
      for (const path of ["/v1/audit", `/v1/audit?account=${team.id}`])
        expect((await server.api.call(method, path, undefined, method === "POST" ? {} : own)).status).toBe(
          405,
        );
    const { body: document } = await server.api.get("/openapi.json");
    const paths = Object.keys(document.paths).filter((path) => path.includes("audit"));
    expect(paths).toEqual(["/v1/audit"]);
    expect(Object.keys(document.paths["/v1/audit"])).toEqual(["get"]);
    expect(await entries()).toEqual(before);
  });

  test.each([
    ["was written", true],
    ["was not written", false],
  ])(
    "[A7e] an act whose commit fails and %s leaves both itself and its entry, or neither",
    async (_what, isWritten) => {
      const { api, store } = server;
      const key = await server.key({}, team.apiKey);
      const { token } = (await api.acquire(`forced ${isWritten}`, { leaseMs: 600_000 }, own)).body;
      const acts: readonly (() => ReturnType<typeof server.revoke>)[] = [
        () => api.delete(`/locks/forced%20${isWritten}?token=${token}&reason=because`, own),
        () => api.call("PUT", "/settings", { lockDelayMs: 1 }, own),
        () => api.post("/v1/keys", { scopes: ["read"], name: "made" }, own),
        () => server.change(team.id, { limits: { keys: 50 } }),
        () => server.narrow(key.id, { scopes: ["read"] }, own),
        () => server.revoke(key.id, own),
      ];
      for (const act of acts) {
        const before = await entries();
        store.isManual = true;
        const asked = act();
        let commit = await store.nextCommit();
        while (!commit.batch.some(({ key: each }) => each.includes("/audit/"))) {
          commit.succeed();
          commit = await store.nextCommit();
        }
        // Both are in one batch.
        const entry = commit.batch.filter(({ key: each }) => each.includes("/audit/"));
        // Of what an operator does there is one in either log.
        expect(entry.length).toBe(act === acts[3] ? 2 : 1);
        expect(commit.batch.length).toBeGreaterThan(1);
        expect(decodeRecord(entry[0] as never)).toMatchObject({
          who: expect.any(String),
          what: expect.any(String),
        });
        store.isManual = false;
        commit.fail(isWritten);
        expect(refusalOf(await asked)).toEqual([503, "UNAVAILABLE"]);
        while (!server.parts.loop.ready) await new Promise((resolve) => setTimeout(resolve, 5));
        expect((await entries()).length - before.length).toBe(isWritten ? 1 : 0);
      }
      expect((await api.get(`/locks/forced%20${isWritten}`, own)).body.held).toBe(!isWritten);
      expect((await api.get("/settings", own)).body.lockDelayMs).toBe(isWritten ? 1 : 0);
      const { keys } = (await api.get("/v1/keys", own)).body;
      expect(keys.some(({ name }: Json) => name === "made")).toBe(isWritten);
      expect((await api.get("/v1/self", own)).body.account.limits.keys).toBe(isWritten ? 50 : 10_000);
      expect((await api.get("/v1/self", { key: key.apiKey })).status).toBe(isWritten ? 401 : 200);
    },
  );
});
