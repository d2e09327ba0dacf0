import type { ClusterStatus, MemberStatus, PartitionStatus } from "lockdb/protocol";
import type { Identity } from "./identity.js";
import type { Look } from "./membership.js";
import { PARTITIONS } from "./partitions.js";

/** The cluster as one member sees it. */
export type ClusterSeen = Pick<ClusterStatus, "members" | "partitions">;

export function seenIn(
  { id: selfId, membership, handingOver }: Identity,
  { members, owners }: Look,
): ClusterSeen {
  const partitions = Array.from({ length: PARTITIONS }, (_, id): PartitionStatus => {
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
  const seen = [...members].map(([id, { record }]): MemberStatus => {
    const { url, isReady, isLeaving } = record;
    const counts = { partitions: served.get(id) ?? 0, lastSeenMs: Math.round(membership.silentMs(id)) };
    return { id, url, isReady, isLeaving, isSelf: id === selfId, ...counts };
  });
  seen.sort((a, b) => (a.url < b.url ? -1 : a.url > b.url ? 1 : a.id < b.id ? -1 : 1));
  return { members: seen, partitions };
}
