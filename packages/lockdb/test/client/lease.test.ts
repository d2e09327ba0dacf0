import { LIMITS } from "lockdb/protocol";
import { describe, expect, test } from "vitest";
import { LockLostError } from "../../src/client/errors.js";
import { HeldLease, type LeaseKeeper, type LeaseTerms } from "../../src/client/lease.js";
import { now } from "../../src/client/trust.js";
import { terms } from "./script.js";
import { Machine, VirtualRuntime, World } from "./virtual.js";

const DAY_MS = 86_400_000;

/** A lease without a session: how long that is trusted, and what a release says, is set by hand. */
function held(other: Partial<LeaseTerms> = {}) {
  const world = new World();
  const machine = new Machine(world, "ann");
  const runtime = new VirtualRuntime(machine);
  const keeper: LeaseKeeper & {
    sessionMs: number;
    atRisk: boolean;
    answer: Promise<boolean>;
    calls: string[];
  } = {
    runtime,
    enclosedBy: (lease) => ({ service: "reports", token: lease.token, servers: null, lease }),
    sessionMs: Number.POSITIVE_INFINITY,
    answer: Promise.resolve(true),
    calls: [],
    now: () => now(runtime),
    sessionRemainingMs: () => keeper.sessionMs,
    atRisk: false,
    isAtRisk: () => keeper.atRisk,
    release: () => {
      keeper.calls.push("release");
      return keeper.answer;
    },
    forget: () => void keeper.calls.push("forget"),
    ended: () => void keeper.calls.push("ended"),
    ranOut: (lease: HeldLease) => {
      keeper.calls.push("ranOut");
      lease.lose("its lease ran out");
    },
  };
  const lease = new HeldLease(keeper, 7, terms("disk", other), now(runtime), now(runtime));
  return { world, machine, runtime, keeper, lease };
}

describe("a lease", () => {
  test("[L5d] remainingMs is what the session can be trusted for, in whole milliseconds, never below 0", () => {
    const { keeper, lease } = held();
    keeper.sessionMs = 1_234.9;
    expect(lease.remainingMs).toBe(1_234);
    keeper.sessionMs = -5;
    expect(lease.remainingMs).toBe(0);
  });

  test("[L5e] assertHeld reads the clocks: no timer has to fire for it to throw", () => {
    const { keeper, lease } = held();
    lease.assertHeld();
    keeper.sessionMs = 0;
    expect(() => lease.assertHeld()).toThrow(LockLostError);
    expect(lease.signal.aborted).toBe(true);
  });

  test("[L5f] a loss is for ever, and the error names lock, token and next step", () => {
    const { keeper, lease } = held();
    lease.lose("it was freed by force");
    keeper.sessionMs = 10_000;
    expect(lease.remainingMs).toBe(0);
    expect(lease.isHeld).toBe(false);
    const error = thrownBy(() => lease.assertHeld());
    expect(error).toBeInstanceOf(LockLostError);
    expect(error).toMatchObject({
      code: "LOCK_LOST",
      retryable: false,
      details: { names: ["disk"], token: 7 },
    });
    expect(error.message).toMatch(/"disk".*token 7.*freed by force.*[Ss]top/);
  });

  test("[L5g] the signal aborts with the very error that assertHeld throws, also when it is first read later", () => {
    const early = held().lease;
    const { signal } = early;
    early.lose("late");
    expect(signal.reason).toBe(thrownBy(() => early.assertHeld()));
    const late = held().lease;
    late.lose("late");
    expect(late.signal.aborted).toBe(true);
    expect(late.signal.reason).toBe(thrownBy(() => late.assertHeld()));
  });

  test("[L5h] it is lost once: the first reason stays", () => {
    const { lease } = held();
    let aborts = 0;
    lease.signal.addEventListener("abort", () => aborts++);
    lease.lose("the first");
    lease.lose("the second");
    expect(aborts).toBe(1);
    expect(lease.signal.reason.message).toContain("the first");
  });

  test("[I1a] release asks the server once, and each caller gets its answer", async () => {
    const { keeper, lease } = held();
    expect(await Promise.all([lease.release(), lease.release()])).toEqual([true, true]);
    expect(keeper.calls).toEqual(["release"]);
  });

  test("[I1b] release of a lost lease is false, and does not ask the server", async () => {
    const { keeper, lease } = held();
    lease.lose("late");
    expect(await lease.release()).toBe(false);
    expect(keeper.calls).toEqual(["forget"]);
  });

  test("[I1c] from the call of release on it is no longer held, but a loss meanwhile is none", async () => {
    const { lease, keeper } = held();
    keeper.answer = new Promise(() => {});
    void lease.release();
    expect(lease.remainingMs).toBe(0);
    expect(() => lease.assertHeld()).toThrow(/was released/);
    lease.lose("the server ended it");
    expect(lease.signal.aborted).toBe(false);
    lease.assertNotLost();
  });

  test("[I1d] the end of an `await using` block is a release", async () => {
    const { keeper, lease } = held();
    await lease[Symbol.asyncDispose]();
    expect(keeper.calls).toEqual(["release"]);
  });

  test("[L6i] a listener that comes when the lease is at risk already is warned too", async () => {
    const { world, keeper, lease } = held();
    const heard: string[] = [];
    keeper.sessionMs = 4_000;
    lease.onAtRisk((ms) => heard.push(`early ${ms}`));
    keeper.atRisk = true;
    lease.onAtRisk((ms) => heard.push(`late ${ms}`));
    expect(heard).toEqual([]);
    await world.run(1);
    expect(heard).toEqual(["late 4000"]);
    lease.onAtRisk((ms) => heard.push(`lost ${ms}`));
    lease.lose("late");
    await world.run(1);
    expect(heard).toEqual(["late 4000"]);
    const detached = held({ detachedMs: 60_000 });
    detached.keeper.atRisk = true;
    detached.lease.onAtRisk((ms) => heard.push(`detached ${ms}`));
    await detached.world.run(1);
    expect(heard).toEqual(["late 4000"]);
  });

  test("[L9qd] whoever is asked to give it back is told once a reason, and nothing of a lease that is over", async () => {
    const { world, lease } = held();
    const heard: string[] = [];
    lease.onAsked((reason) => heard.push(`early ${reason}`));
    lease.askFor("repair");
    lease.askFor("repair");
    expect(heard).toEqual(["early repair"]);
    lease.onAsked((reason) => heard.push(`late ${reason}`));
    await world.run(1);
    expect(heard).toEqual(["early repair", "late repair"]);
    lease.askFor("now");
    expect(heard.slice(2)).toEqual(["early now", "late now"]);
    lease.lose("late");
    lease.askFor("again");
    expect(heard).toHaveLength(4);
  });

  test("[D3ik] those who work inside of it hear once of its release, or of its loss; who comes later at once", async () => {
    const { lease } = held();
    const heard: string[] = [];
    const leave = lease.onOver(() => heard.push("left"));
    lease.onOver((why) => heard.push(why.message));
    leave();
    leave();
    await lease.release();
    lease.lose("late");
    expect(heard).toEqual(['The lock "disk" was released.']);
    lease.onOver((why) => heard.push(why.message))();
    expect(heard[1]).toBe(heard[0]);
    const lost = held().lease;
    lost.onOver((why) => heard.push(why.message));
    lost.lose("the first");
    lost.lose("the second");
    await lost.release();
    expect(heard).toHaveLength(3);
    expect(heard[2]).toContain("the first");
    lost.onOver((why) => heard.push(why.message));
    expect(heard[3]).toBe(heard[2]);
    // Whoever was inside of a hold that is over may still go.
    leave();
  });

  test("[I3ia] a holder may be told to stop for a reason of his own, and has the lock until he gives it back", () => {
    const { lease } = held();
    lease.stop("enough");
    expect(lease.signal.reason).toBe("enough");
    lease.assertHeld();
  });

  test("[L9ia] a detached hold that is not trusted any more may still be there: its release asks the server", async () => {
    const { keeper, lease } = held({ detachedMs: 60_000 });
    lease.lose("late");
    expect(await lease.release()).toBe(true);
    expect(keeper.calls).toEqual(["forget", "release"]);
  });

  test("[R3xb] a minimum hold is claimed with what may have passed before its grant was heard of, and no longer than holds may be", () => {
    const { keeper, runtime } = held();
    const heardLate = (other: Partial<LeaseTerms>) => {
      const { monotonicMs, wallMs } = now(runtime);
      const since = { monotonicMs: monotonicMs - 400.5, wallMs: wallMs - 400.5 };
      return new HeldLease(keeper, 7, terms("disk", other), since, now(runtime)).claim;
    };
    expect(heardLate({ minHoldMs: 1_000, leads: true })).toEqual({
      heldMs: 400,
      minHoldMs: 1_401,
      leads: true,
    });
    const { durationMsMax } = LIMITS;
    expect(heardLate({ minHoldMs: durationMsMax }).minHoldMs).toBe(durationMsMax);
  });

  test("[L5ii] one that is released by whoever hears of its loss first is told as released, and nothing else is thrown", () => {
    const { keeper, lease } = held();
    keeper.sessionMs = 0;
    keeper.ranOut = (own) => void own.release();
    expect(() => lease.assertHeld()).toThrow(LockLostError);
    expect(() => lease.assertHeld()).toThrow(/was released/);
  });

  test("[L6e] every listener is warned, whatever another one throws", async () => {
    const { world, lease } = held();
    const heard: number[] = [];
    lease.onAtRisk((ms) => heard.push(ms));
    lease.onAtRisk(() => {
      throw new Error("a listener's mistake");
    });
    lease.onAtRisk((ms) => heard.push(ms));
    lease.warn(4_700);
    expect(heard).toEqual([4_700, 4_700]);
    // It is not swallowed either: it comes up as an uncaught error of its own.
    await expect(world.run(1)).rejects.toThrow("a listener's mistake");
  });
});

describe("a lease's own end", () => {
  test("[L7a] maxHold ends it by its own clock, the margin earlier, however healthy the session is", async () => {
    const { world, lease } = held({ maxHoldMs: 10_000 });
    const { signal } = lease;
    await world.run(9_699);
    lease.assertHeld();
    expect(signal.aborted).toBe(false);
    await world.run(1);
    expect(signal.reason).toBeInstanceOf(LockLostError);
    expect(signal.reason.message).toMatch(/longest hold/);
  });

  test("[L7l] a hold whose longest time is over when its grant is heard has not ended: it never began", () => {
    const { keeper, lease, machine } = held({ maxHoldMs: 200 });
    expect([lease.remainingMs, lease.isLost, machine.timerCount]).toEqual([0, false, 0]);
    expect(keeper.calls).toEqual([]);
  });

  test("[L7b] a session that ends earlier than maxHold counts, and so does the other way round", () => {
    const { keeper, lease } = held({ maxHoldMs: 10_000 });
    keeper.sessionMs = 500;
    expect(lease.remainingMs).toBe(500);
    keeper.sessionMs = 50_000;
    expect(lease.remainingMs).toBe(9_700);
  });

  test("[L9a] a detached lease does not depend on the session's trust", () => {
    const { keeper, lease } = held({ detachedMs: 300_000 });
    keeper.sessionMs = -1;
    expect(lease.remainingMs).toBe(291_000);
    lease.assertHeld();
  });

  test("[L9ic] a detached hold that nobody looks at takes no timer, and who looks later sees its end in time", async () => {
    const { world, machine, lease } = held({ detachedMs: 10_000 });
    expect(machine.timerCount).toBe(0);
    await world.run(5_000);
    const { signal } = lease;
    expect([machine.timerCount, signal.aborted]).toEqual([1, false]);
    await world.run(4_699);
    expect(signal.aborted).toBe(false);
    await world.run(1);
    expect(signal.reason.message).toMatch(/its time is over/);
  });

  test("[L9ic] who works inside of it sees its end, too", async () => {
    const { world, lease } = held({ detachedMs: 10_000 });
    const told: string[] = [];
    lease.onOver(({ message }) => told.push(message));
    await world.run(9_699);
    expect(told).toEqual([]);
    await world.run(1);
    expect(told).toEqual([expect.stringMatching(/its time is over/)]);
  });

  test("[L9ic] who looks when it is over is told so at once", async () => {
    const late = async (other: Partial<LeaseTerms> = {}) => {
      const all = held({ detachedMs: 10_000, ...other });
      await all.world.run(20_000);
      return all;
    };
    const { lease, machine } = await late();
    expect(lease.signal.aborted).toBe(true);
    expect(machine.timerCount).toBe(0);
    const told: string[] = [];
    (await late()).lease.onOver(({ message }) => told.push(message));
    expect(told).toEqual([expect.stringMatching(/its time is over/)]);
    expect(() => lease.assertHeld()).toThrow(/its time is over/);
    const nobody = (await late()).lease;
    expect(() => nobody.assertHeld()).toThrow(/its lease ran out/);
  });

  test("[N4a] 30 days are 30 days: longer than a timer of Node.js can be", async () => {
    const { world, lease } = held({ detachedMs: 30 * DAY_MS });
    const trustedMs = 30 * DAY_MS * 0.97;
    const { signal } = lease;
    await world.run(trustedMs - 1_000);
    expect(signal.aborted).toBe(false);
    expect(lease.remainingMs).toBe(1_000);
    await world.run(1_001);
    expect(signal.aborted).toBe(true);
  });

  test("[L2j] its own end comes by the wall clock too, and the signal says so soon after a suspend", async () => {
    const { world, machine, lease } = held({ detachedMs: 60_000 });
    const { signal } = lease;
    await world.run(1_000);
    machine.suspend();
    await world.run(100_000);
    machine.wake();
    expect(lease.remainingMs).toBe(0);
    await world.run(1_000);
    expect(signal.aborted).toBe(true);
  });

  test("[L7c] a released lease has no end of its own any more", async () => {
    const { world, machine, lease } = held({ maxHoldMs: 10_000 });
    await lease.release();
    const { signal } = lease;
    expect(machine.timerCount).toBe(0);
    await world.run(20_000);
    expect(signal.aborted).toBe(false);
  });

  test("[I1e] waiting for an end of its own keeps no process alive", () => {
    const { lease, machine, runtime } = held({ detachedMs: 10_000 });
    void lease.signal;
    expect([machine.timerCount, runtime.isKeptAlive]).toEqual([1, false]);
    // Who has no such end is not looked at.
    expect(held().machine.timerCount).toBe(0);
  });

  test("[R3a] what a resume says of it: how long it was held, and the terms that a server may have to restore", async () => {
    const { world, lease } = held({ minHoldMs: 1_000, maxHoldMs: 60_000, metadata: { job: 1 } });
    await world.run(2_500);
    expect(lease.claim).toEqual({ heldMs: 2_500, minHoldMs: 1_000, maxHoldMs: 60_000, metadata: { job: 1 } });
    expect(held().lease.claim).toEqual({ heldMs: 0 });
  });
});

function thrownBy(run: () => void): Error {
  try {
    run();
  } catch (error) {
    return error as Error;
  }
  throw new Error("It did not throw.");
}
