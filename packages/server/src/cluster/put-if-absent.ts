import type { Etcd } from "../store/etcd-api.js";
import { decodeRecord, encodeRecord } from "../store/index.js";
import { COMMON_VERSION, clusterKeyOf } from "./keys.js";
import type { Words } from "./words.js";

/**
 * Writes a record that all members share, unless there is one.
 * @param mark never the same twice @returns the one that is there then
 * @throws Error when this member was fenced, or etcd does not answer
 */
export async function putIfAbsent(
  { etcd, words, id, mark }: { etcd: Etcd; words: Words; id: string; mark: string },
  key: string,
  value: object,
): Promise<object> {
  const place = clusterKeyOf(key, id);
  const outcome = await etcd.txn({
    compare: [words.isThere(id), words.absent(place)],
    ops: [
      words.put({ key: place, value: encodeRecord(key, value) }),
      words.put({ key: COMMON_VERSION, value: Buffer.from(mark) }),
    ],
    otherwise: [words.get(place)],
  });
  if (outcome.kind === "applied") return value;
  if (outcome.kind !== "refused") throw outcome.error;
  const found = outcome.gets[0]?.[0];
  if (found === undefined) throw new Error("This member was fenced.");
  return decodeRecord({ key, value: found.value }) as object;
}
