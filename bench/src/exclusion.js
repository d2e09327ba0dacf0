import { setTimeout as sleep } from "node:timers/promises";

const PROOF_WORKERS = 8;
const PROOF_NAMES = 2;
const PROOF_SET_NAMES = 4;
const PROOF_HOLD_MS = 2;
/** So that each kind of turn comes, also where the machine is slow. */
const PROOF_TURNS_MIN = 4;

/**
 * Counts who is inside, by name. Two at once is a violation, unless both of them share; the figures of the run are
 * void then.
 */
export class Exclusion {
  violations = 0;
  /** @type {Map<string, { alone: number, sharing: number }>} Those who are inside, and who were once: to keep a place costs the peer nothing. */
  #placeByName = new Map();

  /**
   * @param {string} name
   * @param {boolean} [shares]
   */
  enter(name, shares = false) {
    const place = this.#placeOf(name);
    if (place.alone > 0 || (!shares && place.sharing > 0)) this.violations += 1;
    place[shares ? "sharing" : "alone"] += 1;
  }

  /**
   * @param {string} name
   * @param {boolean} [shares]
   */
  leave(name, shares = false) {
    const place = this.#placeOf(name);
    const how = shares ? "sharing" : "alone";
    if (place[how] === 0) throw new Error(`nobody is inside "${name}"`);
    place[how] -= 1;
  }

  /** @param {string} name */
  #placeOf(name) {
    let place = this.#placeByName.get(name);
    if (place === undefined) {
      place = { alone: 0, sharing: 0 };
      this.#placeByName.set(name, place);
    }
    return place;
  }
}

/**
 * One time that somebody was inside, in milliseconds of the clock that all processes of this machine share.
 *
 * @typedef {{ name: string, shares: boolean, fromMs: number, toMs: number }} Stay
 */

/**
 * A hold that ends in the turn it began in could overlap another and nobody would see. So before a measurement, a
 * few workers contend for names of their own and stay inside for some milliseconds. All processes of a measurement
 * contend for the same names; who was inside when is judged afterwards, of all of them together.
 *
 * @param {import("./peers/index.js").Client} client
 * @param {object} options
 * @param {string} options.prefix what they begin with
 * @param {number} options.forMs
 * @param {import("./workloads/index.js").Kind} options.kind
 * @param {number} options.processes how many of us there are
 * @returns {Promise<Stay[]>}
 */
export async function provoke(client, { prefix, forMs, kind, processes }) {
  /** @type {Stay[]} */
  const stays = [];
  const end = performance.now() + forMs;
  const stay = async (/** @type {readonly string[]} */ names, shares = false) => {
    const fromMs = nowMs();
    await sleep(PROOF_HOLD_MS);
    const toMs = nowMs();
    for (const name of names) stays.push({ name, shares, fromMs, toMs });
  };
  const work = async (/** @type {number} */ worker) => {
    const turnsMin = worker + PROOF_TURNS_MIN;
    for (let turn = worker; turn < turnsMin || performance.now() < end; turn += 1) {
      const name = `${prefix}-proof-${worker % PROOF_NAMES}`;
      if (kind === "sets") {
        const names = [0, 1, 2].map((place) => `${prefix}-proof-${(turn + place) % PROOF_SET_NAMES}`);
        await needed(client.set)(names, () => stay(names));
      } else if (kind === "shared" && turn % 4 !== 0) {
        await needed(client.shared)(name, () => stay([name], true));
      } else {
        await client.cycle(name, () => stay([name]));
      }
    }
  };
  const workers = Math.max(2, Math.floor(PROOF_WORKERS / processes));
  await Promise.all(Array.from({ length: workers }, (_, worker) => work(worker)));
  return stays;
}

/**
 * @param {readonly Stay[]} stays in any order
 * @returns {{ entries: number, violations: number, sharings: number }} `sharings`: how many came in to others and might
 */
export function judge(stays) {
  /** @type {Map<string, { aloneToMs: number, sharedToMs: number }>} */
  const untilByName = new Map();
  let [violations, sharings] = [0, 0];
  for (const { name, shares, fromMs, toMs } of stays.toSorted((a, b) => a.fromMs - b.fromMs)) {
    const until = untilByName.get(name) ?? { aloneToMs: -1, sharedToMs: -1 };
    const meetsSharing = fromMs < until.sharedToMs;
    if (fromMs < until.aloneToMs || (!shares && meetsSharing)) violations += 1;
    else if (meetsSharing) sharings += 1;
    if (shares) until.sharedToMs = Math.max(until.sharedToMs, toMs);
    else until.aloneToMs = Math.max(until.aloneToMs, toMs);
    untilByName.set(name, until);
  }
  return { entries: stays.length, violations, sharings };
}

/** `performance.now` counts from the start of each process; this counts from the start of the machine. */
const nowMs = () => Number(process.hrtime.bigint()) / 1e6;

/**
 * @template T
 * @param {T | undefined} way
 * @returns {T}
 */
export function needed(way) {
  if (way === undefined) throw new Error("the peer says that it can do this, and its client cannot");
  return way;
}
