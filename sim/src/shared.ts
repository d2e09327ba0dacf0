import type { Beliefs } from "./beliefs.js";
import type { Life } from "./client-host.js";
import type { EngineWatch } from "./engine-watch.js";
import type { Plan } from "./plan.js";
import type { Recorder } from "./recorder.js";
import type { Registers } from "./register.js";
import { serviceOf } from "./view.js";
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
  /** When somebody first tried to free a hold by force, by service and token. */
  /** Attempts to take a lock by force from whoever holds it, by lock. */
  readonly steals = new Map<string, { readonly calledMs: number; returnedMs: number }[]>();
  /** What is held now, by whatever client, for those who ask inside of it. */
  readonly leases = new Set<{ readonly service: string; readonly token: number }>();
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
      | "steals"
      | "leases"
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
    // A set is forced under the name of any of its locks.
    const key = `${serviceOf(lock)} ${token}`;
    if (!this.#forcedMs.has(key)) this.#forcedMs.set(key, this.world.nowMs);
  }

  /** From when on a hold may have ended by force. @param sinceMs when it was asked for */
  forcedMs(lock: string, token: number, sinceMs: number): number {
    const stolenMs = (this.steals.get(lock) ?? [])
      .filter(({ returnedMs }) => returnedMs >= sinceMs)
      .map(({ calledMs }) => calledMs);
    return Math.min(
      this.#forcedMs.get(`${serviceOf(lock)} ${token}`) ?? Number.POSITIVE_INFINITY,
      ...stolenMs,
    );
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
