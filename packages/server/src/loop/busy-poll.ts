import type { LoopRuntime } from "./runtime.js";

/** What looks for nothing may cost, in turns that were caught: less than four of five, and it does not pay. */
const MISS_COST = 4;
/** So many turns' worth of looks for nothing, eight in a row, and it rests. */
const CREDIT_MAX = 32;
const REST_MS = 100;
/** From one look to the next when there was nothing between them. Whatever takes longer was work. */
const EMPTY_LOOK_MS = 0.02;
/** So often it looks for the next turn at most: a clock that stands still, as in somebody's tests, is no reason to stay awake. */
const LOOKS_MAX = 10_000;

/**
 * A runtime that stays awake for a moment after each turn, as long as that pays: to fall asleep and to be woken takes longer than a whole turn of few messages,
 * and whoever speaks to us waits for both. While it is awake the event loop turns without sleeping, so nothing is put off. Whether it pays is known by trying: when turns
 * do not follow so soon, it sleeps as others do, and tries again after 100 ms; that is one percent of a processor (decision 031).
 *
 * The same is done by Linux in a guest (`haltpoll`) and on a network device (`net.core.busy_poll`), by Seastar (`--idle-poll-time-us`), and by locks that spin before they
 * park (Karlin, Li, Manasse and Owicki, "Empirical studies of competitive spinning for a shared-memory multiprocessor", SOSP 1991).
 * @param stayMs how long it stays awake for nothing; 0: not at all
 * @param totals is told for how long in all
 */
export function busyPolling(
  runtime: LoopRuntime,
  stayMs: number,
  totals: { busyPollMs: number },
  again: (look: () => void) => void = (look) => setImmediate(look),
): LoopRuntime {
  if (stayMs === 0) return runtime;
  let isAwake = false;
  let lookedMs = 0;
  let sleepsAtMs = 0;
  let triesAtMs = 0;
  let credit = CREDIT_MAX;
  let looks = 0;

  const look = () => {
    const nowMs = runtime.monotonicMs();
    if (nowMs - lookedMs < EMPTY_LOOK_MS) totals.busyPollMs += nowMs - lookedMs;
    lookedMs = nowMs;
    if (nowMs < sleepsAtMs && ++looks < LOOKS_MAX) return again(look);
    isAwake = false;
    credit -= MISS_COST;
    if (credit > 0) return;
    credit = CREDIT_MAX;
    triesAtMs = nowMs + REST_MS;
  };

  const turned = () => {
    const nowMs = runtime.monotonicMs();
    sleepsAtMs = nowMs + stayMs;
    // The turn was work.
    lookedMs = nowMs;
    looks = 0;
    if (isAwake) {
      credit = Math.min(CREDIT_MAX, credit + 1);
    } else if (nowMs >= triesAtMs) {
      isAwake = true;
      again(look);
    }
  };

  return {
    ...runtime,
    defer: (callback, hasEnd) =>
      runtime.defer(() => {
        callback();
        turned();
      }, hasEnd),
  };
}
