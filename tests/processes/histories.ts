// What the processes of a load have written down (history.mjs), and what the history checker says of it.
import { closeSync, existsSync, openSync, readSync } from "node:fs";
import {
  type AcquireOp,
  historyProblems,
  type LockHistory,
  type Op,
  TooLarge,
} from "../../sim/src/history.js";

/** A hold as its holder believed in it. */
export interface Hold {
  readonly kind: "hold";
  readonly client: string;
  readonly type: "session" | "detached" | "http";
  readonly name: string;
  readonly token: number;
  readonly ticket: number | null;
  readonly askedMs: number;
  readonly fromMs: number;
  readonly untilMs: number;
  /** When it ends by itself at the earliest; null for a session hold. */
  readonly endsMs: number | null;
}

/** A call that ends a hold, or asks for one. Without an answer both `returnedMs` and `result` are null. */
export interface Asked {
  readonly kind: "release" | "unlock" | "check";
  readonly client: string;
  readonly name: string;
  readonly token: number | null;
  readonly calledMs: number;
  readonly returnedMs: number | null;
  readonly result: boolean | null;
}

/** A lock call that got no answer: it may have made a hold that nobody knows of. */
interface Unheard {
  readonly kind: "unheard";
  readonly client: string;
  readonly name: string;
  readonly calledMs: number;
}

export interface OneTime {
  readonly kind: "kept" | "freed";
  readonly name: string;
  readonly token: number | null;
}

/** A call that did not go as it should. */
export interface Trouble {
  readonly kind: "trouble";
  readonly doing: "wait" | "session hold" | "detached hold" | "HTTP hold";
  /** `over`: there was nothing to release; else the code of the error. */
  readonly what: string;
  readonly fromMs: number;
  readonly untilMs: number;
}

export type Entry = Hold | Asked | Unheard | OneTime | Trouble;

const READ_BYTES = 1_024 * 1_024;
/** The server's clock has whole milliseconds. */
const ROUNDING_MS = 1;
const NEVER = Number.POSITIVE_INFINITY;

/** A file that a process appends to. Each look reads what has come since the last. */
export class HistoryFile {
  readonly entries: Entry[] = [];
  /** Those of them that are about names that are used once. */
  readonly oneTime: OneTime[] = [];
  readonly #path: string;
  #offset = 0;
  /** Behind the last line end: it is being written. */
  #rest = "";

  constructor(path: string) {
    this.#path = path;
  }

  look(): void {
    if (!existsSync(this.#path)) return;
    const file = openSync(this.#path, "r");
    const bytes = Buffer.alloc(READ_BYTES);
    for (let count = -1; count !== 0; this.#offset += count) {
      count = readSync(file, bytes, 0, READ_BYTES, this.#offset);
      // Nothing that is written there is beyond ASCII: no letter is cut in two.
      const lines = (this.#rest + bytes.toString("latin1", 0, count)).split("\n");
      this.#rest = lines.pop()!;
      for (const line of lines) this.#add(JSON.parse(line) as Entry);
    }
    closeSync(file);
  }

  #add(entry: Entry): void {
    this.entries.push(entry);
    if (entry.kind === "kept" || entry.kind === "freed") this.oneTime.push(entry);
  }
}

export function only<K extends Entry["kind"]>(entries: readonly Entry[], ...kinds: readonly K[]) {
  type One = Extract<Entry, { readonly kind: K }>;
  return entries.filter((entry): entry is One => (kinds as readonly string[]).includes(entry.kind));
}

/** What all processes saw, lock by lock. `crashesMs`: when the server was killed. */
export function histories(entries: readonly Entry[], crashesMs: readonly number[]): readonly LockHistory[] {
  const byLock = new Map<string, { lock: string; ops: Op[]; unheard: LockHistory["unheard"][number][] }>();
  const of = (lock: string) => {
    const history = byLock.get(lock) ?? { lock, ops: [], unheard: [] };
    byLock.set(lock, history);
    return history;
  };
  const asked = only(entries, "release", "unlock", "check");
  const released = new Set<number>();
  for (const { kind, token, result } of asked) if (kind === "release" && result) released.add(token!);
  for (const hold of only(entries, "hold")) of(hold.name).ops.push(acquireOf(hold, released, crashesMs));
  for (const call of asked) of(call.name).ops.push(opOf(call));
  for (const { client, name, calledMs } of only(entries, "unheard")) {
    of(name).unheard.push({ client, calledMs, returnedMs: NEVER });
  }
  return [...byLock.values()];
}

export interface Verdict {
  readonly locks: number;
  readonly operations: number;
  /** Calls for a lock without an answer: each may have got it, for a while. */
  readonly unheard: number;
  readonly problems: readonly string[];
  /** Histories that the search could not get through: nothing is known of them. */
  readonly unfinished: readonly string[];
}

export function judged(all: readonly LockHistory[]): Verdict {
  const [problems, unfinished]: [string[], string[]] = [[], []];
  let [operations, unheard] = [0, 0];
  for (const history of all) {
    operations += history.ops.length;
    unheard += history.unheard.length;
    try {
      problems.push(...historyProblems(history));
    } catch (error) {
      if (!(error instanceof TooLarge)) throw error;
      unfinished.push(error.message);
    }
  }
  return { locks: all.length, operations, unheard, problems, unfinished };
}

function acquireOf(hold: Hold, released: ReadonlySet<number>, crashesMs: readonly number[]): AcquireOp {
  const { client, type, token, ticket, askedMs, fromMs, untilMs, endsMs } = hold;
  // A session hold that its own release has ended did not end before. When a crash has taken the answer, or the loss
  // of the lease came first, it may have ended from the moment on in which its holder believed in it last.
  const sessionEndMs = released.has(token) ? NEVER : untilMs;
  return {
    kind: "acquire",
    client,
    calledMs: askedMs,
    returnedMs: fromMs,
    token,
    detached: type !== "session",
    ticket,
    wasAway: crashesMs.some((atMs) => askedMs < atMs && atMs < fromMs),
    mayEndFromMs: endsMs === null ? sessionEndMs : endsMs - ROUNDING_MS,
  };
}

function opOf({ kind, client, token, calledMs, returnedMs, result }: Asked): Op {
  const span = { client, calledMs, returnedMs: returnedMs ?? NEVER };
  switch (kind) {
    case "release":
      return { kind, ...span, token: token!, result };
    case "unlock":
      return { kind, ...span, result };
    case "check":
      return { kind, ...span, result: result! };
  }
}
