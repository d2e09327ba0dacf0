import fc from "fast-check";
import type { LockPage } from "lockdb/protocol";
import { expect, test } from "vitest";
import type { DurableChange, Effects } from "../../src/engine/index.js";
import { Story } from "./story.js";

/** Plays of each kind; a long run has more. */
const RUNS = Number(process.env.LOCKDB_PACKED_RUNS ?? 20);

test("[R5ma] whoever asks for many holds, or lists them, hears the same after a start that has packed them in small blocks", () => {
  for (const writesSessionHolds of [false, true]) {
    const plays = fc.property(
      fc.array(MAKE, { minLength: 20, maxLength: 50 }),
      fc.constantFrom<Action>(
        () => "- crash",
        () => "- stop",
      ),
      fc.array(fc.oneof(MAKE, MAKE, ...USES), { minLength: 10, maxLength: 60 }),
      (before, end, after) => play([...before, end, ...after], writesSessionHolds),
    );
    fc.assert(plays, { numRuns: RUNS });
  }
}, 600_000);

/** A line of a story without its time, or a walk. */
type Action = (n: number) => string;

function play(actions: readonly Action[], writesSessionHolds: boolean): void {
  const options = { holdsMax: 45, writesSessionHolds };
  const [packs, plain] = [new Story(options), new Story(options)];
  // Of some fifteen records: what is left of them, or has come to lie beside others, is soon few.
  packs.blockBytes = 3_000;
  plain.packs = false;
  for (const [n, action] of actions.entries()) {
    const line = `${n * 700} ${action(n)}`;
    const [one, other] = [packs, plain].map((story) => told(story, line));
    expect(one, line).toEqual(other);
    expect(packs.engine.counts, line).toEqual(plain.engine.counts);
    expect(packs.engine.nextDeadlineMs, line).toBe(plain.engine.nextDeadlineMs);
    expect(packs.engine.recovering).toBe(plain.engine.recovering);
  }
  const [one, other] = [packs, plain].map((story) => [sorted(story.engine.stop()), listed(story, "", 7)]);
  expect(one).toEqual(other);
}

/** What comes of it, whatever the order of what happens at one time; or why it may not be said. */
function told(story: Story, line: string): unknown {
  const [at, verb, prefix] = line.split(" ");
  story.nowMs = Number(at);
  if (verb === "list") return listed(story, prefix!, 3);
  if (verb === "survey") return surveyed(story);
  let out: Effects;
  try {
    out = story.play(line);
  } catch (error) {
    return String(error);
  }
  return { ...out, answers: sorted(out.answers), changes: sorted(out.changes) };
}

function sorted(items: readonly (DurableChange | Effects["answers"][number])[]): readonly string[] {
  return items.map((item) => JSON.stringify(item)).sort();
}

function listed(story: Story, prefix: string, limit: number): readonly string[] {
  const found: string[] = [];
  for (let next: string | null | undefined; next !== null; ) {
    const query = { prefix, limit, ...(next === undefined ? {} : { next }) };
    const { answers } = story.apply({ kind: "list", session: null, address: "http", id: 1, query });
    const page = answers[0]!.message[2] as LockPage;
    found.push(...page.locks.map((lock) => JSON.stringify(lock)));
    next = page.next;
  }
  return found.sort();
}

function surveyed(story: Story): unknown {
  const survey = story.engine.survey();
  while (!survey.isDone) survey.step(7);
  const { oldestHolds, longestWaits, hottest } = survey.found(false, story.nowMs);
  // Of equally old ones the order is nobody's concern.
  const ages = oldestHolds.map(({ holder }) => holder.heldForMs);
  return { ages, longestWaits, hottest: hottest.map(({ name }) => name).sort() };
}

const NAMES = [
  ...Array.from({ length: 40 }, (_, n) => `n${n}`),
  "é",
  'q"',
  'n1","owner":"http',
  "b\\",
  "n1é",
];
const NAME = fc.constantFrom(...NAMES);
const CROWDED = fc.constantFrom("n0", "n1", "n2", "n3");
const SPAN = fc.integer({ min: 1, max: 9 });
const TOKEN = fc.integer({ min: 1, max: 60 });
const ACTOR = fc.constantFrom("ann", "bob");

const MAKE: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 8,
    arbitrary: by(fc.tuple(NAME, TOKEN), ([name, span]) => `acquire ${name} 1s for=${20 + span}s`),
  },
  {
    weight: 5,
    arbitrary: by(
      fc.tuple(NAME, fc.nat(30), TOKEN),
      ([name, id, span]) => `call:r${id} ${name} now lease=${20 + span}s`,
    ),
  },
  by(fc.tuple(CROWDED, SPAN), ([name, span]) => `acquire ${name}:s 1s for=${20 + span}s`),
  by(fc.tuple(CROWDED, fc.constantFrom("n8", "n9")), ([one, other]) => `acquire ${one}+${other} 1s for=50s`),
  by(fc.tuple(CROWDED, SPAN), ([name, n]) => `acquire ${name} 1s for=40s hook=http://x/${n}`),
  by(CROWDED, (name) => `acquire ${name} 1s for=40s min=30s`),
  by(CROWDED, (name) => `acquire ${name}:1/2 1s for=40s`),
  ...["1s for=60s", "1s"].map((terms) => ({
    weight: 2,
    arbitrary: fc.tuple(ACTOR, NAME).map(
      ([who, name]) =>
        () =>
          `${who} acquire ${name} ${terms}`,
    ),
  })),
);

const USES: fc.Arbitrary<Action>[] = [
  by(NAME, (name) => `check ${name} 0s`),
  by(NAME, (name) => `unlock ${name} 0s`),
  by(NAME, (name) => `acquire ${name}:s 1s for=9s`),
  by(NAME, (name) => `acquire ${name} 30s for=9s`),
  by(TOKEN, (token) => `giveback:g${token} #${token}`),
  by(TOKEN, (token) => `giveback:r${token} #${token}`),
  by(TOKEN, (token) => `renew #${token}`),
  by(fc.tuple(TOKEN, NAME), ([token, name]) => `force #${token} ${name}`),
  by(fc.tuple(TOKEN, NAME), ([token, name]) => `ask #${token} ${name}`),
  fc.tuple(ACTOR, NAME, TOKEN).chain(([who, name, token]) =>
    fc.constantFrom<Action>(
      () => `${who} inspect ${name}`,
      () => `${who} acquire ${name} 9s within=#${token} reentrant=true`,
      () => `${who} acquire ${name} now steal=${who}`,
      () => `${who} acquire:${token % 10} ${name} 1s for=60s`,
      () => `${who} release #${token} ${name}`,
      () => `${who} hold #${token} ${name}`,
      () => `${who} ack ${token % 10}`,
    ),
  ),
  ACTOR.map((who) => () => `${who} away`),
  fc.constantFrom("n1", "n", "", "n9", '"', 'n1"', 'n1","o', 'q"').map((prefix) => () => `list ${prefix}`),
  fc
    .constantFrom("- tick", "- tick", "- crash", "- stop", "survey", "http delay 2s")
    .map((line) => () => line),
];

/** By a caller over HTTP that has asked for nothing yet. */
function by<T>(what: fc.Arbitrary<T>, lineOf: (what: T) => string): fc.Arbitrary<Action> {
  return what.map((what) => (n) => `http${n} ${lineOf(what)}`);
}
