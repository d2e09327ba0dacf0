import { describe, expect, test } from "vitest";
import type { Command } from "../../src/engine/index.js";
import { readServices, ServiceKey } from "../../src/loop/index.js";
import { Block, wholeOf } from "../../src/store/block.js";
import { encodeRecord, openMemoryStore, type Store } from "../../src/store/index.js";
import { stillLoop } from "./still-loop.js";

/** The ids of services, of which one is the beginning of the other. */
const KEYS = ["reports", "reports-2"].map((id) => new ServiceKey("default", id));

describe("what a start takes up", () => {
  test("[R5i] are all the holds of all services, however many", async () => {
    const store = openMemoryStore();
    for (const { prefix } of KEYS) await writeHolds(store, prefix, 2_500);
    const loop = await stillLoop(async () => store);
    for (const key of KEYS)
      expect(loop.services.statsOf(key)).toMatchObject({ holds: 2_500, locks: 2_500, sessions: 0 });
    const heard: unknown[] = [];
    const address = loop.attach({
      service: null,
      receive: (message) => heard.push(message),
      flush: () => {},
    });
    const check: Command = { kind: "check", session: null, address, id: 1, name: "job-2499", waitMs: 0 };
    loop.submit(KEYS[1]!, check);
    await new Promise((resolve) => setImmediate(resolve));
    expect(heard).toEqual([["done", 1, true]]);
    await loop.stop();
  });

  test("[R5r] stay there however many others of them somebody has touched", async () => {
    const store = openMemoryStore();
    await writeHolds(store, KEYS[0]!.prefix, 2_500);
    const loop = await stillLoop(async () => store);
    const heard: unknown[] = [];
    const hear = { service: null, receive: (message: unknown) => heard.push(message), flush: () => {} };
    const address = loop.attach(hear);
    for (let n = 0; n < 2_500; n++) {
      // Here and there: no two that are near each other.
      const name = `job-${(n * 1_237) % 2_500}`;
      loop.submit(KEYS[0]!, { kind: "check", session: null, address, id: n, name, waitMs: 0 });
    }
    await new Promise((resolve) => setImmediate(resolve));
    expect(heard).toEqual(Array.from({ length: 2_500 }, (_, n) => ["done", n, true]));
    expect(loop.services.statsOf(KEYS[0]!)).toMatchObject({ holds: 2_500, locks: 2_500 });
    await loop.stop();
  });

  test("[R5rc] give memory up with the last of them, and are better taken out when most of it is somebody else's", async () => {
    const block = new Block(10_000);
    const put = (key: string, value: object) =>
      block.add(wholeOf(Buffer.from(key)), wholeOf(encodeRecord(key, value)));
    const counts = [2, 30];
    for (const [n, { prefix }] of KEYS.entries()) {
      for (let token = 1; token <= counts[n]!; token++) put(`${prefix}hold/${token}`, hold(token));
      for (let other = 10; other < 30; other++) put(`${prefix}previous/${other}`, { token: other });
    }
    expect(block.size).toBe(72);
    const [few, many] = (await readServices({ blocks: () => [block] }, () => {})).map(({ holds }) => holds);
    expect(few!.fewWith(1)).toMatchObject({ from: 0, to: 2 });
    const own = block.endAt(0) - block.startAt(0);
    let left = many!.size;
    for (; many!.fewWith(0) === null; left--) many!.letGo(left - 1);
    // An eighth of all that the block takes up. Its records are a few bytes longer or shorter.
    expect(left).toBeGreaterThan(1_250 / own - 2);
    expect(left).toBeLessThan(1_250 / own + 1);
    expect(many!.fewWith(0)).toMatchObject({ from: 0, to: 30 });
    while (left > 1) many!.letGo(--left);
    expect(many!.at(0)).toMatchObject({ id: "1" });
    many!.letGo(0);
    expect(() => many!.placeOf(0)).toThrow(TypeError);
    expect(many!.fewWith(0)).toBe(null);
  });

  test("[R9s] a damaged record among many holds stops the start, and is named", async () => {
    for (const token of [1, 1_234, 2_500]) {
      const store = openMemoryStore();
      await writeHolds(store, KEYS[0]!.prefix, 2_500);
      const key = `${KEYS[0]!.prefix}hold/${token}`;
      const value = encodeRecord(key, hold(token));
      // In its name, so that it looks like another.
      value[19]! ^= 1;
      await store.commit([{ key, value }]);
      await expect(stillLoop(async () => store)).rejects.toThrow(JSON.stringify(key));
    }
  });
});

function hold(token: number): object {
  const name = `job-${token - 1}`;
  const ends = { grantedAtMs: 0, expiresAtMs: 60_000 };
  return { names: name, owner: "http", ...ends, metadata: {}, request: null, remainder: false };
}

function writeHolds(store: Store, prefix: string, count: number): Promise<void> {
  return store.commit(
    Array.from({ length: count }, (_, index) => {
      const key = `${prefix}hold/${index + 1}`;
      return { key, value: encodeRecord(key, hold(index + 1)) };
    }),
  );
}
