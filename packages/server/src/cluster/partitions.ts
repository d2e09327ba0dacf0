import { createHash } from "node:crypto";
import { crc32 } from "../store/checksum.js";

/** Services are placed in so many parts, each of which moves as a whole. It is in the keys of what is stored: never change it. */
export const PARTITIONS = 256;

/** Which part a service is in. */
export function partitionOf(account: string, service: string): number {
  const bytes = Buffer.from(`${account}/${service}`, "utf8");
  return crc32(bytes, 0, bytes.length) % PARTITIONS;
}

const known = new WeakMap<object, number>();

/** The same, kept with the key: for those who ask for thousands again and again. */
export function partitionOfKey(key: { readonly account: string; readonly id: string }): number {
  let partition = known.get(key);
  if (partition === undefined) {
    partition = partitionOf(key.account, key.id);
    known.set(key, partition);
  }
  return partition;
}

/** As it is in keys: two hexadecimal digits. */
export function partitionName(partition: number): string {
  return partition.toString(16).padStart(2, "0");
}

/** No member has more than so many times the average: with many of them chance alone would give one two or three times as much. */
const UNEVEN_MAX = 1.5;

/**
 * Who serves each partition when these members live: rendezvous hashing (Thaler and Ravishankar, 1998), so that a member that comes or goes moves only its own
 * share; and where one would have too much, the next best takes the rest (Mirrokni, Thorup and Zadimoghaddam, 2018). Of equal urls the lower id counts.
 */
export function sharesOf(
  members: readonly { readonly id: string; readonly url: string }[],
): readonly (string | null)[] {
  const ordered = [...members].sort((a, b) => (a.id < b.id ? -1 : 1));
  const most = Math.ceil((UNEVEN_MAX * PARTITIONS) / ordered.length);
  const counts: number[] = new Array(ordered.length).fill(0);
  return Array.from({ length: PARTITIONS }, (_, partition) => {
    let best: number | null = null;
    let bestWeight = -1;
    for (const [at, { url }] of ordered.entries()) {
      const weight = weightOf(url, partition);
      if (weight <= bestWeight || counts[at]! >= most) continue;
      bestWeight = weight;
      best = at;
    }
    if (best === null) return null;
    counts[best]!++;
    return ordered[best]!.id;
  });
}

const WEIGHTS_KEPT = 64 * PARTITIONS;
const weights = new Map<string, number>();

/** 48 bits of a hash: crc32 is linear, and would give one member all neighbours. */
function weightOf(url: string, partition: number): number {
  const text = `${partition}\n${url}`;
  const known = weights.get(text);
  if (known !== undefined) return known;
  const weight = createHash("sha256").update(text).digest().readUIntBE(0, 6);
  if (weights.size >= WEIGHTS_KEPT) weights.clear();
  weights.set(text, weight);
  return weight;
}
