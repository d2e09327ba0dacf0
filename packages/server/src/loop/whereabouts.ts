import type { ServerMessage } from "lockdb/protocol";
import type { Place, Placement } from "./placement.js";
import type { Ending } from "./server-messages.js";
import type { ServiceKey } from "./service.js";

/** What a connection may say before it is known where its service is. Whoever says more comes back, until it is. */
const KEPT_BYTES_MAX = 1_024 * 1_024;

/** Leads a client to where its service is. */
export function movedTo(
  { url, epoch }: Exclude<Place, string>,
  { memberUrls }: Pick<Placement, "memberUrls">,
): Ending {
  return epoch === undefined ? ["moved", url, memberUrls] : ["moved", url, memberUrls, epoch];
}

/** Messages of one frame. */
export interface Kept {
  readonly messages: readonly unknown[];
  /** The frame is longer than a message may be. */
  readonly isLarge: boolean;
}

/** In a cluster: where the service of a connection is served, and what the connection says until that is known. */
export class Whereabouts {
  readonly #placement: Placement;
  readonly #say: (message: ServerMessage) => void;
  readonly #unwatch: () => void;
  /** Waits until its service is here. */
  #waiting: { readonly key: ServiceKey; readonly found: () => void } | null = null;
  #kept: Kept[] = [];
  #keptBytes = 0;
  /** What the client knows of the members; null: it was not welcomed yet. */
  #urls: string | null = null;

  /** @param say tells the client, at once */
  constructor(placement: Placement, say: (message: ServerMessage) => void) {
    this.#placement = placement;
    this.#say = say;
    this.#unwatch = placement.watch(() => this.#changed());
  }

  /** Nothing that the client says is taken yet. */
  get isWaiting(): boolean {
    return this.#waiting !== null;
  }

  /** Calls once the service is served here: now, or later. One that is elsewhere has moved. */
  find(key: ServiceKey, found: () => void): void {
    const place = this.#placement.placeOf(key);
    const hasWaited = this.#waiting !== null;
    this.#waiting = place === "nowhere" ? { key, found } : null;
    // It hears that somebody is there, and whom else to ask: it goes on for as long as its callers wait.
    if (place === "nowhere" && !hasWaited) this.#say(["members", this.#placement.memberUrls]);
    if (place === "here") found();
    else if (place !== "nowhere") this.#say(movedTo(place, this.#placement));
  }

  /** Leads to this very member, on another connection. */
  toHere(): Ending {
    return movedTo({ url: this.#placement.url }, this.#placement);
  }

  /** Keeps what comes meanwhile. False: that is too much. */
  keep(kept: Kept, bytes: number): boolean {
    this.#keptBytes += bytes;
    if (this.#keptBytes > KEPT_BYTES_MAX) return false;
    this.#kept.push(kept);
    return true;
  }

  /** What came meanwhile, in order. */
  takeKept(): readonly Kept[] {
    const kept = this.#kept;
    this.#kept = [];
    return kept;
  }

  /** Its session is open: from now on the client knows who the members are. @param say in the frame of its welcome: what else is told then stays together */
  welcomed(say: (message: ServerMessage) => void): void {
    this.#tellMembers(say);
  }

  /** The connection is over. */
  close(): void {
    this.#unwatch();
    this.#waiting = null;
    this.#kept = [];
  }

  #changed(): void {
    if (this.#waiting !== null) this.find(this.#waiting.key, this.#waiting.found);
    else if (this.#urls !== null) this.#tellMembers(this.#say);
  }

  #tellMembers(say: (message: ServerMessage) => void): void {
    const { memberUrls } = this.#placement;
    const urls = memberUrls.join();
    if (urls === this.#urls) return;
    this.#urls = urls;
    say(["members", memberUrls]);
  }
}
