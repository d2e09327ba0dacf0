/**
 * The engine by itself, in one thread: no sockets, no JSON, no store. Commands come as a connection makes them, a turn's
 * worth at a time, and the answers of a turn are acknowledged with the next one, as clients do.
 */

import { Engine } from "../../../packages/server/dist/engine/index.js";
import { runJob } from "./job.js";

const SESSION = "session";
const ADDRESS = "a1";
/** Requests in a turn: as `x64`. */
const AT_ONCE = 64;
/** Names are made before and used again and again, far apart. */
const NAMES = 100_000;
const LIMITS = { waitersMax: 100_000, holdsMax: 4_000_000, sessionsMax: 100_000, writesSessionHolds: false };

runJob(async ({ kind, held, warmUpMs, windowMs }) => {
  const played = new Play();
  // As they come out of JSON.
  const namesHeld = JSON.parse(JSON.stringify(Array.from({ length: held }, (_, at) => `held-${at}`)));
  for (let at = 0; at < held; at += AT_ONCE) played.turn(namesHeld.slice(at, at + AT_ONCE), []);
  const step = KINDS[/** @type {keyof typeof KINDS} */ (kind)](played);
  run(played, step, warmUpMs);
  const before = process.cpuUsage();
  const { commands, ms } = run(played, step, windowMs);
  const { user, system } = process.cpuUsage(before);
  return { perSecond: (commands / ms) * 1_000, perCpuSecond: (commands / (user + system)) * 1_000_000 };
});

/**
 * @param {Play} played
 * @param {() => void} step
 * @param {number} forMs
 */
function run(played, step, forMs) {
  const startMs = performance.now();
  const before = played.commands;
  let ms = 0;
  while (ms < forMs) {
    for (let times = 0; times < 50; times += 1) step();
    ms = performance.now() - startMs;
  }
  return { commands: played.commands - before, ms };
}

/** One session at one engine. */
class Play {
  /** Requests that were applied. Acknowledgements cost time, and do not count. */
  commands = 0;
  #engine = new Engine(LIMITS);
  #id = 0;
  #turns = 0;
  /** @type {number[]} */
  #unacknowledged = [];

  constructor() {
    const out = { answers: [], changes: [] };
    const hello = {
      session: SESSION,
      client: "client",
      connection: 1,
      resume: false,
      leaseMs: 3_600_000,
      owner: "o",
    };
    this.#engine.apply({ kind: "hello", address: ADDRESS, ...hello }, 0, out);
    this.#engine.apply({ kind: "sync", session: SESSION, address: ADDRESS }, 0, out);
  }

  /**
   * Applies a turn's requests, and gives the tokens that were granted.
   *
   * @param {readonly any[]} wanted names to acquire
   * @param {readonly number[]} released tokens
   */
  turn(wanted, released) {
    // Lease time is in whole milliseconds.
    this.#turns += 1;
    const nowMs = Math.floor(this.#turns / 100);
    const out = { answers: /** @type {any[]} */ ([]), changes: [] };
    const engine = this.#engine;
    if (this.#unacknowledged.length > 0) {
      const ids = this.#unacknowledged;
      this.#unacknowledged = [];
      engine.apply(
        { kind: "acknowledge", session: SESSION, address: ADDRESS, ids, lostTokens: [] },
        nowMs,
        out,
      );
    }
    for (const token of released) {
      this.#id += 1;
      engine.apply(
        { kind: "release", session: SESSION, address: ADDRESS, id: this.#id, token, name: null },
        nowMs,
        out,
      );
    }
    for (const names of wanted) engine.apply(this.#acquire(names), nowMs, out);
    this.commands += released.length + wanted.length;
    const tokens = [];
    for (const { message } of out.answers) {
      if (message[0] === "queued") continue;
      if (message[0] === "refused") throw new Error(`refused: ${message}`);
      this.#unacknowledged.push(message[1]);
      if (message[0] === "granted") tokens.push(message[2]);
    }
    return tokens;
  }

  /** @param {any} names @returns {any} */
  #acquire(names) {
    this.#id += 1;
    return {
      kind: "acquire",
      session: SESSION,
      address: ADDRESS,
      id: this.#id,
      names,
      waitMs: 30_000,
      detachedMs: null,
      minHoldMs: 0,
      maxHoldMs: null,
      metadata: {},
      ticket: null,
      within: [],
      reentrant: false,
      leads: false,
      stolenBy: null,
      owner: null,
    };
  }
}

const KINDS = {
  /** Locks that nobody else wants: all are taken, then all are given back. */
  distinct: (/** @type {Play} */ played) =>
    pairs(
      played,
      namesOf((at) => `name-${at}`),
    ),
  /** Nobody is in the way of anybody: eight names, each shared by eight. */
  shared: (/** @type {Play} */ played) =>
    pairs(
      played,
      namesOf((at) => [[`shared-${at % 8}`, "shared"]]),
    ),
  /** Three locks at once. */
  sets: (/** @type {Play} */ played) =>
    pairs(
      played,
      namesOf((at) => [`a-${at}`, `b-${at}`, `c-${at}`]),
    ),
  /** One lock, for which 63 wait: each turn it is given back once, and wanted once more. */
  hot: (/** @type {Play} */ played) => {
    let tokens = played.turn(new Array(AT_ONCE).fill("hot"), []);
    return () => {
      tokens = played.turn(["hot"], tokens);
    };
  },
};

/**
 * @param {Play} played
 * @param {readonly any[]} names
 */
function pairs(played, names) {
  const turns = Array.from({ length: Math.floor(NAMES / AT_ONCE) }, (_, turn) =>
    names.slice(turn * AT_ONCE, (turn + 1) * AT_ONCE),
  );
  let next = 0;
  return () => {
    const tokens = played.turn(turns[next], []);
    if (tokens.length !== AT_ONCE) throw new Error(`${tokens.length} of ${AT_ONCE} were granted`);
    played.turn([], tokens);
    next = (next + 1) % turns.length;
  };
}

/** @param {(at: number) => unknown} nameAt */
function namesOf(nameAt) {
  return JSON.parse(JSON.stringify(Array.from({ length: NAMES }, (_, at) => nameAt(at))));
}
