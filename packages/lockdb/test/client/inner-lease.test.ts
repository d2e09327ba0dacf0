import { expect, test } from "vitest";
import { LockLostError } from "../../src/client/errors.js";
import { InnerLease, type OuterHold } from "../../src/client/inner-lease.js";

/** A hold, as those inside of it see it, which ends when it is told to. */
function outerHold(other: Partial<OuterHold> = {}) {
  const on = {
    over: null as ((why: LockLostError) => void) | null,
    lost: null as LockLostError | null,
    atRisk: [] as ((remainingMs: number) => void)[],
    asked: [] as ((reason: string) => void)[],
    left: 0,
  };
  const outer: OuterHold = {
    token: 7,
    remainingMs: 1_234,
    onAtRisk: (callback) => void on.atRisk.push(callback),
    onAsked: (callback) => void on.asked.push(callback),
    onOver: (callback) => {
      on.over = callback;
      return () => {
        on.over = null;
      };
    },
    assertNotLost: () => {
      if (on.lost !== null) throw on.lost;
    },
    left: () => void on.left++,
    ...other,
  };
  return { on, outer, inner: new InnerLease(outer, []) };
}

test("[D3ia] what is granted again is held for as long as the hold around it, under its token", () => {
  const previous = { endedBy: "expiry", token: 3, owner: "bob" } as const;
  const { inner } = outerHold({ previous });
  expect(inner).toMatchObject({ token: 7, remainingMs: 1_234, isHeld: true, previous });
  inner.assertHeld();
  expect(outerHold().inner.previous).toBeUndefined();
});

test("[D3ib] its release frees nothing: it is left once, hears no more, and says whether it was held", async () => {
  const { on, inner } = outerHold();
  expect(await inner.release()).toBe(true);
  expect(await inner.release()).toBe(false);
  expect(on).toMatchObject({ left: 1, over: null });
  expect(inner).toMatchObject({ isHeld: false, remainingMs: 0 });
  expect(inner.signal.aborted).toBe(false);
  expect(() => inner.assertHeld()).toThrow(/token 7 was released/);
  inner.assertNotLost();
  const disposed = outerHold();
  await disposed.inner[Symbol.asyncDispose]();
  expect(disposed.on.left).toBe(1);
  // A hold of one's own need not hear that nobody is inside any more.
  const { left: _, ...unasked } = outerHold().outer;
  expect(await new InnerLease(unasked, []).release()).toBe(true);
});

test("[D3ic] when the hold around it ends it is over, with the same error everywhere", async () => {
  const { on, inner } = outerHold();
  const why = new LockLostError("It is over.");
  on.over?.(why);
  expect(inner).toMatchObject({ isHeld: false, remainingMs: 0 });
  expect(inner.signal.reason).toBe(why);
  expect(() => inner.assertHeld()).toThrow(why);
  expect(() => inner.assertNotLost()).toThrow(why);
  expect(await inner.release()).toBe(false);
  // By its own clocks the hold may know it earlier than it tells.
  const late = outerHold();
  late.on.lost = why;
  expect(() => late.inner.assertHeld()).toThrow(why);
  await late.inner.release();
  late.inner.assertNotLost();
});

test("[D3id] it hears of danger and of those who ask while it is held, and not afterwards", async () => {
  const { on, inner } = outerHold();
  const heard: unknown[] = [];
  inner.onAtRisk((remainingMs) => heard.push(remainingMs));
  inner.onAsked((reason) => heard.push(reason));
  on.atRisk[0]?.(500);
  on.asked[0]?.("repair");
  expect(heard).toEqual([500, "repair"]);
  await inner.release();
  on.atRisk[0]?.(400);
  on.asked[0]?.("again");
  expect(heard).toEqual([500, "repair"]);
});
