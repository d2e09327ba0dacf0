import type { EngineOptions } from "../engine/index.js";
import type { AccountLimits } from "./caller.js";
import { Service, type ServiceKey } from "./service.js";
import type { FloorRecord } from "./stored.js";

export interface ServicesOptions {
  /** How each service behaves. */
  readonly service: EngineOptions;
  readonly servicesMax: number;
  /** The limits of an account, which may change (A5). Null: it has none, and will have none. */
  readonly limitsOf?: (account: string) => AccountLimits | null;
}

/** All services in memory, and which are whose. */
export class Services {
  readonly #options: ServicesOptions;
  /** Where the numbers of a new service begin. */
  floor: Pick<FloorRecord, "tokens" | "tickets"> = { tokens: 1, tickets: 1 };
  readonly #byPrefix = new Map<string, Service>();
  readonly #byAccount = new Map<string, Set<Service>>();

  constructor(options: ServicesOptions) {
    this.#options = options;
  }

  get(key: ServiceKey): Service | undefined {
    return this.#byPrefix.get(key.prefix);
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

  add(key: ServiceKey): Service {
    const service = new Service(key, this.#engineOptions(key.account));
    service.engine.startAbove(this.floor.tokens, this.floor.tickets);
    this.#byPrefix.set(key.prefix, service);
    this.#byAccount.set(key.account, this.#of(key.account).add(service));
    return service;
  }

  all(): Iterable<Service> {
    return this.#byPrefix.values();
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
