import fc from "fast-check";
import type { LockPage } from "lockdb/protocol";
import { describe, expect, test } from "vitest";
import {
  type DurableRecord,
  type Effects,
  Engine,
  FOUND_MAX,
  type HoldRecord,
  type ManyRecords,
} from "../../src/engine/index.js";
import { Listing } from "../../src/engine/listings.js";
import { Lock } from "../../src/engine/lock.js";
import { PackedRecord } from "../../src/engine/packed-record.js";
import { hashOfText, TextIndex } from "../../src/engine/text-index.js";
import { manyRecords } from "./many-records.js";
import { Story } from "./story.js";

const LIMITS = { waitersMax: 100, holdsMax: 10_000, sessionsMax: 100, writesSessionHolds: false };

describe("holds that a start leaves as they were stored", () => {
  test("[R5m] are to everybody what they would be if all were taken up at once", () => {
    fc.assert(
      fc.property(
        fc.array(ACTION, { maxLength: 30 }),
        fc.array(ACTION, { minLength: 5, maxLength: 40 }),
        play,
      ),
      { numRuns: 100 },
    );
  });

  test("[L9pk] end each at its time, in whatever order they were granted", () => {
    // All of 0 to 100, far from their order.
    const dueMs = Array.from({ length: 101 }, (_, at) => 1_000 + ((at * 37) % 101));
    const { engine } = restored(dueMs.map((ms, at) => [at + 1, record(`lock ${at}`, ms)] as const));
    for (const ms of [...dueMs].sort((a, b) => a - b)) {
      expect(engine.nextDeadlineMs).toBe(ms);
      engine.apply({ kind: "tick" }, ms, { answers: [], changes: [] });
    }
    expect(engine.counts).toMatchObject({ holds: 0, locks: 0 });
  });

  test("[R5n] are found by name, by token, by request and at their end, however they are written", () => {
    const plain = record("a", 1_000);
    const { engine, tell } = restored([
      [1, plain],
      [2, { ...record("b", 2_000, { leaseMs: 900 }), request: "client/7" }],
      [10, { ...record("c", 3_000), metadata: { where: "here", why: "" } }],
      // These are made at once.
      [11, { ...record("dé", 4_000), metadata: { n: 1 } }],
      [12, { ...record('e"\\', 5_000) }],
      [13, { ...record("f", 6_000), remainder: true, endedBy: "force" as const }],
      [14, { ...record("g", 7_000), names: [["g", "shared"]] as never }],
      [15, { ...record("h", 8_000), maxUntilMs: 9_000 }],
    ]);
    expect(engine.counts).toMatchObject({ holds: 8, locks: 8 });
    expect(engine.nextDeadlineMs).toBe(1_000);
    expect(tell({ kind: "inspect", name: "c" })).toMatchObject({
      holders: [{ token: 10, metadata: { where: "here", why: "" }, expiresInMs: 3_000 }],
    });
    expect(tell({ kind: "renew", token: 2, leaseMs: null })).toMatchObject({ token: 2, expiresInMs: 900 });
    expect(tell({ kind: "check", name: "a", waitMs: 0 })).toBe(true);
    expect(tell({ kind: "check", name: "ab", waitMs: 0 })).toBe(false);
    expect(tell({ kind: "check", name: 'e"\\', waitMs: 0 })).toBe(true);
    const out: Effects = { answers: [], changes: [] };
    engine.apply({ kind: "tick" }, 2_999, out);
    expect(out.changes.filter(({ value }) => value === null).map(({ id }) => id)).toEqual(["2", "1"]);
    expect(engine.nextDeadlineMs).toBe(3_000);
    expect(engine.counts).toMatchObject({ holds: 6, locks: 6 });
  });

  test("[R5o] keep out who wants their lock, also where two have it by force", () => {
    const other = { ...record("a", 9_000), names: ["a", "b"] as never };
    for (const second of [record("a", 2_000), { ...record("a", 2_000), remainder: true }, other]) {
      for (const tokens of [
        [1, 2, 3],
        [2, 1, 3],
        [3, 2, 1],
      ]) {
        const [first, middle, last] = tokens as [number, number, number];
        const { tell } = restored([
          [first, record("a", 1_000)],
          [middle, second],
          [last, record("a", 3_000)],
        ]);
        expect(tell({ kind: "inspect", name: "a" })).toMatchObject({ holderCount: 3 });
      }
    }
    // Those two are all that is packed when the second comes.
    const { engine, tell } = restored([
      [1, record("a", 1_000)],
      [2, { ...record("a", 2_000), maxUntilMs: 9_000 }],
      [3, record("a", 2_000)],
      [4, record("b", 1_000)],
      [5, record("c", 500)],
    ]);
    expect(engine.counts).toMatchObject({ holds: 5, locks: 3 });
    expect(tell({ kind: "check", name: "b", waitMs: 0 })).toBe(true);
    expect(engine.nextDeadlineMs).toBe(500);
  });

  test("[R5ra] keep no memory that is mostly of others, and those that are few are not packed at all", () => {
    const [plain, other] = [record("plain", 1_000), { ...record("other", 1_000), maxUntilMs: 9_000 }];
    // Of the last block only one record is of a hold that could be packed.
    const values = Array.from({ length: 60 }, (_, n) =>
      n < 40 ? record(`l${n}`, 1_000) : n === 58 ? plain : other,
    );
    const { engine, records, tell, asked } = restored(
      values.map((value, n) => [100 + n, value]),
      4_000,
    );
    const blockOf = (index: number) => records.placeOf(index).bytes;
    const first = [...asked].filter((index) => blockOf(index) === blockOf(0));
    expect(first.length).toBeGreaterThan(16);
    expect([...asked]).toEqual([...values.keys()].slice(0, 40));
    const check = (index: number) => expect(tell({ kind: "check", name: `l${index}`, waitMs: 0 })).toBe(true);
    for (const index of first.slice(4)) check(index);
    expect(first.filter((index) => asked.has(index))).toEqual(first.slice(0, 4));
    // Three of some thirty are not worth the block.
    for (const index of first.slice(2, 4)) check(index);
    expect(first.filter((index) => asked.has(index))).toEqual([]);
    expect(asked.has(first.length)).toBe(true);
    for (const index of first.slice(0, 2)) check(index);
    expect(engine.counts.holds).toBe(60);
    for (const [count, left] of [
      [999, 0],
      [1_000, 1_000],
    ] as const) {
      const many = Array.from({ length: count }, (_, n) => [n + 1, record(`l${n}`, 1_000)] as const);
      const few = restored(many, 1_000, {});
      expect(few.engine.counts.holds).toBe(count);
      expect(few.asked.size).toBe(left);
    }
  });

  test("[R5rb] are not taken for others whose names go on as their records do", () => {
    const { asked, tell } = restored([
      [1, { ...record("a", 1_000), owner: "QhDhye" }],
      [2, record("b", 1_000)],
    ]);
    const name = 'a","owner":"QhDhye';
    expect(hashOfText(name)).toBe(hashOfText("a"));
    expect(tell({ kind: "check", name, waitMs: 0 })).toBe(false);
    expect(asked).toEqual(new Set([0, 1]));
    for (const prefix of ['a"', 'a","owner":"', '"'])
      expect(tell({ kind: "list", query: { prefix } })).toEqual({ locks: [], next: null });
    expect(tell({ kind: "list", query: { prefix: "a" } })).toMatchObject({ locks: [{ name: "a" }] });
  });

  test("[N3bb] names that were chosen to get in each other's way are found like others, and cost no more", () => {
    const slots = 2 * 4_096 - 1;
    const names: string[] = [];
    for (let n = 0; names.length < 200; n++) if ((hashOfText(`n${n}`) & slots) === 5) names.push(`n${n}`);
    const others = Array.from({ length: 3_896 }, (_, n) => `other-${n}`);
    const all = [...names, ...others];
    const { engine, tell } = restored(all.map((name, n) => [n + 1, record(name, 1_000)]));
    expect(engine.counts).toMatchObject({ holds: all.length, locks: all.length });
    expect(all.filter((name) => tell({ kind: "check", name, waitMs: 0 }) !== true)).toEqual([]);
    const index = new TextIndex(4_096);
    const taken = names.filter((name, n) => index.add(hashOfText(name), n));
    expect(taken.length).toBeLessThan(100);
    let looks = 0;
    expect(index.find(hashOfText(names.at(-1)!), () => looks++ < 0)).toBe(-1);
    expect(looks).toBeLessThan(100);
  });

  test("[N3bc] names that were chosen to look alike are found, and few of them are ever compared", () => {
    const halves = [
      ["7yzx", "e6ad"],
      ["33zx", "epad"],
      ["33zx", "epad"],
      ["33zx", "epad"],
    ];
    const names = Array.from({ length: 16 }, (_, n) =>
      halves.map((each, at) => each[(n >> at) & 1]).join(""),
    );
    expect(new Set(names.map(hashOfText)).size).toBe(1);
    const { engine, asked, tell } = restored(names.map((name, n) => [n + 1, record(name, 1_000)]));
    expect(asked.size).toBe(4);
    expect(engine.counts).toMatchObject({ holds: 16, locks: 16 });
    expect(names.filter((name) => tell({ kind: "check", name, waitMs: 0 }) !== true)).toEqual([]);
    const index = new TextIndex(names.length);
    const taken = [...names.keys()].filter((n) => index.add(5, n));
    // Others of other hashes lie between them.
    for (const n of [100, 101, 102]) expect(index.add(5 + 64 * n, n)).toBe(true);
    const looks: number[] = [];
    expect(index.find(5, (n) => looks.push(n) < 0)).toBe(-1);
    expect(looks).toEqual(taken);
    expect(taken.length).toBe(4);
  });

  test("[R9u] their bytes are read as JSON has them, or not at all", () => {
    const packed = new PackedRecord();
    let reads = 0;
    fc.assert(
      fc.property(HOLD, fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { maxLength: 2 }), (hold, slips) => {
        const json = Buffer.from(JSON.stringify(hold));
        for (const [at, byte] of slips) if (at < json.length) json[at] = byte;
        const bytes = Buffer.concat([Buffer.from("12"), json, Buffer.from('","a":""}')]);
        const end = 2 + json.length;
        if (!packed.read({ bytes, tokenAt: 0, tokenEnd: 2, jsonAt: 2, jsonEnd: end })) return;
        reads++;
        const { nameAt, nameEnd, requestAt, requestEnd, grantedAtMs, expiresAtMs, token } = packed;
        const text = (from: number, to: number) => bytes.toString("utf8", from, to);
        const read = JSON.parse(json.toString("utf8")) as HoldRecord;
        expect({ token, grantedAtMs, expiresAtMs, names: text(nameAt, nameEnd) }).toEqual({
          token: 12,
          grantedAtMs: read.grantedAtMs,
          expiresAtMs: read.expiresAtMs,
          names: read.names,
        });
        expect(requestEnd > requestAt ? text(requestAt, requestEnd) : null).toBe(read.request);
        const known = [
          "names",
          "owner",
          "grantedAtMs",
          "expiresAtMs",
          "metadata",
          "leaseMs",
          "request",
          "remainder",
        ];
        expect(Object.keys(read).filter((key) => !known.includes(key))).toEqual([]);
        expect(read.remainder).toBe(false);
      }),
      { numRuns: 2_000 },
    );
    expect(reads).toBeGreaterThan(100);
  });

  test("[Q9ia] are listed once, though others touch them meanwhile", () => {
    const story = new Story({ holdsMax: 100 });
    for (let n = 1; n <= 20; n++) story.play(`${n} http${n} acquire lock-${n} 30s for=60m`);
    story.play("21 http21 acquire other 30s for=60m");
    story.play("30 - crash");
    const pageOf = (next?: string) => {
      const query = { prefix: "lock-", limit: 4, ...(next === undefined ? {} : { next }) };
      const command = { kind: "list", session: null, address: "http", id: 1, query } as const;
      return story.apply(command).answers[0]!.message[2] as LockPage;
    };
    const names: string[] = [];
    for (let next: string | undefined, n = 1; next !== null; n++) {
      const page = pageOf(next as string | undefined);
      names.push(...page.locks.map(({ name }) => name));
      next = page.next as string | undefined;
      story.play(`31 http check lock-${n}`);
      story.play(`31 http check lock-${20 - n}`);
      story.play("31 http check other");
      if (n === 2) story.play("32 http acquire lock-21 30s for=60m");
    }
    expect([...names].sort()).toEqual(Array.from({ length: 21 }, (_, n) => `lock-${n + 1}`).sort());
  });

  test("[Q9id] nobody looks at those that are over: a page or a step has what is left", () => {
    const { engine, tell } = restored(
      Array.from({ length: 2_600 }, (_, n) => [
        10_000 + n,
        record(`l${n}`, n >= 50 && n < 2_550 ? 10 : 1_000),
      ]),
    );
    engine.apply({ kind: "tick" }, 20, { answers: [], changes: [] });
    expect(engine.counts.holds).toBe(100);
    const survey = engine.survey();
    expect(survey.step(101)).toBe(1);
    expect(survey.isDone).toBe(true);
    expect((tell({ kind: "list", query: { limit: 200 } }) as LockPage).locks.length).toBe(100);
  });

  test("[Q9ie] a walk looks at so many a step and no more, from the first on that is packed still", () => {
    const four = () => restored(["a", "b", "c", "d"].map((name, n) => [n + 1, record(name, 1_000)]));
    const walk = four().engine.survey();
    expect(walk.step(3)).toBe(0);
    expect(walk.isDone).toBe(false);
    expect(walk.step(5)).toBe(4);
    expect(walk.isDone).toBe(true);
    const { oldestHolds } = walk.found(false, 10);
    expect(oldestHolds.map(({ name }) => name).sort()).toEqual(["a", "b", "c", "d"]);
    // The first and the last of all are over, and the one that a walk stands before.
    const { engine, tell } = four();
    for (const token of [1, 4]) tell({ kind: "giveBack", token, of: null, request: null });
    const late = engine.survey();
    expect(late.step(1)).toBe(0);
    tell({ kind: "giveBack", token: 3, of: null, request: null });
    expect(late.step(7)).toBe(7);
    expect(late.found(false, 10).oldestHolds.map(({ name }) => name)).toEqual(["b"]);
  });

  test("[N3bd] a list that is at its end keeps none of them", () => {
    const listing = new Listing(1, "", "ann");
    for (const name of ["a", "b"]) listing.unpacked.add(new Lock(name));
    const lock = new Lock("c");
    listing.moveTo(lock);
    expect(listing.unpacked.size).toBe(2);
    listing.moveTo(null);
    expect(listing).toMatchObject({ isOver: true, unpacked: new Set() });
  });

  test("[Q9wg] are among the oldest of those that a walk finds, and those that are not shown stay as they are", () => {
    const story = new Story({ holdsMax: 1_000 });
    for (let n = 1; n <= 100; n++) story.play(`${n} http${n} acquire lock-${n} 30s for=60m`);
    story.play("200 - crash");
    story.play("201 http acquire late 30s for=60m");
    story.play("202 ann acquire lock-70");
    const survey = story.engine.survey();
    expect(survey.step(60)).toBe(0);
    // Who is known already, and comes once more.
    for (const n of [1, 2, 3, 11, 12]) story.play(`203 http check lock-${n}`);
    while (!survey.isDone) survey.step(60);
    const { oldestHolds, longestWaits } = survey.found(false, 300);
    const found = oldestHolds.map(({ name }) => name);
    expect(found).toEqual(Array.from({ length: FOUND_MAX }, (_, n) => `lock-${n + 1}`));
    expect(longestWaits.map(({ name }) => name)).toEqual(["lock-70"]);
  });
});

const NAMES = ["a", "b", "c", "dd", "é"];

/** Lines of a story without their times. */
const ACTION = fc.oneof(
  fc
    .tuple(
      fc.constantFrom("a", "b", "c", "dd", "é", "a:s", "b:s", "a+b", "c:1/2"),
      fc.integer({ min: 1, max: 9 }),
    )
    .map(
      ([names, span]) =>
        (n: number) =>
          `http${n} acquire ${names} ${span}s for=${10 + span}s`,
    ),
  fc.constantFrom(...NAMES).map((name) => (n: number) => `http${n} check ${name} 0s`),
  fc.constantFrom(...NAMES).map((name) => (n: number) => `http${n} unlock ${name} 0s`),
  fc.tuple(fc.constantFrom("a", "b", "c", "dd"), fc.integer({ min: 1, max: 5 })).map(
    ([name, request]) =>
      (n: number) =>
        `http${n} call:r${request} ${name} lease=${10 + request}s`,
  ),
  fc.integer({ min: 1, max: 12 }).map((token) => (n: number) => `http${n} giveback:g${n} #${token}`),
  fc.integer({ min: 1, max: 12 }).map((token) => (n: number) => `http${n} renew #${token}`),
  fc.tuple(fc.constant("ann"), fc.constantFrom("a", "b", "dd")).map(
    ([who, name]) =>
      () =>
        `${who} acquire ${name} 1s for=8s`,
  ),
  fc.tuple(fc.constant("ann"), fc.integer({ min: 1, max: 4 }), fc.constantFrom("a", "b", "dd")).map(
    ([who, id, name]) =>
      () =>
        `${who} acquire:${id} ${name} 1s for=8s`,
  ),
  fc.tuple(fc.integer({ min: 1, max: 9 }), fc.constantFrom(...NAMES)).map(
    ([token, name]) =>
      (n: number) =>
        `http${n} force #${token} ${name}`,
  ),
  fc.constant(() => "- tick"),
  fc.constant(() => "- crash"),
  fc.constant(() => "- stop"),
);

type Action = (n: number) => string;

/** The same before and after a restart, by an engine that packs and by one that does not. */
function play(before: Action[], after: Action[]): void {
  const [packs, plain] = [new Story(LIMITS), new Story(LIMITS)];
  plain.packs = false;
  for (const [n, action] of [...before, () => "- crash", ...after].entries()) {
    // No two things end at once: which of them is first would be anybody's guess.
    const line = `${n * 701} ${action(n)}`;
    const [one, other] = [packs.play(line), plain.play(line)];
    const told = ({ answers, changes }: typeof one) => ({ answers, changes: [...changes].map(shown).sort() });
    expect(told(one), line).toEqual(told(other));
    expect(packs.engine.counts, line).toEqual(plain.engine.counts);
    expect(packs.engine.nextDeadlineMs, line).toBe(plain.engine.nextDeadlineMs);
  }
  for (const name of NAMES) {
    const line = `100000 http check ${name} 0s`;
    expect(packs.play(line), line).toEqual(plain.play(line));
  }
}

function shown(change: object): string {
  return JSON.stringify(change);
}

const TEXT = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom("a", "lock 1", "x/y:z", "{}", "null") },
  { weight: 1, arbitrary: fc.string({ maxLength: 8 }) },
  { weight: 1, arbitrary: fc.constantFrom("", "é", '"', "\\", "a\n", "\u007f") },
);

/** What is written of a hold, and not always, in its order. */
const HOLD = fc
  .tuple(
    fc.oneof({ weight: 5, arbitrary: TEXT }, { weight: 1, arbitrary: fc.constant(["a", "b"]) }),
    fc.oneof({ weight: 9, arbitrary: fc.nat() }, fc.constantFrom(0, 1.5, -1, 2 ** 53, 1e21, null)),
    fc.oneof({ weight: 5, arbitrary: fc.nat() }, fc.constantFrom(null, 12_345_678_901_234)),
    fc.dictionary(TEXT, fc.oneof({ weight: 5, arbitrary: TEXT }, fc.nat(), fc.boolean()), { maxKeys: 2 }),
    fc.constantFrom({}, {}, {}, { leads: true }),
    fc.constantFrom({}, {}, { leaseMs: 30_000 }),
    fc.oneof(TEXT, fc.constant(null)),
    fc.constantFrom({ remainder: false }, { remainder: false }, { remainder: true, endedBy: "force" }),
    fc.constantFrom({}, {}, { maxUntilMs: 9 }),
  )
  .map(([names, grantedAtMs, expiresAtMs, metadata, leads, lease, request, remainder, ends]) => ({
    ...{ names, owner: request ?? "http", grantedAtMs, expiresAtMs, metadata },
    ...{ ...leads, ...lease, request, ...remainder, ...ends },
  }));

/** @param lease stands where it is written */
function record(name: string, expiresAtMs: number, lease: { leaseMs?: number } = {}): HoldRecord {
  return {
    names: name,
    owner: "http",
    grantedAtMs: 0,
    expiresAtMs,
    metadata: {},
    ...lease,
    request: null,
    remainder: false,
  };
}

/** @returns also which records may still be asked for */
function restored(
  holds: readonly (readonly [token: number, record: HoldRecord])[],
  blockBytes?: number,
  options: { packedMin?: number } = { packedMin: 1 },
) {
  const engine = new Engine({ ...LIMITS, ...options });
  const all = holds.map(([token, value]): DurableRecord => ({ type: "hold", id: String(token), value }));
  const many = manyRecords(all, blockBytes);
  const asked = new Set(all.keys());
  const letGo = (index: number) => {
    asked.delete(index);
    many.letGo(index);
  };
  const records: ManyRecords = { ...many, letGo };
  engine.restore([], 0, { answers: [], changes: [] }, records);
  const tell = (command: object) => {
    const out = { answers: [] as { message: readonly unknown[] }[], changes: [] };
    engine.apply({ id: 1, session: null, address: "http", ...command } as never, 0, out as never);
    return out.answers[0]!.message[2];
  };
  return { engine, records, asked, tell };
}
