import { encodeRecord } from "../../packages/server/dist/store/records.js";
import { Beliefs } from "./beliefs.js";
import { ClientHost, type Life } from "./client-host.js";
import { Course } from "./course.js";
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
  /** Of a cluster: partitions that another member took after a fence, and that were handed to it. */
  readonly takeovers?: number;
  readonly handOvers?: number;
  /** How often a member was asked what it knows of keys. */
  readonly keyChecks?: number;
}

/** One seed. A run with a violation is told again in words: it is the same run. */
export async function simulate(options: RunOptions): Promise<RunResult> {
  const result = await run(options, false);
  return result.violations.length === 0 ? result : run(options, true);
}

function run(options: RunOptions, tells: boolean): Promise<RunResult> {
  return play(new Simulation(options, tells), options);
}

/** What is simulated: one server, or a cluster. */
export interface Played {
  readonly world: World;
  readonly watch: EngineWatch;
  readonly course: Course;
}

/** From its beginning to its end, or to the first promise that is broken. */
export async function play({ world, watch, course }: Played, options: RunOptions): Promise<RunResult> {
  const uninstall = watch.install();
  const unhandled = (error: unknown) => {
    world.violate("Q10", `a promise was rejected and nobody looked: ${(error as Error)?.stack ?? error}`);
  };
  process.on("unhandledRejection", unhandled);
  try {
    await course.live(options.steps);
    if (world.violations.length === 0) await course.end();
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
    unjudged: course.unjudged,
    story: first === undefined ? [] : world.story.about(first.about),
    digest: world.story.digest,
  };
}

class Simulation {
  readonly world: World;
  readonly watch: EngineWatch;
  readonly course: Course;

  constructor({ seed, wildClocks = false }: RunOptions, tells: boolean) {
    const plan = planOf(new Random(seed * 2 + 1), wildClocks);
    const world = new World(seed, tells);
    this.world = world;
    const disk = new Disk(world, plan.disk);
    // Set before the first start: from then on it holds for everybody.
    for (const service of plan.lockDelayMs === 0 ? [] : plan.services) {
      const key = `default/service/${service}/settings/`;
      disk.records.set(key, encodeRecord(key, { lockDelayMs: plan.lockDelayMs }));
    }
    this.watch = new EngineWatch(world, plan, disk);
    const shared = new Shared({
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
    const server = new ServerHost(world, plan, disk, this.watch);
    const network = new Network(world, plan.network, server);
    server.network = network;
    const users = (life: Life) => {
      for (let count = 0; count < plan.work.workers; count++) void work(life, shared);
    };
    const clients = Array.from(
      { length: plan.clients },
      (_, at) => new ClientHost(world, plan, network, `c${at + 1}`, users),
    );
    const parts = { network, disk, server, clients };
    const faults = new Faults(world, plan, parts);
    server.start();
    for (const client of clients) client.start();
    for (let at = 1; at <= plan.httpCallers; at++) new HttpCaller(shared, network, `http${at}`);
    faults.start();
    const { watch } = this;
    this.course = new Course({ world, shared, watch, clients, faults, records: disk.records, wildClocks });
  }
}
