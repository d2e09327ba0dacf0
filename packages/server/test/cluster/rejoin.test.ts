/** What a member with a real loop knows of keys while it opens its store anew, and once that is open (decision 028). */
import { afterEach, beforeEach, expect, test } from "vitest";
import { Access } from "../../src/access/index.js";
import { rootRecord } from "../../src/access/key.js";
import { keyHash } from "../../src/access/keys.js";
import { Loop } from "../../src/loop/index.js";
import type { Op, Txn } from "../../src/store/etcd-api.js";
import { DamagedRecordError, encodeRecord } from "../../src/store/index.js";
import { AT, type TestMember, turns, World } from "./world.js";

const KEY = "ldb_abcdefgh_secretsecretsecretsecret";
const PLACE = "default/key/root";
const COMMON = `${AT}data/common/`;

let world: World;
let other: TestMember;
let one: TestMember;
let access: Access;
let loop: Loop;
let failures: string[];

beforeEach(async () => {
  world = new World();
  failures = [];
  other = world.member("http://two");
  await other.join();
  await put(rootRecord(keyHash(KEY), null));
  access = new Access({ runtime: world.runtime, accountsMax: 10 });
  one = world.member("http://one", { onCommon: (read) => access.readAnew(read) });
  const log = { warn: (_facts: object, text: string) => void failures.push(text), error: () => {} };
  loop = await Loop.start({
    openStore: () => one.member.openStore(),
    service: { waitersMax: 10, holdsMax: 10, sessionsMax: 10, writesSessionHolds: false },
    ...{ servicesMax: 10, runtime: world.runtime, log, placement: one.member },
  });
  one.member.start(loop);
  await world.pass(1_000);
  expect([works(), loop.ready]).toEqual([true, true]);
});
afterEach(() => loop.stop());

const works = () => access.callerOf(`Bearer ${KEY}`) !== null;
const put = (value: object) => other.store.commit([{ key: PLACE, value: encodeRecord(PLACE, value) }]);
const revoke = () => put(rootRecord(keyHash("another key"), null));
const readsCommon = ({ ops }: Txn) =>
  ops.some((op: Op) => "get" in op && op.end !== undefined && String(op.get) === COMMON);

function held(): { readonly until: Promise<void>; readonly end: () => void } {
  let end: () => void = () => {};
  const until = new Promise<void>((resolve) => {
    end = resolve;
  });
  return { until, end };
}

test("[A2cm] a key that is revoked while a member opens its store anew, for however long, ends there within a second", async () => {
  const { until, end } = held();
  one.heldRanges = until;
  loop.distrust(new Error("a commit failed"));
  await world.pass(500);
  await revoke();
  await world.pass(510);
  expect([works(), loop.ready]).toEqual([false, false]);
  end();
  await turns();
  expect([works(), loop.ready]).toEqual([false, true]);
  // What is read without a transaction, and may be of before, has nothing of keys.
  expect(new Set(one.ranges)).toEqual(new Set(["data/audit/"]));
});

test("[A2cp] a key that was revoked while a member was none works no more once its loop runs: all is read before", async () => {
  const { until, end } = held();
  one.after = (txn) => (readsCommon(txn) ? until : null);
  await revoke();
  loop.distrust(new Error("a commit failed"));
  await world.pass(3_000);
  expect(loop.ready).toBe(false);
  end();
  await turns();
  expect([works(), loop.ready]).toEqual([false, true]);
});

test("[R9qd] a damaged record of what all members share opens no store, and etcd that does not answer is asked again", async () => {
  const ask = world.etcd.client();
  world.etcd.fate = (txn) => (readsCommon(txn) ? "never" : "answered");
  loop.distrust(new Error("a commit failed"));
  await world.pass(3_000);
  expect([loop.ready, failures]).toEqual([false, []]);
  world.etcd.fate = () => "answered";
  await world.pass(1_000);
  expect(loop.ready).toBe(true);
  await ask.txn({ compare: [], ops: [{ put: `${COMMON}default/account`, value: Buffer.from("?") }] });
  loop.distrust(new Error("a commit failed"));
  await world.pass(1_000);
  expect([loop.ready, failures.length > 0]).toEqual([false, true]);
  await expect(one.member.openStore()).rejects.toThrow(DamagedRecordError);
  await ask.txn({ compare: [], ops: [{ delete: `${COMMON}default/account` }] });
  await world.pass(3_000);
  expect(loop.ready).toBe(true);
});
