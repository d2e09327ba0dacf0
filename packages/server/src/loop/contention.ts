import type { LockInfo } from "lockdb/protocol";
import { FOUND_MAX, type LongWait, Most, type OldHold } from "../engine/index.js";
import type { Service } from "./service.js";

/** Locks and holds that one turn of the event loop looks at, whatever the service. */
const STEP = 2_000;
/** Answers that are kept for others at once. */
const KEPT_MAX = 100;
/** Whoever asks so soon after another gets the same. */
const KEPT_MS = 500;

/** Which service of which account. */
interface Where {
  readonly account: string;
  readonly service: string;
}

export interface Contention {
  readonly services: number;
  readonly recovering: number;
  /** The first of those that recover. */
  readonly recoveringNow: readonly Where[];
  readonly sessions: number;
  readonly holds: number;
  readonly locks: number;
  readonly waiters: number;
  /** Grants since these services came to be in memory. */
  readonly grants: number;
  readonly hottest: readonly (LockInfo & Where)[];
  readonly longestWaits: readonly (LongWait & Where)[];
  readonly oldestHolds: readonly (OldHold & Where)[];
}

interface ContentionParts {
  monotonicMs(): number;
  leaseMs(): number;
  /** Resolves when others had their turn. */
  pause(): Promise<unknown>;
}

interface Look {
  readonly result: Promise<Contention>;
  /** Infinity while it goes on. */
  doneMs: number;
}

/**
 * Where it is crowded, over services: found by a walk over all locks, a few of them each turn, so that nobody waits for it.
 * Nothing is kept for it while nobody asks, and all who ask for the same at once share one walk.
 */
export class ContentionLooks {
  readonly #parts: ContentionParts;
  readonly #looks = new Map<string, Look>();
  /** Walks that wait for their turn. */
  readonly #waiting: (() => void)[] = [];

  constructor(parts: ContentionParts) {
    this.#parts = parts;
  }

  /** @param about tells it from other questions: whose services, or which one */
  of(about: string, services: () => readonly Service[]): Promise<Contention> {
    const nowMs = this.#parts.monotonicMs();
    for (const [key, { doneMs }] of this.#looks) if (nowMs - doneMs > KEPT_MS) this.#looks.delete(key);
    const known = this.#looks.get(about);
    if (known !== undefined) return known.result;
    const look: Look = { result: this.#look(services()), doneMs: Number.POSITIVE_INFINITY };
    if (this.#looks.size < KEPT_MAX) this.#looks.set(about, look);
    const done = () => {
      look.doneMs = this.#parts.monotonicMs();
    };
    look.result.then(done, () => this.#looks.delete(about));
    return look.result;
  }

  /** The next turn that is no other walk's: however many there are, one of them makes a step each turn. */
  #turn(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#waiting.push(resolve) === 1) this.#letOneGo();
    });
  }

  #letOneGo(): void {
    void this.#parts.pause().then(() => {
      this.#waiting.shift()!();
      if (this.#waiting.length > 0) this.#letOneGo();
    });
  }

  async #look(services: readonly Service[]): Promise<Contention> {
    const sum = {
      services: services.length,
      recovering: 0,
      sessions: 0,
      holds: 0,
      locks: 0,
      waiters: 0,
      grants: 0,
    };
    const recoveringNow: Where[] = [];
    const hottest = new Most<Contention["hottest"][number]>(FOUND_MAX, ({ queueLength }) => queueLength);
    const longestWaits = new Most<Contention["longestWaits"][number]>(
      FOUND_MAX,
      ({ waiter }) => waiter.waitingForMs,
    );
    const oldestHolds = new Most<Contention["oldestHolds"][number]>(
      FOUND_MAX,
      ({ holder }) => holder.heldForMs,
    );
    await this.#turn();
    let left = STEP;
    for (const { engine, isLoading, key } of services) {
      const recovering = isLoading || engine.recovering;
      const { sessions, holds, locks, waiters } = engine.counts;
      sum.sessions += sessions;
      sum.holds += holds;
      sum.locks += locks;
      sum.waiters += waiters;
      const where = { account: key.account, service: key.id };
      if (recovering && ++sum.recovering <= FOUND_MAX) recoveringNow.push(where);
      const survey = engine.survey();
      try {
        // A service costs something by itself.
        for (left -= 10; ; ) {
          left = survey.step(Math.max(0, left));
          if (survey.isDone) break;
          await this.#turn();
          left = STEP;
        }
      } finally {
        survey.giveUp();
      }
      const found = survey.found(recovering, this.#parts.leaseMs());
      sum.grants += found.grants;
      for (const each of found.hottest) hottest.add({ ...where, ...each });
      for (const each of found.longestWaits) longestWaits.add({ ...where, ...each });
      for (const each of found.oldestHolds) oldestHolds.add({ ...where, ...each });
      if (left === 0) {
        await this.#turn();
        left = STEP;
      }
    }
    return {
      ...sum,
      recoveringNow,
      hottest: hottest.items,
      longestWaits: longestWaits.items,
      oldestHolds: oldestHolds.items,
    };
  }
}
