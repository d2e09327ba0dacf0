import { type Plan, planOf } from "../plan.js";
import type { Random } from "../random.js";
import type { EtcdPlan } from "./etcd-plan.js";

/** What goes wrong in a cluster besides, and how many times a minute. */
export const CLUSTER_FAULTS = ["etcdSilence", "etcdOut", "memberCut", "bounce"] as const;

export type ClusterFault = (typeof CLUSTER_FAULTS)[number];

export interface ClusterPlan extends Plan {
  readonly members: number;
  /** Of those, how many come later. */
  readonly late: number;
  readonly memberLeaseMs: number;
  readonly etcd: EtcdPlan;
  readonly clusterFaults: Readonly<Record<ClusterFault, number>>;
  readonly etcdSilenceMsMax: number;
}

const SERVICES = ["red", "blue", "green", "gold"];

export function clusterPlanOf(random: Random, wildClocks: boolean): ClusterPlan {
  const plan = planOf(random, wildClocks);
  const some = (probability: number, value: () => number) => (random.chance(probability) ? value() : 0);
  const memberLeaseMs = random.pick([2_000, 5_000, 5_000]);
  const services = SERVICES.slice(0, 1 + random.int(3));
  const names = [...new Set(plan.locks.map((lock) => lock.slice(lock.indexOf("/"))))];
  const locks = services.flatMap((service) => names.map((name) => `${service}${name}`));
  const permitsOf = (lock: string) => plan.permits.get(`${plan.services[0]}${lock.slice(lock.indexOf("/"))}`);
  const permits = new Map(
    locks.flatMap((lock) => (permitsOf(lock) === undefined ? [] : [[lock, permitsOf(lock)!] as const])),
  );
  const members = 2 + random.int(3);
  const faults = { ...plan.faultsPerMinute };
  // It takes a lease until a member is missed: with more nobody would ever be served.
  faults.serverCrash = some(0.5, () => random.span(0.3, 6));
  faults.serverPause = some(0.6, () => random.span(0.3, 10));
  faults.serverStop = some(0.6, () => random.span(0.3, 12));
  faults.lostAnswers = some(0.2, () => random.span(0.3, 3));
  faults.serverCrashInCommit = 0;
  // Members that are thought dead, and go on: what they have sent arrives when others have what was theirs.
  const hasZombies = random.chance(0.4);
  if (hasZombies) faults.serverPause = random.span(1, 8);
  const serverPace = {
    ...plan.serverPace,
    stallChance: plan.serverPace.stallChance / 10,
    stallMsMax: memberLeaseMs * random.span(0.05, 2),
  };
  return {
    ...plan,
    ...{ services, locks, permits, members, memberLeaseMs, serverPace },
    clients: 2 + random.int(4),
    // What is written shows who has written it.
    durability: random.pick(["standard", "strict", "strict", "mixed"]),
    faultsPerMinute: faults,
    pauseMsMax: memberLeaseMs * random.span(hasZombies ? 2 : 0.3, 5),
    late: some(0.4, () => 1 + random.int(members - 1)),
    etcd: {
      latencyMsMax: random.span(0.5, 20),
      slowChance: some(0.4, () => random.span(0.002, 0.1)),
      slowMsMax: random.span(50, 3_000),
      notAppliedChance: some(0.4, () => random.span(0.002, 0.2)),
      neverChance: some(0.5, () => random.span(0.002, 0.1)),
      unheardChance: some(0.5, () => random.span(0.002, 0.1)),
      lateChance: some(0.5, () => random.span(0.002, 0.1)),
      lateMsMax: random.span(100, 30_000),
      staleChance: some(0.5, () => random.next()),
      backChance: some(0.5, () => random.span(0.001, 0.2)),
      hintLostChance: some(0.6, () => random.next()),
      hintLateMsMax: random.span(1, 3_000),
      hintTwiceChance: some(0.4, () => random.next()),
      hintsPerMinute: some(0.3, () => random.span(1, 60)),
    },
    clusterFaults: {
      etcdSilence: hasZombies ? random.span(2, 8) : some(0.5, () => random.span(0.3, 8)),
      etcdOut: some(0.3, () => random.span(0.1, 2)),
      memberCut: some(0.5, () => random.span(0.3, 8)),
      bounce: some(0.3, () => random.span(0.5, 10)),
    },
    etcdSilenceMsMax: random.chance(0.2) ? 180_000 : memberLeaseMs * random.span(hasZombies ? 1.5 : 0.1, 5),
  };
}
