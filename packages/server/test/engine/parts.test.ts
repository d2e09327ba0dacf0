import { describe, expect, test } from "vitest";
import { Deadlines } from "../../src/engine/deadlines.js";
import {
  covers,
  EXCLUSIVE,
  goTogether,
  type Mode,
  namesOf,
  Room,
  SHARED,
  wantsOf,
} from "../../src/engine/modes.js";
import { SPANS_MS, Tally, Totals } from "../../src/engine/totals.js";

const of = (weight: number, permits: number): Mode => ({ shared: false, permits, weight });

describe("modes", () => {
  test("[Q4ka] a request is made of its names and written back as it was, and one permit is an ordinary lock", () => {
    const names = ["a", ["b", "shared"], ["c", 5], ["d", 5, 2], ["e", 1]] as const;
    const wants = wantsOf(names);
    expect(wants.map(({ mode }) => mode)).toEqual([EXCLUSIVE, SHARED, of(1, 5), of(2, 5), EXCLUSIVE]);
    expect(namesOf(wants)).toEqual(["a", ["b", "shared"], ["c", 5, 1], ["d", 5, 2], "e"]);
    expect(EXCLUSIVE).toEqual({ shared: false, permits: 0, weight: 1 });
    expect(SHARED).toEqual({ shared: true, permits: 0, weight: 1 });
    expect(namesOf(wantsOf("a"))).toBe("a");
    expect(namesOf(wantsOf([["b", "shared"]]))).toEqual([["b", "shared"]]);
  });

  test("[D3in] a hold covers what asks for as much or less, in the same kind", () => {
    expect(covers(EXCLUSIVE, EXCLUSIVE) && covers(EXCLUSIVE, SHARED) && covers(SHARED, SHARED)).toBe(true);
    expect(covers(SHARED, EXCLUSIVE)).toBe(false);
    expect(covers(of(2, 5), of(2, 5)) && covers(of(2, 5), of(1, 5))).toBe(true);
    expect(covers(of(2, 5), of(3, 5))).toBe(false);
    expect(covers(of(2, 5), of(2, 4)) || covers(of(2, 5), SHARED) || covers(EXCLUSIVE, of(1, 5))).toBe(false);
  });

  test("[Q4kb] two go together when both share, or when their permits are enough for both", () => {
    expect(goTogether(SHARED, SHARED) && goTogether(of(2, 5), of(3, 5))).toBe(true);
    expect(goTogether(SHARED, EXCLUSIVE) || goTogether(EXCLUSIVE, SHARED)).toBe(false);
    expect(goTogether(EXCLUSIVE, EXCLUSIVE) || goTogether(of(3, 5), of(3, 5))).toBe(false);
    expect(goTogether(of(1, 5), of(1, 4)) || goTogether(SHARED, of(1, 5))).toBe(false);
  });

  test("[Q4kc] room is left for whoever fits beside those who came before, and for nobody behind one who did not", () => {
    const after = (...taken: Mode[]) => {
      const room = new Room();
      for (const mode of taken) room.take(mode);
      return {
        room,
        fits: [EXCLUSIVE, SHARED, of(1, 3), of(2, 3), of(3, 3), of(1, 4)].map((mode) => room.fits(mode)),
        isEmpty: room.isEmpty,
        isFull: room.isFull,
      };
    };
    const none = { fits: [false, false, false, false, false, false], isEmpty: false, isFull: true };
    expect(after()).toMatchObject({
      fits: [true, true, true, true, true, true],
      isEmpty: true,
      isFull: false,
    });
    expect(after(EXCLUSIVE)).toMatchObject(none);
    expect(after(SHARED, EXCLUSIVE)).toMatchObject(none);
    expect(after(of(2, 3), of(2, 3))).toMatchObject(none);
    expect(after(of(3, 3))).toMatchObject(none);
    expect(after(of(1, 3), of(2, 3))).toMatchObject(none);
    expect(after(SHARED, SHARED).fits).toEqual([false, true, false, false, false, false]);
    expect(after(of(1, 3)).fits).toEqual([false, false, true, true, false, false]);
    const held = (mode: Mode, used: number) => {
      const room = new Room();
      room.takeHeld(mode, used);
      return { fits: room.fits(mode), isFull: room.isFull, isEmpty: room.isEmpty };
    };
    expect(held(SHARED, 7)).toEqual({ fits: true, isFull: false, isEmpty: false });
    expect(held(EXCLUSIVE, 1)).toEqual({ fits: false, isFull: true, isEmpty: false });
    expect(held(of(1, 3), 2)).toEqual({ fits: true, isFull: false, isEmpty: false });
    // By force, more may be out than there are.
    for (const used of [3, 4]) expect(held(of(1, 3), used)).toMatchObject({ fits: false, isFull: true });
  });
});

test("[L1ia] deadlines come due in order, however they were set, moved and taken out", () => {
  const item = (name: number) => ({ name, dueMs: 0, heapIndex: -1 });
  const items = Array.from({ length: 40 }, (_, name) => item(name));
  const heap = new Deadlines<ReturnType<typeof item>>();
  expect({ size: heap.size, next: heap.nextMs }).toEqual({ size: 0, next: Number.POSITIVE_INFINITY });
  // A bijection of 0 to 40: no two are due at once.
  for (const each of items) heap.set(each, (each.name * 17) % 41);
  for (const each of items) if (each.name % 3 === 0) heap.set(each, 100 - each.dueMs);
  for (const each of items) if (each.name % 5 === 1) heap.delete(each);
  heap.delete(items[1]!);
  const left = items.filter(({ name }) => name % 5 !== 1);
  expect(heap.size).toBe(left.length);
  const wanted = left.map(({ dueMs }) => dueMs).sort((a, b) => a - b);
  expect(heap.nextMs).toBe(wanted[0]);
  expect(heap.takeDue(wanted[0]! - 1)).toBeUndefined();
  const taken: number[] = [];
  for (let due = heap.takeDue(1_000); due !== undefined; due = heap.takeDue(1_000)) {
    expect(due.heapIndex).toBe(-1);
    taken.push(due.dueMs);
    for (const each of left) expect(each.heapIndex).toBeLessThan(heap.size);
  }
  expect(taken).toEqual(wanted);
});

test("[I6zf] a count begins at nothing, has a bucket more than bounds, and tells each end apart", () => {
  expect(SPANS_MS.map((ms) => ms / 1_000).join(" ")).toBe(
    "0.001 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 30 60 300 1800 7200",
  );
  const tally = new Tally();
  const counts = { granted: 0, queued: 0, deadlocks: 0, released: 0, expired: 0, forced: 0 };
  expect(tally).toEqual({ ...counts, waits: Array(SPANS_MS.length + 1).fill(0) });
  for (const how of ["released", "expired", "expired", "forced", "taken_back", "displaced"] as const)
    tally.holdEnded(how);
  expect(tally).toMatchObject({ ...counts, released: 1, expired: 2, forced: 1 });
  const totals = new Totals();
  expect(totals).toMatchObject({ granted: 0, queued: 0, restored: 0, sessionsOpened: 0, sessionsExpired: 0 });
  totals.holdEnded("displaced", -5);
  expect(totals.ended).toEqual({ released: 0, expired: 0, forced: 0, taken_back: 0, displaced: 1 });
  expect(totals.heldMs.sum).toBe(0);
  expect(totals.heldMs.counts[0]).toBe(1);
});
