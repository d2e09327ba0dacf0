import LockDB from "lockdb";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Server } from "../../src/index.js";
import { decodeRecord } from "../../src/store/index.js";
import { ManualStore } from "./manual-store.js";
import { startParts, startServer } from "./server.js";

let server: Server;

beforeAll(async () => {
  server = await startServer();
});

afterAll(() => server.close());

function call(method: string, body?: unknown, service = "reports", key = server.rootKey, url = server.url) {
  return fetch(`${url}/v1/services/${service}/settings`, {
    method,
    headers: {
      authorization: `Bearer ${key}`,
      ...(body === undefined ? {} : { "content-type": "application/json" }),
    },
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
}

describe("a service's settings", () => {
  test("[L8h] the lock delay is none, until somebody sets it, for that service only", async () => {
    expect(await (await call("GET")).json()).toEqual({ lockDelayMs: 0 });
    const set = await call("PUT", { lockDelayMs: 300 });
    expect([set.status, await set.json()]).toEqual([200, { lockDelayMs: 300 }]);
    expect(await (await call("GET")).json()).toEqual({ lockDelayMs: 300 });
    expect(await (await call("GET", undefined, "others")).json()).toEqual({ lockDelayMs: 0 });
  });

  test("[L8i] it is there for the next hold that ends by expiry", async () => {
    await call("PUT", { lockDelayMs: 400 }, "delayed");
    const locker = new LockDB("delayed", { serverUrl: server.url, apiKey: server.rootKey });
    await locker.acquire("disk", { maxHold: 300 });
    const askedAtMs = performance.now();
    const lease = await locker.acquire("disk");
    expect(performance.now() - askedAtMs).toBeGreaterThan(600);
    expect(lease.previous).toMatchObject({ endedBy: "expiry" });
    await locker.close();
  });

  test.each([
    ["no object", "5"],
    ["a list", []],
    ["no JSON", "{"],
    ["nothing in it", {}],
    ["an unknown field", { lockDelayMs: 1, mode: "x" }],
    ["a text", { lockDelayMs: "5" }],
    ["a fraction", { lockDelayMs: 1.5 }],
    ["less than none", { lockDelayMs: -1 }],
    ["more than an hour", { lockDelayMs: 3_600_001 }],
    ["null", { lockDelayMs: null }],
  ])("[L8j] %s is refused, and changes nothing", async (_what, body) => {
    await call("PUT", { lockDelayMs: 7 }, "kept");
    const answer = await call("PUT", body, "kept");
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ error: { code: "INVALID", retryable: false } });
    expect(await (await call("GET", undefined, "kept")).json()).toEqual({ lockDelayMs: 7 });
  });

  test("[A1x] a wrong key, or none, is refused, whatever is asked", async () => {
    for (const method of ["GET", "PUT"]) {
      const wrong = await call(
        method,
        method === "PUT" ? { lockDelayMs: 1 } : undefined,
        "reports",
        "wrong-key-wrong-key",
      );
      expect([wrong.status, await wrong.json()]).toMatchObject([401, { error: { code: "UNAUTHORIZED" } }]);
    }
    expect((await call("GET", undefined, "..%2f")).status).toBe(400);
    expect((await call("DELETE")).status).toBe(405);
  });

  test("[L8k] a change is acknowledged when it is durable, with its record in the audit log", async () => {
    const store = new ManualStore();
    const parts = await startParts({ store });
    store.isManual = true;
    let isAnswered = false;
    const answer = call("PUT", { lockDelayMs: 5 }, "reports", parts.rootKey, parts.url).finally(() => {
      isAnswered = true;
    });
    const commit = await store.nextCommit();
    expect(isAnswered).toBe(false);
    const records = commit.batch.map(
      ({ key, value }) => [key, decodeRecord({ key, value: value! })] as const,
    );
    const settings = records.find(([key]) => key === "default/service/reports/settings/");
    expect(settings![1]).toEqual({ lockDelayMs: 5 });
    const audit = records.find(([key]) => key.startsWith("default/audit/"));
    expect(audit![1]).toMatchObject({
      service: "reports",
      who: "root key from 127.0.0.1",
      what: "settings changed",
      details: { lockDelayMs: 5 },
      at: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
    });
    store.isManual = false;
    commit.succeed();
    expect((await answer).status).toBe(200);
    await parts.close();
  });

  test("[R7v] a store that fails meanwhile is UNAVAILABLE, and the old setting stays", async () => {
    const store = new ManualStore();
    const parts = await startParts({ store });
    store.isManual = true;
    const answer = call("PUT", { lockDelayMs: 5 }, "reports", parts.rootKey, parts.url);
    const commit = await store.nextCommit();
    store.isManual = false;
    commit.fail();
    const refused = await answer;
    expect([refused.status, await refused.json()]).toMatchObject([
      503,
      { error: { code: "UNAVAILABLE", retryable: true } },
    ]);
    while (!parts.loop.ready) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(await (await call("GET", undefined, "reports", parts.rootKey, parts.url)).json()).toEqual({
      lockDelayMs: 0,
    });
    await parts.close();
  });
});
