import {
  COSTS,
  type Engine,
  type EngineOptions,
  Slices,
  type SlowWait,
  type Totals,
} from "../engine/index.js";
import type { AccountLimits } from "./caller.js";
import type { Placement } from "./placement.js";
import { Service, type ServiceKey } from "./service.js";
import type { FloorRecord, StoredService } from "./stored.js";

export interface ServicesOptions {
  /** How each service behaves. */
  readonly service: EngineOptions;
  readonly servicesMax: number;
  /** The limits of an account, which may change (A5). Null: it has none, and will have none. */
  readonly limitsOf?: (account: string) => AccountLimits | null;
  /** What is known of the cluster that this server is a member of. Absent: it is alone, and serves everything. */
  readonly placement?: Placement;
  /** How much of what comes from another member, or goes there, is done in one turn, as `Slices` counts. Absent: some 30 ms. */
  readonly sliceMax?: number;
}

/** How much of each there is. */
export type Census = Readonly<
  Record<"services" | "recovering" | "sessions" | "holds" | "locks" | "waiters" | "nested", number>
>;

export interface SlowWaitQuery {
  /** From when on a wait is slow, in lease time. */
  readonly slowMs: number;
  /** How many are described. */
  readonly shownMax: number;
}

export interface SlowWaitOf {
  readonly key: ServiceKey;
  readonly wait: SlowWait;
}

/** What others may look at. */
export type ServicesSeen = Pick<
  Services,
  "idsOf" | "statsOf" | "census" | "takeSlowWaits" | "seen" | "readings" | "mayBeOlder"
>;

/** All services in memory, and which are whose. */
export class Services {
  readonly #options: ServicesOptions;
  /** Where the numbers of a new service begin. */
  floor: Pick<FloorRecord, "tokens" | "tickets"> = { tokens: 1, tickets: 1 };
  /** How often services were read from the store. */
  readings = 0;
  readonly #byPrefix = new Map<string, Service>();
  readonly #byAccount = new Map<string, Set<Service>>();

  /** @param totals where what happens in any of them is counted */
  constructor(options: ServicesOptions, totals: Totals) {
    this.#options = { ...options, service: { ...options.service, totals } };
  }

  get(key: ServiceKey): Service | undefined {
    return this.#byPrefix.get(key.prefix);
  }

  /**
   * What a client says that came after that many readings of the store. True when its service was read later: its sessions may have been somewhere else
   * meanwhile, on later connections of which nothing is known here.
   * @param epoch of the change of owners behind which it says so; null: not known. Behind the one that led here nobody else has served it.
   */
  mayBeOlder(key: ServiceKey, readings: number, epoch: number | null): boolean {
    const service = this.get(key);
    if ((service?.reading ?? 0) <= readings) return false;
    return service!.isReadAnew || epoch === null || epoch !== this.#options.placement?.epochOf(key);
  }

  /** A service comes to be on first use (N2). Null: there are too many. */
  use(key: ServiceKey): Service | null {
    const known = this.get(key);
    if (known !== undefined) return known;
    const { servicesMax, limitsOf } = this.#options;
    const countMax = limitsOf?.(key.account)?.services ?? null;
    const isMuch = countMax !== null && this.#of(key.account).size >= countMax;
    // All trials together leave room for others.
    const allMax = countMax === null ? servicesMax : servicesMax / 2;
    return isMuch || this.#byPrefix.size >= allMax ? null : this.add(key);
  }

  /** @param offsetMs by how much its lease time is ahead of the loop's clock */
  add(key: ServiceKey, offsetMs = this.#options.placement?.offsetMsOf(key) ?? 0): Service {
    const service = this.#made(key, offsetMs);
    this.#add(service);
    return service;
  }

  #made(key: ServiceKey, offsetMs: number): Service {
    const { placement } = this.#options;
    const service = new Service(key, this.#engineOptions(key.account), offsetMs);
    service.engine.startAbove(this.floor.tokens, this.floor.tickets);
    const common = placement?.floor ?? null;
    if (common !== null) service.engine.startAbove(common.tokens, common.tickets);
    return service;
  }

  #add(service: Service): void {
    const { key } = service;
    this.#byPrefix.set(key.prefix, service);
    this.#byAccount.set(key.account, this.#of(key.account).add(service));
  }

  /**
   * Adds all of these as they were stored, or none.
   * @param nowMs by the loop's clock
   * @throws Error when a record is damaged, or is not what it should be (R9)
   */
  restore(stored: readonly StoredService[], nowMs: number): readonly Service[] {
    const restored = stored.map(({ key, records, holds }) => {
      const service = this.#made(key, 0);
      service.engine.restore(records, nowMs, service.out, holds);
      return service;
    });
    this.join(restored, 0);
    return restored;
  }

  /**
   * Makes services of what comes from another member, a slice with each step. Nobody knows of them before they join: all of them, or none.
   * @param leaseMs lease time at which they were left: it stands still until they join
   * @throws Error when a record is damaged, or is not what it should be (R9)
   */
  *restoring(
    stored: readonly StoredService[],
    leaseMs: number,
  ): Generator<void, readonly Service[], undefined> {
    const restored: Service[] = [];
    const slices = new Slices(this.#options.sliceMax);
    for (const { key, records, holds } of stored) {
      const service = this.#made(key, 0);
      restored.push(service);
      yield* service.engine.restoring(records, leaseMs, service.out, holds, slices);
      // Their clients are on their way here.
      service.engine.reserve(service.out);
      if (slices.isFull(COSTS.service)) yield;
    }
    return restored;
  }

  /**
   * From now on they are served as all others, and what was said before has to be said once more.
   * @param offsetMs by how much their lease time is ahead of the loop's clock
   * @throws Error when one of them is here already: none is added then
   */
  join(services: readonly Service[], offsetMs: number): void {
    for (const { key } of services)
      if (this.get(key) !== undefined) throw new Error(`The service ${key.prefix} is in memory already.`);
    this.readings++;
    for (const service of services) {
      service.offsetMs = offsetMs;
      service.reading = this.readings;
      this.#add(service);
    }
  }

  /** Another one in its place, without anything in memory. */
  replace(service: Service): Service {
    service.isOver = true;
    this.#of(service.key.account).delete(service);
    const fresh = this.add(service.key, service.offsetMs);
    fresh.isLoading = true;
    fresh.isReadAnew = true;
    fresh.reading = ++this.readings;
    return fresh;
  }

  /** It is served elsewhere. */
  remove(service: Service): void {
    service.isOver = true;
    this.#byPrefix.delete(service.key.prefix);
    const ofAccount = this.#of(service.key.account);
    ofAccount.delete(service);
    if (ofAccount.size === 0) this.#byAccount.delete(service.key.account);
  }

  all(): Iterable<Service> {
    return this.#byPrefix.values();
  }

  /** But for those whose records are being read. */
  *working(): Iterable<Service> {
    for (const service of this.all()) if (!service.isLoading) yield service;
  }

  /** What is in memory of a service that is known. */
  statsOf(
    key: ServiceKey,
  ): (Engine["counts"] & { readonly recovering: boolean; readonly tally: Engine["tally"] }) | null {
    const service = this.get(key);
    if (service === undefined) return null;
    const { engine, isLoading } = service;
    return { ...engine.counts, recovering: isLoading || engine.recovering, tally: engine.tally };
  }

  /** What there is in all services together. */
  census(): Census {
    const census = { services: this.#byPrefix.size, recovering: 0, sessions: 0, holds: 0, locks: 0 };
    const waiting = { waiters: 0, nested: 0 };
    for (const { engine, isLoading } of this.#byPrefix.values()) {
      const { sessions, holds, locks, waiters, nested } = engine.counts;
      if (isLoading || engine.recovering) census.recovering++;
      census.sessions += sessions;
      census.holds += holds;
      census.locks += locks;
      waiting.waiters += waiters;
      waiting.nested += nested;
    }
    return { ...census, ...waiting };
  }

  /** Requests that have waited for so long by now, by the loop's clock, each once: how many, and the first of them. */
  takeSlowWaits(asked: SlowWaitQuery, nowMs: number): { count: number; shown: readonly SlowWaitOf[] } {
    let count = 0;
    const shown: SlowWaitOf[] = [];
    for (const { engine, key, offsetMs } of this.working()) {
      const shownMax = asked.shownMax - shown.length;
      const found = engine.takeSlowWaits({ slowMs: asked.slowMs, shownMax }, nowMs + offsetMs);
      count += found.count;
      for (const wait of found.shown) shown.push({ key, wait });
    }
    return { count, shown };
  }

  /** Those of an account; null: all there are. */
  seen(account: string | null): readonly Service[] {
    return [...(account === null ? this.#byPrefix.values() : this.#of(account))];
  }

  /** The ids of an account's services, sorted. */
  idsOf(account: string): readonly string[] {
    return [...this.#of(account)].map(({ key }) => key.id).sort();
  }

  /** What an account has in all its services together. */
  useOf(account: string): Readonly<Record<"holds" | "sessions" | "waiters" | "services", number>> {
    const services = this.#of(account);
    const use = { holds: 0, sessions: 0, waiters: 0, services: services.size };
    for (const { engine } of services) {
      const { holds, sessions, waiters } = engine.counts;
      use.holds += holds;
      use.sessions += sessions;
      use.waiters += waiters;
    }
    return use;
  }

  clear(): void {
    this.#byPrefix.clear();
    this.#byAccount.clear();
  }

  #of(account: string): Set<Service> {
    return this.#byAccount.get(account) ?? new Set();
  }

  #engineOptions(account: string): EngineOptions {
    const { service, limitsOf } = this.#options;
    if (limitsOf === undefined || limitsOf(account) === null) return service;
    const isFull = (what: "holds" | "sessions" | "waiters") => {
      const max = limitsOf(account)?.[what] ?? null;
      if (max === null) return false;
      const use = this.useOf(account);
      // Who waits for a lock will hold it.
      return (what === "holds" ? use.holds + use.waiters : use[what]) >= max;
    };
    // Nor does a service remember the loss of more locks than its account may hold.
    return { ...service, isFull, lostMax: () => limitsOf(account)?.holds ?? Number.POSITIVE_INFINITY };
  }
}
