/** Runs tests against a mutated script, one mutant after the other. What goes round and round is stopped from outside. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { Script } from "node:vm";
import { parentPort, workerData } from "node:worker_threads";
import * as scoreExpect from "./expect.js";

const NAME = "lockdb-score.cjs";
const WRAPPER = "(function (module, exports, require) {";
/** A test that waits for nothing that could come is over after so many turns. */
const IDLE_TURNS = 30;
const TEST_MS = 20_000;

const port = /** @type {import("node:worker_threads").MessagePort} */ (parentPort);
const requireAny = createRequire(import.meta.url);
const require = (/** @type {string} */ name) => (name === "score-expect" ? scoreExpect : requireAny(name));
process.removeAllListeners("warning");
// Of the models' thousands of runs a few; and that one fails is enough, whichever it is.
process.env.LOCKDB_MODEL_SHARE = "0.03";
requireAny("fast-check").configureGlobal({ endOnFailure: true });
/** @type {unknown} */
let unhandled = null;
process.on("unhandledRejection", (error) => {
  unhandled ??= error ?? "rejected";
});
process.on("uncaughtException", (error) => {
  unhandled ??= error ?? "thrown";
});

const { code } = workerData;

port.on("message", async (message) => {
  if (message.kind === "measure") {
    port.postMessage({
      kind: "measured",
      ...(await measure(message).catch((error) => ({ error: error.stack }))),
    });
  } else port.postMessage({ kind: "judged", ...(await judge(message)) });
});
port.postMessage({ kind: "ready" });

/** @param {string} text @returns {readonly { file: string, name: string, run: () => unknown }[]} */
function load(text) {
  const module = { exports: /** @type {any} */ ({}) };
  const wrapper = new Script(`${WRAPPER}${text}\n})`, { filename: NAME });
  wrapper.runInThisContext()(module, module.exports, require);
  return module.exports.tests;
}

/** @param {{ start: number, end: number, put: string, tests: readonly number[] }} mutant */
async function judge({ start, end, put, tests }) {
  let loaded;
  try {
    loaded = load(code.slice(0, start) + put + code.slice(end));
  } catch (error) {
    return { killer: `it does not load: ${wordsOf(error)}` };
  }
  for (const at of tests) {
    const test = loaded[at];
    if (test === undefined) return { killer: "the tests are others" };
    port.postMessage({ kind: "running", at });
    const problem = await problemOf(test.run);
    if (problem !== null) return { killer: `${test.file}: ${test.name}: ${problem}`, at };
  }
  return { killer: null };
}

/** @param {() => unknown} run @returns {Promise<string | null>} */
async function problemOf(run) {
  unhandled = null;
  try {
    const going = run();
    if (going instanceof Promise) await ended(going);
    // What was rejected, and nobody looked, is told after this turn.
    if (going instanceof Promise) await new Promise((resolve) => setImmediate(resolve));
  } catch (error) {
    return wordsOf(error);
  }
  return unhandled === null ? null : `not handled: ${wordsOf(unhandled)}`;
}

/** @param {Promise<unknown>} going */
async function ended(going) {
  let isOver = false;
  const over = () => {
    isOver = true;
  };
  going.then(over, over);
  const endMs = performance.now() + TEST_MS;
  let idle = 0;
  while (!isOver) {
    await new Promise((resolve) => setImmediate(resolve));
    const others = process
      .getActiveResourcesInfo()
      .filter((name) => name !== "MessagePort" && !/Wrap|Pipe/.test(name));
    idle = others.length === 0 ? idle + 1 : 0;
    if (!isOver && idle > IDLE_TURNS) throw new Error("it would wait for ever");
    if (!isOver && performance.now() > endMs) throw new Error("it goes on and on");
  }
  return going;
}

/** @param {unknown} error */
function wordsOf(error) {
  return String(/** @type {any} */ (error)?.message ?? error)
    .split("\n")[0]
    .slice(0, 120);
}

/**
 * What each test takes, and by which marks it comes.
 * @param {{ path: string, seen: string, markCount: number }} marked
 */
async function measure({ path, seen, markCount }) {
  const marks = new Uint8Array(markCount);
  /** @type {any} */ (globalThis)[seen] = marks;
  const take = () => {
    const found = [...marks.keys()].filter((at) => marks[at] === 1);
    marks.fill(0);
    return found;
  };
  const tests = [];
  const loaded = load(readFileSync(path, "utf8"));
  take();
  for (const { file, name, run } of loaded) {
    const before = process.cpuUsage();
    const problem = await problemOf(run);
    const { user, system } = process.cpuUsage(before);
    tests.push({ file, name, ms: (user + system) / 1_000, problem, marks: take() });
  }
  return { tests };
}
