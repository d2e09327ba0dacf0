/** What an operator looks at first, and what he does before he uses force. */
import LockDB from "lockdb";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Server } from "../../src/index.js";
import { Api, refusalOf } from "./api.js";
import { EventReader } from "./event-reader.js";
import { startServer } from "./server.js";

let server: Server;
let api: Api;
const clients: LockDB[] = [];

beforeEach(async () => {
  server = await startServer();
  api = new Api(server);
});

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await server.close();
});

function clientOf(owner: string): LockDB {
  const client = new LockDB("reports", { serverUrl: server.url, apiKey: server.rootKey, owner });
  clients.push(client);
  return client;
}

/** Resolves once so many wait for the lock. */
async function queueOf(name: string, length: number): Promise<void> {
  while ((await api.inspect(name)).queueLength !== length);
}

describe("asking for a lock", () => {
  test("[L9qa] a native holder is told at once, with the reason, and keeps its lock until it gives it back", async () => {
    const lease = await clientOf("ann").acquire("disk");
    const heard = new Promise<string>((resolve) => lease.onAsked(resolve));
    const { token } = lease;
    const asked = await api.post("/ask", { name: "disk", token, reason: "the disk is full" });
    expect(asked).toMatchObject({ status: 200, body: { told: true } });
    expect(await heard).toBe("the disk is full");
    expect((await api.inspect("disk")).holders).toMatchObject([{ token, askedFor: "the disk is full" }]);
    // Whoever begins to listen later hears of it too.
    expect(await new Promise((resolve) => lease.onAsked(resolve))).toBe("the disk is full");
    expect(await lease.release()).toBe(true);
    expect((await api.inspect("disk")).held).toBe(false);
  });

  test("[L9qb] a holder over HTTP hears of it when it renews", async () => {
    const token = await api.token("disk");
    expect((await api.post("/renew", { token })).body).toEqual({ token, expiresInMs: 30_000 });
    expect((await api.post("/ask", { name: "disk", token, reason: "why not" })).body).toEqual({
      told: false,
    });
    expect((await api.post("/renew", { token })).body).toEqual({
      token,
      expiresInMs: 30_000,
      askedFor: "why not",
    });
  });

  test("[L9qc] is refused for a hold that is not there, and told to whoever watches", async () => {
    const reader = await EventReader.open(server);
    await reader.until("start");
    const token = await api.token("disk");
    expect(refusalOf(await api.post("/ask", { name: "disk", token: token + 1, reason: "x" }))).toEqual([
      409,
      "NOT_HELD",
    ]);
    expect(refusalOf(await api.post("/ask", { name: "tape", token, reason: "x" }))).toEqual([
      409,
      "NOT_HELD",
    ]);
    expect(refusalOf(await api.post("/ask", { name: "disk", token, reason: "" }))).toEqual([400, "INVALID"]);
    await api.post("/ask", { name: "disk", token, reason: "the night is over" });
    const { data } = (await reader.until("asked")).at(-1)!;
    expect(data).toMatchObject({ names: ["disk"], token, reason: "the night is over" });
    reader.close();
  });
});

describe("what has happened", () => {
  test("[Q9ib] what has happened in a service is counted, with how long those had waited who were granted", async () => {
    const other = await api.acquire("elsewhere", {}, { service: "other" });
    expect(other.status).toBe(200);
    const token = await api.token("disk");
    const waiting = api.acquire("disk", { waitMs: 10_000 });
    await queueOf("disk", 1);
    await api.post("/release", { token });
    const { body: granted } = await waiting;
    await api.delete(`/locks/disk?token=${granted.token}&reason=test`);
    const { body } = await api.get("/stats");
    expect(body).toMatchObject({ granted: 2, queued: 1, released: 1, forced: 1, expired: 0, deadlocks: 0 });
    expect(body.waits.reduce((sum: number, { count }: { count: number }) => sum + count, 0)).toBe(2);
    expect(body.waits[0]).toEqual({ withinMs: 1, count: expect.any(Number) });
    expect(body.waits.at(-1)).toEqual({ withinMs: null, count: 0 });
  });
});

describe("sessions", () => {
  test("[Q9ic] are listed page by page, with what each holds and waits for, and without their ids", async () => {
    const [ann, bob] = [clientOf("ann"), clientOf("bob")];
    await ann.acquire("disk");
    await ann.acquire(["a", "b"]);
    const waiting = bob.acquire("disk", { wait: "10s" }).catch(() => {});
    await queueOf("disk", 1);
    const { sessionId } = (await api.post("/sessions", { owner: "cron" })).body;
    const { body, status } = await api.get("/sessions");
    expect(status).toBe(200);
    expect(body.sessions).toMatchObject([
      {
        owner: "ann",
        kind: "native",
        state: "here",
        holdCount: 2,
        holds: ["a", "b", "disk"],
        waiterCount: 0,
        waitsFor: [],
      },
      {
        owner: "bob",
        kind: "native",
        state: "here",
        holdCount: 0,
        holds: [],
        waiterCount: 1,
        waitsFor: ["disk"],
      },
      { owner: "cron", kind: "http", state: "here", holdCount: 0 },
    ]);
    expect(JSON.stringify(body)).not.toContain(sessionId);
    const first = (await api.get("/sessions?limit=2")).body;
    expect(first.sessions).toHaveLength(2);
    const rest = (await api.get(`/sessions?limit=2&after=${first.next}`)).body;
    expect(rest).toMatchObject({ sessions: [{ owner: "cron" }], next: null });
    await bob.close();
    await waiting;
  });
});

describe("a deadlock", () => {
  test("[D2za] its event says the round, to draw it", async () => {
    const reader = await EventReader.open(server);
    await reader.until("start");
    const [ann, bob] = [clientOf("ann"), clientOf("bob")];
    const [a, b] = [await ann.acquire("a"), await bob.acquire("b")];
    const waiting = ann.acquire("b", { within: a });
    await queueOf("b", 1);
    await expect(bob.acquire("a", { within: b })).rejects.toMatchObject({ code: "DEADLOCK" });
    const { data } = (await reader.until("deadlock")).at(-1)!;
    expect((data as { round: unknown }).round).toEqual([
      { owner: "bob", token: b.token, holds: ["b"], wants: "a", of: "ann" },
      { owner: "ann", token: a.token, holds: ["a"], wants: "b", of: "bob" },
    ]);
    await b.release();
    await (await waiting).release();
    reader.close();
  });
});
