import { encodeRecord } from "../../packages/server/dist/store/records.js";
import { Beliefs } from "./beliefs.js";
import { ClientHost, type Life } from "./client-host.js";
import { Disk } from "./disk.js";
import { EngineWatch } from "./engine-watch.js";
import { Faults } from "./faults.js";
import { HttpCaller } from "./http-caller.js";
import { Network } from "./network.js";
import { planOf } from "./plan.js";
import { Random } from "./random.js";
import { Recorder } from "./recorder.js";
import { Registers } from "./register.js";
import { ServerHost } from "./server-host.js";
import { Shared } from "./shared.js";
import { work } from "./worker.js";
import { type Violation, World } from "./world.js";

export interface RunOptions {
  readonly seed: number;
  /** How many things happen before faults stop. */
  readonly steps: number;
  /** Clocks that differ by more than L2 allows. Default: false. */
  readonly wildClocks?: boolean;
}

export interface RunResult {
  readonly seed: number;
  readonly steps: number;
  readonly grants: number;
  readonly virtualMs: number;
  readonly violations: readonly Violation[];
  /** Lock histories that were too large for the checker. */
  readonly unjudged: number;
  /** The last events that concern the first violation's lock; empty without one. */
  readonly story: readonly string[];
  /** Equal for equal runs. */
  readonly digest: number;
}

/** How long after the last fault everybody who waits must have been served. */
const SERVED_MS_MAX = 400_000;
/** What a client no longer believes in is free after that. */
const SETTLED_MS = 8_000;
/** How long a call may take when nothing is wrong any more; a silent connection is found out in less. */
const ASKED_MS = 30_000;
/** Detached holds, their kept answers, and the sessions of the dead are gone after that. */
const EMPTY_MS_MAX = 150_000;
const SLICE_MS = 1_000;
const STEPS_MAX = 2_000_000;

/** One seed. A run with a violation is told again in words: it is the same run. */
export async function simulate(options: RunOptions): Promise<RunResult> {
  const result = await run(options, false);
  return result.violations.length === 0 ? result : run(options, true);
}

async function run(options: RunOptions, tells: boolean): Promise<RunResult> {
  const simulation = new Simulation(options, tells);
  const { world, watch } = simulation;
  const uninstall = watch.install();
  const unhandled = (error: unknown) => {
    world.violate("Q10", `a promise was rejected and nobody looked: ${(error as Error)?.stack ?? error}`);
  };
  process.on("unhandledRejection", unhandled);
  try {
    await simulation.live(options.steps);
    if (world.violations.length === 0) await simulation.end();
  } finally {
    uninstall();
    process.off("unhandledRejection", unhandled);
  }
  const [first] = world.violations;
  return {
    seed: options.seed,
    steps: world.steps,
    grants: watch.grants,
    virtualMs: world.nowMs,
    violations: world.violations,
    unjudged: simulation.unjudged,
    story: first === undefined ? [] : world.story.about(first.about),
    digest: world.story.digest,
  };
}

class Simulation {
  readonly world: World;
  readonly watch: EngineWatch;
  unjudged = 0;
  readonly #shared: Shared;
  readonly #disk: Disk;
  readonly #server: ServerHost;
  readonly #clients: readonly ClientHost[];
  readonly #faults: Faults;
  readonly #wildClocks: boolean;

  constructor({ seed, wildClocks = false }: RunOptions, tells: boolean) {
    const plan = planOf(new Random(seed * 2 + 1), wildClocks);
    const world = new World(seed, tells);
    this.world = world;
    this.#wildClocks = wildClocks;
    this.#disk = new Disk(world, plan.disk);
    // Set before the first start: from then on it holds for everybody.
    for (const service of plan.lockDelayMs === 0 ? [] : plan.services) {
      const key = `default/service/${service}/settings/`;
      this.#disk.records.set(key, encodeRecord(key, { lockDelayMs: plan.lockDelayMs }));
    }
    this.watch = new EngineWatch(world, plan, this.#disk);
    this.#shared = new Shared({
      world,
      plan,
      watch: this.watch,
      beliefs: new Beliefs(
        world,
        !wildClocks,
        plan.suspends || plan.faultsPerMinute.wallJump === 0,
        plan.lockDelayMs,
      ),
      recorder: new Recorder(world),
      registers: new Registers(world),
    });
    this.#server = new ServerHost(world, plan, this.#disk, this.watch);
    const network = new Network(world, plan.network, this.#server);
    this.#server.network = network;
    const users = (life: Life) => {
      for (let count = 0; count < plan.work.workers; count++) void work(life, this.#shared);
    };
    this.#clients = Array.from(
      { length: plan.clients },
      (_, at) => new ClientHost(world, plan, network, `c${at + 1}`, users),
    );
    const parts = { network, disk: this.#disk, server: this.#server, clients: this.#clients };
    this.#faults = new Faults(world, plan, parts);
    this.#server.start();
    for (const client of this.#clients) client.start();
    for (let at = 1; at <= plan.httpCallers; at++) new HttpCaller(this.#shared, network, `http${at}`);
    this.#faults.start();
  }

  async live(steps: number): Promise<void> {
    await this.world.run(Number.POSITIVE_INFINITY, steps, () => this.#shared.beliefs.check());
  }

  /** Faults stop: everybody is served, everybody leaves, and nothing is left behind. */
  async end(): Promise<void> {
    this.#faults.heal();
    this.#shared.draining = true;
    const served = () => this.#shared.unsettled().length === 0;
    await this.#until(SERVED_MS_MAX, served);
    const { world } = this;
    if (world.violations.length > 0) return;
    for (const { who, lock } of this.#shared.unsettled().slice(0, 1)) {
      world.violate(
        "Q2",
        `${who} still waits for an answer about ${lock}, ${SERVED_MS_MAX} ms after the last fault`,
        lock,
      );
    }
    await this.#until(SETTLED_MS, () => false);
    if (world.violations.length > 0) return;
    await this.#askAgain();
    if (world.violations.length > 0) return;
    const living = new Set(this.#clients.map(({ life }) => life?.id));
    for (const { lock, token, owner } of this.watch.sessionHolds()) {
      // The dead and the closed keep theirs for a lease.
      if (!living.has(owner)) continue;
      world.violate(
        "R3",
        `${owner} has token ${token} of ${lock} at the server, and nobody believes in it`,
        lock,
      );
    }
    for (const client of this.#clients) client.close();
    // Nothing runs on the lease clock any more: what is still there then stays for ever.
    const isOver = () => this.watch.living().every((engine) => engine.nextDeadlineMs === Infinity);
    await this.#until(EMPTY_MS_MAX, isOver);
    await this.#until(SETTLED_MS, () => false);
    if (world.violations.length > 0) return;
    this.#checkEmpty();
    if (!this.#wildClocks) this.unjudged = this.#shared.recorder.judge();
  }

  /** Whoever is alive reaches the server again, whatever its connections have been through. */
  async #askAgain(): Promise<void> {
    const { world } = this;
    let open = 0;
    for (const { life } of this.#clients) {
      if (life === null || life.isClosed) continue;
      const lock = `${life.service}/0`;
      open++;
      life.process.arrive(() => {
        const answered = life.session.call(ASKED_MS, (id) => ["check", id, lock, ASKED_MS]);
        answered.then(
          () => open--,
          (error: Error) => {
            world.violate("R3", `${life.id} cannot reach a server that works: ${error.message}`, lock);
          },
        );
      });
    }
    await this.#until(2 * ASKED_MS, () => open === 0);
    if (open > 0) world.violate("R3", `${open} clients get no answer from a server that works`);
  }

  async #until(ms: number, isDone: () => boolean): Promise<void> {
    const endMs = this.world.nowMs + ms;
    while (this.world.nowMs < endMs && this.world.violations.length === 0 && !isDone()) {
      await this.world.run(this.world.nowMs + SLICE_MS, STEPS_MAX, () => this.#shared.beliefs.check());
    }
  }

  #checkEmpty(): void {
    const { world, watch } = this;
    for (const engine of watch.living()) {
      const left = Object.entries(engine.counts).filter(([, count]) => count > 0);
      const words = left.map(([what, count]) => `${count} ${what}`);
      // Lists and kept answers have an end, too.
      if (engine.nextDeadlineMs < Infinity) words.push(`an end at ${engine.nextDeadlineMs}`);
      if (words.length > 0) world.violate("N3", `everybody has left, and in memory are: ${words.join(", ")}`);
    }
    // Nobody sends webhooks here: what is owed stays.
    const left = [...this.#disk.records.keys()].filter(
      (key) => !/^default\/(clock$|audit\/|delivery\/|service\/\w+\/(ceiling|settings|previous)\/)/.test(key),
    );
    const previous = [...this.#disk.records.keys()].filter((key) => key.includes("/previous/"));
    if (previous.length > this.#shared.plan.locks.length) left.push(...previous);
    if (left.length > 0)
      world.violate("N3", `everybody has left, and stored are: ${left.slice(0, 5).join(", ")}`);
  }
}
