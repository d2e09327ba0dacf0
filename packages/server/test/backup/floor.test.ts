import fc from "fast-check";
import { expect, test } from "vitest";
import { BEGIN_MS, CLOCKS_DIFFER_MS, FloorError, floorAfter, RATE_A_MS } from "../../src/backup/floor.js";
import { KeptRecords } from "../../src/backup/kept.js";
import { FLOOR_KEY } from "../../src/loop/index.js";
import { decodeRecord, encodeRecord } from "../../src/store/index.js";
import { firstToken } from "./backups.js";

const SERVICES = ["a", "b", "c"] as const;
const YEAR_MS = 365 * 86_400_000;

/** A store that goes on: the next token of each service that has one. */
interface History {
  readonly floor: number;
  readonly raisedBy: number;
  readonly next: Map<string, number>;
}

/** What is in its store, in the order of the keys. */
function entriesOf({ floor, raisedBy, next }: History) {
  const records: [string, object][] =
    floor === 1 ? [] : [[FLOOR_KEY, { tokens: floor, tickets: floor, raisedBy }]];
  for (const [service, token] of [...next].sort())
    records.push([`default/service/${service}/ceiling/`, { tokens: token, tickets: 1 }]);
  return records.map(([key, value]) => ({ key, value: encodeRecord(key, value) }));
}

/** The same by what a restore really writes. */
function restored(
  entries: ReturnType<typeof entriesOf>,
  nowMs: number,
  backupMs: number,
  above: number | null,
): History {
  const records = entries.map((entry) => decodeRecord(entry) as { tokens: number; raisedBy?: number });
  const highest = Math.max(1, ...records.map(({ tokens }) => tokens));
  const before = records.find((record) => record.raisedBy !== undefined)?.raisedBy ?? 0;
  const { floor, raisedBy } = floorAfter({ nowMs, backupMs, highest, raisedBy: before, above });
  const kept = new KeptRecords({ tokens: floor, tickets: floor, raisedBy }, true);
  const changes = [...entries.flatMap((entry) => [...kept.of(entry)]), ...kept.end()];
  const next = new Map<string, number>();
  let written = 1;
  for (const { key, value } of changes) {
    const { tokens } = decodeRecord({ key, value: value! }) as { tokens: number };
    const [, , service, type] = key.split("/");
    if (key === FLOOR_KEY) written = tokens;
    else if (type === "ceiling") next.set(service!, tokens);
  }
  return { floor: written, raisedBy, next };
}

/** The token that the real engine gives out next. */
function grant(history: History, service: string): number {
  const ceiling = history.next.get(service);
  const record = { type: "ceiling", id: "", value: { tokens: ceiling, tickets: 1 } };
  const { token } = firstToken(ceiling === undefined ? [] : [record], history.floor);
  history.next.set(service, token + 1);
  return token;
}

const step = fc.record({
  what: fc.constantFrom("grant", "grant", "work hard", "back up", "restore"),
  service: fc.constantFrom(...SERVICES),
  which: fc.nat(),
  ms: fc.oneof(fc.integer({ min: 1, max: 50 }), fc.integer({ min: 1, max: YEAR_MS })),
});

test("[F3i] a token of a lost history is lower than each after a restore, whichever backup is restored, and however often", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 5, maxLength: 40 }), (steps) => {
      let nowMs = BEGIN_MS + YEAR_MS / 2;
      let history: History = { floor: 1, raisedBy: 0, next: new Map() };
      const backups: { entries: ReturnType<typeof entriesOf>; atMs: number }[] = [];
      const highest = new Map<string, number>();
      for (const { what, service, which, ms } of steps) {
        nowMs += ms;
        if (what === "back up") backups.push({ entries: entriesOf(history), atMs: nowMs });
        // As fast as a server could in all that time.
        if (what === "work hard") {
          const next = grant(history, service) + ms * (RATE_A_MS - 1);
          history.next.set(service, next);
          highest.set(service, next - 1);
        }
        if (what === "restore" && backups.length > 0) {
          const { entries, atMs } = backups[which % backups.length]!;
          history = restored(entries, nowMs, atMs, null);
        }
        if (what === "grant" || what === "restore") {
          const token = grant(history, service);
          expect(token).toBeGreaterThan(highest.get(service) ?? 0);
          expect(Number.isSafeInteger(token)).toBe(true);
          highest.set(service, token);
        }
      }
    }),
    { numRuns: 2_000 },
  );
});

test("[F3j] what is in the backup counts, too, when the clock of an earlier restore was far ahead", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 5 * YEAR_MS }),
      fc.integer({ min: 0, max: 5 * YEAR_MS }),
      fc.integer({ min: 0, max: 20 * YEAR_MS }),
      (backupAfter, lostMs, aheadMs) => {
        const backupMs = BEGIN_MS + backupAfter;
        const highest = (backupAfter + aheadMs) * RATE_A_MS + 1;
        const lost = highest + lostMs * RATE_A_MS;
        const { floor } = floorAfter({
          nowMs: backupMs + lostMs,
          backupMs,
          highest,
          raisedBy: 0,
          above: null,
        });
        expect(floor).toBeGreaterThan(lost);
      },
    ),
  );
});

test("[F3k] a clock that is behind the backup is refused, unless the operator knows a number", () => {
  const backupMs = BEGIN_MS + YEAR_MS;
  const facts = { backupMs, highest: 7, raisedBy: 0, above: null };
  const nowMs = backupMs - CLOCKS_DIFFER_MS - 1;
  expect(() => floorAfter({ ...facts, nowMs })).toThrow(FloorError);
  expect(() => floorAfter({ ...facts, nowMs })).toThrow(/clock of this machine says 2026-.*made at 2027-/);
  expect(floorAfter({ ...facts, nowMs: nowMs + 1 }).floor).toBeGreaterThan(YEAR_MS * RATE_A_MS);
  expect(floorAfter({ ...facts, nowMs, above: 10 ** 15 }).floor).toBeGreaterThan(10 ** 15);
});

test("[F3l] it leaves room: numbers stay below half of the safe integers, or the restore is refused", () => {
  const inTenYears = BEGIN_MS + 10 * YEAR_MS;
  const { floor } = floorAfter({
    nowMs: inTenYears,
    backupMs: inTenYears,
    highest: 1,
    raisedBy: 0,
    above: null,
  });
  expect(floor / Number.MAX_SAFE_INTEGER).toBeLessThan(0.04);
  const late = BEGIN_MS + 140 * YEAR_MS;
  expect(() => floorAfter({ nowMs: late, backupMs: late, highest: 1, raisedBy: 0, above: null })).toThrow(
    /leaves too few/,
  );
  expect(() =>
    floorAfter({ nowMs: inTenYears, backupMs: inTenYears, highest: 2 ** 52, raisedBy: 0, above: null }),
  ).toThrow(FloorError);
});

test("[F3m] a number that an operator has said counts in all backups of that history, and is no end of it", () => {
  const atMs = BEGIN_MS + YEAR_MS;
  const above = 10 ** 15;
  const first = restored([], atMs, atMs, above);
  expect(grant(first, "a")).toBeGreaterThan(above);
  const early = entriesOf(first);
  let last = grant(first, "b");
  // Each from another of its backups, a moment later.
  let next = first;
  for (const [at, entries] of [early, entriesOf(first), early].entries()) {
    next = restored(at === 1 ? entriesOf(next) : entries, atMs + 10 + at, atMs + at, null);
    const token = grant(next, "b");
    expect(token).toBeGreaterThan(last);
    last = token;
  }
});
