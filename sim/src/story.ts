interface Note {
  readonly atMs: number;
  /** Null for what concerns every lock: crashes, pauses, cuts. */
  readonly lock: string | null;
  readonly who: string;
  readonly text: string;
}

const SHOWN_MAX = 60;

/** What happened, in words. Only a run that is told again writes one: equal seeds have equal stories. */
export class Story {
  readonly #tells: boolean;
  readonly #nowMs: () => number;
  readonly #notes: Note[] = [];
  /** Sums up the run: two runs of one seed must have the same. */
  #digest = 0;

  constructor(tells: boolean, nowMs: () => number) {
    this.#tells = tells;
    this.#nowMs = nowMs;
  }

  get digest(): number {
    return this.#digest >>> 0;
  }

  note(lock: string | null, who: string, text: () => string): void {
    this.#digest = (Math.imul(this.#digest, 31) + Math.round(this.#nowMs() * 1_000) + who.length) | 0;
    if (this.#tells) this.#notes.push({ atMs: this.#nowMs(), lock, who, text: text() });
  }

  /** The last events that concern a lock. */
  about(lock: string | null, shownMax = SHOWN_MAX): readonly string[] {
    const relevant = this.#notes.filter((note) => lock === null || note.lock === null || note.lock === lock);
    return relevant
      .slice(-shownMax)
      .map(({ atMs, who, text }) => `${atMs.toFixed(3).padStart(12)} ${who.padEnd(8)} ${text}`);
  }
}
