import type { Victim, Written } from "../faults.js";
import type { Network } from "../network.js";
import type { Process } from "../process.js";
import type { World } from "../world.js";
import { CLUSTER_FAULTS, type ClusterFault, type ClusterPlan } from "./cluster-plan.js";
import type { SimEtcd } from "./etcd.js";
import type { MemberHost } from "./member-host.js";

const MINUTE_MS = 60_000;

/** The member that things happen to, another one each time. */
export class AnyMember implements Victim {
  readonly #world: World;
  readonly #hosts: readonly MemberHost[];
  #chosen: MemberHost;

  constructor(world: World, hosts: readonly MemberHost[]) {
    this.#world = world;
    this.#hosts = hosts;
    this.#chosen = hosts[0]!;
  }

  get process(): Process | null {
    return this.#choose().process;
  }

  /** Who stops one kills it himself when it takes too long. */
  get stopping(): boolean {
    return false;
  }

  crash(silent: boolean): void {
    this.#choose().crash(silent);
  }

  startAfter(ms: number): void {
    this.#chosen.startAfter(ms);
  }

  startSoon(): void {
    for (const host of this.#hosts) host.startSoon();
  }

  stop(restartAfterMs: number): void {
    const host = this.#choose();
    const { process } = host;
    host.stop(restartAfterMs);
    this.#world.after(this.#world.random.span(1_000, 30_000), () => {
      if (process === null || process !== host.process || !host.stopping || this.#world.calm) return;
      host.crash(false);
      host.startAfter(restartAfterMs);
    });
  }

  #choose(): MemberHost {
    this.#chosen = this.#world.random.pick(this.#hosts);
    return this.#chosen;
  }
}

/** What goes wrong between members, etcd and clients. */
export class ClusterFaults implements Written {
  onWrite = () => {};
  readonly #world: World;
  readonly #plan: ClusterPlan;
  readonly #etcd: SimEtcd;
  readonly #network: Network;
  readonly #hosts: readonly MemberHost[];

  constructor(
    world: World,
    plan: ClusterPlan,
    parts: { etcd: SimEtcd; network: Network; hosts: readonly MemberHost[] },
  ) {
    this.#world = world;
    this.#plan = plan;
    this.#etcd = parts.etcd;
    this.#network = parts.network;
    this.#hosts = parts.hosts;
  }

  start(): void {
    for (const fault of CLUSTER_FAULTS) this.#next(fault);
    const { random } = this.#world;
    for (const host of this.#hosts.slice(0, this.#plan.late)) {
      host.isWanted = false;
      this.#world.after(random.span(100, 100_000), () => this.#want(host));
    }
  }

  heal(): void {
    this.#etcd.heal();
    for (const host of this.#hosts) {
      this.#want(host);
      host.process?.resume();
    }
  }

  #want(host: MemberHost): void {
    host.isWanted = true;
    host.startSoon();
  }

  #next(fault: ClusterFault): void {
    const perMinute = this.#plan.clusterFaults[fault];
    if (perMinute === 0) return;
    const ms = (-Math.log(1 - this.#world.random.next()) * MINUTE_MS) / perMinute;
    this.#world.after(ms, () => {
      if (this.#world.calm) return;
      this.#cause(fault);
      this.#next(fault);
    });
  }

  #cause(fault: ClusterFault): void {
    const { random, story } = this.#world;
    const { etcdSilenceMsMax, silenceMsMax } = this.#plan;
    const host = random.pick(this.#hosts);
    const [up, down] = random.pick([
      [true, true],
      [true, false],
      [false, true],
    ] as const);
    const ways = `${up ? ", up" : ""}${down ? ", down" : ""}`;
    switch (fault) {
      case "etcdSilence": {
        const ms = random.between(50, etcdSilenceMsMax);
        story.note(null, host.name, () => `and etcd are apart for ${ms.toFixed()} ms${ways}`);
        return this.#etcd.silence(host.name, up, down, ms);
      }
      case "etcdOut": {
        const ms = random.span(50, etcdSilenceMsMax);
        story.note(null, "etcd", () => `has no quorum for ${ms.toFixed()} ms`);
        return this.#etcd.out(ms);
      }
      case "memberCut": {
        const ms = random.span(50, silenceMsMax + 5_000);
        story.note(null, host.name, () => `and all clients are apart for ${ms.toFixed()} ms${ways}`);
        return this.#network.cutOff(host, up, down, ms);
      }
      case "bounce":
        // It is stopped, and is there again at once: what it had comes back to it soon.
        return host.stop(1);
    }
  }
}
