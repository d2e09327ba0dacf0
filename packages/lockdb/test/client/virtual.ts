import { setImmediate as nextTurn } from "node:timers/promises";
import type { Runtime, Socket, SocketClosed, SocketHandlers, Timer } from "../../src/runtime/runtime.js";

/** Timers whose clock is this close to their time are due: clocks of other rates do not divide evenly. */
const CLOSE_ENOUGH_MS = 1e-6;

/** A connection that is not open after this time is given up, as by the real runtime. */
const HANDSHAKE_MS = 5_000;

interface Happening {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

/** What accepts connections at an address. */
export interface Endpoint {
  /** Handlers for an accepted connection, a refusal, or null: nobody answers. */
  accept(line: Line): ServerEnd | { readonly refusal: SocketClosed } | null;
}

export interface ServerEnd {
  message(text: string): void;
  close(): void;
}

/** Machines, and the network between them, in a time of their own. One seed gives one course of things. */
export class World {
  nowMs = 0;
  readonly random: () => number;
  readonly endpoints = new Map<string, Endpoint>();
  /** Every connection that was ever begun. */
  readonly lines: Line[] = [];
  /** How long one message is on its way. */
  latencyMs: () => number = () => 1;
  /** Looks at the world after everything that happens in it. */
  watch: () => void = () => {};
  readonly #heap: Happening[] = [];
  #orderNext = 0;

  constructor(seed = 1) {
    this.random = randomOf(seed);
  }

  after(ms: number, run: () => void): void {
    const heap = this.#heap;
    heap.push({ atMs: this.nowMs + Math.max(0, ms), order: this.#orderNext++, run });
    for (let at = heap.length - 1; at > 0; ) {
      const parentAt = (at - 1) >> 1;
      if (!isBefore(heap[at]!, heap[parentAt]!)) break;
      [heap[at], heap[parentAt]] = [heap[parentAt]!, heap[at]!];
      at = parentAt;
    }
  }

  /** Plays what happens in this time. */
  async run(ms: number): Promise<void> {
    const endMs = this.nowMs + ms;
    await nextTurn();
    while (await this.#step(endMs));
    this.nowMs = endMs;
  }

  /** Plays on until it is so. @throws Error when it is not in time */
  async until(isSo: () => boolean, withinMs = 60_000): Promise<void> {
    const endMs = this.nowMs + withinMs;
    await nextTurn();
    while (!isSo()) {
      if (!(await this.#step(endMs))) throw new Error(`It did not come to be within ${withinMs} ms: ${isSo}`);
    }
  }

  /** Plays on until a promise is settled. */
  async settled<T>(promise: Promise<T>, withinMs?: number): Promise<T> {
    const outcome = outcomeOf(promise);
    await this.until(() => outcome.state !== "pending", withinMs);
    return promise;
  }

  async #step(endMs: number): Promise<boolean> {
    const first = this.#heap[0];
    if (first === undefined || first.atMs > endMs) return false;
    this.#takeFirst();
    this.nowMs = Math.max(this.nowMs, first.atMs);
    first.run();
    await nextTurn();
    this.watch();
    return true;
  }

  #takeFirst(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    heap[0] = last;
    for (let at = 0; ; ) {
      let leastAt = at;
      for (const childAt of [at * 2 + 1, at * 2 + 2]) {
        if (childAt < heap.length && isBefore(heap[childAt]!, heap[leastAt]!)) leastAt = childAt;
      }
      if (leastAt === at) return;
      [heap[at], heap[leastAt]] = [heap[leastAt]!, heap[at]!];
      at = leastAt;
    }
  }
}

/** A computer with one process: two clocks that can be set apart, and an event loop that can stand still. */
export class Machine {
  readonly world: World;
  readonly name: string;
  /** How fast its clocks run. */
  readonly rate: number;
  #isCutOff = false;
  #state: "running" | "blocked" | "suspended" = "running";
  #monotonicMs = 5_000;
  #wallMs = Date.UTC(2026, 0, 1);
  #readAtMs: number;
  #waiting: (() => void)[] = [];
  readonly #timers = new Set<VirtualTimer>();

  constructor(world: World, name: string, rate = 1) {
    this.world = world;
    this.name = name;
    this.rate = rate;
    this.#readAtMs = world.nowMs;
  }

  get monotonicMs(): number {
    this.#advance();
    return this.#monotonicMs;
  }

  get wallMs(): number {
    this.#advance();
    return this.#wallMs;
  }

  get isRunning(): boolean {
    return this.#state === "running";
  }

  get timerCount(): number {
    return this.#timers.size;
  }

  /** True while a timer is set that keeps the process alive. */
  get isKeptAliveByTimers(): boolean {
    return [...this.#timers].some((timer) => timer.keepsAlive);
  }

  get isCutOff(): boolean {
    return this.#isCutOff;
  }

  /** Its network is gone, and nobody is told. What was under way is lost for ever, what is tried now gets no answer. */
  cutOff(): void {
    this.#isCutOff = true;
    for (const line of this.world.lines) if (line.machine === this) line.lose();
  }

  /** The network is back, for new connections. */
  reachable(): void {
    this.#isCutOff = false;
  }

  jumpWall(ms: number): void {
    this.#advance();
    this.#wallMs += ms;
  }

  /** Its event loop stands still; the clocks run on. */
  block(): void {
    this.#advance();
    this.#state = "blocked";
  }

  /** It stands still, and its monotonic clock with it. */
  suspend(): void {
    this.#advance();
    this.#state = "suspended";
  }

  /** It goes on with what has come meanwhile: timers first, as Node.js does, or what came first first. */
  wake(timersFirst = true): void {
    this.#advance();
    this.#state = "running";
    const waiting = this.#waiting;
    this.#waiting = [];
    const due = timersFirst ? [...this.#timers].filter((timer) => this.#isDue(timer)) : [];
    for (const timer of due) this.world.after(0, () => this.#ring(timer));
    for (const run of waiting) this.world.after(0, () => this.run(run));
  }

  /** Runs it now, or when the process can. */
  run(callback: () => void): void {
    if (this.isRunning) callback();
    else this.#waiting.push(callback);
  }

  setTimer(callback: () => void, ms: number, keepsAlive: boolean): Timer {
    const timer = { callback, dueMs: this.monotonicMs + Math.max(0, ms), keepsAlive };
    this.#timers.add(timer);
    this.#arm(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }

  #advance(): void {
    const passedMs = (this.world.nowMs - this.#readAtMs) * this.rate;
    this.#readAtMs = this.world.nowMs;
    this.#wallMs += passedMs;
    if (this.#state !== "suspended") this.#monotonicMs += passedMs;
  }

  #arm(timer: VirtualTimer): void {
    this.world.after((timer.dueMs - this.monotonicMs) / this.rate, () => this.#ring(timer));
  }

  #ring(timer: VirtualTimer): void {
    if (!this.#timers.has(timer)) return;
    if (!this.isRunning) return void this.#waiting.push(() => this.#ring(timer));
    // The monotonic clock stood still for a while.
    if (!this.#isDue(timer)) return this.#arm(timer);
    this.#timers.delete(timer);
    timer.callback();
  }

  #isDue(timer: VirtualTimer): boolean {
    return this.monotonicMs >= timer.dueMs - CLOSE_ENOUGH_MS;
  }
}

interface VirtualTimer {
  readonly callback: () => void;
  readonly dueMs: number;
  readonly keepsAlive: boolean;
}

/** What the client takes a machine for. */
export class VirtualRuntime implements Runtime {
  readonly machine: Machine;
  readonly context = { current: () => undefined, run: <T>(_context: unknown, fn: () => T) => fn() };
  #ids = 0;

  constructor(machine: Machine) {
    this.machine = machine;
  }

  /** Whether something here keeps the process from ending. */
  get isKeptAlive(): boolean {
    const { world } = this.machine;
    const byLine = world.lines.some((line) => line.machine === this.machine && line.keepsAlive && line.isUp);
    return byLine || this.machine.isKeptAliveByTimers;
  }

  monotonicMs(): number {
    return this.machine.monotonicMs;
  }

  wallMs(): number {
    return this.machine.wallMs;
  }

  setTimer(callback: () => void, ms: number, keepsAlive: boolean): Timer {
    return this.machine.setTimer(callback, ms, keepsAlive);
  }

  defer(callback: () => void): void {
    this.machine.world.after(0, () => this.machine.run(callback));
  }

  /** As late as it may be. */
  soon(callback: () => void): void {
    this.defer(callback);
  }

  randomId(): string {
    return `client-${this.machine.name}-${++this.#ids}`;
  }

  random(): number {
    return this.machine.world.random();
  }

  env(): undefined {
    return undefined;
  }

  ownerDefault(): string {
    return this.machine.name;
  }

  connect(url: string, apiKey: string, handlers: SocketHandlers): Socket {
    return new Line(this.machine, url, apiKey, handlers);
  }
}

/** One connection. Each way is in order; a lost or cut one loses what is under way. */
export class Line implements Socket {
  readonly machine: Machine;
  readonly url: string;
  readonly apiKey: string;
  /** What the client has sent, frame by frame. */
  readonly sent: string[] = [];
  /** What goes this way is lost, and nobody notices: a half-open connection. */
  losesToServer = false;
  losesToClient = false;
  keepsAlive = true;
  readonly #handlers: SocketHandlers;
  #end: ServerEnd | null = null;
  #state: "opening" | "open" | "closing" | "closed" = "opening";
  readonly #lastAtMs = { client: 0, server: 0 };

  constructor(machine: Machine, url: string, apiKey: string, handlers: SocketHandlers) {
    this.machine = machine;
    this.url = url;
    this.apiKey = apiKey;
    this.#handlers = handlers;
    machine.world.lines.push(this);
    if (machine.isCutOff) this.lose();
    machine.setTimer(() => this.#tooLate(), HANDSHAKE_MS, false);
    this.#toServer(() => this.#arrive());
  }

  /** Open or opening, as far as the client knows. */
  get isUp(): boolean {
    return this.#state === "opening" || this.#state === "open";
  }

  // --- the client's side ---

  send(text: string): void {
    if (this.#state !== "open") return;
    this.sent.push(text);
    this.#toServer(() => this.#end?.message(text));
  }

  /** What is still under way to the client arrives, as with a real WebSocket that is closing. */
  close(): void {
    if (!this.isUp) return;
    this.#state = "closing";
    this.#toServer(() => {
      this.#closeEnd();
      this.#toClient(() => this.#closed({ message: "closed with 1005" }));
    });
  }

  keepAlive(on: boolean): void {
    this.keepsAlive = on;
  }

  // --- the server's side ---

  say(text: string): void {
    this.#toClient(() => {
      if (this.#state !== "closed") this.#handlers.message(text);
    });
  }

  hangUp(reason: SocketClosed = { message: "closed with 1001" }): void {
    this.#end = null;
    this.#toClient(() => this.#closed(reason));
  }

  // --- the network ---

  /** It breaks: both sides notice, and what was under way is lost. */
  cut(): void {
    this.losesToClient = true;
    this.losesToServer = true;
    this.machine.run(() => this.#closed({ message: "read ECONNRESET" }));
    this.#closeEnd();
  }

  /** From now on everything is lost, and nobody notices. */
  lose(): void {
    this.losesToClient = true;
    this.losesToServer = true;
  }

  #arrive(): void {
    const address = this.url.replace(/^ws/, "http").replace(/\/v1\/connect$/, "");
    const endpoint = this.machine.world.endpoints.get(address);
    if (endpoint === undefined) return this.hangUp({ message: `connect ECONNREFUSED (${this.url})` });
    const end = endpoint.accept(this);
    if (end === null) return;
    if ("refusal" in end) return this.hangUp(end.refusal);
    this.#end = end;
    this.#toClient(() => {
      if (this.#state !== "opening") return;
      this.#state = "open";
      this.#handlers.open();
    });
  }

  #tooLate(): void {
    if (this.#state === "opening") this.#closed({ message: `Opening handshake has timed out (${this.url})` });
  }

  #closed(reason: SocketClosed): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#handlers.close(reason);
  }

  #closeEnd(): void {
    const end = this.#end;
    this.#end = null;
    end?.close();
  }

  #toServer(arrive: () => void): void {
    this.#carry("server", () => {
      if (!this.losesToServer) arrive();
    });
  }

  #toClient(arrive: () => void): void {
    this.#carry("client", () => {
      if (!this.losesToClient) this.machine.run(arrive);
    });
  }

  #carry(way: "client" | "server", arrive: () => void): void {
    const { world } = this.machine;
    const atMs = Math.max(this.#lastAtMs[way], world.nowMs + world.latencyMs());
    this.#lastAtMs[way] = atMs;
    world.after(atMs - world.nowMs, arrive);
  }
}

export interface Outcome<T> {
  state: "pending" | "resolved" | "rejected";
  value?: T;
  error?: unknown;
}

/** How a promise stands; it may be rejected without anyone minding. */
export function outcomeOf<T>(promise: Promise<T>): Outcome<T> {
  const outcome: Outcome<T> = { state: "pending" };
  promise.then(
    (value) => Object.assign(outcome, { state: "resolved", value }),
    (error: unknown) => Object.assign(outcome, { state: "rejected", error }),
  );
  return outcome;
}

/** Numbers from 0 to 1 that only depend on the seed (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}

function isBefore(a: Happening, b: Happening): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
