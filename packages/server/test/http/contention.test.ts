import { setImmediate } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Server } from "../../src/index.js";
import { Api, newId } from "./api.js";
import { NativeClient, startServer } from "./server.js";

let server: Server;
let api: Api;

beforeAll(async () => {
  server = await startServer();
  api = new Api(server);
});

afterAll(() => server.close());

const crowd = async (service: string, query = "") => (await api.get(`/contention${query}`, { service })).body;

describe("where it is crowded", () => {
  test("[Q9wa] tells the longest queues, the longest waits and the oldest holds, with who holds", async () => {
    const hung = new AbortController();
    const at = { service: "crowd" };
    const wait = (name: string) =>
      api
        .acquire(name, { waitMs: 20_000, requestId: newId() }, { ...at, signal: hung.signal })
        .catch(() => {});
    await api.acquire("busy", { owner: "ann", leaseMs: 60_000 }, at);
    await api.acquire(["set a", "set b"], { owner: "bob", leaseMs: 60_000 }, at);
    await api.acquire("idle", { owner: "cid", leaseMs: 60_000 }, at);
    const waiting = [wait("set b")];
    await expect.poll(async () => (await crowd("crowd")).waiters).toBe(1);
    waiting.push(wait("busy"), wait("busy"), wait("busy"));
    await expect.poll(async () => (await crowd("crowd")).waiters).toBe(4);
    const found = await crowd("crowd");
    expect(found).toMatchObject({ services: 1, recovering: 0, sessions: 0, holds: 3, locks: 4, grants: 3 });
    expect(found.hottest).toMatchObject([
      { service: "crowd", lock: { name: "busy", queueLength: 3, holders: [{ owner: "ann" }], queue: [{}] } },
      { service: "crowd", lock: { name: "set b", queueLength: 1, holders: [{ owner: "bob" }] } },
    ]);
    expect(found.longestWaits.map(({ name }: { name: string }) => name)).toEqual([
      "set b",
      "busy",
      "busy",
      "busy",
    ]);
    expect(found.longestWaits[0]).toMatchObject({ holder: { owner: "bob" }, queueLength: 1 });
    // A set is one hold, and shown by one name.
    expect(found.oldestHolds).toMatchObject([
      { name: "busy", holder: { owner: "ann" }, queueLength: 3 },
      { name: "set a", holder: { owner: "bob", names: ["set a", "set b"] }, queueLength: 0 },
      { name: "idle", holder: { owner: "cid" } },
    ]);
    const one = await crowd("crowd", "?limit=1");
    expect([one.hottest, one.longestWaits, one.oldestHolds].map((each) => each.length)).toEqual([1, 1, 1]);
    hung.abort();
    await Promise.all(waiting);
  });

  test("[Q9wb] of a service that nobody uses there is nothing, and it does not come to be", async () => {
    expect(await crowd("nobody")).toMatchObject({ services: 0, locks: 0, hottest: [], oldestHolds: [] });
    const { services } = (await api.get("/v1/services")).body;
    expect(services.map(({ service }: { service: string }) => service)).not.toContain("nobody");
  });

  test("[Q9wc] over all services of the account, and of no other", async () => {
    await api.acquire("here", { leaseMs: 60_000 }, { service: "one" });
    const made = await api.post("/v1/accounts", { email: "o@example.com" });
    const key = made.body.apiKey;
    await api.acquire("theirs", { leaseMs: 60_000 }, { service: "two", key });
    const names = async (as?: string) =>
      (await api.get("/v1/contention?limit=50", as === undefined ? {} : { key: as })).body.oldestHolds.map(
        ({ service, name }: { service: string; name: string }) => `${service}/${name}`,
      );
    await expect.poll(() => names()).toContain("one/here");
    expect(await names()).not.toContain("two/theirs");
    expect(await names(key)).toEqual(["two/theirs"]);
  });

  test("[Q9wd] others have their turns while very many locks are looked at, and who asks meanwhile asks for no more", async () => {
    const client = await NativeClient.welcome(server, { service: "many" });
    const lots = 20_000;
    for (let n = 0; n < lots; n++) client.send(["acquire", n + 1, `lock ${n}`, 0]);
    await expect.poll(async () => (await crowd("many")).locks, { timeout: 10_000 }).toBe(lots);
    await new Promise((resolve) => setTimeout(resolve, 600));
    let isDone = false;
    let turns = 0;
    const overall = api.get("/v1/contention");
    const asked = Promise.all(Array.from({ length: 8 }, () => crowd("many"))).finally(async () => {
      await overall;
      isDone = true;
    });
    for (; !isDone; turns++) await setImmediate();
    const answers = await asked;
    // Two walks, and a step of one of them a turn.
    expect(turns).toBeGreaterThan((2 * lots) / 2_000);
    expect((await overall).body.locks).toBeGreaterThan(lots);
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
    expect(answers[0].holds).toBe(lots);
    client.socket.terminate();
  });
});

describe("GET /v1/diagnosis", () => {
  test("[I6wa] tells what only the server knows, to the operator", async () => {
    const { body } = await api.get("/v1/diagnosis");
    expect(body).toMatchObject({
      ready: true,
      listening: { host: "127.0.0.1", isLoopback: true, isTls: false, certificateEndsAt: null },
      store: { kind: "memory", directory: null, failures: 0 },
      recovering: { count: 0, first: [] },
      queues: { waitersMax: 100_000, refused: 0 },
    });
    expect(Math.abs(body.server.wallMs - Date.now())).toBeLessThan(10_000);
  });

  test("[I6wb] every key is told the version and the clocks", async () => {
    const key = (await api.post("/v1/keys", { scopes: ["lock"], name: "k" })).body.apiKey;
    const [one, two] = [await api.get("/v1/self", { key }), await api.get("/v1/self", { key })];
    expect(one.body.server.version).toMatch(/^\d+\.\d+\.\d+/);
    expect(two.body.server.monotonicMs).toBeGreaterThan(one.body.server.monotonicMs);
    expect((await api.get("/v1/diagnosis", { key })).status).toBe(403);
  });

  test("[I6wc] is for the operator, and for nobody who has an account of his own", async () => {
    const made = await api.post("/v1/accounts", { email: "p@example.com" });
    const key = made.body.apiKey;
    expect((await api.get("/v1/diagnosis", { key })).status).toBe(403);
    expect((await api.get("/v1/self", { key })).body.server.version).toMatch(/^\d/);
  });
});

test("[A3w] what one account is told of a service is not told another that has one of that name", async () => {
  const key = (await api.post("/v1/accounts", { email: "q@example.com" })).body.apiKey;
  await api.acquire("mine", { leaseMs: 60_000 }, { service: "same" });
  await api.acquire("theirs", { leaseMs: 60_000 }, { service: "same", key });
  const [mine, theirs] = await Promise.all([
    api.get("/contention", { service: "same" }),
    api.get("/contention", { service: "same", key }),
  ]);
  const names = [mine, theirs].map(({ body }) => body.oldestHolds.map(({ name }: { name: string }) => name));
  expect(names).toEqual([["mine"], ["theirs"]]);
});
