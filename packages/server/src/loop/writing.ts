import type { DurableChange } from "../engine/index.js";
import { type Change, encodeRecord } from "../store/index.js";
import type { AuditLog } from "./audit-log.js";
import type { Batches } from "./batches.js";
import type { Act, Outside, OutsideChange } from "./outbox.js";
import type { Service } from "./service.js";
import { CLOCK_KEY } from "./stored.js";

/** Puts what is to be durable into the batch that is next, in the words of the store. */
export class Writing {
  /** When the lease clock was written last, in lease time (R6). */
  clockMs = 0;
  readonly #batches: Batches;
  readonly #audit: AuditLog;
  readonly #outside: Outside;
  /** Lease time. */
  readonly #nowMs: () => number;

  constructor(batches: Batches, audit: AuditLog, outside: Outside, nowMs: () => number) {
    this.#batches = batches;
    this.#audit = audit;
    this.#outside = outside;
    this.#nowMs = nowMs;
  }

  /** Resolves once these are durable; rejects when that is not known. */
  keep(changes: readonly OutsideChange[], acts: readonly Act[]): Promise<void> {
    for (const { key, value } of changes) this.#put(key, value);
    for (const act of acts) this.#addAct(act);
    return this.#outside.kept(this.#batches.number);
  }

  addChanges({ key: service }: Service, changes: readonly DurableChange[]): void {
    for (const change of changes) {
      if (change.type === "audit") {
        const { account, id } = service;
        this.#addAct({ account, service: id, ...change.value });
      } else if (change.type === "delivery") {
        const { key, value } = this.#outside.owe(service, change, this.#batches.number);
        this.#put(key, value);
      } else this.#put(`${service.prefix}${change.type}/${change.id}`, change.value);
    }
  }

  /** A change of a record of a service, which somebody else adds to a batch. */
  encoded({ key: service }: Service, { type, id, value }: DurableChange): Change {
    return changeOf(`${service.prefix}${type}/${id}`, value);
  }

  addClock(nowMs: number): void {
    this.clockMs = nowMs;
    this.#put(CLOCK_KEY, { nowMs });
  }

  #addAct(act: Act): void {
    const { key, value } = this.#audit.record(act, this.#nowMs());
    this.#put(key, value);
  }

  #put(key: string, value: object | null): void {
    this.#batches.add(changeOf(key, value));
  }
}

function changeOf(key: string, value: object | null): Change {
  return { key, value: value === null ? null : encodeRecord(key, value) };
}
