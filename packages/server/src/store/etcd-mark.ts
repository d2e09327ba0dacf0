import type { Compare, Op } from "./etcd-api.js";
import { decodeRecord, encodeRecord } from "./records.js";

/** A record that changes with all records of one kind, and what says which of these have changed (decision 028). */
export interface MarkLayout {
  /** The mark's own key. */
  readonly key: string;
  /** What the keys of notes begin with. */
  readonly notes: string;
  /** Whether what lies there changes the mark. */
  isMarked(place: string): boolean;
}

/** What the mark says. */
export interface Mark {
  /** Marks that follow each other with no other one between them. */
  readonly chain: string;
  /** From 1, and one more with each mark of the chain. */
  readonly at: number;
  /** The name of the mark that was there before the chain began; null: none with a name. */
  readonly after: string | null;
}

/** What has changed with one mark. */
export interface Note {
  readonly chain: string;
  readonly at: number;
  readonly keys: readonly string[];
}

/** Notes that are kept: whoever has missed more changes than that reads all. */
export const NOTES = 100;

export function noteKey(notes: string, at: number): string {
  return `${notes}${String(at % NOTES).padStart(2, "0")}`;
}

/** @returns null: it is none of a chain, or damaged, or of a newer LockDB */
export function markIn(key: string, value: Uint8Array): Mark | null {
  const { chain, at, after } = shapeIn(key, value);
  const isWhole = typeof chain === "string" && isNumber(at) && (after === null || typeof after === "string");
  return isWhole ? { chain, at, after } : null;
}

/** As `markIn`. */
export function noteIn(key: string, value: Uint8Array): Note | null {
  const { chain, at, keys } = shapeIn(key, value);
  const isWhole = typeof chain === "string" && isNumber(at) && Array.isArray(keys);
  return isWhole && keys.every((each) => typeof each === "string") ? { chain, at, keys } : null;
}

/** What no other mark is called; null: it is none of a chain. An older LockDB writes such, and may write one twice, with another between. */
export function nameOf(key: string, value: Uint8Array | null): string | null {
  const mark = value === null ? null : markIn(key, value);
  return mark === null ? null : `${mark.chain}/${mark.at}`;
}

/** What a transaction has besides, as it changes records that are marked. */
export interface Marked {
  readonly mark: Mark;
  readonly value: Uint8Array;
  readonly compare: Compare;
  readonly ops: readonly Op[];
}

/** How one store writes a mark and its notes. Each of its transactions is known to be applied before the next is made, or the store is opened anew. */
export class Marking {
  readonly #at: string;
  readonly #layout: MarkLayout;
  readonly #opening: string;
  /** As etcd has it, if this store wrote last; null: absent. */
  #value: Uint8Array | null = null;
  /** Null: another chain begins. */
  #last: Mark | null = null;
  #chains = 0;

  /** @param at what all keys of the store begin with @param opening no other store has the same */
  constructor(at: string, layout: MarkLayout, opening: string) {
    this.#at = at;
    this.#layout = layout;
    this.#opening = opening;
  }

  get key(): string {
    return `${this.#at}${this.#layout.key}`;
  }

  /** Of a transaction that changes these. */
  next(places: readonly string[]): Marked {
    const { key, notes } = this.#layout;
    const mark =
      this.#last === null
        ? { chain: `${this.#opening}/${this.#chains}`, at: 1, after: nameOf(key, this.#value) }
        : { ...this.#last, at: this.#last.at + 1 };
    const note: Note = { chain: mark.chain, at: mark.at, keys: places };
    const noteAt = noteKey(notes, mark.at);
    const value = encodeRecord(key, mark);
    return {
      mark,
      value,
      // Nobody else's mark is between two of a chain.
      compare: this.#value === null ? { key: this.key, revision: 0 } : { key: this.key, value: this.#value },
      ops: [
        { put: this.key, value },
        { put: `${this.#at}${noteAt}`, value: encodeRecord(noteAt, note) },
      ],
    };
  }

  wrote({ mark, value }: Marked): void {
    this.#last = mark;
    this.#value = value;
  }

  /** The mark is another's: what comes is another chain, behind that. */
  found(value: Uint8Array | null): void {
    this.#value = value;
    this.#last = null;
    this.#chains++;
  }
}

function shapeIn(key: string, value: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    return (decodeRecord({ key, value }) ?? {}) as Record<string, unknown>;
  } catch {
    return {};
  }
}

function isNumber(at: unknown): at is number {
  return Number.isSafeInteger(at) && (at as number) > 0;
}
