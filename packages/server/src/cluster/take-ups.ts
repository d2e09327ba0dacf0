import type { Loop } from "../loop/index.js";
import type { Identity } from "./identity.js";
import { ownerKeyInStore } from "./keys.js";
import { fencedBy, type Owned, type Part, readOwned, redoPart } from "./part.js";
import { partitionName } from "./partitions.js";
import { type OwnerRecord, ownerKey, type Seen, written } from "./records.js";
import type { StepsHost } from "./steps.js";
import type { Words } from "./words.js";

/** With its owner record each is two reads of a transaction, which has 128. */
const READ_AT_ONCE = 60;
/** Some tens of milliseconds. */
const RECORDS_AT_ONCE = 5_000;

/** A partition on its way here. */
interface Ours extends Pick<Owned, "partition" | "part"> {
  readonly record: OwnerRecord;
}

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
    const { served, takingUp, left } = self;
    const some = wanted.filter((each) => !served.has(each) && !takingUp.has(each) && !left.has(each));
    let hasChanged = false;
    let size = 0;
    for (let from = 0; from < some.length; from += READ_AT_ONCE) {
      const partitions = some.slice(from, from + READ_AT_ONCE);
      const found = await readOwned(fencedBy(this.#host.etcd, this.#words, self.id), partitions);
      for (const { partition, owner, isLarge, part } of found) {
        if (!this.#host.isNow(self)) return false;
        if (owner === null || !isOurs(self, partition, owner)) continue;
        if (!isAsSeen(partition, owner)) {
          hasChanged = true;
          continue;
        }
        if (owner.record.redo !== undefined) {
          const redo = () => this.#redo(self, partition, owner);
          hasChanged = (await this.#tried(self, partition, redo)) || hasChanged;
          continue;
        }
        self.takingUp.add(partition);
        const ours = { partition, record: owner.record, part };
        if (isLarge) {
          self.large = self.large.then(() => this.#takeLarge(self, loop, ours));
          continue;
        }
        size += (await this.#read(self, loop, ours)).size;
        // Taking up blocks the process, which has to beat and to answer.
        if (size < RECORDS_AT_ONCE) continue;
        size = 0;
        await this.#host.pause();
      }
    }
    return hasChanged;
  }

  /** Nobody waits for it: it may take longer than a member may be silent. */
  async #takeLarge(self: Identity, loop: Loop, ours: Ours): Promise<void> {
    if (self.isLeaving) {
      self.left.add(ours.partition);
      self.takingUp.delete(ours.partition);
    } else if (this.#host.isNow(self)) await (await this.#read(self, loop, ours)).served;
  }

  /** Reads what is stored of a partition, and begins to take it up. @returns how many records that is, and what resolves when it is over */
  async #read(self: Identity, loop: Loop, ours: Ours): Promise<{ size: number; served: Promise<void> }> {
    const part = await ours.part(() => this.#host.pause()).catch((error: unknown) => error as Error);
    const size = part instanceof Error ? 0 : part.size;
    return { size, served: this.#begin(self, loop, ours, part) };
  }

  async #begin(self: Identity, loop: Loop, { partition, record }: Ours, part: Part | Error): Promise<void> {
    // What was read under another identity is no matter of this one.
    if (!this.#host.isNow(self)) return;
    const isServed = await this.#tried(self, partition, async () => {
      if (part instanceof Error) throw part;
      await this.#serve(self, loop, partition, record, part);
    });
    self.takingUp.delete(partition);
    // What it is to do with it may be known: it may have to give it away.
    if (isServed && this.#host.isNow(self)) this.#host.lookSoon();
  }

  async #serve(
    self: Identity,
    loop: Loop,
    partition: number,
    { leaseMs, epoch: before }: OwnerRecord,
    part: Part,
  ): Promise<void> {
    const epoch = before + 1;
    let offset = 0;
    await loop.takeUp(part.services, part.outside, leaseMs!, (offsetMs) => {
      offset = offsetMs;
      const record: OwnerRecord = { member: self.id, epoch, offsetMs };
      return [{ ...written(ownerKey(partition), record), key: ownerKeyInStore(partition) }];
    });
    if (!this.#host.isNow(self)) return;
    this.#host.totals.takeUps++;
    self.served.set(partition, offset);
    self.epochs.set(partition, before);
    self.wrote.set(partition, { epoch, url: this.#host.url });
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
  async #tried(self: Identity, partition: number, step: () => Promise<void>): Promise<boolean> {
    try {
      await step();
      this.#failing.delete(partition);
      return true;
    } catch (err) {
      if (!this.#host.isNow(self)) return false;
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
