import type { ClientMessage, ServerMessage, WatchStart } from "../protocol/index.js";
import { errorOf, type LockDBError } from "./errors.js";
import type { FinalAnswer } from "./request.js";
import { Watch } from "./watch.js";

/** What watches need from the session whose connections they use. */
export interface WatchesHost {
  /** Says something, if there is a connection; the next one begins with all watches. False: there is none. */
  say(message: ClientMessage): boolean;
  /** Somebody reads, or does not any more: a process is kept alive for that. */
  changed(): void;
}

/** All watches of a client, by the ids of their requests: each new connection begins with them. */
export class Watches {
  readonly #host: WatchesHost;
  readonly #byId = new Map<number, Watch>();

  constructor(host: WatchesHost) {
    this.#host = host;
  }

  get size(): number {
    return this.#byId.size;
  }

  /** Somebody waits for an event. */
  get areRead(): boolean {
    if (this.#byId.size === 0) return false;
    for (const watch of this.#byId.values()) if (watch.isRead) return true;
    return false;
  }

  add(id: number, query: { readonly prefix?: string }): Watch {
    const watch = new Watch(query, {
      changed: () => this.#host.changed(),
      ended: () => {
        if (this.#byId.delete(id)) this.#host.say(["unwatch", id]);
      },
    });
    this.#byId.set(id, watch);
    if (this.#host.say(["watch", id, watch.query])) watch.asked();
    return watch;
  }

  /** What a new connection says. */
  again(): readonly ClientMessage[] {
    return [...this.#byId].map(([id, watch]) => {
      watch.asked();
      return ["watch", id, watch.query];
    });
  }

  /** False when the answer is not that of a watch. */
  answered([kind, id, value, text, details]: FinalAnswer): boolean {
    const watch = this.#byId.get(id);
    if (watch === undefined) return false;
    if (kind === "done") watch.started(value as WatchStart);
    // The connection will end, and the next one begins with this watch.
    else if (kind === "refused" && value !== "UNAVAILABLE") {
      this.#byId.delete(id);
      watch.end(errorOf(value, text as string, details ?? {}));
    }
    return true;
  }

  heard(event: Extract<ServerMessage, readonly ["event", ...unknown[]]>): void {
    this.#byId.get(event[1])?.heard(event);
  }

  leftOut(id: number, position: string): void {
    this.#byId.get(id)?.leftOut(position);
  }

  failAll(error: LockDBError): void {
    for (const [id, watch] of this.#byId) {
      this.#byId.delete(id);
      watch.end(error);
    }
  }

  endAll(): void {
    for (const watch of this.#byId.values()) watch.end(null);
    this.#byId.clear();
  }
}
