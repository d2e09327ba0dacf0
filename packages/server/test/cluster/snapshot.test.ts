import { beforeEach, expect, test } from "vitest";
import { fenceKey, ownerKey, written } from "../../src/cluster/records.js";
import { Snapshot } from "../../src/cluster/snapshot.js";
import type { Etcd, Txn } from "../../src/store/etcd-api.js";
import type { Change } from "../../src/store/index.js";
import { MemoryEtcd } from "../store/memory-etcd.js";
import { AT, change, Data, holdUntil, keyOf, listOf, recordsOf, serviceIn } from "./data.js";
import { turns } from "./world.js";

const [ONE, TWO, THREE, KEEPERS] = [9, 20, 77, 0].map(serviceIn) as [string, string, string, string];

let etcd: MemoryEtcd;
let data: Data;
let taken = 0;
beforeEach(() => {
  etcd = new MemoryEtcd();
  data = new Data(etcd);
});

const take = (client: Etcd = etcd.client()) =>
  Snapshot.take({
    ...{ etcd: client, at: AT, compare: [], key: "read/test", value: Buffer.from(`look ${taken++}`) },
    refused: () => new Error("refused"),
  });

/** Three partitions on three clocks, and what all share. */
async function threeClocks(): Promise<void> {
  await data.wrote("m1", 1_000, [holdUntil(ONE, 1, 31_000), change("default/key/root", { hash: "x" })]);
  await data.wrote("m2", 9_000, [holdUntil(TWO, 2, 12_000), change("default/audit/2026-1", { what: "x" })]);
  await data.wrote("m3", 77_000, [
    holdUntil(THREE, 3, 5_500),
    change(`default/delivery/${THREE}/3.0`, { token: 3 }),
  ]);
  await data.owner(9, { member: "m1", epoch: 1, offsetMs: 0 });
  await data.owner(20, { member: "m2", epoch: 1, offsetMs: 500 });
  // On its way: its clock stands still, whatever that of a member says.
  await data.owner(77, { member: "m3", epoch: 2, leaseMs: 4_000 });
}

test("[R6wc] partitions on clocks of their own come to one clock, the greatest: what lasts goes on for as long as it did", async () => {
  await threeClocks();
  const snapshot = await take();
  expect(snapshot.leaseMs).toBe(9_500);
  const list = await listOf(snapshot.entries());
  const keys = list.map(([key]) => key);
  expect(keys).toEqual([...keys].sort((a, b) => Buffer.from(a).compare(Buffer.from(b))));
  expect(Object.fromEntries(list)).toMatchObject({
    "default/clock": { nowMs: 9_500 },
    [keyOf(ONE, "hold/1")]: { expiresAtMs: 31_000 + 8_500, grantedAtMs: 8_501 },
    [keyOf(TWO, "hold/2")]: { expiresAtMs: 12_000 },
    [keyOf(THREE, "hold/3")]: { expiresAtMs: 5_500 + 5_500 },
    [`default/delivery/${THREE}/3.0`]: { token: 3 },
    "default/key/root": { hash: "x" },
    "default/audit/2026-1": { what: "x" },
  });
  expect(keys).toHaveLength(7);
});

test("[F3wa] all of it is as of one moment, whatever is committed while it is read, and however much there is", async () => {
  const many = Array.from({ length: 1_500 }, (_, at) => holdUntil(at % 3 === 0 ? TWO : ONE, 10_000 + at, 5));
  await threeClocks();
  await data.joined("m4");
  const store = await data.store("m4");
  await store.commit(many);
  const snapshot = await take();
  const expected = 7 + many.length;
  const keys: string[] = [];
  for await (const { key } of snapshot.entries()) {
    keys.push(key);
    if (keys.length % 200 !== 1) continue;
    // One that is behind what was read, one that is before it, and one that is gone.
    const gone = change(keyOf(TWO, `hold/${11_400 - keys.length}`), null);
    await store.commit([
      holdUntil(ONE, 20_000 + keys.length, 5),
      holdUntil(ONE, 1_000 + keys.length, 5),
      gone,
    ]);
  }
  expect(keys).toHaveLength(expected);
  expect(new Set(keys).size).toBe(expected);
});

test("[F3wb] an answer that is of another history is found out, and none is of an older state", async () => {
  await threeClocks();
  const client = etcd.client();
  let isBack = false;
  const back: Etcd = {
    ...client,
    txn: async (txn, options) => {
      const outcome = await client.txn(txn, options);
      if (!isBack || outcome.kind !== "applied") return outcome;
      // What has that number now is something else.
      return { ...outcome, gets: [[], ...outcome.gets.slice(1)] };
    },
    range: () => Promise.reject(new Error("a bare read")),
  };
  const snapshot = await take(back);
  expect(await listOf(snapshot.entries())).toHaveLength(7);
  isBack = true;
  await expect(listOf(snapshot.entries())).rejects.toThrow(/revisions have gone back/);
  // Each look writes, or it would not go through etcd's log.
  for (const { ops } of etcd.txns.slice(-3)) expect(ops[0]).toMatchObject({ put: `${AT}read/test` });
});

test("[F3wc] whoever may not look any more gets nothing", async () => {
  await threeClocks();
  await data.joined("m1");
  const { key, value } = written(fenceKey("m1"), { member: "m1" });
  const snapshot = await Snapshot.take({
    ...{ etcd: etcd.client(), at: AT, compare: [{ key: `${AT}${key}`, value }], key: "read/m1" },
    ...{ value: Buffer.from("once"), refused: () => new Error("fenced") },
  });
  await data.left("m1");
  await expect(listOf(snapshot.entries())).rejects.toThrow("fenced");
});

test("[R9wa] a damaged record is found, and can be looked at as it is", async () => {
  await threeClocks();
  const { value } = holdUntil(ONE, 1, 5);
  value![9]! ^= 1;
  await data.apply({ put: `${AT}data/09/${keyOf(ONE, "hold/1")}`, value: value! });
  const snapshot = await take();
  await expect(listOf(snapshot.entries())).rejects.toThrow(/hold\/1" is damaged/);
  let count = 0;
  for await (const _ of snapshot.stored()) count++;
  expect(count).toBe(7);
});

const sessions = (service: string) =>
  Array.from({ length: 150 }, (_, at) => change(keyOf(service, `session/${1_000 + at}`), { leaseMs: 1 }));

/** A member that ends in the middle of a large batch: before it counts, or once it does. */
async function diedInBatch(id: string, changes: readonly Change[], counts: boolean): Promise<void> {
  const client = etcd.client();
  await data.joined(id);
  const store = await data.store(id, client);
  const isHead = ({ ops }: Txn) => ops.some((op) => "put" in op && op.put === `${AT}head/${id}`);
  let isOver = false;
  etcd.fate = (txn) => {
    if (!isHead(txn) || isOver) return "answered";
    isOver = true;
    client.die();
    return counts ? "lost" : "never";
  };
  void store.commit(changes);
  for (let at = 0; !isOver && at < 50; at++) await turns();
  expect(isOver).toBe(true);
  etcd.fate = () => "answered";
  await data.left(id);
}

const countOf = (records: object, service: string) =>
  Object.keys(records).filter((key) => key.startsWith(keyOf(service, "session/"))).length;

test("[R1wa] a batch that counts is in it, whole, though its member died before it was in its place; one that does not is not", async () => {
  await data.owner(9, { member: "former", epoch: 1, offsetMs: 0 });
  const shared = [change("default/audit/x", { what: "x" }), change("default/key/x", { hash: "x" })];
  await diedInBatch("former", [...sessions(ONE), ...shared], false);
  expect(Object.keys(await recordsOf(await take()))).toEqual(["default/clock"]);
  await diedInBatch("former", [...sessions(ONE), ...shared], true);
  const records = await recordsOf(await take());
  expect(countOf(records, ONE)).toBe(150);
  // The audit log is everybody's; keys are the keeper's, and it was not.
  expect(
    Object.keys(records)
      .filter((key) => !key.includes("/service/"))
      .sort(),
  ).toEqual(["default/audit/x", "default/clock"]);
});

test("[R1wb] of a batch whose member was fenced that is in it what its next owners have still to do, and nothing that they have begun anew behind", async () => {
  const staged = [ONE, TWO, KEEPERS].flatMap((service) => sessions(service));
  await data.owner(9, { member: "former", epoch: 1, offsetMs: 0 });
  await diedInBatch("former", [...staged, change("default/key/x", { hash: "x" })], true);
  await data.owner(9, { member: "next", epoch: 2, leaseMs: 0, redo: ["former"] });
  await data.owner(20, { member: "next", epoch: 4, offsetMs: 0 });
  await data.owner(0, { member: "next", epoch: 2, leaseMs: 0, redo: ["older", "former"] });
  const records = await recordsOf(await take());
  expect([ONE, TWO, KEEPERS].map((service) => countOf(records, service))).toEqual([150, 0, 150]);
  expect(records).toHaveProperty(["default/key/x"]);
});

test("[R1wc] pieces of a batch that never came to count are nothing", async () => {
  await data.owner(9, { member: "former", epoch: 1, offsetMs: 0 });
  const client = etcd.client();
  await data.joined("former");
  const store = await data.store("former", client);
  const isLast = ({ ops }: Txn) => ops.some((op) => "put" in op && String(op.put).endsWith("000002"));
  etcd.fate = (txn) => (isLast(txn) ? "never" : "answered");
  void store.commit(
    Array.from({ length: 5 }, (_, at) => change(keyOf(ONE, `session/${at}`), { x: "x".repeat(600_000) })),
  );
  const pieces = async () =>
    (await client.range({ key: `${AT}staged/`, end: `${AT}staged0` })).entries.length;
  while ((await pieces()) < 2) await turns();
  await turns();
  client.die();
  etcd.fate = () => "answered";
  await data.left("former");
  expect(Object.keys(await recordsOf(await take()))).toEqual(["default/clock"]);
});

test("[R6wd] a hand-over that counts says where the clock stands, also before it is in its place", async () => {
  const gone = written(ownerKey(9), { member: "next", epoch: 2, leaseMs: 44_000 });
  await data.owner(9, { member: "former", epoch: 1, offsetMs: 0 });
  await diedInBatch("former", [...sessions(ONE), { ...gone, key: "default/owner/09" }], true);
  expect((await take()).leaseMs).toBe(44_000);
  await data.owner(9, { member: "third", epoch: 2, leaseMs: 30_000, redo: ["former"] });
  expect((await take()).leaseMs).toBe(30_000);
});
