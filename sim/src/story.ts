/** The lock or locks that something is about; null for what concerns every lock: crashes, pauses, cuts. */
export type About = string | readonly string[] | null;

interface Note {
  readonly atMs: number;
  readonly about: About;
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

  note(about: About, who: string, text: () => string): void {
    this.#digest = (Math.imul(this.#digest, 31) + Math.round(this.#nowMs() * 1_000) + who.length) | 0;
    if (this.#tells) this.#notes.push({ atMs: this.#nowMs(), about, who, text: text() });
  }

  /** The last events that concern some locks. */
  about(locks: About, shownMax = SHOWN_MAX): readonly string[] {
    const wanted = locks === null ? null : new Set(typeof locks === "string" ? [locks] : locks);
    const concerns = (about: About) =>
      about === null || wanted === null || [about].flat().some((lock) => wanted.has(lock));
    const relevant = this.#notes.filter(({ about }) => concerns(about));
    return relevant
      .slice(-shownMax)
      .map(({ atMs, who, text }) => `${atMs.toFixed(3).padStart(12)} ${who.padEnd(8)} ${text}`);
  }
}
