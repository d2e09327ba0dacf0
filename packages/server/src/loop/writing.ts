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

  addChanges(service: Service, changes: readonly DurableChange[]): void {
    for (const change of changes) {
      if (change.type === "audit") {
        const { account, id } = service.key;
        this.#addAct({ account, service: id, ...change.value });
      } else if (change.type === "delivery") {
        const { key, value } = this.#outside.owe(service.key, change, this.#batches.number);
        this.#put(key, value);
      } else this.#batches.add(this.encoded(service, change));
    }
  }

  /** A change of a record of a service, which somebody else adds to a batch. */
  encoded({ key: service }: Service, change: DurableChange): Change {
    const isNew = "isNew" in change && change.isNew === true;
    return changeOf(`${service.prefix}${change.type}/${change.id}`, change.value, isNew);
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

function changeOf(key: string, value: object | null, isNew = false): Change {
  return value === null ? { key, value } : { key, value: encodeRecord(key, value), isNew };
}
