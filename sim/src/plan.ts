import type { Pace } from "./process.js";
import type { Random } from "./random.js";

export interface NetworkPlan {
  readonly latencyMsMin: number;
  readonly latencyMsMax: number;
  readonly spikeChance: number;
  readonly spikeMsMax: number;
  /** How often a side does not learn that its connection was cut. */
  readonly halfOpenChance: number;
  /** How often a connection is cut while client and server are still greeting each other. */
  readonly freshCutChance: number;
}

export interface DiskPlan {
  readonly commitMsMax: number;
  readonly slowChance: number;
  readonly slowMsMax: number;
  readonly failChance: number;
  readonly brokenMsMax: number;
}

/** What goes wrong, and how many times a minute. */
export const FAULTS = [
  "cut",
  "silence",
  "lateBytes",
  "lostAnswers",
  "replay",
  "clientCrash",
  "clientPause",
  "clientSuspend",
  "clientClose",
  "wallJump",
  "serverCrash",
  "serverCrashInCommit",
  "serverPause",
  "serverStop",
] as const;

export type Fault = (typeof FAULTS)[number];

export interface WorkPlan {
  readonly workers: number;
  readonly thinkMsMax: number;
  readonly holdMsMax: number;
  readonly waitMsMax: number;
  /** Weights of what a worker does next. */
  readonly weights: Readonly<Record<WorkKind, number>>;
  readonly abortChance: number;
  readonly minHoldChance: number;
  readonly maxHoldChance: number;
  readonly detachedMsMax: number;
  /** How often something else is asked for than one exclusive lock. */
  readonly sharedChance: number;
  readonly setChance: number;
  /** How often somebody asks for a lock otherwise than all others do. */
  readonly strangeChance: number;
  /** How often something more is asked inside a hold; and then, for what it has already. */
  readonly nestChance: number;
  readonly reentrantChance: number;
  /** How often it is asked inside of what another client holds, too. */
  readonly foreignChance: number;
  readonly listChance: number;
}

export const WORK_KINDS = [
  "acquire",
  "tryAcquire",
  "detached",
  "unlock",
  "check",
  "inspect",
  "intrude",
  "force",
  "steal",
] as const;

export type WorkKind = (typeof WORK_KINDS)[number];

/** One seed's choices: some faults on, each weighed quite differently from seed to seed. */
export interface Plan {
  readonly clients: number;
  readonly httpCallers: number;
  readonly services: readonly string[];
  readonly locks: readonly string[];
  /** Of those locks that are semaphores. */
  readonly permits: ReadonlyMap<string, number>;
  readonly leaseMs: number;
  readonly rateMin: number;
  readonly rateMax: number;
  /** Clocks differ by more than L2 allows: only tokens protect. */
  readonly wildClocks: boolean;
  readonly suspends: boolean;
  /** Whether session holds are written down too; `mixed`: as each start of the server has it. */
  readonly durability: "standard" | "strict" | "mixed";
  readonly lockDelayMs: number;
  readonly faultsPerMinute: Readonly<Record<Fault, number>>;
  readonly pauseMsMax: number;
  readonly downMsMax: number;
  readonly silenceMsMax: number;
  readonly network: NetworkPlan;
  readonly disk: DiskPlan;
  readonly clientPace: Pace;
  readonly serverPace: Pace;
  readonly work: WorkPlan;
}

/** Rates as far apart as L2 allows: 2 %. */
const RATE_SPREAD = 0.01;
const RATE_SPREAD_WILD = 0.05;

export function planOf(random: Random, wildClocks: boolean): Plan {
  const leaseMs = random.pick([1_000, 2_000, 5_000, 10_000, 10_000]);
  const services = random.chance(0.7) ? ["red"] : ["red", "blue"];
  // Exclusive locks one at a time are what most of all use: half of the runs have nothing else.
  const isPlain = random.chance(0.5);
  const lockCount = random.pick(isPlain ? [1, 1, 2, 3, 6] : [1, 2, 3, 4, 6]);
  const some = (probability: number, value: () => number) => (random.chance(probability) ? value() : 0);
  const spread = wildClocks ? RATE_SPREAD_WILD : RATE_SPREAD;
  // A machine that is suspended while its time of day is set back cannot know how long it slept: not both in one run.
  const suspends = random.chance(0.5);
  const faults = Object.fromEntries(
    FAULTS.map((fault) => [fault, some(0.45, () => random.span(0.3, 40))]),
  ) as Record<Fault, number>;
  if (!suspends) faults.clientSuspend = 0;
  const weights = Object.fromEntries(
    WORK_KINDS.map((kind) => [kind, some(0.6, () => random.span(0.05, 1))]),
  ) as Record<WorkKind, number>;
  weights.acquire = Math.max(weights.acquire, 0.3);
  const network: NetworkPlan = {
    latencyMsMin: 0.05,
    latencyMsMax: random.span(0.2, 50),
    spikeChance: some(0.4, () => random.span(0.0005, 0.1)),
    spikeMsMax: leaseMs * random.span(0.1, 3),
    halfOpenChance: some(0.6, () => random.next()),
    freshCutChance: some(0.4, () => random.span(0.01, 0.4)),
  };
  const locks = services.flatMap((service) =>
    Array.from({ length: lockCount }, (_, at) => `${service}/${at}`),
  );
  const often = (probability: number, max: number) =>
    isPlain ? 0 : some(probability, () => random.span(0.02, max));
  if (!isPlain && random.chance(0.3)) faults.serverCrash = Math.max(faults.serverCrash, random.span(10, 60));
  weights.steal = often(0.4, 0.1);
  return {
    clients: 2 + random.int(5),
    httpCallers: some(0.5, () => 1 + random.int(3)),
    services,
    locks,
    permits: new Map(
      locks.filter(() => !isPlain && random.chance(0.25)).map((lock) => [lock, 2 + random.int(4)]),
    ),
    leaseMs,
    rateMin: 1 - spread,
    rateMax: 1 + spread,
    wildClocks,
    suspends,
    durability: random.pick(["standard", "standard", "strict", "mixed"]),
    lockDelayMs: some(0.25, () => Math.ceil(random.span(10, 5_000))),
    faultsPerMinute: faults,
    pauseMsMax: leaseMs * random.span(0.2, 5),
    downMsMax: leaseMs * random.span(0.05, 3),
    silenceMsMax: leaseMs * random.span(0.2, 3),
    network,
    disk: {
      commitMsMax: random.span(0.1, 30),
      slowChance: some(0.4, () => random.span(0.001, 0.2)),
      slowMsMax: random.span(50, 8_000),
      failChance: some(0.35, () => random.span(0.001, 0.1)),
      brokenMsMax: random.span(1, 5_000),
    },
    clientPace: pace(random, leaseMs),
    serverPace: pace(random, leaseMs),
    work: {
      workers: 1 + random.int(3),
      thinkMsMax: random.span(5, 5_000),
      holdMsMax: leaseMs * random.span(0.01, 3),
      waitMsMax: leaseMs * random.span(0.05, 5),
      weights,
      abortChance: some(0.5, () => random.span(0.02, 0.6)),
      minHoldChance: some(0.3, () => random.next()),
      maxHoldChance: some(0.3, () => random.next()),
      detachedMsMax: random.span(300, 30_000),
      sharedChance: often(0.7, 0.8),
      setChance: often(0.7, 1),
      strangeChance: often(0.3, 0.1),
      nestChance: often(0.8, 2),
      reentrantChance: often(0.6, 0.5),
      foreignChance: often(0.4, 0.3),
      listChance: often(0.3, 0.2),
    },
  };
}

function pace(random: Random, leaseMs: number): Pace {
  return {
    callbackMsMax: random.span(0.001, 0.5),
    stallChance: random.chance(0.4) ? random.span(0.0001, 0.02) : 0,
    stallMsMax: leaseMs * random.span(0.01, 2),
  };
}
