import type { DeliveryFacts, DurableChange } from "../engine/index.js";
import type { ServiceKey } from "./service.js";

/** A record outside services, as it is in the store. */
export interface OutsideRecord {
  readonly key: string;
  readonly value: object;
}

/** A record put, or deleted when its value is null. */
export interface OutsideChange {
  readonly key: string;
  readonly value: object | null;
}

/** In a cluster: all records that members share, or what has changed of them since they were read last. */
export type OutsideRead =
  | { readonly isWhole: true; readonly records: readonly OutsideRecord[] }
  | { readonly isWhole: false; readonly changes: readonly OutsideChange[] };

/** The end of a hold, as it is first written down (C5). */
export interface OwedDelivery extends DeliveryFacts {
  /** The same over all attempts, and no other's. */
  readonly id: string;
  readonly service: string;
  /** Time of day, ISO 8601. For people. */
  readonly createdAt: string;
}

/** An administrative act, for the audit log (A7). */
export interface Act {
  readonly account: string;
  readonly who: string;
  readonly what: string;
  readonly service?: string;
  readonly details?: object;
}

/** Who keeps records outside services. */
export interface Keeper {
  /** Which: the second part of their keys, behind the account. */
  readonly kinds: ReadonlySet<string>;
  /** The store was read, perhaps anew: these are all records, and what was known before counts no more. */
  restore(records: readonly OutsideRecord[]): void;
  /** In a cluster: these have come with services of another member, and add to what is known. Absent: it has nothing of services. */
  add?(records: readonly OutsideRecord[]): void;
  /** In a cluster: what it has of these services is another member's from now on. Nothing of it is written here any more. */
  drop?(isIn: (service: ServiceKey) => boolean): void;
}

/** Who sees to what ends of holds owe to others (C5). All of it is called in the loop's own steps. */
export interface Outbox extends Keeper {
  /** Why nothing may be sent to this URL, or null. */
  urlProblem(url: string): string | null;
  /** True while so many deliveries of an account are pending that no new hold may add to them (N3). */
  isFull(account: string): boolean;
  /** Names a new delivery: an id that is no other's, and the time of day. */
  named(): Pick<OwedDelivery, "id" | "createdAt">;
  /** This is durable now, and not before (R1). */
  owed(key: string, delivery: OwedDelivery): void;
  /** The store has failed: what was not durable yet has never been. */
  failed(): void;
}

/** For a loop of which nobody wants to know what it owes. */
const NO_OUTBOX: Outbox = {
  kinds: new Set(),
  urlProblem: () => null,
  isFull: () => false,
  restore: () => {},
  named: () => ({ id: "msg_0", createdAt: "1970-01-01T00:00:00.000Z" }),
  owed: () => {},
  failed: () => {},
};

interface Waiting {
  readonly batch: number;
  readonly settle: (error: unknown) => void;
  /** Whose end of a hold it is. */
  readonly service?: ServiceKey;
}

type DeliveryChange = Extract<DurableChange, { type: "delivery" }>;

/** The loop's side of it: what is read and written for keepers of records, and what waits for batches to be flushed. */
export class Outside {
  readonly outbox: Outbox;
  readonly #keepers: readonly Keeper[];
  #loaded = new Map<Keeper, OutsideRecord[]>();
  /** In the order of their batches. */
  #waiting: Waiting[] = [];

  constructor(outbox: Outbox = NO_OUTBOX, others: readonly Keeper[] = []) {
    this.outbox = outbox;
    this.#keepers = [outbox, ...others];
  }

  /** The store is read from its beginning. */
  begin(): void {
    this.#loaded = new Map(this.#keepers.map((keeper) => [keeper, []]));
  }

  load(kind: string, record: OutsideRecord): void {
    const keeper = this.#keepers.find(({ kinds }) => kinds.has(kind));
    if (keeper !== undefined) this.#loaded.get(keeper)!.push(record);
  }

  /** The store was read to its end. */
  opened(): void {
    const loaded = this.#loaded;
    this.#loaded = new Map();
    for (const [keeper, records] of loaded) keeper.restore(records);
  }

  /** These have come with services that were taken up. */
  add(records: readonly OutsideRecord[]): void {
    const found = new Map<Keeper, OutsideRecord[]>();
    for (const record of records) {
      const kind = record.key.split("/", 2)[1]!;
      const keeper = this.#keepers.find(({ kinds }) => kinds.has(kind));
      if (keeper === undefined) continue;
      const ofKeeper = found.get(keeper);
      if (ofKeeper === undefined) found.set(keeper, [record]);
      else ofKeeper.push(record);
    }
    for (const [keeper, ofKeeper] of found) keeper.add?.(ofKeeper);
  }

  /** Whatever these services owe is another member's from now on, also what is not flushed yet. */
  drop(isIn: (service: ServiceKey) => boolean): void {
    this.#waiting = this.#waiting.filter(({ service }) => service === undefined || !isIn(service));
    for (const keeper of this.#keepers) keeper.drop?.(isIn);
  }

  /**
   * The record of a delivery that the end of a hold owes. It lies beside its service, not in it: what becomes of it is no
   * matter of the engine. Nobody hears of it before its batch is flushed (R1).
   */
  owe(service: ServiceKey, { id, value }: DeliveryChange, batch: number): OutsideRecord {
    const delivery: OwedDelivery = { ...this.outbox.named(), service: service.id, ...value };
    const key = `${service.account}/delivery/${service.id}/${id}`;
    const settle = (error: unknown) => {
      if (error === null) this.outbox.owed(key, delivery);
    };
    this.#waiting.push({ batch, settle, service });
    return { key, value: delivery };
  }

  /** Resolves when a batch is flushed. */
  kept(batch: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (error: unknown) => (error === null ? resolve() : reject(error));
      this.#waiting.push({ batch, settle });
    });
  }

  flushed(batch: number): void {
    const later = this.#waiting.findIndex((waiting) => waiting.batch > batch);
    const done = this.#waiting.splice(0, later === -1 ? this.#waiting.length : later);
    for (const { settle } of done) settle(null);
  }

  /** What waits will not be flushed, as far as is known. */
  over(error: unknown): void {
    this.outbox.failed();
    const all = this.#waiting;
    this.#waiting = [];
    for (const { settle } of all) settle(error);
  }
}
