import { Member } from "../../../packages/server/dist/cluster/member.js";
import { PARTITIONS } from "../../../packages/server/dist/cluster/partitions.js";
import { Loop } from "../../../packages/server/dist/loop/loop.js";
import { bytesOf, type Op, type Txn, type TxnOutcome } from "../../../packages/server/dist/store/etcd-api.js";
import { Clock } from "../clock.js";
import { Process } from "../process.js";
import { LIMITS } from "../server-host.js";
import { World } from "../world.js";
import { SimEtcd } from "./etcd.js";
import type { EtcdPlan } from "./etcd-plan.js";

/** Nothing goes wrong: only how much there is of it is looked at. */
const QUIET: EtcdPlan = {
  ...{ latencyMsMax: 2, slowChance: 0, slowMsMax: 0, notAppliedChance: 0, neverChance: 0, unheardChance: 0 },
  ...{ lateChance: 0, lateMsMax: 0, staleChance: 0, backChance: 0, hintLostChance: 0, hintLateMsMax: 4 },
  ...{ hintTwiceChance: 0, hintsPerMinute: 0 },
};
const PACE = { callbackMsMax: 0, stallChance: 0, stallMsMax: 0 };
const STEADY_MS = 4_000;
const SETTLED_MS_MAX = 120_000;
const STEP_MS = 20;

export interface ScaleOptions {
  readonly members: number;
  /** Bytes that each member shares with all others (A5). */
  readonly shareBytes: number;
}

/** What members do to etcd in some time. */
export interface Traffic {
  readonly what: string;
  readonly ms: number;
  readonly txns: number;
  /** Those that read all members and owners. */
  readonly looks: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** The most in any 100 ms, as if it went on for a second. */
  readonly txnsPeak: number;
  readonly bytesOutPeak: number;
  /** Of partitions that nobody served for a while: the longest such time, and the mean; 0: there was none. */
  readonly awayMsMax: number;
  readonly awayMsMean: number;
}

/**
 * How much so many members ask of etcd: when all start, while nothing happens, and when one of them stops and dies.
 * @param told of each as it is known
 */
export async function measureScale(
  { members: count, shareBytes }: ScaleOptions,
  told: (seen: Traffic) => void,
): Promise<void> {
  const world = new World(1, false);
  const etcd = new SimEtcd(world, QUIET);
  const meter = new Meter(world, etcd);
  const members = Array.from({ length: count }, (_, at) => new ScaleMember(world, etcd, at, shareBytes));
  const until = async (isSo: () => boolean) => {
    const endMs = world.nowMs + SETTLED_MS_MAX;
    while (!isSo()) {
      if (world.nowMs > endMs) throw new Error(`${count} members do not settle`);
      await world.run(world.nowMs + STEP_MS, Number.POSITIVE_INFINITY, () => {});
    }
  };
  const aways = new Aways(world, members);
  const pass = (ms: number) => world.run(world.nowMs + ms, Number.POSITIVE_INFINITY, () => {});
  const living = () => members.filter(({ process }) => process.alive);
  /** Each partition is at the one whose share it is: nothing more is to be done. */
  const isSettled = () =>
    living().reduce((sum, { served }) => sum + served, 0) === PARTITIONS &&
    living().every(({ member }) => member.others().length === living().length - 1);
  const phase = async (what: string, run: () => Promise<unknown>) => {
    meter.begin();
    await run();
    told({ ...meter.end(what), ...aways.take() });
  };
  await phase("all start at once, until each partition is served", async () => {
    for (const member of members) member.start();
    await until(isSettled);
  });
  await pass(5_000);
  await phase("nothing happens", () => pass(STEADY_MS));
  if (count < 2) return;
  await phase("one is stopped as planned, and the 2 s after it", async () => {
    const fromMs = world.nowMs;
    members[0]!.stop();
    const isOver = () => !members[0]!.process.alive && isSettled();
    await aways.watch(() => isOver() || world.nowMs > fromMs + SETTLED_MS_MAX);
    await pass(fromMs + 2_000 - world.nowMs);
  });
  if (count < 3) return;
  await phase("one is killed, until its partitions are served", async () => {
    members[1]!.process.kill();
    await until(isSettled);
  });
}

/** For how long each partition is served by nobody, to a millisecond. */
class Aways {
  readonly #world: World;
  readonly #members: readonly ScaleMember[];
  #ms: number[] = [];

  constructor(world: World, members: readonly ScaleMember[]) {
    this.#world = world;
    this.#members = members;
  }

  async watch(isOver: () => boolean): Promise<void> {
    const away = new Array<number>(PARTITIONS).fill(0);
    while (!isOver()) {
      await this.#world.run(this.#world.nowMs + 1, Number.POSITIVE_INFINITY, () => {});
      for (let at = 0; at < PARTITIONS; at++) if (!this.#members.some((each) => each.serves(at))) away[at]!++;
    }
    this.#ms = away.filter((ms) => ms > 0);
  }

  take(): Pick<Traffic, "awayMsMax" | "awayMsMean"> {
    const ms = this.#ms;
    this.#ms = [];
    if (ms.length === 0) return { awayMsMax: 0, awayMsMean: 0 };
    return { awayMsMax: Math.max(...ms), awayMsMean: ms.reduce((sum, each) => sum + each, 0) / ms.length };
  }
}

class ScaleMember {
  readonly process: Process;
  readonly member: Member;
  readonly #world: World;
  #loop: Loop | null = null;
  #ids = 0;

  constructor(world: World, etcd: SimEtcd, at: number, shareBytes: number) {
    const name = `m${at}`;
    this.#world = world;
    this.process = new Process(world, name, new Clock(0, 1, at * 1_000, 1.7e12), PACE);
    const log = { info: () => {}, warn: () => {}, error: () => {} };
    let shares = 0;
    this.member = new Member({
      etcd: etcd.clientOf(this.process, name, () => this.member.memberId),
      ...{ at: "/sim/", url: `https://lockdb-${at}.example.org:5625`, version: "1.0.0", log },
      runtime: this.#runtime(name),
      // Another one each time: requests that limited accounts have made lately.
      share: () => (shareBytes === 0 ? null : { at: ++shares, what: "x".repeat(shareBytes) }),
    });
  }

  serves(partition: number): boolean {
    return this.process.alive && this.member.placeOfPartition(partition) === "here";
  }

  get served(): number {
    let served = 0;
    for (let at = 0; at < PARTITIONS; at++) if (this.serves(at)) served++;
    return served;
  }

  start(): void {
    this.process.arrive(() => void this.#live());
  }

  async #live(): Promise<void> {
    const { member } = this;
    this.#loop = await Loop.start({
      openStore: () => member.openStore(),
      ...{ placement: member, servicesMax: 1_000, runtime: this.#runtime("loop") },
      log: { warn: () => {}, error: () => {} },
      service: { ...LIMITS, writesSessionHolds: false },
    });
    member.start(this.#loop);
  }

  stop(): void {
    const over = () => this.process.kill();
    const leave = async () => {
      await this.member.leave();
      await this.#loop!.stop();
      await this.member.close();
    };
    this.process.arrive(() => void leave().then(over, over));
  }

  #runtime(name: string) {
    const { process } = this;
    return {
      monotonicMs: () => process.monotonicMs(),
      wallMs: () => process.wallMs(),
      // As long as real ones.
      randomId: () => `${name}-${this.#world.random.int(1e9)}-${++this.#ids}`.padEnd(22, "0").slice(0, 22),
      defer: (run: () => void) => process.defer(run),
      setTimer: (run: () => void, ms: number) => process.setTimer(run, ms),
    };
  }
}

/** Counts what goes through etcd. */
class Meter {
  readonly #world: World;
  #fromMs = 0;
  #total = { txns: 0, looks: 0, bytesIn: 0, bytesOut: 0 };
  readonly #slots = new Map<number, { txns: number; bytesOut: number }>();

  constructor(world: World, { state }: SimEtcd) {
    this.#world = world;
    const apply = state.apply.bind(state);
    state.apply = (txn, back, older) => {
      const outcome = apply(txn, back, older);
      this.#count(txn, outcome);
      return outcome;
    };
  }

  begin(): void {
    this.#fromMs = this.#world.nowMs;
    this.#total = { txns: 0, looks: 0, bytesIn: 0, bytesOut: 0 };
    this.#slots.clear();
  }

  end(what: string): Omit<Traffic, "awayMsMax" | "awayMsMean"> {
    const slots = [...this.#slots.values()];
    const most = (of: "txns" | "bytesOut") => 10 * Math.max(0, ...slots.map((slot) => slot[of]));
    const ms = this.#world.nowMs - this.#fromMs;
    return { what, ms, ...this.#total, txnsPeak: most("txns"), bytesOutPeak: most("bytesOut") };
  }

  #count({ compare, ops, otherwise = [] }: Txn, outcome: TxnOutcome): void {
    let bytesIn = 0;
    for (const each of compare) bytesIn += sizeOf(each.key) + ("value" in each ? each.value.length : 8);
    for (const op of [...ops, ...otherwise]) bytesIn += inOp(op);
    let bytesOut = 0;
    if (outcome.kind === "applied" || outcome.kind === "refused")
      for (const entry of outcome.gets.flat()) bytesOut += entry.key.length + entry.value.length + 24;
    const total = this.#total;
    total.txns++;
    // The look of a beat, or of a join.
    if (ops.some((op) => "get" in op && String(op.get).endsWith("/member/"))) total.looks++;
    total.bytesIn += bytesIn;
    total.bytesOut += bytesOut;
    const at = Math.floor(this.#world.nowMs / 100);
    const slot = this.#slots.get(at) ?? { txns: 0, bytesOut: 0 };
    this.#slots.set(at, { txns: slot.txns + 1, bytesOut: slot.bytesOut + bytesOut });
  }
}

function inOp(op: Op): number {
  if ("put" in op) return sizeOf(op.put) + op.value.length;
  return "get" in op ? sizeOf(op.get) * 2 : sizeOf(op.delete);
}

function sizeOf(key: string | Uint8Array): number {
  return bytesOf(key).length;
}
