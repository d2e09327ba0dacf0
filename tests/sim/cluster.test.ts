import { expect, test } from "vitest";
import { simulateCluster } from "../../sim/src/cluster/simulate-cluster.js";

const LONG_MS = 300_000;
const SEEDS = 8;
/** `LOCKDB_SEED` begins elsewhere. */
const FIRST = Number(process.env.LOCKDB_SEED ?? 1);

test(
  "[R7s] members that crash, stand still, leave and come, over an etcd that does all wrong that it may, break no promise",
  async () => {
    const sums = { grants: 0, takeovers: 0, handOvers: 0, keyChecks: 0 };
    for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
      const {
        violations,
        story,
        grants,
        takeovers = 0,
        handOvers = 0,
        keyChecks = 0,
      } = await simulateCluster({ seed, steps: 2_000 });
      const told = violations.map(({ rule, text }) => `[${rule}] ${text}`);
      expect(told, `LOCKDB_SEED=${seed}, of a cluster\n${story.join("\n")}\n`).toEqual([]);
      sums.grants += grants;
      sums.takeovers += takeovers;
      sums.handOvers += handOvers;
      sums.keyChecks += keyChecks;
    }
    // A run in which nothing happens proves nothing.
    expect(sums.grants).toBeGreaterThan(SEEDS * 5);
    expect(sums.keyChecks).toBeGreaterThan(SEEDS * 5);
    expect(sums.takeovers).toBeGreaterThan(SEEDS * 10);
    expect(sums.handOvers).toBeGreaterThan(SEEDS * 10);
  },
  LONG_MS,
);

test(
  "[L1sq] equal seeds have equal runs of a cluster",
  async () => {
    const [first, second] = [
      await simulateCluster({ seed: 3, steps: 1_000 }),
      await simulateCluster({ seed: 3, steps: 1_000 }),
    ];
    expect(second.digest).toBe(first.digest);
    expect(second.steps).toBe(first.steps);
  },
  LONG_MS,
);
