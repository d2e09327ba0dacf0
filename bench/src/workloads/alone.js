/**
 * A workload that measures LockDB by itself, and not beside a peer. It runs in the main process, and starts what it
 * needs: servers, and programs of `../programs`.
 *
 * @typedef {object} Alone
 * @property {string} name
 * @property {string} about
 * @property {readonly import("./index.js").Figure[]} figures
 * @property {(context: Context) => Promise<Measured>} measure
 *
 * @typedef {{ isQuick: boolean, rounds: number }} Context `rounds`: how many the medians are to be taken over.
 *
 * @typedef {object} Measured
 * @property {Record<string, number>[]} rounds A figure that could not be taken is absent.
 * @property {string[]} [said] What has to be known beside the figures, such as a smaller size.
 * @property {string[]} [failures] Why the figures are void.
 */

import { cliCold } from "./cli-cold.js";
import { clientSize } from "./client-size.js";
import { engine } from "./engine.js";
import { expiry } from "./expiry.js";
import { growth } from "./growth.js";
import { memoryHeld } from "./memory-held.js";
import { memoryIdle } from "./memory-idle.js";
import { observed } from "./observed.js";
import { startUp } from "./start-up.js";
import { wakeUp } from "./wake-up.js";
import { wrongKeys } from "./wrong-keys.js";

/** Those that take longest begin. */
export const ALONE = /** @type {readonly Alone[]} */ ([
  engine,
  startUp,
  memoryIdle,
  memoryHeld,
  growth,
  expiry,
  wakeUp,
  wrongKeys,
  observed,
  cliCold,
  clientSize,
]);
