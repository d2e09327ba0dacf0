import { once } from "node:events";
import type { Lock, LockDB, WebLockOptions } from "lockdb";
import { describe, expect, test, vi } from "vitest";
import { errorOf, realServer } from "./real.js";

const real = realServer();

/** Several clients with their locks, and what is seen of them. */
function clients<N extends string>(...owners: readonly N[]) {
  const made = {} as Record<N, LockDB>;
  for (const owner of owners) made[owner] = real.client({ owner });
  return made;
}

function deferred<T>() {
  let resolve!: (value: T) => void;
  let reject!: (reason: unknown) => void;
  const promise = new Promise<T>((...settle) => {
    [resolve, reject] = settle;
  });
  return { promise, resolve, reject };
}

/** A lock that is held until `free` is called. */
async function taken(locker: LockDB, name: string, options: WebLockOptions) {
  const free = deferred<unknown>();
  const held = deferred<Lock | null>();
  const ended = locker.locks.request(name, options, (lock) => {
    held.resolve(lock);
    return free.promise;
  });
  ended.catch(() => {});
  await Promise.race([held.promise, ended]);
  return { ended, free: free.resolve, fail: free.reject };
}

async function waiters(locker: LockDB, name: string, count: number): Promise<void> {
  await expect.poll(async () => (await locker.inspect(name)).queueLength).toBe(count);
}

describe("a lock is held while its callback runs", () => {
  test("[I1wa] the callback gets the lock once, later, and its result is the result", async () => {
    const { locks } = real.client();
    const calls: unknown[][] = [];
    let isLater = false;
    const result = locks.request(real.name, (...args: unknown[]) => {
      expect(isLater).toBe(true);
      calls.push(args);
      // biome-ignore lint/suspicious/noThenProperty: what returns a thenable is awaited, as by any promise
      return { then: (done: (value: string) => void) => done("a thenable's") };
    });
    isLater = true;
    expect(await result).toBe("a thenable's");
    expect(calls).toHaveLength(1);
    expect(calls[0]).toHaveLength(1);
    expect(await locks.request(real.name, () => 7)).toBe(7);
    expect(await locks.request(real.name, async () => undefined)).toBeUndefined();
  });

  test("[I1wb] what it throws is what the promise rejects with, and the lock is free then", async () => {
    const { ann } = clients("ann");
    const mistake = new Error("the callback's own");
    const thrown = ann.locks.request(real.name, () => {
      throw mistake;
    });
    await expect(thrown).rejects.toBe(mistake);
    expect(await ann.check(real.name)).toBe(false);
    await expect(ann.locks.request(real.name, () => Promise.reject("no error"))).rejects.toBe("no error");
    expect(await ann.check(real.name)).toBe(false);
  });

  test("[I1wc] it is held until what the callback returns settles, and released before the promise does", async () => {
    const { ann, bob } = clients("ann", "bob");
    const { ended, free } = await taken(ann, real.name, {});
    expect(await bob.tryAcquire(real.name)).toBeNull();
    expect(await bob.check(real.name)).toBe(true);
    free("done");
    expect(await ended).toBe("done");
    expect(await bob.check(real.name)).toBe(false);
  });

  test("[I1wd] the lock says its name and mode, also after it was released, and nobody can set them", async () => {
    const { locks } = real.client();
    const one = await locks.request(real.name, (lock) => lock!);
    expect([one.name, one.mode]).toEqual([real.name, "exclusive"]);
    const two = await locks.request(real.name, { mode: "shared" }, (lock) => lock!);
    expect([two.name, two.mode]).toEqual([real.name, "shared"]);
    expect(() => Object.assign(two, { mode: "exclusive" })).toThrow(TypeError);
    expect(two.mode).toBe("shared");
    expect([`${two}`, `${locks}`]).toEqual(["[object Lock]", "[object LockManager]"]);
  });

  test("[I1we] it is the lock of this name that all others know, and detached ones and sets are in its way", async () => {
    const { ann, bob } = clients("ann", "bob");
    const { free, ended } = await taken(ann, real.name, {});
    expect((await bob.inspect(real.name)).holders).toMatchObject([{ owner: "ann", mode: "exclusive" }]);
    free(0);
    await ended;
    const set = await bob.acquire([real.name, `${real.name} too`]);
    expect(await ann.locks.request(real.name, { ifAvailable: true }, (lock) => lock)).toBeNull();
    await set.release();
  });
});

describe("modes and order", () => {
  test("[I1wf] exclusive ones come in one by one, in the order they asked", async () => {
    const { ann, bob } = clients("ann", "bob");
    const { free } = await taken(ann, real.name, {});
    const order: number[] = [];
    let inside = 0;
    const enter = (at: number) => async () => {
      expect(++inside).toBe(1);
      order.push(at);
      await ann.inspect(real.name);
      inside--;
    };
    const asked: Promise<void>[] = [];
    for (const at of [0, 1, 2, 3]) {
      asked.push((at % 2 === 0 ? ann : bob).locks.request(real.name, enter(at)));
      await waiters(ann, real.name, at + 1);
    }
    free(0);
    await Promise.all(asked);
    expect(order).toEqual([0, 1, 2, 3]);
  });

  test("[I1wg] one client's requests of one turn are granted in the order they were made, also by name", async () => {
    const { locks } = real.client();
    const order: string[] = [];
    await Promise.all(
      ["1", "2", "3"].flatMap((at) => [
        locks.request(`${real.name} a`, () => order.push(`a${at}`)),
        locks.request(`${real.name} b`, () => order.push(`b${at}`)),
      ]),
    );
    expect(order.filter((each) => each.startsWith("a"))).toEqual(["a1", "a2", "a3"]);
    expect(order.filter((each) => each.startsWith("b"))).toEqual(["b1", "b2", "b3"]);
  });

  test("[I1wh] shared ones are held together, over clients", async () => {
    const { ann, bob } = clients("ann", "bob");
    const both = deferred<undefined>();
    let inside = 0;
    const enter = async () => {
      if (++inside === 2) both.resolve(undefined);
      await both.promise;
      return "together";
    };
    const shared = { mode: "shared" } as const;
    const asked = [ann.locks.request(real.name, shared, enter), bob.locks.request(real.name, shared, enter)];
    expect(await Promise.all(asked)).toEqual(["together", "together"]);
  });

  test("[I1wi] a shared one that comes after an exclusive one waits behind it", async () => {
    const { ann, bob } = clients("ann", "bob");
    const reading = await taken(ann, real.name, { mode: "shared" });
    const order: string[] = [];
    const writer = bob.locks.request(real.name, () => order.push("writer"));
    await waiters(ann, real.name, 1);
    const late = ann.locks.request(real.name, { mode: "shared" }, () => order.push("late reader"));
    await waiters(ann, real.name, 2);
    expect(order).toEqual([]);
    reading.free(0);
    await Promise.all([writer, late]);
    expect(order).toEqual(["writer", "late reader"]);
  });

  test("[I1wj] a nested request for a held name waits, and is no deadlock: the surface is always independent", async () => {
    const { ann } = clients("ann");
    const inner = vi.fn();
    let nested: Promise<void> | undefined;
    await ann.withLock(`${real.name} outer`, () =>
      ann.locks.request(real.name, async () => {
        nested = ann.locks.request(real.name, inner);
        const other = new AbortController();
        const outer = ann.locks.request(`${real.name} outer`, { signal: other.signal }, inner);
        await waiters(ann, real.name, 1);
        await waiters(ann, `${real.name} outer`, 1);
        other.abort("enough");
        await expect(outer).rejects.toBe("enough");
        expect(inner).not.toHaveBeenCalled();
      }),
    );
    await nested;
    expect(inner).toHaveBeenCalledTimes(1);
  });

  test("[I1wk] what waits by other means in a callback is inside of its lock: a deadlock there is told", async () => {
    const { ann } = clients("ann");
    const run = ann.locks.request(real.name, () => ann.withLock(real.name, () => "never"));
    expect((await errorOf(run)).code).toBe("DEADLOCK");
  });
});

describe("ifAvailable", () => {
  test("[I1wl] a free lock is granted; a busy one gives null, and the callback's result or error all the same", async () => {
    const { ann, bob } = clients("ann", "bob");
    const available = { ifAvailable: true };
    expect(await bob.locks.request(real.name, available, (lock) => lock?.name)).toBe(real.name);
    const { free, ended } = await taken(ann, real.name, {});
    expect(await bob.locks.request(real.name, available, (lock) => [lock])).toEqual([null]);
    const own = await ann.locks.request(real.name, available, async (lock) => [lock]);
    expect(own).toEqual([null]);
    const mistake = new Error("it is busy");
    const thrown = bob.locks.request(real.name, available, () => {
      throw mistake;
    });
    await expect(thrown).rejects.toBe(mistake);
    free(0);
    await ended;
    expect(await bob.locks.request(real.name, available, (lock) => lock?.mode)).toBe("exclusive");
  });

  test("[I1wm] a null callback does not hold or queue anything", async () => {
    const { ann, bob } = clients("ann", "bob");
    const { free, ended } = await taken(ann, real.name, {});
    const pending = deferred<undefined>();
    const called = deferred<Lock | null>();
    const nothing = bob.locks.request(real.name, { ifAvailable: true }, (lock) => {
      called.resolve(lock);
      return pending.promise;
    });
    expect(await called.promise).toBeNull();
    expect((await ann.inspect(real.name)).queueLength).toBe(0);
    free(0);
    await ended;
    expect(await ann.check(real.name)).toBe(false);
    pending.resolve(undefined);
    await nothing;
  });

  test("[I1wn] shared ones are available beside shared ones, and not behind an exclusive one that waits", async () => {
    const { ann, bob } = clients("ann", "bob");
    const { free } = await taken(ann, real.name, { mode: "shared" });
    const shared = { mode: "shared", ifAvailable: true } as const;
    expect(await bob.locks.request(real.name, shared, (lock) => lock?.mode)).toBe("shared");
    expect(await bob.locks.request(real.name, { ifAvailable: true }, (lock) => lock)).toBeNull();
    const writer = bob.locks.request(real.name, () => "written");
    await waiters(ann, real.name, 1);
    expect(await bob.locks.request(real.name, shared, (lock) => lock)).toBeNull();
    free(0);
    expect(await writer).toBe("written");
  });
});

describe("signal", () => {
  test("[I1wo] one that has aborted rejects with its reason, and nothing is asked", async () => {
    const { locks } = real.client();
    const callback = vi.fn();
    const reason = { any: "thing" };
    await expect(locks.request(real.name, { signal: AbortSignal.abort(reason) }, callback)).rejects.toBe(
      reason,
    );
    const plain = await errorOf(locks.request(real.name, { signal: AbortSignal.abort() }, callback));
    expect(plain.name).toBe("AbortError");
    const long = locks.request("x".repeat(600), { signal: AbortSignal.abort(reason) }, callback);
    await expect(long).rejects.toBe(reason);
    expect(callback).not.toHaveBeenCalled();
  });

  test("[I1wp] an abort while it waits rejects with the reason, and gives up the place in the queue", async () => {
    const { ann, bob } = clients("ann", "bob");
    const { free, ended } = await taken(ann, real.name, {});
    const aborter = new AbortController();
    const callback = vi.fn();
    const given = bob.locks.request(real.name, { signal: aborter.signal }, callback);
    await waiters(ann, real.name, 1);
    const next = ann.locks.request(real.name, () => "next");
    await waiters(ann, real.name, 2);
    aborter.abort(new Error("went home"));
    await expect(given).rejects.toThrow("went home");
    await waiters(ann, real.name, 1);
    free(0);
    await ended;
    expect(await next).toBe("next");
    expect(callback).not.toHaveBeenCalled();
    const timeout = await taken(ann, real.name, {});
    const late = await errorOf(bob.locks.request(real.name, { signal: AbortSignal.timeout(20) }, callback));
    expect(late.name).toBe("TimeoutError");
    timeout.free(0);
  });

  test("[I1wq] an abort in the turn of the request rejects, and the lock stays free", async () => {
    const { ann } = clients("ann");
    const aborter = new AbortController();
    const callback = vi.fn();
    await ann.inspect(real.name);
    const asked = ann.locks.request(real.name, { signal: aborter.signal }, callback);
    aborter.abort();
    await expect(asked).rejects.toBe(aborter.signal.reason);
    expect(await ann.locks.request(real.name, () => "free")).toBe("free");
    expect(callback).not.toHaveBeenCalled();
  });

  test("[I1wr] an abort once it is held has no effect", async () => {
    const { ann, bob } = clients("ann", "bob");
    const aborter = new AbortController();
    const result = await ann.locks.request(real.name, { signal: aborter.signal }, async () => {
      aborter.abort();
      expect(await bob.check(real.name)).toBe(true);
      return "whole";
    });
    expect(result).toBe("whole");
    const reused = await errorOf(ann.locks.request(real.name, { signal: aborter.signal }, () => "never"));
    expect(reused).toBe(aborter.signal.reason);
  });

  test("[I1ws] one signal ends several requests", async () => {
    const { ann } = clients("ann");
    const { free } = await taken(ann, real.name, {});
    const aborter = new AbortController();
    const asked = [1, 2, 3].map(() => ann.locks.request(real.name, { signal: aborter.signal }, () => 0));
    await waiters(ann, real.name, 3);
    aborter.abort("all of you");
    for (const each of asked) await expect(each).rejects.toBe("all of you");
    free(0);
  });
});

describe("steal", () => {
  const steal = { steal: true } as const;

  test("[I1wt] a free lock is granted", async () => {
    expect(await real.client().locks.request(real.name, steal, (lock) => lock?.name)).toBe(real.name);
  });

  test("[I1wu] its holder's promise rejects with AbortError though its callback still runs, and says why", async () => {
    const { ann, bob } = clients("ann", "bob");
    const robbed = await taken(ann, real.name, {});
    const stolen = bob.locks.request(real.name, steal, async () => {
      const error = await errorOf(robbed.ended);
      expect(error).toBeInstanceOf(DOMException);
      expect(error).toMatchObject({ name: "AbortError", cause: { code: "LOCK_LOST" } });
      expect((await ann.inspect(real.name)).holders).toMatchObject([{ owner: "bob" }]);
      // What comes of the callback later is nobody's business, and breaks nothing.
      robbed.fail(new Error("too late"));
      expect(await ann.locks.request(real.name, { ifAvailable: true }, (lock) => lock)).toBeNull();
      return "loot";
    });
    expect(await stolen).toBe("loot");
  });

  test("[I1wv] a client can steal from itself, and from several that share", async () => {
    const { ann, bob } = clients("ann", "bob");
    const readers = [
      await taken(ann, real.name, { mode: "shared" }),
      await taken(ann, real.name, { mode: "shared" }),
      await taken(bob, real.name, { mode: "shared" }),
    ];
    expect(await ann.locks.request(real.name, steal, () => "alone")).toBe("alone");
    for (const { ended } of readers) expect((await errorOf(ended)).name).toBe("AbortError");
  });

  test("[I1ww] it comes before all who wait, and they go on waiting", async () => {
    const { ann, bob } = clients("ann", "bob");
    const { ended } = await taken(ann, real.name, {});
    const order: string[] = [];
    const waiting = [1, 2].map((at) => ann.locks.request(real.name, () => order.push(`waiter ${at}`)));
    await waiters(ann, real.name, 2);
    await bob.locks.request(real.name, steal, async () => {
      order.push("thief");
      expect((await bob.inspect(real.name)).queueLength).toBe(2);
    });
    await Promise.all(waiting);
    expect(order).toEqual(["thief", "waiter 1", "waiter 2"]);
    expect((await errorOf(ended)).name).toBe("AbortError");
  });

  test("[I1wx] a thief can be robbed; it is force, and is shown as such", async () => {
    const { ann, bob } = clients("ann", "bob");
    const events = ann.watch({ prefix: real.name });
    await ann.inspect(real.name);
    const first = await taken(ann, real.name, steal);
    const second = await taken(bob, real.name, steal);
    expect((await errorOf(first.ended)).name).toBe("AbortError");
    const third = await taken(ann, real.name, steal);
    expect((await errorOf(second.ended)).name).toBe("AbortError");
    third.free("kept");
    expect(await third.ended).toBe("kept");
    await ann.locks.request(real.name, () => 0);
    const seen: string[] = [];
    for await (const event of events) {
      if (event.type === "forced") seen.push(`${event.owner} ${event.reason}`);
      if (seen.length === 2) break;
    }
    expect(seen).toEqual(["ann stolen", "bob stolen"]);
  });

  test("[I1wy] leases of other means are lost to it as well", async () => {
    const { ann, bob } = clients("ann", "bob");
    const lease = await ann.acquire(real.name);
    await Promise.all([once(lease.signal, "abort"), bob.locks.request(real.name, steal, () => 0)]);
    expect(lease.signal.reason).toMatchObject({ code: "LOCK_LOST" });
    const semaphore = await ann.acquire(real.name, { permits: 3 });
    await bob.locks.request(real.name, steal, () => 0);
    await expect.poll(() => semaphore.signal.aborted).toBe(true);
  });
});

describe("what is no part of the standard", () => {
  test("[I1wz] close frees what is held, with AbortError, and what waits or comes later is InvalidStateError", async () => {
    const { ann, bob } = clients("ann", "bob");
    const { ended } = await taken(ann, real.name, {});
    const waiting = errorOf(ann.locks.request(real.name, () => 0));
    await waiters(bob, real.name, 1);
    await ann.close();
    expect((await errorOf(ended)).name).toBe("AbortError");
    for (const each of [
      waiting,
      errorOf(ann.locks.request(real.name, () => 0)),
      errorOf(ann.locks.request(real.name, { ifAvailable: true }, () => 0)),
      errorOf(ann.locks.query()),
    ]) {
      const error = await each;
      expect(error).toBeInstanceOf(DOMException);
      expect(error).toMatchObject({ name: "InvalidStateError", cause: { code: "CLOSED" } });
    }
    expect(await bob.check(real.name)).toBe(false);
  });

  test("[I1wza] errors of the service are its own: a wrong key, a lock with permits", async () => {
    const wrong = real.client({ apiKey: "ldb_wrong_key_of_some_length" });
    expect(await errorOf(wrong.locks.request(real.name, () => 0))).toMatchObject({ code: "UNAUTHORIZED" });
    expect(await errorOf(wrong.locks.query())).toMatchObject({ code: "UNAUTHORIZED" });
    const { ann, bob } = clients("ann", "bob");
    await ann.acquire(real.name, { permits: 3 });
    const mismatch = await errorOf(bob.locks.request(real.name, () => 0));
    expect(mismatch).toMatchObject({ code: "PERMITS_MISMATCH" });
  });
});
