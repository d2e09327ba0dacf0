import { decodeRecord, encodeRecord } from "../store/index.js";
import { FENCES, MEMBERS, OWNERS, SHARES } from "./keys.js";
import { partitionName } from "./partitions.js";

/** `member/<id>`: there as long as that member has not been fenced, as is its fence. */
export interface MemberRecord {
  /** Where clients and other members reach it. */
  readonly url: string;
  /** Shown by other members that pass requests on to it. */
  readonly secret: string;
  /** Another number each time that it is written. */
  readonly beat: number;
  /** For how long it may be silent, in milliseconds: whoever watches it waits for as long, whatever its own is. */
  readonly leaseMs: number;
  /** It serves what it owns, and may be given more. */
  readonly isReady: boolean;
  /** It stops, and gives away what it owns. */
  readonly isLeaving: boolean;
  /** Of its LockDB. */
  readonly version: string;
}

/** `owner/<partition>`: who serves it, or shall. */
export interface OwnerRecord {
  readonly member: string;
  /** One more with each change. */
  readonly epoch: number;
  /** It is served: what is added to that member's lease clock. */
  readonly offsetMs?: number;
  /** It is not served yet: where the partition's lease clock stands still (R6). */
  readonly leaseMs?: number;
  /** Members that were fenced with a batch that counts and is not in its place yet. */
  readonly redo?: readonly string[];
}

/** A record and the bytes it was read from: what a condition compares. */
export interface Seen<T> {
  readonly record: T;
  readonly bytes: Uint8Array;
}

export const fenceKey = (id: string) => `${FENCES}${id}`;
export const memberKey = (id: string) => `${MEMBERS}${id}`;
export const shareKey = (id: string) => `${SHARES}${id}`;
export const ownerKey = (partition: number) => `${OWNERS}${partitionName(partition)}`;

/** @throws DamagedRecordError, NewerFormatError (R9) */
export function seen<T>(key: string, bytes: Uint8Array): Seen<T> {
  return { record: decodeRecord({ key, value: bytes }) as T, bytes };
}

export function written(key: string, record: object): { readonly key: string; readonly value: Uint8Array } {
  return { key, value: encodeRecord(key, record) };
}

export function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

export function beatIn(id: string, bytes: Uint8Array): number {
  return seen<MemberRecord>(memberKey(id), bytes).record.beat;
}
