import { contextHeader, DeadlockError, type Lease, LockLostError, LockTimeoutError } from "lockdb";
import { describe, expect, test } from "vitest";
import { errorOf, realServer } from "./real.js";

const real = realServer();

describe("kinds of locks", () => {
  test("[Q4h] shared holders together, and an exclusive one alone", async () => {
    const locker = real.client();
    const shared = { mode: "shared" } as const;
    await locker.withLock(real.name, shared, () =>
      locker.withLock(real.name, { ...shared, independent: true }, async () => {
        expect(await locker.tryAcquire(real.name, { independent: true })).toBeNull();
        const { holders } = await locker.inspect(real.name);
        expect(holders.map(({ mode }) => mode)).toEqual(["shared", "shared"]);
      }),
    );
    const lease = await locker.tryAcquire(real.name);
    expect(await locker.tryAcquire(real.name, shared)).toBeNull();
    await lease!.release();
  });

  test("[Q4i] a semaphore gives out its permits, and refuses who counts them otherwise", async () => {
    const locker = real.client();
    const pool = { permits: 3 };
    const two = await locker.acquire(real.name, { ...pool, weight: 2 });
    const one = await locker.acquire(real.name, pool);
    expect(await locker.tryAcquire(real.name, pool)).toBeNull();
    const error = await errorOf(locker.acquire(real.name, { permits: 4 }));
    expect(error).toMatchObject({ code: "PERMITS_MISMATCH", retryable: false });
    expect(error.details.holder).toMatchObject({ mode: "semaphore", permits: 3 });
    await two.release();
    expect(await locker.tryAcquire(real.name, { ...pool, weight: 2 })).not.toBeNull();
    await one.release();
  });

  test("[Q4j] a semaphore with one permit is an ordinary lock", async () => {
    const locker = real.client();
    const lease = await locker.acquire(real.name, { permits: 1 });
    expect((await locker.inspect(real.name)).holders[0]).toMatchObject({ mode: "exclusive" });
    expect(await locker.tryAcquire(real.name)).toBeNull();
    await lease.release();
  });

  test("[Q5g] a set is one hold with one token, and a plain name in it is of the kind that the options say", async () => {
    const locker = real.client();
    const names = [`${real.name} a`, { name: `${real.name} b` }, { name: `${real.name} c`, permits: 2 }];
    const lease = await locker.acquire(names, { mode: "shared" });
    const modes = ["shared", "exclusive", "semaphore"];
    for (const [at, letter] of ["a", "b", "c"].entries()) {
      const { holders } = await locker.inspect(`${real.name} ${letter}`);
      expect(holders).toMatchObject([{ token: lease.token, mode: modes[at], names: { length: 3 } }]);
    }
    const busy = await errorOf(locker.acquire([`${real.name} d`, `${real.name} b`], { wait: 0 }));
    expect(busy).toBeInstanceOf(LockTimeoutError);
    expect(busy.details.holder).toMatchObject({ token: lease.token });
    expect(await lease.release()).toBe(true);
    for (const letter of ["a", "b", "c"]) expect(await locker.check(`${real.name} ${letter}`)).toBe(false);
  });

  test("[Q5h] a set survives a lost connection as a whole, and any of its names ends it by its token", async () => {
    const locker = real.client();
    const names = [`${real.name} a`, { name: `${real.name} b`, mode: "shared" as const }];
    const lease = await locker.acquire(names);
    expect(await locker.release(`${real.name} x`, lease.token)).toBe(false);
    expect(await locker.release(`${real.name} b`, lease.token)).toBe(true);
    expect(() => lease.assertHeld()).toThrow(LockLostError);
    expect(await locker.check(`${real.name} a`)).toBe(false);
  });

  test("[Q5i] a detached set ends by its token, and not by one of its names", async () => {
    const locker = real.client();
    const lease = await locker.acquire([`${real.name} a`, `${real.name} b`], { detached: "1m" });
    const error = await errorOf(locker.unlock(`${real.name} a`));
    expect(error).toMatchObject({ code: "NOT_HELD" });
    expect(error.message).toMatch(/part of a set/);
    expect(await locker.release(`${real.name} a`, lease.token)).toBe(true);
    expect(await locker.check(`${real.name} b`)).toBe(false);
  });
});

describe("requests inside a hold", () => {
  const inTurn = async (name: string, other: string, locker = real.client()) => {
    let bothHold = () => {};
    const both = new Promise<void>((resolve) => {
      bothHold = resolve;
    });
    let count = 0;
    const work = (first: string, second: string) =>
      locker.withLock(first, async () => {
        if (++count === 2) bothHold();
        await both;
        return locker.withLock(second, () => "done");
      });
    return Promise.allSettled([work(name, other), work(other, name)]);
  };

  test("[D1a] withLock inside withLock is known to be inside, over promises and timers", async () => {
    const results = await inTurn(`${real.name} a`, `${real.name} b`);
    const refused = results.filter((result) => result.status === "rejected");
    expect(refused).toHaveLength(1);
    const error = refused[0]!.reason;
    expect(error).toBeInstanceOf(DeadlockError);
    expect(error).toMatchObject({ code: "DEADLOCK", retryable: false, name: "DeadlockError" });
    expect(error.cycle).toHaveLength(2);
    expect(error.message).toContain(error.cycle[0]);
  });

  test("[D1b] of leases from acquire it is known by `within`, also of one that is inside another", async () => {
    const locker = real.client();
    const [a, b, c] = [`${real.name} a`, `${real.name} b`, `${real.name} c`];
    const outer = await locker.acquire(a);
    const inner = await locker.acquire(b, { within: outer });
    const other = await locker.acquire(c);
    const waiting = locker.acquire(a, { within: other });
    await queued(locker, a);
    expect(await errorOf(locker.acquire(c, { within: inner }))).toBeInstanceOf(DeadlockError);
    await inner.release();
    await outer.release();
    await (await waiting).release();
    await other.release();
  });

  test("[D1c] work that says it is independent is waited for by nobody", async () => {
    const locker = real.client();
    let background: Promise<Lease> | undefined;
    await locker.withLock(real.name, async () => {
      background = locker.acquire(real.name, { independent: true });
      await queued(locker, real.name);
    });
    await (await background!).release();
  });

  test("[D1d] when a hold is over, what was started inside it is inside it no more", async () => {
    const locker = real.client();
    let later: Promise<void> | undefined;
    let go = () => {};
    const gate = new Promise<void>((resolve) => {
      go = resolve;
    });
    await locker.withLock(real.name, async () => {
      later = gate.then(() => locker.withLock(real.name, () => {}));
    });
    go();
    await later;
  });

  test("[D3c] asking again for what is held is a deadlock, and with `reentrant` the same hold", async () => {
    const locker = real.client();
    await locker.withLock(real.name, async (outer) => {
      const error = await errorOf(locker.withLock(real.name, () => {}));
      expect(error).toBeInstanceOf(DeadlockError);
      await locker.withLock(real.name, { reentrant: true }, async (inner) => {
        expect(inner.token).toBe(outer.token);
        expect(inner.signal.aborted).toBe(false);
        inner.assertHeld();
        expect(inner.remainingMs).toBeGreaterThan(5_000);
        expect(await inner.release()).toBe(true);
        expect(await inner.release()).toBe(false);
        expect(inner.remainingMs).toBe(0);
        expect(() => inner.assertHeld()).toThrow(/was released/);
      });
      outer.assertHeld();
      expect(await locker.check(real.name)).toBe(true);
    });
    expect(await locker.check(real.name)).toBe(false);
  });

  test("[D3d] a weaker mode of what is held is had already, a stronger one is not", async () => {
    const locker = real.client();
    await locker.withLock(real.name, () =>
      locker.withLock(real.name, { mode: "shared", reentrant: true }, () => {}),
    );
    const refused = locker.withLock(real.name, { mode: "shared" }, () =>
      locker.withLock(real.name, { reentrant: true }, () => {}),
    );
    expect(await errorOf(refused)).toBeInstanceOf(DeadlockError);
  });

  test("[D3e] reentrant without a hold around it is an ordinary request", async () => {
    const locker = real.client();
    const lease = await locker.acquire(real.name, { reentrant: true });
    expect(await locker.tryAcquire(real.name, { reentrant: true })).toBeNull();
    await lease.release();
  });

  test("[D3f] another client that works inside the hold is told when it is over", async () => {
    const [holder, helper] = [real.client({ lease: "1s" }), real.client()];
    const lease = await holder.acquire(real.name);
    const inner = await helper.acquire(real.name, { within: lease, reentrant: true });
    expect(inner.token).toBe(lease.token);
    inner.assertHeld();
    expect(await inner.release()).toBe(true);
    lease.assertHeld();
    const again = await helper.acquire(real.name, { within: lease, reentrant: true });
    const aborted = new Promise((resolve) => again.signal.addEventListener("abort", resolve, { once: true }));
    await lease.release();
    await aborted;
    expect(again.signal.reason).toBeInstanceOf(LockLostError);
    expect(() => again.assertHeld()).toThrow(LockLostError);
  });

  test("[D3g] another client is not told that it is over while the holder renews it", async () => {
    const [holder, helper] = [real.client({ lease: "1s" }), real.client()];
    const lease = await holder.acquire(real.name);
    const inner = await helper.acquire(real.name, { within: lease, reentrant: true });
    const endsAtMs = Date.now() + 2_500;
    while (Date.now() < endsAtMs) {
      inner.assertHeld();
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await lease.release();
  });

  test("[D3n] work inside that outlives the hold around it has lost the lock, though it goes on in one process", async () => {
    const [locker, other] = [real.client(), real.client()];
    let go = () => {};
    const gate = new Promise<void>((resolve) => {
      go = resolve;
    });
    let inner: Promise<string> | undefined;
    let aborted = false;
    await locker.withLock(real.name, async () => {
      inner = locker.withLock(real.name, { reentrant: true }, async ({ signal }) => {
        await gate;
        aborted = signal.aborted;
        return "as if nothing had been";
      });
      await locker.inspect(real.name);
    });
    const lease = await other.acquire(real.name);
    go();
    expect(await errorOf(inner!)).toBeInstanceOf(LockLostError);
    expect(aborted).toBe(true);
    await lease.release();
  });

  test("[D3o] what is inside a detached hold of this client ends with its release, at once", async () => {
    const locker = real.client();
    const outer = await locker.acquire(real.name, { detached: "1h" });
    const inner = await locker.acquire(real.name, { within: outer, reentrant: true });
    inner.assertHeld();
    await outer.release();
    expect(inner.signal.aborted).toBe(true);
    expect(() => inner.assertHeld()).toThrow(LockLostError);
    expect(inner.remainingMs).toBe(0);
  });

  test("[D3p] a hold that is shared with hundreds is found among them", async () => {
    const [holder, helper] = [real.client({ lease: "1s" }), real.client({ lease: "1s" })];
    const shared = { mode: "shared" } as const;
    const lease = await holder.acquire(real.name, shared);
    const inner = await helper.acquire(real.name, { ...shared, within: lease, reentrant: true });
    await Promise.all(Array.from({ length: 150 }, () => helper.acquire(real.name, shared)));
    const endsAtMs = Date.now() + 1_500;
    while (Date.now() < endsAtMs) {
      inner.assertHeld();
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  });

  test("[D1k] `within` the lease that is around it anyway counts once, however deep", async () => {
    const locker = real.client();
    const dive = (depth: number, lease?: Lease): Promise<unknown> => {
      const inside = lease === undefined ? {} : { within: lease };
      return locker.withLock(`${real.name} ${depth}`, inside, (inner) =>
        depth === 0 ? Promise.resolve(contextHeader()) : dive(depth - 1, inner),
      );
    };
    expect(String(await dive(30)).split(".")).toHaveLength(31);
  });
});

/** Resolves when somebody waits for the lock. */
async function queued(locker: ReturnType<typeof real.client>, name: string): Promise<void> {
  while ((await locker.inspect(name)).queueLength === 0);
}
