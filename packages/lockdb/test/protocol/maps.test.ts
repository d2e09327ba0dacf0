import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ChurnMap, NumberMap } from "../../src/protocol/index.js";

type Op = readonly [kind: "set" | "delete" | "get", key: number];

/** What a map has to do, of keys that come up again and again, and of those that only rise. */
const OPS = fc.oneof(
  opsOf(fc.integer({ min: 1, max: 300 })),
  opsOf(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })),
);

function opsOf(key: fc.Arbitrary<number>): fc.Arbitrary<Op[]> {
  const op = fc.tuple(fc.constantFrom("set", "set", "delete", "get"), key) as fc.Arbitrary<Op>;
  return fc.array(op, { maxLength: 600, size: "max" });
}

function play(
  map: NumberMap<string> | ChurnMap<number, string>,
  ops: Iterable<Op>,
  reference = new Map<number, string>(),
): void {
  let n = 0;
  let wrong: string | null = null;
  for (const [kind, key] of ops) {
    if (kind === "set") {
      map.set(key, `v${++n}`);
      reference.set(key, `v${n}`);
    } else if (kind === "delete" && map.delete(key) !== reference.delete(key)) wrong = `delete ${key}`;
    // An `expect` for each of so many would take most of the time.
    if (map.get(key) !== reference.get(key)) wrong = `get ${key}`;
    if (map.has(key) !== reference.has(key)) wrong = `has ${key}`;
    if (map.size !== reference.size) wrong = `size ${map.size}`;
  }
  expect(wrong).toBeNull();
  const isOrdered = map instanceof ChurnMap;
  const all = isOrdered ? [...map] : [...map].sort((a, b) => a[0] - b[0]);
  const expected = isOrdered ? [...reference] : [...reference].sort((a, b) => a[0] - b[0]);
  expect(all).toEqual(expected);
  expect([...map.values()].sort()).toEqual([...reference.values()].sort());
}

/** Crowds that come and go, and a few that stay: of these some are set again, and some go, each time. */
function* crowds(sizes: readonly number[]): Generator<Op> {
  let next = 1;
  let staying: number[] = [];
  for (const size of sizes) {
    const first = next;
    for (; next < first + size; next++) yield ["set", next];
    for (let key = first; key < next; key++) {
      if (key % 997 === 0) staying.push(key);
      else yield ["delete", key];
    }
    for (const key of staying) if (key % 2 === 0) yield ["set", key];
    for (const key of staying) if (key % 5 === size % 5) yield ["delete", key];
    staying = staying.filter((key) => key % 5 !== size % 5);
    for (let key = first; key < next; key += 101) yield ["get", key];
  }
}

describe("maps for what comes and goes", () => {
  test("[Q6ba] requests and holds are found by their numbers as in any map, in whatever order they come and go", () => {
    fc.assert(fc.property(OPS, (ops) => play(new NumberMap(), ops)));
    play(new NumberMap(), crowds([10, 9_000, 3, 3_000, 3_000, 3_000, 1, 20_000]));
  });

  test("[Q6bb] so are those of other keys, and in the order in which they came", () => {
    fc.assert(fc.property(OPS, (ops) => play(new ChurnMap(), ops)));
    play(new ChurnMap(), crowds([10, 9_000, 3, 3_000, 3_000, 3_000, 1, 20_000]));
  });

  test("[Q6bc] what was there from the start is found like what came later", () => {
    const keys = new ChurnMap<number, string>();
    const first = new Map(Array.from({ length: 9_000 }, (_, n) => [3 * n + 1, `first ${n}`]));
    for (const [key, value] of first) keys.addLasting(key, value);
    play(keys, [...crowds([10, 9_000, 3, 3_000])], first);
  });

  test("[N3ba] numbers that were chosen to get in each other's way cost no more than others", () => {
    // The low half undoes what the high half does, and the last three bits are the same: all of them belong into one slot.
    const colliding = Array.from({ length: 150_000 }, (_, n) => (n + 1) * 2 ** 32 + 8 * ((n + 1) ^ 5) + 3);
    const map = new NumberMap<number>();
    for (const key of colliding) map.set(key, key);
    // Each would look at all before it, and this would take minutes.
    expect(colliding.filter((key) => map.get(key) !== key)).toEqual([]);
    expect([...map].length).toBe(colliding.length);
    expect(colliding.filter((key) => !map.delete(key))).toEqual([]);
    expect(map.size).toBe(0);
  });

  test("[N3bb] nor do those that were chosen to lie side by side, each where it belongs", () => {
    const map = new NumberMap<number>();
    const chosen = sideBySide(2 ** 17);
    for (const key of chosen) map.set(key, key);
    expect(map.size).toBe(chosen.length);
    // Whoever looks for one that is not there, or closes the hole of one that goes, would look at all behind it.
    const inOrder = [...map].map(([key]) => key);
    expect(inOrder.filter((key) => !map.delete(key) || map.has(key))).toEqual([]);
    expect(map.size).toBe(0);
  }, 10_000);
});

/** Three quarters of a table, without a gap: whoever asks chooses his ids, and knows the program. */
function sideBySide(capacity: number): readonly number[] {
  const groups = capacity / 8;
  const shift = Math.clz32(groups - 1);
  let inverse = 1;
  for (let step = 0; step < 6; step++) inverse = Math.imul(inverse, 2 - Math.imul(0x9e37_79b1, inverse));
  const keys: number[] = [];
  let high = 0;
  // The ids rise, as a client's must, and no smaller table on the way has a longer cluster than this one.
  for (let step = groups / 2; step >= 1; step /= 2) {
    for (let group = 0; group < 0.75 * groups; group += step) {
      if (step < groups / 2 && (group / step) % 2 === 0) continue;
      high++;
      let low = 2 ** 29;
      for (let hash = group * 2 ** shift; low >= 2 ** 29; hash++) low = Math.imul(hash, inverse) >>> 0;
      for (let bit = 0; bit < 8; bit++) keys.push(high * 2 ** 32 + ((low ^ high) >>> 0) * 8 + bit);
    }
  }
  return keys.slice(0, -1);
}
