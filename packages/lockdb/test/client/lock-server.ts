import {
  Connection,
  Loop,
  type LoopRuntime,
  ServiceKey,
  type SocketListener,
} from "../../../server/src/loop/index.js";
import { type Change, openMemoryStore, type Store } from "../../../server/src/store/index.js";
import { ROOT_CALLER } from "../../../server/test/root-caller.js";
import type { SocketClosed } from "../../src/runtime/runtime.js";
import { type Endpoint, type Line, Machine, type ServerEnd, type World } from "./virtual.js";

const LIMITS = { waitersMax: 1_000, holdsMax: 1_000, sessionsMax: 1_000 };

/** The server's own loop, engine and connections on a machine of the world. Its store outlives its crashes. */
export class LockServer implements Endpoint {
  readonly machine: Machine;
  /** How long a commit takes to be flushed. */
  commitMs: () => number = () => 0;
  readonly #store = openMemoryStore();
  readonly #ends = new Set<Line>();
  #logs = 0;
  #process: { isAlive: boolean; loop: Loop | null } | null = null;
  #stopping: Promise<void> | null = null;

  constructor(world: World, name = "server", rate = 1) {
    this.machine = new Machine(world, name, rate);
  }

  /** It takes connections. */
  get isUp(): boolean {
    return this.#process?.loop?.ready === true;
  }

  /** Resolves when it is up, which may take time of the world. Does nothing when it runs already. */
  async start(): Promise<void> {
    // Never two on one store: the old process has to be gone.
    await this.#stopping;
    if (this.#process !== null) return;
    const process = { isAlive: true, loop: null as Loop | null };
    this.#process = process;
    process.loop = await Loop.start({
      openStore: async () => this.#storeOf(process),
      service: { ...LIMITS, writesSessionHolds: false },
      servicesMax: 10,
      runtime: this.#runtimeOf(process),
      log: { warn: () => {}, error: (facts) => console.error(facts) },
    });
  }

  /** How long locks stay closed after an expiry, from now on (L8). */
  async setLockDelay(lockDelayMs: number): Promise<void> {
    const loop = this.#process!.loop!;
    await new Promise<void>((resolve) => {
      const address = loop.attach({ service: null, receive: () => resolve(), flush: () => {} });
      const from = { session: null, address, id: 1, who: "test" } as const;
      loop.submit(new ServiceKey("default", "reports"), {
        kind: "settings",
        ...from,
        change: { lockDelayMs },
      });
    });
  }

  /** The process is gone at once, with all that was not flushed. */
  crash(): void {
    if (this.#process !== null) this.#process.isAlive = false;
    this.#process = null;
    this.#stopping = null;
    for (const line of [...this.#ends]) line.cut();
    this.#ends.clear();
  }

  /** A clean stop, as on SIGTERM. */
  async stop(): Promise<void> {
    const loop = this.#process?.loop;
    if (loop == null) return this.crash();
    this.#stopping ??= loop.stop().finally(() => {
      this.#stopping = null;
      if (this.#process?.loop === loop) this.crash();
    });
    await this.#stopping;
  }

  accept(line: Line): ServerEnd | { readonly refusal: SocketClosed } | null {
    if (!this.machine.isRunning) return null;
    const loop = this.#process?.loop;
    if (loop == null) return { refusal: { message: "connect ECONNREFUSED" } };
    if (!loop.ready) return { refusal: { message: "not ready", code: "UNAVAILABLE" } };
    this.#ends.add(line);
    let listener: SocketListener | null = null;
    const closed = () => {
      this.#ends.delete(line);
      this.machine.run(() => listener!.closed());
    };
    const close = () => {
      line.hangUp();
      closed();
    };
    const listen = (given: SocketListener) => {
      listener = given;
    };
    const socket = {
      listen,
      send: (text: string) => line.say(text),
      close,
      terminate: close,
      bufferedAmount: 0,
    };
    new Connection(socket, loop, ROOT_CALLER);
    return {
      message: (text) => this.machine.run(() => listener!.message(text, Buffer.byteLength(text))),
      close: closed,
    };
  }

  #runtimeOf(process: { isAlive: boolean }): LoopRuntime {
    const { machine } = this;
    const ifAlive = (callback: () => void) => () => {
      if (process.isAlive) callback();
    };
    return {
      monotonicMs: () => machine.monotonicMs,
      wallMs: () => machine.wallMs,
      randomId: () => `log-${++this.#logs}`,
      defer: (callback) => machine.world.after(0, () => machine.run(ifAlive(callback))),
      setTimer: (callback, ms) => {
        const timer = machine.setTimer(ifAlive(callback), ms, true);
        return () => timer.cancel();
      },
    };
  }

  #storeOf(process: { readonly isAlive: boolean }): Store {
    const flushed = (batch: readonly Change[]) =>
      new Promise<void>((resolve, reject) => {
        const flush = () => {
          if (process.isAlive) this.#store.commit(batch).then(resolve, reject);
        };
        const ms = this.commitMs();
        if (ms === 0) flush();
        else this.machine.setTimer(flush, ms, true);
      });
    return { load: (prefix) => this.#store.load(prefix), commit: flushed, close: async () => {} };
  }
}
