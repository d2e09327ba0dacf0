import fc from "fast-check";
import type { Scope } from "lockdb/protocol";
import { expect, test } from "vitest";
import type { KeyCaller, KeyWish } from "../../src/access/index.js";
import type { Might } from "../../src/access/key.js";
import { Refusal } from "../../src/http/errors.js";
import type { Need } from "../../src/loop/index.js";
import { AccessStage, ALL } from "./stage.js";

/** The services that there are, as far as these tests know. */
const SERVICES = ["a", "b", "c"];
const STEP_MS = 1_000;

const scopes = fc.subarray([...ALL], { minLength: 1 });
const services = fc.option(fc.subarray(SERVICES, { minLength: 1 }), { nil: null });
const end = fc.option(fc.integer({ min: 1, max: 10 }), { nil: null });
const might = fc.record({ scopes, services, end });

const act = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("make" as const),
      by: fc.nat(),
      wish: might,
      isModest: fc.boolean(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("narrow" as const),
      by: fc.nat(),
      of: fc.nat(),
      less: fc.record(
        { scopes, services: fc.subarray(SERVICES, { minLength: 1 }), end: fc.nat(10) },
        { requiredKeys: [] },
      ),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("rotate" as const),
      by: fc.nat(),
      of: fc.nat(),
      keptSteps: fc.nat(5),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("revoke" as const), by: fc.nat(), of: fc.nat() }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("wait" as const), steps: fc.integer({ min: 1, max: 3 }) }),
  },
);

/** All that a caller may do now: each scope in each service, and what is about the account. */
function deeds(caller: KeyCaller): readonly string[] {
  const found: string[] = [];
  const see = (need: Need, service: string | null, name: string) => {
    if (caller.refusal(need, service) === null) found.push(name);
  };
  for (const scope of ALL as readonly Scope[]) {
    for (const service of SERVICES) see({ scopes: [scope] }, service, `${scope} in ${service}`);
    see({ scopes: [scope], isOverall: true }, null, `${scope} for all`);
  }
  see({ scopes: [] }, null, "come in");
  return found;
}

/** What a new key is to be. A modest maker does not ask for more than it has. */
function wishOf(
  {
    scopes,
    services,
    end,
  }: { scopes: readonly Scope[]; services: readonly string[] | null; end: number | null },
  at: (steps: number | null) => string | null,
  maker: Might | null,
): KeyWish {
  const wish = { name: "x", scopes, services, expiresAt: at(end) };
  if (maker === null) return wish;
  return {
    ...wish,
    scopes: maker.scopes.filter((scope) => scope === "admin" || scopes.includes(scope)),
    services: maker.services ?? services,
    expiresAt: maker.expiresAt ?? wish.expiresAt,
  };
}

test("[A2w] no sequence of acts by a key, and by those that it makes, gives anybody more than it has, or for longer", async () => {
  let madeCount = 0;
  await fc.assert(
    fc.asyncProperty(
      might,
      fc.option(fc.integer({ min: 1, max: 8 }), { nil: null }),
      fc.array(act, { minLength: 5, maxLength: 25 }),
      async (first, oldEnds, acts) => {
        const stage = await AccessStage.open();
        const at = (steps: number | null) => (steps === null ? null : stage.at(steps * STEP_MS));
        const { access } = stage;
        const withAdmin = [...new Set<Scope>([...first.scopes, "admin"])];
        const made = await stage.key({
          scopes: withAdmin,
          services: first.services,
          expiresAt: at(first.end),
        });
        // What its first caller has may be an old secret, which ends sooner than the key.
        if (oldEnds !== null) await access.rotateKey(stage.root, made.key, oldEnds * STEP_MS, "a test");
        const ends = [first.end, oldEnds].filter((each) => each !== null);
        const endMs =
          ends.length === 0 ? Number.POSITIVE_INFINITY : stage.wallMs + Math.min(...ends) * STEP_MS;
        const mayMost = new Set(deeds(made.caller));
        /** The keys that somebody else has, and would lose or share. */
        const foreign = [await stage.key({ scopes: ["lock"] }), await stage.key()];
        const callers = [made.caller];
        const keys = [made.key, ...foreign.map(({ key }) => key), access.keyOf(stage.own, "root")];
        for (const step of acts) {
          if (step.kind === "wait") {
            stage.wallOffsetMs += step.steps * STEP_MS;
            continue;
          }
          const by = callers[step.by % callers.length]!;
          try {
            if (step.kind === "make") {
              const record = wishOf(step.wish, at, step.isModest ? by.record : null);
              const { apiKey, key } = await access.addKey(by, by.owner, record, "x");
              madeCount++;
              keys.push(access.keyOf(by.owner, key.id));
              const caller = stage.caller(apiKey);
              if (caller !== null) callers.push(caller);
            } else {
              const key = keys[step.of % keys.length]!;
              if (step.kind === "narrow") {
                const { end, ...less } = step.less;
                const narrowing = {
                  ...less,
                  ...(end === undefined ? {} : { expiresAt: stage.at(end * STEP_MS) }),
                };
                await access.narrowKey(by, key, narrowing, "x");
              }
              if (step.kind === "revoke") await access.revokeKey(by, key, "x");
              if (step.kind === "rotate") {
                const { apiKey } = await access.rotateKey(by, key, step.keptSteps * STEP_MS, "x");
                const caller = stage.caller(apiKey);
                if (caller !== null) callers.push(caller);
              }
            }
          } catch (error) {
            if (!(error instanceof Refusal)) throw error;
          }
          for (const caller of callers) {
            const now = deeds(caller);
            expect(now.filter((deed) => !mayMost.has(deed))).toEqual([]);
            if (stage.wallMs >= endMs) expect(now).toEqual([]);
          }
        }
        stage.wallOffsetMs = endMs === Number.POSITIVE_INFINITY ? stage.wallOffsetMs : endMs;
        if (endMs !== Number.POSITIVE_INFINITY)
          for (const caller of callers) expect(deeds(caller)).toEqual([]);
        await stage.close();
      },
    ),
    { numRuns: 100 },
  );
  expect(madeCount).toBeGreaterThan(60);
});
