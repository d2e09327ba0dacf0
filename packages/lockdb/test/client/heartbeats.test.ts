import { expect, test } from "vitest";
import { Heartbeats } from "../../src/client/heartbeats.js";
import type { AcquireRequest } from "../../src/client/request.js";
import { Machine, VirtualRuntime, World } from "./virtual.js";

/** Heartbeats of a lease of nine seconds, renewed by hand; they write down when they were sent, and that they failed. */
function beating({ answers = true } = {}) {
  const world = new World();
  const machine = new Machine(world, "ann");
  const pending = new Set<AcquireRequest>();
  const on = { renewedMs: 0, said: [] as (number | string)[], answer: null as (() => void) | null };
  const beats = new Heartbeats(new VirtualRuntime(machine), 9_000, {
    ageMs: () => world.nowMs - on.renewedMs,
    isPending: (request) => pending.has(request),
    send: (answered) => {
      on.said.push(world.nowMs);
      on.answer = answered;
      if (!answers) return;
      on.renewedMs = world.nowMs;
      answered();
    },
    failed: () => on.said.push(`failed at ${world.nowMs}`),
  });
  const waits = (beatMs: number) => {
    const request = { beatMs } as AcquireRequest;
    pending.add(request);
    return request;
  };
  return { world, machine, beats, on, pending, waits };
}

test("[L4ic] one is sent whenever the last renewal is a third of the lease old, whatever it was", async () => {
  const { world, beats, on } = beating();
  await world.run(500);
  beats.start();
  await world.run(5_600);
  expect(on.said).toEqual([3_000, 6_000]);
  on.renewedMs = 8_000;
  await world.run(5_000);
  expect(on.said).toEqual([3_000, 6_000, 11_000]);
  beats.stop();
  await world.run(20_000);
  expect(on.said).toHaveLength(3);
});

test("[L4id] one that is not answered within a third of the lease is a failure, told once; another start begins anew", async () => {
  const { world, machine, beats, on } = beating({ answers: false });
  beats.start();
  await world.run(5_999);
  expect(on.said).toEqual([3_000]);
  await world.run(10_000);
  expect(on.said).toEqual([3_000, "failed at 6000"]);
  expect(machine.timerCount).toBe(0);
  beats.stop();
  on.renewedMs = world.nowMs;
  beats.start();
  const beganMs = world.nowMs;
  await world.run(3_100);
  expect(on.said[2]).toBe(beganMs + 3_000);
  on.answer?.();
  on.renewedMs = world.nowMs;
  await world.run(3_100);
  expect(on.said).toHaveLength(4);
});

test("[L5if] while a request waits for a short hold they are so much more often, and no longer than it waits", async () => {
  const { world, machine, beats, on, pending, waits } = beating();
  const short = waits(500);
  // Not on a connection yet: it is minded when they begin.
  beats.mind(short);
  expect(machine.timerCount).toBe(0);
  beats.start();
  beats.mind(short);
  beats.mind(waits(3_000));
  await world.run(1_600);
  expect(on.said).toEqual([500, 1_000, 1_500]);
  pending.delete(short);
  await world.run(3_500);
  expect(on.said).toEqual([500, 1_000, 1_500, 4_500]);
  beats.mind(waits(1_000));
  await world.run(1_000);
  expect(on.said.at(-1)).toBe(5_500);
});

test("[L5ig] patience is a third of the lease, too, when they are more often", async () => {
  const { world, beats, on, waits } = beating({ answers: false });
  beats.mind(waits(700));
  beats.start();
  await world.run(20_000);
  expect(on.said).toEqual([700, "failed at 3700"]);
});
