import { beforeEach, expect, test } from "vitest";
import { partitionOf } from "../../src/cluster/partitions.js";
import { fenceKey, memberKey, type OwnerRecord, ownerKey } from "../../src/cluster/records.js";
import { ServiceKey } from "../../src/loop/index.js";
import type { Txn } from "../../src/store/etcd-api.js";
import { encodeRecord as encode, StoreDeposedError } from "../../src/store/index.js";
import { AT, Common, type TestMember, World } from "./world.js";

const PARTITIONS = 256;
const LEASE_MS = 5_000;

let world: World;
beforeEach(() => {
  world = new World();
});

async function running(url = "http://one"): Promise<TestMember> {
  const one = world.member(url);
  await one.join();
  one.start();
  await world.pass(700);
  return one;
}

async function ownerOf(partition: number): Promise<OwnerRecord> {
  return JSON.parse((await world.value(ownerKey(partition)))!) as OwnerRecord;
}

/** Some service of a partition. */
function serviceIn(partition: number): ServiceKey {
  for (let at = 0; ; at++)
    if (partitionOf("default", `s${at}`) === partition) return new ServiceKey("default", `s${at}`);
}

const isBeat = ({ ops }: Txn) => ops.some((op) => "put" in op && String(op.put).startsWith(`${AT}member/`));
const beatIn = (text: string | null) => (JSON.parse(text!) as { beat: number }).beat;

test("[R3qh] a member alone serves all partitions, and two share them: each is served by one", async () => {
  const one = await running();
  expect(one.serves).toBe(PARTITIONS);
  const two = await running("http://two");
  await world.pass(3_000);
  expect(one.serves + two.serves).toBe(PARTITIONS);
  expect(Math.min(one.serves, two.serves)).toBeGreaterThan(60);
  const left = two.member.leave();
  await world.pass(3_000);
  await left;
  expect([one.serves, two.serves]).toEqual([PARTITIONS, 0]);
});

test("[R3qk] what a hint says to be on its way here is read at once, and taken up if that transaction says so, too", async () => {
  const [one, two] = [await running(), await running("http://two")];
  await world.pass(3_000);
  const to = one.member.memberId;
  const mine = [...Array(PARTITIONS).keys()].filter((at) => two.member.placeOfPartition(at) === "here");
  const [real, lie] = [mine[1]!, mine[2]!];
  const before = await ownerOf(real);
  const handed = { member: to, epoch: before.epoch + 1, leaseMs: 5 };
  // It says so of two, and it is so of one.
  await world.put(ownerKey(real), handed);
  const from = world.etcd.txns.length;
  one.hint({ [ownerKey(real)]: handed, [ownerKey(lie)]: { ...handed, epoch: 999 } });
  const looks = () => world.etcd.txns.slice(from).filter(isBeat).length;
  for (let turn = 0; turn < 200 && one.member.placeOfPartition(real) !== "here"; turn++)
    await new Promise((resolve) => setImmediate(resolve));
  expect([one.member.placeOfPartition(real), looks()]).toEqual(["here", 0]);
  expect(one.member.placeOfPartition(lie)).toMatchObject({ url: "http://two" });
  expect(await ownerOf(real)).toMatchObject({ member: to, epoch: before.epoch + 2 });
  expect(one.member.epochOf(serviceIn(real))).toBe(handed.epoch);
});

test("[R7qe] trust counts from when the last beat was sent that came through, by whichever clock is further", async () => {
  const one = await running();
  let go = () => {};
  one.held = new Promise((resolve) => {
    go = resolve;
  });
  // The next beat is through at once, and its answer comes 2 s later.
  await world.pass(500);
  const sentMs = world.nowMs;
  await world.pass(2_000);
  world.etcd.fate = (txn) => (isBeat(txn) ? "never" : "answered");
  one.held = null;
  go();
  await world.pass(LEASE_MS * 0.9 - 2_000 - 500);
  expect(one.member.isTrusted()).toBe(true);
  await world.pass(500);
  expect(world.nowMs - sentMs).toBe(LEASE_MS * 0.9);
  expect(one.member.isTrusted()).toBe(false);
  expect(one.reasons).toHaveLength(1);
  expect(one.serves).toBe(0);
});

test("[R7qf] a beat that was under way for long brings no old number back", async () => {
  const one = await running();
  const id = one.member.memberId;
  let isFirst = true;
  world.etcd.fate = (txn) => {
    if (!isBeat(txn) || !isFirst) return "answered";
    isFirst = false;
    return "late";
  };
  await world.pass(1_500);
  expect(world.etcd.lateCount).toBe(1);
  const beat = beatIn(await world.value(memberKey(id)));
  world.etcd.applyLate();
  expect(beatIn(await world.value(memberKey(id)))).toBe(beat);
  expect(one.member.isTrusted()).toBe(true);
});

test("[R7qg] a silent member is fenced, and not one that has beaten since it was looked at", async () => {
  const [one, two] = [await running(), await running("http://two")];
  await world.pass(3_000);
  const [id, other] = [one.member.memberId, two.member.memberId];
  let isSilent = true;
  let fences = 0;
  const key = `${AT}${memberKey(other)}`;
  world.etcd.fate = (txn) => {
    const isOfTwo = isBeat(txn) && txn.ops.some((op) => "put" in op && op.put === key);
    if (isOfTwo && isSilent) return "late";
    const isFence = txn.ops.some((op) => "delete" in op && op.delete === key);
    // Its beat comes just before.
    if (isFence && fences++ === 0) world.etcd.applyLate();
    return "answered";
  };
  await world.pass(LEASE_MS + 600);
  expect(fences).toBe(1);
  expect(await world.value(fenceKey(other))).not.toBeNull();
  await world.pass(LEASE_MS + 600);
  expect(await world.value(fenceKey(other))).toBeNull();
  isSilent = false;
  await world.pass(1_500);
  expect([one.member.memberId, one.serves]).toEqual([id, PARTITIONS]);
});

test("[R7qh] whoever was fenced writes nothing more, and is told so", async () => {
  const one = await running();
  const id = one.member.memberId;
  await world.delete(fenceKey(id), memberKey(id));
  await expect(
    one.store.commit([{ key: "default/service/a/ceiling/", value: Buffer.from("x") }]),
  ).rejects.toThrow(StoreDeposedError);
  expect(await world.keys("data/")).toEqual([]);
  await world.pass(700);
  expect(one.reasons).toHaveLength(1);
  expect([one.member.isTrusted(), one.serves]).toEqual([false, 0]);
});

test("[R7qk] what a member that is gone has left goes once nobody needs it, and not before", async () => {
  const one = await running();
  const id = one.member.memberId;
  await one.store.commit([{ key: "default/clock", value: encode("default/clock", { nowMs: 5 }) }]);
  await world.delete(fenceKey(id), memberKey(id));
  await world.pass(700);
  expect(await world.keys("clock/")).toEqual([`clock/${id}`]);
  const two = await running("http://two");
  await world.pass(3_000);
  expect(two.serves).toBe(PARTITIONS);
  expect(await world.keys("clock/")).not.toContain(`clock/${id}`);
  expect(await world.keys("head/")).toEqual([`head/${two.member.memberId}`]);
});

test("[R7qi] each join makes another member, and ends the former one", async () => {
  const one = await running();
  const before = one.member.memberId;
  const { store } = one;
  const id = await one.join();
  expect(id).not.toBe(before);
  expect(await world.keys("fence/")).toEqual([fenceKey(id)]);
  expect(one.serves).toBe(0);
  await expect(
    store.commit([{ key: "default/service/a/ceiling/", value: Buffer.from("x") }]),
  ).rejects.toThrow(StoreDeposedError);
  await world.pass(2_000);
  expect(one.serves).toBe(PARTITIONS);
});

test("[R7qj] nothing is claimed of a member whose fence is there", async () => {
  const one = await running();
  const former = one.member.memberId;
  const two = world.member("http://two");
  await world.pass(100);
  // As no transaction of a member does it: then the fence counts.
  world.etcd.fate = (txn) =>
    isBeat(txn) && txn.ops.some((op) => "put" in op && String(op.put).endsWith(former))
      ? "never"
      : "answered";
  await world.delete(memberKey(former));
  await two.join();
  two.start();
  await world.pass(3_000);
  expect([two.serves, two.taken]).toEqual([0, []]);
  await world.delete(fenceKey(former));
  await world.pass(3_000);
  expect(two.serves).toBe(PARTITIONS);
});

test("[R6qa] lease time stands still from a claim until the partition is taken up, and goes on from there", async () => {
  const one = await running();
  one.leaseMs = 70_000;
  await one.store.commit([{ key: "default/clock", value: clockRecord(70_000) }]);
  await one.member.close();
  const two = world.member("http://two");
  two.leaseMs = 1_000;
  await two.join();
  // Its clock goes on between the claim and the take-up.
  world.etcd.fate = (txn) => {
    if (txn.ops.some((op) => "get" in op && String(op.get).startsWith(`${AT}data/`))) two.leaseMs += 100;
    return "answered";
  };
  two.start();
  await world.pass(3_000);
  expect(two.serves).toBe(PARTITIONS);
  const first = two.taken[0]!.offsetMs;
  expect(first + 1_100).toBe(70_000);
});

test("[R7qk] partitions are read by transactions: a bare range may show what was", async () => {
  const one = await running();
  const atJoin = one.ranges.length;
  await world.pass(3_000);
  expect([one.serves, one.ranges.length]).toEqual([PARTITIONS, atJoin]);
  // Those that only read would not go through etcd's log.
  const writes = ({ ops, otherwise = [] }: Txn) => [...ops, ...otherwise].some((op) => !("get" in op));
  expect(world.etcd.txns.filter((txn) => !writes(txn))).toEqual([]);
});

function clockRecord(nowMs: number): Uint8Array {
  return encode("default/clock", { nowMs });
}

test("[A4qa] what all members share is read by a transaction before a member claims anything: what its store has shown may be old", async () => {
  const { reads, onCommon } = new Common();
  const one = world.member("http://one", { onCommon });
  await one.join();
  const key = "default/key/abc";
  await one.store.commit([{ key, value: encode(key, { is: "new" }) }]);
  const before = reads.length;
  await one.join();
  expect(reads.slice(before)).toEqual([{ isWhole: true, records: [{ key, value: { is: "new" } }] }]);
  one.start();
  await world.pass(3_000);
  expect([reads.length, one.serves]).toEqual([before + 1, PARTITIONS]);
});

test("[R9qb] a record of a member or an owner that cannot be read stops nobody, and is fenced when it is silent", async () => {
  const client = world.etcd.client();
  const put = (key: string) =>
    client.txn({ compare: [], ops: [{ put: `${AT}${key}`, value: Buffer.from("?") }] });
  await put(memberKey("stray"));
  await put("owner/07");
  const one = await running();
  expect(one.serves).toBe(PARTITIONS - 1);
  await world.pass(LEASE_MS + 1_500);
  expect(await world.keys("member/")).toEqual([memberKey(one.member.memberId)]);
  expect(one.member.isTrusted()).toBe(true);
});

test("[R9qc] a partition with a damaged record is not served, and all others are", async () => {
  const client = world.etcd.client();
  const bad = { put: `${AT}data/07/default/service/x/session/1`, value: Buffer.from("?") };
  await client.txn({ compare: [], ops: [bad] });
  const one = await running();
  expect(one.serves).toBe(PARTITIONS - 1);
  await client.txn({ compare: [], ops: [{ delete: bad.put }] });
  await world.pass(700);
  expect(one.serves).toBe(PARTITIONS);
});

test("[R7ql] a member whose record has become an older one ends: etcd has lost what it had", async () => {
  const one = await running();
  const key = `${AT}${memberKey(one.member.memberId)}`;
  const old = (await world.etcd.client().range({ key })).entries[0]!.value;
  await world.pass(2_000);
  await world.etcd.client().txn({ compare: [], ops: [{ put: key, value: old }] });
  await world.pass(1_000);
  expect(one.reasons).toHaveLength(1);
  expect(one.member.isTrusted()).toBe(false);
});

test("[F3wq] the floor that a restore has left is known before anything is claimed, by a read that is not old", async () => {
  const one = world.member("http://one", { onCommon: async (read) => void (await read()) });
  await one.join();
  const key = "default/floor";
  await one.store.commit([{ key, value: encode(key, { tokens: 7_000, tickets: 7_000, raisedBy: 0 }) }]);
  await one.join();
  expect(one.member.floor).toMatchObject({ tokens: 7_000 });
  const floors: (number | undefined)[] = [];
  one.member.watch(() => {
    if (one.serves > 0) floors.push(one.member.floor?.tokens);
  });
  one.start();
  await world.pass(700);
  expect(new Set(floors)).toEqual(new Set([7_000]));
});
