import type { NetworkPlan } from "./plan.js";
import type { Process } from "./process.js";
import { type Direction, Wire } from "./wire.js";
import type { World } from "./world.js";

/** Where a connection arrives. */
export interface Listener {
  /** The process that listens there now, or null. */
  readonly listening: Process | null;
  /** Rises when what is remembered there may be less than before. */
  readonly life: number;
  accept(wire: Wire, purpose: Purpose): void;
}

/** What a connection was made for: the native protocol, or one HTTP call. */
export type Purpose = "native" | "http";

/** All connections, and what can happen to them. */
export class Network {
  readonly #world: World;
  readonly #plan: NetworkPlan;
  readonly #listenerAt: (url: string | null) => Listener;
  readonly #listeners = new WeakMap<Wire, Listener>();
  /** Until when nothing passes to and from one of several listeners. */
  readonly #cutOff = new Map<Listener, Record<Direction, number>>();
  readonly #wires = new Set<Wire>();
  readonly #hosts = new WeakMap<Wire, string>();
  readonly #broken = new WeakSet<Wire>();
  readonly #http = new WeakSet<Wire>();
  readonly #lives = new WeakMap<Wire, number>();
  /** Until when nothing passes, by client and direction. */
  readonly #silence = new Map<string, Record<Direction, number>>();
  #calm = false;

  /** @param listener the only one, or who listens at an address; null: anybody */
  constructor(world: World, plan: NetworkPlan, listener: Listener | ((url: string | null) => Listener)) {
    this.#world = world;
    this.#plan = plan;
    this.#listenerAt = typeof listener === "function" ? listener : () => listener;
  }

  /** Begins to connect. The client's end hears `open`, a refusal, or nothing. */
  connect(client: Process, host: string, purpose: Purpose, url: string | null = null): Wire {
    const wire = new Wire(this.#world, () => this.#latencyMs());
    wire.client.process = client;
    const listener = this.#listenerAt(url);
    this.#listeners.set(wire, listener);
    for (const silence of [this.#silence.get(host), this.#cutOff.get(listener)]) {
      wire.up.stall(silence?.up ?? 0);
      wire.down.stall(silence?.down ?? 0);
    }
    this.#wires.add(wire);
    this.#hosts.set(wire, host);
    if (purpose === "http") this.#http.add(wire);
    else this.#mayCutFresh(wire);
    wire.server.received = () => this.#arrived(wire, purpose);
    wire.up.send({ kind: "syn" }, client.localMs);
    return wire;
  }

  #arrived(wire: Wire, purpose: Purpose): void {
    const listener = this.#listeners.get(wire)!;
    const process = listener.listening;
    if (process === null) {
      wire.down.send({ kind: "refusal", code: null }, this.#world.nowMs);
      wire.down.send({ kind: "fin" }, this.#world.nowMs);
      wire.up.endAfter(0);
      return;
    }
    wire.server.process = process;
    this.#lives.set(wire, listener.life);
    process.arrive(() => listener.accept(wire, purpose));
  }

  /** One client's traffic stands still in one direction or both, then goes on: late, in order. */
  silence(host: string, up: boolean, down: boolean, ms: number): void {
    const untilMs = this.#world.nowMs + ms;
    const silence = this.#silence.get(host) ?? { up: 0, down: 0 };
    if (up) silence.up = Math.max(silence.up, untilMs);
    if (down) silence.down = Math.max(silence.down, untilMs);
    this.#silence.set(host, silence);
    for (const wire of this.#open()) {
      if (this.#hosts.get(wire) !== host) continue;
      if (up) wire.up.stall(untilMs);
      if (down) wire.down.stall(untilMs);
    }
  }

  /** Nothing passes between one of several listeners and all clients for a while, then all of it: late, in order. */
  cutOff(listener: Listener, up: boolean, down: boolean, ms: number): void {
    const untilMs = this.#world.nowMs + ms;
    const silence = this.#cutOff.get(listener) ?? { up: 0, down: 0 };
    if (up) silence.up = Math.max(silence.up, untilMs);
    if (down) silence.down = Math.max(silence.down, untilMs);
    this.#cutOff.set(listener, silence);
    for (const wire of this.#open()) {
      if (this.#listeners.get(wire) !== listener) continue;
      if (up) wire.up.stall(untilMs);
      if (down) wire.down.stall(untilMs);
    }
  }

  /** One connection stands still, so that its bytes arrive when a newer one is long open. */
  stallOne(direction: Direction, ms: number): string | null {
    const wire = this.#any();
    if (wire === null) return null;
    wire[direction].stall(this.#world.nowMs + ms);
    return this.#hosts.get(wire)!;
  }

  /** Not one of HTTP: whether its caller had read the answer could not be told afterwards, by the server or by us. */
  cutOne(): string | null {
    const wire = this.#any();
    if (wire === null || this.#http.has(wire)) return null;
    this.#cut(wire);
    return this.#hosts.get(wire)!;
  }

  /**
   * What a client has said on one connection arrives a second time, on a connection of its own, and nobody reads what
   * comes of it. In the same life of the server: no network brings what one process was sent to another.
   */
  replayOne(): string | null {
    // A copy comes after the original.
    const hasArrived = (wire: Wire) => {
      const listener = this.#listeners.get(wire)!;
      const isSame = listener.listening !== null && this.#lives.get(wire) === listener.life;
      return isSame && wire.said.length > 0 && wire.up.flyingCount === 0;
    };
    const said = [...this.#wires].filter(hasArrived);
    if (said.length === 0) return null;
    const wire = this.#world.random.pick(said);
    const listener = this.#listeners.get(wire)!;
    const process = listener.listening!;
    const texts = wire.said.slice(0, 1 + this.#world.random.int(wire.said.length));
    const again = new Wire(this.#world, () => this.#latencyMs());
    again.server.process = process;
    // A whole connection, as far as the server can see.
    process.arrive(() => {
      listener.accept(again, "native");
      for (const text of texts) again.up.send({ kind: "data", text }, this.#world.nowMs);
      again.up.endAfter(this.#world.random.span(1, 1_000));
    });
    return this.#hosts.get(wire)!;
  }

  cutHost(host: string): void {
    for (const wire of this.#open())
      if (this.#hosts.get(wire) === host && !this.#http.has(wire)) this.#cut(wire);
  }

  #mayCutFresh(wire: Wire): void {
    const { random } = this.#world;
    const { freshCutChance, latencyMsMax } = this.#plan;
    if (this.#calm || !random.chance(freshCutChance)) return;
    this.#world.after(random.between(0, 5 * latencyMsMax), () => {
      if (!this.#calm && !wire.over) this.#cut(wire);
    });
  }

  #cut(wire: Wire): void {
    this.#broken.add(wire);
    wire.cut(() => this.#noticeMs());
  }

  /** @param silent with the whole machine, so that nobody tells the other side */
  died(process: Process, silent: boolean): void {
    for (const wire of this.#wires) {
      if (wire.client.process === process) wire.died("client", silent);
      if (wire.server.process === process) wire.died("server", silent);
    }
  }

  /** From now on everything arrives, soon; and whoever waits on a dead connection is told. */
  heal(): void {
    this.#calm = true;
    this.#silence.clear();
    this.#cutOff.clear();
    for (const wire of this.#wires) {
      wire.up.flow();
      wire.down.flow();
      const isDead =
        !wire.client.process!.alive || (wire.server.process !== null && !wire.server.process.alive);
      if (isDead || this.#broken.has(wire)) wire.reap();
    }
  }

  #any(): Wire | null {
    const open = this.#open();
    return open.length === 0 ? null : this.#world.random.pick(open);
  }

  #open(): Wire[] {
    const open: Wire[] = [];
    for (const wire of this.#wires) {
      if (wire.over) this.#wires.delete(wire);
      else open.push(wire);
    }
    return open;
  }

  #latencyMs(): number {
    const { random } = this.#world;
    const { latencyMsMin, latencyMsMax, spikeChance, spikeMsMax } = this.#plan;
    const ms = random.span(latencyMsMin, latencyMsMax);
    if (this.#calm || !random.chance(spikeChance)) return ms;
    return ms + random.span(1, spikeMsMax);
  }

  /** How long a side takes to notice that its connection is gone. */
  #noticeMs(): number {
    const { random } = this.#world;
    const { halfOpenChance, latencyMsMax } = this.#plan;
    if (this.#calm || !random.chance(halfOpenChance)) return random.between(0, latencyMsMax);
    return random.chance(0.5) ? Number.POSITIVE_INFINITY : random.span(10, 30_000);
  }
}
