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
  const found: EtcdEntry[][] = [];
  for (let at = 0; at < prefixes.length; at += PARTS_A_TXN)
    found.push(...(await readSome(member, prefixes.slice(at, at + PARTS_A_TXN), page)));
  return found;
}

async function readSome(member: Fenced, prefixes: readonly string[], page: number): Promise<EtcdEntry[][]> {
  const { at } = member;
  const ends = prefixes.map((prefix) => endOf(`${at}${prefix}`));
  const first = prefixes.map(
    (prefix, index): Op => ({ get: `${at}${prefix}`, end: ends[index]!, limit: page }),
  );
  let pages: readonly (readonly EtcdEntry[])[];
  try {
    pages = await gets(member, first);
  } catch (error) {
    // All of it is too large for one answer, or for the time that one may take: fewer at once, then.
    const isSlow = isDeadlineExceeded(error) && prefixes.length > 1;
    if (!isSlow && (!isTooLarge(error) || (prefixes.length === 1 && page === 1))) throw error;
    if (prefixes.length === 1) return readSome(member, prefixes, Math.ceil(page / 8));
    const half = prefixes.length >> 1;
    return [
      ...(await readSome(member, prefixes.slice(0, half), page)),
      ...(await readSome(member, prefixes.slice(half), page)),
    ];
  }
  const all: EtcdEntry[][] = [];
  for (const [index, entries] of pages.entries()) {
    const rest = [...entries];
    if (entries.length === page) await readRest(member, rest, ends[index]!, page);
    all.push(rest);
  }
  return all;
}

/** What comes behind the last of these. */
async function readRest(member: Fenced, entries: EtcdEntry[], end: Uint8Array, page: number): Promise<void> {
  // Who asks for few has large ones.
  for (let limit = page === PAGE ? REST_PAGE : page; ; ) {
    const key = Buffer.concat([entries.at(-1)!.key, Buffer.of(0)]);
    try {
      const [next] = (await gets(member, [{ get: key, end, limit }])) as [EtcdEntry[]];
      for (const entry of next) entries.push(entry);
      if (next.length < limit) return;
    } catch (error) {
      if (!isTooLarge(error) || limit === 1) throw error;
      limit = Math.ceil(limit / 8);
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
): Promise<readonly (readonly EtcdEntry[])[]> {
  const key = `${at}${fence.key}`;
  const outcome = await etcd.txn({
    compare: [{ key, value: fence.value }],
    ops: [{ put: `${at}${readKey(id)}`, value: fence.value }, ...ops],
  });
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

/** A partition as one transaction has read it, or several of which the first has read who owns it. */
export interface Owned {
  readonly partition: number;
  /** Null: nobody, or the record cannot be read. */
  readonly owner: Seen<OwnerRecord> | null;
  readonly part: Part | Error;
}

/** What is stored of some partitions, and whose they are. @throws Error as `readThrough` */
export async function readOwned(member: Fenced, partitions: readonly number[]): Promise<Owned[]> {
  const prefixes = [...partitions.map(ownerKey), ...partitions.map(partitionPrefix)];
  const found = await readThrough(member, prefixes);
  return Promise.all(
    partitions.map(async (partition, at) => {
      const [record] = found[at]!;
      const part = await partOf(member, partitionPrefix(partition), found[partitions.length + at]!);
      return { partition, owner: record === undefined ? null : ownerIn(partition, record), part };
    }),
  );
}

function ownerIn(partition: number, { value }: EtcdEntry): Seen<OwnerRecord> | null {
  try {
    return seen<OwnerRecord>(ownerKey(partition), value);
  } catch {
    // Each look tells of it.
    return null;
  }
}

function partOf({ at }: Fenced, prefix: string, entries: readonly EtcdEntry[]): Promise<Part | Error> {
  const outside = at.length + prefix.length;
  const records = entries.map(({ key, value }) => ({ key: key.subarray(outside), value }));
  return partIn(() => blocksOf(records)).catch((error: unknown) => error as Error);
}

async function partIn(blocks: () => Iterable<Block>): Promise<Part> {
  const outside: OutsideRecord[] = [];
  const services = await readServices({ blocks }, (_kind, record) => outside.push(record));
  const size = services.reduce(
    (sum, { records, holds }) => sum + records.length + holds.size,
    outside.length,
  );
  return { services, outside, size };
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
