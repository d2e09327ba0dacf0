import { DATA, FENCES, MEMBERS, OWNERS } from "../../../packages/server/dist/cluster/keys.js";
import { partitionName, partitionOf } from "../../../packages/server/dist/cluster/partitions.js";
import type { OwnerRecord } from "../../../packages/server/dist/cluster/records.js";
import type { DurableRecord } from "../../../packages/server/dist/engine/packed-holds.js";
import { decodeRecord } from "../../../packages/server/dist/store/records.js";
import type { Change } from "../../../packages/server/dist/store/store.js";
import type { EngineWatch } from "../engine-watch.js";
import { ACCOUNT } from "../server-host.js";
import type { Durable, Servers } from "../servers.js";
import type { World } from "../world.js";
import type { EtcdState } from "./etcd-state.js";
import type { Keys } from "./keys.js";
import type { MemberHost } from "./member-host.js";

/** Behind what all keys of the simulated cluster begin with. */
export const AT = "/sim/";

/** How far a partition's lease clock may go back when its owner crashes: it is written each second, and that takes its time (R6). */
const BACK_MS_MAX = 8_000;
/** Rounding. */
const SLACK_MS = 2;
const RATE_MAX = 1.05;

/** What says nothing of a service: that it is to be asked elsewhere, or later. */
const SAYS_NOTHING: ReadonlySet<unknown> = new Set(["ended", "moved", "members", "error"]);

interface Owned {
  readonly record: OwnerRecord;
  readonly sinceMs: number;
}

interface LeaseTime {
  /** The latest that was seen of it. */
  ms: number;
  atMs: number;
}

/** What is true of the cluster, by what etcd holds, and what its members must not do then. */
export class ClusterRules implements Durable, Servers {
  readonly records = new Map<string, Uint8Array>();
  readonly plan;
  onApply: (batch: readonly Change[]) => void = () => {};
  onOpen: () => void = () => {};
  watch!: EngineWatch;
  keys: Keys | null = null;
  hosts: readonly MemberHost[] = [];
  takeovers = 0;
  handOvers = 0;
  fences = 0;
  readonly #world: World;
  readonly #services: readonly string[];
  readonly #state: EtcdState;
  readonly #owners = new Map<string, Owned>();
  readonly #fences = new Set<string>();
  readonly #leaseTimes = new Map<string, LeaseTime>();
  /** How often the list of a clean stop was written, by service; and which of them was read and answered upon. */
  readonly #lists = new Map<string, number>();
  readonly #listRead = new Map<string, number>();
  readonly #listUsed = new Map<string, number>();

  constructor(world: World, services: readonly string[], state: EtcdState) {
    this.#world = world;
    this.#services = services;
    this.#state = state;
    this.plan = { commitMsMax: 0, slowChance: 0, slowMsMax: 0 };
    state.onChange = (key, value, before) => this.#changed(key.slice(AT.length), value, before);
  }

  /** The one that may answer for a service, as etcd has it. */
  ownerOf(service: string): MemberHost | null {
    const owner = this.#owners.get(nameOf(service))?.record.member;
    if (owner === undefined || !this.#fences.has(owner)) return null;
    return this.hosts.find((host) => host.member?.memberId === owner) ?? null;
  }

  isAtOwner(service: string): boolean {
    const owner = this.ownerOf(service);
    return owner !== null && owner.process === this.#world.current;
  }

  /** A frame leaves a member. */
  audible(host: MemberHost, service: string, text: string): void {
    if (service === "") return;
    const messages = JSON.parse(text) as unknown[][];
    const answers = messages.filter(
      (message) =>
        !SAYS_NOTHING.has(message[0]) && !(message[0] === "refused" && message[2] === "UNAVAILABLE"),
    );
    if (answers.length === 0) return;
    if (this.ownerOf(service) !== host) {
      const owner = this.#owners.get(nameOf(service))?.record;
      this.#world.violate(
        "R7",
        `${host.name} (${host.member?.memberId}) answers ${JSON.stringify(answers)} of ${service}, and the owner is ${JSON.stringify(owner)}`,
      );
    }
    const list = this.#listRead.get(service);
    if (list !== undefined) this.#listUsed.set(service, list);
  }

  restored(service: string, records: readonly DurableRecord[], nowMs: number): void {
    const time = this.#leaseTimes.get(service);
    if (time !== undefined && nowMs < time.ms - BACK_MS_MAX)
      this.#world.violate("R6", `the lease clock of ${service} goes back from ${time.ms} to ${nowMs}`);
    const owned = this.#owners.get(nameOf(service));
    // Of one without records of its own nothing is known before its first command.
    if (owned?.record.leaseMs !== undefined && records.length > 0) {
      const mostMs = owned.record.leaseMs + SLACK_MS;
      if (nowMs > mostMs)
        this.#world.violate(
          "L3",
          `the lease clock of ${service} jumps from ${owned.record.leaseMs} to ${nowMs} as it is taken up`,
        );
    }
    this.#leaseTimes.set(service, { ms: nowMs, atMs: this.#world.nowMs });
    if (!records.some(({ type }) => type === "stopped")) return void this.#listRead.delete(service);
    const list = this.#lists.get(service) ?? 0;
    if (this.#listUsed.get(service) === list)
      this.#world.violate("R5", `the list of a clean hand-over of ${service} is read twice`);
    this.#listRead.set(service, list);
  }

  read(service: string, nowMs: number): void {
    const time = this.#leaseTimes.get(service);
    const atMs = this.#world.current?.localMs ?? this.#world.nowMs;
    if (time !== undefined) {
      if (nowMs < time.ms)
        this.#world.violate("R6", `the lease clock of ${service} goes back from ${time.ms} to ${nowMs}`);
      const mostMs = (atMs - time.atMs) * RATE_MAX + SLACK_MS;
      if (nowMs - time.ms > mostMs)
        this.#world.violate(
          "L3",
          `the lease clock of ${service} goes on by ${nowMs - time.ms} ms in ${mostMs.toFixed()}`,
        );
    }
    this.#leaseTimes.set(service, { ms: nowMs, atMs: this.#world.nowMs });
  }

  /** Nothing goes wrong any more: each partition is served by one member. */
  checkHealed(partitions: number): void {
    for (let partition = 0; partition < partitions; partition++) {
      const here = this.hosts.filter((host) => host.serves(partition));
      const owned = this.#owners.get(partitionName(partition))?.record;
      const isRight =
        here.length === 1 && owned?.member === here[0]!.member!.memberId && owned.offsetMs !== undefined;
      if (isRight) continue;
      const names = here.map(({ name }) => name).join(" and ") || "nobody";
      this.#world.violate(
        "R3",
        `partition ${partition} is served by ${names}, and owned by ${JSON.stringify(owned)}`,
      );
      return;
    }
  }

  get isHealed(): boolean {
    const { size } = this.#owners;
    const all = [...this.#owners.values()];
    return (
      size > 0 && all.every(({ record }) => record.offsetMs !== undefined && this.#fences.has(record.member))
    );
  }

  #changed(key: string, value: Buffer | null, before: Buffer | null): void {
    if (key.startsWith(FENCES)) {
      const id = key.slice(FENCES.length);
      if (value !== null) this.#fences.add(id);
      else this.#fences.delete(id);
      if (value === null) this.fences++;
    } else if (key.startsWith(OWNERS)) {
      this.#owned(key.slice(OWNERS.length), decodeRecord({ key, value: value! }) as OwnerRecord);
    } else if (key.startsWith(DATA)) {
      const [, place, ...rest] = key.split("/");
      const stored = rest.join("/");
      if (place === "common") return this.keys?.changed(stored, value);
      if (place === "audit") return;
      this.#byOwner(place!, key);
      this.#stored(stored, value, before);
    } else if (key.startsWith(MEMBERS) && value !== null && !this.#fences.has(key.slice(MEMBERS.length)))
      // The fence is put first, in the same transaction.
      this.#world.violate("R7", `${key} is written by a member that has no fence`);
  }

  /** Nobody but its owner writes anything of a partition. */
  #byOwner(name: string, key: string): void {
    const owner = this.#owners.get(name)?.record.member;
    const { author } = this.#state;
    if (author === null || author === owner) return;
    this.#world.violate("R7", `${author} writes ${key}, and the owner is ${owner}`);
  }

  #owned(name: string, record: OwnerRecord): void {
    const before = this.#owners.get(name)?.record;
    this.#owners.set(name, { record, sinceMs: this.#world.nowMs });
    if (before !== undefined && record.epoch !== before.epoch + 1)
      this.#world.violate(
        "R7",
        `the owner of ${name} changes from ${JSON.stringify(before)} to ${JSON.stringify(record)}`,
      );
    if (before === undefined || before.member === record.member) return;
    if (this.#fences.has(before.member)) {
      this.handOvers++;
      if (before.offsetMs === undefined)
        this.#world.violate("R7", `${before.member} lives, and ${name} is taken from it by ${record.member}`);
    } else this.takeovers++;
    for (const service of this.#services) if (nameOf(service) === name) this.watch.moved(service);
  }

  #stored(key: string, value: Buffer | null, before: Buffer | null): void {
    const stopped = /^default\/service\/(\w+)\/stopped\/$/.exec(key);
    if (stopped !== null && value !== null && before === null)
      this.#lists.set(stopped[1]!, (this.#lists.get(stopped[1]!) ?? 0) + 1);
    if (value === null) this.records.delete(key);
    else this.records.set(key, value);
  }
}

function nameOf(service: string): string {
  return partitionName(partitionOf(ACCOUNT, service));
}
