import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { EQUIVALENTS } from "./equivalents.js";
import { mutantsIn, SEEN } from "./places.js";

const read = (file: string) => readFileSync(fileURLToPath(new URL(`../../${file}`, import.meta.url)), "utf8");

/** What becomes of a text, mutant by mutant; and which blocks of it are entered by running it. */
function mutated(code: string) {
  const { mutants, marked, markCount } = mutantsIn(
    { code, placeOf: () => ({ file: "it", line: 1 }) },
    () => true,
  );
  const texts = mutants.map(({ start, end, put }) => code.slice(0, start) + put + code.slice(end));
  const seen = new Uint8Array(markCount);
  new Function(SEEN, marked)(seen);
  return { texts, reached: mutants.map(({ mark }) => mark === 0 || seen[mark] === 1) };
}

test("[M5f] something small is made wrong at every place, and what is made still is JavaScript", () => {
  const { texts } = mutated(`
    class Box {
      #size = 1;
      get(a, b) {
        if (a < b && !b) return a ?? b;
        for (const each of [a]) { if (each?.size) break; this.#size++; }
        this.log(a + b);
        return true;
      }
    }`);
  for (const text of texts) new Function(text);
  expect(new Set(texts).size).toBe(texts.length);
  for (const part of [
    "#size = (1 + 1)",
    "#size = (1 - 1)",
    "if (true) return",
    "if (false) return",
    "((a < b) || (!b))",
    "a <= b",
    "a >= b",
    "&& (b)) return",
    "!b) ;",
    "((a) && (b))",
    "each.size",
    "if (true) break",
    "this.#size--",
    "if (each?.size) ; this",
    "break; ; }",
    "this.log(a - b)",
    "return false",
  ])
    expect(
      texts.filter((text) => text.includes(part)),
      part,
    ).not.toEqual([]);
});

test("[M5g] a test is run for the blocks that it enters, and for what runs when modules are loaded", () => {
  const { texts, reached } = mutated(`
    const limit = 1;
    const entered = (a) => { return a * limit; };
    const passedBy = (a) => { return a + limit; };
    entered(5);`);
  const of = (part: string) => reached.filter((_, at) => texts[at]!.includes(part));
  expect(of("a / limit")).toEqual([true]);
  expect(of("a - limit")).toEqual([false]);
  expect(of("limit = (1 + 1)")).toEqual([true]);
});

test("[M5h] what is said to behave like the healthy code is a line that is there, with a reason", () => {
  for (const { file, line, from, why } of EQUIVALENTS) {
    const lines = read(file).split("\n");
    expect(
      lines.map((each) => each.trim()),
      file,
    ).toContain(line);
    if (from !== undefined) expect(from).not.toBe("");
    expect(why).toMatch(/^[A-Z`].*\.$/);
  }
});
