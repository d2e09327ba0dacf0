import { expect, test } from "vitest";
import { CLOCK_KEY, type IsIn, type Outbox } from "../../src/loop/index.js";
import { type Change, encodeRecord, openMemoryStore } from "../../src/store/index.js";
import { claimed, Member, serviceOf, Talker, turn, turns } from "./members.js";

const GOES = serviceOf("goes");
const STAYS = serviceOf("stays");
const OWNER = { key: "owner/07", value: encodeRecord("owner/07", { member: "m2" }) };
const THERE = { url: "http://two:2" };
const goes: IsIn = ({ id }) => id === GOES.id;

test("[R5kb] from the moment of a hand-over nothing of a service is taken; what was done is told before its last batch is on its way, and then all who speak with it where it is", async () => {
  const member = await Member.start(openMemoryStore());
  const { loop } = member;
  const [ann, bob, late] = ["ann", "bob", "late"].map((name) => new Talker(member, GOES, name));
  const dan = new Talker(member, STAYS, "dan");
  for (const talker of [ann!, bob!, dan]) talker.hello();
  for (const talker of [ann!, bob!, dan]) await talker.next("welcome");
  dan.acquire("of a session");
  await dan.next("granted");
  ann!.acquire("of a session");
  await ann!.next("granted");
  member.batches.length = 0;

  member.holds = true;
  ann!.acquire("in flight", 60_000);
  await turn();
  bob!.acquire("waits for the next commit", 60_000);
  dan.acquire("goes on", 60_000);
  await turn();
  ann!.acquire("not applied yet", 60_000);
  let isOver = false;
  // As soon as its batch is committed it is known where the service is.
  const known = () => void member.places.set(GOES.id, THERE);
  const over = loop.handOver(goes, [OWNER], known).then(() => {
    isOver = true;
  });
  bob!.acquire("too late");
  late!.hello();
  late!.acquire("too late as well", 60_000);
  dan.acquire("goes on after it", 60_000);
  await turns();
  expect(loop.services.census()).toMatchObject({ services: 1 });

  const toldAtBeginnings: (readonly string[])[] = [];
  member.begins = () => toldAtBeginnings.push([...ann!.kinds, ...bob!.kinds]);
  const wrote: string[][] = [];
  for (let round = 0; round < 4; round++) {
    // Each when its own batch is flushed, and nothing more once the last one is on its way.
    expect(ann!.kinds).toEqual(round > 0 ? ["granted"] : []);
    expect(bob!.kinds).toEqual(round > 1 ? ["granted"] : []);
    expect(late!.heard).toEqual([]);
    expect(isOver).toBe(false);
    const { batch, go } = member.commits.shift()!;
    expect(member.commits).toEqual([]);
    wrote.push(batch.map(({ key }) => key));
    go();
    await turns();
    if (round === 2) break;
  }
  await over;
  expect(toldAtBeginnings.slice(0, 2)).toEqual([["granted"], ["granted", "granted"]]);
  const moved = ["moved", THERE.url, member.memberUrls];
  for (const talker of [ann!, bob!, late!]) expect(talker.heard.at(-1)).toEqual(moved);
  expect([ann!, bob!, late!].map(({ kinds }) => kinds)).toEqual([
    ["granted", "moved"],
    ["granted", "moved"],
    ["moved"],
  ]);
  expect(wrote.slice(0, 2).flat()).not.toContain(`${GOES.prefix}stopped/`);
  const last = wrote[2]!;
  expect(last.filter((key) => !key.startsWith(GOES.prefix)).sort()).toEqual([CLOCK_KEY, OWNER.key].sort());
  expect(last).toContain(`${GOES.prefix}stopped/`);
  // Detached ones that were granted, and the session's.
  const holds = new Set(wrote.flat().filter((key) => key.startsWith(`${GOES.prefix}hold/`)));
  expect(holds.size).toBe(3);
  await member.letGo();
  expect(dan.kinds).toEqual(["granted", "granted"]);
  // Nobody makes it come to be again.
  ann!.hello();
  expect(ann!.kinds.slice(-2)).toEqual(["ended", "ended"]);
  expect(loop.isHere(GOES)).toBe(false);
  await loop.stop();
});

test("[R5kc] sessions resume at the next member with all that they hold, and nobody waits for a recovery", async () => {
  const store = openMemoryStore();
  const [first, second] = [await Member.start(store), await Member.start(store)];
  const [ann, bob] = [new Talker(first, GOES, "ann"), new Talker(first, GOES, "bob")];
  ann.hello();
  bob.hello();
  ann.acquire("disk");
  const token = Number((await ann.next("granted"))[2]);
  bob.acquire("disk");
  await bob.next("queued");
  await first.loop.handOver(goes, [OWNER], () => {});
  await second.takeUp((await claimed(store)).services, [], 0, [OWNER]);
  bob.hello({}, second);
  bob.acquire("disk");
  await bob.next("queued");
  // Numbers are durable ahead by then: no grant waits for a commit of its own.
  second.holds = true;
  bob.acquire("tape");
  await bob.next("granted");
  second.holds = false;
  expect(second.loop.services.statsOf(GOES)).toMatchObject({ recovering: false, holds: 2 });
  ann.hello({ [token]: "disk" }, second);
  await ann.next("welcome");
  expect(ann.heard).toEqual([]);
  ann.release(token);
  expect(Number((await bob.next("granted"))[2])).toBeGreaterThan(token);
  await Promise.all([first.loop.stop(), second.loop.stop()]);
});

test("[R5kd] a service may go to another member and come back", async () => {
  const store = openMemoryStore();
  const member = await Member.start(store);
  const ann = new Talker(member, GOES, "ann");
  ann.hello();
  ann.acquire("disk");
  const token = Number((await ann.next("granted"))[2]);
  for (let round = 0; round < 2; round++) {
    await member.loop.handOver(goes, [OWNER], () => {});
    // Nobody has it yet: whoever speaks with it comes back.
    await member.takeUp((await claimed(store)).services, [], 7, [OWNER]);
    ann.hello({ [token]: "disk" });
    await ann.next("welcome");
  }
  expect(member.loop.services.statsOf(GOES)).toMatchObject({ holds: 1, recovering: false });
  await member.loop.stop();
});

test("[R7kb] a hand-over that is not known to be written ends all that is in memory", async () => {
  const member = await Member.start(openMemoryStore());
  const [ann, dan] = [new Talker(member, GOES, "ann"), new Talker(member, STAYS, "dan")];
  for (const talker of [ann, dan]) talker.hello();
  for (const talker of [ann, dan]) await talker.next("welcome");
  member.holds = true;
  const over = member.loop.handOver(goes, [OWNER], () => {});
  member.places.set(GOES.id, THERE);
  dan.acquire("behind it", 60_000);
  await turns();
  const { batch } = member.commits[0]!;
  member.commits.shift()!.fail(new Error("its outcome is not known"));
  await expect(over).rejects.toThrow("its outcome is not known");
  expect(ann.heard.map(([kind, code]) => [kind, code])).toEqual([["ended", "UNAVAILABLE"]]);
  expect(dan.kinds).toEqual(["ended"]);
  expect(batch.map(({ key }: Change) => key)).toContain(OWNER.key);
  await turns();
  // What waited behind it is never written.
  expect(member.commits).toEqual([]);
  expect([member.openings, member.loop.ready]).toEqual([2, true]);
  await member.letGo();
  await member.loop.stop();
});

test("[R7kh] a hand-over that waits for a commit which fails is never written", async () => {
  const member = await Member.start(openMemoryStore());
  const [ann, dan] = [new Talker(member, GOES, "ann"), new Talker(member, STAYS, "dan")];
  for (const talker of [ann, dan]) talker.hello();
  for (const talker of [ann, dan]) await talker.next("welcome");
  member.holds = true;
  dan.acquire("in flight", 60_000);
  await turns();
  const over = member.loop.handOver(goes, [OWNER], () => {});
  member.commits.shift()!.fail(new Error("fenced"));
  await expect(over).rejects.toThrow("fenced");
  expect(ann.kinds).toEqual(["ended"]);
  member.holds = false;
  await turns();
  const newcomer = new Talker(member, STAYS, "newcomer");
  newcomer.hello();
  newcomer.acquire("after it", 60_000);
  await newcomer.next("granted");
  expect(member.batches.flat().map(({ key }) => key)).not.toContain(OWNER.key);
  await member.loop.stop();
});

test("[C5kc] what a service owes when it is handed over is its next owner's, also what was on its way to the store", async () => {
  const owed: string[] = [];
  const dropped: IsIn[] = [];
  const store = openMemoryStore();
  const outbox: Outbox = {
    kinds: new Set(["delivery"]),
    urlProblem: () => null,
    isFull: () => false,
    restore: () => {},
    named: () => ({ id: "msg_1", createdAt: "2026-01-01T00:00:00.000Z" }),
    owed: (key) => void owed.push(key),
    failed: () => {},
    add: (records) => void owed.push(...records.map(({ key }) => `added ${key}`)),
    drop: (isIn) => void dropped.push(isIn),
  };
  const member = await Member.start(store, { outbox });
  const talkers = [new Talker(member, GOES, "ann"), new Talker(member, STAYS, "dan")];
  for (const talker of talkers) {
    talker.hello();
    talker.acquire("disk", 60_000, "https://a.example/");
  }
  const tokens: number[] = [];
  for (const talker of talkers) tokens.push(Number((await talker.next("granted"))[2]));
  member.holds = true;
  for (const [at, talker] of talkers.entries()) talker.release(tokens[at]!);
  await turn();
  const over = member.loop.handOver(goes, [OWNER], () => {});
  await member.letGo();
  await over;
  expect(owed).toEqual([`default/delivery/${STAYS.id}/${tokens[1]}.0`]);
  expect(dropped).toEqual([goes]);

  owed.length = 0;
  const { services, outside } = await claimed(store);
  const next = await Member.start(store, { outbox });
  const isMine = ({ key }: { readonly key: string }) => key.includes(`/${GOES.id}/`);
  const mine = services.filter(({ key }) => goes(key));
  await next.takeUp(mine, outside.filter(isMine), 0, [OWNER]);
  expect(owed).toEqual([`added default/delivery/${GOES.id}/${tokens[0]}.0`]);
  await Promise.all([member.loop.stop(), next.loop.stop()]);
});
