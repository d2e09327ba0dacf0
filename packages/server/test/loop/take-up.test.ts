import { expect, test } from "vitest";
import { AuditLog } from "../../src/loop/index.js";
import { decodeRecord, encodeRecord, openMemoryStore } from "../../src/store/index.js";
import { claimed, Member, serviceOf, Talker, turns } from "./members.js";

const KEY = serviceOf("reports");
const OWNER = { key: "owner/07", value: encodeRecord("owner/07", { member: "m2" }) };

test("[R5ka] the next member deletes a clean stop's list before it answers anybody", async () => {
  const store = openMemoryStore();
  const first = await Member.start(store);
  const ann = new Talker(first, KEY, "ann");
  ann.hello();
  await ann.next("welcome");
  ann.acquire("disk");
  const token = Number((await ann.next("granted"))[2]);
  await first.loop.handOver(
    () => true,
    [OWNER],
    () => {},
  );

  const second = await Member.start(store);
  second.holds = true;
  const { services } = await claimed(store);
  let isDone = false;
  const taken = second.takeUp(services, [], 0, [OWNER]).then(() => {
    isDone = true;
  });
  // Also when nobody asks for anything.
  await turns();
  ann.hello({ [token]: "disk" }, second);
  await turns();
  const deleted = second.batches[0]!.filter(({ value }) => value === null).map(({ key }) => key);
  expect(deleted).toContain(`${KEY.prefix}stopped/`);
  expect(deleted).toContain(`${KEY.prefix}hold/${token}`);
  expect([ann.heard, isDone]).toEqual([[], false]);
  await second.letGo();
  await taken;
  await ann.next("welcome");
  expect(second.loop.services.statsOf(KEY)).toMatchObject({ holds: 1, recovering: false });
  await Promise.all([first.loop.stop(), second.loop.stop()]);
});

test("[R6ka] lease time goes on at a member whose own clock is behind", () => goesOnAt(0));

test("[R6kc] lease time goes on at a member whose own clock is ahead", () => goesOnAt(1_000_000));

async function goesOnAt(startMs: number): Promise<void> {
  const store = openMemoryStore();
  const first = await Member.start(store, {}, 5_000);
  const ann = new Talker(first, KEY, "ann");
  ann.hello();
  ann.acquire("disk", 60_000);
  await ann.next("granted");
  await first.pass(20_000);
  const { leaseMs } = first.loop;
  expect(leaseMs).toBeGreaterThan(24_000);
  await first.loop.handOver(
    () => true,
    [OWNER],
    () => {},
  );

  const next = await Member.start(store, {}, startMs);
  const { services } = await claimed(store);
  await next.takeUp(services, [], leaseMs - next.loop.leaseMs, [OWNER]);
  const bob = new Talker(next, KEY, "bob");
  bob.hello();
  bob.acquire("disk");
  await bob.next("queued");
  await next.pass(39_000);
  expect(bob.kinds).not.toContain("granted");
  const slow = { slowMs: 30_000, shownMax: 1 };
  const { shown } = next.loop.services.takeSlowWaits(slow, next.loop.leaseMs);
  expect(shown[0]!.wait.waitedMs).toBeLessThan(40_000);
  await next.pass(2_000);
  expect(bob.kinds).toContain("granted");
  await Promise.all([first.loop.stop(), next.loop.stop()]);
}

test("[R6kb] a service that comes to be is on the lease clock of its partition", async () => {
  const store = openMemoryStore();
  const member = await Member.start(store);
  member.offsetMs = 500_000;
  const ann = new Talker(member, KEY, "ann");
  ann.hello();
  ann.acquire("disk", 60_000);
  const token = Number((await ann.next("granted"))[2]);
  const key = `${KEY.prefix}hold/${token}`;
  const { value } = member.batches.flat().find((change) => change.key === key)!;
  expect(decodeRecord({ key, value: value! })).toMatchObject({
    expiresAtMs: member.loop.leaseMs + 500_000 + 60_000,
  });
  await member.loop.stop();
});

test("[R9ka] of a partition with a damaged record nothing is taken up", async () => {
  const store = openMemoryStore();
  const hold = { names: "disk", owner: "ann", grantedAtMs: 0, session: "nobody's" };
  const bad = `${serviceOf("b").prefix}hold/1`;
  const good = `${serviceOf("a").prefix}stopped/`;
  await store.commit([
    { key: good, value: encodeRecord(good, { clean: true }) },
    { key: bad, value: encodeRecord(bad, hold) },
  ]);
  const member = await Member.start(store);
  const { services } = await claimed(store);
  await expect(member.takeUp(services, [], 0, [OWNER])).rejects.toThrow(/nobody's/);
  await turns();
  expect(member.batches).toEqual([]);
  expect(member.loop.services.census()).toMatchObject({ services: 0 });
  await member.loop.stop();
});

test("[R7ka] a take-up whose changes are not written is none", async () => {
  const store = openMemoryStore();
  const first = await Member.start(store);
  const ann = new Talker(first, KEY, "ann");
  ann.hello();
  await ann.next("welcome");
  await first.loop.handOver(
    () => true,
    [OWNER],
    () => {},
  );
  const second = await Member.start(store);
  second.holds = true;
  const taken = second.takeUp((await claimed(store)).services, [], 0, [OWNER]);
  await turns();
  second.commits.shift()!.fail(new Error("fenced"));
  await expect(taken).rejects.toThrow("fenced");
  expect(second.loop.services.census()).toMatchObject({ services: 0 });
  await Promise.all([first.loop.stop(), second.loop.stop()]);
});

test("[A7ka] no two members write under one key of the audit log", () => {
  const act = { account: "default", who: "operator", what: "lock freed by force" };
  const keys = ["m1", "m2"].map((memberId) => new AuditLog(() => 0, { memberId }).record(act, 5).key);
  expect(new Set(keys).size).toBe(2);
  expect(keys[0]!.startsWith(new AuditLog(() => 0).record(act, 5).key)).toBe(true);
});

test("[R6kq] the lease clock is written with what is taken up, and has no step of before in it", async () => {
  const second = await Member.start(openMemoryStore(), {}, 50_000);
  await second.pass(10_000);
  const { leaseMs } = second.loop;
  expect(leaseMs).toBe(50_250);
  await second.takeUp([], [], -leaseMs, [OWNER]);
  expect(second.loop.leaseMs).toBe(leaseMs);
  const clock = second.batches.at(-1)!.find(({ key }) => key === "default/clock");
  expect(decodeRecord({ key: "default/clock", value: clock!.value! })).toEqual({ nowMs: leaseMs });
  await second.loop.stop();
});

test("[F3wp] a service that comes to be at a member begins above the floor that the cluster has, though what the store has shown is older", async () => {
  const member = await Member.start(openMemoryStore());
  member.floor = { tokens: 5_000_000, tickets: 6_000_000 };
  const ann = new Talker(member, KEY, "ann");
  ann.hello();
  await ann.next("welcome");
  ann.acquire("disk");
  expect((await ann.next("granted"))[2]).toBe(5_000_000);
  await member.loop.stop();
});
