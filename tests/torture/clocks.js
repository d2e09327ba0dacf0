// Times of day that jump, and clocks that run at other rates.
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { freePorts } from "../../packages/server/test/etcd.js";
import { atRate, mendedClock, tidyClock, WallClock } from "./lib/clock.js";
import { descents, holdsOf, overlaps } from "./lib/judge.js";
import { Net } from "./lib/net.js";
import { atMost, clockMs } from "./lib/stage.js";
import { judgedLoad, Load, lostOf, well } from "./lib/under-load.js";

export const about =
  "times of day jump by an hour and back, and clocks of clients and server run at different rates";
export const needs = ["faketime"];

const REGISTER = fileURLToPath(new URL("../processes/register.mjs", import.meta.url));
const ROUNDS = 200;
const ROUNDS_QUICK = 4;
const HOUR_S = 3_600;
const LEASE_MS = 3_000;
/** The longer it is, the longer two may believe when rates are too far apart. */
const LEASE_BY_TOKEN_MS = 6_000;
/** In leases: beyond the end of one. */
const CUT = 1.5;
const STROBE_MS = 150;
const STROBES = 20;
const CLIENTS = 3;
/** What is promised here is a hundredth of a lease apart. */
const WRONG_MS = 5;
/** L2 promises that rates may differ by 2 %. Beyond that the token protects. */
const KINDS = [
  { name: "times of day jump by an hour, of the server and of clients", hurt: jumps },
  { name: "times of day jump to and fro", hurt: strobes },
  { name: "a slow client, a fast server (0.99, 1.01)", rates: [0.99, 1.01], hurt: cutOff },
  { name: "a slow client, a fast server (0.95, 1.05)", rates: [0.95, 1.05], hurt: cutOff, isByToken: true },
  { name: "a fast client, a slow server (1.01, 0.99)", rates: [1.01, 0.99], hurt: cutOff, isFullOnly: true },
];

export async function run(stage) {
  const rounds = stage.count(ROUNDS_QUICK, ROUNDS);
  const kinds = KINDS.filter(({ isFullOnly }) => isFullOnly !== true || rounds > ROUNDS_QUICK);
  const each = Math.ceil(rounds / kinds.length);
  const lanes = await Promise.all(kinds.map((kind, at) => laneOf(stage, kind, at, each)));
  const judged = lanes.filter(({ kind }) => kind.isByToken !== true);
  const [byToken] = lanes.filter(({ kind }) => kind.isByToken === true);
  const all = (/** @type {(lane: any) => any[]} */ of) => judged.flatMap(of);
  const problems = lanes.flatMap((lane) => lane.problems);
  for (const problem of problems) console.log(`  ! ${problem}`);
  const registers = byToken.registers;
  const sum = (/** @type {string} */ field) => registers.reduce((total, one) => total + one[field], 0);
  const offMs = Math.max(...lanes.map((lane) => lane.offMs));
  return [
    { what: "rounds", seen: `${each * kinds.length}: ${kinds.map(({ name }) => name).join("; ")}` },
    ...judgedLoad(
      all(({ load }) => load.entries),
      { faults: all(({ faults }) => faults), lost: new Set(all(({ lost }) => lost)), isOrdered: false },
    ),
    atMost("acknowledged changes lost at rates of 0.95 and 1.05", byToken.lost.length, 0),
    atMost("tokens that went back there", descents(byToken.load.entries).length, 0),
    {
      what: "holds there, and how many of them overlapped",
      seen: `${holdsOf(byToken.load.entries).length}, ${overlaps(byToken.load.entries).length}`,
    },
    {
      what: "writes there that a register refused for their token",
      seen: `${sum("refusedWrites")}, of which ${sum("savedUpdates")} would have undone another's`,
    },
    atMost(`updates lost there, of ${sum("writes")}`, sum("lostUpdates"), 0),
    atMost("servers that ended, or grant nothing afterwards", problems.length, 0),
    atMost(
      "milliseconds by which the times of this proof are wrong, beside the way of a message",
      Math.ceil(offMs),
      WRONG_MS,
    ),
  ];
}

/** One server and its clients: some behind a way that is cut, some not, who want the same locks. */
async function laneOf(stage, kind, at, rounds) {
  const walls =
    kind.rates === undefined
      ? Array.from({ length: 2 }, (_, which) => new WallClock(join(stage.folder(), `clock${which}`)))
      : [];
  const [clientRate] = kind.rates ?? [1, 1];
  const envOf = (/** @type {number} */ which) =>
    kind.rates === undefined ? walls[which].env : atRate(kind.rates[which]);
  const server = await stage.single({ env: envOf(1) });
  const net = new Net();
  stage.onEnd(() => net.end());
  const [port, registerPort] = await freePorts(2);
  await net.proxy({ to: "server", from: "clients", target: server.port, port });
  const service = `k${at}`;
  const leaseMs = kind.isByToken === true ? LEASE_BY_TOKEN_MS : LEASE_MS;
  const names = Array.from({ length: CLIENTS }, (_, number) => `${service}/0/${number}`);
  const register = kind.isByToken
    ? stage.child(REGISTER, [JSON.stringify({ port: registerPort, names })])
    : null;
  // It says so by a notice, which is not heard here: its port is tried.
  if (register !== null) await setTimeout(1_000);
  const load = new Load(stage, {
    services: Array.from({ length: 2 * CLIENTS }, () => service),
    urls: [server.url],
    processes: 2,
    terms: {
      ...{
        lease: leaseMs,
        longMs: 2 * CUT * leaseMs,
        longShare: 0.3,
        oneTimePauseMs: 200,
        hasPassersBy: false,
      },
      ...{ endSlack: 0.1, isClockWrong: true, registerPort: register === null ? null : registerPort },
    },
    childOf: (process) => ({
      env: envOf(0),
      ...(process === 0 ? { urls: [`http://127.0.0.1:${port}`] } : {}),
    }),
  });
  const offs = await Promise.all(load.processes.map((child) => mendedClock(child, clientRate)));
  for (const child of [server.child, ...load.processes]) tidyClock(child);
  await load.moreGrants(2 * CLIENTS);
  const lane = {
    kind,
    leaseMs,
    load,
    server,
    net,
    walls,
    faults: [],
    problems: [],
    lost: [],
    registers: [],
    offMs: 0,
  };
  for (let round = 0; round < rounds; round++) {
    if (register === null) await load.period(round);
    const fromMs = clockMs();
    await kind.hurt(lane, round);
    lane.faults.push({ fromMs, untilMs: clockMs() });
    if ((round + 1) % 10 === 0) console.log(`  ${kind.name}: ${round + 1}/${rounds}`);
    await setTimeout(500);
  }
  if (!(await well([server.url], [service], clockMs() + 30_000)))
    lane.problems.push(`${kind.name}: nothing is granted any more`);
  lane.offMs = Math.max(...(await Promise.all(offs.map((off) => off()))));
  await load.stop();
  lane.lost.push(...(await lostOf([server], load.entries)));
  if (server.child.isOver) lane.problems.push(`${kind.name}: the server has ended: ${server.child.end}`);
  if (register !== null) lane.registers.push(.../** @type {any[]} */ (await register.call("all")));
  await server.child.kill();
  return lane;
}

async function jumps({ walls: [clients, server] }, round) {
  const sign = round % 2 === 0 ? 1 : -1;
  server.set(sign * HOUR_S);
  await setTimeout(1_000);
  clients.set(-sign * HOUR_S);
  await setTimeout(1_000);
  server.set(0);
  clients.set(sign * HOUR_S);
  await setTimeout(1_000);
  clients.set(0);
}

async function strobes({ walls }) {
  for (let strobe = 0; strobe < STROBES; strobe++) {
    for (const wall of walls) wall.set(Math.round((Math.random() * 2 - 1) * HOUR_S));
    await setTimeout(STROBE_MS);
  }
  for (const wall of walls) wall.set(0);
}

/** Longer than a lease: until then they believe, and then somebody else has their locks. */
async function cutOff({ net, load, leaseMs }) {
  await load.moreGrants(2);
  net.cut(() => true);
  await setTimeout(CUT * leaseMs);
  net.heal();
}
