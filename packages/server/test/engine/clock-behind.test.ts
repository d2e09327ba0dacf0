import { expect, test } from "vitest";
import { type DurableRecord, type Effects, Engine } from "../../src/engine/index.js";

const OPTIONS = { waitersMax: 10, holdsMax: 10, sessionsMax: 10, writesSessionHolds: false };

test("[R6zc] after a crash nothing is held for less than no time, though the clock is behind its grant", () => {
  const before: Effects = { answers: [], changes: [] };
  const terms = { waitMs: 0, detachedMs: 60_000, minHoldMs: 0, maxHoldMs: null, metadata: {}, ticket: null };
  const inside = { within: [], reentrant: false, leads: false, stolenBy: null, owner: "ann" };
  new Engine(OPTIONS).apply(
    { kind: "acquire", session: null, address: "a", id: 1, names: "disk", ...terms, ...inside },
    5_000,
    before,
  );
  const records = before.changes.filter(({ type }) => type !== "audit" && type !== "delivery");
  const engine = new Engine(OPTIONS);
  const after: Effects = { answers: [], changes: [] };
  engine.restore(records as unknown as DurableRecord[], 4_950, after);
  engine.apply({ kind: "inspect", session: null, address: "b", id: 1, name: "disk" }, 4_960, after);
  expect(after.answers.at(-1)!.message).toMatchObject(["done", 1, { holders: [{ token: 1, heldForMs: 0 }] }]);
});
