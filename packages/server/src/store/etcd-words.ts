import {
  bytesOf,
  type Compare,
  type EtcdEntry,
  type Key,
  type Op,
  type RangeQuery,
  type Txn,
} from "./etcd-api.js";
import type { KeyValueMessage } from "./etcd-messages.js";

/** What is asked, in etcd's words. */
export function txnRequest(txn: Txn): object {
  return {
    compare: txn.compare.map(compareRequest),
    success: txn.ops.map(opRequest),
    failure: (txn.otherwise ?? []).map(opRequest),
  };
}

export function rangeRequest({ key, end, limit = 0, atRevision = 0 }: RangeQuery): object {
  return { ...bytesRequest(key, end), limit, revision: atRevision, serializable: false };
}

export function bytesRequest(key: Key, end?: Key): object {
  return { key: bytesOf(key), ...(end === undefined ? {} : { range_end: bytesOf(end) }) };
}

function compareRequest(compare: Compare): object {
  if ("value" in compare)
    return { result: EQUAL, target: VALUE, key: bytesOf(compare.key), value: compare.value };
  const { key, end, revision } = compare;
  return { result: EQUAL, target: MOD, ...bytesRequest(key, end), mod_revision: revision };
}

function opRequest(op: Op): object {
  if ("put" in op) return { request_put: { key: bytesOf(op.put), value: op.value } };
  if ("delete" in op) return { request_delete_range: bytesRequest(op.delete, op.end) };
  const { get, ...rest } = op;
  return { request_range: rangeRequest({ key: get, ...rest }) };
}

export function entriesFrom(kvs: readonly KeyValueMessage[]): readonly EtcdEntry[] {
  return kvs.map(({ key, value, mod_revision }) => ({ key, value, revision: revisionOf(mod_revision) }));
}

export function revisionOf(text: string): number {
  const revision = Number(text);
  if (!Number.isSafeInteger(revision)) throw new RangeError(`etcd's revision ${text} is too large.`);
  return revision;
}

const EQUAL = 0;
const MOD = 2;
const VALUE = 3;
