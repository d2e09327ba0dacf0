import { setMaxListeners } from "node:events";
import type { LockManagerSnapshot } from "lockdb";
import { describe, expect, test } from "vitest";
import { realServer } from "./real.js";

const real = realServer();

/** What a snapshot has of names that begin so, as lines. */
function lines(snapshot: LockManagerSnapshot, prefix: string) {
  const of = (infos: LockManagerSnapshot["held"]) =>
    infos.filter(({ name }) => name.startsWith(prefix)).map((info) => Object.values(info).join(" "));
  return { held: of(snapshot.held), pending: of(snapshot.pending) };
}

describe("query", () => {
  test("[I1wca] of nothing it is two empty lists", async () => {
    expect(await real.client().locks.query()).toEqual({ held: [], pending: [] });
  });

  test("[I1wcb] it tells name, mode and client of what is held and what waits, over all clients", async () => {
    const [ann, bob] = [real.client({ owner: "ann" }), real.client({ owner: "bob" })];
    await ann.locks.request(real.name, async () => {
      const waiting = bob.locks.request(real.name, { mode: "shared" }, () => 0);
      await expect.poll(async () => (await ann.inspect(real.name)).queueLength).toBe(1);
      for (const { locks } of [ann, bob]) {
        expect(await locks.query()).toEqual({
          held: [{ name: real.name, mode: "exclusive", clientId: "ann" }],
          pending: [{ name: real.name, mode: "shared", clientId: "bob" }],
        });
      }
      return [waiting];
    });
  });

  test("[I1wcc] held in the order of the grants, pending in the order of the requests", async () => {
    const ann = real.client({ owner: "ann" });
    const names = ["c", "a", "b"].map((letter) => `${real.name} ${letter}`);
    const shared = { mode: "shared" } as const;
    const pending: Promise<unknown>[] = [];
    const inside = async (at: number): Promise<void> => {
      if (at < names.length) return ann.locks.request(names[at]!, shared, () => inside(at + 1));
      await ann.locks.request(names[0]!, shared, async () => {
        for (const name of [names[2]!, names[0]!, names[2]!, names[1]!]) {
          pending.push(ann.locks.request(name, () => 0));
        }
        await expect.poll(async () => (await ann.inspect(names[1]!)).queueLength).toBe(1);
        const { held, pending: waiting } = lines(await ann.locks.query(), real.name);
        expect(held.map((line) => line.at(-" shared ann".length - 1))).toEqual(["c", "a", "b", "c"]);
        expect(waiting.map((line) => line.at(-" exclusive ann".length - 1))).toEqual(["b", "c", "b", "a"]);
      });
    };
    await inside(0);
    await Promise.all(pending);
  });

  test("[I1wcd] it is a snapshot, nobody's but the caller's", async () => {
    const { locks } = real.client();
    const snapshot = await locks.request(real.name, () => locks.query());
    expect(snapshot.held).toHaveLength(1);
    snapshot.held.push(snapshot.held.pop()!);
    expect(await locks.query()).toEqual({ held: [], pending: [] });
  });

  test("[I1wce] locks of other means are there: detached, of sets, and of semaphores as shared", async () => {
    const [ann, bob] = [real.client({ owner: "ann" }), real.client({ owner: "bob" })];
    const of = (what: string) => `${real.name} ${what}`;
    await ann.lock(of("original"));
    const set = await ann.acquire([of("x"), { name: of("y"), mode: "shared" }]);
    const part = await ann.acquire(of("pool"), { permits: 2, weight: 2 });
    const waiting = bob.acquire(of("pool"), { permits: 2 });
    await expect.poll(async () => (await ann.inspect(of("pool"))).queueLength).toBe(1);
    expect(lines(await bob.locks.query(), real.name)).toEqual({
      held: [
        `${of("original")} exclusive ann`,
        `${of("x")} exclusive ann`,
        `${of("y")} shared ann`,
        `${of("pool")} shared ann`,
      ],
      pending: [`${of("pool")} shared bob`],
    });
    await ann.unlock(of("original"));
    await set.release();
    await part.release();
    await (await waiting).release();
  });

  test("[I1wcf] a lock that is closed after its hold is not held", async () => {
    const ann = real.client({ owner: "ann" });
    const lease = await ann.acquire(real.name, { minHold: "10m" });
    await lease.release();
    expect((await ann.inspect(real.name)).holders).toMatchObject([{ state: "closed" }]);
    expect(lines(await ann.locks.query(), real.name)).toEqual({ held: [], pending: [] });
    await ann.forceRelease(real.name, lease.token, "the test is over");
  });

  test("[I1wcg] of each lock it shows a hundred holders and waiters, of all more than one page of locks", async () => {
    const ann = real.client({ owner: "ann" });
    const shared = { mode: "shared" } as const;
    const crowd = await Promise.all(Array.from({ length: 105 }, () => ann.acquire(real.name, shared)));
    const aborter = new AbortController();
    const { signal } = aborter;
    setMaxListeners(0, signal);
    const queue = Array.from({ length: 103 }, () => ann.locks.request(real.name, { signal }, () => 0));
    const many = await Promise.all(
      Array.from({ length: 1_100 }, (_, at) => ann.acquire(`${real.name} ${at}`)),
    );
    const { held, pending } = await ann.locks.query();
    const newest = crowd.map(({ token }) => token).toSorted((a, b) => a - b);
    expect(newest).toHaveLength(105);
    expect(held.filter(({ name }) => name === real.name)).toHaveLength(100);
    expect(pending).toHaveLength(100);
    expect(held.filter(({ name }) => name !== real.name).map(({ name }) => name)).toEqual(
      many.map((_, at) => `${real.name} ${at}`),
    );
    aborter.abort("enough");
    await Promise.allSettled(queue);
  });

  test("[I1wch] ten holders or waiters, and eleven, are all shown", async () => {
    const ann = real.client({ owner: "ann" });
    for (const [holders, waiters] of [
      [10, 10],
      [11, 0],
      [1, 11],
      [1, 10],
    ] as const) {
      const name = `${real.name} ${holders} ${waiters}`;
      const shared = { mode: "shared" } as const;
      await Promise.all(Array.from({ length: holders }, () => ann.acquire(name, shared)));
      const aborter = new AbortController();
      const { signal } = aborter;
      setMaxListeners(0, signal);
      const queue = Array.from({ length: waiters }, () => ann.locks.request(name, { signal }, () => 0));
      await expect.poll(async () => (await ann.inspect(name)).queueLength).toBe(waiters);
      const { held, pending } = lines(await ann.locks.query(), name);
      expect([held.length, pending.length]).toEqual([holders, waiters]);
      aborter.abort("enough");
      await Promise.allSettled(queue);
    }
  });
});
