import type { Beliefs } from "./beliefs.js";
import type { Life } from "./client-host.js";
import type { EngineWatch } from "./engine-watch.js";
import type { Plan } from "./plan.js";
import type { Recorder } from "./recorder.js";
import type { Registers } from "./register.js";
import type { World } from "./world.js";

/** What all who take part in a run share. */
export class Shared {
  readonly world: World;
  readonly plan: Plan;
  readonly watch: EngineWatch;
  readonly beliefs: Beliefs;
  readonly recorder: Recorder;
  readonly registers: Registers;
  /** True when nobody begins anything new. */
  draining = false;
  /** How many things were begun. */
  busy = 0;
  /** Detached holds whose maker has left them to whoever comes by. */
  readonly detachedTokens: { service: string; lock: string; token: number }[] = [];
  /** The newest token of a session's hold that anybody was told, by lock. */
  readonly sessionTokens = new Map<string, number>();
  /** When somebody first tried to free a hold by force, by lock and token. */
  readonly #forcedMs = new Map<string, number>();
  readonly #tokensByLife = new WeakMap<Life, Set<number>>();
  readonly #busyByLife = new Map<Life, LockCounts>();

  constructor(
    parts: Omit<
      Shared,
      | "draining"
      | "busy"
      | "detachedTokens"
      | "sessionTokens"
      | "ownTokens"
      | "busyOf"
      | "unsettled"
      | "forcedFrom"
      | "forcedMs"
    >,
  ) {
    this.world = parts.world;
    this.plan = parts.plan;
    this.watch = parts.watch;
    this.beliefs = parts.beliefs;
    this.recorder = parts.recorder;
    this.registers = parts.registers;
  }

  /** From now on this hold may end by force. */
  forcedFrom(lock: string, token: number): void {
    const key = `${lock} ${token}`;
    if (!this.#forcedMs.has(key)) this.#forcedMs.set(key, this.world.nowMs);
  }

  forcedMs(lock: string, token: number): number {
    return this.#forcedMs.get(`${lock} ${token}`) ?? Number.POSITIVE_INFINITY;
  }

  /** Tokens of session holds that a client instance was told. */
  ownTokens(life: Life): Set<number> {
    let tokens = this.#tokensByLife.get(life);
    if (tokens === undefined) {
      tokens = new Set();
      this.#tokensByLife.set(life, tokens);
    }
    return tokens;
  }

  busyOf(life: Life): LockCounts {
    let counts = this.#busyByLife.get(life);
    if (counts === undefined) {
      counts = new LockCounts();
      this.#busyByLife.set(life, counts);
    }
    return counts;
  }

  /** Who waits for an answer although its process is alive, and for which lock. */
  unsettled(): readonly { readonly who: string; readonly lock: string }[] {
    return [...this.#busyByLife].flatMap(([life, counts]) =>
      life.process.alive ? counts.locks().map((lock) => ({ who: life.id, lock })) : [],
    );
  }
}

/** How many calls are under way, by lock. */
class LockCounts {
  readonly #counts = new Map<string, number>();

  add(lock: string): void {
    this.#counts.set(lock, (this.#counts.get(lock) ?? 0) + 1);
  }

  delete(lock: string): void {
    const count = this.#counts.get(lock)! - 1;
    if (count === 0) this.#counts.delete(lock);
    else this.#counts.set(lock, count);
  }

  locks(): readonly string[] {
    return [...this.#counts.keys()];
  }
}
