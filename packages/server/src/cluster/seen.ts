import type { Identity } from "./identity.js";
import type { Look } from "./membership.js";
import { PARTITIONS } from "./partitions.js";

export interface MemberSeen {
  readonly id: string;
  readonly url: string;
  readonly isReady: boolean;
  readonly isLeaving: boolean;
  readonly isSelf: boolean;
  /** How many it serves. */
  readonly partitions: number;
  /** For how long its beat has stood still. */
  readonly lastSeenMs: number;
}

export interface PartitionSeen {
  readonly id: number;
  /** Id of a member that lives; null: nobody's. */
  readonly owner: string | null;
  readonly epoch: number;
  readonly state: "served" | "claiming" | "handing-over" | "unowned";
}

/** The cluster as one member sees it. */
export interface ClusterSeen {
  readonly members: readonly MemberSeen[];
  readonly partitions: readonly PartitionSeen[];
}

export function seenIn(
  { id: selfId, membership, handingOver }: Identity,
  { members, owners }: Look,
): ClusterSeen {
  const partitions = Array.from({ length: PARTITIONS }, (_, id): PartitionSeen => {
    const record = owners[id]?.record;
    const owner = record !== undefined && members.has(record.member) ? record.member : null;
    const epoch = record?.epoch ?? 0;
    if (owner === null) return { id, owner, epoch, state: "unowned" };
    if (handingOver.has(id)) return { id, owner, epoch, state: "handing-over" };
    return { id, owner, epoch, state: record!.leaseMs === undefined ? "served" : "claiming" };
  });
  const served = new Map<string, number>();
  for (const { owner, state } of partitions)
    if (owner !== null && state === "served") served.set(owner, (served.get(owner) ?? 0) + 1);
  const seen = [...members].map(([id, { record }]): MemberSeen => {
    const { url, isReady, isLeaving } = record;
    const counts = { partitions: served.get(id) ?? 0, lastSeenMs: Math.round(membership.silentMs(id)) };
    return { id, url, isReady, isLeaving, isSelf: id === selfId, ...counts };
  });
  seen.sort((a, b) => (a.url < b.url ? -1 : a.url > b.url ? 1 : a.id < b.id ? -1 : 1));
  return { members: seen, partitions };
}
