import { expect, test } from "vitest";
import { BorrowedHold, type BorrowedTime } from "../../src/client/borrowed-hold.js";
import type { LockLostError } from "../../src/client/errors.js";
import { now } from "../../src/client/trust.js";
import { Machine, VirtualRuntime, World } from "./virtual.js";

/** A hold of somebody else that lasts for `expiresInMs`, and answers as it is told. */
function borrowed(expiresInMs: number, leaseMs = 10_000) {
  const world = new World();
  const runtime = new VirtualRuntime(new Machine(world, "ann"));
  const on = {
    world,
    looks: 0,
    answer: async (): Promise<BorrowedTime | null> => ({ expiresInMs, since: now(runtime) }),
    over: null as LockLostError | null,
  };
  const look = () => {
    on.looks++;
    return on.answer();
  };
  const hold = new BorrowedHold(
    runtime,
    7,
    'The lock "disk"',
    { expiresInMs, since: now(runtime) },
    leaseMs,
    look,
  );
  hold.onOver((why) => {
    on.over = why;
  });
  return { ...on, on, hold };
}

test("[D3q] it is looked after at a third of its time, or of the lease if that is shorter", async () => {
  const { on, world, hold } = borrowed(3_600_000, 3_000);
  await world.run(10_000);
  expect(on.looks).toBeGreaterThanOrEqual(9);
  expect(hold.remainingMs).toBeLessThan(3_000);
  on.answer = async () => null;
  await world.run(1_100);
  expect(on.over).toMatchObject({ code: "LOCK_LOST" });
  expect(() => hold.assertNotLost()).toThrow(/released or lost it/);
  const { looks } = on;
  await world.run(10_000);
  expect(on.looks).toBe(looks);
});

test("[D3r] answers that stay away are no trust beyond the last one", async () => {
  const { on, world, hold } = borrowed(3_000);
  let warned = 0;
  hold.onAtRisk(() => warned++);
  on.answer = () => Promise.reject(new Error("no answer"));
  await world.run(1_400);
  expect({ over: on.over, warned }).toEqual({ over: null, warned: 0 });
  await world.run(1_500);
  expect(on.over).toMatchObject({ code: "LOCK_LOST" });
  expect(warned).toBe(1);
  expect(hold.remainingMs).toBe(0);
});

test("[D3s] when nobody is inside any more, nobody looks, and nothing is lost", async () => {
  const { on, world, hold } = borrowed(3_000);
  let answer: (time: BorrowedTime | null) => void = () => {};
  on.answer = () => new Promise((resolve) => (answer = resolve));
  await world.run(1_100);
  expect(on.looks).toBe(1);
  hold.left();
  answer(null);
  await world.run(60_000);
  expect({ looks: on.looks, over: on.over }).toEqual({ looks: 1, over: null });
});

test("[D3il] it is trusted from when it was asked for, in whole milliseconds, and less when less is left of it", async () => {
  const { on, world, hold } = borrowed(3_000);
  expect(hold.remainingMs).toBe(2_770);
  await world.run(0.5);
  expect(hold.remainingMs).toBe(2_769);
  // Of what is left the answer says less than it was trusted for: so much of it is over.
  const { answer } = on;
  on.answer = async () => ({ ...(await answer())!, expiresInMs: 2_000 });
  await world.run(1_000);
  expect(hold.remainingMs).toBeLessThanOrEqual(1_770);
  expect(hold.remainingMs).toBeGreaterThan(1_700);
  await world.run(1_000);
  on.answer = async () => ({ ...(await answer())!, expiresInMs: 60_000 });
  await world.run(1_000);
  expect(hold.remainingMs).toBeLessThanOrEqual(2_770);
  hold.assertNotLost();
});

test("[D3im] who comes to be inside when it is over hears so at once, and who has gone hears nothing", async () => {
  const { on, world, hold } = borrowed(3_000);
  on.answer = () => Promise.reject(new Error("no answer"));
  const heard: LockLostError[] = [];
  hold.onOver((why) => heard.push(why))();
  await world.run(4_000);
  expect(heard).toEqual([]);
  hold.onOver((why) => heard.push(why));
  expect(heard).toHaveLength(1);
  expect(heard[0]?.message).toMatch(/"disk" \(token 7, .*nothing was heard/);
});
