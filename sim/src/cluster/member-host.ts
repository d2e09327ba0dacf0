import { Member } from "../../../packages/server/dist/cluster/member.js";
import { Loop } from "../../../packages/server/dist/loop/loop.js";
import { Clock } from "../clock.js";
import type { EngineWatch } from "../engine-watch.js";
import type { Listener, Network, Purpose } from "../network.js";
import { Process } from "../process.js";
import { accepted, LIMITS, type Listening, SERVICES_MAX } from "../server-host.js";
import type { Wire } from "../wire.js";
import type { World } from "../world.js";
import type { ClusterPlan } from "./cluster-plan.js";
import type { SimEtcd } from "./etcd.js";
import { type Keys, MemberKeys } from "./keys.js";
import { AT, type ClusterRules } from "./rules.js";

const SLICE_MAX = 16;
const RESTART_MS = 100;

/** What all members of a simulated cluster have in common. */
export interface MemberParts {
  readonly world: World;
  readonly plan: ClusterPlan;
  readonly etcd: SimEtcd;
  readonly watch: EngineWatch;
  readonly rules: ClusterRules;
  /** Null: nobody changes keys. */
  readonly keys: Keys | null;
}

/** The machine of one member: it starts, crashes, stops and starts again, and keeps nothing. */
export class MemberHost implements Listener {
  readonly name: string;
  readonly url: string;
  network!: Network;
  process: Process | null = null;
  member: Member | null = null;
  /** What was said to it before counts no more in the next: it rises with each opening of its store, and as places change. */
  life = 0;
  stopping = false;
  /** Not before it is wanted. */
  isWanted = true;
  readonly #parts: MemberParts;
  readonly #rate: number;
  readonly #listening: Listening;
  #ids = 0;
  #loop: Loop | null = null;
  #startDue = false;

  constructor(parts: MemberParts, name: string, url: string) {
    const { world, plan, watch, rules } = parts;
    this.#parts = parts;
    this.name = name;
    this.url = url;
    this.#rate = world.random.between(plan.rateMin, plan.rateMax);
    this.#listening = {
      audible: (service, session, text, sentMs) => {
        rules.audible(this, service, text);
        if (rules.ownerOf(service) === this) watch.audible(service, session, text, sentMs);
      },
    };
  }

  get listening(): Process | null {
    return this.#loop === null ? null : this.process;
  }

  serves(partition: number): boolean {
    return this.process?.alive === true && this.member?.placeOfPartition(partition) === "here";
  }

  start(): void {
    this.#startDue = false;
    if (this.process !== null || !this.isWanted) return;
    const { world, plan } = this.#parts;
    const clock = new Clock(world.nowMs, this.#rate, world.random.between(0, 1e6), 1.7e12 + world.nowMs);
    const process = new Process(world, this.name, clock, plan.serverPace);
    this.process = process;
    world.story.note(null, this.name, () => "starts");
    process.arrive(() => void this.#live(process));
  }

  async #live(process: Process): Promise<void> {
    const { world, plan, etcd } = this.#parts;
    const { durability } = plan;
    const isStrict = durability === "strict" || (durability === "mixed" && world.random.chance(0.5));
    const note = (facts: { err?: unknown }, text: string) =>
      world.story.note(null, this.name, () => {
        const { err, ...rest } = facts as { err?: Error };
        return `${text} ${JSON.stringify(rest)}${err === undefined ? "" : `: ${err.message}`}`;
      });
    const log = { info: note, warn: note, error: note };
    const runtime = {
      monotonicMs: () => process.monotonicMs(),
      wallMs: () => process.wallMs(),
      randomId: () => `${this.name}-${String(++this.#ids).padStart(6, "0")}`,
      defer: (run: () => void) => process.defer(run),
      setTimer: (run: () => void, ms: number) => process.setTimer(run, ms),
    };
    const way = etcd.clientOf(process, this.name, () => member.memberId);
    const keys = this.#parts.keys === null ? null : new MemberKeys(this.#parts.keys);
    const member: Member = new Member({
      ...{ etcd: way, at: AT, url: this.url, version: "1", runtime, log },
      leaseMs: plan.memberLeaseMs,
      ...(keys === null ? {} : { onCommon: keys.onCommon }),
    });
    this.member = member;
    member.watch(() => void this.life++);
    try {
      const loop = await Loop.start({
        openStore: () => {
          this.life++;
          return keys === null ? member.openStore() : keys.opened(this.name, member);
        },
        ...{ placement: member, servicesMax: SERVICES_MAX, runtime, log },
        // Small, or there would be no slices: what else happens is to happen between them.
        sliceMax: SLICE_MAX,
        service: { ...LIMITS, writesSessionHolds: isStrict },
      });
      if (this.process !== process) return;
      this.#loop = loop;
      member.start(loop);
      keys?.start(process, this.name, loop, member);
      note({}, "listens");
    } catch (error) {
      note({ err: error }, "does not start");
      if (this.process === process) this.crash(false);
      this.startAfter(RESTART_MS);
    }
  }

  startAfter(ms: number): void {
    if (this.#startDue) return;
    this.#startDue = true;
    this.#parts.world.after(ms, () => this.start());
  }

  startSoon(): void {
    this.#parts.world.after(1, () => this.start());
  }

  crash(silent: boolean): void {
    const { process } = this;
    if (process === null) return;
    this.#parts.world.story.note(null, this.name, () => (silent ? "its machine dies" : "is killed"));
    this.#gone(process, silent);
  }

  /** Leaves as on SIGTERM; whoever sent it starts it again. */
  stop(restartAfterMs: number): void {
    const { process, member } = this;
    const loop = this.#loop;
    if (process === null || loop === null || member === null || this.stopping) return;
    this.stopping = true;
    const { story } = this.#parts.world;
    story.note(null, this.name, () => "is asked to stop");
    const over = () => {
      if (this.process !== process) return;
      story.note(null, this.name, () => "has stopped");
      this.#gone(process, false);
      this.startAfter(restartAfterMs);
    };
    const leave = async () => {
      await member.leave();
      await loop.stop();
      await member.close();
    };
    process.arrive(() => void leave().then(over, over));
  }

  accept(wire: Wire, purpose: Purpose): void {
    accepted(wire, purpose, this.process!, this.#loop, this.#listening);
  }

  #gone(process: Process, silent: boolean): void {
    process.kill();
    this.stopping = false;
    this.process = null;
    this.member = null;
    this.#loop = null;
    this.network.died(process, silent);
  }
}
