import { LIMITS } from "./limits.js";

/**
 * A time span: a number of milliseconds, or a string such as `"500ms"`, `"30s"`, `"5m"`, `"2h"`, `"30d"`. At most ten years.
 *
 * @example
 * const half: Duration = "30s";
 */
export type Duration = number | `${number}${"ms" | "s" | "m" | "h" | "d"}`;

const MS_PER_UNIT = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const FORM = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/;

/**
 * Whole milliseconds of a duration (N4).
 * @throws TypeError for anything that is no duration, negative, or over ten years.
 */
export function durationMs(value: unknown, what = "A duration"): number {
  const ms = typeof value === "string" ? fromText(value) : value;
  if (typeof ms !== "number" || Number.isNaN(ms)) {
    throw new TypeError(`${what} must be milliseconds or a text such as "30s", not ${shown(value)}.`);
  }
  if (ms < 0 || ms > LIMITS.durationMsMax) {
    throw new TypeError(`${what} must be between 0 and ten years, not ${shown(value)}.`);
  }
  return Math.round(ms);
}

/** A duration as people write it: the largest unit that keeps it whole. */
export function durationText(ms: number): string {
  for (const unit of ["d", "h", "m", "s"] as const) {
    if (ms >= MS_PER_UNIT[unit] && ms % MS_PER_UNIT[unit] === 0) return `${ms / MS_PER_UNIT[unit]}${unit}`;
  }
  return `${ms}ms`;
}

function fromText(text: string): number {
  const match = FORM.exec(text);
  if (match === null) return Number.NaN;
  return Number(match[1]) * MS_PER_UNIT[match[2] as keyof typeof MS_PER_UNIT];
}

function shown(value: unknown): string {
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}
