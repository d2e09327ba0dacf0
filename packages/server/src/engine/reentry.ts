import type { ServerMessage } from "lockdb/protocol";
import { endsAtMs } from "./inspect.js";
import { covers, type Want } from "./modes.js";
import { grantedMessage } from "./replies.js";
import type { Hold } from "./state.js";

/** One of these holds that has all that is wanted, in a mode that serves (D3). */
export function coveringHold(holds: readonly (Hold | undefined)[], wants: readonly Want[]): Hold | undefined {
  return holds.find((hold) => hold !== undefined && isTrusted(hold) && hasAll(hold, wants));
}

/** Its holder believes in it, or may. One that is coming back has said by now which of its holds it does. */
function isTrusted({ remainder, session, seenOn }: Hold): boolean {
  return !remainder && (session?.syncing !== true || seenOn === session.connection);
}

/** The answer to who asks inside of a hold for what it has: it is granted again, as the same one. */
export function grantedAgain(id: number, hold: Hold, nowMs: number): ServerMessage {
  const expiresInMs = Math.max(0, endsAtMs(hold) - nowMs);
  return grantedMessage(id, hold.token, { reentrant: true, expiresInMs });
}

function hasAll(hold: Hold, wants: readonly Want[]): boolean {
  return wants.every(({ name, mode }) =>
    hold.grips.some((grip) => grip.lock.name === name && covers(grip.mode, mode)),
  );
}
