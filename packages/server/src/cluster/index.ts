export { ClusterAtRest } from "./at-rest.js";
export { Member, type MemberOptions } from "./member.js";
export { PARTITIONS, partitionOf } from "./partitions.js";
export type { ClusterSeen } from "./seen.js";
export type { Snapshot } from "./snapshot.js";
