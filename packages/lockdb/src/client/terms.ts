import {
  type Duration,
  durationMs,
  type LockNames,
  lockNameProblem,
  lockNamesProblem,
  metadataProblem,
  type LockSpec as WireSpec,
} from "../protocol/index.js";
import { type EnclosingHold, enclosingHolds, holdsAround } from "./context.js";
import { LockDBError } from "./errors.js";
import { type AcquireTerms, PLAIN_TERMS } from "./request.js";
import type { AcquireOptions, LockSpec, Name, Names } from "./types.js";

const WAIT_MS_DEFAULT = 30_000;

/** An end that comes sooner leaves next to nothing: the margin of L2 takes 200 ms of it. */
export const END_MS_MIN = 250;

const SPEC_OPTIONS = ["mode", "permits", "weight"] as const;
const NAMED_SPEC_OPTIONS = new Set(["name", ...SPEC_OPTIONS]);
export const ACQUIRE_OPTIONS = new Set([
  "wait",
  "signal",
  "minHold",
  "maxHold",
  "detached",
  "metadata",
  "within",
  "independent",
  "reentrant",
  ...SPEC_OPTIONS,
]);

export const NO_OPTIONS: AcquireOptions = Object.freeze({});

/** What is asked for, from what a caller has said, and where. */
export function acquireTerms(names: Names, options: AcquireOptions): AcquireTerms {
  if (options === NO_OPTIONS) {
    const enclosing = enclosingHolds();
    return { ...PLAIN_TERMS, names: wireNames(names, options), waitMs: WAIT_MS_DEFAULT, enclosing };
  }
  known(options, ACQUIRE_OPTIONS);
  const { wait = WAIT_MS_DEFAULT, signal, minHold, maxHold, detached, metadata } = options;
  if (signal !== undefined && typeof signal?.throwIfAborted !== "function") {
    throw invalid("signal must be an AbortSignal.");
  }
  const optional = (value: Duration | undefined, what: string) =>
    value === undefined ? null : span(value, what);
  const terms: AcquireTerms = {
    ...PLAIN_TERMS,
    names: wireNames(names, options),
    waitMs: wait === "forever" ? Number.POSITIVE_INFINITY : span(wait, "wait"),
    detachedMs: optional(detached, "detached"),
    minHoldMs: optional(minHold, "minHold"),
    maxHoldMs: optional(maxHold, "maxHold"),
    // A copy: what a resume says of the hold must be what the server was told, and valid.
    metadata: metadata === undefined ? null : { ...metadata },
    enclosing: enclosing(options),
    reentrant: flag(options.reentrant, "reentrant"),
  };
  checkEnd(terms.detachedMs, "detached");
  checkEnd(terms.maxHoldMs, "maxHold");
  if (terms.detachedMs !== null && terms.maxHoldMs !== null) {
    throw invalid("A detached hold has its own end. Leave maxHold out.");
  }
  if (terms.detachedMs !== null && terms.reentrant) {
    throw invalid("A detached hold is one of its own. Leave reentrant out.");
  }
  const problem = metadata === undefined ? null : metadataProblem(metadata);
  if (problem !== null) throw invalid(problem);
  return terms;
}

/** An option that is quietly ignored would be a lock of another kind than the caller believes. */
export function known<T>(options: T, names: ReadonlySet<string>): T {
  if (typeof options !== "object" || options === null) throw invalid("Options must be an object.");
  const unknown = Object.keys(options).find((option) => !names.has(option));
  if (unknown !== undefined) {
    throw invalid(`The option "${unknown}" is not supported. There are ${[...names].join(", ")}.`);
  }
  return options;
}

export function checkedName(name: unknown): Name {
  const problem = lockNameProblem(name);
  if (problem !== null) throw invalid(problem);
  return name as Name;
}

export function span(value: unknown, what: string): number {
  try {
    return durationMs(value, what);
  } catch (error) {
    throw invalid((error as Error).message);
  }
}

export function invalid(message: string): LockDBError {
  return new LockDBError("INVALID", message);
}

/** The names as they travel. What the options say of the kind of lock is meant for plain names. */
function wireNames(names: Names, options: LockSpec): LockNames {
  const hasSpec = options !== NO_OPTIONS && SPEC_OPTIONS.some((key) => options[key] !== undefined);
  if (typeof names === "string" && !hasSpec) return checkedName(names);
  const list = typeof names === "string" ? [names] : names;
  if (!Array.isArray(list)) throw invalid("A lock name or a list of names is needed.");
  const specs = list.map((each): WireSpec => {
    if (typeof each === "string") return wireSpec(each, options);
    if (typeof each !== "object" || each === null)
      throw invalid("A lock of a list is a name, or { name, … }.");
    return wireSpec(known(each, NAMED_SPEC_OPTIONS).name, each);
  });
  const [only] = specs;
  const wire = specs.length === 1 && typeof only === "string" ? only : specs;
  const problem = lockNamesProblem(wire);
  if (problem !== null) throw invalid(problem);
  return wire;
}

function wireSpec(name: string, { mode, permits, weight }: LockSpec): WireSpec {
  if (mode !== undefined && mode !== "exclusive" && mode !== "shared") {
    throw invalid('mode is "exclusive" or "shared". A semaphore says permits instead.');
  }
  if (permits === undefined) {
    if (weight !== undefined) throw invalid("A weight is a part of permits: say how many there are.");
    return mode === "shared" ? [name, "shared"] : name;
  }
  if (mode !== undefined) throw invalid("A lock has a mode or permits, not both.");
  return [name, permits, weight ?? 1];
}

function enclosing({ within, independent }: AcquireOptions): readonly EnclosingHold[] {
  return holdsAround(within, flag(independent, "independent") ? [] : enclosingHolds());
}

function flag(value: unknown, what: string): boolean {
  if (value !== undefined && typeof value !== "boolean") throw invalid(`${what} is true or false.`);
  return value === true;
}

function checkEnd(ms: number | null, what: string): void {
  if (ms !== null && ms < END_MS_MIN) throw invalid(`${what} must be at least ${END_MS_MIN}ms.`);
}
