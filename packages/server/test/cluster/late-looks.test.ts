/** Looks that were overtaken: by a hint, by the look's own redo, by the end of the member that is given something. */
import { expect, test } from "vitest";
import { layoutOf } from "../../src/cluster/layout.js";
import { partitionOf, sharesOf } from "../../src/cluster/partitions.js";
import { fenceKey, memberKey, type OwnerRecord, ownerKey, written } from "../../src/cluster/records.js";
import { ServiceKey } from "../../src/loop/index.js";
import { openEtcdStore } from "../../src/store/etcd.js";
import type { Txn } from "../../src/store/etcd-api.js";
import { encodeRecord } from "../../src/store/index.js";
import { AT, Common, turns, World } from "./world.js";

const puts = ({ ops }: Txn, key: string) =>
  ops.some((op) => "put" in op && String(op.put).startsWith(`${AT}${key}`));

function gate(): { open(): void; readonly shut: Promise<void> } {
  let open = () => {};
  const shut = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { open: () => open(), shut };
}

test("[R3zg] a look that is older than what came by a hint hands nothing over, and no epoch comes twice", async () => {
  const world = new World();
  const one = world.member("http://one");
  const idOne = await one.join();
  one.start();
  await world.pass(700);
  const two = world.member("http://two");
  const idTwo = await two.join();
  const shares = sharesOf([
    { id: idOne, url: "http://one" },
    { id: idTwo, url: "http://two" },
  ]);
  const key = ownerKey(shares.lastIndexOf(idTwo));
  const owner = async () => JSON.parse((await world.value(key))!) as OwnerRecord;
  // The hand-over waits, and so does the answer to a look that was made before it.
  const [handOver, look] = [gate(), gate()];
  let [isHeld, isLate] = [false, false];
  one.before = (txn) => {
    if (isHeld || !puts(txn, key)) return null;
    isHeld = true;
    return handOver.shut;
  };
  one.after = (txn) => {
    if (!isHeld || isLate || !puts(txn, "member/")) return null;
    isLate = true;
    return look.shut;
  };
  two.start();
  await world.pass(1_200);
  expect([isHeld, isLate]).toEqual([true, true]);
  handOver.open();
  await turns();
  two.hint({ [key]: await owner() });
  await turns();
  expect((await owner()).member).toBe(idTwo);
  const left = two.member.leave();
  await world.pass(200);
  one.hint({ [key]: await owner() });
  await turns();
  const { member, epoch } = await owner();
  expect(member).toBe(idOne);
  look.open();
  await turns();
  expect(await owner()).toMatchObject({ member: idOne, epoch });
  await world.pass(3_000);
  await left;
  expect(one.serves).toBe(256);
});

test("[A2yf] a member that brings a former keeper's batch to its end knows what was in it before it keeps anything", async () => {
  const world = new World();
  const fence = written(fenceKey("former"), { member: "former" });
  await world.put(fence.key, { member: "former" });
  await world.put(ownerKey(0), { member: "former", epoch: 1, offsetMs: 0 });
  await world.etcd
    .client()
    .txn({ compare: [], ops: [{ put: `${AT}version/common`, value: Buffer.from("v0") }] });
  const client = world.etcd.client();
  const guards = [{ key: `${AT}${fence.key}`, value: fence.value }];
  const store = await openEtcdStore({ etcd: client, at: AT, guards, layout: layoutOf("former") });
  // It counts, and its keeper dies before it has put all of it in its place.
  let heads = 0;
  world.etcd.fate = (txn) => {
    if (!puts(txn, "head/former") || ++heads > 1) return "answered";
    client.die();
    return "lost";
  };
  const keys = Array.from({ length: 150 }, (_, at) => `default/key/k${at}`);
  store.commit(keys.map((key) => ({ key, value: encodeRecord(key, {}) }))).catch(() => {});
  for (let at = 0; heads === 0 && at < 50; at++) await turns();
  world.etcd.fate = () => "answered";
  await world.delete(fence.key);

  const common = new Common();
  const one = world.member("http://one", common);
  // A look is made while the redo is under way.
  const redo = gate();
  let isUnderWay = false;
  one.before = (txn) => {
    if (isUnderWay || !puts(txn, "version/common")) return null;
    isUnderWay = true;
    return redo.shut;
  };
  const knownAsKeeper: number[] = [];
  await one.join();
  one.start();
  one.member.watch(() => {
    if (one.member.keeper === "here") knownAsKeeper.push(common.records.size);
  });
  for (let at = 0; at < 30 && !isUnderWay; at++) await world.pass(100);
  await world.pass(600);
  expect(common.records.size).toBe(0);
  redo.open();
  await world.pass(2_000);
  expect(knownAsKeeper[0]).toBe(150);
});

test("[R3zh] a long hand-over does not keep its member from fencing whoever is gone", async () => {
  const world = new World();
  const one = world.member("http://one");
  const services = new Map<number, ServiceKey>();
  for (let at = 0; services.size < 256; at++)
    services.set(partitionOf("default", `s${at}`), new ServiceKey("default", `s${at}`));
  // So many that each partition is a batch by itself, which takes its time.
  one.services = [...services.values()].map((key) => ({
    ...{ key, engine: { counts: { holds: 100, sessions: 100 } } },
  }));
  one.before = (txn) =>
    puts(txn, "owner/") && puts(txn, "head/")
      ? new Promise<void>((resolve) => void world.runtime.setTimer(resolve, 100))
      : null;
  await one.join();
  one.start();
  await world.pass(30_000);
  expect(one.serves).toBe(256);
  const two = world.member("http://two");
  const id = await two.join();
  two.start();
  await world.pass(1_500);
  two.die();
  await world.pass(4_000);
  expect(await world.value(memberKey(id))).not.toBeNull();
  // A lease of 5 s, counted from its last beat, and a step.
  await world.pass(2_000);
  expect(await world.value(memberKey(id))).toBeNull();
}, 60_000);
