import type { WatchQuery } from "lockdb/protocol";
import type { EngineEvent } from "../engine/index.js";
import { type EventBudget, EventLog } from "./event-log.js";
import type { Recipient } from "./recipient.js";
import type { LoopRuntime } from "./runtime.js";
import type { Service } from "./service.js";
import type { ServicesOptions } from "./services.js";

/** The logs of all services that somebody watches, or has watched a while ago. */
export class EventLogs {
  readonly #runtime: LoopRuntime;
  readonly #logged = new Set<Service>();
  readonly #limitsOf: ServicesOptions["limitsOf"];
  #budget: EventBudget = { bytes: 0 };
  /** Of all accounts whose services are limited: however many trials there are, others do not hear less of the past (N3). */
  #budgetOfLimited: EventBudget = { bytes: 0 };

  constructor(runtime: LoopRuntime, limitsOf?: ServicesOptions["limitsOf"]) {
    this.#runtime = runtime;
    this.#limitsOf = limitsOf;
  }

  /** That of a service, begun now if there is none. */
  of(service: Service): EventLog {
    if (service.log !== null) return service.log;
    this.forgetUnwanted(this.#runtime.monotonicMs());
    const isLimited = (this.#limitsOf?.(service.key.account)?.services ?? null) !== null;
    service.log = new EventLog(this.#runtime.randomId(), isLimited ? this.#budgetOfLimited : this.#budget);
    this.#logged.add(service);
    // What this turn does from here on is told already.
    service.out = { ...service.out, events: [] };
    return service.log;
  }

  /** Tells somebody of a service's events from now on, or from where he has come to: first the answer to `id`. */
  watch(service: Service, to: Recipient, id: number, query: WatchQuery): void {
    const nowMs = this.#runtime.monotonicMs();
    this.of(service).watch(to, id, query, (start) => to.receive(["done", id, start]), nowMs);
  }

  /** Those that nobody has watched for a while. */
  forgetUnwanted(nowMs: number): void {
    for (const service of this.#logged) {
      if (service.log?.isWanted(nowMs) !== false) continue;
      service.log.clear();
      service.log = null;
      this.#logged.delete(service);
    }
  }

  /** Writes events down for those who watch. @returns those who are told now */
  add(service: Service, events: readonly EngineEvent[]): Iterable<Recipient> {
    if (events.length === 0 || service.log === null) return [];
    const at = new Date(this.#runtime.wallMs()).toISOString();
    const nowMs = this.#runtime.monotonicMs();
    const told = service.log.add(events, at, nowMs);
    if (!service.log.isWanted(nowMs)) this.forgetUnwanted(nowMs);
    return told;
  }

  /** This service is no more. */
  forget(service: Service): void {
    if (!this.#logged.delete(service)) return;
    service.log?.clear();
    service.log = null;
  }

  /** The services are no more. */
  clear(): void {
    this.#logged.clear();
    this.#budget = { bytes: 0 };
    this.#budgetOfLimited = { bytes: 0 };
  }
}
