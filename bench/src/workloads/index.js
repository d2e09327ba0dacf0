/**
 * A workload runs in the load process against one client of one peer. It may have figures of its own; the first
 * is the one that ratios are taken of. More is better in that one.
 *
 * @typedef {object} Workload
 * @property {string} name
 * @property {string} about
 * @property {readonly { key: string, title: string, digits?: number }[]} figures
 * @property {(peer: import("../peers/index.js").Peer) => string | undefined} unfit Why it makes no sense for that peer.
 * @property {(client: import("../peers/index.js").Client, timing: Timing) => Promise<Outcome>} run
 *
 * @typedef {{ warmUpMs: number, windowMs: number }} Timing
 * @typedef {{ figures: Record<string, number>, violations: number }} Outcome
 */

import { distinctNames } from "./distinct-names.js";
import { hotName } from "./hot-name.js";
import { longQueue } from "./long-queue.js";
import { nestedRequests } from "./nested-requests.js";

export const WORKLOADS = /** @type {readonly Workload[]} */ ([
  distinctNames(1),
  distinctNames(64),
  distinctNames(1_000),
  hotName(16),
  longQueue(10, 10_000),
  nestedRequests(10, 10_000),
]);
