import type { LoopRuntime, OutsideRead } from "../loop/index.js";
import type { Etcd } from "../store/etcd-api.js";

export interface MemberOptions {
  readonly etcd: Etcd;
  /** What all keys of this cluster begin with in etcd, such as `/lockdb/`. */
  readonly at: string;
  /** Where clients and the other members reach this one. */
  readonly url: string;
  /** Of this LockDB. */
  readonly version: string;
  /** How long a member may be silent before its partitions are taken, in milliseconds. Default: 5,000. The same at all members. */
  readonly leaseMs?: number;
  readonly runtime: LoopRuntime;
  readonly log: {
    info(facts: object, text: string): void;
    warn(facts: object, text: string): void;
    error(facts: object, text: string): void;
  };
  /** What is common to all members was changed: what `read` gives is to be taken. Rejects when that cannot be: all of it is read then. */
  readonly onCommon?: (read: () => Promise<OutsideRead>) => Promise<void>;
  /** What all other members are to know, at most 64 KiB as JSON; null: nothing. Asked before each beat, and written when it has changed. */
  readonly share?: () => object | null;
  /** What the others share, by their ids, after each look: as old as their last beat. @param members how many there are, with this one */
  readonly onShares?: (others: ReadonlyMap<string, object>, members: number) => void;
}
