import type { Loop } from "../loop/index.js";
import type { Identity } from "./identity.js";
import { ownerKeyInStore } from "./keys.js";
import { fencedBy, type Part, readOwned, redoPart } from "./part.js";
import { partitionName } from "./partitions.js";
import { type OwnerRecord, ownerKey, type Seen, written } from "./records.js";
import type { StepsHost } from "./steps.js";
import type { Words } from "./words.js";

/** With its owner record each is two reads of a transaction, which has 128. */
const READ_AT_ONCE = 60;
/** Some tens of milliseconds. */
const RECORDS_AT_ONCE = 5_000;

/** How a member comes to serve the partitions that are its own. */
export class TakeUps {
  readonly #host: StepsHost;
  readonly #words: Words;
  /** Partitions of which it was said that they cannot be served. */
  readonly #failing = new Set<number>();

  constructor(host: StepsHost, words: Words) {
    this.#host = host;
    this.#words = words;
  }

  /**
   * Reads partitions that may be ours, and their owner records with them: what these say then is final, as nobody else changes them. Those that are ours are
   * served as soon as that is durable, and nobody waits for it here: the next ones are read meanwhile.
   * @param isAsSeen whether that owner record is one that may be gone by; else a newer look is due
   * @returns whether another look is due now @throws Error when this member was fenced, or etcd does not answer
   */
  async take(
    self: Identity,
    loop: Loop,
    wanted: readonly number[],
    isAsSeen: (partition: number, owner: Seen<OwnerRecord>) => boolean = () => true,
  ): Promise<boolean> {
    const some = wanted.filter((partition) => !self.served.has(partition) && !self.takingUp.has(partition));
    let hasChanged = false;
    let size = 0;
    for (let from = 0; from < some.length; from += READ_AT_ONCE) {
      const partitions = some.slice(from, from + READ_AT_ONCE);
      const found = await readOwned(fencedBy(this.#host.etcd, this.#words, self.id), partitions);
      for (const { partition, owner, part } of found) {
        if (!this.#host.isNow(self)) return false;
        if (owner === null || !isOurs(self, partition, owner)) continue;
        if (!isAsSeen(partition, owner)) {
          hasChanged = true;
          continue;
        }
        if (owner.record.redo !== undefined) {
          const redo = () => this.#redo(self, partition, owner);
          hasChanged = (await this.#tried(partition, redo)) || hasChanged;
          continue;
        }
        void this.#begin(self, loop, partition, owner, part);
        // Taking up blocks the process, which has to beat and to answer.
        size += part instanceof Error ? 0 : part.size;
        if (size < RECORDS_AT_ONCE) continue;
        size = 0;
        await this.#host.pause();
      }
    }
    return hasChanged;
  }

  async #begin(
    self: Identity,
    loop: Loop,
    partition: number,
    owner: Seen<OwnerRecord>,
    part: Part | Error,
  ): Promise<void> {
    self.takingUp.add(partition);
    const isServed = await this.#tried(partition, async () => {
      if (part instanceof Error) throw part;
      await this.#serve(self, loop, partition, owner.record, part);
    });
    self.takingUp.delete(partition);
    // What it is to do with it may be known: it may have to give it away.
    if (isServed && this.#host.isNow(self)) this.#host.lookSoon();
  }

  async #serve(
    self: Identity,
    loop: Loop,
    partition: number,
    { leaseMs, epoch }: OwnerRecord,
    part: Part,
  ): Promise<void> {
    const offsetMs = leaseMs! - loop.leaseMs;
    const record: OwnerRecord = { member: self.id, epoch: epoch + 1, offsetMs };
    const last = { ...written(ownerKey(partition), record), key: ownerKeyInStore(partition) };
    await loop.takeUp(part.services, part.outside, offsetMs, [last]);
    if (!this.#host.isNow(self)) return;
    this.#host.totals.takeUps++;
    self.served.set(partition, offsetMs);
    self.epochs.set(partition, epoch);
    self.wrote.set(partition, { epoch: record.epoch, url: this.#host.url });
    this.#host.changed();
    if (self.takingUp.size === 1)
      this.#host.log.info({ partitions: self.served.size }, "serves more partitions");
  }

  /** Brings a batch to its end that counts, and that its member had not yet put in its place. */
  async #redo(self: Identity, partition: number, { record, bytes }: Seen<OwnerRecord>): Promise<void> {
    const is = this.#words.is(ownerKey(partition), bytes);
    const { redo, ...rest } = record;
    const fenced = fencedBy(this.#host.etcd, this.#words, self.id);
    for (const former of redo!) {
      // What it writes of this try is not taken for what it wrote in an earlier one: others may have written between.
      const name = `redo/${former}/${this.#host.runtime.randomId()}`;
      await redoPart(fenced, { former, partition, owner: is, name });
    }
    await this.#host.etcd.txn({
      compare: [this.#words.isThere(self.id), is],
      ops: [this.#words.put(written(ownerKey(partition), { ...rest, epoch: record.epoch + 1 }))],
    });
  }

  /** One partition that cannot be served is no reason not to serve the others. */
  async #tried(partition: number, step: () => Promise<void>): Promise<boolean> {
    try {
      await step();
      this.#failing.delete(partition);
      return true;
    } catch (err) {
      const name = partitionName(partition);
      if (!this.#failing.has(partition))
        this.#host.log.error(
          { err, partition: name },
          "a partition cannot be served: it is tried again and again",
        );
      this.#failing.add(partition);
      return false;
    }
  }
}

/** It is on its way to us, and we have not taken it up. */
function isOurs(self: Identity, partition: number, { record }: Seen<OwnerRecord>): boolean {
  const isOnItsWay = record.member === self.id && record.leaseMs !== undefined;
  return isOnItsWay && record.epoch > (self.wrote.get(partition)?.epoch ?? 0);
}
