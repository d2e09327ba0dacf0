/**
 * A workload runs in the load process against one client of one peer. It may have figures of its own; the first
 * is the one that ratios are taken of.
 *
 * One that measures LockDB alone says `isSelfMeasured: true`. Then no peer takes part and nobody is provoked; its table
 * has a row a figure. `run` gets a client of a server that runs already; when it needs a server in a state of its own it
 * starts one (`lockdb.start` in peers/lockdb.js), which ends with the load process. What takes longer than a window says
 * so in `takesMs`, and does less when `timing.isQuick`.
 *
 * @typedef {object} Workload
 * @property {string} name
 * @property {string} about
 * @property {readonly Figure[]} figures
 * @property {boolean} [isSelfMeasured]
 * @property {string} [subject] The peer that ratios are to, where that is not `lockdb`.
 * @property {Kind} [kind] What is asked for, and so what has to be proved; default exclusive.
 * @property {number} [processes] How many load processes there are; default 1.
 * @property {(figures: readonly Record<string, number>[]) => Record<string, number>} [together]
 *   The figures of all load processes as one; needed where there are several.
 * @property {(peer: import("../peers/index.js").Peer) => string | undefined} [unfit] Why it makes no sense for that peer.
 * @property {(timing: Timing) => number} [takesMs] How long `run` takes; default warm-up and window.
 * @property {(client: import("../peers/index.js").Client, timing: Timing, around: Around) => Promise<Outcome>} run
 *
 * @typedef {{ key: string, title: string, digits?: number, isLessBetter?: boolean }} Figure
 * @typedef {"exclusive" | "shared" | "sets"} Kind
 * @typedef {{ warmUpMs: number, windowMs: number, isQuick: boolean }} Timing
 * @typedef {object} Outcome
 * @property {Record<string, number>} figures
 * @property {number} violations
 * @property {boolean} [isUnfinished] Some still wait in vain; the process has to end.
 *
 * @typedef {object} Around
 * @property {import("../peers/index.js").Endpoint} endpoint
 * @property {{ index: number, count: number }} among Which of how many load processes this is.
 * @property {string} prefix What the names of this process begin with. No other has such, and none before: whoever waits
 *   when the window ends is left waiting, and may leave a lock behind.
 */

import { distinctNames, distinctNamesDurable, distinctNamesInProcesses } from "./distinct-names.js";
import { hotName } from "./hot-name.js";
import { longQueue } from "./long-queue.js";
import { nestedRequests } from "./nested-requests.js";
import { openLoop } from "./open-loop.js";
import { readMostly } from "./read-mostly.js";
import { setsInCommon, setsOfOwn } from "./sets.js";

export const WORKLOADS = /** @type {readonly Workload[]} */ ([
  distinctNames(1),
  distinctNames(64),
  distinctNames(1_000),
  distinctNamesInProcesses(8, 32),
  distinctNamesDurable(64),
  hotName(16),
  hotName(1_000),
  readMostly(64, 8),
  setsOfOwn(64),
  setsInCommon(16, 12),
  openLoop(64),
  longQueue(10, 10_000),
  nestedRequests(10, 10_000),
]);

/**
 * @param {Workload} workload
 * @param {import("../peers/index.js").Peer} peer
 */
export function unfitFor(workload, peer) {
  if (workload.isSelfMeasured) return peer.name === "lockdb" ? undefined : "LockDB is measured alone";
  return workload.unfit?.(peer);
}
