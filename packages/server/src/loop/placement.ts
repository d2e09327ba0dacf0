import type { ServiceKey } from "./service.js";
import type { FloorRecord } from "./stored.js";

/** Where a service is served. `nowhere`: by nobody yet, or it is not known. `epoch`: of the record that says so. */
export type Place = "here" | "nowhere" | { readonly url: string; readonly epoch?: number };

/** What a loop must know of the cluster that its server is a member of. */
export interface Placement {
  /**
   * `here` not before the services of its partition are taken up (`Loop.takeUp`), and no more once they are handed over: from
   * the moment at the latest that the batch of `Loop.handOver` is known to be committed.
   */
  placeOf(key: ServiceKey): Place;
  /** Of the record by which this member was given what it serves there: since it came to be nobody else has served that. Null: it is not here. */
  epochOf(key: ServiceKey): number | null;
  /**
   * By how much lease time of a service that is here is ahead of the loop's lease clock, in whole milliseconds (R6). Asked when a
   * service comes to be; for those that are taken up it is said with them.
   */
  offsetMsOf(key: ServiceKey): number;
  /**
   * False once this member may not answer any more: its lease ran out without a committed beat. Read when a turn begins, and again before its
   * answers leave.
   */
  isTrusted(): boolean;
  /** Calls whenever places or members may have changed. @returns stops that */
  watch(changed: () => void): () => void;
  /** What a restore has left for services that come to be (F3), as a read told it that is not old. Absent or null: there is nothing of that kind. */
  readonly floor?: Pick<FloorRecord, "tokens" | "tickets"> | null;
  /** Address of this member. */
  readonly url: string;
  /** Addresses of all members, for clients. */
  readonly memberUrls: readonly string[];
  /** Of this member, as long as it has not joined anew: no two that ever were have the same. For keys: no slash in it. */
  readonly memberId: string;
}

/** A member may not answer any more: the cluster may think by now that it is gone. */
export class TrustLostError extends Error {
  override readonly name = "TrustLostError";

  constructor() {
    super("No beat of this member was committed for so long that it may not answer any more.");
  }
}
