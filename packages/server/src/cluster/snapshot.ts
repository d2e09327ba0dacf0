import { onOtherClock } from "../engine/index.js";
import { CLOCK_KEY, partsIn, partsOf, ServiceKey } from "../loop/index.js";
import {
  CODE,
  type Compare,
  type Etcd,
  type EtcdEntry,
  EtcdError,
  endOf,
  type Op,
  type Revision,
} from "../store/etcd-api.js";
import { changesIn } from "../store/etcd-staged.js";
import {
  decodeRecord,
  type Entry,
  encodeRecord,
  StoreFailedError,
  StoreUnusableError,
} from "../store/index.js";
import {
  AUDIT,
  CLOCKS,
  COMMON,
  clusterKeyOf,
  HEADS,
  KEEPERS_PARTITION,
  OWNERS,
  partitionPrefix,
  STAGED,
} from "./keys.js";
import { type Fenced, readKey } from "./part.js";
import { PARTITIONS } from "./partitions.js";
import { type OwnerRecord, ownerKey } from "./records.js";
import { isLarge, type Pause, repeated, SYSTEM_PAUSE } from "./through.js";

/** Entries that are asked for at once: of the areas that come first, and of one whose rest is read. */
const FIRST_PAGE = 60;
const PAGE = 500;
const AREAS_A_TXN = 32;

export interface SnapshotOptions {
  readonly etcd: Etcd;
  /** What all keys of the cluster begin with. */
  readonly at: string;
  /** Of each look: what must hold. */
  readonly compare: readonly Compare[];
  /** A key that nobody else writes, behind `at`: a look writes it, or it would not go through etcd's log. */
  readonly key: string;
  /** What it writes there: no two snapshots write the same. */
  readonly value: Uint8Array;
  /** What a look that is refused means. */
  readonly refused: () => Error;
  readonly pause?: Pause;
}

/** What a member sees of its cluster. @param mark never the same twice @throws Error when it was fenced; as `Snapshot.take` */
export async function* recordsSeenBy({ etcd, at, id, fence }: Fenced, mark: string): AsyncGenerator<Entry> {
  const snapshot = await Snapshot.take({
    ...{ etcd, at },
    compare: [{ key: `${at}${fence.key}`, value: fence.value }],
    key: readKey(id),
    value: Buffer.from(mark),
    refused: () => new Error("This member was fenced."),
  });
  yield* snapshot.entries();
}

/** A record as it lies in etcd, or as a batch that counts has it. */
interface Row {
  readonly key: Buffer;
  readonly value: Uint8Array;
}

/** Where records lie, and by how much their lease clock is behind the one that all of them are brought to. */
interface Area {
  readonly prefix: string;
  readonly behindMs: number;
}

/**
 * All that a cluster has made durable, as of one moment, on one lease clock: a batch that counts is in it, whole, also where its member has not put it in its
 * place (decision 022). Each look goes through etcd's log and asks for that moment's revision, and finds what the first one has written then: so no answer is
 * old, and none of another history.
 */
export class Snapshot {
  readonly revision: Revision;
  readonly #options: SnapshotOptions;
  /** By partition; null: it was never served. */
  readonly owners: (OwnerRecord | null)[] = new Array(PARTITIONS).fill(null);
  readonly #clocks = new Map<string, number>();
  /** What batches that count have changed, by area and key: null is deleted. */
  readonly #changes = new Map<string, Map<string, Uint8Array | null>>();

  private constructor(options: SnapshotOptions, revision: Revision) {
    this.#options = options;
    this.revision = revision;
  }

  /**
   * Everything that was committed before is in it.
   * @throws what `refused` makes, StoreFailedError, DamagedRecordError, NewerFormatError
   */
  static async take(options: SnapshotOptions): Promise<Snapshot> {
    const { etcd, at, compare, key, value, refused, pause = SYSTEM_PAUSE } = options;
    const { isApplied, revision } = await repeated(
      etcd,
      { compare, ops: [{ put: `${at}${key}`, value }] },
      pause,
    );
    if (!isApplied) throw refused();
    const snapshot = new Snapshot(options, revision);
    await snapshot.#readCluster();
    return snapshot;
  }

  /** The greatest lease time that a partition has: that of all records that `entries` gives. */
  get leaseMs(): number {
    return Math.max(0, ...this.owners.map((owner) => this.#leaseMsOf(owner)));
  }

  /** Whether there is a cluster at all. */
  get isThere(): boolean {
    return this.owners.some((owner) => owner !== null);
  }

  /** All records in the order of their keys, as one server would have them. @throws as `take` */
  async *entries(): AsyncGenerator<Entry> {
    const aheadOf = new Map(this.#areas().map(({ prefix, behindMs }) => [prefix, behindMs]));
    for await (const { area, row } of this.#rows()) {
      const key = row.key.toString();
      const entry = { key, value: row.value };
      // Each is looked at on its way: a damaged one is not copied (R9).
      const record = decodeRecord(entry) as object;
      const { account, kind, service } = partsOf(key);
      const aheadMs = aheadOf.get(area) ?? 0;
      if (kind !== "service" || aheadMs === 0) yield entry;
      else {
        const { type } = partsIn(new ServiceKey(account, service!).prefix, key);
        const moved = onOtherClock(type, record, aheadMs);
        yield moved === record ? entry : { key, value: encodeRecord(key, moved) };
      }
    }
  }

  /** The same as they are stored, damaged or not. */
  async *stored(): AsyncGenerator<Entry> {
    for await (const { row } of this.#rows()) yield { key: row.key.toString(), value: row.value };
  }

  // --- what the cluster is ---

  async #readCluster(): Promise<void> {
    const { at } = this.#options;
    const [owners, clocks, heads] = await this.#allOf([OWNERS, CLOCKS, HEADS]);
    for (const { key, value } of owners!) {
      const partition = Number.parseInt(key.toString().slice(OWNERS.length), 16);
      this.owners[partition] = decodeRecord({ key: ownerKey(partition), value }) as OwnerRecord;
    }
    for (const { key, value } of clocks!)
      this.#clocks.set(key.toString().slice(CLOCKS.length), clockIn(value));
    const handedOver = new Map<number, OwnerRecord>();
    for (const { key, value } of heads!) {
      const head = decodeRecord({ key: `${at}${key}`, value }) as { readonly staged: number };
      const { staged } = head;
      if (staged > 0) await this.#readBatch(key.toString().slice(HEADS.length), staged, handedOver);
    }
    for (const [partition, owner] of handedOver) this.owners[partition] = owner;
  }

  /** A batch that counts: what of it is in no place yet counts as well, where nobody has begun anew behind it. */
  async #readBatch(id: string, count: number, handedOver: Map<number, OwnerRecord>): Promise<void> {
    const [pieces] = await this.#allOf([`${STAGED}${id}/`]);
    const isOwed = (partition: number) => {
      const owner = this.owners[partition];
      return owner?.member === id || owner?.redo?.includes(id) === true;
    };
    for (let index = 0; index < count; index++) {
      const piece = pieces![index];
      const changes = piece === undefined ? null : changesIn(Buffer.from(piece.value));
      if (changes === null)
        throw new StoreUnusableError(
          `A part of a batch of the member ${id}, which was under way, is damaged or gone in etcd. Restore a backup.`,
        );
      for (const { key, value } of changes) {
        const to = clusterKeyOf(key.toString(), id);
        if (to.startsWith(CLOCKS) && value !== null) this.#clocks.set(id, clockIn(value));
        else if (to.startsWith(OWNERS)) {
          const partition = Number.parseInt(to.slice(OWNERS.length), 16);
          // Who has claimed it since is not undone.
          if (this.owners[partition]?.member === id && value !== null)
            handedOver.set(partition, decodeRecord({ key: to, value }) as OwnerRecord);
        } else {
          const area = areaOf(to);
          const isOurs =
            area === AUDIT ||
            isOwed(area === COMMON ? KEEPERS_PARTITION : Number.parseInt(to.slice(5, 7), 16));
          if (isOurs) this.#changesOf(area).set(to.slice(area.length), value);
        }
      }
    }
  }

  #changesOf(area: string): Map<string, Uint8Array | null> {
    const known = this.#changes.get(area) ?? new Map<string, Uint8Array | null>();
    this.#changes.set(area, known);
    return known;
  }

  #leaseMsOf(owner: OwnerRecord | null): number {
    if (owner === null) return 0;
    return owner.leaseMs ?? owner.offsetMs! + (this.#clocks.get(owner.member) ?? 0);
  }

  #areas(): Area[] {
    const { leaseMs } = this;
    const parts = this.owners.map((owner, partition) => ({
      prefix: partitionPrefix(partition),
      behindMs: leaseMs - this.#leaseMsOf(owner),
    }));
    return [...parts, ...[COMMON, AUDIT].map((prefix) => ({ prefix, behindMs: 0 }))];
  }

  // --- records ---

  /** Of all areas, in the order of their own keys. */
  async *#rows(): AsyncGenerator<{ readonly area: string; readonly row: Row }> {
    const clock = { key: Buffer.from(CLOCK_KEY), value: encodeRecord(CLOCK_KEY, { nowMs: this.leaseMs }) };
    const heads: Reading[] = [{ area: "", row: clock, rest: none() }];
    const prefixes = this.#areas().map(({ prefix }) => prefix);
    for (let from = 0; from < prefixes.length; from += AREAS_A_TXN) {
      const some = prefixes.slice(from, from + AREAS_A_TXN);
      for (const [index, page] of (await this.#pages(some, FIRST_PAGE)).entries()) {
        const area = some[index]!;
        const rest = this.#changed(area, this.#areaRows(area, page));
        const { value: row } = await rest.next();
        if (row !== undefined) heads.push({ area, row, rest });
      }
    }
    heads.sort((a, b) => b.row.key.compare(a.row.key));
    for (let head = heads.pop(); head !== undefined; head = heads.pop()) {
      yield head;
      const { value: row } = await head.rest.next();
      if (row === undefined) continue;
      const next = { area: head.area, row, rest: head.rest };
      heads.splice(placeOf(heads, row.key), 0, next);
    }
  }

  async *#areaRows(prefix: string, first: Page): AsyncGenerator<Row> {
    const { at } = this.#options;
    const end = endOf(`${at}${prefix}`);
    const outside = at.length + prefix.length;
    for (let { entries, isLast } = first; ; ) {
      for (const { key, value } of entries) yield { key: key.subarray(outside), value };
      if (isLast) return;
      const from = Buffer.concat([entries.at(-1)!.key, Buffer.of(0)]);
      ({ entries, isLast } = await this.#page(from, end, PAGE));
    }
  }

  /** With what batches that count have changed. */
  async *#changed(area: string, rows: AsyncGenerator<Row>): AsyncGenerator<Row> {
    const changes = [...(this.#changes.get(area) ?? [])]
      .map(([key, value]) => ({ key: Buffer.from(key), value }))
      .sort((a, b) => a.key.compare(b.key));
    let at = 0;
    for await (const row of rows) {
      let isChanged = false;
      for (; at < changes.length && changes[at]!.key.compare(row.key) <= 0; at++) {
        const { key, value } = changes[at]!;
        isChanged ||= key.equals(row.key);
        if (value !== null) yield { key, value };
      }
      if (!isChanged) yield row;
    }
    for (const { key, value } of changes.slice(at)) if (value !== null) yield { key, value };
  }

  // --- looks ---

  /** All that there is below these, with keys as they are behind `at`. */
  async #allOf(prefixes: readonly string[]): Promise<Row[][]> {
    const all: Row[][] = [];
    for (const [index, first] of (await this.#pages(prefixes, FIRST_PAGE)).entries()) {
      const prefix = prefixes[index]!;
      const rows: Row[] = [];
      for await (const { key, value } of this.#areaRows(prefix, first))
        rows.push({ key: Buffer.concat([Buffer.from(prefix), key]), value });
      all.push(rows);
    }
    return all;
  }

  /** The first of each. */
  async #pages(prefixes: readonly string[], limit: number): Promise<Page[]> {
    const { at } = this.#options;
    const gets = prefixes.map((prefix) => ({ get: `${at}${prefix}`, end: endOf(`${at}${prefix}`), limit }));
    try {
      return (await this.#look(gets)).map((entries) => ({ entries, isLast: entries.length < limit }));
    } catch (error) {
      if (!isLarge(error) || (prefixes.length === 1 && limit === 1)) throw explained(error);
      if (prefixes.length === 1) return this.#pages(prefixes, Math.ceil(limit / 8));
      const half = prefixes.length >> 1;
      const first = await this.#pages(prefixes.slice(0, half), limit);
      return [...first, ...(await this.#pages(prefixes.slice(half), limit))];
    }
  }

  async #page(from: Buffer, end: Uint8Array, limit: number): Promise<Page> {
    try {
      const [entries] = await this.#look([{ get: from, end, limit }]);
      return { entries: entries!, isLast: entries!.length < limit };
    } catch (error) {
      if (!isLarge(error) || limit === 1) throw explained(error);
      return this.#page(from, end, Math.ceil(limit / 8));
    }
  }

  /** @throws what `refused` makes, EtcdError, StoreFailedError */
  async #look(gets: readonly Extract<Op, { get: unknown }>[]): Promise<readonly (readonly EtcdEntry[])[]> {
    const { etcd, at, compare, key, value, refused, pause = SYSTEM_PAUSE } = this.#options;
    const atRevision = this.revision;
    const ops: Op[] = [
      { put: `${at}${key}`, value },
      { get: `${at}${key}`, atRevision },
      ...gets.map((get) => ({ ...get, atRevision })),
    ];
    const said = await repeated(etcd, { compare, ops }, pause);
    if (!said.isApplied) throw refused();
    const [own, ...rest] = said.gets;
    const [first] = own!;
    if (first?.revision !== atRevision || Buffer.compare(first.value, value) !== 0)
      throw new StoreFailedError(
        "etcd's revisions have gone back while it was read: what was read by then is of another history. Do it again.",
      );
    return rest;
  }
}

interface Page {
  readonly entries: readonly EtcdEntry[];
  readonly isLast: boolean;
}

interface Reading {
  readonly area: string;
  readonly row: Row;
  readonly rest: AsyncGenerator<Row>;
}

async function* none(): AsyncGenerator<Row> {}

/** In a list that falls, before all that are less. */
function placeOf(heads: readonly Reading[], key: Buffer): number {
  let [low, high] = [0, heads.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (heads[middle]!.row.key.compare(key) > 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** What of a key of the cluster is in front of the record's own. */
function areaOf(key: string): string {
  if (key.startsWith(COMMON)) return COMMON;
  if (key.startsWith(AUDIT)) return AUDIT;
  return key.slice(0, partitionPrefix(0).length);
}

function clockIn(value: Uint8Array): number {
  return (decodeRecord({ key: CLOCK_KEY, value }) as { readonly nowMs: number }).nowMs;
}

function explained(error: unknown): unknown {
  if (!(error instanceof EtcdError) || error.code !== CODE.OUT_OF_RANGE) return error;
  return new StoreFailedError(
    `etcd has not kept that moment for as long as it took to read it (${error.message}). Let it compact an hour behind, not minutes.`,
    { cause: error },
  );
}
