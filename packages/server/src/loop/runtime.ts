import { randomBytes } from "node:crypto";

/** What the loop needs from the machine it runs on. The simulator brings its own. */
export interface LoopRuntime {
  /** Monotonic milliseconds, from any start. */
  monotonicMs(): number;
  /** Time of day, for people: no decision depends on it (L1). */
  wallMs(): number;
  /** 128 random bits as text. */
  randomId(): string;
  /**
   * Calls back after what has arrived in this turn of the event loop.
   * @param hasEnd whether a connection has ended since it was asked last. Others may have, then, whose ends are not seen yet: Node reads what a connection
   * said last in one turn, and its end in the next. Whoever were granted something in between would keep it for a whole lease (Q7).
   */
  defer(callback: () => void, hasEnd?: () => boolean): void;
  /** Calls back after `ms`; the returned function cancels. */
  setTimer(callback: () => void, ms: number): () => void;
}

export const nodeRuntime: LoopRuntime = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  randomId: () => randomBytes(16).toString("base64url"),
  defer: (callback, hasEnd = () => false) => deferred(callback, hasEnd, TURNS_MAX),
  setTimer: (callback, ms) => {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
};

/** So many more turns at most: whoever makes connections end for ever keeps nobody from being served. */
const TURNS_MAX = 2;

function deferred(callback: () => void, hasEnd: () => boolean, turns: number): void {
  setImmediate(() => {
    if (turns > 0 && hasEnd()) deferred(callback, hasEnd, turns - 1);
    else callback();
  });
}
