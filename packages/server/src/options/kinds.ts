import { resolve } from "node:path";
import { durationMs } from "lockdb/protocol";

/** What a kind of option takes, and how it stands in a configuration file. */
export type Kind = "switch" | "count" | "choice" | "text" | "list" | "duration" | "path" | "secret";

/** One option, but for what follows from its name. */
export interface Spec<T> {
  readonly kind: Kind;
  /** What stands for its value in help texts, such as `number`; null for a switch and for a secret. */
  readonly placeholder: string | null;
  readonly default: T;
  /** What a number counts, or the form of a value; null where the text says it. */
  readonly unit: string | null;
  /** The only values there are, where they can be counted. */
  readonly choices: readonly string[] | null;
  /** True when a server takes a new value while it runs (SIGHUP). */
  readonly isLive: boolean;
  /** A value to show where there is no default; null where there is one. */
  readonly example: string | null;
  /** What it does, and what too high and too low cost. */
  readonly doc: string;
  /** Reads the text of a flag or variable. @throws Error that says what would be right */
  readonly parse: (text: string) => T;
}

interface Told {
  readonly doc: string;
  readonly placeholder?: string;
  readonly unit?: string;
  readonly isLive?: boolean;
  readonly example?: string;
}

/** On or off; off unless it is said. */
export function toggle(told: Told): Spec<boolean> {
  const parse = (text: string) => oneOf(text, SWITCH) === "true";
  return { ...spec("switch", told, false, parse), placeholder: null };
}

/** A whole number. */
export function count(min: number, byDefault: number, max: number, told: Told & { readonly unit: string }) {
  const unit = `${told.unit}, ${withCommas(min)} to ${withCommas(max)}`;
  return spec("count", { placeholder: "count", ...told, unit }, byDefault, (text) => whole(text, min, max));
}

/** One of some words; the first is the default. */
export function choice<const T extends string>(
  words: readonly [T, ...T[]],
  told: Told,
  byDefault = words[0],
) {
  const parse = (text: string): T => oneOf(text, words);
  return { ...spec<T>("choice", told, byDefault, parse), choices: words };
}

/** A text that is never empty. */
export function text(byDefault: string, told: Told) {
  return spec("text", told, byDefault, nonEmpty);
}

/** A text of a form of its own. */
export function form<T extends string | null>(
  byDefault: T,
  { parse, ...told }: Told & { readonly parse: (text: string) => T },
) {
  return spec<T>("text", told, byDefault, parse);
}

/** Texts with commas between them, or none. @param check throws for a text that has something else in it */
export function list(told: Told, check: (text: string) => unknown) {
  return spec("list", { unit: "with commas between", ...told }, "", (given) => {
    check(given);
    return given;
  });
}

/** A time span such as 30s, kept as it was written; `durationMs` reads it. */
export function span(byDefault: string, told: Told) {
  return spec("duration", { placeholder: "duration", unit: "duration", ...told }, byDefault, (given) => {
    try {
      durationMs(given);
    } catch {
      throw new Error(`must be a time span such as 500ms, 30s or 5m, not ${JSON.stringify(given)}.`);
    }
    return given;
  });
}

/** A folder that there always is one of. From where the server was started, or where the configuration file is. */
export function folder(byDefault: string, told: Told) {
  return spec<string>("path", { placeholder: "folder", ...told }, byDefault, path);
}

/** A file, or none. */
export function file(told: Told & { readonly example: string }) {
  return spec<string | null>("path", { placeholder: "file", ...told }, null, path);
}

/** What nobody else may read: from its variable or a file alone, never from a command line, and masked wherever it is shown. */
export function secret(
  told: Told & { readonly example: string },
  check: (text: string) => void,
): Spec<string | null> {
  const parse = (given: string) => {
    check(given);
    return given;
  };
  return { ...spec<string | null>("secret", told, null, parse), placeholder: null };
}

/** A number for people. */
export function withCommas(number: number): string {
  return String(number).replace(/\B(?=(\d{3})+$)/g, ",");
}

const SWITCH = ["true", "false"] as const;

function spec<T>(kind: Kind, told: Told, byDefault: T, parse: (text: string) => T): Spec<T> {
  const { doc, placeholder = "text", unit = null, isLive = false, example = null } = told;
  return { kind, placeholder, default: byDefault, unit, choices: null, isLive, example, doc, parse };
}

export function nonEmpty(given: string): string {
  if (given === "") throw new Error("must not be empty.");
  return given;
}

function path(given: string): string {
  return resolve(nonEmpty(given));
}

function whole(given: string, min: number, max: number): number {
  const value = /^\d+$/.test(given) ? Number(given) : Number.NaN;
  if (!(value >= min && value <= max)) {
    throw new Error(`must be a whole number from ${min} to ${max}, not ${JSON.stringify(given)}.`);
  }
  return value;
}

function oneOf<T extends string>(given: string, allowed: readonly T[]): T {
  const found = allowed.find((value) => value === given);
  if (found === undefined)
    throw new Error(`must be one of ${allowed.join(", ")}, not ${JSON.stringify(given)}.`);
  return found;
}
