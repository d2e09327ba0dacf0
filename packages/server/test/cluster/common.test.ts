/** What members read of what all of them share, when it has changed (decision 028). */
import fc from "fast-check";
import { beforeEach, expect, test } from "vitest";
import { wayBetween } from "../../src/cluster/common.js";
import { putIfAbsent } from "../../src/cluster/put-if-absent.js";
import { fenceKey } from "../../src/cluster/records.js";
import { Words } from "../../src/cluster/words.js";
import type { Etcd, Txn } from "../../src/store/etcd-api.js";
import type { Note } from "../../src/store/etcd-mark.js";
import { decodeRecord, encodeRecord, type Store } from "../../src/store/index.js";
import { type Fate, MemoryEtcd } from "../store/memory-etcd.js";
import { commonIn, diesAndIsRedone, Follower, gone, MANY, put, storeOf } from "./follower.js";
import { AT } from "./world.js";

const MARK = "version/common";
const words = new Words(AT);

let etcd: MemoryEtcd;
let one: Follower;
let keeper: Store;
beforeEach(async () => {
  etcd = new MemoryEtcd();
  one = new Follower(etcd, "one");
  await one.join();
  keeper = await storeOf(etcd, "keeper", "k1");
  await keeper.commit([put("a/account", 1), put("a/key/1", 1), put("a/key/2", 1)]);
  await followed();
});

async function followed(): Promise<void> {
  await one.look();
  await one.follow();
}

const isMark = ({ ops }: Txn) => ops.some((op) => "put" in op && op.put === `${AT}${MARK}`);
/** Records of keys and accounts that were read while something was done, from etcd. */
async function readWhile(done: () => Promise<unknown>): Promise<string[]> {
  const from = etcd.txns.length;
  await done();
  const gets = etcd.txns.slice(from).flatMap(({ ops }) => ops.flatMap((op) => ("get" in op ? [op] : [])));
  return gets
    .map(({ get, end }) => `${String(get)}${end === undefined ? "" : "*"}`)
    .filter((key) => key.startsWith(`${AT}data/common`));
}

test("[A2ca] a member reads the keys that have changed since its last look, be it put, changed twice or revoked, and no other", async () => {
  await keeper.commit([put("a/key/3", 3)]);
  await keeper.commit([put("a/key/2", 2)]);
  await keeper.commit([put("a/key/2", 3)]);
  await keeper.commit([gone("a/key/1")]);
  const read = await readWhile(followed);
  expect(read.sort()).toEqual(["a/key/1", "a/key/2", "a/key/3"].map((key) => `${AT}data/common/${key}`));
  expect(one.known).toEqual(await commonIn(etcd));
  expect(Object.keys(one.known).sort()).toEqual(["a/account", "a/key/2", "a/key/3"]);
  expect(one.reads).toEqual({ whole: 1, changes: 1 });
});

test("[A2cb] an account and its key, in one batch, are known together", async () => {
  await keeper.commit([put("b/account", 1), put("b/key/9", 1)]);
  await followed();
  expect(one.common.reads.at(-1)).toMatchObject({
    isWhole: false,
    changes: [{ key: "b/account" }, { key: "b/key/9" }],
  });
  expect(one.known).toEqual(await commonIn(etcd));
});

test("[A2cc] who has missed more changes than are noted reads all, and who has missed as many does not", async () => {
  for (let at = 0; at < 100; at++) await keeper.commit([put(`a/key/n${at}`, at)]);
  await followed();
  expect(one.reads).toEqual({ whole: 1, changes: 1 });
  for (let at = 0; at < 101; at++) await keeper.commit([gone(`a/key/n${at % 100}`), put("a/key/1", at)]);
  await followed();
  expect(one.reads).toEqual({ whole: 2, changes: 1 });
  expect(one.known).toEqual(await commonIn(etcd));
});

test("[A2cd] another keeper goes on from where the last one was: whoever knew all then reads what has changed, and others all", async () => {
  const late = new Follower(etcd, "late");
  await late.join();
  await late.look();
  await late.follow();
  await keeper.commit([gone("a/key/1")]);
  await followed();
  const next = await storeOf(etcd, "next", "k2");
  await next.commit([gone("a/key/2")]);
  await next.commit([put("a/key/4", 1)]);
  await followed();
  await late.look();
  await late.follow();
  expect([one.reads, late.reads]).toEqual([
    { whole: 1, changes: 2 },
    { whole: 2, changes: 0 },
  ]);
  // The former one has the keys again: what it wrote last is not what was written last.
  await keeper.commit([put("a/key/5", 1)]);
  await followed();
  expect(one.reads).toEqual({ whole: 1, changes: 3 });
  for (const each of [one, late]) {
    await each.look();
    await each.follow();
    expect(each.known).toEqual(await commonIn(etcd));
  }
});

test("[A2ce] what somebody else writes between two changes of the keeper is not missed: a first secret, or a member of an older LockDB", async () => {
  await keeper.commit([put("a/key/1", 2)]);
  const by = { etcd: etcd.client(), words, id: "one" };
  const secret = await putIfAbsent({ ...by, mark: "m1", seen: null }, "a/webhook/secret", { secret: "s" });
  await keeper.commit([put("a/key/1", 3)]);
  await followed();
  expect([secret, one.known]).toEqual([{ secret: "s" }, await commonIn(etcd)]);
  // By somebody who has seen the last mark, and by one who finds another.
  const seen = one.self.commonVersion;
  await putIfAbsent({ ...by, mark: "m2", seen }, "b/webhook/secret", { secret: "t" });
  await followed();
  const { whole } = one.reads;
  await putIfAbsent({ ...by, mark: "m3", seen }, "c/webhook/secret", { secret: "u" });
  await followed();
  expect([one.known, one.reads.whole]).toEqual([await commonIn(etcd), whole]);
  const again = await putIfAbsent({ ...by, mark: "m4", seen }, "c/webhook/secret", { secret: "v" });
  expect(again).toEqual({ secret: "u" });
  await etcd.client().txn({ compare: [], ops: [words.delete(fenceKey("one"))] });
  const late = putIfAbsent({ ...by, mark: "m5", seen: null }, "d/webhook/secret", { secret: "w" });
  await expect(late).rejects.toThrow("fenced");
  await one.join();
  const ops = [
    { put: `${AT}data/common/a/key/old`, value: encodeRecord("a/key/old", { is: 1 }) },
    { put: `${AT}${MARK}`, value: Buffer.from("k1/7") },
  ];
  for (const change of [4, 5]) {
    await etcd.client().txn({ compare: [], ops });
    await followed();
    expect(one.known).toEqual(await commonIn(etcd));
    await keeper.commit([put("a/key/1", change)]);
    await followed();
    expect(one.known).toEqual(await commonIn(etcd));
  }
});

test("[A2cf] a change in a batch of many pieces is noted as well, and comes before the end of the batch", async () => {
  const from = etcd.txns.length;
  await keeper.commit([put("a/key/1", 7), ...MANY, gone("a/key/2")]);
  const marks = etcd.txns.slice(from).filter(isMark);
  expect(marks).toHaveLength(1);
  expect(await readWhile(followed)).toEqual([1, 2].map((at) => `${AT}data/common/a/key/${at}`));
  expect([one.known, one.reads.whole]).toEqual([await commonIn(etcd), 1]);
  const many = Array.from({ length: 300 }, (_, at) => put(`a/key/m${at}`, at));
  await keeper.commit(many);
  await followed();
  expect([one.known, one.reads.whole]).toEqual([await commonIn(etcd), 1]);
});

test("[A2cg] a mark of which nobody knows whether it came through is there once, and one that comes late changes nothing", async () => {
  for (const fate of ["lost", "late", "never"] as const) {
    let count = 0;
    etcd.fate = (txn) => (isMark(txn) && count++ === 0 ? fate : "answered");
    await keeper.commit([put("a/key/1", 10 + count), gone("a/key/2")]);
    await keeper.commit([put("a/key/2", 20 + count)]);
    await followed();
    etcd.applyLate();
    await followed();
    expect([fate, one.known, one.reads.whole]).toEqual([fate, await commonIn(etcd), 1]);
  }
});

test("[A2ch] what a redo has put in its place is read, whichever part of it was there before", async () => {
  for (const copied of [1, 2]) {
    const id = `former${copied}`;
    const keys = Array.from({ length: 200 }, (_, at) => put(`a/key/${copied}-${at}`, at));
    const store = (client: Etcd) => storeOf(etcd, id, id, client);
    await diesAndIsRedone(etcd, id, store, [...keys, gone("a/key/1")], copied);
    await followed();
    expect(one.known).toEqual(await commonIn(etcd));
    expect(one.known["a/key/1"]).toBeUndefined();
    await keeper.commit([put("a/key/1", copied)]);
    await followed();
    expect(one.known).toEqual(await commonIn(etcd));
  }
});

test("[A2ci] a note that is damaged, gone, or of another chain is not believed: all is read", async () => {
  const noteKeys = async () => {
    const { entries } = await etcd.client().range({ key: `${AT}note/`, end: `${AT}note/~` });
    return entries;
  };
  const changed = (change: (note: Note) => object) => (key: string, value: Uint8Array) =>
    encodeRecord(key, change(decodeRecord({ key, value }) as Note));
  const damages: ((key: string, value: Buffer) => Uint8Array | null)[] = [
    (_key, value) => Buffer.concat([value.subarray(0, -1), Buffer.from("?")]),
    () => null,
    changed((note) => ({ ...note, chain: "other" })),
    changed((note) => ({ ...note, at: note.at + 100 })),
    changed((note) => ({ ...note, keys: null })),
    changed((note) => ({ ...note, keys: ["owner/00"] })),
  ];
  for (const [at, damage] of damages.entries()) {
    await keeper.commit([put("a/key/1", 30 + at)]);
    await keeper.commit([gone("a/key/2")]);
    const ops = (await noteKeys()).map(({ key, value }) => {
      const damaged = damage(key.toString().slice(AT.length), value);
      return damaged === null ? { delete: key } : { put: key, value: damaged };
    });
    await etcd.client().txn({ compare: [], ops });
    await followed();
    expect(one.reads).toEqual({ whole: 2 + at, changes: 0 });
    expect(one.known).toEqual(await commonIn(etcd));
    await keeper.commit([put("a/key/2", 1)]);
    await followed();
    one.totals.commonReads.changes = 0;
  }
});

test("[A2cj] changes that do not go with what is known are no reason to know nothing: all is read", async () => {
  let refused = 0;
  const two = new Follower(etcd, "two", async (read) => {
    const found = await read();
    if (!found.isWhole) {
      refused++;
      throw new Error("A key is there whose account is not known.");
    }
    await two.common.onCommon(async () => found);
  });
  await two.join();
  await two.look();
  await two.follow();
  await keeper.commit([gone("a/key/1")]);
  await two.look();
  await two.follow();
  expect([refused, two.reads, two.known]).toEqual([1, { whole: 2, changes: 1 }, await commonIn(etcd)]);
  expect(two.warnings).toEqual([expect.stringContaining("does not go with what is known")]);
});

test("[A2cn] changes that etcd does not tell once are asked for again at the next look, and nothing else is", async () => {
  await keeper.commit([gone("a/key/1")]);
  const isRead = ({ ops }: Txn, area: string) =>
    ops.some((op) => "get" in op && String(op.get).startsWith(`${AT}${area}`));
  for (const area of ["note/", "data/common/"]) {
    etcd.fate = (txn) => (isRead(txn, area) ? "never" : "answered");
    await followed();
  }
  expect(one.reads).toEqual({ whole: 1, changes: 0 });
  expect(one.known["a/key/1"]).toBeDefined();
  expect(one.warnings).toHaveLength(2);
  etcd.fate = () => "answered";
  await followed();
  expect([one.reads, one.known]).toEqual([{ whole: 1, changes: 1 }, await commonIn(etcd)]);
});

test("[A2co] what a member has asked for and is told when it has another id is not taken: it may know newer things by then", async () => {
  for (const before of ["changes", "whole"]) {
    await keeper.commit([put("a/key/1", before.length)]);
    if (before === "whole") one.self.commonVersion = null;
    const { known } = one;
    one.isNow = true;
    etcd.fate = (txn) => {
      one.isNow = !txn.ops.some((op) => "get" in op && String(op.get).startsWith(`${AT}data/common/`));
      return "answered";
    };
    await followed();
    expect([before, one.known]).toEqual([before, known]);
  }
  expect(one.warnings).toEqual([]);
});

test("[A2cq] a damaged record keeps no later revocation from a member, and is no reason to read all at each look", async () => {
  await keeper.commit([put("a/key/2", 9)]);
  const damaged = { put: `${AT}data/common/a/key/2`, value: Buffer.from("damaged!") };
  await etcd.client().txn({ compare: [], ops: [damaged] });
  await followed();
  await keeper.commit([gone("a/key/1")]);
  for (let looks = 0; looks < 3; looks++) await followed();
  expect([Object.keys(one.known), one.reads.whole]).toEqual([["a/account", "a/key/2"], 1]);
  // It is told at each look, and once it is whole again all is well.
  expect(one.warnings).toHaveLength(4);
  await keeper.commit([put("a/key/2", 10)]);
  await followed();
  expect([one.known, one.reads.whole, one.warnings.length]).toEqual([await commonIn(etcd), 1, 4]);
});

test("[A2ck] marks say which ones are between them, or that nobody knows", () => {
  const mark = (chain: string, at: number, after: string | null = null) =>
    encodeRecord(MARK, { chain, at, after });
  const old = Buffer.from("k0/7");
  const way = (before: Uint8Array | null, now: Uint8Array) => {
    const found = wayBetween(before, now);
    return found === null ? null : [found.from, found.to];
  };
  expect(way(mark("a", 3), mark("a", 4))).toEqual([4, 4]);
  expect(way(mark("a", 3), mark("a", 103))).toEqual([4, 103]);
  expect(way(mark("a", 3), mark("a", 104))).toBeNull();
  expect(way(mark("a", 4), mark("a", 3))).toBeNull();
  expect(way(mark("a", 4), mark("b", 5))).toBeNull();
  expect(way(mark("a", 4), mark("b", 2, "a/4"))).toEqual([1, 2]);
  expect(way(mark("a", 5), mark("b", 2, "a/4"))).toBeNull();
  expect(way(old, mark("b", 1))).toBeNull();
  expect(way(null, mark("b", 1))).toBeNull();
  expect(way(mark("a", 3), old)).toBeNull();
  expect(way(mark("a", 3), Buffer.from([...mark("a", 4).slice(0, -1), 0]))).toBeNull();
  expect(way(mark("a", 3), encodeRecord(MARK, { chain: "a", at: "4" }))).toBeNull();
});

// --- any history ---

const RUNS = 50;
const KEYS = Array.from({ length: 8 }, (_, at) => `a/key/${at}`);

type Act =
  | { readonly is: "change"; readonly by: 0 | 1; readonly keys: readonly number[]; readonly isLarge: boolean }
  | { readonly is: "old" | "secret"; readonly key: number }
  | { readonly is: "redo"; readonly keys: readonly number[]; readonly copied: number }
  | { readonly is: "look" | "follow" | "check" | "late" | "reopen" };

const keys = fc.array(fc.nat(KEYS.length - 1), { minLength: 1, maxLength: 3 });
const act: fc.Arbitrary<Act> = fc.oneof(
  {
    weight: 9,
    arbitrary: fc.record({
      is: fc.constant("change" as const),
      by: fc.nat(7).map((at) => (at === 7 ? 1 : 0)),
      keys,
      isLarge: fc.nat(15).map((at) => at === 15),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({ is: fc.constantFrom(...(["look", "follow", "check", "check"] as const)) }),
  },
  { weight: 1, arbitrary: fc.record({ is: fc.constantFrom("late" as const, "reopen" as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      is: fc.constantFrom("old" as const, "secret" as const),
      key: fc.nat(KEYS.length - 1),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ is: fc.constant("redo" as const), keys, copied: fc.integer({ min: 1, max: 2 }) }),
  },
);
const fates = fc.array(
  fc.constantFrom<Fate>("answered", "answered", "answered", "answered", "lost", "late", "never"),
  { minLength: 1, maxLength: 20 },
);

test("[A2cl] whatever is changed by whom, seen or not, lost or late: what a member knows after a look is all that there is", async () => {
  const sums = { whole: 0, changes: 0 };
  const history = async (acts: readonly Act[], given: readonly Fate[]) => {
    const some: readonly Fate[] = [...given, "answered"];
    etcd = new MemoryEtcd();
    const follower = new Follower(etcd, "one");
    await follower.join();
    let [openings, values, redos] = [0, 0, 0];
    const open = (id: string) => storeOf(etcd, id, `o${++openings}`);
    const stores = [await open("k0"), await open("k1")];
    // Each change of a key is another, or a deletion: nothing looks as it did before.
    const changesOf = (numbers: readonly number[]) =>
      numbers.map((at) => (++values % 3 === 0 ? gone(KEYS[at]!) : put(KEYS[at]!, values)));
    let txns = 0;
    const fate = (txn: Txn) => (isMark(txn) ? some[txns++ % some.length]! : "answered");
    const check = async () => {
      await follower.look();
      await follower.follow();
      expect(follower.known).toEqual(await commonIn(etcd));
    };
    for (const each of acts) {
      if (each.is === "change") {
        etcd.fate = fate;
        const more = each.isLarge ? MANY : [];
        await stores[each.by]!.commit([...changesOf(each.keys), ...more]);
        etcd.fate = () => "answered";
      } else if (each.is === "look") await follower.look();
      // Behind a look that may be old by now.
      else if (each.is === "follow") await follower.follow();
      else if (each.is === "check") await check();
      else if (each.is === "late") etcd.applyLate();
      else if (each.is === "reopen") stores[0] = await open("k0");
      else if (each.is === "redo") {
        const id = `dead${++redos}`;
        await diesAndIsRedone(
          etcd,
          id,
          (client) => storeOf(etcd, id, id, client),
          changesOf(each.keys),
          each.copied,
        );
      } else if (each.is === "secret") {
        const mark = `s${++values}`;
        const by = { etcd: etcd.client(), words, id: "one", mark, seen: null };
        await putIfAbsent(by, KEYS[each.key]!, { is: values });
      } else if (each.is === "old") {
        const key = KEYS[each.key]!;
        const value = encodeRecord(key, { is: ++values });
        const ops = [
          { put: `${AT}data/common/${key}`, value },
          { put: `${AT}${MARK}`, value: Buffer.from(`old/${values}`) },
        ];
        await etcd.client().txn({ compare: [], ops });
      }
    }
    await check();
    sums.whole += follower.reads.whole;
    sums.changes += follower.reads.changes;
  };
  await fc.assert(fc.asyncProperty(fc.array(act, { minLength: 20, maxLength: 40 }), fates, history), {
    numRuns: RUNS,
  });
  // Without both it would prove nothing.
  expect(sums.changes).toBeGreaterThan(RUNS / 2);
  expect(sums.whole).toBeGreaterThan(RUNS / 2);
});
