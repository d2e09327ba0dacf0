import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { NAMES, Play, type Step } from "./model-play.js";
import type { NaiveMode, NaiveWant } from "./naive.js";

/** `LOCKDB_SEED` tries others than those that are tried each time. */
const SEED = Number(process.env.LOCKDB_SEED ?? 1);
/** So many of the runs: of each mutant of `npm run score` only a few are tried. */
const SHARE = Number(process.env.LOCKDB_MODEL_SHARE ?? 1);

const ORDINARY: readonly NaiveMode[] = ["exclusive", "shared", "shared"];
const THREE: readonly NaiveMode[] = [1, 1, 2, 3].map((weight) => [weight, 3]);
const TWO: readonly NaiveMode[] = [1, 1, 2].map((weight) => [weight, 2]);
const MIXED: Modes = { a: ORDINARY, b: ORDINARY, c: THREE, d: TWO };

// Ten thousand runs in all. They take seconds, but not on a machine that has other things to do.
describe("the engine and a naive model agree", { timeout: 120_000 }, () => {
  test("[Q2m] on exclusive locks", () =>
    agree(1_000, { modes: { a: ["exclusive"], b: ["exclusive"] } }, ["queued"]));

  test("[Q4m] on shared and exclusive locks", () =>
    agree(1_500, { modes: { a: ORDINARY, b: ORDINARY } }, ["queued"]));

  test("[Q4n] on semaphores", () =>
    agree(1_500, { modes: { a: THREE, b: TWO } }, ["refused PERMITS_MISMATCH"]));

  test("[Q5m] on sets of any modes", () =>
    agree(2_500, { modes: MIXED, namesMax: 4 }, ["refused PERMITS_MISMATCH"]));

  test("[D2m] on who waits for himself", () =>
    agree(2_500, { modes: MIXED, namesMax: 2, inside: ["none", "newest", "all", "all", "other"], asks: 30 }, [
      "refused DEADLOCK",
    ]));

  test("[D3m] on who asks again for what he has", () =>
    agree(1_000, { modes: MIXED, namesMax: 2, inside: ["newest", "all", "other"], reentrant: true }, [
      "granted again as",
    ]));
});

type Modes = { readonly [name in (typeof NAMES)[number]]?: readonly NaiveMode[] };

interface World {
  readonly modes: Modes;
  readonly namesMax?: number;
  readonly inside?: readonly Extract<Step, { do: "acquire" }>["inside"][];
  readonly reentrant?: boolean;
  /** How many of the steps are requests, beside 15 others. */
  readonly asks?: number;
}

/** @param seen what must have been answered, or the test has not tried what it is for */
function agree(runs: number, world: World, seen: readonly string[]): void {
  const numRuns = Math.ceil(runs * SHARE);
  const tally = new Map<string, number>();
  const steps = fc.array(stepOf(world), { minLength: 1, maxLength: 30, size: "max" });
  fc.assert(
    fc.property(steps, (steps) => {
      const play = new Play(tally);
      for (const step of steps) play.step(step);
      play.letGo();
    }),
    { seed: SEED, numRuns },
  );
  // Of few runs it is not sure.
  if (SHARE < 1) return;
  for (const answer of seen) expect(tally.get(answer), answer).toBeGreaterThan(numRuns / 5);
}

function stepOf({
  modes,
  namesMax = 1,
  inside = ["none"],
  reentrant = false,
  asks = 12,
}: World): fc.Arbitrary<Step> {
  const names = NAMES.filter((name) => modes[name] !== undefined);
  const who = fc.nat(3);
  const pick = fc.nat(5);
  const name = fc.constantFrom(...names);
  const wants = fc.uniqueArray(fc.constantFrom(...wantsOf(modes)), {
    minLength: 1,
    maxLength: namesMax,
    selector: (want) => want.name,
  });
  const acquire = fc.record({
    do: fc.constant("acquire" as const),
    who,
    wants,
    wait: fc.constantFrom("forever", "forever", "long", "short", "none"),
    hold: fc.constantFrom("session", "session", "session", "max", "detached"),
    inside: fc.constantFrom(...inside),
    reentrant: fc.constant(reentrant),
  });
  const whoOrHolder = mostly(null, who);
  const nameOrNot = mostly(null, name);
  const of = <D extends Step["do"]>(does: D) => fc.constant(does);
  return fc.oneof(
    { weight: asks, arbitrary: acquire },
    { weight: 5, arbitrary: fc.record({ do: of("release"), who: whoOrHolder, pick, name: nameOrNot }) },
    { weight: 2, arbitrary: fc.record({ do: of("cancel"), pick }) },
    { weight: 1, arbitrary: fc.record({ do: of("unlock"), who, name }) },
    { weight: 1, arbitrary: fc.record({ do: of("force"), who, pick, name: nameOrNot }) },
    { weight: 2, arbitrary: fc.record({ do: of("leave"), who }) },
    { weight: 1, arbitrary: fc.record({ do: of("comeBack"), who, forgets: mostly(null, pick) }) },
    { weight: 1, arbitrary: fc.record({ do: of("bye"), who }) },
    {
      weight: 2,
      arbitrary: fc.record({ do: of("pause"), pauses: fc.constantFrom(1, 1, 2, 2, 4, 4, 4, 11) }),
    },
  );
}

/** Mostly what the names are for; one in twenty or so wants one of them as another. */
function wantsOf(modes: Modes): readonly NaiveWant[] {
  return Object.entries(modes).flatMap(([name, usual]) => {
    const often = Array.from({ length: 20 }, (_, at) => usual[at % usual.length]!);
    const others = Object.values(modes).map(([first]) => first!);
    return [...often, ...others].map((mode) => ({ name, mode }));
  });
}

/** Four times of five this. */
function mostly<T, U>(usual: T, other: fc.Arbitrary<U>): fc.Arbitrary<T | U> {
  return fc.oneof({ weight: 4, arbitrary: fc.constant(usual) }, other);
}
