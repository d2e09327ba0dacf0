import { type OutsideRecord, readServices, type StoredService } from "../loop/index.js";
import { type Block, blocksOf } from "../store/block.js";
import {
  CODE,
  type Compare,
  type Etcd,
  type EtcdEntry,
  EtcdError,
  endOf,
  type Op,
} from "../store/etcd-api.js";
import { slicesOf } from "../store/etcd-slices.js";
import { changesIn } from "../store/etcd-staged.js";
import {
  AUDIT,
  COMMON,
  COMMON_VERSION,
  clusterKeyOf,
  KEEPERS_PARTITION,
  partitionPrefix,
  READS,
  STAGED,
} from "./keys.js";
import { fenceKey, type OwnerRecord, ownerKey, type Seen, seen, written } from "./records.js";
import type { Words } from "./words.js";

/** Entries that are asked for at once of each partition: most have fewer. */
const PAGE = 400;
/** Of one that has more: some hundred kilobytes. */
const REST_PAGE = 4_000;
/** So often in a row etcd may not answer in time: what was read by then would have to be read again. */
const SLOW_MAX = 4;
/** What is less than a part of a page is little. */
const FEW = 16;
/** So many prefixes at a time, when all of them together have taken too long. */
const SLOW_SOME = 12;
/** What etcd may take to find the first of very many. */
const LARGE_MS = 4_000;
/** Entries of which blocks are made in one turn: some ten milliseconds. */
const ENTRIES_A_TURN = 1_000;
/** Prefixes or keys that are read in one transaction, which has 128 operations. */
const PARTS_A_TXN = 120;

/** What is stored of a partition. */
export interface Part {
  readonly services: readonly StoredService[];
  /** What belongs to none of them, such as deliveries that are owed. */
  readonly outside: readonly OutsideRecord[];
  /** How many records that is. */
  readonly size: number;
}

/** Something that a member does in etcd as long as it is one. */
export interface Fenced {
  readonly etcd: Etcd;
  /** What all keys of the cluster begin with. */
  readonly at: string;
  /** The member's. */
  readonly id: string;
  /** The member's fence: the condition of all that it does. */
  readonly fence: { readonly key: string; readonly value: Uint8Array };
}

export function fencedBy(etcd: Etcd, words: Words, id: string): Fenced {
  return { etcd, at: words.at, id, fence: written(fenceKey(id), { member: id }) };
}

/**
 * What lies below some prefixes, read by transactions that went through etcd's log: a read by itself may show an old state, whatever revision it
 * names.
 * @throws Error when this member was fenced, or etcd does not answer
 */
export async function readThrough(
  member: Fenced,
  prefixes: readonly string[],
  page = PAGE,
): Promise<EtcdEntry[][]> {
  const all: EtcdEntry[][] = [];
  for (const begun of await readFirst(member, prefixes, page)) {
    if (begun.hasMore) await readWide(member, begun);
    all.push(begun.entries);
  }
  return all;
}

/** What lies below a prefix, as far as it is read. */
interface Begun {
  entries: EtcdEntry[];
  /** Of the prefix. */
  readonly end: Uint8Array;
  /** Entries that are asked for at once. */
  limit: number;
  /** There may be more. */
  hasMore: boolean;
}

async function readFirst(member: Fenced, prefixes: readonly string[], page: number): Promise<Begun[]> {
  const found: Begun[] = [];
  for (let at = 0; at < prefixes.length; at += PARTS_A_TXN)
    found.push(...(await readSome(member, prefixes.slice(at, at + PARTS_A_TXN), page)));
  return found;
}

async function readSome(
  member: Fenced,
  prefixes: readonly string[],
  page: number,
  timeoutMs?: number,
): Promise<Begun[]> {
  const { at } = member;
  const ends = prefixes.map((prefix) => endOf(`${at}${prefix}`));
  const first = prefixes.map(
    (prefix, index): Op => ({ get: `${at}${prefix}`, end: ends[index]!, limit: page }),
  );
  let pages: readonly (readonly EtcdEntry[])[];
  try {
    pages = await gets(member, first, timeoutMs);
  } catch (error) {
    // All of it is too large for one answer, or for the time that one may take: fewer at once, then.
    const isSlow = isDeadlineExceeded(error) && (prefixes.length > 1 || timeoutMs === undefined);
    if (!isSlow && (!isTooLarge(error) || (prefixes.length === 1 && page === 1))) throw error;
    if (prefixes.length === 1 && isSlow) return readSome(member, prefixes, page, LARGE_MS);
    if (prefixes.length === 1) return readSome(member, prefixes, Math.ceil(page / 8), timeoutMs);
    // Whoever is slow has very much, and that is to be met with few times more.
    const few = isSlow ? (prefixes.length > SLOW_SOME ? SLOW_SOME : 1) : Math.ceil(prefixes.length / 2);
    const found: Begun[] = [];
    for (let at = 0; at < prefixes.length; at += few)
      found.push(...(await readSome(member, prefixes.slice(at, at + few), page)));
    return found;
  }
  return pages.map((some, index) => {
    // Who asks for few has large ones.
    const limit = page === PAGE ? REST_PAGE : page;
    return { entries: [...some], end: ends[index]!, limit, hasMore: some.length === page };
  });
}

/** Adds what comes behind these: all of it, or not many more than that. */
async function readWide(member: Fenced, begun: Begun, max = Number.POSITIVE_INFINITY): Promise<void> {
  const { entries, end } = begun;
  const enough = entries.length + max;
  while (begun.hasMore && entries.length < enough) {
    const { limit } = begun;
    try {
      const [next] = (await gets(member, [{ get: behind(entries), end, limit }])) as [EtcdEntry[]];
      for (const entry of next) entries.push(entry);
      begun.hasMore = next.length === limit;
    } catch (error) {
      if (!isTooLarge(error) || limit === 1) throw error;
      begun.limit = Math.ceil(limit / 8);
    }
  }
}

/**
 * What some keys have, behind the cluster's prefix, read as `readThrough` does. Null: absent.
 * @throws Error when this member was fenced, or etcd does not answer
 */
export async function readKeys(member: Fenced, keys: readonly string[]): Promise<(Buffer | null)[]> {
  const found: (Buffer | null)[] = [];
  for (let at = 0; at < keys.length; at += PARTS_A_TXN)
    found.push(...(await readSomeKeys(member, keys.slice(at, at + PARTS_A_TXN))));
  return found;
}

async function readSomeKeys(member: Fenced, keys: readonly string[]): Promise<(Buffer | null)[]> {
  try {
    const entries = await gets(
      member,
      keys.map((key) => ({ get: `${member.at}${key}` })),
    );
    return entries.map(([entry]) => entry?.value ?? null);
  } catch (error) {
    if (keys.length === 1 || !(isTooLarge(error) || isDeadlineExceeded(error))) throw error;
    const half = keys.length >> 1;
    const first = await readSomeKeys(member, keys.slice(0, half));
    return [...first, ...(await readSomeKeys(member, keys.slice(half)))];
  }
}

/**
 * Adds all that comes behind very many. However few it is asked for, etcd looks at all keys of a range, and all that its members do waits meanwhile. So each
 * read asks for what begins as the last key did: with a byte more than a full page has in common, and with fewer while there is little.
 */
export async function readNarrow(
  member: Fenced,
  { entries, end, ...begun }: Pick<Begun, "entries" | "end" | "limit">,
): Promise<void> {
  let { limit } = begun;
  let key = behind(entries);
  /** How many bytes of the key are the beginning. */
  let same = sameIn(entries, limit) + 1;
  for (let [empty, slow] = [0, 0]; ; ) {
    const near = endOf(key.subarray(0, same));
    const isLast = Buffer.compare(near, key) <= 0 || Buffer.compare(near, end) >= 0;
    const to = isLast ? end : near;
    try {
      const [next] = (await gets(member, [{ get: key, end: to, limit }])) as [EtcdEntry[]];
      for (const entry of next) entries.push(entry);
      slow = 0;
      empty = next.length > 0 ? 0 : empty + 1;
      if (next.length === limit) {
        key = behind(entries);
        same = sameIn(entries, limit) + 1;
        continue;
      }
      if (isLast) return;
      key = Buffer.from(to);
      // At the second there may be much again, behind the end of a wider one. Beyond the third: keys can be long, with nothing below most of their beginnings.
      const fewer = 2 ** Math.max(0, empty - 3);
      same = next.length * FEW < limit && empty !== 2 ? Math.max(0, key.length - fewer) : key.length;
    } catch (error) {
      if (isTooLarge(error) && limit > 1) limit = Math.ceil(limit / 8);
      else if (isDeadlineExceeded(error) && ++slow < SLOW_MAX) same = Math.min(same + 1, key.length - 1);
      else throw error;
    }
  }
}

/** How many bytes of their keys the last so many have in common with the one before them. */
function sameIn(entries: readonly EtcdEntry[], last: number): number {
  const [first, { key }] = [entries.at(-1 - last) ?? entries[0]!, entries.at(-1)!];
  const at = key.findIndex((byte, index) => byte !== first.key[index]);
  return at === -1 ? key.length : at;
}

/** The first key that could come behind them. */
function behind(entries: readonly EtcdEntry[]): Buffer {
  return Buffer.concat([entries.at(-1)!.key, Buffer.of(0)]);
}

function isTooLarge(error: unknown): boolean {
  return error instanceof EtcdError && error.code === CODE.RESOURCE_EXHAUSTED;
}

function isDeadlineExceeded(error: unknown): boolean {
  return error instanceof EtcdError && error.code === CODE.DEADLINE_EXCEEDED;
}

/** What a member writes when it wants to read. */
export const readKey = (id: string) => `${READS}${id}`;

/** With a put, or it would not go through the log. */
async function gets(
  { etcd, at, id, fence }: Fenced,
  ops: readonly Op[],
  timeoutMs?: number,
): Promise<readonly (readonly EtcdEntry[])[]> {
  const key = `${at}${fence.key}`;
  const txn = {
    compare: [{ key, value: fence.value }],
    ops: [{ put: `${at}${readKey(id)}`, value: fence.value }, ...ops],
  };
  const outcome = await etcd.txn(txn, timeoutMs === undefined ? {} : { timeoutMs });
  if (outcome.kind === "refused") throw new Error("This member was fenced.");
  if (outcome.kind !== "applied") throw outcome.error;
  return outcome.gets;
}

/**
 * What is stored of some partitions. Of one that has a damaged record (R9) it is the error: that is no reason not to serve the others.
 * @throws Error as `readThrough`
 */
export async function readParts(
  member: Fenced,
  prefixes: readonly string[],
  page = PAGE,
): Promise<(Part | Error)[]> {
  const found = await readThrough(member, prefixes, page);
  return Promise.all(found.map((entries, index) => partOf(member, prefixes[index]!, entries)));
}

/** A partition, of which one transaction has read who owns it and the first of what is stored. */
export interface Owned {
  readonly partition: number;
  /** Null: nobody, or the record cannot be read. */
  readonly owner: Seen<OwnerRecord> | null;
  /** There is very much more to be read, which takes long. */
  readonly isLarge: boolean;
  /**
   * All that is stored of it. To be called once: what was read is not kept here.
   * @param pause lets others have their turn
   * @throws Error as `readThrough`; DamagedRecordError (R9)
   */
  part(pause: () => Promise<void>): Promise<Part>;
}

/** Some partitions, and whose they are. Of most of them all is read. @throws Error as `readThrough` */
export async function readOwned(member: Fenced, partitions: readonly number[]): Promise<Owned[]> {
  const prefixes = [...partitions.map(ownerKey), ...partitions.map(partitionPrefix)];
  const found = await readFirst(member, prefixes, PAGE);
  for (const begun of found) {
    await readWide(member, begun, REST_PAGE).catch((error: unknown) => {
      // One that is so slow has very many.
      if (!isDeadlineExceeded(error)) throw error;
    });
  }
  return partitions.map((partition, at) => {
    const [record] = found[at]!.entries;
    const begun = found[partitions.length + at]!;
    return {
      partition,
      owner: record === undefined ? null : ownerIn(partition, record),
      isLarge: begun.hasMore,
      part: async (pause) => {
        const { entries } = begun;
        begun.entries = [];
        if (begun.hasMore) await readNarrow(member, { ...begun, entries });
        return partIn(member, partitionPrefix(partition), entries, pause);
      },
    };
  });
}

function ownerIn(partition: number, { value }: EtcdEntry): Seen<OwnerRecord> | null {
  try {
    return seen<OwnerRecord>(ownerKey(partition), value);
  } catch {
    // Each look tells of it.
    return null;
  }
}

function partOf(member: Fenced, prefix: string, entries: readonly EtcdEntry[]): Promise<Part | Error> {
  return partIn(member, prefix, entries, async () => {}).catch((error: unknown) => error as Error);
}

/** What such entries are. @param prefix below which they lie @throws DamagedRecordError (R9) */
export async function partIn(
  { at }: Fenced,
  prefix: string,
  entries: readonly EtcdEntry[],
  pause: () => Promise<void>,
): Promise<Part> {
  const outside: OutsideRecord[] = [];
  const blocks = () => inTurns(blocksOf(recordsOf(entries, at.length + prefix.length)), pause);
  const services = await readServices({ blocks }, (_kind, record) => outside.push(record));
  const size = services.reduce(
    (sum, { records, holds }) => sum + records.length + holds.size,
    outside.length,
  );
  return { services, outside, size };
}

function* recordsOf(entries: readonly EtcdEntry[], outside: number) {
  for (const { key, value } of entries) yield { key: key.subarray(outside), value };
}

/** To read a block takes as long as to make it. */
async function* inTurns(blocks: Iterable<Block>, pause: () => Promise<void>): AsyncGenerator<Block> {
  let size = 0;
  for (const block of blocks) {
    if (size >= ENTRIES_A_TURN) {
      size = 0;
      await pause();
    }
    size += block.size;
    yield block;
  }
}

/** Which batch is brought to its end, and where. */
export interface Redo {
  /** Whose it was. */
  readonly former: string;
  readonly partition: number;
  /** The owner record says so: what is on its way for long must not come once it is served. */
  readonly owner: Compare;
  /** Nothing else has the same, no other try of this redo either. */
  readonly name: string;
}

/**
 * Puts in its place what belongs to a partition of a batch that counts, and that its member had not put there when it was fenced (decision 022). To
 * do so twice changes nothing, as long as the partition is not served. With the keeper's partition goes what all members share.
 */
export async function redoPart(member: Fenced, { former, partition, owner, name }: Redo): Promise<void> {
  const { etcd, at, fence } = member;
  const [pieces] = (await readThrough(member, [`${STAGED}${former}/`], 2)) as [EtcdEntry[]];
  // Entries of the audit log are only added: each partition brings those of its batch along, and twice is once.
  const shared = partition === KEEPERS_PARTITION ? [COMMON] : [];
  const areas = [partitionPrefix(partition), AUDIT, ...shared];
  let hasCommon = false;
  const last = new Map<string, Op>();
  for (const { key, value } of pieces) {
    const changes = changesIn(value);
    if (changes === null)
      throw new Error(`The record ${JSON.stringify(key.toString())} in etcd is damaged. Restore a backup.`);
    for (const change of changes) {
      const to = clusterKeyOf(change.key.toString(), former);
      if (!areas.some((area) => to.startsWith(area))) continue;
      hasCommon ||= to.startsWith(COMMON);
      last.set(
        to,
        change.value === null ? { delete: `${at}${to}` } : { put: `${at}${to}`, value: change.value },
      );
    }
  }
  // Whoever reads what is common between two of these reads it again.
  const mark = (text: string): Op => ({ put: `${at}${COMMON_VERSION}`, value: Buffer.from(text) });
  for (const [number, slice] of slicesOf(last.values(), sizeOf, A_TXN).entries()) {
    const outcome = await etcd.txn({
      compare: [{ key: `${at}${fence.key}`, value: fence.value }, owner],
      ops: [...slice, ...(hasCommon ? [mark(`${name}/${number}`)] : [])],
    });
    if (outcome.kind === "refused") throw new Error("This member was fenced.");
    if (outcome.kind !== "applied") throw outcome.error;
  }
}

const A_TXN = { itemsMax: 120, bytesMax: 512 * 1_024 };

function sizeOf(op: Op): number {
  return "put" in op ? op.value.length + 200 : 200;
}
