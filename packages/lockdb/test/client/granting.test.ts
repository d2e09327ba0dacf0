import { describe, expect, test } from "vitest";
import { LockLostError, LockTimeoutError } from "../../src/client/errors.js";
import { granted } from "../../src/client/granting.js";
import type { HeldLease, OwnLease } from "../../src/client/lease.js";
import { watchMs } from "../../src/client/trust.js";
import { stage, terms } from "./script.js";
import { outcomeOf } from "./virtual.js";

const PLACE = { service: "reports", servers: "http://one" };

/** A request inside of a hold that another client has, which the server grants again. */
async function insideOfAnother(expiresInMs: number | undefined = 3_000, isSaid = true) {
  const on = stage();
  const held = { token: 3, state: "held", expiresInMs };
  const info = { holders: [{ token: 2, state: "held", expiresInMs: 60_000 }, held], recovering: false };
  const answer = { info: info as object };
  on.script.answer = ([kind, id]) => {
    if (kind === "acquire")
      return [["granted", id, 3, { reentrant: true, ...(isSaid ? { expiresInMs } : {}) }]];
    return kind === "inspect" ? [["done", id, answer.info as never]] : null;
  };
  const enclosing = [{ ...PLACE, token: 3, lease: null }];
  const asked = outcomeOf(on.session.acquire(terms("disk", { enclosing, reentrant: true })));
  await on.world.run(20);
  return { ...on, answer, info, held, asked, inner: asked.value as OwnLease };
}

describe("a grant inside of another client's hold", () => {
  test("[D3if] is trusted for what the server says is left of it, and looked after by its token", async () => {
    const { world, script, inner, answer, info, held } = await insideOfAnother();
    expect(inner.token).toBe(3);
    expect(inner.remainingMs).toBeLessThan(3_000 * 0.99 - 200);
    expect(inner.remainingMs).toBeGreaterThan(2_700);
    await world.run(10_000);
    expect(inner.isHeld).toBe(true);
    expect(script.visit.of("inspect").length).toBeGreaterThanOrEqual(9);
    answer.info = { ...info, holders: [{ ...held, state: "closed" }] };
    await world.run(1_100);
    expect(inner.signal.reason).toMatchObject({ code: "LOCK_LOST" });
  });

  test("[D3ig] a server that recovers does not know yet: that it names nobody is no loss", async () => {
    const { world, inner, answer } = await insideOfAnother();
    answer.info = { holders: [], recovering: true };
    await world.run(2_000);
    expect(inner.isHeld).toBe(true);
    await world.run(1_000);
    expect(inner.signal.reason).toMatchObject({ message: expect.stringMatching(/nothing was heard/) });
  });

  test("[D3ih] one that is over in a moment is not used, and nobody looks after it", async () => {
    for (const [expiresInMs, isSaid] of [
      [0, true],
      [100, true],
      [60_000, false],
    ] as const) {
      const { world, script, machine, asked } = await insideOfAnother(expiresInMs, isSaid);
      expect(asked.error).toBeInstanceOf(LockTimeoutError);
      const timers = machine.timerCount;
      await world.run(1_000);
      expect(script.visit.of("inspect")).toEqual([]);
      expect(machine.timerCount).toBeLessThanOrEqual(timers);
    }
  });
});

describe("a grant that came too late", () => {
  test("[L5ib] is given back, and asked for again in what is left of its time", async () => {
    const { world, script, session } = stage();
    script.mute.add("acquire");
    const asked = outcomeOf(session.acquire(terms("disk", { maxHoldMs: 1_000, waitMs: 10_000 })));
    await world.run(900);
    script.mute.delete("acquire");
    const [, id] = script.visit.of("acquire")[0]!;
    script.visit.say(["granted", id, 40]);
    await world.run(100);
    expect(script.visit.of("cancel")).toContainEqual(["cancel", id, 40]);
    expect((asked.value as HeldLease).token).not.toBe(40);
    expect(script.visit.of("acquire")[1]?.[3]).toBeLessThan(9_200);
    void (asked.value as HeldLease).release();
    // What was not used does not come to an end of its own, of which the next connection would tell.
    await world.run(1_500);
    script.visit.line.cut();
    await world.run(2_000);
    expect(script.visits).toHaveLength(2);
    expect(script.visit.of("hold")).toEqual([]);
  });

  test("[L5id] is told by the time at which it was heard, and not by that of a grant before it", async () => {
    const { world, machine, script, session } = stage();
    const asking = (name: string) => outcomeOf(session.acquire(terms(name, { waitMs: 0 })));
    const first = asking("first");
    await world.run(100);
    script.mute.add("acquire");
    const others = ["second", "third"].map(asking);
    await world.run(100);
    const [second, third] = script.visit.of("acquire").slice(1);
    // A listener that takes a minute, by one of the two clocks.
    first.value!.signal.addEventListener("abort", () => machine.jumpWall(60_000));
    script.visit.say(
      ["granted", second![1], 41],
      ["lost", first.value!.token, "force"],
      ["granted", third![1], 42],
    );
    await world.run(100);
    expect(others.map(({ state }) => state)).toEqual(["resolved", "rejected"]);
    expect(script.visit.of("cancel")).toEqual([["cancel", third![1], 42]]);
  });

  test("[L5ie] so is one of a later frame", async () => {
    const { world, machine, script, session } = stage();
    // Not the first of all: that one's frame has the welcome in it.
    for (const name of ["first", "second"]) {
      void session.acquire(terms(name));
      await world.run(100);
    }
    script.mute.add("acquire");
    const third = outcomeOf(session.acquire(terms("third", { waitMs: 0, maxHoldMs: 1_000 })));
    await world.run(100);
    machine.jumpWall(5_000);
    script.visit.say(["granted", script.visit.of("acquire")[2]![1], 41]);
    await world.run(100);
    expect(third.state).toBe("rejected");
  });

  test("[L5if] so is one behind an answer that finds the session's time over, and has listeners told", async () => {
    const { world, machine, script, session } = stage();
    const asking = (name: string) => outcomeOf(session.acquire(terms(name, { waitMs: 60_000 })));
    const first = asking("first");
    await world.run(100);
    script.mute.add("acquire").add("heartbeat");
    for (const name of ["second", "beside"]) asking(name);
    await world.run(50);
    const idOf = (name: string) => script.visit.of("acquire").find((message) => message[2] === name)![1];
    script.visit.say(["granted", idOf("beside"), 40]);
    await world.run(3_000);
    const third = asking("third");
    await world.run(50);
    // So long that what the second can renew is over, and what the third can is not.
    machine.block();
    script.visit.say(["granted", idOf("second"), 41], ["granted", idOf("third"), 42]);
    await world.run(7_300);
    first.value!.signal.addEventListener("abort", () => machine.jumpWall(60_000));
    machine.wake(false);
    await world.run(0);
    expect(first.value!.signal.aborted).toBe(true);
    expect(third.state).toBe("pending");
  });

  test("[L5ig] is asked for again for what is left of its time, also in a turn that began long before", async () => {
    const { world, script, session } = stage({ leaseMs: 60_000 });
    const first = outcomeOf(session.acquire(terms("first")));
    await world.run(100);
    script.mute.add("acquire");
    void session.acquire(terms("late", { waitMs: 14_000, maxHoldMs: 8_000 }));
    await world.run(50);
    first.value!.signal.addEventListener("abort", () => {
      void session.acquire(terms("other", { waitMs: 90_000 }));
      world.nowMs += 8_000;
    });
    const [, id] = script.visit.of("acquire")[1]!;
    script.visit.say(["lost", first.value!.token, "force"], ["granted", id, 41]);
    await world.run(8_100);
    const [, again] = script.visit.of("acquire").filter((message) => message[2] === "late");
    expect(again![3]).toBeLessThan(6_000);
  });

  test("[L5ic] is no grant when its time is over, too", async () => {
    const { world, script, session } = stage();
    script.mute.add("acquire");
    const asked = outcomeOf(session.acquire(terms("disk", { maxHoldMs: 1_000, waitMs: 500 })));
    await world.run(900);
    const [, id] = script.visit.of("acquire")[0]!;
    script.visit.say(["granted", id, 40]);
    await world.run(100);
    expect(asked.error).toMatchObject({ message: expect.stringMatching(/granted too late/) });
    expect(script.visit.of("acquire")).toHaveLength(1);
  });

  test("[D3ij] a hold around it that is over by this machine's clocks is a loss; of two the one with its token counts", () => {
    const said: unknown[] = [];
    const lease = (isOurs: boolean, remainingMs: number) =>
      ({ isKeptBy: () => isOurs, remainingMs, token: 3, onOver: () => () => {} }) as never;
    const request = (enclosing: readonly unknown[]) =>
      ({
        terms: { names: "disk", enclosing },
        resolve: (inner: OwnLease) => said.push(inner.remainingMs),
        reject: (reason: unknown) => said.push(reason),
      }) as never;
    const grant = ["granted", 1, 3, { reentrant: true }] as const;
    const hold = (token: number, own: unknown) => ({ ...PLACE, token, lease: own });
    granted(
      {} as never,
      request([hold(3, null), hold(4, lease(true, 9)), hold(3, lease(true, 500))]),
      grant as never,
    );
    granted({} as never, request([hold(3, lease(true, 0))]), grant as never);
    expect(said).toEqual([500, expect.any(LockLostError)]);
  });
});

test("[L2id] what ends is looked at when it is due, in steps that a suspend cannot make long", () => {
  const steps = [-5, 0, 0.2, 500.2, 1_000, 1_500, 99_000, 200_000, 6_000_000, 60_000_000];
  expect(steps.map(watchMs)).toEqual([1, 1, 1, 501, 1_000, 1_000, 1_000, 2_000, 60_000, 60_000]);
});
