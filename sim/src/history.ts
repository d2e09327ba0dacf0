import { conflict, exclusive, fit, locksOf, type Want } from "./modes.js";

/**
 * What clients saw of locks, and whether one lock service could have shown it to them. Each operation took effect at one
 * moment between its call and its return; the search looks for such moments (Wing and Gong, with Lowe's memory of states
 * that were tried). A hold that nobody ended may end by itself, but not before its lease. A set is one operation over
 * several locks, which are judged together.
 */
interface Span {
  readonly client: string;
  readonly calledMs: number;
  /** Infinity: the answer never came, and it may take effect at any time, or never. */
  readonly returnedMs: number;
}

export interface AcquireOp extends Span {
  readonly kind: "acquire";
  /** Absent: the history's own lock, exclusively. */
  readonly wants?: readonly Want[];
  readonly token: number;
  readonly detached: boolean;
  /** Its place in the order of arrival, if it had to wait. */
  readonly ticket: number | null;
  /** Its connection was down while it waited: others may have passed it (Q7). */
  readonly wasAway: boolean;
  /** When the hold may end without anybody's wish; Infinity for never. */
  readonly mayEndFromMs: number;
}

export interface ReleaseOp extends Span {
  readonly kind: "release";
  readonly token: number;
  /** Null: the answer never came. */
  readonly result: boolean | null;
}

export interface UnlockOp extends Span {
  readonly kind: "unlock";
  /** Absent: the history's own, as of a check. */
  readonly lock?: string;
  readonly result: boolean | null;
}

export interface CheckOp extends Span {
  readonly kind: "check";
  readonly lock?: string;
  readonly result: boolean;
}

export type Op = AcquireOp | ReleaseOp | UnlockOp | CheckOp;

/** The operations on one lock, or on several that sets have brought together. */
export interface LockHistory {
  readonly lock: string;
  readonly ops: readonly Op[];
  /** Calls that asked for a detached hold and never heard of it: each may have got one, for a while. */
  readonly unheard: readonly Span[];
}

const STATES_MAX = 200_000;

/** What is wrong with a history; empty when one lock service could have made it. */
export function historyProblems(history: LockHistory): readonly string[] {
  return [...tokenProblems(history), ...orderProblems(history), ...new Search(history).problems()];
}

/** True when the search was too large to be finished: nothing was proved either way. */
export class TooLarge extends Error {}

function tokenProblems({ lock, ops }: LockHistory): string[] {
  const problems: string[] = [];
  const byToken = new Map<number, AcquireOp>();
  for (const op of acquiresOf(ops)) {
    const other = byToken.get(op.token);
    if (other !== undefined)
      problems.push(`${lock}: ${op.client} and ${other.client} both got token ${op.token}`);
    byToken.set(op.token, op);
  }
  return problems;
}

/** Those who waited and were there all the time are served in the order in which they came (Q2), if they are in each other's way. */
function orderProblems({ lock, ops }: LockHistory): string[] {
  const waited = acquiresOf(ops).filter((op) => op.ticket !== null && !op.wasAway);
  waited.sort((a, b) => a.token - b.token);
  const problems: string[] = [];
  /** Of those before, by lock and mode, the one with the highest ticket. */
  const highest = new Map<string, { op: AcquireOp; want: Want }>();
  for (const op of waited) {
    const wants = wantsIn(op, lock);
    for (const want of wants) {
      for (const { op: before, want: other } of highest.values()) {
        if (before.ticket! <= op.ticket! || !conflict([other], [want])) continue;
        problems.push(
          `${lock}: ${before.client} (ticket ${before.ticket}) got token ${before.token} ` +
            `before ${op.client} (ticket ${op.ticket}) got ${op.token}`,
        );
      }
    }
    for (const want of wants) {
      const key = `${want.lock} ${want.mode} ${want.permits} ${want.weight}`;
      if ((highest.get(key)?.op.ticket ?? 0) < op.ticket!) highest.set(key, { op, want });
    }
  }
  return problems;
}

/** An operation that the search has to place. */
interface Move {
  readonly op: Op;
  readonly wants: readonly Want[];
  /** It took effect, and did so before its return. */
  readonly must: boolean;
}

interface State {
  /** Moves that are done. */
  readonly done: Uint8Array;
  /** Every move before this one is done. */
  first: number;
  mustsDone: number;
  grants: number;
  held: readonly AcquireOp[];
}

/**
 * Looks for an order. What can only make room, or changes nothing, is done as soon as it can be: no other order is missed by
 * that. So there is a choice only between the next grant, which is known by its token (F1), unlocks by name, and who
 * else's hold ends by itself meanwhile.
 */
class Search {
  readonly #history: LockHistory;
  readonly #moves: readonly Move[];
  readonly #musts: number;
  readonly #grantOrder: readonly AcquireOp[];
  /** From when on a hold may end without a release that was answered; absent when such a one has ended it. */
  readonly #endsFromMs = new Map<AcquireOp, number>();
  readonly #tried = new Set<string>();
  /** Locks that were held otherwise than exclusively: which of several holds came to its end first is open there. */
  readonly #crowded: ReadonlySet<string>;
  #deepest: { done: number; open: readonly string[] } = { done: -1, open: [] };

  constructor(history: LockHistory) {
    this.#history = history;
    const { ops, lock } = history;
    const grants = acquiresOf(ops);
    this.#grantOrder = [...grants].sort((a, b) => a.token - b.token);
    const released = new Set<number>();
    const unansweredMs = new Map<number, number>();
    for (const op of ops) {
      if (op.kind !== "release") continue;
      if (op.result === true) released.add(op.token);
      else if (op.result === null) {
        unansweredMs.set(op.token, Math.min(op.calledMs, unansweredMs.get(op.token) ?? op.calledMs));
      }
    }
    for (const op of grants) {
      const unanswered = unansweredMs.get(op.token) ?? Number.POSITIVE_INFINITY;
      if (!released.has(op.token)) this.#endsFromMs.set(op, Math.min(op.mayEndFromMs, unanswered));
    }
    this.#moves = ops
      .filter((op) => op.kind === "acquire" || op.kind === "unlock" || op.result !== null)
      // "Held" is always possible: somebody may have held it without hearing of it.
      .filter((op) => op.kind !== "check" || !op.result)
      .map((op) => ({ op, wants: wantsIn(op, lock), must: op.kind === "acquire" || op.result !== null }))
      .sort((a, b) => a.op.calledMs - b.op.calledMs);
    this.#musts = this.#moves.filter(({ must }) => must).length;
    const others = grants.flatMap((op) => wantsIn(op, lock)).filter(({ mode }) => mode !== "exclusive");
    this.#crowded = new Set(locksOf(others));
  }

  problems(): readonly string[] {
    const done = new Uint8Array(this.#moves.length);
    if (this.#isExplained({ done, first: 0, mustsDone: 0, grants: 0, held: [] })) return [];
    const { done: count, open } = this.#deepest;
    return [
      `${this.#history.lock}: no order explains what clients saw; after ${count} operations ${open.join("; ")}`,
    ];
  }

  #isExplained(state: State): boolean {
    for (;;) {
      const open = this.#settled(state);
      if (state.mustsDone === this.#musts) return true;
      if (!this.#isNew(state)) return false;
      const nexts = open.flatMap((at) => this.#after(state, at, limitOf(this.#moves, open)));
      const [only] = nexts;
      if (only === undefined) {
        this.#note(state, open);
        return false;
      }
      if (nexts.length > 1) {
        if (nexts.some((next) => this.#isExplained(next))) return true;
        this.#note(state, open);
        return false;
      }
      state = only;
    }
  }

  /** Does what is best done at once. @returns what is open then */
  #settled(state: State): readonly number[] {
    for (;;) {
      const open = this.#open(state);
      const at = open.find((each) => this.#isHarmless(state, this.#moves[each]!));
      if (at === undefined) return open;
      const { op } = this.#moves[at]!;
      if (op.kind === "release" && op.result)
        state.held = state.held.filter(({ token }) => token !== op.token);
      this.#do(state, at);
    }
  }

  /** True for a release that frees what it names, and for a look that shows what is so. */
  #isHarmless({ held }: State, { op, wants, must }: Move): boolean {
    if (!must || op.kind === "acquire") return false;
    if (op.kind === "release") return held.some(({ token }) => token === op.token) === op.result;
    return !op.result && this.#holdersOf(held, wants).length === 0;
  }

  /** Moves that may be next: nothing may take effect after the earliest return of what is still to be explained. */
  #open({ done, first }: State): readonly number[] {
    const moves = this.#moves;
    let limitMs = Number.POSITIVE_INFINITY;
    const open: number[] = [];
    for (let at = first; at < moves.length; at++) {
      const { op, must } = moves[at]!;
      if (op.calledMs > limitMs) break;
      if (done[at]) continue;
      open.push(at);
      if (must) limitMs = Math.min(limitMs, op.returnedMs);
    }
    return open.filter((at) => moves[at]!.op.calledMs <= limitMs);
  }

  /** What a state may become by one move. */
  #after(state: State, at: number, limitMs: number): readonly State[] {
    const { op, wants, must } = this.#moves[at]!;
    const { held } = state;
    const mayEnd = (hold: AcquireOp) =>
      Math.max(hold.calledMs, this.#endsFromMs.get(hold) ?? Number.POSITIVE_INFINITY) <= limitMs;
    const become = (rest: readonly AcquireOp[], isGrant = false): State => {
      const next: State = {
        ...state,
        done: state.done.slice(),
        held: isGrant ? [...rest, op as AcquireOp] : rest,
        grants: state.grants + (isGrant ? 1 : 0),
      };
      this.#do(next, at);
      return next;
    };
    switch (op.kind) {
      case "acquire": {
        if (this.#grantOrder[state.grants] !== op) return [];
        return this.#madeRoom(held, wants, mayEnd).map((rest) => become(rest, true));
      }
      case "release": {
        // It was over before.
        const hold = held.find(({ token }) => token === op.token);
        return hold !== undefined && !op.result && mayEnd(hold)
          ? [become(held.filter((it) => it !== hold))]
          : [];
      }
      case "check":
      case "unlock": {
        const holders = this.#holdersOf(held, wants);
        const without = held.filter((hold) => !holders.includes(hold));
        if (op.result === false) return holders.every(mayEnd) ? [become(without)] : [];
        const [only] = holders;
        const isOne = only?.detached === true && this.#wants(only).length === 1 && this.#endsFromMs.has(only);
        if (holders.length === 1 && isOne) return [become(without)];
        if (!must || holders.some((hold) => !mayEnd(hold))) return [];
        // A hold of somebody who never heard of it may be what was freed, or what made room for that.
        const mayBeUnheard = this.#history.unheard.some((span) => span.calledMs < op.returnedMs);
        const mayBeOther = wants.some(({ lock }) => this.#crowded.has(lock));
        return mayBeUnheard || mayBeOther ? [become(without)] : [];
      }
    }
  }

  /** The ways in which those who are in the way may have gone by themselves: as few of them as need be. */
  #madeRoom(
    held: readonly AcquireOp[],
    wants: readonly Want[],
    mayEnd: (hold: AcquireOp) => boolean,
  ): readonly (readonly AcquireOp[])[] {
    if (this.#hasRoom(held, wants)) return [held];
    const inTheWay = held.filter((hold) => conflict(this.#wants(hold), wants));
    if (inTheWay.some((hold) => !mayEnd(hold))) return [];
    const rest = held.filter((hold) => !inTheWay.includes(hold));
    if (this.#hasRoom(rest, wants)) return [rest];
    // Of a semaphore's holders, each of whom alone is not in the way, one or the other.
    const names = new Set(locksOf(wants));
    const beside = rest.filter(
      (hold) => mayEnd(hold) && this.#wants(hold).some(({ lock }) => names.has(lock)),
    );
    return beside.flatMap((hold) =>
      this.#madeRoom(
        rest.filter((each) => each !== hold),
        wants,
        mayEnd,
      ),
    );
  }

  #hasRoom(held: readonly AcquireOp[], wants: readonly Want[]): boolean {
    return wants.every((want) => {
      const others = held.flatMap((hold) => this.#wants(hold).filter(({ lock }) => lock === want.lock));
      return fit([...others, want]);
    });
  }

  #holdersOf(held: readonly AcquireOp[], [want]: readonly Want[]): readonly AcquireOp[] {
    return held.filter((hold) => this.#wants(hold).some(({ lock }) => lock === want!.lock));
  }

  #wants(hold: AcquireOp): readonly Want[] {
    return wantsIn(hold, this.#history.lock);
  }

  #do(state: State, at: number): void {
    state.done[at] = 1;
    if (this.#moves[at]!.must) state.mustsDone++;
    while (state.done[state.first]) state.first++;
  }

  #isNew({ done, first, held }: State): boolean {
    const later: number[] = [];
    for (let at = first; at < done.length; at++) if (done[at]) later.push(at);
    const key = `${first}/${later.join()}/${held.map(({ token }) => token).join()}`;
    if (this.#tried.has(key)) return false;
    if (this.#tried.size >= STATES_MAX)
      throw new TooLarge(`${this.#history.lock}: more than ${STATES_MAX} states`);
    this.#tried.add(key);
    return true;
  }

  #note({ mustsDone, held }: State, open: readonly number[]): void {
    if (mustsDone <= this.#deepest.done) return;
    const holds = held.map(({ client, token }) => `${client} holds token ${token}`);
    const musts = open.map((at) => this.#moves[at]!).filter(({ must }) => must);
    const words = musts.map(({ op }) => wordsOf(op));
    this.#deepest = { done: mustsDone, open: [holds.join(" and ") || "nobody holds it", ...words] };
  }
}

function limitOf(moves: readonly Move[], open: readonly number[]): number {
  const returns = open.map((at) => moves[at]!).filter(({ must }) => must);
  return Math.min(Number.POSITIVE_INFINITY, ...returns.map(({ op }) => op.returnedMs));
}

function wantsIn(op: Op, lock: string): readonly Want[] {
  if (op.kind === "acquire") return op.wants ?? [exclusive(lock)];
  return op.kind === "release" ? [] : [exclusive(op.lock ?? lock)];
}

function acquiresOf(ops: readonly Op[]): AcquireOp[] {
  return ops.filter((op): op is AcquireOp => op.kind === "acquire");
}

function wordsOf(op: Op): string {
  const span = `${op.calledMs.toFixed(1)}..${op.returnedMs.toFixed(1)}`;
  switch (op.kind) {
    case "acquire":
      return `${op.client} acquires token ${op.token} in ${span}`;
    case "release":
      return `${op.client} releases token ${op.token} in ${span}: ${op.result}`;
    case "unlock":
    case "check":
      return `${op.client} calls ${op.kind} in ${span}: ${op.result}`;
  }
}
