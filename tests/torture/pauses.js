// Clients and their server stand still, and go on.
import { setTimeout } from "node:timers/promises";
import { atMost, clockMs } from "./lib/stage.js";
import { judgedLoad, Load, lostOf, well } from "./lib/under-load.js";

export const about =
  "clients and the server are stopped for 0.2 to 5 leases of 1 to 2 s, at any time, and go on";
export const needs = [];

const STOPS = 1_000;
const STOPS_QUICK = 20;
const LEASES_MS = [1_000, 1_500, 2_000];
/** In leases. */
const [STOP_MIN, STOP_MAX] = [0.2, 5];
/** Of each lease. */
const PROCESSES = 2;
/** One stop of the server for so many of clients. */
const CLIENTS_A_SERVER = 4;
const PERIOD_MS = 6_000;
const WELL_MS = 30_000;

export async function run(stage) {
  const stops = stage.count(STOPS_QUICK, STOPS);
  const lanes = await Promise.all(LEASES_MS.map((leaseMs, at) => laneOf(stage, leaseMs, at)));
  let begun = 0;
  const count = { clients: 0, server: 0 };
  let isOver = false;
  const periods = lanes.map(async ({ load }) => {
    for (let number = 1; !isOver; number++) {
      await setTimeout(PERIOD_MS);
      // Who stands still hears of it when it goes on.
      void load.period(number).catch(() => {});
    }
  });
  /** Stops one of them, again and again. */
  const stopping = async (who, child, leaseMs, faults) => {
    while (begun < stops) {
      begun++;
      const fromMs = clockMs();
      await child.pause();
      await setTimeout((STOP_MIN + Math.random() * (STOP_MAX - STOP_MIN)) * leaseMs);
      child.resume();
      faults.push({ fromMs, untilMs: clockMs() });
      count[who]++;
      if (begun % 50 === 0) console.log(`  ${begun}/${stops}`);
      await setTimeout(Math.random() * leaseMs * (who === "server" ? 2 * CLIENTS_A_SERVER : 2));
    }
  };
  await Promise.all(
    lanes.flatMap(({ server, load, leaseMs, faults }) => [
      stopping("server", server.child, leaseMs, faults),
      ...load.processes.map((each) => stopping("clients", each, leaseMs, faults)),
    ]),
  );
  isOver = true;
  await Promise.all(periods);
  const problems = [];
  const lost = new Set();
  for (const { server, load, leaseMs, services } of lanes) {
    if (!(await well([server.url], services, clockMs() + WELL_MS)))
      problems.push(`leases of ${leaseMs} ms: nothing is granted any more`);
    await load.stop();
    if (server.child.isOver) problems.push(`the server has ended: ${server.child.end}`);
    for (const each of await lostOf([server], load.entries)) lost.add(each);
  }
  const figures = judgedLoad(
    lanes.flatMap(({ load }) => load.entries),
    { faults: lanes.flatMap(({ faults }) => faults), lost, isOrdered: false },
  );
  for (const each of problems) console.log(`  ! ${each}`);
  return [
    {
      what: "stops",
      seen: `${begun}: ${count.clients} of processes with clients, ${count.server} of a server`,
    },
    ...figures,
    atMost("servers that ended, or grant nothing afterwards", problems.length, 0),
  ];
}

async function laneOf(stage, leaseMs, at) {
  const services = [`p${at}`];
  const server = await stage.single();
  const load = new Load(stage, {
    services: Array.from({ length: 2 * PROCESSES }, () => services[0]),
    urls: [server.url],
    processes: PROCESSES,
    terms: {
      lease: leaseMs,
      longMs: leaseMs,
      longShare: 0.6,
      detachedMs: 3_000,
      oneTimePauseMs: 300,
      hasPassersBy: false,
    },
  });
  await load.moreGrants(4);
  return { server, load, leaseMs, services, faults: [] };
}
