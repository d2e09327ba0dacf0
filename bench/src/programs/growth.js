/** Cycles of 64 workers against servers in which ever more locks are held, in turns. */

import { holdMany, RawSession } from "../raw-session.js";
import { runJob } from "./job.js";

const WORKERS = 64;
const A_SESSION = 100_000;

runJob(async ({ servers, rounds, warmUpMs, windowMs }) => {
  const workers = [];
  for (const { endpoint, held } of servers) {
    for (let from = 0; from < held; from += A_SESSION) {
      const holder = await RawSession.open(endpoint, { leaseMs: 600_000 });
      await holdMany(holder, Math.min(A_SESSION, held - from), (index) => `held-${from + index}`);
    }
    workers.push(await RawSession.open(endpoint, { leaseMs: 600_000 }));
  }
  for (const session of workers) await cycles(session, warmUpMs);
  const outcomes = [];
  for (let round = 0; round < rounds; round += 1) {
    // There and back: what disturbs the machine disturbs all alike.
    const turns = [...workers.keys(), ...[...workers.keys()].reverse()];
    const [done, spentMs] = [workers.map(() => 0), workers.map(() => 0)];
    for (const at of turns) {
      const outcome = await cycles(workers[at], windowMs / 2);
      done[at] += outcome.cycles;
      spentMs[at] += outcome.ms;
    }
    outcomes.push(workers.map((_, at) => (done[at] / spentMs[at]) * 1_000));
  }
  return outcomes;
});

/**
 * @param {RawSession} session
 * @param {number} forMs
 */
async function cycles(session, forMs) {
  const startMs = performance.now();
  let count = 0;
  const work = async (/** @type {string} */ name) => {
    while (performance.now() - startMs < forMs) {
      const [, , token] = await session.ask("acquire", name, 0);
      await session.ask("release", token);
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: WORKERS }, (_, worker) => work(`own-${worker}`)));
  return { cycles: count, ms: performance.now() - startMs };
}
