import type { Timer } from "./runtime.js";

/** `setTimeout` takes no more; a longer time is slept in pieces (N4). */
const MS_MAX = 2 ** 31 - 1;

type Handle = ReturnType<typeof setTimeout> & { unref?: () => void };

/** A timer for any length of time. */
export function longTimer(callback: () => void, ms: number, keepsAlive: boolean): Timer {
  let handle: Handle;
  const arm = (restMs: number) => {
    const step = Math.min(restMs, MS_MAX);
    handle = setTimeout(() => (restMs > step ? arm(restMs - step) : callback()), Math.max(0, step));
    if (!keepsAlive) handle.unref?.();
  };
  arm(ms);
  return { cancel: () => clearTimeout(handle) };
}
