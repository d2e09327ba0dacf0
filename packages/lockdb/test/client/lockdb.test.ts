import { once } from "node:events";
import { createServer } from "node:net";
import LockDB, {
  ConnectionError,
  DeadlockError,
  LockDBError,
  LockLostError,
  LockTimeoutError,
  LockDB as Named,
  UnauthorizedError,
} from "lockdb";
import { describe, expect, test, vi } from "vitest";
import { errorOf, realServer, wireTo } from "./real.js";

const real = realServer();

describe("withLock", () => {
  test("[I1aa] gives what fn returns, and holds the lock just while fn runs", async () => {
    const locker = real.client();
    const result = await locker.withLock(real.name, async (lease) => {
      lease.assertHeld();
      expect(lease.token).toBeGreaterThan(0);
      expect(lease.remainingMs).toBeGreaterThan(9_000);
      expect(await locker.check(real.name)).toBe(true);
      return "done";
    });
    expect(result).toBe("done");
    expect(await locker.check(real.name)).toBe(false);
    expect(await locker.withLock(real.name, () => 7)).toBe(7);
  });

  test("[I1ab] lets one in at a time, in the order they came", async () => {
    const [one, two] = [real.client(), real.client()];
    const seen: number[] = [];
    let inside = 0;
    const first = await one.acquire(real.name);
    const waiting = [one, two, one, two].map(async (locker, at) => {
      await locker.withLock(real.name, async (lease) => {
        expect(++inside).toBe(1);
        seen.push(lease.ticket!);
        await locker.inspect(real.name);
        inside--;
      });
      return at;
    });
    await expect.poll(async () => (await one.inspect(real.name)).queueLength).toBe(4);
    await first.release();
    await Promise.all(waiting);
    expect(seen).toHaveLength(4);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
  });

  test("[I1ac] rejects with fn's error, and frees the lock", async () => {
    const locker = real.client();
    const mistake = new Error("fn's own");
    await expect(
      locker.withLock(real.name, { metadata: { job: 1 } }, () => Promise.reject(mistake)),
    ).rejects.toBe(mistake);
    await expect(
      locker.withLock(real.name, () => {
        throw mistake;
      }),
    ).rejects.toBe(mistake);
    expect(await locker.check(real.name)).toBe(false);
  });

  test("[I1ad] rejects with LockLostError when the lock was lost before fn ended, though fn returned", async () => {
    const locker = real.client();
    const error = await errorOf(
      locker.withLock(real.name, { maxHold: 300 }, async ({ signal }) => {
        await once(signal, "abort");
        return "as if nothing had been";
      }),
    );
    expect(error).toBeInstanceOf(LockLostError);
    expect(error).toMatchObject({
      name: "LockLostError",
      code: "LOCK_LOST",
      details: { names: [real.name] },
    });
  });

  test("[I1ae] rejects with fn's error when the lock was lost and fn threw", async () => {
    const mistake = new Error("fn's own");
    const run = real.client().withLock(real.name, { maxHold: 300 }, async ({ signal }) => {
      await once(signal, "abort");
      throw mistake;
    });
    await expect(run).rejects.toBe(mistake);
  });

  test("[I1af] a release by fn itself is no loss", async () => {
    const locker = real.client();
    const result = await locker.withLock(real.name, async (lease) => {
      expect(await lease.release()).toBe(true);
      return "early";
    });
    expect(result).toBe("early");
  });

  test("[I1ag] does not run fn when the lock is not free in time", async () => {
    const [one, two] = [real.client(), real.client()];
    await one.acquire(real.name);
    const fn = vi.fn();
    await expect(two.withLock(real.name, { wait: 20 }, fn)).rejects.toThrow(LockTimeoutError);
    expect(fn).not.toHaveBeenCalled();
  });
});

describe("acquire, tryAcquire, release", () => {
  test("[I1ah] tryAcquire is null when somebody has the lock, and a lease when nobody has", async () => {
    const [one, two] = [real.client(), real.client()];
    const lease = await one.tryAcquire(real.name);
    expect(lease!.token).toBeGreaterThan(0);
    expect(await two.tryAcquire(real.name)).toBeNull();
    expect(await one.tryAcquire(real.name)).toBeNull();
    await lease!.release();
    expect(await two.tryAcquire(real.name, { wait: "1h" })).not.toBeNull();
  });

  test("[I1ai] a time-out is named as the original's callers test for, and tells who holds the lock", async () => {
    const holder = real.client({ owner: "ann@host" });
    const { token } = await holder.acquire(real.name, { metadata: { job: 42, urgent: true } });
    const error = await errorOf(real.client().acquire(real.name, { wait: "20ms" }));
    expect(error).toBeInstanceOf(LockTimeoutError);
    expect(error).toBeInstanceOf(LockDBError);
    expect(error).toMatchObject({ name: "TimeoutError", code: "LOCK_TIMEOUT", retryable: true });
    expect(error.details.holder).toMatchObject({
      owner: "ann@host",
      token,
      metadata: { job: 42, urgent: true },
    });
  });

  test("[I1aj] a lease's release is true when it ended the hold, false when that was over already", async () => {
    const locker = real.client();
    const lease = await locker.acquire(real.name);
    expect(await lease.release()).toBe(true);
    const detached = await locker.acquire(real.name, { detached: "1m" });
    expect(await real.client().unlock(real.name)).toBe(true);
    expect(await detached.release()).toBe(false);
  });

  test("[I1ak] a detached hold is released by its token, from any client: true, then false", async () => {
    const { token } = await real.client().acquire(real.name, { detached: "1m" });
    const other = real.client();
    expect(await other.release(`${real.name} x`, token)).toBe(false);
    expect(await other.release(real.name, token)).toBe(true);
    expect(await other.release(real.name, token)).toBe(false);
  });

  test("[I1al] a session's hold is not for others to release, and a late release never touches the next holder", async () => {
    const [one, two] = [real.client(), real.client()];
    const lease = await one.acquire(real.name);
    expect(await two.release(real.name, lease.token)).toBe(false);
    await lease.release();
    const next = await two.acquire(real.name);
    expect(await one.release(real.name, lease.token)).toBe(false);
    next.assertHeld();
    expect((await one.inspect(real.name)).holders).toMatchObject([{ token: next.token }]);
  });

  test("[I1am] who releases a hold of its own by its token does not believe in it any more", async () => {
    const locker = real.client();
    const lease = await locker.acquire(real.name);
    expect(await locker.release(real.name, lease.token)).toBe(true);
    expect(lease.remainingMs).toBe(0);
    expect(() => lease.assertHeld()).toThrow(LockLostError);
    expect(await locker.release(real.name, lease.token)).toBe(false);
  });

  test("[I1an] an abort by the caller's signal rejects with its reason, also before anything was asked", async () => {
    const [one, two] = [real.client(), real.client()];
    await one.acquire(real.name);
    const reason = new Error("the user went home");
    await expect(two.acquire(real.name, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const aborter = new AbortController();
    const waiting = two.acquire(real.name, { signal: aborter.signal, wait: "forever" });
    await expect.poll(async () => (await one.inspect(real.name)).queueLength).toBe(1);
    aborter.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    await expect.poll(async () => (await one.inspect(real.name)).queueLength).toBe(0);
    const timeout = await errorOf(
      two.acquire(real.name, { signal: AbortSignal.timeout(20), wait: "forever" }),
    );
    expect(timeout.name).toBe("TimeoutError");
    expect(timeout).not.toBeInstanceOf(LockDBError);
  });

  test("[I1ao] `await using` releases at the end of its block", async () => {
    const locker = real.client();
    {
      await using lease = await locker.acquire(real.name);
      lease.assertHeld();
      expect(await locker.check(real.name)).toBe(true);
    }
    expect(await locker.check(real.name)).toBe(false);
  });

  test("[I1ap] inspect shows the holder, what it said of itself, and the queue; of a free lock, that it is free", async () => {
    const [one, two] = [real.client({ owner: "ann" }), real.client({ owner: "bob" })];
    const { token } = await one.acquire(real.name, { metadata: { file: "ä", n: 1 } });
    const waiting = two.acquire(real.name);
    await expect.poll(async () => (await one.inspect(real.name)).queueLength).toBe(1);
    const info = await one.inspect(real.name);
    expect(info).toMatchObject({
      name: real.name,
      held: true,
      holders: [{ token, owner: "ann", mode: "exclusive", detached: false, metadata: { file: "ä", n: 1 } }],
      queue: [{ owner: "bob", away: false }],
      recovering: false,
    });
    expect(info.holders[0]!.expiresInMs).toBeGreaterThan(9_000);
    await one.release(real.name, token);
    await (await waiting).release();
    expect(await one.inspect(real.name)).toMatchObject({
      held: false,
      holders: [],
      queue: [],
      queueLength: 0,
    });
  });

  test("[L4f] the session's lease is what was asked for", async () => {
    const locker = real.client({ lease: "1m" });
    const lease = await locker.acquire(real.name);
    expect(lease.remainingMs).toBeGreaterThan(57_000);
    expect((await locker.inspect(real.name)).holders[0]!.expiresInMs).toBeGreaterThan(59_000);
  });

  test("[N4c] a hold of 30 days is one, on both sides", async () => {
    const locker = real.client();
    const lease = await locker.acquire(real.name, { detached: "30d" });
    const days = 86_400_000;
    expect(lease.remainingMs).toBeGreaterThan(29 * days);
    expect((await locker.inspect(real.name)).holders[0]!.expiresInMs).toBeGreaterThan(29.9 * days);
    expect(await locker.unlock(real.name)).toBe(true);
  });
});

describe("the original three", () => {
  test("[I1aq] lock, unlock and check say true and false as they did", async () => {
    const [one, two] = [real.client(), real.client()];
    expect(await one.check(real.name)).toBe(false);
    expect(await one.unlock(real.name)).toBe(false);
    expect(await one.lock(real.name)).toBe(true);
    expect(await two.check(real.name)).toBe(true);
    expect((await two.inspect(real.name)).holders).toMatchObject([{ detached: true }]);
    expect((await two.inspect(real.name)).holders[0]!.expiresInMs).toBeGreaterThan(299_000);
    expect(await two.unlock(real.name)).toBe(true);
    expect(await one.check(real.name)).toBe(false);
  });

  test("[I1ar] they take lists: lock has all, unlock and check say whether any", async () => {
    const locker = real.client();
    const names = ["a", "b", "c"].map((letter) => `${real.name} ${letter}`);
    expect(await locker.lock(names, { lockExpirationInSeconds: 60 })).toBe(true);
    for (const one of names) expect(await locker.check(one)).toBe(true);
    expect(await locker.unlock(names[2]!)).toBe(true);
    expect(await locker.check(names)).toBe(true);
    expect(await locker.unlock(names)).toBe(true);
    expect(await locker.check(names)).toBe(false);
    expect(await locker.unlock(names)).toBe(false);
  });

  test("[I1as] when a later name is not free in time, those before it are given back", async () => {
    const [one, two] = [real.client({ owner: "ann" }), real.client()];
    const [first, second] = [`${real.name} a`, `${real.name} b`];
    await one.lock(second);
    const error = await errorOf(two.lock([first, second], { waitTimeoutInMs: 30 }));
    expect(error).toMatchObject({ name: "TimeoutError", details: { holder: { owner: "ann" } } });
    expect(await one.check(first)).toBe(false);
    expect(await one.check(second)).toBe(true);
  });

  test("[I1at] lock outlives its client; the lock of a session is not for unlock", async () => {
    const maker = real.client();
    await maker.lock(real.name);
    await maker.close();
    expect(await real.client().unlock(real.name)).toBe(true);
    await real.client().acquire(real.name);
    const error = await errorOf(real.client().unlock(real.name));
    expect(error.code).toBe("NOT_HELD");
    expect(await real.client().check(real.name)).toBe(true);
  });
});

describe("servers", () => {
  test("[I1ba] of several addresses a dead one is passed over at once", async () => {
    const startedAt = performance.now();
    const locker = real.client({ serverUrl: ["http://127.0.0.1:1", real.server.url] });
    expect(await locker.lock(real.name)).toBe(true);
    expect(performance.now() - startedAt).toBeLessThan(2_000);
  });

  test("[I1bb] an address that takes connections and says nothing is passed over too", async () => {
    const deaf = createServer().listen(0, "127.0.0.1");
    await once(deaf, "listening");
    const { port } = deaf.address() as { port: number };
    const locker = real.client({ serverUrl: [`http://127.0.0.1:${port}`, real.server.url] });
    expect(await locker.lock(real.name)).toBe(true);
    deaf.close();
  });

  test("[I1bc] a wrong key is UnauthorizedError with the message Unauthorized", async () => {
    const error = await errorOf(real.client({ apiKey: "ldb_wrong_key_of_some_length" }).acquire(real.name));
    expect(error).toBeInstanceOf(UnauthorizedError);
    expect(error).toMatchObject({ message: "Unauthorized", code: "UNAUTHORIZED", retryable: false });
  });

  test("[I1bd] a server that is not there is ConnectionError after about 5 s, and nothing was applied", async () => {
    const startedAt = performance.now();
    const error = await errorOf(real.client({ serverUrl: "http://127.0.0.1:1" }).lock(real.name));
    const tookMs = performance.now() - startedAt;
    expect(error).toBeInstanceOf(ConnectionError);
    expect(error).toMatchObject({ code: "CONNECTION", retryable: true, mayHaveApplied: false });
    expect(error.message).toMatch(/127\.0\.0\.1:1/);
    expect(tookMs).toBeGreaterThan(4_500);
    expect(tookMs).toBeLessThan(8_000);
  });

  test("[R3y] a lock is held through a connection that is reset, whatever became of the caller's metadata", async () => {
    const line = await wireTo(real.server.url);
    const locker = real.client({ serverUrl: line.url });
    const metadata: Record<string, string> = { job: "nightly" };
    const lease = await locker.acquire(real.name, { metadata });
    metadata.job = "x".repeat(2_000);
    const other = real.client();
    for (let at = 0; at < 3; at++) {
      line.cut();
      expect(await locker.check(real.name)).toBe(true);
    }
    lease.assertHeld();
    expect(await other.tryAcquire(real.name)).toBeNull();
    expect((await other.inspect(real.name)).holders).toMatchObject([
      { token: lease.token, metadata: { job: "nightly" } },
    ]);
    expect(await lease.release()).toBe(true);
    await locker.close();
    line.close();
  });

  test("[I1be] close frees what is held, aborts the leases, and rejects what comes later", async () => {
    const locker = real.client();
    const { signal } = await locker.acquire(real.name);
    const waiting = errorOf(locker.acquire(real.name));
    await locker.close();
    expect(signal.reason).toBeInstanceOf(LockLostError);
    expect(await waiting).toMatchObject({ code: "CLOSED" });
    expect(await errorOf(locker.check(real.name))).toMatchObject({ code: "CLOSED" });
    expect(await real.client().tryAcquire(real.name)).not.toBeNull();
  });
});

test("[I1bf] the error classes are exports, and statics of the class, for those who get only that", () => {
  expect(Named).toBe(LockDB);
  const classes = {
    LockDBError,
    LockTimeoutError,
    LockLostError,
    DeadlockError,
    UnauthorizedError,
    ConnectionError,
  };
  for (const [className, it] of Object.entries(classes)) {
    expect(LockDB[className as keyof typeof classes]).toBe(it);
    expect(it.prototype).toBeInstanceOf(Error);
  }
  expect(LockDB.LockDB).toBe(LockDB);
});
