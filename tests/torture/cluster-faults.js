// A hundred rounds of what can happen to members and to etcd, alone and together, under the load of thirty clients.
import { setTimeout } from "node:timers/promises";
import { atMost, clockMs, LEASE_MS, quantile } from "./lib/stage.js";
import { CLIENT_LEASE_MS, judgedLoad, Load, lostOf, well } from "./lib/under-load.js";

export const about =
  "members and etcd are killed, stopped and cut off, alone and together, while clients go on";
export const needs = ["etcd"];

const ROUNDS = 100;
const ROUNDS_QUICK = 10;
const SERVICES = 6;
const PROCESSES = 2;
const CLIENTS = 30;
/** Beyond the lease of a member. */
const FAULT_MS = LEASE_MS + 1_500;
const SHORT_FAULT_MS = LEASE_MS / 2;
/** Until a new owner has waited for all sessions that stay with the old one (R4), and grants: whoever still believes in the old one is found then. */
const LONG_FAULT_MS = LEASE_MS + CLIENT_LEASE_MS + 3_000;
const WELL_MS = 45_000;
/** What was seen of a name is judged in one search, which has its limits. */
const ROUNDS_A_NAME = 2;
const RECENT = 60;

export async function run(stage) {
  const rounds = stage.count(ROUNDS_QUICK, ROUNDS);
  const cluster = await stage.cluster({ throughNet: true });
  const services = Array.from({ length: SERVICES }, (_, at) => `s${at}`);
  const load = new Load(stage, {
    services: Array.from({ length: CLIENTS }, (_, at) => services[Math.floor(at / PROCESSES) % SERVICES]),
    urls: cluster.urls,
    processes: PROCESSES,
  });
  const lost = new Set();
  const faults = [];
  const wellMs = [];
  const problems = [];
  const died = [];
  await setTimeout(1_000);
  for (let round = 0; round < rounds; round++) {
    if (round % ROUNDS_A_NAME === 0) await load.period(round / ROUNDS_A_NAME);
    const fault = FAULTS[round % FAULTS.length];
    const fromMs = clockMs();
    const lasts = await fault.hurt(cluster, round);
    await setTimeout(fault.forMs ?? FAULT_MS);
    await lasts?.();
    cluster.net.heal();
    for (const member of cluster.members) {
      if (!member.child.isOver) continue;
      died.push(`round ${round} (${fault.name}): ${member.name} ended by itself: ${member.child.end}`);
      await member.restart();
    }
    const healedMs = clockMs();
    const isWell = await well(cluster.urls, services, healedMs + WELL_MS);
    const untilMs = clockMs();
    faults.push({ fromMs, untilMs });
    wellMs.push(untilMs - healedMs);
    if (!isWell) problems.push(`round ${round} (${fault.name}): not well within ${WELL_MS} ms`);
    load.look();
    for (const each of await lostOf(cluster.members, load.entries, RECENT))
      lost.add(`round ${round} (${fault.name}): ${each}`);
    console.log(
      `  ${round + 1}/${rounds} ${fault.name}: well ${(untilMs - healedMs).toFixed(0)} ms after it was healed`,
    );
  }
  await load.stop();
  for (const each of await lostOf(cluster.members, load.entries)) lost.add(each);
  for (const each of [...died, ...problems].slice(0, 40)) console.log(`  ! ${each}`);
  return [
    { what: "rounds", seen: `${rounds}, ${CLIENTS} clients` },
    ...judgedLoad(load.entries, { faults, lost }),
    atMost("rounds after which a service did not come back", problems.length, 0),
    {
      what: "all services well after healing",
      seen: `median ${quantile(wellMs, 0.5).toFixed(0)} ms, longest ${Math.max(...wellMs).toFixed(0)} ms`,
    },
  ];
}

const alone =
  (name, { out = true, back = true } = {}) =>
  (from, to) =>
    (out && from === name) || (back && to === name);

/** Each hurts, and gives what is to be done when its time is over, besides healing the net. */
const FAULTS = [
  { name: "a member is killed", hurt: (cluster, round) => killed(cluster, [round]) },
  { name: "a member is stopped", hurt: (cluster, round) => stopped([cluster.members[round % 3].child]) },
  {
    name: "a member is cut off from etcd, both ways, and not from its callers",
    forMs: LONG_FAULT_MS,
    hurt: async ({ net }, round) =>
      net.cut((from, to) => alone(`m${round % 3}`)(from, to) && from !== "callers" && to !== "callers"),
  },
  {
    name: "the leader of etcd is killed, and a member",
    hurt: async (cluster, round) => {
      const leader = cluster.etcd.members[await cluster.etcdLeader()];
      await leader.kill();
      const heal = await killed(cluster, [round]);
      return () => Promise.all([heal(), leader.restart()]);
    },
  },
  {
    name: "a member hears nothing of etcd any more",
    hurt: async ({ net }, round) => net.cut((from, to) => to === `m${round % 3}` && from.startsWith("e")),
  },
  {
    name: "the leader of etcd is stopped, and a member",
    hurt: async (cluster, round) =>
      stopped([cluster.etcd.members[await cluster.etcdLeader()], cluster.members[round % 3].child]),
  },
  {
    name: "a member is not heard by etcd any more",
    hurt: async ({ net }, round) => net.cut((from, to) => from === `m${round % 3}` && to.startsWith("e")),
  },
  {
    name: "the leader of etcd is cut off from its peers and members",
    hurt: async (cluster) => cluster.net.cut(alone(`e${await cluster.etcdLeader()}`)),
  },
  {
    name: "a member is cut off from all callers",
    hurt: async ({ net }, round) =>
      net.cut(
        (from, to) =>
          (from === "callers" && to === `m${round % 3}`) || (to === "callers" && from === `m${round % 3}`),
      ),
  },
  {
    name: "the leader of etcd is not heard, and a member neither",
    hurt: async (cluster, round) => {
      const leader = `e${await cluster.etcdLeader()}`;
      cluster.net.cut((from, to) => from === leader || (from === `m${round % 3}` && to.startsWith("e")));
    },
  },
  {
    name: "two members of three are stopped",
    hurt: (cluster, round) =>
      stopped([cluster.members[round % 3].child, cluster.members[(round + 1) % 3].child]),
  },
  { name: "two members of three are killed", hurt: (cluster, round) => killed(cluster, [round, round + 1]) },
  {
    name: "two of etcd are stopped: there is no quorum",
    hurt: async (cluster, round) =>
      stopped([cluster.etcd.members[round % 3], cluster.etcd.members[(round + 1) % 3]]),
  },
  {
    name: "two of etcd are killed, for less than a lease",
    forMs: SHORT_FAULT_MS,
    hurt: async (cluster, round) => {
      const two = [cluster.etcd.members[round % 3], cluster.etcd.members[(round + 1) % 3]];
      await Promise.all(two.map((member) => member.kill()));
      return () => Promise.all(two.map((member) => member.restart()));
    },
  },
  {
    name: "a member is cut off from everything",
    hurt: async ({ net }, round) => net.cut(alone(`m${round % 3}`)),
  },
  { name: "all members are killed", forMs: SHORT_FAULT_MS, hurt: (cluster) => killed(cluster, [0, 1, 2]) },
  {
    name: "a member is stopped for less than a lease, and killed",
    forMs: SHORT_FAULT_MS,
    hurt: async (cluster, round) => {
      await cluster.members[round % 3].child.pause();
      return () => cluster.members[round % 3].restart();
    },
  },
];

async function killed(cluster, which) {
  const some = which.map((at) => cluster.members[at % 3]);
  await Promise.all(some.map(({ child }) => child.kill()));
  return () => Promise.all(some.map((member) => member.restart()));
}

async function stopped(some) {
  await Promise.all(some.map((each) => each.pause()));
  return async () => {
    for (const each of some) each.resume();
  };
}
