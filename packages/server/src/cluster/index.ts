export { ClusterAtRest } from "./at-rest.js";
export { Member } from "./member.js";
export type { MemberOptions } from "./member-options.js";
export { PARTITIONS, partitionOf } from "./partitions.js";
export type { ClusterSeen } from "./seen.js";
export type { Snapshot } from "./snapshot.js";
export { ClusterTotals } from "./totals.js";
