// Clocks that go wrong, of one process: libfaketime, and a file that says how.
import { existsSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { clockMs } from "./stage.js";

const LOOKS = 30;
const FOLDERS = ["/usr/lib", "/usr/lib64", "/usr/local/lib"];

/** @type {string | null | undefined} */
let library;

export function hasFaketime() {
  return libraryOf() !== null;
}

/** @returns {string | null} */
export function libraryOf() {
  if (library === undefined) library = found();
  return library;
}

/** Where distributions put it: in a folder of its own, beneath that of the machine's kind. */
function found() {
  for (const folder of FOLDERS.filter((each) => existsSync(each))) {
    for (const kind of ["", ...readdirSync(folder)]) {
      const file = `${folder}/${kind}/faketime/libfaketimeMT.so.1`;
      if (existsSync(file)) return file;
    }
  }
  return null;
}

/** A time of day that can be set while the process runs; its monotonic clock is right. */
export class WallClock {
  /** For a process. @type {NodeJS.ProcessEnv} */
  env;
  #file;

  /** @param {string} file */
  constructor(file) {
    this.#file = file;
    this.set(0);
    this.env = {
      LD_PRELOAD: libraryOf() ?? "",
      FAKETIME_NO_CACHE: "1",
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
      FAKETIME_TIMESTAMP_FILE: file,
    };
  }

  /** @param {number} seconds off */
  set(seconds) {
    // In one step: it may be read at any time.
    writeFileSync(`${this.#file}.new`, `${seconds < 0 ? "" : "+"}${seconds}\n`);
    renameSync(`${this.#file}.new`, this.#file);
  }
}

/** For a process all of whose clocks run at this rate. @param {number} rate @returns {NodeJS.ProcessEnv} */
export function atRate(rate) {
  return { LD_PRELOAD: libraryOf() ?? "", FAKETIME: `+0 x${rate}` };
}

/** What libfaketime has made for a process, which would outlive it when it is killed. It needs the names no more. @param {import("./child.js").Child} child */
export function tidyClock({ pid }) {
  for (const name of [`faketime_shm_${pid}`, `sem.faketime_sem_${pid}`])
    rmSync(`/dev/shm/${name}`, { force: true });
}

/**
 * Has a child of `load.js` tell right times, although its clock runs at this rate.
 * @param {import("./child.js").Child} child
 * @param {number} rate
 * @returns {Promise<() => Promise<number>>} how far they are off now, in milliseconds; more than a round trip of a message is too much
 */
export async function mendedClock(child, rate) {
  const wrong = await looked(child, LOOKS);
  await child.call("mend", { scale: 1 / rate, shiftMs: wrong.rightMs - wrong.saidMs / rate });
  return async () => {
    const { rightMs, saidMs, roundTripMs } = await looked(child, LOOKS);
    return Math.max(0, Math.abs(rightMs - saidMs) - roundTripMs / 2 - wrong.roundTripMs / 2);
  };
}

/** The best of some looks at its clock. */
async function looked(child, count) {
  let best = { rightMs: 0, saidMs: 0, roundTripMs: Number.POSITIVE_INFINITY };
  for (let look = 0; look < count; look++) {
    const fromMs = clockMs();
    const saidMs = await child.call("clock");
    const untilMs = clockMs();
    if (untilMs - fromMs < best.roundTripMs)
      best = { rightMs: (fromMs + untilMs) / 2, saidMs, roundTripMs: untilMs - fromMs };
  }
  return best;
}
