import { LockDBError } from "../../packages/lockdb/dist/client/errors.js";
import type { Life } from "./client-host.js";
import type { Shared } from "./shared.js";
import type { About } from "./story.js";

/** Refusals that a caller must expect. Any other is a mistake of client or server. */
const EXPECTED = new Set(["LOCK_TIMEOUT", "RECOVERING", "CONNECTION", "UNAVAILABLE", "CLOSED"]);

/** The value, or null after a refusal that a caller must expect. */
export async function settled<T>(
  life: Life,
  { world }: Shared,
  about: About,
  call: () => Promise<T>,
  also: Readonly<Record<string, () => void>> = {},
): Promise<T | null> {
  try {
    return await call();
  } catch (error) {
    const { code, message } = error as LockDBError;
    world.story.note(about, life.id, () => `is told ${code ?? ""} ${message}`);
    if (error instanceof LockDBError && Object.hasOwn(also, code)) also[code]!();
    else if (error instanceof LockDBError && !EXPECTED.has(code)) {
      world.violate("Q10", `${life.id} is told ${code}: ${message}`, about);
    } else if (!(error instanceof LockDBError) && message !== "given up") {
      world.violate("Q10", `${life.id}: ${(error as Error).stack}`, about);
    }
    return null;
  }
}

/** What a checker reads of clocks takes no time. */
export function observed<T>({ world }: Shared, read: () => T): T {
  world.observing = true;
  const value = read();
  world.observing = false;
  return value;
}
