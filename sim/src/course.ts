import type { ClientHost } from "./client-host.js";
import type { EngineWatch } from "./engine-watch.js";
import type { Shared } from "./shared.js";
import type { World } from "./world.js";

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

export interface CourseParts {
  readonly world: World;
  readonly shared: Shared;
  readonly watch: EngineWatch;
  readonly clients: readonly ClientHost[];
  readonly faults: { heal(): void };
  /** What is stored of services. */
  readonly records: ReadonlyMap<string, Uint8Array>;
  readonly wildClocks: boolean;
  /** Looks on after each step. */
  readonly afterStep?: () => void;
  /** Once everybody is served. */
  readonly healed?: () => void;
}

/** The course of a run: faults first, then a good end, or it is told why there is none. */
export class Course {
  unjudged = 0;
  readonly #parts: CourseParts;

  constructor(parts: CourseParts) {
    this.#parts = parts;
  }

  async live(steps: number): Promise<void> {
    await this.#parts.world.run(Number.POSITIVE_INFINITY, steps, () => this.#check());
  }

  /** Faults stop: everybody is served, everybody leaves, and nothing is left behind. */
  async end(): Promise<void> {
    const { world, watch, shared, clients, faults, wildClocks, healed } = this.#parts;
    faults.heal();
    shared.draining = true;
    const served = () => shared.unsettled().length === 0;
    await this.#until(SERVED_MS_MAX, served);
    if (world.violations.length > 0) return;
    for (const { who, lock } of shared.unsettled().slice(0, 1)) {
      world.violate(
        "Q2",
        `${who} still waits for an answer about ${lock}, ${SERVED_MS_MAX} ms after the last fault`,
        lock,
      );
    }
    await this.#until(SETTLED_MS, () => false);
    if (world.violations.length > 0) return;
    healed?.();
    if (world.violations.length > 0) return;
    await this.#askAgain();
    if (world.violations.length > 0) return;
    const living = new Set(clients.map(({ life }) => life?.id));
    for (const { lock, token, owner } of watch.sessionHolds()) {
      // The dead and the closed keep theirs for a lease.
      if (!living.has(owner)) continue;
      world.violate(
        "R3",
        `${owner} has token ${token} of ${lock} at the server, and nobody believes in it`,
        lock,
      );
    }
    for (const client of clients) client.close();
    // Nothing runs on the lease clock any more: what is still there then stays for ever.
    const isOver = () => watch.living().every((engine) => engine.nextDeadlineMs === Infinity);
    await this.#until(EMPTY_MS_MAX, isOver);
    await this.#until(SETTLED_MS, () => false);
    if (world.violations.length > 0) return;
    this.#checkEmpty();
    if (!wildClocks) this.unjudged = shared.recorder.judge();
  }

  /** Whoever is alive reaches the server again, whatever its connections have been through. */
  async #askAgain(): Promise<void> {
    const { world, clients } = this.#parts;
    let open = 0;
    for (const { life } of clients) {
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
    const { world } = this.#parts;
    const endMs = world.nowMs + ms;
    while (world.nowMs < endMs && world.violations.length === 0 && !isDone()) {
      await world.run(world.nowMs + SLICE_MS, STEPS_MAX, () => this.#check());
    }
  }

  #checkEmpty(): void {
    const { world, watch, records, shared } = this.#parts;
    for (const engine of watch.living()) {
      const left = Object.entries(engine.counts).filter(([, count]) => count > 0);
      const words = left.map(([what, count]) => `${count} ${what}`);
      // Lists and kept answers have an end, too.
      if (engine.nextDeadlineMs < Infinity) words.push(`an end at ${engine.nextDeadlineMs}`);
      if (words.length > 0) world.violate("N3", `everybody has left, and in memory are: ${words.join(", ")}`);
    }
    // Nobody sends webhooks here: what is owed stays.
    const left = [...records.keys()].filter(
      (key) => !/^default\/(clock$|audit\/|delivery\/|service\/\w+\/(ceiling|settings|previous)\/)/.test(key),
    );
    const previous = [...records.keys()].filter((key) => key.includes("/previous/"));
    if (previous.length > shared.plan.locks.length) left.push(...previous);
    if (left.length > 0)
      world.violate("N3", `everybody has left, and stored are: ${left.slice(0, 5).join(", ")}`);
  }

  #check(): void {
    this.#parts.shared.beliefs.check();
    this.#parts.afterStep?.();
  }
}
