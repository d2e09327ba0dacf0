import { statSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { ROOM_BYTES } from "../../src/store/journal.js";
import { withJournal } from "../../src/store/journaled.js";
import type { Change } from "../../src/store/store.js";
import { entriesOf, put, remove, textByKey } from "./contract.js";
import { newFolder } from "./folders.js";
import { copyOf, InnerStore, NEVER_MS, PAGE } from "./inner-store.js";

test("[R1ag] what was new since the last copy and is gone again is not copied; its frames are done with all the same", async () => {
  const folder = newFolder();
  const inner = new InnerStore();
  const store = await withJournal(inner.asOpened(), folder, NEVER_MS);
  /** What a copy writes, but for the mark. */
  const copied = async () => {
    const batch = inner.nextBatch(() => true);
    await entriesOf(store, "");
    return (await batch)
      .filter(({ key }) => key !== "journal")
      .map(({ key, value }) => [key, value === null]);
  };
  await store.commit([added("a", "1"), added("b", "1"), added("c", "1")]);
  await store.commit([remove("a"), put("b", "2"), remove("b")]);
  expect(await copied()).toEqual([["c", false]]);
  // Now it is there: its deletion has to be, too, also when it came again in between.
  await store.commit([remove("c"), added("c", "2")]);
  await store.commit([remove("c")]);
  expect(await copied()).toEqual([["c", true]]);
  await store.commit([added("d", "1")]);
  await store.commit([remove("d")]);
  expect(await copied()).toEqual([]);
  await store.commit([added("e", "1")]);
  const again = await withJournal(inner.asAfterACrash(), copyOf(folder));
  expect(await textByKey(again, "")).toEqual([["e", "1"]]);
  await again.close();
  await store.close();
});

test("[R1aj] what comes and goes fills halves all the same, and none is written beyond its end", async () => {
  const folder = newFolder();
  const inner = new InnerStore();
  const store = await withJournal(inner.asOpened(), folder, NEVER_MS);
  const value = "x".repeat(1_048_576);
  for (let round = 0; round < 9; round++) {
    await store.commit([added(`k${round}`, value)]);
    await store.commit([remove(`k${round}`)]);
  }
  await store.commit([added("last", "1")]);
  expect(await inner.keys()).toEqual([]);
  expect(statSync(join(folder, "journal")).size).toBe(2 * (ROOM_BYTES + PAGE));
  const again = await withJournal(inner.asAfterACrash(), folder);
  expect((await textByKey(again, "")).map(([key]) => key)).toEqual(["last"]);
  await again.close();
});

test("[R1ah] whatever is new, put and deleted, copied or not, is there after a crash as it was", async () => {
  const keys = fc.constantFrom("a", "b", "c");
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.array(fc.tuple(keys, fc.boolean()), { minLength: 1, maxLength: 3 }) },
    { weight: 1, arbitrary: fc.constantFrom("copy" as const, "crash" as const) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 25 }), async (steps) => {
      const folder = newFolder();
      const inner = new InnerStore();
      let store = await withJournal(inner.asOpened(), folder, NEVER_MS);
      const model = new Map<string, string>();
      let count = 0;
      for (const step of [...steps, "crash" as const]) {
        if (step === "copy") await entriesOf(store, "none");
        else if (step === "crash") {
          store = await withJournal(inner.asAfterACrash(), folder, NEVER_MS);
          expect(await textByKey(store, "")).toEqual([...model].sort(([a], [b]) => (a < b ? -1 : 1)));
        } else {
          const batch = step.map(([key, isDeleted]) => {
            const isNew = !model.has(key);
            if (isDeleted) model.delete(key);
            else model.set(key, String(++count));
            return isDeleted ? remove(key) : { ...put(key, String(count)), isNew };
          });
          await store.commit(batch);
        }
      }
      await store.close();
    }),
    { numRuns: 60 },
  );
});

function added(key: string, value: string): Change {
  return { ...put(key, value), isNew: true };
}
