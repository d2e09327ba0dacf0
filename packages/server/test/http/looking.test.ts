import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Server } from "../../src/index.js";
import { Api, refusalOf } from "./api.js";
import { ask, NativeClient, startServer } from "./server.js";

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

describe("locks over HTTP", () => {
  const NAMES = [
    "plain",
    "a/b//c",
    "%2F",
    "100 %",
    "a?b#c&d=e",
    "a+b",
    "😀 𝒳",
    "Ä\u0308",
    "\u200b",
    ".",
    "..",
    "a/../b",
    "lock",
    "check",
    "__proto__",
    "constructor",
    "€".repeat(170),
    "'\"<script>",
  ];

  test.each(NAMES)("[N1h] any legal name is the same lock by path, query and body: %s", async (name) => {
    const token = await api.token(name);
    const expected = { name, held: true, holders: [{ token }] };
    // `fetch` resolves dots in a path, so these bytes are written by hand.
    const path = `/v1/services/reports/locks/${encodeURIComponent(name)}`;
    expect(JSON.parse((await ask(server, { method: "GET", path }))!.body)).toMatchObject(expected);
    const { body } = await api.get(`/locks?name=${encodeURIComponent(name)}`);
    expect(body).toMatchObject({ locks: [expected], next: null });
    expect(await native.inspect(name)).toMatchObject(expected);
    const query = `name=${encodeURIComponent(name)}&token=${token}&reason=test`;
    expect((await api.delete(`/locks?${query}`)).status).toBe(200);
  });

  test.each([
    ["half an escape", "/locks/%"],
    ["an escape that is none", "/locks/%zz"],
    ["bytes that are no UTF-8", "/locks/%ff"],
    ["an encoded lone surrogate", "/locks/%ed%a0%80"],
    ["an overlong slash", "/locks/%c0%af"],
    ["a control character", "/locks/%00"],
    ["a line break", "/locks/a%0Ab"],
    ["513 bytes", `/locks/${"x".repeat(513)}`],
    ["3,000 bytes", `/locks/${"x".repeat(3_000)}`],
    ["no UTF-8 in the query", "/locks?name=%ff"],
    ["half an escape in the query", "/locks?name=%"],
    ["a name twice", "/locks?name=a&name=b"],
    ["an unknown parameter", "/locks?nmae=a"],
    ["an empty name", "/locks?name="],
    ["a limit of 0", "/locks?limit=0"],
    ["a limit that is none", "/locks?limit=1e2"],
    ["a next that is none", "/locks?next=x"],
    ["__proto__ in the query", "/locks?__proto__=1"],
  ])("[N1i] %s is refused", async (_what, path) => {
    const answer = await ask(server, { method: "GET", path: `/v1/services/reports${path}` });
    expect(answer!.status).toBe(400);
    expect(JSON.parse(answer!.body).error.code).toBe("INVALID");
  });

  test("[Q9ha] a list goes page by page, and a prefix keeps others out", async () => {
    for (let at = 0; at < 5; at++) await api.token(`page/${at}`);
    await api.token("other");
    const names: string[] = [];
    let next: string | null = null;
    do {
      const { body } = await api.get(`/locks?prefix=page%2F&limit=2${next === null ? "" : `&next=${next}`}`);
      names.push(...body.locks.map(({ name }: { name: string }) => name));
      next = body.next;
    } while (next !== null);
    expect(names).toEqual([0, 1, 2, 3, 4].map((at) => `page/${at}`));
    expect(refusalOf(await api.get("/locks?next=999.1"))).toEqual([404, "NOT_FOUND"]);
  });

  test("[L9hd] force frees the hold with this token, once, with a reason", async () => {
    const token = await native.acquire("hung");
    expect(refusalOf(await api.delete("/locks/hung"))).toEqual([400, "INVALID"]);
    expect(refusalOf(await api.delete(`/locks/hung?token=${token}`))).toEqual([400, "INVALID"]);
    expect(refusalOf(await api.delete(`/locks/hung?token=${token + 1}&reason=x`))).toEqual([409, "NOT_HELD"]);
    expect((await api.delete(`/locks/hung?token=${token}&reason=it+hangs`)).status).toBe(200);
    expect(await native.next("lost")).toEqual(["lost", token, "force"]);
    expect(refusalOf(await api.delete(`/locks/hung?token=${token}&reason=x`))).toEqual([409, "NOT_HELD"]);
  });
});

describe("services over HTTP", () => {
  test("[Q9hb] are listed by id, page by page, each as it comes to be", async () => {
    const own = await startServer();
    const local = new Api(own);
    expect((await local.get("/v1/services")).body).toEqual({ services: [], next: null });
    for (const service of ["b", "a", "c"]) await local.acquire("disk", {}, { service });
    expect((await local.get("/v1/services?limit=2")).body).toEqual({
      services: [{ service: "a" }, { service: "b" }],
      next: "b",
    });
    expect((await local.get("/v1/services?after=b")).body).toEqual({
      services: [{ service: "c" }],
      next: null,
    });
    await own.close();
  });

  test("[Q9hc] are counted, and one that nobody has used does not come to be by that", async () => {
    const own = await startServer();
    const local = new Api(own);
    expect((await local.get("/stats", { service: "new" })).body).toMatchObject({
      service: "new",
      recovering: false,
      sessions: 0,
      holds: 0,
      locks: 0,
      waiters: 0,
      granted: 0,
    });
    expect((await local.get("/v1/services")).body.services).toEqual([]);
    await local.token(["a", "b"]);
    await local.post("/sessions", {});
    const waiting = local.acquire("a", { waitMs: 200 });
    const token = await local.acquire("c").then(({ body }) => body.token);
    for (;;) {
      const { body } = await local.get("/stats");
      if (body.waiters === 0) continue;
      expect(body).toMatchObject({ sessions: 1, holds: 2, locks: 3, waiters: 1, recovering: false });
      break;
    }
    await local.post("/release", { token });
    expect((await waiting).status).toBe(423);
    expect((await local.get("/stats")).body).toMatchObject({ holds: 1, locks: 2, waiters: 0 });
    await own.close();
  });

  test("[N3i] over their limit are refused with Retry-After", async () => {
    const own = await startServer({ servicesMax: 1 });
    const local = new Api(own);
    await local.acquire("disk", {}, { service: "first" });
    const refused = await local.acquire("disk", {}, { service: "second" });
    expect(refusalOf(refused)).toEqual([429, "LIMIT_EXCEEDED"]);
    expect(refused.headers.get("retry-after")).toBe("5");
    await own.close();
  });

  test("[N3j] a full queue, and too many holds, are refused with Retry-After", async () => {
    const own = await startServer({ waitersMax: 1, holdsMax: 1 });
    const local = new Api(own);
    await local.token("disk");
    expect(refusalOf(await local.acquire("tape"))).toEqual([429, "LIMIT_EXCEEDED"]);
    const { body } = await local.post("/sessions", {});
    const more = { sessionId: body.sessionId, waitMs: 60_000, sliceMs: 10 };
    expect((await local.acquire("disk", more)).status).toBe(202);
    expect(refusalOf(await local.acquire("disk", more))).toEqual([429, "LIMIT_EXCEEDED"]);
    const other = (await local.post("/sessions", {})).body.sessionId;
    const full = await local.acquire("disk", { ...more, sessionId: other });
    expect([...refusalOf(full), full.headers.get("retry-after")]).toEqual([429, "QUEUE_FULL", "5"]);
    await own.close();
  });
});

describe("sessions over HTTP", () => {
  test("[L4he] are opened, kept and closed, and their holds with them", async () => {
    const opened = await api.post("/sessions", { leaseMs: 5_000, owner: "cron" });
    expect(opened).toMatchObject({ status: 201, body: { leaseMs: 5_000 } });
    const { sessionId } = opened.body;
    expect(opened.headers.get("location")).toBe(`/v1/services/reports/sessions/${sessionId}`);
    const token = await api.token("by session", { sessionId });
    expect(await api.inspect("by session")).toMatchObject({
      holders: [{ token, owner: "cron", detached: false }],
    });
    const kept = await api.post(`/sessions/${sessionId}/heartbeat`);
    expect(kept).toMatchObject({ status: 200, body: { sessionId, leaseMs: 5_000 } });
    expect(refusalOf(await api.post("/release", { token }))).toEqual([409, "NOT_HELD"]);
    expect(refusalOf(await api.post("/renew", { token }))).toEqual([409, "NOT_HELD"]);
    expect((await api.delete(`/sessions/${sessionId}`)).status).toBe(200);
    expect(await api.inspect("by session")).toMatchObject({ held: false });
    for (const refused of [
      await api.delete(`/sessions/${sessionId}`),
      await api.post(`/sessions/${sessionId}/heartbeat`),
      await api.acquire("x", { sessionId }),
      await api.post("/release", { token, sessionId }),
      await api.post("/sessions", { sessionId }),
    ])
      expect(refusalOf(refused)).toEqual([409, "SESSION_ENDED"]);
  });

  test("[Q6hl] opened twice under one id are one, with the same lease only", async () => {
    const body = { sessionId: "opened-twice", leaseMs: 5_000 };
    expect((await api.post("/sessions", body)).status).toBe(201);
    expect((await api.post("/sessions", body)).status).toBe(200);
    expect(refusalOf(await api.post("/sessions", { ...body, leaseMs: 6_000 }))).toEqual([
      409,
      "REQUEST_ID_REUSED",
    ]);
  });

  test("[L4hf] that are silent end, and those who wait hear it", async () => {
    const { sessionId } = (await api.post("/sessions", { leaseMs: 1_000 })).body;
    await api.token("silent", { sessionId });
    await native.acquire("wanted");
    const waiting = await api.acquire("wanted", { sessionId, waitMs: 20_000 });
    expect(refusalOf(waiting)).toEqual([409, "SESSION_ENDED"]);
    expect(await api.inspect("silent")).toMatchObject({ held: false, previous: { endedBy: "expiry" } });
  });

  test("[N3k] over their limit are refused", async () => {
    const own = await startServer({ sessionsMax: 1 });
    const local = new Api(own);
    expect((await local.post("/sessions", {})).status).toBe(201);
    expect(refusalOf(await local.post("/sessions", {}))).toEqual([429, "LIMIT_EXCEEDED"]);
    await own.close();
  });
});
