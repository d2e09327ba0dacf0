import { forkKnown, stop } from "./processes.js";

const OUTPUT_KEPT = 4_000;
const ERROR_LINES = 12;

/** A process that has ended its job and may have another. */
export class Spare {
  /** @type {import("node:child_process").ChildProcess | undefined} */
  #child;

  take() {
    const child = this.#child;
    this.#child = undefined;
    return child?.connected ? child : undefined;
  }

  /** @param {import("node:child_process").ChildProcess} child */
  keep(child) {
    this.#child = child;
  }

  async end() {
    const child = this.take();
    if (child !== undefined) await stop(child);
  }
}

/**
 * Gives each job to a process of its own, all at the same time: it goes in as `{ job }`, and what the process says in
 * `{ part }` comes out. When one says `{ here: true }` it is answered once all have said so.
 *
 * @param {string} program
 * @param {readonly unknown[]} jobs
 * @param {number} withinMs
 * @param {Spare} [spare] One job alone takes the process from here, and leaves it here when that can go on.
 * @returns {Promise<any[]>}
 */
export async function runTogether(program, jobs, withinMs, spare) {
  const mayKeep = spare !== undefined && jobs.length === 1;
  const running = jobs.map(() => (mayKeep ? spare.take() : undefined) ?? forkKnown(program));
  let here = 0;
  const arrive = () => {
    here += 1;
    if (here % running.length === 0) for (const child of running) child.send({ go: true }, () => {});
  };
  const parts = running.map((child, index) => partOf(child, jobs[index], arrive));
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no result within ${Math.round(withinMs)} ms`)), withinMs);
  });
  let goesOn = false;
  try {
    const done = await /** @type {Promise<any[]>} */ (Promise.race([Promise.all(parts), late]));
    goesOn = mayKeep && done[0].goesOn;
    return done;
  } finally {
    clearTimeout(timer);
    if (goesOn) spare?.keep(running[0]);
    // One that failed leaves the others waiting for it.
    else await Promise.all(running.map(stop));
    await Promise.allSettled(parts);
  }
}

/**
 * @param {import("node:child_process").ChildProcess} child
 * @param {unknown} job
 * @param {() => void} arrive
 */
function partOf(child, job, arrive) {
  return new Promise((resolve, reject) => {
    let stderr = "";
    const hear = (/** @type {string} */ text) => {
      stderr = (stderr + text).slice(-OUTPUT_KEPT);
    };
    const told = (/** @type {any} */ message) => {
      if (message.here) return arrive();
      turnAway();
      resolve(message.part);
    };
    const ended = (/** @type {number | null} */ code, /** @type {string | null} */ signal) => {
      turnAway();
      const text = stderr.trim().split("\n").slice(0, ERROR_LINES).join("\n");
      reject(new Error(text || `the load process ended with ${signal ?? code}`));
    };
    const failed = (/** @type {Error} */ error) => {
      turnAway();
      reject(error);
    };
    const turnAway = () => {
      child.off("message", told).off("close", ended).off("error", failed);
      child.stderr?.off("data", hear);
    };
    child.on("message", told).on("close", ended).on("error", failed);
    child.stderr?.setEncoding("utf8").on("data", hear);
    child.send({ job });
  });
}
