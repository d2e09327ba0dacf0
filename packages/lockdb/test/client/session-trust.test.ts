import { describe, expect, test } from "vitest";
import { LockLostError } from "../../src/client/errors.js";
import type { HeldLease } from "../../src/client/lease.js";
import { type Stage, stage, terms } from "./script.js";
import { outcomeOf } from "./virtual.js";

const LEASE_MS = 10_000;
const TRUSTED_MS = 9_700;
const HOUR_MS = 3_600_000;

/** A client that holds "disk" since 0, granted at once. */
async function holding(other: Parameters<typeof terms>[1] = {}): Promise<Stage & { lease: HeldLease }> {
  const on = stage();
  const lease = await on.world.settled(on.session.acquire(terms("disk", other)));
  return { ...on, lease: lease as HeldLease };
}

describe("what a lease is counted from", () => {
  test("[L2k] the sending of the request that was answered, not the answer", async () => {
    const { world, session } = stage();
    world.latencyMs = () => 40;
    const lease = await world.settled(session.acquire(terms("disk")));
    // Two ways for the handshake, which is not counted; two for the request.
    expect(world.nowMs).toBe(160);
    expect(lease.remainingMs).toBe(TRUSTED_MS - 80);
  });

  test("[L2l] any answer counts as a renewal: to a check, to an acquire, a place in the queue", async () => {
    const { world, script, session, lease } = await holding();
    await world.run(2_000);
    const sentAtMs = world.nowMs;
    await world.settled(session.call(5_000, (id) => ["check", id, "x", 5_000]));
    expect(lease.remainingMs).toBe(TRUSTED_MS - (world.nowMs - sentAtMs));
    await world.run(2_000);
    const again = world.nowMs;
    await world.settled(session.acquire(terms("other")));
    expect(lease.remainingMs).toBe(TRUSTED_MS - (world.nowMs - again));
    await world.run(2_000);
    script.answer = ([kind, id]) => (kind === "acquire" ? [["queued", id, 1, 0]] : null);
    void outcomeOf(session.acquire(terms("busy")));
    await world.run(2);
    expect(lease.remainingMs).toBe(TRUSTED_MS - 2);
  });

  test("[L2m] a refusal renews nothing: one that could not be read never came to the session", async () => {
    const { world, script, session, lease } = await holding();
    script.answer = ([kind, id]) => (kind === "check" ? [["refused", id, "INVALID", "unreadable"]] : null);
    await world.run(2_000);
    const before = lease.remainingMs;
    await expect(world.settled(session.call(5_000, (id) => ["check", id, "x", 1]))).rejects.toMatchObject({
      code: "INVALID",
    });
    expect(lease.remainingMs).toBe(before - 2);
  });

  test("[L4a] a heartbeat goes out a third of the lease after the last renewal, and not while others renew", async () => {
    const { world, script, session } = await holding();
    await world.run(LEASE_MS / 3 - 10);
    expect(script.visit.of("heartbeat")).toHaveLength(0);
    await world.run(20);
    expect(script.visit.of("heartbeat")).toHaveLength(1);
    for (let at = 0; at < 10; at++) {
      await world.run(2_000);
      await world.settled(session.call(5_000, (id) => ["check", id, "x", 1]));
    }
    expect(script.visit.of("heartbeat")).toHaveLength(1);
    await world.run(10 * LEASE_MS);
    const beats = script.visit.of("heartbeat").length - 1;
    expect(beats).toBeGreaterThanOrEqual(28);
    expect(beats).toBeLessThanOrEqual(31);
  });

  test("[L4b] a healthy client is never at risk", async () => {
    const { world, lease } = await holding();
    let warnings = 0;
    lease.onAtRisk(() => warnings++);
    await world.run(HOUR_MS);
    lease.assertHeld();
    expect(lease.signal.aborted).toBe(false);
    expect(warnings).toBe(0);
  });
});

describe("when the server is silent", () => {
  /** Nothing arrives any more, and nobody says so. */
  async function cutOff(): Promise<Stage & { lease: HeldLease; renewedAtMs: number }> {
    const on = await holding();
    const sentAtMs = on.world.nowMs;
    await on.world.settled(on.session.call(5_000, (id) => ["check", id, "x", 1]));
    on.script.isDeaf = true;
    on.script.visit.line.lose();
    return { ...on, renewedAtMs: sentAtMs };
  }

  test("[L5i] the signal aborts at the client's own deadline, without a word from the network", async () => {
    const { world, lease, renewedAtMs } = await cutOff();
    const { signal } = lease;
    await world.run(renewedAtMs + TRUSTED_MS - world.nowMs - 1);
    expect(signal.aborted).toBe(false);
    expect(lease.remainingMs).toBe(1);
    lease.assertHeld();
    await world.run(1);
    expect(signal.aborted).toBe(true);
    expect(signal.reason).toBeInstanceOf(LockLostError);
    expect(() => lease.assertHeld()).toThrow(signal.reason);
  });

  test("[L6f] the warning comes once, at half the lease, before the loss", async () => {
    const { world, lease, renewedAtMs } = await cutOff();
    const told: [number, number][] = [];
    lease.onAtRisk((remainingMs) => told.push([world.nowMs - renewedAtMs, remainingMs]));
    await world.run(HOUR_MS);
    expect(told).toEqual([[LEASE_MS / 2, TRUSTED_MS - LEASE_MS / 2]]);
  });

  test("[L5j] a blocked event loop fires no timer, but assertHeld and remainingMs read the clocks", async () => {
    const { world, machine, lease } = await holding();
    machine.block();
    await world.run(TRUSTED_MS + 1);
    expect(lease.remainingMs).toBe(0);
    expect(() => lease.assertHeld()).toThrow(LockLostError);
  });

  test("[L5k] a heartbeat's answer that comes after the end brings nothing back", async () => {
    const { world, machine, script, lease } = await holding();
    script.mute.add("heartbeat");
    await world.run(LEASE_MS / 3 + 10);
    const [, id] = script.visit.of("heartbeat")[0]!;
    // The answer arrives in time, but the process does not run.
    machine.block();
    script.visit.say(["done", id, null]);
    await world.run(TRUSTED_MS);
    machine.wake(false);
    const { signal } = lease;
    await world.run(100);
    expect(signal.aborted).toBe(true);
    expect(lease.remainingMs).toBe(0);
  });

  test("[L5l] what was lost by our clock while the server lives is given back, so that others get it", async () => {
    const { world, machine, script, lease } = await holding();
    machine.jumpWall(HOUR_MS);
    await world.run(2_000);
    expect(lease.signal.aborted).toBe(true);
    expect(script.visit.of("abandon").map(([, , token]) => token)).toEqual([lease.token]);
    expect(script.visit.of("release")).toHaveLength(0);
  });

  test("[L5m] it is given back too when a look at the clock was what found the loss", async () => {
    const { world, machine, script, lease } = await holding();
    machine.jumpWall(HOUR_MS);
    expect(() => lease.assertHeld()).toThrow(LockLostError);
    expect(await lease.release()).toBe(false);
    await world.run(2_000);
    expect(script.visit.of("abandon").map(([, , token]) => token)).toEqual([lease.token]);
    expect(script.visit.of("release")).toHaveLength(0);
  });

  test("[L5n] after a loss by our clock the same session can lock again", async () => {
    const { world, machine, session, lease } = await holding();
    machine.jumpWall(HOUR_MS);
    await world.run(2_000);
    const next = await world.settled(session.acquire(terms("disk")));
    next.assertHeld();
    expect(next.token).toBeGreaterThan(lease.token);
    await world.run(60_000);
    next.assertHeld();
  });
});

describe("clocks that are set apart", () => {
  test("[L2n] a suspend longer than the lease loses it, though the monotonic clock stood still", async () => {
    const { world, machine, lease } = await holding();
    const { signal } = lease;
    machine.suspend();
    await world.run(60_000);
    machine.wake();
    expect(lease.remainingMs).toBe(0);
    expect(() => lease.assertHeld()).toThrow(LockLostError);
    await world.run(1_000);
    expect(signal.aborted).toBe(true);
  });

  test("[L2o] a short suspend loses nothing: the next heartbeat renews", async () => {
    const { world, machine, lease } = await holding();
    machine.suspend();
    await world.run(5_000);
    machine.wake();
    await world.run(60_000);
    lease.assertHeld();
  });

  test("[L2p] a wall clock that jumps forward loses the lease; one that jumps back loses nothing", async () => {
    const forward = await holding();
    forward.machine.jumpWall(TRUSTED_MS);
    expect(forward.lease.remainingMs).toBe(0);
    const back = await holding();
    const before = back.lease.remainingMs;
    back.machine.jumpWall(-HOUR_MS);
    expect(back.lease.remainingMs).toBe(before);
    await back.world.run(60_000);
    back.lease.assertHeld();
  });

  test("[L2q] a wall clock that is set a little is forgotten with the next renewal", async () => {
    const { world, machine, lease } = await holding();
    for (let at = 0; at < 20; at++) {
      machine.jumpWall(at % 2 === 0 ? 2_000 : -2_000);
      await world.run(5_000);
      lease.assertHeld();
    }
  });
});

describe("a grant that comes too late", () => {
  test("[L5o] is given back, never used, and asked for again", async () => {
    const { world, machine, script, session } = stage();
    script.mute.add("acquire");
    const outcome = outcomeOf(session.acquire(terms("disk")));
    await world.until(() => script.visits.length > 0 && script.visit.of("acquire").length === 1);
    // The grant waits in the socket while the machine is asleep for longer than the lease.
    const [, id] = script.visit.of("acquire")[0]!;
    machine.suspend();
    script.visit.say(["granted", id, 7]);
    await world.run(20_000);
    machine.wake();
    await world.until(() => script.visit.of("cancel").length === 1);
    // As if it had never been: a release would say that somebody has worked under it (Q11).
    expect(script.visit.of("cancel")).toEqual([["cancel", id, 7]]);
    expect(outcome.state).toBe("pending");
    const again = script.visit.of("acquire")[1]!;
    expect(again[1]).toBeGreaterThan(id);
    script.visit.say(["granted", again[1], 8]);
    await world.until(() => outcome.state === "resolved");
    expect(outcome.value!.token).toBe(8);
  });

  test("[L5p] with no time left to ask again it is a time-out, and the grant is given back", async () => {
    const { world, machine, script, session } = stage();
    script.mute.add("acquire");
    const outcome = outcomeOf(session.acquire(terms("disk", { waitMs: 0 })));
    await world.until(() => script.visits.length > 0 && script.visit.of("acquire").length === 1);
    machine.block();
    script.visit.say(["granted", script.visit.of("acquire")[0]![1], 7]);
    await world.run(TRUSTED_MS + 100);
    // What came first goes first: the grant, and not the timers that would end the connection.
    machine.wake(false);
    await world.until(() => outcome.state === "rejected");
    expect(outcome.error).toMatchObject({ code: "LOCK_TIMEOUT", retryable: true });
    await world.run(100);
    expect(script.visits.flatMap((visit) => visit.of("cancel")).map(([, , token]) => token)).toEqual([7]);
  });

  test("[L5q] a hold whose own time is shorter than the way of its grant does not spin", async () => {
    const { world, script, session } = stage();
    world.latencyMs = () => 60;
    const outcome = outcomeOf(session.acquire(terms("disk", { waitMs: 1_000, maxHoldMs: 250 })));
    await world.until(() => outcome.state === "rejected", 10_000);
    const asked = script.visit.of("acquire").length;
    expect(asked).toBeLessThanOrEqual(10);
    await world.run(1_000);
    expect(script.visit.of("cancel")).toHaveLength(asked);
  });

  test("[L5r] a grant is good however long its request waited: renewals while it waits count", async () => {
    const { world, script, session } = stage();
    script.answer = ([kind, id]) => (kind === "acquire" ? [["queued", id, 1, 3]] : null);
    const outcome = outcomeOf(session.acquire(terms("disk", { waitMs: HOUR_MS, maxHoldMs: 60_000 })));
    await world.run(HOUR_MS / 2);
    script.visit.say(["granted", script.visit.of("acquire")[0]![1], 7, { ticket: 1 }]);
    await world.until(() => outcome.state === "resolved");
    expect(outcome.value!.remainingMs).toBeGreaterThan(TRUSTED_MS - LEASE_MS / 3 - 100);
    expect(outcome.value!.ticket).toBe(1);
  });
});

describe("ends of their own", () => {
  test("[L7d] maxHold is counted by our own clock while heartbeats go on", async () => {
    const { world, lease } = await holding({ maxHoldMs: 60_000 });
    const { signal } = lease;
    await world.run(50_000);
    lease.assertHeld();
    await world.run(10_000);
    expect(signal.reason.message).toMatch(/longest hold/);
  });

  test("[L7e] maxHold counts from the first sending: a grant that was lost and told again may be old", async () => {
    const { world, script, session } = stage();
    script.mute.add("acquire");
    const outcome = outcomeOf(session.acquire(terms("disk", { maxHoldMs: 10_000 })));
    await world.until(() => script.visits.length > 0 && script.visit.of("acquire").length === 1);
    const sentAtMs = world.nowMs;
    await world.run(6_000);
    // The server granted it at once, but the answer is lost with the connection.
    script.answer = ([kind, id]) => (kind === "acquire" ? [["granted", id, 7]] : null);
    script.visit.line.cut();
    await world.until(() => outcome.state === "resolved");
    const lease = outcome.value!;
    expect(lease.remainingMs).toBeLessThanOrEqual(TRUSTED_MS - (world.nowMs - sentAtMs) + 2);
    expect(lease.remainingMs).toBeGreaterThan(3_000);
  });

  test("[L7f] the same holds for a detached hold, whose end nobody tells", async () => {
    const { world, script, session } = stage();
    script.mute.add("acquire");
    const outcome = outcomeOf(session.acquire(terms("disk", { detachedMs: 20_000 })));
    await world.until(() => script.visits.length > 0 && script.visit.of("acquire").length === 1);
    await world.run(12_000);
    script.answer = ([kind, id]) => (kind === "acquire" ? [["granted", id, 7]] : null);
    script.visit.line.cut();
    await world.until(() => outcome.state === "resolved");
    const { signal } = outcome.value!;
    await world.run(20_000 * 0.97 - 12_000);
    expect(signal.aborted).toBe(true);
  });

  test("[L7g] a request that is known to have waited again after a resume counts from there", async () => {
    const { world, script, session } = stage();
    const queue = (state: { grant: boolean }) => {
      script.answer = ([kind, id]) => {
        if (kind !== "acquire") return null;
        return state.grant ? [["granted", id, 7]] : [["queued", id, 1, 0]];
      };
    };
    queue({ grant: false });
    const outcome = outcomeOf(session.acquire(terms("disk", { waitMs: HOUR_MS, maxHoldMs: 10_000 })));
    await world.run(60_000);
    script.visit.line.cut();
    await world.until(() => script.visits.length === 2);
    await world.run(30_000);
    script.visit.say(["granted", script.visit.of("acquire")[0]![1], 7]);
    await world.until(() => outcome.state === "resolved");
    expect(outcome.value!.remainingMs).toBeGreaterThan(5_000);
  });

  test("[L7h] a request that waited long and was granted when the connection went is not old", async () => {
    const { world, script, session } = stage();
    script.answer = ([kind, id]) => (kind === "acquire" ? [["queued", id, 1, 0]] : null);
    const outcome = outcomeOf(session.acquire(terms("disk", { waitMs: HOUR_MS, detachedMs: 20_000 })));
    await world.run(60_000);
    script.answer = ([kind, id]) => (kind === "acquire" ? [["granted", id, 7]] : null);
    script.visit.line.cut();
    await world.until(() => outcome.state === "resolved");
    // The last heartbeat that was answered before the grant.
    expect(outcome.value!.remainingMs).toBeGreaterThan(20_000 * 0.97 - LEASE_MS / 3 - 100);
    expect(script.visit.of("release")).toHaveLength(0);
  });

  test("[L7i] nor is it young: it was granted before the connection was back, whatever has been answered since", async () => {
    const { world, script, session } = stage();
    script.mute.add("check");
    script.answer = ([kind, id]) => (kind === "acquire" ? [["queued", id, 1, 0]] : null);
    void outcomeOf(session.call(HOUR_MS, (id) => ["check", id, "x", 1]));
    const outcome = outcomeOf(session.acquire(terms("disk", { waitMs: HOUR_MS, detachedMs: 20_000 })));
    await world.run(5_000);
    world.endpoints.clear();
    script.visit.line.cut();
    await world.run(8_000);
    world.endpoints.set("http://one", script);
    // The check is answered first, and is a renewal.
    script.mute.clear();
    script.answer = ([kind, id]) => (kind === "acquire" ? [["granted", id, 7]] : null);
    await world.until(() => outcome.state === "resolved");
    expect(outcome.value!.remainingMs).toBeLessThan(20_000 * 0.97 - 8_000);
  });

  test("[L7j] a detached hold that an earlier session was granted is as old as that grant", async () => {
    const { world, script, session } = stage();
    script.mute.add("acquire");
    const outcome = outcomeOf(session.acquire(terms("disk", { detachedMs: 20_000 })));
    await world.run(12_000);
    script.mute.clear();
    script.visit.end("SESSION_ENDED");
    await world.until(() => outcome.state === "resolved");
    expect(outcome.value!.remainingMs).toBeLessThan(20_000 * 0.97 - 11_900);
  });

  test("[L7k] a session hold is not: what an earlier session was granted is over", async () => {
    const { world, script, session } = stage();
    script.mute.add("acquire");
    const outcome = outcomeOf(session.acquire(terms("disk", { maxHoldMs: 10_000 })));
    await world.run(12_000);
    script.mute.clear();
    script.visit.end("SESSION_ENDED");
    await world.until(() => outcome.state === "resolved");
    expect(outcome.value!.remainingMs).toBeGreaterThan(TRUSTED_MS - 100);
    expect(script.visit.of("release")).toHaveLength(0);
  });

  test("[L9b] a detached lease outlives its session, its connection and the server's silence", async () => {
    const { world, script, lease } = await holding({ detachedMs: 300_000 });
    script.visit.end("SESSION_ENDED");
    script.isDeaf = true;
    await world.run(200_000);
    lease.assertHeld();
    expect(lease.signal.aborted).toBe(false);
    expect(lease.remainingMs).toBeGreaterThan(80_000);
  });

  test("[N4b] a lease of 30 days and a wait of 40 days are kept, beyond a timer's limit", async () => {
    const DAY_MS = 86_400_000;
    const { world, machine, script, session } = stage();
    const lease = await world.settled(session.acquire(terms("disk", { detachedMs: 30 * DAY_MS })));
    // The client is sent away for good: only the lease's own clock runs from then on.
    script.refusal = { message: "down", code: "FORBIDDEN" };
    script.visit.line.cut();
    const { signal } = lease;
    await world.run(29 * DAY_MS);
    lease.assertHeld();
    expect(signal.aborted).toBe(false);
    machine.jumpWall(DAY_MS / 2);
    await world.run(60_000);
    expect(signal.aborted).toBe(true);
    expect(script.visits).toHaveLength(1);
    script.refusal = null;
    script.mute.add("acquire");
    const waiting = outcomeOf(session.acquire(terms("other", { waitMs: 40 * DAY_MS })));
    await world.run(10_000);
    expect(script.visit.of("acquire").at(-1)![3]).toBeGreaterThan(40 * DAY_MS - 1_000);
    expect(waiting.state).toBe("pending");
  });
});
