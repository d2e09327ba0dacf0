/** Runs LockDB and its peers in one run on one machine, in turns, and prints figures and ratios. */

import { access, constants, writeFile } from "node:fs/promises";
import { availableParallelism, cpus, loadavg, release, totalmem, type } from "node:os";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { PEERS } from "./peers/index.js";
import { cleanUpNow, runProgram } from "./processes.js";
import { median, ratioToLockdb, tableOf } from "./report.js";
import { WORKLOADS } from "./workloads/index.js";

const LOAD = fileURLToPath(new URL("./load.js", import.meta.url));
const ROUNDS_MAX = 100;
const QUICK_TOTAL_MS = 42_000; // The rest of the minute is for the build and for starting the servers.
const QUICK_ROUND_ENDS_MS = 48_000; // On a slow machine a round that would end later is left out.
const LOAD_START_MS = 450;
const EXIT_USAGE = 64;

const HELP = `Measures LockDB and its peers, in turns, in one run on this machine.

  npm run bench -- [options]

  --only NAME   run one workload: ${WORKLOADS.map(({ name }) => name).join(", ")}
  --quick       3 short rounds, within a minute: shows that it works, not how fast
  --rounds N    rounds to take the medians over, 1 to ${ROUNDS_MAX} (default 5; quick 3)
  --json FILE   also write everything, round by round, to FILE
  --help        this text

Only ratios of one run mean anything: see docs/benchmarks.md.
`;

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
  if (options.help) {
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

  const { started, presence } = await startPeers();
  const peers = PEERS.filter(({ name }) => started.has(name));
  const plan = planOf(options, peers);
  say(
    `${plan.rounds} round(s) of ${options.workloads.map(({ name }) => name).join(", ")};` +
      ` ${plan.timing.windowMs} ms each after ${plan.timing.warmUpMs} ms of warm-up;` +
      ` about ${Math.ceil(plan.totalMs / 1_000)} s\n`,
  );
  const results = await measureAll(plan, options, peers, started);
  for (const server of started.values()) await server.stop();

  for (const workload of options.workloads) {
    const own = results.filter((result) => result.workload === workload.name);
    say(`${tableOf(workload, peers, own)}\n`);
  }
  say(
    "Cycles are lock + unlock; medians over the rounds. `LockDB is 2.00 x it`: twice as many cycles as that row.",
  );
  say("What a crash of the server does to the locks that are held:");
  for (const peer of peers.filter(({ excludes }) => excludes)) say(`  ${peer.title}: ${peer.onCrash}`);
  if (options.quick) say("This was a quick run: it shows that everything works; take no figures from it.");

  if (options.json !== undefined) {
    const report = {
      machine,
      quick: options.quick,
      plan,
      peers: presence,
      results: results.map(withMedians(results)),
    };
    await writeFile(options.json, `${JSON.stringify(report, null, 2)}\n`);
    say(`Written: ${options.json}`);
  }
  const failures = results.flatMap(({ workload, peer, failures }) =>
    failures.map((failure) => `${workload}, ${peer}: ${failure}`),
  );
  for (const failure of failures) process.stderr.write(`VOID ${failure}\n`);
  // A peer may be missing; LockDB may not, and what was found must work.
  const complete = started.has("lockdb") && presence.every(({ failed }) => !failed);
  return complete && failures.length === 0 ? 0 : 1;
}

/** @param {string[]} args */
async function readOptions(args) {
  try {
    const { values } = parseArgs({
      args,
      options: {
        only: { type: "string" },
        quick: { type: "boolean", default: false },
        rounds: { type: "string" },
        json: { type: "string" },
        help: { type: "boolean", default: false },
      },
    });
    const workloads = WORKLOADS.filter(({ name }) => values.only === undefined || values.only === name);
    if (workloads.length === 0) {
      return `--only ${values.only}: choose one of ${WORKLOADS.map(({ name }) => name).join(", ")}`;
    }
    const rounds = values.rounds === undefined ? (values.quick ? 3 : 5) : Number(values.rounds);
    if (!Number.isInteger(rounds) || rounds < 1 || rounds > ROUNDS_MAX) {
      return `--rounds ${values.rounds}: give a whole number from 1 to ${ROUNDS_MAX}`;
    }
    // `npm --prefix` runs us in another folder than the caller's, and says here which that was.
    const json =
      values.json === undefined ? undefined : resolve(process.env.INIT_CWD ?? process.cwd(), values.json);
    if (json !== undefined) await access(dirname(json), constants.W_OK);
    return { workloads, rounds, quick: values.quick, json, help: values.help };
  } catch (error) {
    return `${error instanceof Error ? error.message : error}\nSee --help.`;
  }
}

async function startPeers() {
  /** @type {Map<string, import("./peers/index.js").Started>} */
  const started = new Map();
  const presence = [];
  for (const peer of PEERS) {
    const { name, durable, onCrash } = peer;
    const found = await peer.find();
    if (!found.found) {
      say(`  skipped ${name}: ${found.why}`);
      presence.push({ name, durable, onCrash, skipped: found.why, failed: false });
      continue;
    }
    try {
      started.set(name, await peer.start());
      say(`  found   ${name}: ${found.version}`);
      presence.push({ name, durable, onCrash, version: found.version, failed: false });
    } catch (error) {
      const why = `did not start: ${error instanceof Error ? error.message : error}`;
      say(`  skipped ${name}: ${why}`);
      presence.push({ name, durable, onCrash, skipped: why, failed: true });
    }
  }
  return { started, presence };
}

/**
 * @param {{ quick: boolean, rounds: number, workloads: readonly import("./workloads/index.js").Workload[] }} options
 * @param {readonly import("./peers/index.js").Peer[]} peers
 */
function planOf({ quick, rounds, workloads }, peers) {
  const pairs = workloads.flatMap((workload) => peers.filter((peer) => workload.unfit(peer) === undefined));
  const measurements = Math.max(1, pairs.length * rounds);
  const proofMs = quick ? 150 : 250;
  const warmUpMs = quick ? 250 : 500;
  const aroundMs = LOAD_START_MS + proofMs + warmUpMs;
  const windowFitting = Math.floor(QUICK_TOTAL_MS / measurements) - aroundMs;
  const windowMs = quick ? Math.max(250, Math.min(1_000, windowFitting)) : 2_000;
  return { rounds, proofMs, timing: { warmUpMs, windowMs }, totalMs: measurements * (aroundMs + windowMs) };
}

/**
 * @param {ReturnType<typeof planOf>} plan
 * @param {{ quick: boolean, workloads: readonly import("./workloads/index.js").Workload[] }} options
 * @param {readonly import("./peers/index.js").Peer[]} peers
 * @param {ReadonlyMap<string, import("./peers/index.js").Started>} started
 */
async function measureAll(plan, { quick, workloads }, peers, started) {
  const results = workloads.flatMap((workload) =>
    peers.map((peer) => {
      const unfit = workload.unfit(peer);
      /** @type {import("./report.js").Result} */
      const result = { workload: workload.name, peer: peer.name, rounds: [], failures: [] };
      return unfit === undefined ? result : { ...result, unfit };
    }),
  );
  const { proofMs, timing } = plan;
  const withinMs = proofMs + timing.warmUpMs + timing.windowMs + 15_000;
  const startMs = performance.now();
  for (let round = 0; round < plan.rounds; round += 1) {
    // Whole rounds only: a ratio needs both peers in the same round.
    const spentMs = performance.now() - startMs;
    if (quick && round > 0 && spentMs * (1 + 1 / round) > QUICK_ROUND_ENDS_MS) {
      progress("");
      say(`The machine is slow: stopped after ${round} of ${plan.rounds} rounds to stay within a minute.\n`);
      break;
    }
    for (const workload of workloads) {
      // Peers take turns, and another one begins each round, so what disturbs the machine disturbs all alike.
      const turn = peers.map((_, index) => peers[(index + round) % peers.length]);
      for (const peer of turn) {
        const result = results.find((one) => one.workload === workload.name && one.peer === peer.name);
        const server = started.get(peer.name);
        // A peer that failed here is void here: another round would not mend it, only cost its time-out.
        if (!result || !server || result.unfit !== undefined || result.failures.length > 0) continue;
        progress(`round ${round + 1} of ${plan.rounds}: ${workload.name}, ${peer.name}`);
        const job = { peer: peer.name, workload: workload.name, endpoint: server.endpoint, proofMs, timing };
        try {
          const outcome = await runProgram(LOAD, job, withinMs);
          result.rounds.push(outcome.figures);
          if (outcome.void !== null) result.failures.push(outcome.void);
        } catch (error) {
          result.failures.push(error instanceof Error ? error.message : String(error));
        }
      }
    }
  }
  progress("");
  return results;
}

/** @param {readonly import("./report.js").Result[]} results */
function withMedians(results) {
  return (/** @type {import("./report.js").Result} */ result) => {
    const workload = WORKLOADS.find(({ name }) => name === result.workload);
    const lockdb = results.find((one) => one.workload === result.workload && one.peer === "lockdb");
    const figures = workload?.figures ?? [];
    const valid = result.rounds.length > 0 && result.failures.length === 0;
    const medians = figures.map(({ key }) => [key, median(result.rounds.map((round) => round[key]))]);
    return {
      ...result,
      medians: valid ? Object.fromEntries(medians) : null,
      lockdbRatio: ratioToLockdb(lockdb, result, figures[0]?.key ?? "") ?? null,
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

function say(/** @type {string} */ text) {
  process.stdout.write(`${text}\n`);
}

/** One line that is written over, for whoever watches; nothing in a pipe. */
function progress(/** @type {string} */ text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}
