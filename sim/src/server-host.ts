import type { Caller } from "../../packages/server/dist/loop/caller.js";
import type { ClientSocket, SocketListener } from "../../packages/server/dist/loop/client-socket.js";
import { Connection } from "../../packages/server/dist/loop/connection.js";
import { Loop } from "../../packages/server/dist/loop/loop.js";
import { Clock } from "./clock.js";
import type { Disk } from "./disk.js";
import type { EngineWatch } from "./engine-watch.js";
import { HttpCall } from "./http-call.js";
import type { Listener, Network, Purpose } from "./network.js";
import type { Plan } from "./plan.js";
import { Process } from "./process.js";
import type { Wire } from "./wire.js";
import type { World } from "./world.js";

export const LIMITS = { waitersMax: 1_000, holdsMax: 10_000, sessionsMax: 1_000 };
export const SERVICES_MAX = 10;

export const ACCOUNT = "default";
/** Somebody with the root key. */
const CALLER: Caller = {
  account: ACCOUNT,
  label: "root key",
  refusal: () => null,
  trialIsOver: false,
  take: () => true,
  borrow: () => true,
  mayBeRefused: () => true,
  watch: () => () => {},
};
const HELLO = /\["hello",\{"service":"(\w+)".*?"session":"([\w-]+)"/;

/** The server's machine: it starts, crashes, stops and starts again on one disk. */
export class ServerHost implements Listener {
  network!: Network;
  process: Process | null = null;
  /** How often a store was opened: what the engines of one life remember, those of the next may not. */
  life = 0;
  /** Between the request to stop and the end of the process. */
  stopping = false;
  readonly #world: World;
  readonly #plan: Plan;
  readonly #disk: Disk;
  readonly #watch: EngineWatch;
  readonly #rate: number;
  #loop: Loop | null = null;
  #listens = false;
  #startDue = false;

  constructor(world: World, plan: Plan, disk: Disk, watch: EngineWatch) {
    this.#world = world;
    this.#plan = plan;
    this.#disk = disk;
    this.#watch = watch;
    this.#rate = world.random.between(plan.rateMin, plan.rateMax);
  }

  get listening(): Process | null {
    return this.#listens ? this.process : null;
  }

  start(): void {
    this.#startDue = false;
    if (this.process !== null) return;
    const world = this.#world;
    const clock = new Clock(world.nowMs, this.#rate, world.random.between(0, 1e6), 1.7e12 + world.nowMs);
    const process = new Process(world, "server", clock, this.#plan.serverPace);
    this.process = process;
    const { durability } = this.#plan;
    const isStrict = durability === "strict" || (durability === "mixed" && world.random.chance(0.5));
    world.story.note(null, "server", () => `starts${isStrict ? ", strict" : ""}`);
    process.arrive(() => {
      Loop.start({
        openStore: () => {
          this.life++;
          return this.#disk.open(process);
        },
        service: { ...LIMITS, writesSessionHolds: isStrict },
        servicesMax: SERVICES_MAX,
        runtime: {
          monotonicMs: () => process.monotonicMs(),
          wallMs: () => process.wallMs(),
          randomId: () => `life-${this.life}`,
          defer: (run) => process.defer(run),
          setTimer: (run, ms) => process.setTimer(run, ms),
        },
        log: { warn: () => {}, error: () => {} },
      }).then(
        (loop) => {
          if (this.process !== process) return;
          this.#loop = loop;
          this.#listens = true;
          world.story.note(null, "server", () => "listens");
        },
        () => {
          // The disk did not work at the start: a supervisor tries again.
          if (this.process === process) this.crash(false);
          this.startAfter(100);
        },
      );
    });
  }

  startAfter(ms: number): void {
    if (this.#startDue) return;
    this.#startDue = true;
    this.#world.after(ms, () => this.start());
  }

  /** Whatever is due later. */
  startSoon(): void {
    this.#world.after(1, () => this.start());
  }

  crash(silent: boolean): void {
    const { process } = this;
    if (process === null) return;
    this.#world.story.note(null, "server", () => (silent ? "its machine dies" : "is killed"));
    this.#gone(process, silent);
  }

  /** Stops as on SIGTERM; whoever sent it starts it again. */
  stop(restartAfterMs: number): void {
    const [process, loop] = [this.process, this.#loop];
    if (process === null || loop === null) return;
    this.#loop = null;
    this.stopping = true;
    this.#world.story.note(null, "server", () => "is asked to stop");
    const over = () => {
      if (this.process !== process) return;
      this.#world.story.note(null, "server", () => "has stopped");
      this.#gone(process, false);
      this.startAfter(restartAfterMs);
    };
    process.arrive(() => void loop.stop().then(over, over));
  }

  accept(wire: Wire, purpose: Purpose): void {
    accepted(wire, purpose, this.process!, this.#loop, this.#watch);
  }

  #gone(process: Process, silent: boolean): void {
    process.kill();
    this.stopping = false;
    this.process = null;
    this.#loop = null;
    this.#listens = false;
    this.#disk.crashed();
    this.network.died(process, silent);
  }
}

/** What a server makes of a connection. One without a loop that works refuses it. */
export function accepted(
  wire: Wire,
  purpose: Purpose,
  process: Process,
  loop: Loop | null,
  listening: Listening,
): void {
  if (loop === null || !loop.ready) {
    wire.down.send({ kind: "refusal", code: "UNAVAILABLE" }, process.localMs);
    wire.down.send({ kind: "fin" }, process.localMs);
    return;
  }
  wire.down.send({ kind: "open" }, process.localMs);
  if (purpose === "http") new HttpCall(wire, process, loop, ACCOUNT, listening);
  else new Connection(new ServerSocket(wire, process, listening), loop, CALLER);
}

/** Told of each frame that leaves a server. */
export type Listening = Pick<EngineWatch, "audible">;

/** The server's side of a WebSocket: once it is closed nothing is said or heard on it. */
class ServerSocket implements ClientSocket {
  readonly bufferedAmount = 0;
  readonly #wire: Wire;
  readonly #process: Process;
  readonly #watch: Listening;
  #service = "";
  #session = "";
  #isClosed = false;
  #listener: SocketListener | null = null;

  constructor(wire: Wire, process: Process, watch: Listening) {
    this.#wire = wire;
    this.#process = process;
    this.#watch = watch;
  }

  listen(listener: SocketListener): void {
    this.#listener = listener;
    this.#wire.server.received = (item) => {
      if (item.kind !== "data" || this.#isClosed) return;
      const hello = HELLO.exec(item.text);
      if (hello !== null) [, this.#service, this.#session] = hello as unknown as [string, string, string];
      listener.message(item.text, Buffer.byteLength(item.text));
    };
    this.#wire.server.closed = () => this.close();
  }

  send(text: string): void {
    if (this.#isClosed) return;
    const { localMs } = this.#process;
    this.#watch.audible(this.#service, this.#session, text, localMs);
    this.#wire.down.send({ kind: "data", text, sentMs: localMs }, localMs);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#wire.down.send({ kind: "fin" }, this.#process.localMs);
    this.#listener?.closed();
  }

  terminate(): void {
    this.close();
  }
}
