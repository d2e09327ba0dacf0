/**
 * What LockDB wants to reach, and whether it did in this run. Each target is judged from the results; a workload or a
 * peer that did not take part leaves it open.
 */

import { PEERS } from "./peers/index.js";
import { align, figureText, isValid, median, ratioOf, subjectOf } from "./report.js";
import { ALONE } from "./workloads/alone.js";
import { WORKLOADS } from "./workloads/index.js";

/**
 * @typedef {import("./report.js").Result} Result
 * @typedef {import("./peers/index.js").Peer} Peer
 * @typedef {Pick<import("./workloads/index.js").Workload, "name" | "figures" | "subject">} Workload
 *
 * @typedef {object} Target
 * @property {string} workload
 * @property {string} what
 * @property {number} must
 * @property {number} [aim]
 * @property {boolean} [isMost] `must` and `aim` are the most that it may be, and not the least.
 * @property {(own: readonly Result[], workload: Workload) => Seen | undefined} see From the results of that workload.
 *
 * @typedef {{ value: number, beside?: string }} Seen
 */

/**
 * How many times as much as the peer it does worst beside.
 *
 * @param {(peer: Peer) => boolean} isMeant
 * @returns {Target["see"]}
 */
const besideBest = (isMeant) => (own, workload) => {
  const [{ key }] = workload.figures;
  const subject = own.find(({ peer }) => peer === subjectOf(workload));
  const seen = PEERS.filter(isMeant).flatMap(({ name }) => {
    const rival = own.find(({ peer }) => peer === name);
    const value = ratioOf(subject, rival, key);
    return value === undefined ? [] : [{ value, beside: name }];
  });
  return seen.toSorted((a, b) => a.value - b.value)[0];
};

const besideBestPeer = besideBest(({ isOurs, excludes }) => !isOurs && excludes);
const besideBestFairPeer = besideBest(({ isOurs, isFair }) => !isOurs && isFair === true);

/**
 * @param {string} name
 * @returns {Target["see"]}
 */
const besideOne = (name) => (own, workload) => {
  const seen = besideBest((peer) => peer.name === name)(own, workload);
  return seen && { value: seen.value };
};

/**
 * A figure of LockDB's own.
 *
 * @param {(figures: Record<string, number>) => number} figure
 * @returns {Target["see"]}
 */
const own = (figure) => (results, workload) => {
  const result = results.find(({ peer }) => peer === subjectOf(workload));
  return result && isValid(result) ? { value: median(result.rounds.map(figure)) } : undefined;
};

/** @type {readonly Target[]} */
export const TARGETS = [
  { workload: "x1", what: "LockDB ÷ best peer", must: 0.8, aim: 1, see: besideBestPeer },
  { workload: "x1", what: "LockDB ÷ half the echo", must: 0.85, see: besideOne("echo-ws") },
  { workload: "x64", what: "LockDB ÷ best peer", must: 2, aim: 2.5, see: besideBestPeer },
  { workload: "x1000", what: "LockDB ÷ best peer", must: 3, aim: 4, see: besideBestPeer },
  { workload: "x1000", what: "LockDB ÷ half the echo", must: 0.5, aim: 0.7, see: besideOne("echo-ws") },
  { workload: "hot-x16", what: "LockDB ÷ best fair peer", must: 1.2, aim: 1.5, see: besideBestFairPeer },
  {
    workload: "observed",
    what: "with logs and metrics, of without",
    must: 0.95,
    see: own(({ share }) => share),
  },
  {
    workload: "hot-x16",
    what: "most - fewest cycles",
    must: 1,
    isMost: true,
    see: own(({ fewest, most }) => most - fewest),
  },
  {
    workload: "durable-x64",
    what: "LockDB ÷ Redis on disk, redlock",
    must: 1.2,
    aim: 3,
    see: besideOne("redis-always-redlock"),
  },
  { workload: "durable-x64", what: "LockDB ÷ etcd", must: 20, aim: 50, see: besideOne("etcd") },
  { workload: "8x32", what: "LockDB ÷ best peer", must: 1, aim: 1.5, see: besideBestPeer },
  {
    workload: "queue-x10000",
    what: "hand-over, 10,000 wait ÷ 10 wait",
    must: 1.3,
    aim: 1.1,
    isMost: true,
    see: own(({ cost }) => cost),
  },
  {
    workload: "growth",
    what: "a cycle, 1,000,000 held ÷ 10 held",
    must: 1.3,
    aim: 1.1,
    isMost: true,
    see: own(({ cost1e6 }) => cost1e6),
  },
  {
    workload: "engine",
    what: "commands a second",
    must: 1_500_000,
    aim: 2_500_000,
    see: own(({ distinct }) => distinct),
  },
  {
    workload: "wake-up",
    what: "woken by a release",
    must: 1,
    isMost: true,
    see: own(({ woken }) => woken),
  },
  {
    workload: "expiry",
    what: "100,000 expired and granted, ms",
    must: 3_000,
    aim: 2_000,
    isMost: true,
    see: own(({ allMs }) => allMs),
  },
  {
    workload: "expiry",
    what: "late by, p99, ms",
    must: 100,
    aim: 50,
    isMost: true,
    see: own(({ lateP99Ms }) => lateP99Ms),
  },
  { workload: "expiry", what: "were early", must: 0, isMost: true, see: own(({ early }) => early) },
  {
    workload: "memory-held",
    what: "heap of a server a lock, bytes",
    must: 400,
    aim: 300,
    isMost: true,
    see: own(({ serverHeap }) => serverHeap),
  },
  {
    workload: "memory-held",
    what: "heap of an engine a lock, bytes",
    must: 400,
    aim: 300,
    isMost: true,
    see: own(({ engineHeap }) => engineHeap),
  },
  {
    workload: "memory-idle",
    what: "memory a session, KiB",
    must: 14,
    aim: 12,
    isMost: true,
    see: own(({ rss }) => rss),
  },
  {
    workload: "start-up",
    what: "empty store, ms",
    must: 700,
    aim: 400,
    isMost: true,
    see: own(({ emptyMs }) => emptyMs),
  },
  {
    workload: "start-up",
    what: "1,000,000 records, ms",
    must: 4_000,
    aim: 3_000,
    isMost: true,
    see: own(({ fullMs }) => fullMs),
  },
  {
    workload: "client-size",
    what: "minified and gzipped, KiB",
    must: 14,
    aim: 10,
    isMost: true,
    see: own(({ gzipKib }) => gzipKib),
  },
];

/**
 * @param {readonly Result[]} results
 * @param {{ isJudged: boolean }} options False when sizes or times were too small to tell.
 */
export function judgeTargets(results, { isJudged }) {
  return TARGETS.flatMap((target) => {
    const { workload: name, what, must, aim = null, isMost = false, see } = target;
    const workload = [...WORKLOADS, ...ALONE].find((one) => one.name === name);
    const own = results.filter((result) => result.workload === name);
    if (workload === undefined || own.length === 0) return [];
    const seen = see(own, workload) ?? null;
    const verdict = seen === null ? OPEN : isJudged ? verdictOf(target, seen.value) : "too quick to judge";
    return [{ workload: name, what, must, aim, isMost, seen, verdict }];
  });
}

const OPEN = "open: not measured";

/**
 * @param {Target} target
 * @param {number} value
 */
function verdictOf({ must, aim, isMost = false }, value) {
  const reaches = (/** @type {number} */ target) => (isMost ? value <= target : value >= target);
  if (!reaches(must)) return "missed";
  return aim !== undefined && reaches(aim) ? "reached, the aim too" : "reached";
}

/** @param {ReturnType<typeof judgeTargets>} judged */
export function tableOfTargets(judged) {
  const rows = judged.map(({ workload, what, must, aim, isMost, seen, verdict }) => {
    const bound = (/** @type {number} */ value) => `${isMost ? "<=" : ">="} ${valueText(value)}`;
    return [
      `${workload}: ${what}${seen?.beside ? `, ${seen.beside}` : ""}`,
      seen === null ? "-" : valueText(seen.value),
      bound(must),
      aim === null ? "-" : bound(aim),
      verdict,
    ];
  });
  return ["Targets:", ...align([["", "seen", "must", "aim", ""], ...rows])].join("\n");
}

const valueText = (/** @type {number} */ value) => figureText(value, value < 100 ? 2 : 0);
