import { beforeEach, expect, test } from "vitest";
import { fenceKey, memberKey, shareKey } from "../../src/cluster/records.js";
import { encodeRecord } from "../../src/store/index.js";
import { AT, Common, World } from "./world.js";

let world: World;
beforeEach(() => {
  world = new World();
});

test("[A5yg] what a member shares is with the others within a beat of each, is written when it has changed, and goes with it", async () => {
  let share: object | null = null;
  const one = world.member("http://one", { share: () => share });
  const heard: [object[], number][] = [];
  const two = world.member("http://two", {
    onShares: (others, members) => void heard.push([[...others.values()], members]),
  });
  await one.join();
  await two.join();
  await world.pass(700);
  expect(heard.at(-1)).toEqual([[], 2]);
  expect(await world.keys("share/")).toEqual([]);
  share = { accounts: { a: [1] } };
  await world.pass(1_000);
  expect(heard.at(-1)).toEqual([[share], 2]);
  const writes = () =>
    world.etcd.txns.filter(({ ops }) =>
      ops.some((op) => "put" in op && String(op.put).startsWith(`${AT}share/`)),
    ).length;
  const before = writes();
  await world.pass(3_000);
  expect(writes()).toBe(before);
  share = { accounts: { a: [2] } };
  await world.pass(1_000);
  expect([heard.at(-1), writes()]).toEqual([[[share], 2], before + 1]);
  share = null;
  await world.pass(1_000);
  expect([heard.at(-1), await world.keys("share/")]).toEqual([[[], 2], []]);
});

test("[A5yh] what a member has shared is written again when it is not known whether it came through, and counts no more once it is fenced", async () => {
  const one = world.member("http://one", { share: () => ({ accounts: { a: [1] } }) });
  const heard: object[][] = [];
  const two = world.member("http://two", { onShares: (others) => void heard.push([...others.values()]) });
  const id = await one.join();
  await two.join();
  two.start();
  let isFirst = true;
  world.etcd.fate = ({ ops }) => {
    const isShare = ops.some((op) => "put" in op && op.put === `${AT}${shareKey(id)}`);
    if (!isShare || !isFirst) return "answered";
    isFirst = false;
    return "never";
  };
  await world.pass(1_500);
  expect(isFirst).toBe(false);
  expect(heard.at(-1)).toEqual([{ accounts: { a: [1] } }]);
  world.etcd.fate = ({ ops }) =>
    ops.some((op) => "put" in op && op.put === `${AT}${memberKey(id)}`) ? "never" : "answered";
  await world.pass(7_000);
  expect(await world.value(fenceKey(id))).toBeNull();
  expect(heard.at(-1)).toEqual([]);
  expect(await world.keys("share/")).toEqual([]);
});

/** Somebody changes a key. No member is told: etcd in memory has no watches. */
async function changeKey(value: object): Promise<void> {
  const key = "default/key/abc";
  await world.etcd.client().txn({
    compare: [],
    ops: [
      { put: `${AT}data/common/${key}`, value: encodeRecord(key, value) },
      { put: `${AT}version/common`, value: Buffer.from(JSON.stringify(value)) },
    ],
  });
}

test("[A2ya] who waits until a member has caught up waits for a look that was sent later, and for what it shows to be read", async () => {
  const common = new Common();
  const one = world.member("http://one", common);
  await one.join();
  one.start();
  await world.pass(5_000);
  await changeKey({ is: "new" });
  const knownThen: unknown[][] = [];
  void one.member.caughtUp().then(() => knownThen.push(common.values));
  await world.pass(100);
  expect(knownThen).toEqual([[{ is: "new" }]]);
});

test("[A2yb] a key that was revoked is known within a second where no watch tells, also while a step of the member takes its time", async () => {
  const common = new Common();
  const one = world.member("http://one", common);
  await one.join();
  await changeKey({ is: "first" });
  // Nothing that it takes up comes to its end.
  one.store = { ...one.store, commit: () => new Promise<never>(() => {}) };
  one.start();
  await world.pass(1_000);
  expect([common.values, one.taken.length > 0, one.serves]).toEqual([[{ is: "first" }], true, 0]);
  await changeKey({ is: "revoked" });
  await world.pass(510);
  expect(common.values).toEqual([{ is: "revoked" }]);
});

test("[I6yc] a member says why it is out of its cluster, and nothing while it is in", async () => {
  const one = world.member("http://one");
  expect(one.member.problem).toMatch(/not joined/);
  const id = await one.join();
  one.start();
  await world.pass(700);
  expect(one.member.problem).toBeNull();
  await world.delete(fenceKey(id), memberKey(id));
  await world.pass(700);
  expect(one.member.problem).toBe("another member has fenced this one");
  await one.join();
  expect(one.member.problem).toBeNull();
  world.etcd.fate = () => "never";
  await world.pass(4_600);
  expect(one.member.problem).toMatch(/etcd has not answered/);
});
