import { serve } from "@lockdb/server";
import LockDB, { type LockEvent, type LockInfo } from "lockdb";
import { describe, expect, test } from "vitest";
import { errorOf, realServer, wireTo } from "./real.js";

const real = realServer();

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

/** What is told next, in short. */
async function next(events: AsyncIterator<LockEvent>): Promise<string> {
  const { value } = await events.next();
  const event = value as LockEvent;
  if (event.type === "gap") return "gap";
  const names = event.names.map((name) => name.replace(/^lock \d+ ?/, "")).join("+");
  const token = event.token === undefined ? "" : " #";
  return `${event.type} ${names}${token}${event.reason === undefined ? "" : ` (${event.reason})`}`;
}

describe("list", () => {
  test("[Q9j] lists what begins with a prefix, over many pages", async () => {
    const locker = real.client();
    const names = Array.from({ length: 250 }, (_, n) => `${real.name} ${n}`);
    const leases = await Promise.all(names.map((name) => locker.acquire(name)));
    const found: LockInfo[] = await all(locker.list({ prefix: `${real.name} ` }));
    expect(found.map(({ name }) => name)).toEqual(names);
    expect(found[0]!.holders).toMatchObject([{ token: leases[0]!.token }]);
    await Promise.all(leases.map((lease) => lease.release()));
    expect(await all(locker.list({ prefix: `${real.name} ` }))).toEqual([]);
  });

  test("[Q9k] what a list refuses is an error of its loop", async () => {
    const error = await errorOf(all(real.client().list({ prefix: "a\n" })));
    expect(error).toMatchObject({ code: "INVALID" });
    expect(error.message).toMatch(/A prefix must not hold control/);
  });
});

describe("watch", () => {
  test("[Q9l] tells what happens to locks of a prefix, in order", async () => {
    const locker = real.client();
    const events = locker.watch({ prefix: real.name });
    const [a, b] = [`${real.name} a`, `${real.name} b`];
    const lease = await locker.acquire(a);
    await locker.withLock(`other ${real.name}`, () => {});
    const waiting = locker.acquire([a, b]);
    expect(await next(events)).toBe("granted a #");
    expect(await next(events)).toBe("queued a+b");
    await lease.release();
    const set = await waiting;
    expect(await next(events)).toBe("released a #");
    expect(await next(events)).toBe("granted a+b #");
    expect(await errorOf(locker.acquire(b, { wait: 20 }))).toMatchObject({ code: "LOCK_TIMEOUT" });
    expect(await next(events)).toBe("queued b");
    expect(await next(events)).toBe("left b (timed out)");
    await locker.forceRelease(b, set.token, "it hangs");
    expect(await next(events)).toBe("forced a+b # (it hangs)");
    await locker.lock(a, { lockExpirationInSeconds: 0.25 });
    expect(await next(events)).toBe("granted a #");
    expect(await next(events)).toBe("expired a #");
    await errorOf(locker.withLock(a, () => locker.withLock(a, () => {})));
    expect(await next(events)).toBe("granted a #");
    const { value } = await events.next();
    expect(value).toMatchObject({
      type: "deadlock",
      names: [a],
      cycle: { length: 1 },
      at: expect.any(String),
    });
    expect(await events.return!()).toEqual({ done: true, value: undefined });
    expect(await events.next()).toEqual({ done: true, value: undefined });
  });

  test("[Q9m] what is listed after it misses nothing", async () => {
    const [locker, other] = [real.client(), real.client()];
    const events = locker.watch({ prefix: real.name });
    const [found, lease] = await Promise.all([
      all(locker.list({ prefix: real.name })),
      other.acquire(real.name),
    ]);
    if (found.length === 0) expect(await next(events)).toBe("granted  #");
    else expect(found[0]!.holders).toMatchObject([{ token: lease.token }]);
  });

  test("[Q9n] goes on over a lost connection, and tells what happened meanwhile", async () => {
    const wire = await wireTo(real.server.url);
    const locker = real.client({ serverUrl: wire.url });
    const events = locker.watch({ prefix: real.name });
    const other = real.client();
    await locker.check(real.name);
    wire.cut();
    for (let n = 0; n < 3; n++) await other.withLock(`${real.name} ${n}`, () => {});
    for (let n = 0; n < 3; n++) {
      expect(await next(events)).toBe(`granted ${n} #`);
      expect(await next(events)).toBe(`released ${n} #`);
    }
    await locker.close();
    expect(await events.next()).toEqual({ done: true, value: undefined });
    wire.close();
  });

  test("[Q9o] says where something may be missing: after a restart of the server", async () => {
    const first = await serve({
      port: 0,
      store: "memory",
      logLevel: "silent",
      rootKey: "a-key-of-sixteen-characters",
    });
    const locker = new LockDB("reports", { apiKey: first.rootKey, serverUrl: first.url });
    const events = locker.watch();
    await locker.check("a");
    await first.close();
    const { port } = new URL(first.url);
    const again = await serve({
      port: Number(port),
      store: "memory",
      logLevel: "silent",
      rootKey: first.rootKey,
    });
    expect(await next(events)).toBe("gap");
    const lease = await locker.acquire("a");
    expect(await next(events)).toBe("granted a #");
    expect(lease.token).toBeGreaterThan(0);
    await locker.close();
    await again.close();
  });

  test("[Q9p] a reader who is too slow loses events, is told so, and goes on", async () => {
    const locker = real.client();
    const events = locker.watch({ prefix: real.name });
    for (let n = 0; n < 5_100; n += 100) {
      await Promise.all(Array.from({ length: 100 }, () => locker.withLock(`${real.name} ${n}`, () => {})));
    }
    const heard: string[] = [];
    await locker.lock(`${real.name} last`);
    for (;;) {
      const text = await next(events);
      heard.push(text);
      if (text === "granted last #") break;
    }
    expect(heard[0]).toBe("gap");
    expect(heard.length).toBeLessThanOrEqual(10_001);
  });

  test("[Q9q] what a watch refuses is an error of its loop", async () => {
    const error = await errorOf(real.client().watch({ prefix: "a\n" }).next());
    expect(error).toMatchObject({ code: "INVALID" });
    const stranger = real.client({ apiKey: "wrong-key-of-some-length" });
    expect(await errorOf(stranger.watch().next())).toMatchObject({ code: "UNAUTHORIZED" });
  });
});
