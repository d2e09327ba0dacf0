import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import type { Change, Entry, Store } from "../../src/store/store.js";

/** The prose of the Store interface, line by line. `open` gives a new, empty store each time. */
export function storeContract(name: string, open: () => Promise<Store>): void {
  describe(`store contract: ${name}`, () => {
    const stores: Store[] = [];
    afterEach(async () => {
      await Promise.all(stores.splice(0).map((store) => store.close()));
    });
    async function opened(): Promise<Store> {
      const store = await open();
      stores.push(store);
      return store;
    }

    test("[R1a] what was committed is loaded, and a later commit replaces or deletes it", async () => {
      const store = await opened();
      await store.commit([put("a/1", "one"), put("a/2", "two"), put("a/3", "three")]);
      await store.commit([put("a/2", "zwei"), remove("a/3")]);
      expect(await textByKey(store, "")).toEqual([
        ["a/1", "one"],
        ["a/2", "zwei"],
      ]);
    });

    test("[R1b] a batch with one bad change is refused whole, and the store goes on", async () => {
      const store = await opened();
      await store.commit([put("a", "before")]);
      for (const bad of [put("", "x"), { key: "b", value: "text" }, { key: "b", value: undefined }, null]) {
        const batch = [put("a", "after"), remove("a"), bad, put("c", "after")] as Change[];
        await expect(store.commit(batch)).rejects.toThrow(TypeError);
      }
      expect(await textByKey(store, "")).toEqual([["a", "before"]]);
      await store.commit([put("a", "after")]);
      expect(await textByKey(store, "")).toEqual([["a", "after"]]);
    });

    test("[R1c] batches are applied in the order of the calls", async () => {
      const store = await opened();
      const order: number[] = [];
      await Promise.all(
        Array.from({ length: 50 }, async (_, index) => {
          await store.commit([put("last", `${index}`), ...(index % 7 === 0 ? [] : [put(`k${index}`, "")])]);
          order.push(index);
        }),
      );
      expect(order).toEqual(Array.from({ length: 50 }, (_, index) => index));
      expect((await textByKey(store, "last"))[0]).toEqual(["last", "49"]);
    });

    test("[R1d] within a batch the last change of a key wins", async () => {
      const store = await opened();
      await store.commit([
        put("a", "1"),
        put("a", "2"),
        put("b", "1"),
        remove("b"),
        remove("c"),
        put("c", "1"),
      ]);
      expect(await textByKey(store, "")).toEqual([
        ["a", "2"],
        ["c", "1"],
      ]);
    });

    test("[R1e] an empty batch and deleting what is absent are no errors", async () => {
      const store = await opened();
      await store.commit([]);
      await store.commit([remove("absent"), put("a", "1"), remove("absent")]);
      expect(await textByKey(store, "")).toEqual([["a", "1"]]);
    });

    test("[R1x] a load begins behind a key that it is given, also one that is gone", async () => {
      const store = await opened();
      await store.commit(["p/1", "p/2", "p/2a", "p/3", "q"].map((key) => put(key, "")));
      const keysAfter = async (after: string) => {
        const keys: string[] = [];
        for await (const { key } of store.load("p/", after)) keys.push(key);
        return keys;
      };
      expect(await keysAfter("p/2")).toEqual(["p/2a", "p/3"]);
      expect(await keysAfter("p/")).toEqual(["p/1", "p/2", "p/2a", "p/3"]);
      await store.commit([remove("p/2")]);
      expect(await keysAfter("p/2")).toEqual(["p/2a", "p/3"]);
      expect(await keysAfter("p/3")).toEqual([]);
    });

    test("[R1f] a load gives the keys below its prefix, ordered by their bytes in UTF-8", async () => {
      const store = await opened();
      const below = [
        "p/",
        "p/ ",
        "p/B",
        "p/a",
        "p/a/b",
        "p/ab",
        "p/~",
        "p/é",
        "p/\ue000",
        "p/\uffff",
        "p/\u{10000}",
      ];
      const beside = ["o", "p", "p.", "p0", "pé", "é", "\u{10ffff}"];
      await store.commit([...below, ...beside].reverse().map((key) => put(key, key)));
      expect(await keys(store, "p/")).toEqual(below);
      expect(await keys(store, "p/a")).toEqual(["p/a", "p/a/b", "p/ab"]);
      expect(await keys(store, "p/\u{10000}")).toEqual(["p/\u{10000}"]);
      expect(await keys(store, "q")).toEqual([]);
      expect(await keys(store, "")).toEqual(["o", "p", "p.", ...below, "p0", "pé", "é", "\u{10ffff}"]);
    });

    test("[R1g] a load shows what was committed when it began, however much is committed meanwhile", async () => {
      const store = await opened();
      const before = Array.from({ length: 2_500 }, (_, index) => `k${String(index).padStart(5, "0")}`);
      await store.commit(before.map((key) => put(key, "before")));
      const loaded: string[] = [];
      for await (const { key, value } of store.load("k")) {
        if (loaded.length % 500 === 0) {
          await store.commit(before.map((each) => put(each, `after ${loaded.length} `.repeat(40))));
          await store.commit([put(`k00000/${loaded.length}`, "new"), put(`k9/${loaded.length}`, "new")]);
          await store.commit(before.slice(loaded.length % 3).map(remove));
        }
        loaded.push(key);
        expect(text(value)).toBe("before");
      }
      expect(loaded).toEqual(before);
    });

    test("[R1h] a load that is left early leaves nothing behind", async () => {
      const store = await opened();
      await store.commit(Array.from({ length: 100 }, (_, index) => put(`k${index}`, "x")));
      for (let round = 0; round < 200; round++) {
        for await (const { key } of store.load("k")) {
          expect(key).toBe("k0");
          break;
        }
      }
      await store.commit([put("k", "y")]);
      expect(await keys(store, "k0")).toEqual(["k0"]);
    });

    test("[R1i] the store keeps copies of values, and gives copies", async () => {
      const store = await opened();
      const value = Buffer.from("before");
      const batch = [{ key: "a", value }, put("b", "before")];
      const committed = store.commit(batch);
      value.fill("!");
      batch[1] = put("c", "after");
      await committed;
      for await (const entry of store.load("")) {
        entry.value.fill(0);
      }
      expect(await textByKey(store, "")).toEqual([
        ["a", "before"],
        ["b", "before"],
      ]);
    });

    test("[R1j] values are any bytes: none, all, and many", async () => {
      const store = await opened();
      const all = Uint8Array.from({ length: 256 }, (_, index) => index);
      const large = new Uint8Array(20_000).fill(7);
      await store.commit([
        { key: "all", value: all },
        { key: "large", value: large },
        { key: "none", value: new Uint8Array(0) },
        { key: "part", value: all.subarray(10, 12) },
      ]);
      const entries = await entriesOf(store, "");
      expect(entries.map(({ value }) => value)).toEqual([all, large, new Uint8Array(0), all.slice(10, 12)]);
      expect(entries.every(({ value }) => Object.getPrototypeOf(value) === Uint8Array.prototype)).toBe(true);
    });

    test("[R1k] close waits for what is in flight, then every call rejects; closing again does not", async () => {
      const store = await opened();
      await store.commit([put("a", "1"), put("b", "1")]);
      const load = store.load("")[Symbol.asyncIterator]();
      await load.next();
      const settled: string[] = [];
      const inFlight = store.commit([put("c", "1")]).then(() => settled.push("commit"));
      const closed = store.close().then(() => settled.push("close"));
      await expect(load.next()).rejects.toThrow("closed");
      await expect(store.commit([put("d", "1")])).rejects.toThrow("closed");
      await Promise.all([inFlight, closed]);
      expect(settled).toEqual(["commit", "close"]);
      await expect(store.commit([put("d", "1")])).rejects.toThrow("closed");
      await expect(store.commit([])).rejects.toThrow("closed");
      await expect(keys(store, "")).rejects.toThrow("closed");
      await store.close();
    });

    test("[R1u] a load in blocks gives the same, many at a time, whatever their size", async () => {
      const store = await opened();
      const sizes = [0, 1, 63, 64, 65, 300, 5_000, 60_000, 400_000, 262_144, 7];
      await store.commit(
        Array.from({ length: 2_300 }, (_, index) =>
          put(`b/é${index}`, "x".repeat(sizes[index] ?? index % 90)),
        ),
      );
      const sizesOfBlocks: number[] = [];
      const entries: Entry[] = [];
      for await (const block of store.load("b/").blocks()) {
        sizesOfBlocks.push(block.size);
        for (let index = 0; index < block.size; index++) entries.push(block.entryAt(index));
      }
      // As texts: comparing large arrays number by number takes seconds.
      const plain = (all: readonly Entry[]) => all.map(({ key, value }) => [key, text(value)]);
      expect(plain(entries)).toEqual(plain(await entriesOf(store, "b/")));
      expect(entries.length).toBe(2_300);
      expect(Math.min(...sizesOfBlocks)).toBeGreaterThan(0);
      expect(Math.max(...sizesOfBlocks)).toBeGreaterThan(500);
      for await (const block of store.load("none").blocks()) expect(block).toBeUndefined();
    });

    test("[R1l] any sequence of batches leaves what a sorted map would hold", async () => {
      const key = fc.array(fc.constantFrom("a", "b", "/", "é", "\ue000", "\u{1f512}"), {
        minLength: 1,
        maxLength: 4,
      });
      const change = fc.record({
        key: key.map((parts) => parts.join("")),
        value: fc.option(fc.uint8Array({ maxLength: 40 })),
      });
      const batches = fc.array(fc.array(change, { maxLength: 12 }), { maxLength: 6 });
      const prefix = fc.constantFrom("a", "b/", "é", "\ue000", "\u{1f512}a");
      await fc.assert(
        fc.asyncProperty(batches, prefix, async (batches, prefix) => {
          const store = await open();
          const model = new Map<string, Uint8Array>();
          for (const batch of batches) {
            await store.commit(batch);
            for (const { key, value } of batch) {
              if (value === null) model.delete(key);
              else model.set(key, value);
            }
            const expected = [...model]
              .sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
              .map(([key, value]) => ({ key, value }));
            expect(await entriesOf(store, "")).toEqual(expected);
            expect(await entriesOf(store, prefix)).toEqual(
              expected.filter(({ key }) => key.startsWith(prefix)),
            );
          }
          await store.close();
        }),
        { numRuns: 25 },
      );
    });

    test("[N3a] a key has 1 to 1,024 bytes of UTF-8", async () => {
      const store = await opened();
      const longest = ["k".repeat(1_024), "é".repeat(512), "\u{1f512}".repeat(256)];
      await store.commit(longest.map((key) => put(key, "x")));
      expect(await keys(store, "")).toEqual(longest);
      expect(await keys(store, longest[1]!)).toEqual([longest[1]]);
      for (const key of ["", "k".repeat(1_025), `${"é".repeat(512)}k`, `${"\u{1f512}".repeat(256)}k`]) {
        await expect(store.commit([put(key, "x")])).rejects.toThrow(TypeError);
        await expect(store.commit([remove(key)])).rejects.toThrow(TypeError);
      }
      await expect(keys(store, "k".repeat(1_025))).rejects.toThrow(TypeError);
    });

    test("[N3b] a key is well-formed and without control characters", async () => {
      const store = await opened();
      const bad = [
        "\0",
        "a\u0001",
        "\u001fa",
        "a\nb",
        "a\u007f",
        "\ud800",
        "a\udc00b",
        "\udd12\ud83d",
        7,
        null,
      ];
      for (const key of bad as string[]) {
        await expect(store.commit([put(key, "x")])).rejects.toThrow(TypeError);
        await expect(keys(store, key)).rejects.toThrow(TypeError);
      }
      const good = [" ", "\u0080", "\u2028", "\ufeff", "\ufffd", "\u{1f512}"];
      await store.commit(good.map((key) => put(key, "x")));
      expect(await keys(store, "")).toEqual(good);
    });
  });
}

export function put(key: string, value: string): Change {
  return { key, value: new TextEncoder().encode(value) };
}

export function remove(key: string): Change {
  return { key, value: null };
}

export function text(value: Uint8Array): string {
  return new TextDecoder().decode(value);
}

export async function entriesOf(store: Store, prefix: string): Promise<Entry[]> {
  const entries = [];
  for await (const entry of store.load(prefix)) {
    entries.push(entry);
  }
  return entries;
}

export async function textByKey(store: Store, prefix: string): Promise<[string, string][]> {
  return (await entriesOf(store, prefix)).map(({ key, value }) => [key, text(value)]);
}

async function keys(store: Store, prefix: string): Promise<string[]> {
  return (await entriesOf(store, prefix)).map(({ key }) => key);
}
