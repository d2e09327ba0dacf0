import { describe, expect, test } from "vitest";
import { elapsedMs, laterOf, now, SessionTrust, trustedMs } from "../../src/client/trust.js";
import { Machine, VirtualRuntime, World } from "./virtual.js";

const LEASE_MS = 10_000;
const TRUSTED_MS = 9_700;

/** A trust that writes down what it says, and when. */
function watched(leaseMs = LEASE_MS) {
  const world = new World();
  const machine = new Machine(world, "ann");
  const runtime = new VirtualRuntime(machine);
  const said: string[] = [];
  const trust = new SessionTrust(runtime, leaseMs, {
    atRisk: (remainingMs) => said.push(`${world.nowMs} at risk, ${remainingMs} left`),
    over: () => said.push(`${world.nowMs} over`),
  });
  return { world, machine, runtime, trust, said };
}

describe("how long a lease is trusted", () => {
  test("[L2a] a span is trusted for 99 % of it less 200 ms, or less 2 % where that is more", () => {
    expect(trustedMs(1_000)).toBe(790);
    expect(trustedMs(10_000)).toBe(9_700);
    expect(trustedMs(60_000)).toBeCloseTo(60_000 * 0.97, 6);
    expect(trustedMs(3_600_000)).toBeCloseTo(3_600_000 * 0.97, 6);
  });

  test("[L2b] the trusted part ends before the server's lease while clock rates differ by at most 2 %", () => {
    for (const leaseMs of [1_000, 5_000, 10_000, 60_000, 3_600_000]) {
      // The client's clock runs 2 % slow against the server's.
      expect(trustedMs(leaseMs) / 0.98).toBeLessThan(leaseMs);
    }
  });

  test("[L2c] the time passed is the longer of what the two clocks say", () => {
    const since = { monotonicMs: 100, wallMs: 5_000 };
    expect(elapsedMs(since, { monotonicMs: 130, wallMs: 5_010 })).toBe(30);
    expect(elapsedMs(since, { monotonicMs: 110, wallMs: 5_040 })).toBe(40);
    expect(elapsedMs(since, { monotonicMs: 110, wallMs: 1_000 })).toBe(10);
  });

  test("[L2d] of two moments the later is told by the clock that cannot be set", () => {
    const early = { monotonicMs: 1, wallMs: 9_000 };
    const late = { monotonicMs: 2, wallMs: 1_000 };
    expect(laterOf(early, late)).toBe(late);
    expect(laterOf(late, early)).toBe(late);
  });
});

describe("the session's trust", () => {
  test("[L2e] nothing is trusted before the first renewal", () => {
    const { trust } = watched();
    expect(trust.remainingMs).toBe(Number.NEGATIVE_INFINITY);
    expect(trust.ageMs).toBe(Number.POSITIVE_INFINITY);
  });

  test("[L5a] trust that is not renewed is over at its own end, to the millisecond, and says so once", async () => {
    const { world, runtime, trust, said } = watched();
    trust.renew(now(runtime));
    await world.run(60_000);
    expect(said.at(-1)).toBe(`${TRUSTED_MS} over`);
    expect(said.filter((line) => line.endsWith("over"))).toHaveLength(1);
  });

  test("[L6a] half of the lease without renewal is a warning: once, with what is left, before the loss", async () => {
    const { world, runtime, trust, said } = watched();
    trust.renew(now(runtime));
    await world.run(60_000);
    expect(said).toEqual([`5000 at risk, ${TRUSTED_MS - 5_000} left`, `${TRUSTED_MS} over`]);
  });

  test("[L6b] after a renewal the next half lease without one is a warning again", async () => {
    const { world, runtime, trust, said } = watched();
    trust.renew(now(runtime));
    await world.run(6_000);
    trust.renew(now(runtime));
    await world.run(5_500);
    expect(said.map((line) => line.split(",")[0])).toEqual(["5000 at risk", "11000 at risk"]);
  });

  test("[L6c] renewals at a third of the lease give neither warning nor loss", async () => {
    const { world, runtime, trust, said } = watched();
    for (let at = 0; at < 30; at++) {
      trust.renew(now(runtime));
      await world.run(LEASE_MS / 3);
    }
    expect(said).toEqual([]);
  });

  test("[L5b] a renewal that was sent before the end but is told after it revives nothing", async () => {
    const { world, machine, runtime, trust, said } = watched();
    trust.renew(now(runtime));
    await world.run(4_000);
    const sentAt = now(runtime);
    // No timer can fire: the event loop stands still while the end passes.
    machine.block();
    await world.run(6_000);
    expect(said).toEqual([]);
    trust.renew(sentAt);
    expect(said).toEqual(["10000 over"]);
  });

  test("[L2f] an older renewal does not shorten trust", async () => {
    const { world, runtime, trust } = watched();
    const older = now(runtime);
    await world.run(2_000);
    trust.renew(now(runtime));
    trust.renew(older);
    expect(trust.remainingMs).toBe(TRUSTED_MS);
  });

  test("[L2g] time in suspend counts, though the monotonic clock stood still", async () => {
    const { world, machine, runtime, trust, said } = watched();
    trust.renew(now(runtime));
    await world.run(1_000);
    machine.suspend();
    await world.run(20_000);
    machine.wake();
    expect(trust.remainingMs).toBe(TRUSTED_MS - 21_000);
    await world.run(1_000);
    expect(said.map((line) => line.split(" ")[1])).toEqual(["over"]);
  });

  test("[L2h] a wall clock that jumps forward past the end ends trust within a second", async () => {
    const { world, machine, runtime, trust, said } = watched();
    trust.renew(now(runtime));
    await world.run(100);
    machine.jumpWall(3_600_000);
    expect(trust.remainingMs).toBeLessThan(0);
    await world.run(1_000);
    expect(said.map((line) => line.split(" ")[1])).toEqual(["over"]);
  });

  test("[L2i] a wall clock that jumps back changes nothing", async () => {
    const { world, machine, runtime, trust, said } = watched();
    trust.renew(now(runtime));
    await world.run(100);
    machine.jumpWall(-3_600_000);
    expect(trust.remainingMs).toBe(TRUSTED_MS - 100);
    await world.run(60_000);
    expect(said.at(-1)).toBe(`${TRUSTED_MS} over`);
  });

  test("[L6d] a warning that throws does not keep the loss from coming", async () => {
    const world = new World();
    const runtime = new VirtualRuntime(new Machine(world, "ann"));
    let isOver = false;
    const trust = new SessionTrust(runtime, LEASE_MS, {
      atRisk: () => {
        throw new Error("a listener's mistake");
      },
      over: () => {
        isOver = true;
      },
    });
    trust.renew(now(runtime));
    await expect(world.run(6_000)).rejects.toThrow("a listener's mistake");
    await world.run(6_000);
    expect(isOver).toBe(true);
  });

  test("[L5c] a new session begins without trust, and the old one's end is not told any more", async () => {
    const { world, runtime, trust, said } = watched();
    trust.renew(now(runtime));
    trust.reset();
    expect(trust.remainingMs).toBeLessThan(0);
    await world.run(60_000);
    expect(said).toEqual([]);
  });

  test("[L5id] a new session is not trusted, nor watched, before it is renewed itself", async () => {
    const { world, machine, runtime, trust, said } = watched();
    trust.renew(now(runtime));
    trust.reset();
    expect({ timers: machine.timerCount, at: trust.renewedAt }).toEqual({ timers: 0, at: null });
    await world.run(20_000);
    expect(said).toEqual([]);
    trust.renew(now(runtime));
    await world.run(10_000);
    expect(said).toHaveLength(2);
    // It was over; what is renewed after that is watched as it was.
    trust.renew(now(runtime));
    await world.run(10_000);
    expect(said).toHaveLength(4);
  });
});
