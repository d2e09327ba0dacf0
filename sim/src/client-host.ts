import { ClientSession } from "../../packages/lockdb/dist/client/session.js";
import type { ErrorCode } from "../../packages/lockdb/dist/protocol/index.js";
import type { Runtime, Socket, SocketHandlers } from "../../packages/lockdb/dist/runtime/runtime.js";
import { Clock } from "./clock.js";
import type { Network } from "./network.js";
import type { Plan } from "./plan.js";
import { Process } from "./process.js";
import type { World } from "./world.js";

const HANDSHAKE_MS = 5_000;
const START_MS_MAX = 500;

/** One client instance, from its making until it is closed or its process dies. */
export interface Life {
  readonly process: Process;
  readonly session: ClientSession;
  readonly service: string;
  /** Its name and the beginning of its sessions' ids. */
  readonly id: string;
  /** How many connections it has begun. */
  connects: number;
  /** When the newest of what it has heard of the server was sent. */
  heardMs: number;
  isClosed: boolean;
}

/** A client's machine: it runs one client instance after the other. */
export class ClientHost {
  readonly name: string;
  process: Process | null = null;
  life: Life | null = null;
  readonly #world: World;
  readonly #plan: Plan;
  readonly #network: Network;
  readonly #rate: number;
  readonly #work: (life: Life) => void;
  readonly #urls: () => readonly string[];
  #lives = 0;

  /**
   * @param work starts what this client's users do
   * @param urls what servers each of its instances is told of
   */
  constructor(
    world: World,
    plan: Plan,
    network: Network,
    name: string,
    work: (life: Life) => void,
    urls: () => readonly string[] = () => ["http://server"],
  ) {
    this.#world = world;
    this.#urls = urls;
    this.#plan = plan;
    this.#network = network;
    this.name = name;
    this.#rate = world.random.between(plan.rateMin, plan.rateMax);
    this.#work = work;
  }

  start(): void {
    if (this.process !== null) return;
    const { random, nowMs } = this.#world;
    const clock = new Clock(nowMs, this.#rate, random.between(0, 1e6), 1.7e12 + random.between(-1e9, 1e9));
    const process = new Process(this.#world, this.name, clock, this.#plan.clientPace);
    this.process = process;
    process.setTimer(() => this.#live(process), random.between(1, START_MS_MAX));
  }

  crash(silent: boolean): void {
    const { process } = this;
    if (process === null) return;
    this.#world.story.note(null, this.name, () => (silent ? "its machine dies" : "is killed"));
    process.kill();
    this.process = null;
    this.life = null;
    this.#network.died(process, silent);
  }

  /** Closes the client instance; a new one takes over in the same process. */
  close(): void {
    const { life } = this;
    if (life === null) return;
    this.life = null;
    this.#world.story.note(null, life.id, () => "is closed");
    const renewed = () => {
      if (this.process === life.process && this.life === null && !this.#world.calm) this.#live(life.process);
    };
    life.process.arrive(() => {
      life.isClosed = true;
      void life.session.close().then(renewed);
    });
  }

  #live(process: Process): void {
    const { random } = this.#world;
    const service = random.pick(this.#plan.services);
    const id = `${service}-${this.name}-${String(++this.#lives).padStart(4, "0")}`;
    const runtime = new ClientRuntime(process, this.#network, this.name, id, {
      connects: () => {
        if (this.life !== null) this.life.connects++;
      },
      hears: (sentMs) => {
        if (this.life !== null) this.life.heardMs = Math.max(this.life.heardMs, sentMs);
      },
    });
    const session = new ClientSession(runtime, {
      service,
      apiKey: "simulated",
      urls: this.#urls(),
      leaseMs: this.#plan.leaseMs,
      owner: id,
    });
    this.life = { process, session, service, id, connects: 0, heardMs: 0, isClosed: false };
    this.#work(this.life);
  }
}

/** What is noted of a client's connections. */
interface Notes {
  readonly connects: () => void;
  readonly hears: (sentMs: number) => void;
}

/** Work here says by itself which holds it is done inside of. */
const NO_CONTEXT = { current: () => undefined, run: <T>(_context: unknown, fn: () => T): T => fn() };

class ClientRuntime implements Runtime {
  readonly #process: Process;
  readonly #network: Network;
  readonly #host: string;
  readonly #id: string;
  readonly #notes: Notes;

  constructor(process: Process, network: Network, host: string, id: string, notes: Notes) {
    this.#process = process;
    this.#network = network;
    this.#host = host;
    this.#id = id;
    this.#notes = notes;
  }

  monotonicMs(): number {
    return this.#process.monotonicMs();
  }

  wallMs(): number {
    return this.#process.wallMs();
  }

  setTimer(callback: () => void, ms: number): { cancel(): void } {
    return { cancel: this.#process.setTimer(callback, ms) };
  }

  defer(callback: () => void): void {
    this.#process.defer(callback);
  }

  /** As late as it may be. */
  soon(callback: () => void): void {
    this.defer(callback);
  }

  /** Not random: the story names sessions by it. It differs for every client instance all the same. */
  randomId(): string {
    return this.#id;
  }

  random(): number {
    return this.#process.world.random.next();
  }

  readonly context = NO_CONTEXT;

  env(): undefined {
    return undefined;
  }

  ownerDefault(): string {
    return this.#id;
  }

  connect(url: string, _apiKey: string, handlers: SocketHandlers): Socket {
    const process = this.#process;
    this.#notes.connects();
    const wire = this.#network.connect(process, this.#host, "native", url);
    let state: "connecting" | "open" | "closing" | "closed" = "connecting";
    let code: ErrorCode | undefined;
    const closed = (message: string) => {
      if (state === "closed") return;
      if (state === "open") wire.up.send({ kind: "fin" }, process.localMs);
      state = "closed";
      cancelHandshake();
      handlers.close(code === undefined ? { message } : { message, code });
    };
    const cancelHandshake = process.setTimer(() => {
      if (state !== "connecting") return;
      wire.up.send({ kind: "fin" }, process.localMs);
      closed("the handshake took too long");
    }, HANDSHAKE_MS);
    wire.client.received = (item) => {
      if (item.kind === "open" && state === "connecting") {
        state = "open";
        cancelHandshake();
        handlers.open();
      } else if (item.kind === "refusal") {
        code = item.code ?? undefined;
      } else if (item.kind === "data" && state !== "closed") {
        // What still comes on a connection that the client has given up is not listened to (R3).
        if (state === "open") this.#notes.hears(item.sentMs ?? 0);
        handlers.message(item.text);
      }
    };
    wire.client.closed = () => closed("the connection was closed");
    return {
      send: (text) => {
        if (state !== "open") return;
        wire.said.push(text);
        wire.up.send({ kind: "data", text }, process.localMs);
      },
      close: () => {
        if (state !== "open" && state !== "connecting") return;
        wire.up.send({ kind: "fin" }, process.localMs);
        if (state === "connecting") closed("given up");
        else state = "closing";
      },
      keepAlive: () => {},
    };
  }
}
