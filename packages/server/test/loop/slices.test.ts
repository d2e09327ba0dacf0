/** Services with very much, which come from other members and go to them a slice at a time. */
import { expect, test, vi } from "vitest";
import { Engine } from "../../src/engine/index.js";
import type { Outbox } from "../../src/loop/index.js";
import { Writing } from "../../src/loop/writing.js";
import type { Change } from "../../src/store/index.js";
import { encodeRecord, openMemoryStore, type Store } from "../../src/store/index.js";
import { claimed, Member, serviceOf, Talker, turn, turns } from "./members.js";

const MUCH = serviceOf("much");
const OTHER = serviceOf("other");
const OWNER = { key: "owner/07", value: encodeRecord("owner/07", { member: "m2" }) };
/** Two holds are a slice. */
const SLICE_MAX = 16;
const HOLDS = 40;
const LIMITS = { waitersMax: 99, holdsMax: 99_999, sessionsMax: 99, writesSessionHolds: false };

/** A store with so many holds of a service that have an end of their own. */
async function stored(holds = HOLDS): Promise<Store> {
  const store = openMemoryStore();
  await store.commit([
    change("ceiling/", { tokens: holds + 1, tickets: 1 }),
    ...Array.from({ length: holds }, (_, at) => change(`hold/${at + 1}`, holdOf(`x${at + 1}`))),
  ]);
  return store;
}

function change(id: string, record: object): Change {
  const key = `${MUCH.prefix}${id}`;
  return { key, value: encodeRecord(key, record) };
}

const holdOf = (names: string) => ({
  names,
  owner: "ann",
  grantedAtMs: 0,
  expiresAtMs: 5_000,
  metadata: {},
  request: null,
  remainder: false,
});

async function member(store: Store, options = {}): Promise<Member> {
  return Member.start(store, { sliceMax: SLICE_MAX, service: LIMITS, ...options });
}

/** What has come of it by now. */
function watched(done: Promise<void>): { readonly done: Promise<void>; outcome: string } {
  const seen = { done, outcome: "under way" };
  done.then(
    () => {
      seen.outcome = "over";
    },
    (error: Error) => {
      seen.outcome = error.message;
    },
  );
  return seen;
}

test("[R4ka] what is much is taken up in slices: others are served between them, and nobody knows of it before it is whole", async () => {
  const store = await stored();
  const next = await member(store);
  next.places.set(MUCH.id, "nowhere");
  const { services } = await claimed(store);
  const taken = watched(next.takeUp(services, [], 0, [OWNER]));
  const dan = new Talker(next, OTHER, "dan");
  dan.hello();
  await dan.next("welcome");
  dan.acquire("disk", 60_000);
  await dan.next("granted");
  const eve = new Talker(next, MUCH, "eve");
  eve.hello();
  await turn();
  expect(eve.heard.map(([kind, code]) => [kind, code])).toContainEqual(["ended", "UNAVAILABLE"]);
  expect([taken.outcome, next.loop.services.statsOf(MUCH)]).toEqual(["under way", null]);
  expect(next.batches.flat().map(({ key }) => key)).not.toContain(OWNER.key);
  await taken.done;
  expect(next.loop.services.statsOf(MUCH)).toMatchObject({ holds: HOLDS, recovering: false });
  next.places.clear();
  const fay = new Talker(next, MUCH, "fay");
  fay.hello();
  fay.acquire("x7", 1_000);
  await fay.next("queued");
  fay.acquire("free", 1_000);
  // F1: above all that was ever given.
  expect(Number((await fay.next("granted"))[2])).toBeGreaterThan(HOLDS);
  await next.loop.stop();
});

test("[R4kb] what is little is taken up at once", async () => {
  const store = await stored(2);
  const next = await Member.start(store);
  const { services } = await claimed(store);
  const taken = next.takeUp(services, [], 0, [OWNER]);
  expect(next.loop.services.statsOf(MUCH)).toMatchObject({ holds: 2 });
  await taken;
  await next.loop.stop();
});

test("[R6kd] lease time stands still while a service is taken up", async () => {
  const store = await stored();
  const next = await member(store);
  const { services } = await claimed(store);
  let offsetMs = Number.NaN;
  const leaseMs = 4_000;
  // Something runs here, or its clock would stand still as well.
  const dan = new Talker(next, OTHER, "dan");
  dan.hello();
  await dan.next("welcome");
  const taken = next.loop.takeUp(services, [], leaseMs, (ms) => {
    offsetMs = ms;
    return [OWNER];
  });
  await next.pass(300);
  await taken;
  expect(offsetMs).toBe(leaseMs - next.loop.leaseMs);
  expect(next.loop.leaseMs).toBeGreaterThan(200);
  // They have a second left.
  await next.pass(900);
  expect(next.loop.services.statsOf(MUCH)).toMatchObject({ holds: HOLDS });
  await next.pass(300);
  expect(next.loop.services.statsOf(MUCH)).toMatchObject({ holds: 0 });
  await next.loop.stop();
});

test("[R7kj] a take-up is given up when its member is out of the cluster between two slices, though it is in again by then", async () => {
  const store = await stored();
  const next = await member(store);
  const { services } = await claimed(store);
  const taken = watched(next.takeUp(services, [], 0, [OWNER]));
  await turn();
  next.loop.distrust(new Error("fenced"));
  await turns();
  expect([next.loop.ready, next.openings]).toEqual([true, 2]);
  await taken.done.catch(() => {});
  expect(taken.outcome).toBe("The store does not work now.");
  expect(next.loop.services.census()).toMatchObject({ services: 0 });
  expect(next.batches.flat().map(({ key }) => key)).not.toContain(OWNER.key);
  // And it may come again.
  await next.takeUp((await claimed(store)).services, [], 0, [OWNER]);
  expect(next.loop.services.statsOf(MUCH)).toMatchObject({ holds: HOLDS });
  await next.loop.stop();
});

test("[R7kl] a take-up is given up when its member stops", async () => {
  const store = await stored();
  const next = await member(store);
  const taken = watched(next.takeUp((await claimed(store)).services, [], 0, [OWNER]));
  await turn();
  await next.loop.stop();
  await taken.done.catch(() => {});
  expect(taken.outcome).toBe("The store does not work now.");
  expect(next.batches.flat().map(({ key }) => key)).not.toContain(OWNER.key);
});

test("[R9kb] of services that are taken up in slices none is here when the last record of the last one is damaged", async () => {
  const store = await stored();
  const key = `${serviceOf("z").prefix}hold/1`;
  const nobodys = { ...holdOf("x"), session: "nobody's" };
  await store.commit([{ key, value: encodeRecord(key, nobodys) }]);
  const next = await member(store);
  const taken = next.takeUp((await claimed(store)).services, [], 0, [OWNER]);
  await expect(taken).rejects.toThrow(/nobody's/);
  expect(next.loop.services.census()).toMatchObject({ services: 0 });
  expect(next.batches).toEqual([]);
  await next.loop.stop();
});

/** A member with a session that has so many locks. */
async function holding(locks: number, options = {}): Promise<{ first: Member; ann: Talker; store: Store }> {
  const store = openMemoryStore();
  const first = await member(store, options);
  const ann = new Talker(first, MUCH, "ann");
  ann.hello();
  for (let at = 0; at < locks; at++) ann.acquire(`x${at}`);
  await ann.next("welcome");
  while (first.loop.services.statsOf(MUCH)!.holds < locks) await turn();
  return { first, ann, store };
}

test("[R5kg] what is much is handed over in slices: others are served between them, nothing of it is taken, and all of it is in one batch", async () => {
  const { first, ann, store } = await holding(HOLDS);
  const dan = new Talker(first, OTHER, "dan");
  dan.hello();
  await dan.next("welcome");
  ann.heard.length = 0;
  const from = first.batches.length;
  const given = watched(
    first.loop.handOver(
      ({ id }) => id === MUCH.id,
      [OWNER],
      () => {},
    ),
  );
  ann.acquire("too late");
  dan.acquire("disk", 60_000);
  await dan.next("granted");
  expect([given.outcome, first.loop.isHere(MUCH)]).toEqual(["under way", false]);
  expect(first.loop.services.statsOf(MUCH)).toBe(null);
  await given.done;
  expect(ann.kinds).not.toContain("granted");
  const last = first.batches.slice(from).filter((batch) => batch.some(({ key }) => key === OWNER.key));
  const keys = last.flat().map(({ key }) => key);
  expect(keys.filter((key) => key.startsWith(`${MUCH.prefix}hold/`))).toHaveLength(HOLDS);
  expect(keys.some((key) => key.startsWith(OTHER.prefix))).toBe(false);
  const next = await member(store);
  await next.takeUp((await claimed(store)).services.slice(0, 1), [], 0, [OWNER]);
  expect(next.loop.services.statsOf(MUCH)).toMatchObject({ holds: HOLDS, recovering: false });
  await Promise.all([first.loop.stop(), next.loop.stop()]);
});

test("[R7kk] a hand-over is given up when the store fails between two slices, though it works again by then", async () => {
  const { first } = await holding(HOLDS);
  const given = watched(
    first.loop.handOver(
      () => true,
      [OWNER],
      () => {},
    ),
  );
  await turn();
  first.loop.distrust(new Error("fenced"));
  await turns();
  expect([first.loop.ready, first.openings]).toEqual([true, 2]);
  await given.done.catch(() => {});
  expect(given.outcome).toBe("fenced");
  await first.pass(100);
  expect(first.batches.flat().map(({ key }) => key)).not.toContain(OWNER.key);
  await first.loop.stop();
});

test("[R4kc] a service of which too much would have to be written down is handed over as after a crash: its clients say what they hold", async () => {
  const { first, ann, store } = await holding(HOLDS, { listMax: HOLDS + 1 });
  first.batches.length = 0;
  await first.loop.handOver(
    () => true,
    [OWNER],
    () => {},
  );
  const keys = first.batches.flat().map(({ key }) => key);
  expect(keys.filter((key) => key.startsWith(MUCH.prefix))).toEqual([]);
  expect(keys).toContain(OWNER.key);
  const next = await member(store);
  await next.takeUp((await claimed(store)).services, [], 0, [OWNER]);
  expect(next.loop.services.statsOf(MUCH)).toMatchObject({ holds: 0, recovering: true });
  const bob = new Talker(next, MUCH, "bob");
  bob.hello();
  bob.acquire("x7");
  await turns();
  expect(bob.kinds).not.toContain("granted");
  ann.hello({ 8: "x7" }, next);
  await ann.next("welcome");
  expect(next.loop.services.statsOf(MUCH)).toMatchObject({ holds: 1, recovering: false });
  ann.release(8);
  expect(Number((await bob.next("granted"))[2])).toBeGreaterThan(HOLDS);
  await Promise.all([first.loop.stop(), next.loop.stop()]);
});

test("[R4ke] of a service of which too much would have to be written down no more is made than may be", async () => {
  const { first } = await holding(HOLDS, { listMax: 3, sliceMax: 1 });
  const given = watched(
    first.loop.handOver(
      () => true,
      [OWNER],
      () => {},
    ),
  );
  let count = 0;
  for (; given.outcome === "under way"; count++) await turn();
  expect([given.outcome, count < HOLDS / 2]).toEqual(["over", true]);
  await first.loop.stop();
});

test("[R4kf] all that is handed over together has one limit of what is written, and who has little is not without because another has much", async () => {
  const { first, store } = await holding(HOLDS, { listMax: HOLDS + 5 });
  const dan = new Talker(first, OTHER, "dan");
  dan.hello();
  for (const names of ["a", "b", "c"]) dan.acquire(names);
  while ((first.loop.services.statsOf(OTHER)?.holds ?? 0) < 3) await turn();
  await first.loop.handOver(
    () => true,
    [OWNER],
    () => {},
  );
  const next = await member(store);
  await next.takeUp((await claimed(store)).services, [], 0, [OWNER]);
  expect(next.loop.services.statsOf(OTHER)).toMatchObject({ holds: 3, recovering: false });
  expect(next.loop.services.statsOf(MUCH)).toMatchObject({ holds: 0, recovering: true });
  await Promise.all([first.loop.stop(), next.loop.stop()]);
});

test("[R5kh] what a take-up writes is encoded in its slices, and not when all of it joins", async () => {
  const store = openMemoryStore();
  const sessions = Array.from({ length: HOLDS }, (_, at) =>
    change(`session/s${at}`, { client: `c${at}`, leaseMs: 9_000, owner: "ann" }),
  );
  await store.commit([change("ceiling/", { tokens: 1, tickets: 1 }), ...sessions]);
  const next = await member(store);
  const encoded = vi.spyOn(Writing.prototype, "encoded");
  const taken = watched(next.takeUp((await claimed(store)).services, [], 0, [OWNER]));
  let most = 0;
  for (let before = 0; taken.outcome === "under way"; before = encoded.mock.calls.length) {
    await turn();
    most = Math.max(most, encoded.mock.calls.length - before);
  }
  expect([taken.outcome, most]).toEqual(["over", 2]);
  // After a crash each session is written, with the end of its lease.
  const keys = next.batches
    .find((batch) => batch.some(({ key }) => key === OWNER.key))!
    .map(({ key }) => key);
  expect(keys.filter((key) => key.startsWith(`${MUCH.prefix}session/`))).toHaveLength(HOLDS);
  encoded.mockRestore();
  await next.loop.stop();
});

test("[R7km] an error of ours in a hand-over is met as a failed commit: what was to be given away is not nowhere", async () => {
  const { first } = await holding(HOLDS);
  const stopping = vi.spyOn(Engine.prototype, "stopping").mockImplementation(function* () {
    yield;
    throw new Error("a mistake");
  });
  const given = watched(
    first.loop.handOver(
      () => true,
      [OWNER],
      () => {},
    ),
  );
  await turns();
  stopping.mockRestore();
  expect([given.outcome, first.openings]).toEqual(["a mistake", 2]);
  expect([first.loop.ready, first.loop.isHere(MUCH)]).toEqual([true, true]);
  expect(first.batches.flat().map(({ key }) => key)).not.toContain(OWNER.key);
  await first.loop.stop();
});

test("[R4kd] of two take-ups of one service at a time one comes to something, and the other leaves nothing", async () => {
  const store = await stored();
  const next = await member(store);
  const { services } = await claimed(store);
  const again = await claimed(store);
  const both = [next.takeUp(services, [], 0, [OWNER]), next.takeUp(again.services, [], 0, [OWNER])].map(
    watched,
  );
  await Promise.allSettled(both.map(({ done }) => done));
  expect(both.map(({ outcome }) => outcome).sort()).toEqual([
    expect.stringContaining("in memory already"),
    "over",
  ]);
  expect(next.loop.services.statsOf(MUCH)).toMatchObject({ holds: HOLDS });
  expect(next.batches.flat().filter(({ key }) => key === OWNER.key)).toHaveLength(1);
  await next.loop.stop();
});

test("[C5kd] what is owed comes with its service when that is whole, and not when its take-up is given up", async () => {
  const owed: string[] = [];
  const outbox: Outbox = {
    kinds: new Set(["delivery"]),
    urlProblem: () => null,
    isFull: () => false,
    restore: () => {},
    named: () => ({ id: "msg_1", createdAt: "2026-01-01T00:00:00.000Z" }),
    owed: () => {},
    failed: () => {},
    add: (records) => void owed.push(...records.map(({ key }) => key)),
  };
  const store = await stored();
  const next = await member(store, { outbox });
  const outside = [{ key: `default/delivery/${MUCH.id}/1.0`, value: {} }];
  const givenUp = next.takeUp((await claimed(store)).services, outside, 0, [OWNER]);
  await turn();
  next.loop.distrust(new Error("fenced"));
  await expect(givenUp).rejects.toThrow("does not work");
  expect(owed).toEqual([]);
  await turns();
  const taken = next.takeUp((await claimed(store)).services, outside, 0, [OWNER]);
  await turn();
  expect(owed).toEqual([]);
  await taken;
  expect(owed).toEqual([outside[0]!.key]);
  await next.loop.stop();
});
