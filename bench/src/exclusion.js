import { setTimeout as sleep } from "node:timers/promises";

const PROOF_WORKERS = 8;
const PROOF_NAMES = 2;
const PROOF_HOLD_MS = 2;

/** Counts who is inside, by name. Two at once is a violation, and the figures of the run are void. */
export class Exclusion {
  entries = 0;
  violations = 0;
  /** @type {Map<string, number>} */
  #insideByName = new Map();

  /** @param {string} name */
  enter(name) {
    const inside = (this.#insideByName.get(name) ?? 0) + 1;
    this.#insideByName.set(name, inside);
    this.entries += 1;
    if (inside > 1) this.violations += 1;
  }

  /** @param {string} name */
  leave(name) {
    const inside = (this.#insideByName.get(name) ?? 0) - 1;
    if (inside > 0) this.#insideByName.set(name, inside);
    else this.#insideByName.delete(name);
  }
}

/**
 * A hold that ends in the turn it began in could overlap another and nobody would see. So before a measurement, a
 * few workers contend for names of their own and stay inside for some milliseconds.
 *
 * @param {import("./peers/index.js").Client} client
 * @param {number} forMs
 */
export async function proveExclusion(client, forMs) {
  const exclusion = new Exclusion();
  const end = performance.now() + forMs;
  const inside = async (/** @type {string} */ name) => {
    exclusion.enter(name);
    await sleep(PROOF_HOLD_MS);
    exclusion.leave(name);
  };
  const work = async (/** @type {number} */ worker) => {
    while (performance.now() < end) await client.cycle(`proof-${worker % PROOF_NAMES}`, inside);
  };
  await Promise.all(Array.from({ length: PROOF_WORKERS }, (_, worker) => work(worker)));
  return { entries: exclusion.entries, violations: exclusion.violations };
}
