/** Who is measured in what, when, and for how long. */

import { fileURLToPath } from "node:url";
import { judge } from "./exclusion.js";
import { runTogether, Spare } from "./run-together.js";
import { unfitFor } from "./workloads/index.js";

const LOAD = fileURLToPath(new URL("./load.js", import.meta.url));
/** In a full run, when no number is given. */
export const ROUNDS = 5;
const FULL = { proofMs: 250, warmUpMs: 2_000, windowMs: 1_500 };

const QUICK_ROUNDS_MAX = 3;
const QUICK = { proofMs: 60, warmUpMs: 300, windowMs: 1_000 };
const QUICK_WINDOW_MIN_MS = 150;
const QUICK_PROCESSES_MAX = 2;
/** Since the start of the program. The rest of the minute is for the installation and the build before it. */
const QUICK_ENDS_MS = 40_000;
/** So many are measured at a time when there is no time for one after the other. Their figures mean nothing then. */
const LANES = 4;
const TOGETHER = { proofMs: 40, warmUpMs: 50, windowMs: 100 };
/** How many times as fast they are as one after the other: mostly they wait for the processors. */
const TOGETHER_AS_FAST = 1.5;
/** After that nothing is waited for any longer. */
const QUICK_GRACE_MS = 6_000;

/** Until a load process is ready and until it has ended; each further process beside it. */
const AROUND_MS = 350;
const AROUND_EACH_MS = 150;
/** How much longer than expected it may take. */
const PATIENCE_MS = 20_000;

/**
 * @typedef {import("./workloads/index.js").Workload} Workload
 * @typedef {import("./peers/index.js").Peer} Peer
 * @typedef {import("./report.js").Result} Result
 *
 * @typedef {object} Plan
 * @property {boolean} isQuick
 * @property {number} rounds
 * @property {number} lanes how many are measured at a time
 * @property {number} proofMs
 * @property {import("./workloads/index.js").Timing} timing In a quick run the longest; the window shrinks as time runs out.
 * @property {number} endsMs In a quick run nothing is begun so long after the start of the program.
 * @property {number} totalMs
 */

/**
 * @param {{ isQuick: boolean, rounds: number | undefined, workloads: readonly Workload[], quickEndsMs?: number }} options
 * @param {readonly Peer[]} peers
 * @returns {Plan}
 */
export function planOf({ isQuick, rounds, workloads, quickEndsMs = QUICK_ENDS_MS }, peers) {
  const pairs = workloads.flatMap((workload) =>
    peers.flatMap((peer) => (unfitFor(workload, peer) === undefined ? [workload] : [])),
  );
  const { proofMs, ...durations } = isQuick ? QUICK : FULL;
  const timing = { ...durations, isQuick };
  const roundMs = (/** @type {import("./workloads/index.js").Timing} */ timing) =>
    pairs.reduce((sum, workload) => sum + expectedMs(workload, proofMs, timing), 0);
  if (!isQuick) {
    const count = rounds ?? ROUNDS;
    const totalMs = count * roundMs(timing);
    return { isQuick, rounds: count, lanes: 1, proofMs, timing, endsMs: Number.POSITIVE_INFINITY, totalMs };
  }
  const endsMs = quickEndsMs;
  const leftMs = endsMs - performance.now();
  const shortest = roundMs({ ...timing, windowMs: 2 * QUICK_WINDOW_MIN_MS });
  const count = rounds ?? Math.max(1, Math.min(QUICK_ROUNDS_MAX, Math.floor(leftMs / shortest)));
  if (count * shortest < leftMs) {
    const totalMs = Math.min(leftMs, count * roundMs(timing));
    return { isQuick, rounds: count, lanes: 1, proofMs, timing, endsMs, totalMs };
  }
  const { proofMs: proofShortMs, ...short } = TOGETHER;
  const totalMs = (count * roundMs({ ...short, isQuick })) / TOGETHER_AS_FAST;
  return {
    isQuick,
    rounds: count,
    lanes: LANES,
    proofMs: proofShortMs,
    timing: { ...short, isQuick },
    endsMs,
    totalMs: Math.min(totalMs, leftMs),
  };
}

/**
 * @param {Plan} plan
 * @param {object} options
 * @param {readonly Workload[]} options.workloads
 * @param {readonly Peer[]} options.peers
 * @param {ReadonlyMap<string, import("./peers/index.js").Started>} options.started
 * @param {(text: string) => void} options.progress
 * @param {(text: string) => void} options.say
 * @returns {Promise<Result[]>}
 */
export async function measureAll(plan, { workloads, peers, started, progress, say }) {
  const entries = workloads.flatMap((workload) =>
    peers.map((peer) => {
      const unfit = unfitFor(workload, peer);
      /** @type {Result} */
      const result = { workload: workload.name, peer: peer.name, rounds: [], failures: [] };
      return { workload, peer, result: unfit === undefined ? result : { ...result, unfit } };
    }),
  );
  const pace = new Pace(plan, entries.filter(({ result }) => result.unfit === undefined).length);
  for (let round = 0; round < plan.rounds; round += 1) {
    if (!pace.hasTimeForRound(round)) {
      progress("");
      say(`The machine is slow: stopped after ${round} of ${plan.rounds} rounds to stay within a minute.\n`);
      break;
    }
    const due = workloads.flatMap((workload) => {
      // Peers take turns, and another one begins each round, so what disturbs the machine disturbs all alike.
      const turn = peers.map((_, index) => peers[(index + round) % peers.length]);
      return turn.flatMap((peer) =>
        entries.filter((one) => one.workload === workload && one.peer === peer && isDue(one)),
      );
    });
    const queues = plan.lanes > 1 ? queueByPeer(due) : [due];
    const lane = async () => {
      for (let queue = queues.shift(); queue !== undefined; queue = queues.shift()) {
        const spare = plan.lanes > 1 ? new Spare() : undefined;
        for (const { workload, peer, result } of queue) {
          const server = started.get(peer.name);
          const turn = pace.begin(workload);
          if (server === undefined || turn === undefined) continue;
          progress(`round ${round + 1} of ${plan.rounds}: ${workload.name}, ${peer.name}`);
          await measure({ workload, peer, result }, server.endpoint, plan, turn.timing, spare);
          turn.end();
        }
        await spare?.end();
      }
    };
    await Promise.all(Array.from({ length: plan.lanes }, lane));
  }
  progress("");
  return entries.map(({ result }) => result);
}

/** A peer that failed is void here: another round would not mend it, only cost its time-out. */
const isDue = (/** @type {{ result: Result }} */ { result }) =>
  result.unfit === undefined && result.failures.length === 0;

/**
 * Together, the measurements of a peer share a process as far as they can: to start one takes longer than they do. The
 * longest queue first, so that none is left alone at the end.
 *
 * @template {{ peer: Peer }} T
 * @param {readonly T[]} due
 */
function queueByPeer(due) {
  const queues = [...new Set(due.map(({ peer }) => peer))].map((peer) =>
    due.filter((one) => one.peer === peer),
  );
  return queues.sort((a, b) => b.length - a.length);
}

/** A full run takes as long as it takes; in a quick one the windows are what the time allows. */
class Pace {
  #plan;
  #left;
  #startMs = performance.now();
  #besideMs = AROUND_MS;

  /**
   * @param {Plan} plan
   * @param {number} aRound how many measurements there are in one
   */
  constructor(plan, aRound) {
    this.#plan = plan;
    this.#left = aRound * plan.rounds;
  }

  /** Whole rounds only: a ratio needs both peers in the same round. @param {number} round */
  hasTimeForRound(round) {
    if (!this.#plan.isQuick || round === 0) return true;
    const spentMs = performance.now() - this.#startMs;
    return performance.now() + spentMs / round < this.#plan.endsMs;
  }

  /** @param {Workload} workload */
  begin(workload) {
    const { isQuick, lanes, proofMs, timing } = this.#plan;
    if (!isQuick) return { timing, end: () => {} };
    const beganMs = performance.now();
    const leftMs = this.#plan.endsMs - beganMs;
    if (leftMs < 0) return undefined;
    const eachMs = (leftMs * lanes) / this.#left - this.#besideMs - proofMs - timing.warmUpMs;
    const windowMs = Math.round(Math.min(timing.windowMs, Math.max(QUICK_WINDOW_MIN_MS, eachMs)));
    this.#left -= 1;
    const quick = { ...timing, windowMs };
    const wantedMs = workload.takesMs?.(quick) ?? proofMs + timing.warmUpMs + windowMs;
    const end = () => {
      // What a measurement costs beside its window is learned as we go.
      const besideMs = performance.now() - beganMs - wantedMs;
      this.#besideMs += (besideMs - this.#besideMs) / 8;
    };
    return { timing: quick, end };
  }
}

let measurements = 0;

/**
 * @param {{ workload: Workload, peer: Peer, result: Result }} entry
 * @param {import("./peers/index.js").Endpoint} endpoint
 * @param {Plan} plan
 * @param {import("./workloads/index.js").Timing} timing
 * @param {Spare} [spare]
 */
async function measure({ workload, peer, result }, endpoint, { proofMs, endsMs }, timing, spare) {
  const count = processesOf(workload, timing);
  measurements += 1;
  const jobs = Array.from({ length: count }, (_, index) => ({
    peer: peer.name,
    workload: workload.name,
    endpoint,
    prefix: `m${measurements}`,
    proofMs,
    timing,
    among: { index, count },
  }));
  try {
    const withinMs = Math.min(
      expectedMs(workload, proofMs, timing) + PATIENCE_MS,
      endsMs + QUICK_GRACE_MS - performance.now(),
    );
    const parts = /** @type {import("./load.js").Part[]} */ (await runTogether(LOAD, jobs, withinMs, spare));
    const figures = parts.map((part) => part.figures);
    result.rounds.push(count === 1 ? figures[0] : (workload.together?.(figures) ?? {}));
    const why = whyVoid(workload, peer, parts);
    if (why !== null) result.failures.push(why);
  } catch (error) {
    result.failures.push(error instanceof Error ? error.message : String(error));
  }
}

/**
 * @param {Workload} workload
 * @param {Peer} peer
 * @param {readonly import("./load.js").Part[]} parts
 * @returns {string | null}
 */
function whyVoid({ kind, isSelfMeasured }, peer, parts) {
  const violations = parts.reduce((sum, part) => sum + part.violations, 0);
  const proof = judge(parts.flatMap(({ stays }) => stays ?? []));
  if (!peer.excludes) {
    // The check is checked: in a peer that excludes nobody it must find what it looks for.
    return proof.violations > 0
      ? null
      : "the exclusion check is blind: it found nothing where nobody is excluded";
  }
  if (proof.violations + violations > 0) {
    return `mutual exclusion was broken: ${proof.violations} times in the proof, ${violations} in the workload`;
  }
  if (isSelfMeasured) return null;
  if (proof.entries === 0) return "nobody came in during the proof";
  return kind === "shared" && proof.sharings === 0 ? "its shared locks were never shared" : null;
}

/**
 * @param {Workload} workload
 * @param {number} proofMs
 * @param {import("./workloads/index.js").Timing} timing
 */
function expectedMs(workload, proofMs, timing) {
  const { takesMs, isSelfMeasured } = workload;
  const besideMs = AROUND_EACH_MS * (processesOf(workload, timing) - 1) + (isSelfMeasured ? 0 : proofMs);
  return AROUND_MS + besideMs + (takesMs?.(timing) ?? timing.warmUpMs + timing.windowMs);
}

/**
 * @param {Workload} workload
 * @param {import("./workloads/index.js").Timing} timing
 */
function processesOf({ processes = 1 }, { isQuick }) {
  return isQuick ? Math.min(QUICK_PROCESSES_MAX, processes) : processes;
}
