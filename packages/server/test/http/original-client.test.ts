import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Server } from "../../src/index.js";
import { openMemoryStore } from "../../src/store/index.js";
import { OriginalClient } from "./original-client.js";
import {
  ask,
  callBody,
  HttpConnection,
  NativeClient,
  requestBytes,
  SERVICE,
  sleep,
  startParts,
  startServer,
  type Target,
} from "./server.js";

let server: Server;
let native: NativeClient;

beforeAll(async () => {
  server = await startServer();
  native = await NativeClient.welcome(server);
});

afterAll(async () => {
  native.close();
  await server.close();
});

function newClient(serverUrl = server.url, apiKey = server.rootKey): OriginalClient {
  return new OriginalClient(SERVICE, { apiKey, serverUrl });
}

/** A call from a process that ends as soon as it has its answer. */
async function callFromProcess(event: string, lockName: string): Promise<unknown> {
  const script = `fetch(process.argv[1], {
    method: "POST",
    headers: { Authorization: "Bearer " + process.argv[2] },
    body: process.argv[3],
  }).then((answer) => answer.text()).then((text) => {
    process.stdout.write(text);
    process.exit(0);
  });`;
  const args = ["-e", script, `${server.url}/${event}`, server.rootKey, callBody(event, lockName)];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  return JSON.parse(stdout);
}

/** A call that waits on a connection of its own. */
async function waitingCall(
  lockName: string,
  waitForLockInMs: number,
  target: Target = server,
): Promise<HttpConnection> {
  const connection = await HttpConnection.open(target);
  const body = callBody("lock", lockName, { waitForLockInMs });
  return connection.write(requestBytes({ path: "/lock", key: target.rootKey, body }));
}

describe("the three calls", () => {
  test("[C1a] locks, checks and unlocks for the original client", async () => {
    const client = newClient();
    expect(await client.check("disk")).toBe(false);
    expect(await client.lock("disk")).toBe(true);
    expect(await client.check("disk")).toBe(true);
    expect(await client.unlock("disk")).toBe(true);
    expect(await client.check("disk")).toBe(false);
    expect(await client.unlock("disk")).toBe(false);
  });

  const json = { "content-type": expect.stringMatching(/^application\/json/), "cache-control": "no-store" };
  test("[C1b] /lock answers to the letter", async () => {
    const answer = await ask(server, { path: "/lock", body: callBody("lock", 'a"b') });
    expect(answer).toMatchObject({
      status: 200,
      headers: json,
      body: '{"eventName":"lock","lockName":"a\\"b"}',
    });
  });
  test("[C1c] /unlock answers to the letter", async () => {
    await ask(server, { path: "/lock", body: callBody("lock", "letter") });
    const answers = [true, false].map(
      (wasLocked) => `{"eventName":"unlock","lockName":"letter","wasLocked":${wasLocked}}`,
    );
    for (const body of answers) {
      const answer = await ask(server, { path: "/unlock", body: callBody("unlock", "letter") });
      expect(answer).toMatchObject({ status: 200, headers: json, body });
    }
  });
  test("[C1d] /check answers to the letter", async () => {
    const isLocked = (value: boolean) => `{"eventName":"check","lockName":"checked","isLocked":${value}}`;
    const check = () => ask(server, { path: "/check", body: callBody("check", "checked") });
    expect(await check()).toMatchObject({ status: 200, headers: json, body: isLocked(false) });
    await ask(server, { path: "/lock", body: callBody("lock", "checked") });
    expect(await check()).toMatchObject({ status: 200, headers: json, body: isLocked(true) });
  });
  test("[C1e] a server address with a slash at its end works", async () => {
    const client = newClient(`${server.url}/`);
    await client.lock("slash");
    expect(await native.inspect("slash")).toMatchObject({ held: true });
  });
  test("[C1f] a wrong key is the error that the original client names Unauthorized", async () => {
    const client = newClient(server.url, "ldb_wrong");
    for (const call of ["lock", "unlock", "check"] as const) {
      await expect(client[call]("disk")).rejects.toThrow(/^Unauthorized$/);
    }
  });
  test("[C1g] what the client leaves out is 30 s of waiting and 300 s of holding", async () => {
    const body = JSON.stringify({ serviceId: SERVICE, lockName: "bare" });
    expect(await ask(server, { path: "/lock", body })).toMatchObject({ status: 200 });
    const waiting = await HttpConnection.open(server);
    waiting.write(requestBytes({ path: "/lock", key: server.rootKey, body }));
    const { holders } = await native.until("bare", (info) => info.queueLength === 1);
    expect(holders[0]!.expiresInMs).toBeLessThanOrEqual(300_000);
    expect(holders[0]!.expiresInMs).toBeGreaterThan(290_000);
    waiting.socket.destroy();
  });
});

describe("waiting", () => {
  test("[C3a] a waiter has the lock when it is freed", async () => {
    const token = await native.acquire("freed");
    const lock = newClient().lock("freed");
    await native.until("freed", (info) => info.queueLength === 1);
    await native.release(token);
    expect(await lock).toBe(true);
  });

  test.concurrent("[C3b] a client whose wait is over gets the TimeoutError of its own timer", async () => {
    const client = newClient();
    await client.lock("late");
    for (const waitTimeoutInMs of [40, 300]) {
      const startedAtMs = performance.now();
      const error = await client.lock("late", { waitTimeoutInMs }).catch((error: unknown) => error);
      expect(error).toMatchObject({ name: "TimeoutError" });
      expect(error).toBeInstanceOf(DOMException);
      expect(performance.now() - startedAtMs).toBeGreaterThan(waitTimeoutInMs - 5);
    }
  });

  for (const [waitMs, marginMs, slowness] of [
    [500, 50, 3],
    [60, 30, 10],
  ] as const) {
    test.concurrent(`[C3c] a wait of ${waitMs} ms leaves the queue ${marginMs} ms before its end`, async () => {
      // On a slower clock the margin is wide enough to be seen on a busy machine.
      const slow = await startParts({ store: openMemoryStore(), speed: 1 / slowness });
      const watcher = await NativeClient.welcome(slow);
      await watcher.acquire("margin");
      const latestMs = waitMs - marginMs / 2;
      let leftAfterMs = Number.POSITIVE_INFINITY;
      // An attempt may be late all the same, but none early.
      for (let attempt = 0; attempt < 5 && leftAfterMs > latestMs; attempt++) {
        const startedAtMs = performance.now();
        const passedMs = () => (performance.now() - startedAtMs) / slowness;
        const connection = await waitingCall("margin", waitMs, slow);
        let wasThere = false;
        while (passedMs() < waitMs * 2) {
          const isThere = (await watcher.inspect("margin")).queueLength === 1;
          if (wasThere && !isThere) break;
          wasThere ||= isThere;
          await sleep(2);
        }
        if (wasThere) leftAfterMs = passedMs();
        expect(leftAfterMs).toBeGreaterThan(waitMs - marginMs - 1);
        connection.socket.destroy();
      }
      expect(leftAfterMs).toBeLessThan(latestMs);
      watcher.close();
      await slow.close();
    });
  }

  test.concurrent("[C3d] one second past the limit a caller that is still there is told 408 TimeoutError", async () => {
    await native.acquire("patient");
    for (const waitMs of [0, 200]) {
      const startedAtMs = performance.now();
      const connection = await waitingCall("patient", waitMs);
      expect(await connection.answer()).toMatchObject({
        status: 408,
        headers: { "content-type": "text/plain; charset=utf-8" },
        body: "TimeoutError",
      });
      const tookMs = performance.now() - startedAtMs;
      expect(tookMs).toBeGreaterThan(waitMs + 1_000 - 2);
      expect(tookMs).toBeLessThan(waitMs + 2_000);
      connection.socket.destroy();
    }
  });

  test.concurrent("[C3e] a lock that is freed between the waiter's leaving and the limit is not granted to it", async () => {
    const watcher = await NativeClient.welcome(server);
    const token = await watcher.acquire("between");
    const lock = newClient().lock("between", { waitTimeoutInMs: 600 });
    const outcome = lock.catch((error: Error) => error.name);
    await watcher.until("between", (info) => info.queueLength === 1);
    await watcher.until("between", (info) => info.queueLength === 0);
    await watcher.release(token);
    expect(await outcome).toBe("TimeoutError");
    expect(await watcher.inspect("between")).toMatchObject({ held: false, queueLength: 0 });
    watcher.close();
  });

  test("[C3f] a wait of nearly nothing still tries once", async () => {
    const body = callBody("lock", "once", { waitForLockInMs: 0 });
    expect(await ask(server, { path: "/lock", body })).toMatchObject({ status: 200 });
    expect(await native.inspect("once")).toMatchObject({ held: true });
  });

  test("[C3g] waiters have the lock in the order in which they came, HTTP or not", async () => {
    const token = await native.acquire("order");
    const first = await waitingCall("order", 5_000);
    await native.until("order", (info) => info.queueLength === 1);
    const second = await NativeClient.welcome(server);
    second.send(["acquire", second.newId(), "order", 5_000]);
    await native.until("order", (info) => info.queueLength === 2);
    const third = await waitingCall("order", 5_000);
    await native.until("order", (info) => info.queueLength === 3);
    await native.release(token);
    expect(await first.answer()).toMatchObject({ status: 200 });
    expect(second.inbox.filter(([kind]) => kind === "granted")).toEqual([]);
    await newClient().unlock("order");
    const [, , secondToken] = await second.next("granted");
    expect(third.received.length).toBe(0);
    await second.release(secondToken);
    expect(await third.answer()).toMatchObject({ status: 200 });
    third.socket.destroy();
    second.close();
  });
});

describe("its holds", () => {
  test("[C4a] are detached, for 300 s unless the caller says otherwise", async () => {
    const client = newClient();
    await client.lock("plain");
    await client.lock("brief", { lockExpirationInSeconds: 1.5 });
    const [plain] = (await native.inspect("plain")).holders;
    const [brief] = (await native.inspect("brief")).holders;
    expect(plain).toMatchObject({ detached: true, mode: "exclusive" });
    expect(plain!.expiresInMs).toBeGreaterThan(290_000);
    expect(plain!.expiresInMs).toBeLessThanOrEqual(300_000);
    expect(brief!.expiresInMs).toBeLessThanOrEqual(1_500);
  });

  test.concurrent("[C4b] end when their time is over, and the next waiter has the lock", async () => {
    const client = newClient();
    await client.lock("expiring", { lockExpirationInSeconds: 0.3 });
    const startedAtMs = performance.now();
    expect(await client.check("expiring")).toBe(true);
    expect(await client.lock("expiring", { lockExpirationInSeconds: 0.1 })).toBe(true);
    expect(performance.now() - startedAtMs).toBeGreaterThan(250);
    await native.until("expiring", (info) => !info.held);
    expect(await client.check("expiring")).toBe(false);
  });

  test("[C4c] stay when their maker ends, and any process frees them by name", async () => {
    expect(await callFromProcess("lock", "handed")).toEqual({ eventName: "lock", lockName: "handed" });
    expect(await native.inspect("handed")).toMatchObject({ held: true });
    expect(await newClient().check("handed")).toBe(true);
    expect(await callFromProcess("unlock", "handed")).toMatchObject({ wasLocked: true });
    expect(await native.inspect("handed")).toMatchObject({ held: false });
  });

  test("[C4d] are freed by another instance of the client, and by a native one", async () => {
    await newClient().lock(["one", "two"]);
    expect(await newClient().unlock("one")).toBe(true);
    expect(await native.request("unlock", "two")).toMatchObject(["done", expect.any(Number), true]);
    expect(await newClient().check(["one", "two"])).toBe(false);
  });

  test("[C4e] are made one by one: a name that is not free leaves those before it locked", async () => {
    const client = newClient();
    await native.acquire("b");
    const lock = client.lock(["a", "b", "c"], { waitTimeoutInMs: 200 });
    const outcome = lock.catch((error: Error) => error.name);
    await native.until("b", (info) => info.queueLength === 1);
    expect(await native.inspect("a")).toMatchObject({ held: true });
    expect(await native.inspect("c")).toMatchObject({ held: false, queueLength: 0 });
    expect(await outcome).toBe("TimeoutError");
    expect(await native.inspect("a")).toMatchObject({ held: true });
    expect(await native.inspect("c")).toMatchObject({ held: false, queueLength: 0 });
    expect(await client.unlock(["c", "a"])).toBe(true);
    expect(await client.check(["a", "c"])).toBe(false);
    expect(await client.check(["a", "b"])).toBe(true);
  });

  test("[C4f] do not reach into a session: its lock is not unlocked, with 409 in plain text", async () => {
    const token = await native.acquire("session's");
    const answer = await ask(server, { path: "/unlock", body: callBody("unlock", "session's") });
    expect(answer).toMatchObject({
      status: 409,
      body: expect.stringMatching(/^NOT_HELD: .*held by a session/),
    });
    expect(answer!.headers["content-type"]).toBe("text/plain; charset=utf-8");
    await expect(newClient().unlock("session's")).rejects.toThrow(SyntaxError);
    const { held, holders } = await native.inspect("session's");
    expect({ held, token: holders[0]!.token }).toEqual({ held: true, token });
  });

  test("[C4g] are apart from service to service", async () => {
    const other = new OriginalClient("other", { apiKey: server.rootKey, serverUrl: server.url });
    await newClient().lock("same");
    expect(await other.lock("same", { waitTimeoutInMs: 1_000 })).toBe(true);
    expect(await other.unlock("same")).toBe(true);
    expect(await newClient().check("same")).toBe(true);
  });
});
