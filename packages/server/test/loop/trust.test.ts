import { expect, test } from "vitest";
import { openMemoryStore } from "../../src/store/index.js";
import { claimed, Member, serviceOf, Talker, turns } from "./members.js";

const KEY = serviceOf("reports");

/** Somebody who is welcome at a member. */
async function welcomed(member: Member, name = "ann"): Promise<Talker> {
  const talker = new Talker(member, KEY, name);
  talker.hello();
  await talker.next("welcome");
  return talker;
}

test("[R7kc] a turn in which a member's trust runs out tells nobody anything, and nobody has what was granted", async () => {
  const store = openMemoryStore();
  const member = await Member.start(store);
  const ann = await welcomed(member);
  // From now on her locks cost no commit.
  ann.acquire("first");
  await ann.next("granted");
  let looks = 0;
  // Still trusted when the turn begins, and not when it is done.
  member.isTrusted = () => ++looks !== 2;
  ann.acquire("disk");
  await turns();
  expect(ann.kinds).toEqual(["ended"]);
  expect(ann.heard[0]![1]).toBe("UNAVAILABLE");
  expect([member.openings, member.loop.ready]).toEqual([2, true]);
  await member.takeUp((await claimed(store)).services, [], 0, []);
  expect(member.loop.services.statsOf(KEY)).toMatchObject({ holds: 0, sessions: 1, recovering: true });
  await member.loop.stop();
});

test("[R7kd] a member without trust applies nothing", async () => {
  const member = await Member.start(openMemoryStore());
  const ann = await welcomed(member);
  const before = member.batches.length;
  member.isTrusted = () => member.openings > 1;
  ann.acquire("disk", 60_000);
  await turns();
  expect(ann.kinds).toEqual(["ended"]);
  expect(member.batches.length).toBe(before);
  expect(member.loop.ready).toBe(true);
  await member.loop.stop();
});

test("[R7ke] what is flushed when a member's trust has run out is not told", async () => {
  const store = openMemoryStore();
  const member = await Member.start(store);
  const ann = await welcomed(member);
  member.holds = true;
  ann.acquire("disk", 60_000);
  const kept = member.loop.keep([{ key: "default/account", value: {} }]);
  await turns();
  member.isTrusted = () => member.openings > 1;
  const failed = expect(kept).rejects.toThrow();
  await member.letGo();
  await failed;
  await turns();
  expect(ann.kinds).toEqual(["ended"]);
  // Written it is: nobody else gets it.
  await member.takeUp((await claimed(store)).services, [], 0, []);
  expect(member.loop.services.statsOf(KEY)).toMatchObject({ holds: 1 });
  await member.loop.stop();
});

test("[R7kf] an idle member that is told of its end ends at once, whatever comes of a commit on its way", async () => {
  const member = await Member.start(openMemoryStore());
  const ann = await welcomed(member);
  member.holds = true;
  ann.acquire("disk", 60_000);
  await turns();
  member.loop.distrust(new Error("fenced"));
  expect(ann.kinds).toEqual(["ended"]);
  expect(member.loop.ready).toBe(false);
  // The store is closed first: no member has two commits on their way.
  await turns();
  expect(member.openings).toBe(1);
  const [old] = member.commits.splice(0);
  old!.go();
  await turns();
  expect([member.openings, member.loop.ready]).toEqual([2, true]);

  // The number of the old one does not count for what waits now.
  ann.hello();
  ann.acquire("disk", 60_000);
  await turns();
  expect(ann.kinds).not.toContain("granted");
  await member.letGo();
  await member.loop.stop();
});

test("[R7ki] a commit that is still on its way when the store is open again has nothing to say", async () => {
  const member = await Member.start(openMemoryStore());
  const ann = await welcomed(member);
  member.closeWaits = false;
  member.holds = true;
  ann.acquire("disk", 60_000);
  await turns();
  const [old] = member.commits.splice(0);
  member.loop.distrust(new Error("fenced"));
  await turns();
  expect([member.openings, member.loop.ready]).toEqual([2, true]);
  member.holds = false;
  const bob = await welcomed(member, "bob");
  member.holds = true;
  bob.acquire("disk", 60_000);
  await turns();
  bob.acquire("tape", 60_000);
  await turns();
  old!.go();
  await turns();
  expect(member.commits.length).toBe(1);
  expect(bob.heard).toEqual([]);
  await member.letGo();
  expect(bob.kinds).toEqual(["granted", "granted"]);
  await member.loop.stop();
});

test("[R7kg] after a commit that was fenced off the member begins anew, and what it had is read by whoever claims it", async () => {
  const store = openMemoryStore();
  const member = await Member.start(store);
  const ann = await welcomed(member);
  ann.acquire("known", 60_000);
  await ann.next("granted");
  member.holds = true;
  ann.acquire("disk", 60_000);
  await turns();
  member.holds = false;
  member.commits.shift()!.fail(new Error("fenced"));
  await turns();
  expect(ann.kinds).toEqual(["ended"]);
  expect([member.openings, member.loop.ready]).toEqual([2, true]);
  expect(member.loop.services.census()).toMatchObject({ services: 0 });
  const other = await Member.start(store);
  await other.takeUp((await claimed(store)).services, [], 0, []);
  expect(other.loop.services.statsOf(KEY)).toMatchObject({ holds: 1 });
  await Promise.all([member.loop.stop(), other.loop.stop()]);
});
