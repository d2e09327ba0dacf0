/**
 * What the tests take from Vitest, without Vitest: they are collected, to be run one by one, in one process, thousands of times. `expect` is Vitest's own.
 */
export { expect, vi } from "score-expect";

/** @type {{ file: string, name: string, run: () => unknown }[]} */
export const tests = [];
/** @type {string[]} */
const around = [];
let file = "";

/** @param {string} name what comes now is in this file */
export function begin(name) {
  file = name;
}

/** @param {string} name @param {any[]} rest options, and what is in it */
export function describe(name, ...rest) {
  around.push(name);
  bodyOf(rest)();
  around.pop();
}

/** @param {string} name @param {any[]} rest options or a time limit, and what is done */
export function test(name, ...rest) {
  tests.push({ file, name: [...around, name].join(" > "), run: bodyOf(rest) });
}

test.each =
  (/** @type {readonly any[]} */ rows) =>
  (/** @type {string} */ name, /** @type {any[]} */ ...rest) => {
    for (const row of rows) {
      const args = Array.isArray(row) ? row : [row];
      test(`${name} (${args.map(String)})`, () => bodyOf(rest)(...args));
    }
  };
describe.each =
  (/** @type {readonly any[]} */ rows) =>
  (/** @type {string} */ name, /** @type {any[]} */ ...rest) => {
    for (const row of rows) {
      const args = Array.isArray(row) ? row : [row];
      describe(`${name} (${args.map(String)})`, () => bodyOf(rest)(...args));
    }
  };

/** @param {any[]} rest @returns {(...args: any[]) => unknown} */
function bodyOf(rest) {
  return rest.find((each) => typeof each === "function");
}
