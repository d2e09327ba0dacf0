/**
 * Mutation score: at every place of the engine and of the client's lease logic something small is made wrong, one at a time, and the tests run that come by.
 *
 *     node tests/score/run.js [--room engine | client] [--file PART] [--sample COUNT [--seed N]] [--quick] [--jobs N] [--least PERCENT] [--json FILE] [--again FILE]
 *
 * `--file grants.ts:96` is one line. `--quick` leaves out the simulator, and `--test-ms` tests that take longer. `--json` writes down what killed what; `--again` reads that,
 * and tries only those again that survived. `--measured FILE` keeps what each test comes by; `--tests` prints what each takes, `--keep FILE` the whole script.
 */
import { fork } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { bundle, ROOT } from "./bundle.js";
import { equivalentOf } from "./equivalents.js";
import { mutantsIn, SEEN } from "./places.js";
import { COSTLY, ROOMS, RUNS, testFiles } from "./rooms.js";

/** @typedef {import("./places.js").Mutant} Mutant */
/** @typedef {{ file: string, name: string, ms: number, problem: string | null, marks: readonly number[] }} Measured */

const RUNNER = fileURLToPath(new URL("runner.js", import.meta.url));
/** A test may take as many times as long as it does on the healthy code, and this on top. */
const TIMES = 3;
const MORE_MS = 1_500;
const WIDE_95 = 1.96;

const options = optionsOf(process.argv.slice(2));
const folder = mkdtempSync(join(tmpdir(), "lockdb-score-"));
process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
/** Those that are still to be tried. @type {Mutant[]} */
let rest = [];
for (const signal of /** @type {const} */ (["SIGINT", "SIGTERM", "SIGHUP"])) {
  // What was tried until then is reported.
  process.once(signal, () => {
    rest.length = 0;
    process.once(signal, () => process.exit(130));
  });
}

async function main() {
  const startedMs = performance.now();
  const made = await bundle(testFiles(), COSTLY, options.quick ? [] : RUNS);
  const path = join(folder, "bundle.cjs");
  writeFileSync(path, made.code);
  if (options.keep !== null) writeFileSync(options.keep, made.code);
  const rooms = ROOMS.filter(({ name }) => options.room === null || options.room === name);
  const {
    mutants: all,
    marked,
    markCount,
  } = mutantsIn(made, (file) => rooms.some((room) => room.holds(file)));
  const tests = await measured(marked, markCount, path);
  const ill = tests.filter(({ problem }) => problem !== null);
  for (const { file, name, problem } of ill)
    console.error(`${file}: ${name}, on the healthy code: ${problem}`);
  if (ill.length > 0) return 1;
  if (options.tests)
    for (const { file, name, ms } of tests) console.log(`${ms.toFixed(0).padStart(6)} ms  ${file}: ${name}`);
  const covering = testsOf(all, tests);
  const before = options.again === null ? null : earlier(options.again);
  const chosen = chosenOf(all, before);
  console.log(
    `${tests.length} tests, ${all.length} mutants, ${chosen.length} of them tried; ready after ${seconds(startedMs)} s`,
  );
  /** @type {Map<number, { killer: string | null, ms: number }>} */
  const results = new Map();
  rest = chosen.filter((mutant) => {
    const killer = before?.get(keyOf(mutant)) ?? null;
    if (killer !== null) results.set(mutant.id, { killer, ms: 0 });
    return killer === null;
  });
  /** Tests that have killed a neighbour, the last first. @type {Map<string, number[]>} */
  const neighbours = new Map();
  await Promise.all(
    Array.from({ length: options.jobs }, async () => {
      const runner = new Runner(path);
      for (let mutant = rest.shift(); mutant !== undefined; mutant = rest.shift()) {
        const order = inOrder(covering.get(mutant.id) ?? [], tests, neighbours.get(mutant.file) ?? []);
        const sinceMs = performance.now();
        const { killer, at = -1 } =
          order.length === 0 ? { killer: null } : await runner.do(taskOf(mutant, order, tests));
        results.set(mutant.id, { killer, ms: performance.now() - sinceMs });
        if (killer !== null && at >= 0) {
          const old = neighbours.get(mutant.file) ?? [];
          neighbours.set(mutant.file, [at, ...old.filter((each) => each !== at)].slice(0, 8));
        }
        if (results.size % 100 === 0)
          console.error(`${results.size} of ${chosen.length}, ${seconds(startedMs)} s`);
      }
      runner.end();
    }),
  );
  const tried = chosen.filter(({ id }) => results.has(id));
  if (tried.length < chosen.length)
    console.log(`ended early: ${tried.length} of ${chosen.length} were tried`);
  const isWell = report(rooms, tried, results, covering);
  if (options.json !== null) {
    const rows = tried.map((mutant) => ({
      ...mutant,
      ...results.get(mutant.id),
      tests: (covering.get(mutant.id) ?? []).length,
    }));
    writeFileSync(options.json, JSON.stringify(rows, null, 1));
  }
  console.log(`${seconds(startedMs)} s`);
  return isWell ? 0 : 1;
}

/**
 * What each test takes and comes by; with `--measured` kept in a file for as long as sources and tests are the same.
 * @param {string} marked
 * @param {number} markCount
 * @param {string} path
 * @returns {Promise<readonly Measured[]>}
 */
async function measured(marked, markCount, path) {
  const hash = createHash("sha256").update(marked).digest("hex");
  if (options.measured !== null && existsSync(options.measured)) {
    const kept = JSON.parse(readFileSync(options.measured, "utf8"));
    if (kept.hash === hash) return kept.tests;
  }
  const markedPath = join(folder, "marked.cjs");
  writeFileSync(markedPath, marked);
  const runner = new Runner(path);
  const { tests, error } = await runner.do({ kind: "measure", path: markedPath, seen: SEEN, markCount });
  runner.end();
  if (error !== undefined) throw new Error(error);
  if (options.measured !== null) writeFileSync(options.measured, JSON.stringify({ hash, tests }));
  return tests;
}

/**
 * @param {readonly (typeof ROOMS)[number][]} rooms
 * @param {readonly Mutant[]} chosen
 * @param {ReadonlyMap<number, { killer: string | null }>} results
 * @param {ReadonlyMap<number, readonly number[]>} covering
 * @returns {boolean} whether it is as it should be
 */
function report(rooms, chosen, results, covering) {
  let isWell = true;
  const killerOf = (/** @type {Mutant} */ { id }) => results.get(id)?.killer ?? null;
  const equivalents = new Set(chosen.filter((mutant) => equivalentOf(mutant, lineOf(mutant)) !== undefined));
  for (const mutant of chosen) {
    const killer = killerOf(mutant);
    const isEquivalent = equivalents.has(mutant);
    if (killer !== null && isEquivalent) isWell = false;
    if ((killer === null) === isEquivalent) continue;
    const isReached = (covering.get(mutant.id) ?? []).length > 0;
    const state = killer !== null ? "NOT EQUIVALENT" : isReached ? "SURVIVED" : "NOT REACHED";
    const what = `${mutant.kind}: ${short(mutant.from)} -> ${short(mutant.put)}`;
    console.log(
      `${state} ${mutant.file}:${mutant.line} ${what}${killer === null ? "" : `, found by ${killer}`}`,
    );
  }
  for (const room of rooms) {
    const ours = chosen.filter(({ file }) => room.holds(file));
    if (ours.length === 0) continue;
    const killed = ours.filter((mutant) => killerOf(mutant) !== null).length;
    const late = ours.filter((mutant) => killerOf(mutant) === "time").length;
    const equal = ours.filter((mutant) => equivalents.has(mutant)).length;
    const share = killed / ours.length;
    if (share < options.least / 100) isWell = false;
    const wide = WIDE_95 * Math.sqrt((share * (1 - share)) / ours.length);
    const survived = ours.length - killed;
    console.log(
      `${room.name}: ${ours.length} mutants, ${killed} killed (${late} by time), ${survived} survived (${equal} of them equivalent): ` +
        `${percent(share)}${options.sample > 0 ? ` ± ${percent(wide)}` : ""}; without the equivalent ones ${percent(killed / (ours.length - equal))}`,
    );
  }
  return isWell;
}

/** @type {Map<string, readonly string[]>} */
const sources = new Map();

/** The text of its line. @param {Mutant} mutant */
function lineOf({ file, line }) {
  let lines = sources.get(file);
  if (lines === undefined) {
    lines = readFileSync(join(ROOT, file), "utf8").split("\n");
    sources.set(file, lines);
  }
  return lines[line - 1] ?? "";
}

/** @param {number} share */
function percent(share) {
  return `${(share * 100).toFixed(1)} %`;
}

/** @param {string} text */
function short(text) {
  const line = text.replace(/\s+/g, " ");
  return line.length > 90 ? `${line.slice(0, 87)}…` : line;
}

/** @param {number} sinceMs */
function seconds(sinceMs) {
  return Math.round((performance.now() - sinceMs) / 1_000);
}

/** @param {Mutant} mutant @param {readonly number[]} order @param {readonly Measured[]} tests */
function taskOf({ start, end, put }, order, tests) {
  const limits = order.map((at) => /** @type {Measured} */ (tests[at]).ms * TIMES + MORE_MS);
  return { kind: "judge", start, end, put, tests: order, limits };
}

/** Those that killed a neighbour, then the quickest. @param {readonly number[]} tests @param {readonly Measured[]} measured @param {readonly number[]} neighbours */
function inOrder(tests, measured, neighbours) {
  const cost = (/** @type {number} */ at) => {
    const before = neighbours.indexOf(at);
    return before === -1 ? /** @type {Measured} */ (measured[at]).ms : before / 100;
  };
  return tests
    .filter((at) => /** @type {Measured} */ (measured[at]).ms <= options.testMs)
    .sort((a, b) => cost(a) - cost(b));
}

/**
 * The tests that come by each mutant. What runs while modules are loaded is part of every test.
 * @param {readonly Mutant[]} mutants
 * @param {readonly Measured[]} tests
 */
function testsOf(mutants, tests) {
  /** @type {number[][]} */
  const byMark = [[...tests.keys()]];
  tests.forEach(({ marks }, test) => {
    for (const mark of marks) {
      byMark[mark] ??= [];
      byMark[mark]?.push(test);
    }
  });
  return new Map(mutants.map(({ id, mark }) => [id, byMark[mark] ?? []]));
}

/** @param {readonly Mutant[]} all @param {ReadonlyMap<string, string | null> | null} before */
function chosenOf(all, before) {
  const wanted = all.filter((mutant) => {
    const { file, line } = mutant;
    return `${file}:${line}`.includes(options.file) && (before === null || before.has(keyOf(mutant)));
  });
  if (options.sample === 0 || before !== null) return wanted;
  const random = randomOf(options.seed);
  return ROOMS.flatMap((room) => {
    const ours = wanted.filter(({ file }) => room.holds(file));
    for (let at = ours.length - 1; at > 0; at--) {
      const other = Math.floor(random() * (at + 1));
      [ours[at], ours[other]] = /** @type {[Mutant, Mutant]} */ ([ours[other], ours[at]]);
    }
    return ours.slice(0, options.sample).sort((a, b) => a.id - b.id);
  });
}

/** What killed which, in an earlier run. @param {string} path what `--json` has made @returns {Map<string, string | null>} */
function earlier(path) {
  /** @type {Map<string, string | null>} */
  const found = new Map();
  for (const row of JSON.parse(readFileSync(path, "utf8"))) {
    // Two of one line may look alike: then both are tried again.
    if (found.get(keyOf(row)) !== null) found.set(keyOf(row), row.killer);
  }
  return found;
}

/** @param {Mutant} mutant */
function keyOf({ file, line, from, put }) {
  return JSON.stringify([file, line, from, put]);
}

/** @param {number} seed mulberry32 */
function randomOf(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

class Runner {
  /** @param {string} path */
  constructor(path) {
    this.child = fork(RUNNER, [path]);
  }

  /** @param {object} task @returns {Promise<any>} */
  do(task) {
    return new Promise((resolve, reject) => {
      this.child.once("exit", reject);
      this.child.once("message", (answer) => {
        this.child.off("exit", reject);
        resolve(answer);
      });
      this.child.send(task);
    });
  }

  end() {
    this.child.disconnect();
  }
}

/** @param {readonly string[]} given */
function optionsOf(given) {
  const found = {
    room: /** @type {string | null} */ (null),
    file: "",
    sample: 0,
    least: 85,
    seed: 1,
    jobs: Math.min(2, availableParallelism()),
    json: /** @type {string | null} */ (null),
    keep: /** @type {string | null} */ (null),
    again: /** @type {string | null} */ (null),
    measured: /** @type {string | null} */ (null),
    tests: false,
    quick: false,
    testMs: Number.POSITIVE_INFINITY,
  };
  for (let at = 0; at < given.length; at++) {
    const flag = given[at];
    if (flag === "--tests") found.tests = true;
    else if (flag === "--quick") found.quick = true;
    else if (flag === "--room") found.room = given[++at] ?? "";
    else if (flag === "--file") found.file = given[++at] ?? "";
    else if (flag === "--json") found.json = given[++at] ?? null;
    else if (flag === "--keep") found.keep = given[++at] ?? null;
    else if (flag === "--again") found.again = given[++at] ?? null;
    else if (flag === "--measured") found.measured = given[++at] ?? null;
    else if (flag === "--sample") found.sample = Number(given[++at]);
    else if (flag === "--least") found.least = Number(given[++at]);
    else if (flag === "--seed") found.seed = Number(given[++at]);
    else if (flag === "--jobs") found.jobs = Number(given[++at]);
    else if (flag === "--test-ms") found.testMs = Number(given[++at]);
    else {
      console.error(`Unknown option ${flag}.`);
      process.exit(64);
    }
  }
  return found;
}

process.exit(await main());
