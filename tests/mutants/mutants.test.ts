import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { simulateCluster } from "../../sim/src/cluster/simulate-cluster.js";
import { simulate } from "../../sim/src/simulate.js";
import { isSeed, MUTANTS, page, problemsOf, type SeedKiller } from "./mutants.js";

const LONG_MS = 300_000;
const SEEDS_MIN = 25;
const ROWS_MIN = 40;

const read = (file: string) => readFileSync(fileURLToPath(new URL(`../../${file}`, import.meta.url)), "utf8");
const killers = MUTANTS.map(({ killedBy }) => killedBy);

describe("planted bugs", () => {
  test("[M5a] each text occurs exactly once in its file, and one line of it changes", () => {
    expect(problemsOf(read)).toEqual([]);
  });

  test("[M5b] they are many, and the simulator finds most of them", () => {
    expect(MUTANTS.length).toBeGreaterThanOrEqual(ROWS_MIN);
    expect(killers.filter(isSeed).length).toBeGreaterThanOrEqual(SEEDS_MIN);
  });

  test("[M5c] each breaks a rule, and each test that has to find one exists", () => {
    const rules = new Set(
      [...read("SPEC.md").matchAll(/^- ([A-Z]\d+) (?!\(planned)/gm)].map(([, rule]) => rule),
    );
    expect(MUTANTS.filter(({ rule }) => !rules.has(rule)).map(({ id }) => id)).toEqual([]);
    const missing = killers.filter(
      (killer) => !isSeed(killer) && !new RegExp(`["\`]${escaped(killer.name)} `).test(read(killer.test)),
    );
    expect(missing).toEqual([]);
  });

  test("[M5d] docs/mutants.md is the list: `node tests/mutants/run.js --table > docs/mutants.md`", () => {
    expect(read("docs/mutants.md")).toBe(page());
  });

  test.each(seeds())(
    "[M5e] seed $seed finds nothing in the healthy code: $steps steps, wild clocks: $wild, of a cluster: $cluster",
    async ({ seed, steps, wild, cluster }) => {
      const run = cluster ? simulateCluster : simulate;
      const { violations, story } = await run({ seed, steps, wildClocks: wild });
      const told = violations.map(({ rule, text }) => `[${rule}] ${text}`);
      expect(told, `LOCKDB_SEED=${seed}\n${story.join("\n")}\n`).toEqual([]);
    },
    LONG_MS,
  );
});

function seeds(): readonly Required<SeedKiller>[] {
  const found = new Map(
    killers
      .filter(isSeed)
      .map((killer) => [JSON.stringify(killer), { wild: false, cluster: false, ...killer }] as const),
  );
  return [...found.values()].sort((a, b) => a.steps - b.steps || a.seed - b.seed);
}

function escaped(name: string): string {
  return name.replace(/[[\]]/g, "\\$&");
}
