import type { ClientHost } from "./client-host.js";
import type { Network } from "./network.js";
import { FAULTS, type Fault, type Plan } from "./plan.js";
import type { Process } from "./process.js";
import type { World } from "./world.js";

const MINUTE_MS = 60_000;

/** The server that things happen to: of several, one at a time. */
export interface Victim {
  readonly process: Process | null;
  readonly stopping: boolean;
  crash(silent: boolean): void;
  startAfter(ms: number): void;
  startSoon(): void;
  stop(restartAfterMs: number): void;
}

/** Where it writes. */
export interface Written {
  onWrite: (startedMs: number, ms: number) => void;
  heal(): void;
}

/** Makes things go wrong, as often as the plan says, until it is told to stop. */
export class Faults {
  readonly #world: World;
  readonly #plan: Plan;
  readonly #network: Network;
  readonly #disk: Written;
  readonly #server: Victim;
  readonly #clients: readonly ClientHost[];
  #stopped = false;

  constructor(
    world: World,
    plan: Plan,
    parts: { network: Network; disk: Written; server: Victim; clients: readonly ClientHost[] },
  ) {
    this.#world = world;
    this.#plan = plan;
    this.#network = parts.network;
    this.#disk = parts.disk;
    this.#server = parts.server;
    this.#clients = parts.clients;
  }

  start(): void {
    for (const fault of FAULTS) this.#next(fault);
    const chance = this.#plan.faultsPerMinute.serverCrashInCommit / 200;
    this.#disk.onWrite = (startedMs, ms) => {
      // Up to twice its time: between commit and answer too.
      const { random } = this.#world;
      if (this.#stopped || !random.chance(chance)) return;
      this.#world.at(startedMs + ms * random.between(0, 2), () => this.#crashServer());
    };
  }

  /** Nothing goes wrong any more, and what was broken works again. */
  heal(): void {
    this.#stopped = true;
    this.#world.calm = true;
    this.#world.story.note(null, "world", () => "heals");
    this.#network.heal();
    this.#disk.heal();
    this.#server.process?.resume();
    this.#server.startSoon();
    for (const client of this.#clients) {
      client.process?.resume();
      client.start();
    }
  }

  #next(fault: Fault): void {
    const perMinute = this.#plan.faultsPerMinute[fault];
    if (perMinute === 0 || fault === "serverCrashInCommit") return;
    const ms = (-Math.log(1 - this.#world.random.next()) * MINUTE_MS) / perMinute;
    this.#world.after(ms, () => {
      if (this.#stopped) return;
      this.#cause(fault);
      this.#next(fault);
    });
  }

  #cause(fault: Fault): void {
    const { random, story } = this.#world;
    const { pauseMsMax, silenceMsMax } = this.#plan;
    const client = random.pick(this.#clients);
    switch (fault) {
      case "cut": {
        const host = this.#network.cutOne();
        return story.note(null, host ?? "network", () => "has a connection cut");
      }
      case "silence": {
        const [up, down] = random.pick([
          [true, true],
          [true, false],
          [false, true],
        ] as const);
        const ms = random.span(10, silenceMsMax);
        story.note(
          null,
          client.name,
          () => `is silent for ${ms.toFixed()} ms${up ? ", up" : ""}${down ? ", down" : ""}`,
        );
        return this.#network.silence(client.name, up, down, ms);
      }
      case "lateBytes": {
        const direction = random.pick(["up", "up", "down"] as const);
        const ms = random.span(10, silenceMsMax);
        const host = this.#network.stallOne(direction, ms);
        return story.note(
          null,
          host ?? "network",
          () => `has a connection stalled ${direction} for ${ms.toFixed()} ms`,
        );
      }
      case "replay": {
        const host = this.#network.replayOne();
        return story.note(null, host ?? "network", () => "has a connection sent again, from its beginning");
      }
      case "lostAnswers": {
        // One client's answers are on their way when the server dies: what it released, others have by then.
        const ms = random.span(20, silenceMsMax);
        story.note(null, client.name, () => `will miss its answers of the next ${ms.toFixed()} ms`);
        this.#network.silence(client.name, false, true, 2 * ms);
        this.#world.after(ms, () => {
          if (this.#stopped) return;
          this.#network.cutHost(client.name);
          this.#crashServer();
        });
        return;
      }
      case "clientCrash":
        client.crash(random.chance(0.3));
        this.#world.after(random.span(1, this.#plan.downMsMax), () => client.start());
        return;
      case "clientPause":
      case "clientSuspend": {
        const ms = random.span(10, pauseMsMax);
        story.note(null, client.name, () => `stands still for ${ms.toFixed()} ms (${fault})`);
        return client.process?.pause(ms, fault === "clientSuspend");
      }
      case "clientClose":
        return client.close();
      case "wallJump": {
        // Back only where nothing is suspended: there the wall clock is all a client has.
        const back = !this.#plan.suspends && random.chance(0.5);
        const ms = random.span(1, 100_000) * (back ? -1 : 1);
        story.note(null, client.name, () => `has its wall clock set by ${ms.toFixed()} ms`);
        return client.process?.clock.jump(ms);
      }
      case "serverCrash":
      case "serverCrashInCommit":
        return this.#crashServer();
      case "serverPause": {
        const ms = random.span(10, pauseMsMax);
        story.note(null, "server", () => `stands still for ${ms.toFixed()} ms`);
        return this.#server.process?.pause(ms);
      }
      case "serverStop": {
        this.#server.stop(random.span(1, this.#plan.downMsMax));
        // Who stops it does not wait for ever.
        const { process } = this.#server;
        this.#world.after(random.span(1_000, 30_000), () => {
          if (process !== null && process === this.#server.process && this.#server.stopping)
            this.#crashServer();
        });
        return;
      }
    }
  }

  #crashServer(): void {
    if (this.#stopped) return;
    this.#server.crash(this.#world.random.chance(0.3));
    this.#server.startAfter(this.#world.random.span(1, this.#plan.downMsMax));
  }
}
