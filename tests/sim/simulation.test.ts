import { describe, expect, test } from "vitest";
import { type RunResult, simulate } from "../../sim/src/simulate.js";

const LONG_MS = 300_000;
/** `LOCKDB_SEED` begins elsewhere. */
const FIRST = Number(process.env.LOCKDB_SEED ?? 1);

/** Seeds that find planted bugs are pinned in tests/mutants. */
describe("the simulator", () => {
  test(
    "[Q1s] under faults of all kinds no two clients believe to hold one lock, and no other promise is broken",
    async ({ signal }) => {
      await clean(signal, 500, 2_000);
    },
    LONG_MS,
  );

  test(
    "[R4s] long lives with many crashes keep every promise",
    async ({ signal }) => {
      await clean(signal, 8, 20_000, 100_000);
    },
    LONG_MS,
  );

  test(
    "[F1s] with clocks further apart than leases allow, a register that checks tokens loses no update",
    async ({ signal }) => {
      await clean(signal, 25, 3_000, 200_000, true);
    },
    LONG_MS,
  );

  test(
    "[L1s] equal seeds have equal runs",
    async () => {
      const [first, second] = [
        await simulate({ seed: 5, steps: 3_000 }),
        await simulate({ seed: 5, steps: 3_000 }),
      ];
      expect(second.digest).toBe(first.digest);
      expect(second.steps).toBe(first.steps);
    },
    LONG_MS,
  );
});

async function clean(
  signal: AbortSignal,
  seeds: number,
  steps: number,
  offset = 0,
  wildClocks = false,
): Promise<void> {
  let [grants, unjudged] = [0, 0];
  for (let seed = FIRST + offset; seed < FIRST + offset + seeds; seed++) {
    // One that has run out of time would disturb the next: a run has this process to itself.
    signal.throwIfAborted();
    const result = await simulate({ seed, steps, wildClocks });
    expectClean(result);
    grants += result.grants;
    unjudged += result.unjudged;
  }
  expect(unjudged).toBe(0);
  // A run in which nothing happens proves nothing.
  expect(grants).toBeGreaterThan(seeds * 10);
}

function expectClean({ seed, violations, story }: RunResult): void {
  const told = violations.map(({ rule, text }) => `[${rule}] ${text}`);
  expect(told, `LOCKDB_SEED=${seed}\n${story.join("\n")}\n`).toEqual([]);
}
