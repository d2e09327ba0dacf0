/**
 * Plants every bug of the list, one at a time, and sees each found by what the list says.
 *
 *     node tests/mutants/run.js [--quick | --only ID…] [--search [SEEDS] | --table]
 *
 * `--search` looks for new seeds, when a change of the simulator has moved them; `--table` prints docs/mutants.md. `--quick` leaves out those
 * that are found by tests of servers over HTTP, of keys, webhooks and backups, of the command line, of the web page and of a database: they take longer than all
 * others together.
 */
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { isSeed, MUTANTS, page, problemsOf } from "./mutants.js";
import { ROOT, Sandbox, temporaryFolder } from "./sandbox.js";

/** @typedef {import("./mutants.js").Mutant} Mutant */
/** @typedef {import("./mutants.js").SeedKiller} SeedKiller */

const COPIES_MAX = 2;
const SEARCHED_SEEDS = 3_000;
/** Tests that start servers, programs or a browser. */
const SLOW =
  /\/test\/(http|cli|page|access|webhooks|backup|loop\/broken|cluster\/(accounts|two-members|sharing))|dashboard|examples/;

const options = optionsOf(process.argv.slice(2));
if (options.table) process.stdout.write(page());
else process.exit(await main());

async function main() {
  const problems = problemsOf((file) => readFileSync(join(ROOT, file), "utf8"));
  if (problems.length > 0) return complain(problems);
  const asked = MUTANTS.filter(({ id }) => options.only.size === 0 || options.only.has(id));
  const chosen = options.quick
    ? asked.filter(({ killedBy }) => isSeed(killedBy) || !SLOW.test(killedBy.test))
    : asked;
  const folder = temporaryFolder();
  const count = Math.min(COPIES_MAX, availableParallelism(), chosen.length);
  const sandboxes = Array.from({ length: count }, (_, at) => new Sandbox(join(folder, `${at + 1}`)));
  const said = (await Promise.all(sandboxes.map((sandbox) => sandbox.build()))).join("");
  if (said !== "") return complain(["The healthy code does not build:", said]);
  if (options.search > 0) return searchAll(chosen, sandboxes);
  const unhealthy = await healthProblems(chosen, sandboxes);
  if (unhealthy.length > 0) return complain(unhealthy);
  return killAll(chosen, sandboxes);
}

/** @param {readonly string[]} lines */
function complain(lines) {
  for (const line of lines) console.error(line);
  return 1;
}

/** @param {readonly Mutant[]} chosen @param {readonly Sandbox[]} sandboxes */
async function killAll(chosen, sandboxes) {
  let killed = 0;
  await inParallel(chosen, sandboxes, async (mutant, sandbox) => {
    const startedMs = performance.now();
    const { isKilled, by } = await kill(mutant, sandbox);
    if (isKilled) killed++;
    const seconds = ((performance.now() - startedMs) / 1_000).toFixed(1);
    console.log(`${isKilled ? "killed  " : "SURVIVED"} ${mutant.id}: ${by} (${seconds} s)`);
  });
  console.log(`${chosen.length} mutants, ${killed} killed, ${chosen.length - killed} survived`);
  return killed === chosen.length ? 0 : 1;
}

/**
 * @param {Mutant} mutant
 * @param {Sandbox} sandbox
 * @returns {Promise<{ isKilled: boolean, by: string }>}
 */
function kill(mutant, sandbox) {
  const { killedBy } = mutant;
  return sandbox.with(mutant, async () => {
    const said = await sandbox.build();
    // Whoever does not build it has not found it.
    if (said !== "") return { isKilled: false, by: `it does not build: ${said.split("\n")[0]}` };
    if (isSeed(killedBy)) {
      const found = await sandbox.simulate(killedBy);
      const isKilled = typeof found !== "string";
      return { isKilled, by: `${wordsOf(killedBy)}: ${isKilled ? `VIOLATION [${found.rule}]` : found}` };
    }
    const results = await sandbox.test([killedBy]);
    if (typeof results === "string") return { isKilled: false, by: results };
    const state = results.map(({ isThere, failed }) =>
      failed ? "fails" : isThere ? "passes" : "did not run",
    );
    return { isKilled: state[0] === "fails", by: `test ${killedBy.name} ${state}` };
  });
}

/**
 * Every killer must pass where no bug is planted.
 * @param {readonly Mutant[]} chosen
 * @param {readonly Sandbox[]} sandboxes
 */
async function healthProblems(chosen, sandboxes) {
  const killers = chosen.map(({ killedBy }) => killedBy);
  const [first, last] = [sandboxes[0], sandboxes.at(-1)];
  const testing = last?.test(killers.flatMap((killer) => (isSeed(killer) ? [] : [killer])));
  const simulators = [await first?.simulator(false), await first?.simulator(true)];
  const problems = [];
  const seeds = new Map(killers.filter(isSeed).map((killer) => [wordsOf(killer), killer]));
  for (const [words, { seed, steps, wild = false, cluster = false }] of seeds) {
    const simulate = simulators[cluster ? 1 : 0];
    const [found] = (await simulate?.({ seed, steps, wildClocks: wild }))?.violations ?? [];
    if (found !== undefined) problems.push(`${words}, on the healthy code: [${found.rule}] ${found.text}`);
  }
  const results = await testing;
  if (typeof results === "string") return [...problems, results];
  for (const { test, name, isThere, failed } of results ?? []) {
    if (!isThere) problems.push(`${test} has no test ${name} that runs`);
    if (failed) problems.push(`the test ${name} of ${test} fails on the healthy code`);
  }
  return problems;
}

/**
 * Looks for seeds anew; one that still finds its bug stays.
 * @param {readonly Mutant[]} chosen
 * @param {readonly Sandbox[]} sandboxes
 */
async function searchAll(chosen, sandboxes) {
  let missing = 0;
  await inParallel(chosen, sandboxes, async (mutant, sandbox) => {
    const { id, killedBy } = mutant;
    if (!isSeed(killedBy)) return;
    const found = await sandbox.with(mutant, async () => {
      const said = await sandbox.build();
      if (said !== "") return `it does not build: ${said}`;
      const again = await sandbox.simulate(killedBy);
      return typeof again === "string" ? sandbox.simulate({ ...killedBy, seed: 1 }, options.search) : again;
    });
    if (typeof found === "string") {
      missing++;
      return console.log(`${id}: ${found}, up to seed ${options.search}`);
    }
    const { seed, rule } = found;
    const steps = killedBy.steps.toLocaleString("en").replaceAll(",", "_");
    const more = `${killedBy.wild ? ", wild: true" : ""}${killedBy.cluster ? ", cluster: true" : ""}`;
    const words = `{ seed: ${seed}, steps: ${steps}${more} }`;
    console.log(
      `${id}: killedBy: ${words}, [${rule}]${seed === killedBy.seed ? "" : `, was ${killedBy.seed}`}`,
    );
  });
  return missing === 0 ? 0 : 1;
}

/** @param {SeedKiller} killer */
function wordsOf({ seed, steps, wild, cluster }) {
  return `seed ${seed}, ${steps} steps${wild ? ", wild clocks" : ""}${cluster ? ", of a cluster" : ""}`;
}

/**
 * @template T
 * @param {readonly T[]} items
 * @param {readonly Sandbox[]} sandboxes
 * @param {(item: T, sandbox: Sandbox) => Promise<void>} work
 */
async function inParallel(items, sandboxes, work) {
  const rest = [...items];
  await Promise.all(
    sandboxes.map(async (sandbox) => {
      for (let item = rest.shift(); item !== undefined; item = rest.shift()) await work(item, sandbox);
    }),
  );
}

/** @param {readonly string[]} given */
function optionsOf(given) {
  const found = { only: new Set(), search: 0, table: false, quick: false };
  for (let at = 0; at < given.length; at++) {
    const [flag, next = ""] = [given[at], given[at + 1]];
    if (flag === "--table") found.table = true;
    else if (flag === "--quick") found.quick = true;
    else if (flag === "--search") {
      const hasBound = /^\d+$/.test(next);
      found.search = hasBound ? Number(next) : SEARCHED_SEEDS;
      if (hasBound) at++;
    } else if (flag === "--only" && MUTANTS.some(({ id }) => id === next)) {
      found.only.add(next);
      at++;
    } else {
      console.error(flag === "--only" ? `There is no mutant "${next}".` : `Unknown option ${flag}.`);
      console.error("npm run mutants -- [--quick | --only ID]… [--search [SEEDS] | --table]");
      process.exit(64);
    }
  }
  return found;
}
