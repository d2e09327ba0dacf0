import type { OutsideChange, OutsideRead, OutsideRecord } from "../loop/index.js";
import type { EtcdEntry } from "../store/etcd-api.js";
import { markIn, NOTES, nameOf, noteIn, noteKey } from "../store/etcd-mark.js";
import { decodeRecord } from "../store/index.js";
import { COMMON, COMMON_VERSION, NOTES_AREA } from "./keys.js";
import { type Fenced, partIn, readKeys, readThrough } from "./part.js";

/** Records that are read at once of what is common: mostly all of it. */
const PAGE = 4_000;

/** Marks of one chain that come one after the other (decision 028). */
export interface Way {
  readonly chain: string;
  /** The first and the last that are new. */
  readonly from: number;
  readonly to: number;
}

/**
 * Which marks are between two, when it is certain that there are no others.
 * @param before the mark up to which all is known @param now the one that a look has shown @returns null: nobody knows
 */
export function wayBetween(before: Uint8Array | null, now: Uint8Array): Way | null {
  const last = markIn(COMMON_VERSION, now);
  if (last === null || before === null) return null;
  const first = markIn(COMMON_VERSION, before);
  const isOfChain = first?.chain === last.chain;
  if (!isOfChain && (last.after === null || last.after !== nameOf(COMMON_VERSION, before))) return null;
  const from = isOfChain ? first.at + 1 : 1;
  const count = last.at - from + 1;
  return count >= 1 && count <= NOTES ? { chain: last.chain, from, to: last.at } : null;
}

/** What is read of what all members share. */
export type CommonRead = OutsideRead & {
  /** Of what has changed, records that cannot be read (R9): they are not among the changes. */
  readonly damage?: Error | undefined;
};

/**
 * What all members share, up to a mark at least.
 * @param before the mark up to which all is known; null: read all
 * @param pause lets others have their turn: a member that is busy for long does not beat
 * @throws Error as `readThrough`; DamagedRecordError (R9) when all is read
 */
export async function readCommon(
  member: Fenced,
  before: Uint8Array | null,
  now: Uint8Array | null,
  pause: () => Promise<void>,
): Promise<CommonRead> {
  const way = now === null ? null : wayBetween(before, now);
  const keys = way === null ? null : await keysChanged(member, way);
  if (keys !== null) return changesOf(member, keys);
  return { isWhole: true, records: await readAll(member, pause) };
}

async function readAll(member: Fenced, pause: () => Promise<void>): Promise<readonly OutsideRecord[]> {
  const [entries] = (await readThrough(member, [COMMON], PAGE)) as [EtcdEntry[]];
  return (await partIn(member, COMMON, entries, pause)).outside;
}

/** @returns null: a note is another's by now, or cannot be read */
async function keysChanged(member: Fenced, { chain, from, to }: Way): Promise<ReadonlySet<string> | null> {
  const marks = Array.from({ length: to - from + 1 }, (_, index) => from + index);
  const found = await readKeys(
    member,
    marks.map((at) => noteKey(NOTES_AREA, at)),
  );
  const keys = new Set<string>();
  for (const [index, at] of marks.entries()) {
    const value = found[index];
    const note = value == null ? null : noteIn(noteKey(NOTES_AREA, at), value);
    if (note === null || note.chain !== chain || note.at !== at) return null;
    for (const key of note.keys) {
      if (!key.startsWith(COMMON)) return null;
      keys.add(key);
    }
  }
  return keys;
}

/** As they are now: that may be newer than the mark, and is never older. */
async function changesOf(member: Fenced, places: ReadonlySet<string>): Promise<CommonRead> {
  const all = [...places];
  const found = await readKeys(member, all);
  const changes: OutsideChange[] = [];
  let damage: Error | undefined;
  for (const [index, place] of all.entries()) {
    const key = place.slice(COMMON.length);
    const value = found[index] ?? null;
    try {
      changes.push({ key, value: value === null ? null : (decodeRecord({ key, value }) as object) });
    } catch (error) {
      damage = error as Error;
    }
  }
  return { isWhole: false, changes, damage };
}
