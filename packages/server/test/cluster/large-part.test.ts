/** Partitions with more than is read at once. */
import { createHash } from "node:crypto";
import { beforeEach, expect, test } from "vitest";
import { ownerKeyInStore } from "../../src/cluster/keys.js";
import { fencedBy, readNarrow, readOwned, readThrough } from "../../src/cluster/part.js";
import { PARTITIONS, partitionName, partitionOf } from "../../src/cluster/partitions.js";
import { fenceKey, memberKey, type OwnerRecord, ownerKey, seen, written } from "../../src/cluster/records.js";
import { Words } from "../../src/cluster/words.js";
import {
  bytesOf,
  CODE,
  type Etcd,
  type EtcdEntry,
  EtcdError,
  endOf,
  type Key,
  type Op,
  type Txn,
} from "../../src/store/etcd-api.js";
import { encodeRecord } from "../../src/store/index.js";
import { MemoryEtcd } from "../store/memory-etcd.js";
import { AT, type TestMember, turns, World } from "./world.js";

const LARGE = "large";
const partition = partitionOf("default", LARGE);
/** Another one, which is not claimed and read in the same transaction. */
const OTHER = "others";
const below = `data/${partitionName(partition)}/`;
/** More than the first two pages. */
const SESSIONS = 4_500;

/** A service's sessions, with ids as clients make them. */
function sessionsOf(service: string, count: number): Op[] {
  const at = `${AT}data/${partitionName(partitionOf("default", service))}/`;
  return Array.from({ length: count }, (_, each): Op => {
    const id = createHash("sha256").update(`${each}`).digest("base64url").slice(0, 22);
    const key = `default/service/${service}/session/${id}`;
    return { put: `${at}${key}`, value: encodeRecord(key, { client: "c", leaseMs: 9, owner: "ann" }) };
  });
}

async function fill(etcd: MemoryEtcd, ops: readonly Op[]): Promise<void> {
  for (let at = 0; at < ops.length; at += 100)
    await etcd.client().txn({ compare: [], ops: ops.slice(at, at + 100) });
}

const getIn = ({ ops }: Txn) => ops.find((op) => "get" in op) as (Op & { get: Key; end?: Key }) | undefined;
const end = endOf(`${AT}${below}`);
let world: World;
beforeEach(() => {
  world = new World();
});

/** What is read of an etcd with these keys, and of how many keys etcd has to look at for each read. */
async function readingOf(names: readonly string[]) {
  const etcd = new MemoryEtcd();
  const words = new Words(AT);
  const keys = names.map((name) => Buffer.from(`${AT}${below}${name}`)).sort(Buffer.compare);
  const ops = keys.map((put): Op => ({ put: put.toString(), value: Buffer.from("x") }));
  await fill(etcd, [...ops, words.put(written(fenceKey("me"), { member: "me" }))]);
  const placeOf = (key: Uint8Array) => keys.filter((each) => Buffer.compare(each, key) < 0).length;
  const looks: number[] = [];
  const client: Etcd = {
    ...etcd.client(),
    txn: async (txn) => {
      const { get, end: to } = getIn(txn)!;
      looks.push(placeOf(bytesOf(to!)) - placeOf(bytesOf(get)));
      // Some take too long: what was read by then is not read again.
      if (looks.length % 5 === 0)
        return { kind: "unknown", error: new EtcdError(CODE.DEADLINE_EXCEEDED, "slow", "here") };
      return etcd.client().txn(txn);
    },
  };
  return { member: fencedBy(client, words, "me"), keys, looks };
}

const firstOf = (keys: readonly Buffer[]): EtcdEntry[] =>
  keys.slice(0, 400).map((key) => ({ key, value: Buffer.from("x"), revision: 1 }));

test("[R4qa] of very many keys each read asks for a range with few of them, and none is left out", async () => {
  const few = ["a", "b/1", "hold", "hold/", "hold0", "z/\u{ff}", "\u{7f}", "~~~"];
  const many = Array.from({ length: 12_000 }, (_, at) => `hold/${at}`);
  const { member, keys, looks } = await readingOf([...few, ...many]);
  const entries = firstOf(keys);
  await readNarrow(member, { entries, end, limit: 400 });
  expect(entries.map(({ key }) => key.toString())).toEqual(keys.map((key) => key.toString()));
  // Each key is looked at a few times, and not once for each page behind it.
  expect(looks.reduce((sum, size) => sum + size, 0)).toBeLessThan(3 * keys.length);
});

test("[R4qc] of few keys that are long few reads are made", async () => {
  const long = "y".repeat(400);
  const names = Array.from({ length: 900 }, (_, at) => `${at % 3}${long}/previous/${at * 7_919}${long}`);
  const { member, keys, looks } = await readingOf(names);
  const entries = firstOf(keys);
  await readNarrow(member, { entries, end, limit: 100 });
  expect(entries.map(({ key }) => key.toString())).toEqual(keys.map((key) => key.toString()));
  expect(looks.length).toBeLessThan(60);
});

test("[R4qd] what is usual is read in two transactions, and what all members share page by page", async () => {
  const etcd = new MemoryEtcd();
  const words = new Words(AT);
  const many = Array.from({ length: 4_200 }, (_, at): Op => {
    return { put: `${AT}common/${at}`, value: Buffer.from("x") };
  });
  const owned = [...sessionsOf(LARGE, SESSIONS - 150), ...many];
  await fill(etcd, [...owned, words.put(written(fenceKey("me"), { member: "me" }))]);
  const member = fencedBy(etcd.client(), words, "me");
  const made = etcd.txns.length;
  const [found] = await readOwned(member, [partition]);
  const { size } = await found!.part(async () => {});
  expect([found!.isLarge, size, etcd.txns.length - made]).toEqual([false, SESSIONS - 150, 2]);
  // Whoever has it has it alone: what is read is not kept beside what is made of it.
  expect((await found!.part(async () => {})).size).toBe(0);
  const [common] = await readThrough(member, ["common/"], 2_000);
  expect([common!.length, etcd.txns.length - made]).toEqual([4_200, 5]);
});

test("[R4qb] a partition with very much keeps no other from being served, and is served when all of it is read, one such after the other", async () => {
  await fill(world.etcd, sessionsOf(OTHER, SESSIONS));
  const { one, narrow, go } = await reading();
  expect([one.serves, one.member.placeOfPartition(partition)]).toEqual([PARTITIONS - 2, "nowhere"]);
  // Nor does it keep its member from beating, and it is not begun twice.
  await world.pass(20_000);
  expect([one.member.isTrusted(), one.reasons, narrow.size]).toEqual([true, [], 1]);
  go();
  await turns();
  expect([one.serves, narrow.size]).toEqual([PARTITIONS, 2]);
  expect(takesOf(one)).toHaveLength(1);
});

test("[R5qb] a member that leaves begins no more partitions with very much, and does not wait for them", async () => {
  await fill(world.etcd, sessionsOf(OTHER, SESSIONS));
  const { one, narrow, go } = await reading();
  const two = world.member("http://two");
  await two.join();
  two.start();
  await world.pass(1_000);
  let isOver = false;
  void one.member.leave().then(() => {
    isOver = true;
  });
  await world.pass(500);
  expect(isOver).toBe(false);
  go();
  await world.pass(1_500);
  expect([isOver, one.serves, narrow.size]).toEqual([true, 0, 1]);
});

test("[R7qm] what a member has read is not taken up when it is another one by then", async () => {
  const { one, id, go } = await reading(true);
  await world.delete(fenceKey(id), memberKey(id));
  await world.pass(1_000);
  expect(one.reasons).toHaveLength(1);
  one.after = () => null;
  const next = await one.join();
  await world.pass(2_000);
  expect([one.serves, takesOf(one).map(({ member }) => member)]).toEqual([PARTITIONS, [next]]);
  go();
  await turns();
  expect(takesOf(one).map(({ member }) => member)).toEqual([next]);
});

/** A member that has claimed all partitions, and waits for what it reads of a large one: for the first narrow range, or for the last of all. */
async function reading(isLast = false) {
  await fill(world.etcd, sessionsOf(LARGE, SESSIONS));
  const one = world.member("http://one");
  /** Partitions of which more than the first two pages is read. */
  const narrow = new Set<string>();
  let go = () => {};
  const shut = new Promise<void>((resolve) => {
    go = resolve;
  });
  one.after = (txn) => {
    const { get = "", end = "" } = getIn(txn) ?? {};
    const whose = String(get).slice(0, below.length + AT.length);
    if (txn.ops.length > 2 || !whose.startsWith(`${AT}data/`)) return null;
    if (Buffer.compare(endOf(whose), bytesOf(end)) === 0) return isLast && narrow.has(whose) ? shut : null;
    narrow.add(whose);
    return isLast ? null : shut;
  };
  const id = await one.join();
  one.start();
  await world.pass(2_000);
  return { one, id, narrow, go: () => go() };
}

const takesOf = (one: TestMember) =>
  one.taken.flatMap(({ first }) => {
    const [{ key, value }] = first as [{ key: string; value: Uint8Array }];
    return key === ownerKeyInStore(partition) ? [seen<OwnerRecord>(ownerKey(partition), value).record] : [];
  });
