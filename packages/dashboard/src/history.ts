/** What the numbers of a service were while this page was open: the server keeps none. Pure. */
import type { Stats } from "./api.js";

const KEPT_MS = 600_000;
/** Over how long a rate, and the slowest waits, are taken. */
const RATE_MS = 10_000;
const WAITS_MS = 60_000;

export interface Sample {
  readonly atMs: number;
  readonly stats: Stats;
}

export interface Numbers {
  readonly atMs: number;
  readonly held: number;
  readonly waiting: number;
  /** Null: not known yet. */
  readonly grantsPerS: number | null;
  /** 99 of 100 grants of the last minute had waited at most so long; null: nothing was granted, Infinity: longer than is counted. */
  readonly waitP99Ms: number | null;
}

/** What has happened since this page began to look, at most ten minutes ago. */
export interface Lately {
  readonly forMs: number;
  readonly expired: number;
  readonly forced: number;
  readonly deadlocks: number;
}

export class History {
  readonly #samples: Sample[] = [];
  readonly numbers: Numbers[] = [];

  add(stats: Stats, atMs: number): void {
    const last = this.#samples.at(-1);
    // The server was started anew: its counts begin at 0, or it was another one.
    if (last !== undefined && stats.granted < last.stats.granted) {
      this.#samples.length = 0;
    }
    this.#samples.push({ atMs, stats });
    while (this.#samples[0]!.atMs < atMs - KEPT_MS) this.#samples.shift();
    this.numbers.push({
      atMs,
      held: stats.holds,
      waiting: stats.waiters,
      grantsPerS: this.#grantsPerS(),
      waitP99Ms: this.#waitP99Ms(),
    });
    while (this.numbers[0]!.atMs < atMs - KEPT_MS) this.numbers.shift();
  }

  get lately(): Lately | null {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    if (first === undefined || last === undefined || first === last) return null;
    const since = (field: "expired" | "forced" | "deadlocks") => last.stats[field] - first.stats[field];
    return {
      forMs: last.atMs - first.atMs,
      expired: since("expired"),
      forced: since("forced"),
      deadlocks: since("deadlocks"),
    };
  }

  #grantsPerS(): number | null {
    const [before, last] = this.#since(RATE_MS);
    if (before === null) return null;
    return ((last.stats.granted - before.stats.granted) * 1_000) / (last.atMs - before.atMs);
  }

  #waitP99Ms(): number | null {
    const [before, last] = this.#since(WAITS_MS);
    if (before === null) return null;
    const counts = last.stats.waits.map(({ count }, at) => count - (before.stats.waits[at]?.count ?? 0));
    const all = counts.reduce((sum, each) => sum + each, 0);
    if (all === 0) return null;
    let seen = 0;
    for (const [at, each] of counts.entries()) {
      seen += each;
      if (seen >= all * 0.99) return last.stats.waits[at]!.withinMs ?? Number.POSITIVE_INFINITY;
    }
    return null;
  }

  /** The newest sample, and the oldest that is not older than so long. */
  #since(ms: number): readonly [Sample | null, Sample] {
    const last = this.#samples.at(-1)!;
    const before = this.#samples.find(({ atMs }) => atMs >= last.atMs - ms)!;
    return [before === last ? null : before, last];
  }
}

const histories = new Map<string, History>();

export function historyOf(service: string): History {
  const known = histories.get(service) ?? new History();
  histories.set(service, known);
  return known;
}
