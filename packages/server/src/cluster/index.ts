export { Member, type MemberOptions } from "./member.js";
export { PARTITIONS, partitionOf } from "./partitions.js";
export type { ClusterSeen } from "./seen.js";
