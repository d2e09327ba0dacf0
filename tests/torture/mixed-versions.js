// The version before this one beside it: its clients, its server, and what it has stored.
import { builtPrevious } from "./lib/previous.js";
import { atMost, clockMs } from "./lib/stage.js";
import { judgedLoad, Load, lostOf, well } from "./lib/under-load.js";

export const about = "clients and servers of this version and of the one before it, on one store";
export const needs = ["previous version"];

const ROUNDS = 10;
const ROUNDS_QUICK = 1;
const CLIENTS = 4;
const GRANTS = 5;
const WELL_MS = 60_000;

export async function run(stage) {
  const old = builtPrevious(stage);
  console.log(`  before this one: ${old.revision}`);
  const services = ["m0", "m1"];
  // It begins as the old version's.
  const server = await stage.single({ cli: old.cli });
  const load = new Load(stage, {
    services: Array.from({ length: 2 * CLIENTS }, (_, at) => services[Math.floor(at / 2) % 2]),
    urls: [server.url],
    processes: 2,
    terms: { longMs: 2_000, oneTimePauseMs: 60, detachedMs: 3_000, hasPassersBy: false },
    // One process has the clients of the old version.
    childOf: (at) => (at === 0 ? { script: old.load } : {}),
  });
  /** Each is what runs from then on, and how the one before it is ended. */
  const steps = [
    { name: "the old server", cli: old.cli, signal: "SIGKILL" },
    { name: "this server, after the old one was killed", signal: "SIGKILL" },
    { name: "the old server, after this one has stopped in order", cli: old.cli, signal: "SIGTERM" },
    { name: "this server, after the old one has stopped in order", signal: "SIGTERM" },
    { name: "this server, killed", signal: "SIGKILL" },
  ];
  const faults = [];
  const problems = [];
  const lost = new Set();
  const grants = [];
  let period = 0;
  for (let round = 0; round < stage.count(ROUNDS_QUICK, ROUNDS); round++)
    for (const { name, cli, signal } of steps) {
      await load.period(period++);
      const fromMs = clockMs();
      await server.restart(cli === undefined ? {} : { cli }, signal);
      const isWell = await well([server.url], services, clockMs() + WELL_MS);
      faults.push({ fromMs, untilMs: clockMs() });
      if (!isWell) problems.push(`${name}: nothing is granted`);
      // Of both.
      await load.moreGrantsOfEach(GRANTS);
      grants.push(await Promise.all(load.processes.map((child) => child.call("grants"))));
      load.look();
      console.log(`  round ${round + 1}: ${name}`);
      for (const each of await lostOf([server], load.entries)) lost.add(`${name}: ${each}`);
    }
  await load.stop();
  if (server.child.isOver) problems.push(`the server has ended: ${server.child.end}`);
  for (const each of problems) console.log(`  ! ${each}`);
  const [oldGrants, newGrants] = grants.at(-1);
  return [
    {
      what: "changes of server under load",
      seen: `${faults.length}: ${steps.map(({ name }) => name).join("; ")}`,
    },
    {
      what: "locks that clients of the version before were given, and of this one",
      seen: `${oldGrants}, ${newGrants}`,
    },
    ...judgedLoad(load.entries, { faults, lost }),
    atMost("changes after which nothing was granted", problems.length, 0),
  ];
}
