// Rounds in which the way of some clients to one server is hurt, and healed; what all of them saw is judged.
import { setTimeout } from "node:timers/promises";
import { atMost, clockMs, ms, quantile } from "./stage.js";
import { judgedLoad, Load, lostOf, well } from "./under-load.js";

/** Of the clients: short, so that many leases run out. */
export const LEASE_MS = 2_000;
const SERVICES = ["s0", "s1"];
/** In each group; each service has some of each. */
const CLIENTS = 6;
const FAULT_MS = LEASE_MS + 600;
const WELL_MS = 30_000;
const RECENT = 40;
/** What was seen of a name is judged in one search, which has its limits. */
const ROUNDS_A_NAME = 2;
const BEGIN_MS = 700;

/**
 * @typedef {object} NetFault
 * @property {string} name
 * @property {number} [forMs]
 * @property {(round: number) => Promise<(() => unknown) | undefined>} hurt gives what is to be done when its time is over
 */

/**
 * @param {import("./stage.js").Stage} stage
 * @param {object} given
 * @param {import("./single.js").Single} given.server
 * @param {readonly { urls: readonly string[], under?: readonly string[] }[]} given.clients the two groups, and how each gets to the server
 * @param {readonly NetFault[]} given.faults
 * @param {() => Promise<void>} given.heal
 * @param {number} given.rounds
 */
export async function netRounds(stage, { server, clients, faults, heal, rounds }) {
  const load = new Load(stage, {
    services: Array.from(
      { length: clients.length * CLIENTS },
      (_, at) => SERVICES[Math.floor(at / clients.length) % SERVICES.length],
    ),
    urls: [server.ownUrl],
    processes: clients.length,
    // A grant over HTTP whose connection is reset within a second counts as one that nobody has read (Q7).
    terms: {
      hasHttp: false,
      lease: `${LEASE_MS}ms`,
      longMs: 1.5 * LEASE_MS,
      longShare: 0.1,
      oneTimePauseMs: 500,
    },
    childOf: (at) => clients[at],
  });
  const seen = { rounds, lost: new Set(), times: [], wellMs: [], problems: [], entries: [], resumed: 0 };
  await setTimeout(BEGIN_MS);
  for (let round = 0; round < rounds; round++) {
    if (round % ROUNDS_A_NAME === 0) await load.period(round / ROUNDS_A_NAME);
    const fault = faults[round % faults.length];
    const fromMs = clockMs();
    const heals = await fault.hurt(round);
    await setTimeout(fault.forMs ?? FAULT_MS);
    await heals?.();
    await heal();
    const healedMs = clockMs();
    // Each group gets to it again.
    const isWell = await Promise.all([
      well([server.ownUrl], SERVICES, healedMs + WELL_MS),
      grantsOfAll(load, healedMs + WELL_MS),
    ]);
    const untilMs = clockMs();
    seen.times.push({ fromMs, untilMs });
    seen.wellMs.push(untilMs - healedMs);
    if (isWell.includes(false))
      seen.problems.push(`round ${round} (${fault.name}): not well within ${WELL_MS} ms`);
    if (server.child.isOver)
      throw new Error(`round ${round} (${fault.name}): the server ended by itself: ${server.child.end}`);
    load.look();
    for (const each of await lostOf([server], load.entries, RECENT))
      seen.lost.add(`round ${round} (${fault.name}): ${each}`);
    console.log(`  ${round + 1}/${rounds} ${fault.name}: well ${ms(untilMs - healedMs)} after it was healed`);
  }
  await load.stop();
  for (const each of await lostOf([server], load.entries)) seen.lost.add(each);
  for (const each of seen.problems.slice(0, 40)) console.log(`  ! ${each}`);
  return { ...seen, entries: load.entries, said: server.child.end.trim() };
}

export function judgedNetRounds({ rounds, entries, times, lost, problems, wellMs, said }) {
  if (said !== "") console.log(`  ! the server says: ${said}`);
  return [
    { what: "rounds", seen: `${rounds}, ${2 * CLIENTS} clients with leases of ${LEASE_MS} ms` },
    ...judgedLoad(entries, { faults: times, lost, leaseMs: LEASE_MS }),
    atMost("rounds after which not all got their locks again", problems.length, 0),
    atMost("errors in the server's log", said === "" ? 0 : 1, 0),
    {
      what: "all well after healing",
      seen: `median ${ms(quantile(wellMs, 0.5))}, longest ${ms(Math.max(...wellMs))}`,
    },
  ];
}

/** Whether somebody in each process was given a lock again, before this moment. */
async function grantsOfAll(load, untilMs) {
  const all = load.processes.map(async (process) => {
    const before = await process.call("grants");
    while ((await process.call("grants")) === before) {
      if (clockMs() > untilMs) return false;
      await setTimeout(20);
    }
    return true;
  });
  return (await Promise.all(all)).every((is) => is);
}
