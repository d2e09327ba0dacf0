import type { ServiceKey } from "./service.js";

/** Where a service is served. `nowhere`: by nobody yet, or it is not known. */
export type Place = "here" | "nowhere" | { readonly url: string };

/** What a loop must know of the cluster that its server is a member of. */
export interface Placement {
  placeOf(key: ServiceKey): Place;
  /**
   * False once this member may not answer any more: its lease ran out without a committed beat. Read when a turn begins, and again before its
   * answers leave.
   */
  isTrusted(): boolean;
  /** Calls whenever places or members may have changed. @returns stops that */
  watch(changed: () => void): () => void;
  /** Addresses of all members, for clients. */
  readonly memberUrls: readonly string[];
}
