import type { EtcdLayout } from "../store/etcd-layout.js";
import type { MarkLayout } from "../store/etcd-mark.js";
import { AUDIT, COMMON, COMMON_VERSION, clusterKeyOf, DATA, HEADS, NOTES_AREA, STAGED } from "./keys.js";

export const COMMON_MARK: MarkLayout = {
  key: COMMON_VERSION,
  notes: NOTES_AREA,
  isMarked: (place) => place.startsWith(COMMON),
};

/** Where a member's loop has its records: each in its partition, or in what all members share. */
export function layoutOf(memberId: string): EtcdLayout {
  return {
    head: `${HEADS}${memberId}`,
    staged: `${STAGED}${memberId}/`,
    keyOf: (key) => clusterKeyOf(key, memberId),
    mark: COMMON_MARK,
    rangesOf: (prefix) => {
      // What a loop reads when it opens: partitions are read as they are claimed, and what is common by transactions (decision 028).
      if (prefix === "") return [{ prefix: AUDIT, outside: AUDIT.length, isShared: true }];
      const whole = clusterKeyOf(prefix, memberId);
      const isShared = whole.startsWith(COMMON) || whole.startsWith(AUDIT);
      return [
        { prefix: whole, outside: whole.startsWith(DATA) ? whole.length - prefix.length : 0, isShared },
      ];
    },
  };
}
