/** Answers of the HTTP API that the server, the web page and the command line have in common. */

import type { Scope } from "./scopes.js";

/** A key as it is shown. */
export interface KeyInfo {
  readonly id: string;
  readonly account: string;
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly services: readonly string[] | null;
  readonly createdAt: string | null;
  readonly createdBy: string;
  readonly expiresAt: string | null;
  /** When the secret before the newest ends; null: there is none. */
  readonly oldSecretEndsAt: string | null;
  /** To the minute. */
  readonly lastUsedAt: string | null;
}

/** An account as it is shown to whoever may look at it. */
export interface AccountInfo {
  readonly id: string;
  readonly email: string | null;
  readonly createdAt: string;
  /** Null: it is no trial. */
  readonly trialEndsAt: string | null;
  /** Of the trial, in whole days; null: it is none. */
  readonly daysLeft: number | null;
  /** Null: there is no such limit. */
  readonly limits: Readonly<Record<string, number | null>>;
  readonly use: Readonly<Record<string, number>>;
}

/** An act, as the audit log has it. */
export interface AuditEntry {
  readonly at: string;
  readonly who: string;
  readonly what: string;
  /** Absent: it was about no service. */
  readonly service?: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

export interface ClusterStatus {
  /** Its name; null: this server is in none. */
  readonly cluster: string | null;
  readonly members: readonly MemberStatus[];
  readonly partitions: readonly PartitionStatus[];
  readonly etcd: readonly EtcdStatus[];
}

export interface MemberStatus {
  readonly id: string;
  readonly url: string;
  readonly isReady: boolean;
  readonly isLeaving: boolean;
  readonly isSelf: boolean;
  /** How many it serves. */
  readonly partitions: number;
  /** For how long its beat has stood still, as the member sees it that was asked. */
  readonly lastSeenMs: number;
}

export interface PartitionStatus {
  readonly id: number;
  /** Id of a member that lives; null: nobody's. */
  readonly owner: string | null;
  readonly epoch: number;
  readonly state: "served" | "claiming" | "handing-over" | "unowned";
}

export interface EtcdStatus {
  readonly endpoint: string;
  readonly healthy: boolean;
  readonly isLeader: boolean;
  readonly version: string | null;
  readonly dbSizeBytes: number | null;
  readonly error: string | null;
}
