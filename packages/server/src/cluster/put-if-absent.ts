import type { Etcd } from "../store/etcd-api.js";
import { Marking } from "../store/etcd-mark.js";
import { decodeRecord, encodeRecord } from "../store/index.js";
import { COMMON_VERSION, clusterKeyOf } from "./keys.js";
import { COMMON_MARK } from "./layout.js";
import { fenceKey } from "./records.js";
import type { Words } from "./words.js";

export interface Putting {
  readonly etcd: Etcd;
  readonly words: Words;
  readonly id: string;
  /** No other chain of marks begins so. */
  readonly mark: string;
  /** The mark as this member has seen it last; null: none. */
  readonly seen: Uint8Array | null;
}

/**
 * Writes a record that all members share, unless there is one.
 * @returns the one that is there then
 * @throws Error when this member was fenced, or etcd does not answer
 */
export async function putIfAbsent(
  { etcd, words, id, mark, seen }: Putting,
  key: string,
  value: object,
): Promise<object> {
  const place = clusterKeyOf(key, id);
  const marking = new Marking(words.at, COMMON_MARK, mark);
  marking.found(seen);
  for (;;) {
    const { compare, ops } = marking.next([place]);
    const outcome = await etcd.txn({
      compare: [words.isThere(id), words.absent(place), compare],
      ops: [words.put({ key: place, value: encodeRecord(key, value) }), ...ops],
      otherwise: [place, COMMON_VERSION, fenceKey(id)].map((each) => words.get(each)),
    });
    if (outcome.kind === "applied") return value;
    if (outcome.kind !== "refused") throw outcome.error;
    const [found, now, fence] = outcome.gets.map(([entry]) => entry);
    if (found !== undefined) return decodeRecord({ key, value: found.value }) as object;
    if (fence === undefined) throw new Error("This member was fenced.");
    // Somebody else has changed what is common meanwhile.
    marking.found(now?.value ?? null);
  }
}
