import type { ErrorCode } from "../../packages/lockdb/dist/protocol/index.js";
import type { Process } from "./process.js";
import type { Scheduled, World } from "./world.js";

/** What travels on a wire. `fin` is the last of its direction. */
export type Item =
  | { readonly kind: "syn" }
  | { readonly kind: "open" }
  | { readonly kind: "refusal"; readonly code: ErrorCode | null }
  | { readonly kind: "data"; readonly text: string; readonly sentMs?: number }
  | { readonly kind: "fin" };

interface Flying {
  readonly item: Item;
  readonly departsMs: number;
  readonly arrivesMs: number;
}

/** One end of a connection, as the program at that end sees it. */
export interface End {
  process: Process | null;
  received: (item: Item) => void;
  /** The connection is no more: closed by the other side, or reset. Once. */
  closed: () => void;
}

export type Direction = "up" | "down";

/** One direction of a TCP connection: what was sent arrives in order, or a suffix of it never arrives. */
export class Pipe {
  readonly #world: World;
  readonly #end: End;
  readonly #latencyMs: () => number;
  #flying: Flying[] = [];
  #lastMs = 0;
  #stalledUntilMs = 0;
  #pump: Scheduled | null = null;
  #broken = false;
  #ended = false;

  constructor(world: World, end: End, latencyMs: () => number) {
    this.#world = world;
    this.#end = end;
    this.#latencyMs = latencyMs;
  }

  send(item: Item, departsMs: number): void {
    if (this.#broken) return;
    this.#lastMs = Math.max(this.#lastMs, departsMs + this.#latencyMs());
    this.#flying.push({ item, departsMs, arrivesMs: this.#lastMs });
    if (item.kind === "fin") this.#broken = true;
    this.#schedule();
  }

  /** Nothing arrives until then; nothing is lost. */
  stall(untilMs: number): void {
    this.#stalledUntilMs = Math.max(this.#stalledUntilMs, untilMs);
  }

  flow(): void {
    this.#stalledUntilMs = 0;
    this.#schedule();
  }

  /** Loses all in flight but the first few, and everything that is sent from now on. */
  cut(keep: number): void {
    this.#flying.length = Math.min(keep, this.#flying.length);
    this.#broken = true;
  }

  get flyingCount(): number {
    return this.#flying.length;
  }

  /** The sender died: what had not left its machine never does. */
  senderDied(diedMs: number): void {
    this.#flying = this.#flying.filter(({ departsMs }) => departsMs <= diedMs);
    this.#broken = true;
  }

  /** Tells the end, after all that is still to arrive, that there will be no more. */
  endAfter(ms: number): void {
    this.#lastMs = Math.max(this.#lastMs, this.#world.nowMs + ms);
    this.#flying.push({ item: { kind: "fin" }, departsMs: this.#world.nowMs, arrivesMs: this.#lastMs });
    this.#broken = true;
    this.#schedule();
  }

  get ended(): boolean {
    return this.#ended;
  }

  #schedule(): void {
    const first = this.#flying[0];
    if (first === undefined) return;
    if (this.#pump !== null) this.#pump.cancelled = true;
    const dueMs = Math.max(first.arrivesMs, this.#stalledUntilMs);
    if (dueMs === Number.POSITIVE_INFINITY) return;
    this.#pump = this.#world.at(dueMs, () => {
      this.#pump = null;
      this.#arrive();
    });
  }

  #arrive(): void {
    const { nowMs } = this.#world;
    while (this.#flying.length > 0 && this.#stalledUntilMs <= nowMs && this.#flying[0]!.arrivesMs <= nowMs) {
      this.#deliver(this.#flying.shift()!.item);
    }
    this.#schedule();
  }

  #deliver(item: Item): void {
    if (this.#ended) return;
    const end = this.#end;
    if (item.kind === "syn") return end.received(item);
    if (item.kind !== "fin") return end.process?.arrive(() => end.received(item));
    this.#ended = true;
    end.process?.arrive(() => end.closed());
  }
}

const NOTHING = () => {};

/** A connection between a client and a server. */
export class Wire {
  readonly client: End = { process: null, received: NOTHING, closed: NOTHING };
  readonly server: End = { process: null, received: NOTHING, closed: NOTHING };
  /** The frames of a native client, in order. */
  readonly said: string[] = [];
  /** From the client to the server. */
  readonly up: Pipe;
  readonly down: Pipe;
  readonly #world: World;

  constructor(world: World, latencyMs: (direction: Direction) => number) {
    this.#world = world;
    this.up = new Pipe(world, this.server, () => latencyMs("up"));
    this.down = new Pipe(world, this.client, () => latencyMs("down"));
  }

  get over(): boolean {
    return this.up.ended && this.down.ended;
  }

  /** The network drops the connection. Each side may learn of it soon, late, or never by itself. */
  cut(noticeMs: () => number): void {
    const { random } = this.#world;
    for (const pipe of [this.up, this.down]) {
      pipe.cut(random.int(pipe.flyingCount + 1));
      const ms = noticeMs();
      if (ms !== Number.POSITIVE_INFINITY) pipe.endAfter(ms);
    }
  }

  /** A process died. `silent`: with its whole machine, so that nobody tells the other side. */
  died(side: "client" | "server", silent: boolean): void {
    const [from, other] = side === "client" ? [this.up, this.down] : [this.down, this.up];
    from.senderDied(this.#world.nowMs);
    other.cut(other.flyingCount);
    if (!silent) from.endAfter(0);
  }

  /**
   * The server is told that a dead connection is dead. A client that lives has to find out by itself, from silence: TCP's
   * own timers take a quarter of an hour.
   */
  reap(): void {
    if (!this.up.ended) this.up.endAfter(0);
  }
}
