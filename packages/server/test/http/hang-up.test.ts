import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Server } from "../../src/index.js";
import { ManualStore } from "./manual-store.js";
import {
  ask,
  callBody,
  HttpConnection,
  NativeClient,
  requestBytes,
  startParts,
  startServer,
  type Target,
} from "./server.js";

/**
 * Callers that hang up, before, while and after they are granted what they asked for. Whatever they do: a lock is never
 * left held by nobody (Q7), and never taken from somebody who has it (Q1).
 */
const WAYS = ["destroy", "end", "resetAndDestroy"] as const;

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

async function call(name: string, target: Target = server, isPaused = false): Promise<HttpConnection> {
  const connection = await HttpConnection.open(target, { isPaused });
  return connection.write(requestBytes({ path: "/lock", key: target.rootKey, body: callBody("lock", name) }));
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

describe("a caller that waits and hangs up", () => {
  for (const way of WAYS) {
    test(`[C3h] leaves the queue at once: ${way}`, async () => {
      const name = `left by ${way}`;
      const token = await native.acquire(name);
      const connection = await call(name);
      await native.until(name, (info) => info.queueLength === 1);
      const startedAtMs = performance.now();
      connection.socket[way]();
      await native.until(name, (info) => info.queueLength === 0);
      expect(performance.now() - startedAtMs).toBeLessThan(1_000);
      await native.release(token);
      expect(await native.inspect(name)).toMatchObject({ held: false });
    });
  }

  test("[C3i] leaves the queue at once when it aborts its fetch", async () => {
    const token = await native.acquire("aborted");
    const abort = new AbortController();
    const headers = { authorization: `Bearer ${server.rootKey}` };
    const request = { method: "POST", headers, body: callBody("lock", "aborted"), signal: abort.signal };
    const outcome = fetch(`${server.url}/lock`, request).catch((error: Error) => error.name);
    await native.until("aborted", (info) => info.queueLength === 1);
    abort.abort();
    expect(await outcome).toBe("AbortError");
    await native.until("aborted", (info) => info.queueLength === 0);
    await native.release(token);
  });

  test("[C3j] makes room for those behind it", async () => {
    const token = await native.acquire("room");
    const first = await call("room");
    await native.until("room", (info) => info.queueLength === 1);
    const second = await call("room");
    await native.until("room", (info) => info.queueLength === 2);
    first.socket.destroy();
    await native.until("room", (info) => info.queueLength === 1);
    await native.release(token);
    expect(await second.answer()).toMatchObject({ status: 200 });
    second.socket.destroy();
  });
});

describe("a grant that reaches nobody", () => {
  /** Grants to a caller that hangs up, and gives the time from there to the next waiter's grant. */
  async function nextAfterMs(
    way: "destroy" | "resetAndDestroy",
    order: "before" | "meanwhile",
  ): Promise<number> {
    const store = new ManualStore();
    const parts = await startParts({ store });
    const next = await NativeClient.welcome(parts);
    store.isManual = true;
    const caller = await call("disk", parts);
    // It is granted, and the grant is on its way to the disk.
    const commit = await store.nextCommit();
    store.isManual = false;
    next.send(["acquire", next.newId(), "disk", null]);
    await next.socket.ping();
    await new Promise((resolve) => next.socket.once("pong", resolve));
    const startedAtMs = performance.now();
    // In one turn: the end of the connection is on the wire, unread, when the answer is written.
    caller.socket[way]();
    if (order === "before") await caller.closed;
    commit.succeed();
    const granted = await next.next("granted");
    const tookMs = performance.now() - startedAtMs;
    expect(granted[2]).toBe(2);
    expect(caller.received.length).toBe(0);
    next.close();
    await parts.close();
    return tookMs;
  }

  for (const way of ["destroy", "resetAndDestroy"] as const) {
    test(`[Q7h] is taken back when the caller had hung up before it was durable: ${way}`, async () => {
      const times: number[] = [];
      for (let round = 0; round < 9; round++) times.push(await nextAfterMs(way, "before"));
      expect(median(times)).toBeLessThan(5_000);
    });

    test(`[Q7i] is taken back when it crosses the caller's end on the wire: ${way}`, async () => {
      const times: number[] = [];
      for (let round = 0; round < 9; round++) times.push(await nextAfterMs(way, "meanwhile"));
      expect(median(times)).toBeLessThan(5_000);
    });
  }

  test("[Q7j] is taken back when the caller ends without having read it", async () => {
    const token = await native.acquire("unread");
    const caller = await call("unread", server, true);
    await native.until("unread", (info) => info.queueLength === 1);
    await native.release(token);
    await native.until("unread", (info) => info.holders[0]?.detached === true);
    // With bytes that it has not read, its operating system makes a reset of the end.
    caller.socket.destroy();
    const startedAtMs = performance.now();
    await native.until("unread", (info) => !info.held);
    expect(performance.now() - startedAtMs).toBeLessThan(1_000);
  });

  test("[Q7k] is taken back from a caller behind a waiter of its own kind, and that one has it", async () => {
    const token = await native.acquire("handed on");
    const first = await call("handed on");
    await native.until("handed on", (info) => info.queueLength === 1);
    const second = await call("handed on");
    await native.until("handed on", (info) => info.queueLength === 2);
    native.send(["release", native.newId(), token]);
    first.socket.destroy();
    const answer = await second.answer();
    expect(answer).toMatchObject({ status: 200 });
    expect(await native.inspect("handed on")).toMatchObject({ held: true, queueLength: 0 });
    second.socket.destroy();
  });

  test("[Q7t] is taken back when its answer never got past that of an earlier call on the connection", async () => {
    const token = await native.acquire("in front");
    const caller = await call("in front");
    caller.write(requestBytes({ path: "/lock", key: server.rootKey, body: callBody("lock", "behind") }));
    caller.write(requestBytes({ path: "/check", key: server.rootKey, body: callBody("check", "behind") }));
    // Longer than a grant that is out waits for signs that nobody has read it.
    await native.until("behind", (info) => info.held && info.holders[0]!.heldForMs > 1_100);
    expect(caller.received.length).toBe(0);
    caller.socket.destroy();
    await native.until("behind", (info) => !info.held);
    await native.release(token);
  });

  test("[Q7l] hundreds of races of a grant against a hang-up never leave the lock held by nobody", async () => {
    const outcomes = { delivered: 0, undelivered: 0 };
    const lags = [-1, 0, 0.2, 0.5, 1];
    for (let round = 0; round < 300; round++) {
      const token = await native.acquire("race", 5_000);
      const caller = await call("race");
      await native.until("race", (info) => info.queueLength === 1);
      const way = WAYS[round % WAYS.length]!;
      const lag = lags[round % lags.length]!;
      if (lag < 0) caller.socket[way]();
      native.send(["release", native.newId(), token]);
      if (lag === 0) caller.socket[way]();
      else if (lag > 0) await spin(lag);
      if (lag > 0) caller.socket[way]();
      await caller.closed;
      if (caller.received.length > 0) {
        outcomes.delivered++;
        await ask(server, { path: "/unlock", body: callBody("unlock", "race") });
      } else outcomes.undelivered++;
      await native.until("race", (info) => !info.held && info.queueLength === 0);
    }
    // Both must have happened, or this was no race.
    expect(outcomes.delivered).toBeGreaterThan(10);
    expect(outcomes.undelivered).toBeGreaterThan(10);
  });

  test("[Q7m] a fetch that is aborted while its grant is in flight leaves nothing held", async () => {
    const headers = { authorization: `Bearer ${server.rootKey}` };
    const outcomes = { granted: 0, aborted: 0 };
    for (let round = 0; round < 100; round++) {
      const token = await native.acquire("fetched", 5_000);
      const abort = new AbortController();
      const request = { method: "POST", headers, body: callBody("lock", "fetched"), signal: abort.signal };
      const outcome = fetch(`${server.url}/lock`, request).then(
        (answer) => answer.json().then(() => "granted" as const),
        () => "aborted" as const,
      );
      await native.until("fetched", (info) => info.queueLength === 1);
      native.send(["release", native.newId(), token]);
      if (round % 3 > 0) await spin(round % 3);
      abort.abort();
      const result = await outcome.catch(() => "aborted" as const);
      outcomes[result]++;
      if (result === "granted") await ask(server, { path: "/unlock", body: callBody("unlock", "fetched") });
      await native.until("fetched", (info) => !info.held && info.queueLength === 0);
    }
    expect(outcomes.aborted).toBeGreaterThan(10);
  });
});

describe("a grant that was read", () => {
  test("[Q7n] stays when the caller then closes its connection", async () => {
    const caller = await call("kept");
    expect(await caller.answer()).toMatchObject({ status: 200 });
    caller.socket.destroy();
    await caller.closed;
    await native.until("kept", (info) => info.holders[0]!.heldForMs > 100);
  });

  test("[Q7na] stays when the caller goes on with a WebSocket on its connection, and closes that at once", async () => {
    const caller = await call("before an upgrade");
    expect(await caller.answer()).toMatchObject({ status: 200 });
    caller.write(
      `GET /v1/connect HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${server.rootKey}\r\nconnection: upgrade\r\n` +
        "upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-protocol: lockdb.v1\r\n" +
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    expect(await caller.answer()).toMatchObject({ status: 101 });
    // A close, with a mask of zeros: the server answers it, and ends its side before the caller does.
    caller.write(Buffer.from([0x88, 0x80, 0, 0, 0, 0]));
    await caller.closed;
    await native.until("before an upgrade", (info) => info.holders[0]!.heldForMs > 100);
  });

  test("[Q7o] stays when the caller has gone on to its next call, however that one ends", async () => {
    const caller = await call("first");
    expect(await caller.answer()).toMatchObject({ status: 200 });
    await native.acquire("second");
    caller.write(requestBytes({ path: "/lock", key: server.rootKey, body: callBody("lock", "second") }));
    await native.until("second", (info) => info.queueLength === 1);
    caller.socket.resetAndDestroy();
    await native.until("second", (info) => info.queueLength === 0);
    expect(await native.inspect("first")).toMatchObject({ held: true });
  });

  test("[Q7q] stays for all names that were locked one after the other on one connection", async () => {
    const warnings: Error[] = [];
    const note = (warning: Error) => warnings.push(warning);
    process.on("warning", note);
    const caller = await HttpConnection.open(server);
    const names = Array.from({ length: 25 }, (_, at) => `many ${at}`);
    for (const name of names) {
      caller.write(requestBytes({ path: "/lock", key: server.rootKey, body: callBody("lock", name) }));
      expect(await caller.answer()).toMatchObject({ status: 200 });
    }
    caller.socket.end();
    await caller.closed;
    for (const name of names) expect(await native.inspect(name)).toMatchObject({ held: true });
    process.off("warning", note);
    expect(warnings).toEqual([]);
  });

  test("[Q7r] stays when the caller closes only its own side after its request", async () => {
    const caller = await HttpConnection.open(server, { allowHalfOpen: true });
    const token = await native.acquire("half");
    caller.write(requestBytes({ path: "/lock", key: server.rootKey, body: callBody("lock", "half") }));
    await native.until("half", (info) => info.queueLength === 1);
    caller.socket.pause();
    await native.release(token);
    await native.until("half", (info) => info.holders[0]?.detached === true);
    caller.socket.end();
    caller.socket.resume();
    expect(await caller.answer()).toMatchObject({ status: 200 });
    await caller.closed;
    await native.until("half", (info) => info.holders[0]!.heldForMs > 100);
  });
});

/** Waits a part of a millisecond or a few, event loop running. */
async function spin(ms: number): Promise<void> {
  const endMs = performance.now() + ms;
  while (performance.now() < endMs) await new Promise((resolve) => setImmediate(resolve));
}
