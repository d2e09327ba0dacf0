import { fit, type Want } from "./modes.js";

export interface StandingHold {
  readonly token: number;
  readonly wants: readonly Want[];
  /** It is over, and what remains of it ends at its time. */
  readonly isClosed: boolean;
}

export interface StandingWaiter {
  readonly ticket: number;
  readonly wants: readonly Want[];
  /** Tokens of the holds that it is asked inside of. */
  readonly within: readonly number[];
}

/** Who has what and who waits for it, at one moment. */
export interface Standing {
  readonly holds: readonly StandingHold[];
  /** Those who can be granted something now: not those who are away. */
  readonly waiters: readonly StandingWaiter[];
}

/**
 * The tickets of those who could never be granted, played through: whoever has nothing asked inside his hold that waits lets
 * go of it, whoever is next gets what he wants and lets go of it again, until nothing moves any more (D2).
 */
export function stuckIn({ holds, waiters }: Standing): ReadonlySet<number> {
  let held = holds;
  let waiting = [...waiters].sort((a, b) => a.ticket - b.ticket);
  for (;;) {
    const inside = new Set(waiting.flatMap(({ within }) => within));
    const stay = held.filter(({ token, isClosed }) => !isClosed && inside.has(token));
    const next = waiting.find((waiter, at) => isServed(waiter, stay, waiting.slice(0, at)));
    if (next === undefined && stay.length === held.length)
      return new Set(waiting.map(({ ticket }) => ticket));
    held = stay;
    waiting = waiting.filter((waiter) => waiter !== next);
  }
}

/** True when there is room for all that it wants, beside the holders and those who stand before it. */
export function isServed(
  { wants }: { readonly wants: readonly Want[] },
  holds: readonly { readonly wants: readonly Want[] }[],
  before: readonly { readonly wants: readonly Want[] }[],
): boolean {
  return wants.every((want) => {
    const others = [...inLock(want.lock, holds), ...inLock(want.lock, before)];
    return others.length === 0 || (want.mode !== "exclusive" && fit([...others, want]));
  });
}

function inLock(name: string, all: readonly { readonly wants: readonly Want[] }[]): Want[] {
  const found: Want[] = [];
  for (const { wants } of all) for (const want of wants) if (want.lock === name) found.push(want);
  return found;
}
