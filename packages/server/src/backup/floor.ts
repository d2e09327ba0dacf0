/**
 * Where numbers begin after a restore (F3). How many tokens the lost history has given out after the backup nobody knows, and a counter in the
 * backup would not do: the same backup, or an older one, may be restored twice. What all histories have in common is time. So there is a
 * line that rises with the time of day, faster than any server gives out tokens, and a restore begins a day's rise above it (decision 017).
 *
 * Claim: let each history give out fewer than RATE_A_MS tokens a millisecond, taken over all its life, and no clock run backwards from one
 * restore to the next. Then each number that was given out before a restore is lower than each after it. For all numbers that are given out at
 * a time are below line(time) + a day's rise: a history that was never restored began at 1, one that was restored began there, and both rise more
 * slowly than the line does. Nothing is added for a restore of what was restored, or a history of many restores would be above one of few.
 */

/** More than a server can grant: the engine alone, without sockets or a disk, has been seen to do an eighth of it. */
export const RATE_A_MS = 1_024;
/** 2026-01-01: no token is older. */
export const BEGIN_MS = 1_767_225_600_000;
/** How far the clocks of the machines that make a backup and restore it may differ. */
export const CLOCKS_DIFFER_MS = 86_400_000;
const DAYS_RISE = CLOCKS_DIFFER_MS * RATE_A_MS;
/** Ceilings are ahead of what was given out, by a block for each restart in a row. */
const BLOCKS = 60_000 * RATE_A_MS;
/** Half of the safe integers: at that rate the other half lasts a server for 139 years. */
const FLOOR_MAX = 2 ** 52;

export interface FloorFacts {
  /** The time of day now, and when the backup was made. */
  readonly nowMs: number;
  readonly backupMs: number;
  /** The highest ceiling in the backup, of any service, of tokens or tickets. */
  readonly highest: number;
  /** By how much an earlier restore has raised the line. */
  readonly raisedBy: number;
  /** A number that the operator knows to be at or above all that were given out; null: he knows none. */
  readonly above: number | null;
}

/** Why no floor can be told, in words for an operator. */
export class FloorError extends Error {
  override readonly name = "FloorError";
}

/**
 * The first token and ticket of every service after a restore, and by how much the line is raised from then on.
 * @throws FloorError
 */
export function floorAfter({ nowMs, backupMs, highest, raisedBy, above }: FloorFacts): {
  readonly floor: number;
  readonly raisedBy: number;
} {
  if (backupMs - nowMs > CLOCKS_DIFFER_MS && above === null) {
    const [now, then] = [nowMs, backupMs].map((ms) => new Date(ms).toISOString());
    throw new FloorError(
      `The clock of this machine says ${now}, and the backup was made at ${then}. Set the clock right: how far the tokens have to be raised is told by it. Or ` +
        "say --tokens-above with a number that no token given out so far is above.",
    );
  }
  const line = lineAt(Math.max(nowMs, backupMs));
  // A backup with higher numbers than it could have: a clock was far ahead at an earlier restore. They count from where they are.
  const excess = highest - (lineAt(backupMs) + raisedBy + DAYS_RISE);
  const raised = Math.max(raisedBy, excess > BLOCKS ? raisedBy + excess + BLOCKS : 0, (above ?? 0) - line);
  const floor = line + raised + DAYS_RISE;
  if (floor > FLOOR_MAX)
    throw new FloorError(
      `The tokens would have to begin at ${floor}, which leaves too few of them. Is the clock of this machine right? It says ${new Date(nowMs).toISOString()}.`,
    );
  return { floor, raisedBy: raised };
}

function lineAt(ms: number): number {
  return Math.max(0, ms - BEGIN_MS) * RATE_A_MS;
}
