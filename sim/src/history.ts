/**
 * What clients saw of locks, and whether one lock service could have shown it to them. Each operation took effect at one
 * moment between its call and its return; the search looks for such moments (Wing and Gong, with Lowe's memory of states
 * that were tried). A hold that nobody ended may end by itself, but not before its lease.
 */
interface Span {
  readonly client: string;
  readonly calledMs: number;
  /** Infinity: the answer never came, and it may take effect at any time, or never. */
  readonly returnedMs: number;
}

export interface AcquireOp extends Span {
  readonly kind: "acquire";
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
  readonly result: boolean | null;
}

export interface CheckOp extends Span {
  readonly kind: "check";
  readonly result: boolean;
}

export type Op = AcquireOp | ReleaseOp | UnlockOp | CheckOp;

/** The operations on one lock. */
export interface LockHistory {
  readonly lock: string;
  readonly ops: readonly Op[];
  /** Calls that asked for a detached hold and never heard of it: each may have got one, for a while. */
  readonly unheard: readonly Span[];
}

const STATES_MAX = 200_000;

/** What is wrong with a history; empty when one lock service could have made it. */
export function historyProblems(history: LockHistory): readonly string[] {
  return [...tokenProblems(history), ...orderProblems(history), ...linearityProblems(history)];
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

/** Those who waited and were there all the time are served in the order in which they came (Q2). */
function orderProblems({ lock, ops }: LockHistory): string[] {
  const waited = acquiresOf(ops).filter((op) => op.ticket !== null && !op.wasAway);
  waited.sort((a, b) => a.token - b.token);
  const problems: string[] = [];
  for (let at = 1; at < waited.length; at++) {
    const [before, after] = [waited[at - 1]!, waited[at]!];
    if (before.ticket! <= after.ticket!) continue;
    problems.push(
      `${lock}: ${before.client} (ticket ${before.ticket}) got token ${before.token} ` +
        `before ${after.client} (ticket ${after.ticket}) got ${after.token}`,
    );
  }
  return problems;
}

/** An operation of the search. `must`: it took effect, and did so before its return. */
interface Move {
  readonly calledMs: number;
  readonly returnedMs: number;
  readonly must: boolean;
  readonly text: string;
  /** The holder after it, or undefined when it cannot happen in this state. */
  readonly next: (holder: AcquireOp | null, grants: number) => AcquireOp | null | undefined;
  readonly isGrant: boolean;
  /** It may or may not have happened, and can only while one certain hold lasts. */
  readonly isOfOneHold: boolean;
}

function linearityProblems(history: LockHistory): string[] {
  const moves = movesOf(history);
  const musts = moves.filter((move) => move.must).length;
  const tried = new Set<string>();
  // Whether the end of one hold was told or not makes no difference once its holder is gone.
  const counted = moves.reduce((bits, move, at) => (move.isOfOneHold ? bits : bits | (1n << BigInt(at))), 0n);
  let deepest: { done: number; open: string[] } = { done: -1, open: [] };

  /** @param first every move before this one is done */
  const search = (
    doneBits: bigint,
    done: number,
    holder: AcquireOp | null,
    grants: number,
    first: number,
  ): boolean => {
    if (done === musts) return true;
    const state = `${(doneBits & counted).toString(36)}/${holder?.token ?? 0}`;
    if (tried.has(state)) return false;
    if (tried.size >= STATES_MAX) throw new TooLarge(`${history.lock}: more than ${STATES_MAX} states`);
    tried.add(state);
    // Nothing may take effect after the earliest return of what is still to be explained.
    let limitMs = Number.POSITIVE_INFINITY;
    const open: number[] = [];
    for (let at = first; at < moves.length; at++) {
      const move = moves[at]!;
      if (move.calledMs > limitMs) break;
      if ((doneBits >> BigInt(at)) & 1n) continue;
      open.push(at);
      if (move.must) limitMs = Math.min(limitMs, move.returnedMs);
    }
    for (const at of open) {
      const move = moves[at]!;
      if (move.calledMs > limitMs) continue;
      const next = move.next(holder, grants);
      if (next === undefined) continue;
      const bits = doneBits | (1n << BigInt(at));
      let rest = first;
      while ((bits >> BigInt(rest)) & 1n) rest++;
      if (search(bits, done + (move.must ? 1 : 0), next, grants + (move.isGrant ? 1 : 0), rest)) return true;
    }
    if (done > deepest.done) {
      const held =
        holder === null ? "nobody holds it" : `${holder.client} holds it with token ${holder.token}`;
      deepest = { done, open: [held, ...open.filter((at) => moves[at]!.must).map((at) => moves[at]!.text)] };
    }
    return false;
  };

  if (search(0n, 0, null, 0, 0)) return [];
  return [
    `${history.lock}: no order explains what clients saw; after ${deepest.done} operations ${deepest.open.join("; ")}`,
  ];
}

function movesOf({ ops, unheard }: LockHistory): Move[] {
  const grantOrder = acquiresOf(ops).sort((a, b) => a.token - b.token);
  const moves: Move[] = [];
  for (const op of ops) {
    const { calledMs, returnedMs } = op;
    const base = { calledMs, returnedMs, must: true, isGrant: false, isOfOneHold: false, text: wordsOf(op) };
    switch (op.kind) {
      case "acquire":
        moves.push({
          ...base,
          isGrant: true,
          // Tokens rise in the order of the grants (F1).
          next: (holder, grants) => (holder === null && grantOrder[grants] === op ? op : undefined),
        });
        if (op.mayEndFromMs === Number.POSITIVE_INFINITY) break;
        moves.push({
          calledMs: Math.max(op.calledMs, op.mayEndFromMs),
          returnedMs: Number.POSITIVE_INFINITY,
          must: false,
          isGrant: false,
          isOfOneHold: true,
          text: `the end of token ${op.token}`,
          next: (holder) => (holder === op ? null : undefined),
        });
        break;
      case "release":
        moves.push({
          ...base,
          must: op.result !== null,
          isOfOneHold: op.result === null,
          next: (holder) => {
            const isHolder = holder?.token === op.token;
            if (op.result === false) return isHolder ? undefined : holder;
            return isHolder ? null : undefined;
          },
        });
        break;
      case "unlock": {
        // A hold of somebody who never heard of it may be what was freed, or what made room for that.
        const mayBeUnheard = unheard.some((span) => span.calledMs < op.returnedMs);
        moves.push({
          ...base,
          must: op.result !== null,
          next: (holder) => {
            if (op.result === false) return holder === null ? null : undefined;
            if (holder?.detached) return null;
            return holder === null && op.result && mayBeUnheard ? null : undefined;
          },
        });
        break;
      }
      case "check":
        // "Held" is always possible: somebody may have held it without hearing of it.
        if (!op.result) moves.push({ ...base, next: (holder) => (holder === null ? null : undefined) });
        break;
    }
  }
  return moves.sort((a, b) => a.calledMs - b.calledMs);
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
