/** Heap of the pure engine for session locks that are held, after collecting garbage. */

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Engine } from "../../../packages/server/dist/engine/index.js";
import { runJob } from "./job.js";
import { PLAIN_TERMS } from "./plain-terms.js";

setFlagsFromString("--expose-gc");
const gc = runInNewContext("gc");
const FROM = { session: "session", address: "a1" };
const LIMITS = { waitersMax: 100_000, holdsMax: 4_000_000, sessionsMax: 100_000, writesSessionHolds: false };
const A_TURN = 1_000;

runJob(async ({ locks }) => {
  const engine = new Engine(LIMITS);
  const hello = { client: "client", connection: 1, resume: false, leaseMs: 3_600_000, owner: "host:1" };
  const out = () => ({ answers: /** @type {any[]} */ ([]), changes: [] });
  engine.apply({ kind: "hello", ...FROM, ...hello }, 0, out());
  engine.apply({ kind: "sync", ...FROM }, 0, out());
  // Compiled code is no lock's.
  hold(engine, 0, A_TURN);
  const before = used();
  hold(engine, A_TURN, locks);
  const after = used();
  if (engine.counts.holds !== locks + A_TURN) throw new Error(`${engine.counts.holds} holds`);
  return {
    heapBytes: (after.heapUsed - before.heapUsed) / locks,
    rssBytes: (after.rss - before.rss) / locks,
  };
});

/**
 * @param {Engine} engine
 * @param {number} from
 * @param {number} count
 */
function hold(engine, from, count) {
  for (let at = from; at < from + count; at += A_TURN) {
    const effects = { answers: /** @type {any[]} */ ([]), changes: [] };
    // As a frame brings them: names are strings out of JSON.
    const frame = JSON.stringify(Array.from({ length: A_TURN }, (_, index) => nameAt(at + index)));
    for (const [index, name] of JSON.parse(frame).entries()) {
      engine.apply(
        { kind: "acquire", id: at + index + 1, names: name, ...FROM, ...PLAIN_TERMS, waitMs: 30_000 },
        0,
        effects,
      );
    }
    const ids = effects.answers.map(({ message }) => message[1]);
    engine.apply({ kind: "acknowledge", ...FROM, ids, lostTokens: [] }, 0, effects);
  }
}

/** Sixteen bytes. */
function nameAt(/** @type {number} */ at) {
  return `job-${String(at).padStart(12, "0")}`;
}

function used() {
  for (let times = 0; times < 3; times += 1) gc();
  return process.memoryUsage();
}
