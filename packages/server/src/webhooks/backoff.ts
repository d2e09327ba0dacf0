/** How long a delivery is tried, in up time of the server (C5). */
export const TRIED_MS = 24 * 3_600_000;

const FIRST_MS = 5_000;
const LONGEST_MS = 3_600_000;

/** At most so long after a start it is tried again, whatever was left of its time to wait. */
const AFTER_START_MS = 10_000;

/**
 * How long to wait after a failed attempt: twice as long each time, half of it left to chance, so that what has failed
 * together does not come again together. Never beyond the end of the day: that has one last attempt.
 * @param attempts how many have failed, at least one
 * @param ageMs how long it has been tried
 * @param askedMs what the receiver has asked for with `Retry-After`, or 0
 * @param chance from 0 to 1
 * @returns null when it is to be given up
 */
export function retryDelayMs(
  attempts: number,
  ageMs: number,
  askedMs: number,
  chance: number,
): number | null {
  if (ageMs >= TRIED_MS) return null;
  const fullMs = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(attempts - 1, 20));
  const ownMs = fullMs / 2 + (fullMs / 2) * chance;
  return Math.min(Math.max(ownMs, Math.min(askedMs, LONGEST_MS)), TRIED_MS - ageMs);
}

/** How long to wait after a start of the server. The time to wait began in another life, so nobody knows what is left. */
export function restartDelayMs(waitMs: number, chance: number): number {
  return Math.min(waitMs, AFTER_START_MS) * chance;
}
