import { randomBytes } from "node:crypto";

/** What the loop needs from the machine it runs on. The simulator brings its own. */
export interface LoopRuntime {
  /** Monotonic milliseconds, from any start. */
  monotonicMs(): number;
  /** Time of day, for people: no decision depends on it (L1). */
  wallMs(): number;
  /** 128 random bits as text. */
  randomId(): string;
  /** Calls back after what has arrived in this turn of the event loop. */
  defer(callback: () => void): void;
  /** Calls back after `ms`; the returned function cancels. */
  setTimer(callback: () => void, ms: number): () => void;
}

export const nodeRuntime: LoopRuntime = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  randomId: () => randomBytes(16).toString("base64url"),
  defer: (callback) => void setImmediate(callback),
  setTimer: (callback, ms) => {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
};
