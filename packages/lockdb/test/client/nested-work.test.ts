import { once } from "node:events";
import { setImmediate, setTimeout } from "node:timers/promises";
import { contextHeader, DeadlockError, type LockDB, type LockSpec } from "lockdb";
import { describe, expect, test } from "vitest";
import { errorOf, realServer } from "./real.js";

const real = realServer();

/** Random, and the same each time. */
function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return Math.floor((state / 2 ** 31) * below);
  };
}

async function isQueued(locker: LockDB, name: string): Promise<void> {
  while ((await locker.inspect(name)).queueLength === 0) await setImmediate();
}

describe("locks taken inside of others", () => {
  test("[D2s] a shared holder that asks again behind a queued writer is refused, and the writer goes on", async () => {
    const [reader, writer] = [real.client({ owner: "reader" }), real.client({ owner: "writer" })];
    const { name } = real;
    const { refused, token, writing } = await reader.withLock(name, { mode: "shared" }, async ({ token }) => {
      // It stands for another process, which knows nothing of this hold.
      const writing = writer.acquire(name, { independent: true });
      await isQueued(reader, name);
      const refused = await errorOf(reader.withLock(name, { mode: "shared" }, () => {}));
      return { refused, token, writing: { lease: writing } };
    });
    const { ticket } = await writing.lease;
    expect(refused).toBeInstanceOf(DeadlockError);
    expect((refused as DeadlockError).cycle).toEqual([
      `reader (token ${token}, holding "${name}") waits for "${name}", behind writer (ticket ${ticket}), who waits for ` +
        `"${name}", which reader holds (token ${token})`,
    ]);
    expect(await (await writing.lease).release()).toBe(true);
  });

  test("[D2t] also when another client asks, whom the reader has called, and it is told of the lease by hand", async () => {
    const [reader, writer, helper] = ["reader", "writer", "helper"].map((owner) => real.client({ owner }));
    const { name } = real;
    const lease = await reader!.acquire(name, { mode: "shared" });
    const writing = writer!.acquire(name);
    await isQueued(reader!, name);
    const refused = await errorOf(helper!.acquire(name, { mode: "shared", within: lease }));
    expect((refused as DeadlockError).cycle).toEqual([
      expect.stringMatching(
        new RegExp(`^reader \\(token ${lease.token}, .*\\) waits through helper for .*, behind writer `),
      ),
    ]);
    await lease.release();
    expect(await (await writing).release()).toBe(true);
  });

  test("[D2u] 200 who work in one process at once, with locks inside locks in one order, are never refused", async () => {
    const locker = real.client();
    const random = randomOf(1);
    const levels = [0, 1, 2, 3].map((level) => [`${real.name}/${level}a`, `${real.name}/${level}b`]);
    let [taken, finished] = [0, 0];
    /** One lock of a level or both at once, then others of higher levels inside. */
    const inside = async (from: number): Promise<void> => {
      const level = from + random(2);
      const names = levels[level];
      if (names === undefined) return setTimeout(random(3));
      const kind: LockSpec =
        level === 2 ? { permits: 3 } : { mode: random(2) === 0 ? "shared" : "exclusive" };
      await locker.withLock(random(3) === 0 ? names : [names[random(2)]!], kind, () => inside(level + 1));
      taken++;
    };
    await Promise.all(Array.from({ length: 200 }, () => inside(0).then(() => finished++)));
    expect(finished).toBe(200);
    expect(taken).toBeGreaterThan(400);
  });

  test("[D2v] one order is not enough where sets are asked for: a set stands in all its queues at once", async () => {
    const [ann, bob] = [real.client({ owner: "ann" }), real.client({ owner: "bob" })];
    const [a, b] = [`${real.name}/a`, `${real.name}/b`];
    const lease = await ann.acquire(a);
    const set = bob.acquire([a, b]);
    await isQueued(bob, b);
    // It would be behind the set, which waits for the hold that it is made inside of.
    const refused = await errorOf(ann.acquire(b, { within: lease }));
    expect(refused).toBeInstanceOf(DeadlockError);
    await lease.release();
    expect(await (await set).release()).toBe(true);
  });

  test("[D1p] work that is started there and goes on by itself is no deadlock when it says so", async () => {
    const locker = real.client();
    const { name } = real;
    const [other, background] = [`${name}/other`, [] as Promise<number>[]];
    await Promise.all(
      Array.from({ length: 100 }, (_, at) =>
        locker.withLock(at % 2 === 0 ? name : other, async () => {
          // Each asks for what it has itself, and for what is asked for there inside of the other.
          for (const later of [name, other])
            background.push(locker.withLock(later, { independent: true }, ({ token }) => token));
          await setTimeout(1);
        }),
      ),
    );
    const tokens = await Promise.all(background);
    expect(new Set(tokens).size).toBe(200);
  });

  test("[D1q] the same work without that word is refused: it waits for what it keeps closed", async () => {
    const locker = real.client();
    const { name } = real;
    let started: Promise<unknown> | undefined;
    await locker.withLock(name, async () => {
      started = errorOf(locker.withLock(name, () => {}));
      await setTimeout(50);
    });
    expect(await started).toBeInstanceOf(DeadlockError);
  });

  test("[D1r] who works beside a hold is not inside of it, though both are of one process and one client", async () => {
    const locker = real.client();
    const { name } = real;
    const holding = locker.withLock(name, async () => {
      await isQueued(locker, name);
      return "holding";
    });
    await locker.check(name);
    expect(await Promise.all([holding, locker.withLock(name, () => "beside")])).toEqual([
      "holding",
      "beside",
    ]);
  });

  test("[D1s] what a client tells by itself is inside of no hold, also when it has connected inside of one", async () => {
    const [outer, inner] = [real.client(), real.client()];
    const [connected, told] = [new AbortController(), new AbortController()];
    const holding = outer.withLock(real.name, async () => {
      await inner.check("anything");
      connected.abort();
      await once(told.signal, "abort");
    });
    await once(connected.signal, "abort");
    const lease = await inner.acquire(`${real.name}/inner`, { maxHold: 300 });
    let header: string | undefined;
    lease.signal.addEventListener("abort", () => {
      header = contextHeader();
      told.abort();
    });
    await holding;
    expect(header).toBe("");
  });
});
