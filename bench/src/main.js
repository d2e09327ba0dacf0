/** Runs LockDB and its peers in one run on one machine, in turns, and prints figures and ratios. */

import { writeFile } from "node:fs/promises";
import { availableParallelism, cpus, loadavg, release, totalmem, type } from "node:os";
import { measureAloneAll } from "./alone.js";
import { measureAll, planOf } from "./measure.js";
import { HELP, readOptions } from "./options.js";
import { cleanUpNow } from "./processes.js";
import { isValid, median, ratioOf, subjectOf, tableOf } from "./report.js";
import { judgeTargets, tableOfTargets } from "./targets.js";
import { ALONE } from "./workloads/alone.js";
import { unfitFor, WORKLOADS } from "./workloads/index.js";

const EXIT_USAGE = 64;
/** Since the start of the program: then it is LockDB's turn by itself. */
const QUICK_BESIDE_PEERS_ENDS_MS = 30_000;

process.on("exit", cleanUpNow);
for (const [signal, number] of Object.entries({ SIGHUP: 1, SIGINT: 2, SIGTERM: 15 })) {
  process.on(signal, () => process.exit(128 + number));
}

process.exit(await main());

async function main() {
  const options = await readOptions(process.argv.slice(2));
  if (typeof options === "string") {
    process.stderr.write(`${options}\n`);
    return EXIT_USAGE;
  }
  if (options.isHelp) {
    process.stdout.write(HELP);
    return 0;
  }

  const machine = describeMachine();
  say(
    `${machine.cpus} x ${machine.cpuModel}, ${machine.memoryGiB} GiB, ${machine.system}, node ${machine.node}`,
  );
  if (machine.loadAtStart > machine.cpus / 2) {
    say(`The machine is busy already (load ${machine.loadAtStart.toFixed(1)}): expect noise.`);
  }

  const { workloads, alone, isQuick } = options;
  const { started, presence } = await startPeers(options);
  const peers = options.peers.filter(({ name }) => started.has(name));
  const ends = alone.length > 0 ? { quickEndsMs: QUICK_BESIDE_PEERS_ENDS_MS } : {};
  const plan = planOf({ ...options, ...ends }, peers);
  if (workloads.length > 0) {
    const { windowMs, warmUpMs } = plan.timing;
    say(
      `${plan.rounds} round(s) of ${workloads.map(({ name }) => name).join(", ")}` +
        `${plan.lanes > 1 ? `, ${plan.lanes} measurements at a time` : ""};` +
        ` ${isQuick ? "at most " : ""}${windowMs} ms each after ${warmUpMs} ms of warm-up;` +
        ` about ${durationText(plan.totalMs)}\n`,
    );
  }
  const results = await measureAll(plan, { workloads, peers, started, progress, say });
  await Promise.all([...started.values()].map((server) => server.stop()));

  for (const workload of workloads) {
    const own = results.filter((result) => result.workload === workload.name);
    say(`${tableOf(workload, peers, own)}\n`);
  }
  const aloneResults = await measureAloneAll({ ...options, progress, say });
  const targets = [
    ...judgeTargets(results, { isJudged: plan.lanes === 1 }),
    ...judgeTargets(aloneResults, { isJudged: !isQuick }),
  ];
  if (targets.length > 0) say(`${tableOfTargets(targets)}\n`);
  if (workloads.length > 0) sayOfPeers(peers);
  if (isQuick) say("This was a quick run: it shows that everything works; take no figures from it.");

  if (options.json !== undefined) {
    const report = {
      machine,
      plan,
      peers: presence,
      results: results.map(withMedians(results)),
      alone: aloneResults.map(withMedians(aloneResults)),
      targets,
    };
    await writeFile(options.json, `${JSON.stringify(report, null, 2)}\n`);
    say(`Written: ${options.json}`);
  }
  const failures = [...results, ...aloneResults].flatMap(({ workload, peer, rounds, failures, unfit }) => {
    const why =
      unfit === undefined && rounds.length + failures.length === 0 ? ["no time was left"] : failures;
    return why.map((failure) => `${workload}, ${peer}: ${failure}`);
  });
  for (const failure of failures) process.stderr.write(`VOID ${failure}\n`);
  for (const { name, skipped, failed } of presence) {
    if (failed) process.stderr.write(`VOID ${name}: ${skipped?.split("\n")[0]}\n`);
  }
  // A peer may be missing; LockDB may not, and what was found must work.
  const complete =
    (started.has("lockdb") || workloads.length === 0) && presence.every(({ failed }) => !failed);
  return complete && failures.length === 0 ? 0 : 1;
}

/**
 * Those that any of the workloads needs, all at the same time.
 *
 * @param {{ workloads: readonly import("./workloads/index.js").Workload[], peers: readonly import("./peers/index.js").Peer[] }} options
 */
async function startPeers({ workloads, peers }) {
  /** @type {Map<string, import("./peers/index.js").Started>} */
  const started = new Map();
  const needed = peers.filter((peer) =>
    workloads.some((workload) => peer.name === "lockdb" || unfitFor(workload, peer) === undefined),
  );
  const presence = await Promise.all(
    needed.map(async (peer) => {
      const { name, durable, onCrash } = peer;
      const found = await peer.find();
      if (!found.found) return { name, durable, onCrash, skipped: found.why, failed: false };
      try {
        started.set(name, await peer.start());
        return { name, durable, onCrash, version: found.version, failed: false };
      } catch (error) {
        const why = `did not start: ${error instanceof Error ? error.message : error}`;
        return { name, durable, onCrash, skipped: why, failed: true };
      }
    }),
  );
  for (const { name, version, skipped } of presence) {
    say(version === undefined ? `  skipped ${name}: ${skipped}` : `  found   ${name}: ${version}`);
  }
  return { started, presence };
}

/** @param {readonly import("./report.js").Result[]} results */
function withMedians(results) {
  return (/** @type {import("./report.js").Result} */ result) => {
    /** @type {import("./targets.js").Workload | undefined} */
    const workload = [...WORKLOADS, ...ALONE].find(({ name }) => name === result.workload);
    if (workload === undefined) return result;
    const { figures } = workload;
    const subject = results.find((one) => one.workload === workload.name && one.peer === subjectOf(workload));
    const medians = figures.map(({ key }) => [key, median(result.rounds.map((round) => round[key]))]);
    return {
      ...result,
      medians: isValid(result) ? Object.fromEntries(medians) : null,
      lockdbRatio: ratioOf(subject, result, figures[0].key) ?? null,
    };
  };
}

function describeMachine() {
  return {
    cpus: availableParallelism(),
    cpuModel: cpus()[0]?.model.trim() ?? "unknown",
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${release()}`,
    node: process.versions.node,
    loadAtStart: loadavg()[0],
  };
}

/** @param {readonly import("./peers/index.js").Peer[]} peers */
function sayOfPeers(peers) {
  say("A cycle is lock + unlock. Figures are medians over the rounds, ratios are taken within a round.");
  say("`LockDB is 2.00 x it`: its first figure is twice that of the row, whether more is better or less.");
  say("What a crash of the server does to the locks that are held:");
  for (const line of crashLines(peers)) say(`  ${line}`);
}

/**
 * Each fate once, with all whom it befalls.
 *
 * @param {readonly import("./peers/index.js").Peer[]} peers
 */
function crashLines(peers) {
  const fates = new Set(peers.filter(({ excludes }) => excludes).map(({ onCrash }) => onCrash));
  return [...fates].map((fate) => {
    const names = peers.flatMap(({ name, onCrash }) => (onCrash === fate ? [name] : []));
    return `${names.join(", ")}: ${fate}`;
  });
}

/** @param {number} ms */
function durationText(ms) {
  return ms < 120_000 ? `${Math.ceil(ms / 1_000)} s` : `${Math.ceil(ms / 60_000)} minutes`;
}

function say(/** @type {string} */ text) {
  process.stdout.write(`${text}\n`);
}

/** One line that is written over, for whoever watches; nothing in a pipe. */
function progress(/** @type {string} */ text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}
