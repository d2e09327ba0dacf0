import { type ClientMessage, ERRORS, type ErrorCode, type RefusalDetails, type Scope } from "lockdb/protocol";

/** A refusal on its way to its caller. */
export class Refusal extends Error {
  readonly code: ErrorCode;
  readonly details: RefusalDetails;

  constructor(code: ErrorCode, message: string = ERRORS[code].message, details: RefusalDetails = {}) {
    super(message);
    this.code = code;
    this.details = details;
  }
}

/** What somebody must be allowed, to do something. */
export interface Need {
  /** Any one of these (A2). None: every key will do. */
  readonly scopes: readonly Scope[];
  /** It is about the account, with all its services: not for keys that are limited to some. */
  readonly isOverall?: true;
  /** It asks for a lock: after the end of a trial it is refused, unless it is no new one (A4). */
  readonly isNewLock?: true;
  /** It keeps something, or gives it back: the common limit of requests does not stop it (A5). */
  readonly isWayOut?: true;
  /** It leaves an entry in the audit log (A7). */
  readonly isAct?: true;
}

/** Somebody with an API key. A live view: what the key may do is looked at each time, and may become less. */
export interface Caller {
  readonly account: string;
  /** Which key it is, for the audit log. */
  readonly label: string;
  /** Why it may not do this now; null: it may. Not asked of the service itself: null, or a service that nobody has used, will do. */
  refusal(need: Need, service: string | null): "UNAUTHORIZED" | "FORBIDDEN" | null;
  /** Its account may have no new lock (A4). */
  readonly trialIsOver: boolean;
  /** Counts a request against the limits of its account (A5). False: too many. */
  take(need: Need): boolean;
  /** Counts one that was made before, on a connection that broke: it may be one too many, which is made up for later. */
  borrow(): boolean;
  /** Counts a refusal. False: so many come on this connection that it is better ended. */
  mayBeRefused(): boolean;
  /** Calls back when it may do less than before. The returned function ends that. */
  watch(changed: () => void): () => void;
}

/** Why a caller may not do this in a service now, or null; what would have to be recorded, only where there is room for that (A7). */
export function refusalFor(
  caller: Caller,
  need: Need,
  service: string | null,
  loop: { mayAct(account: string): boolean },
): ErrorCode | null {
  const code = caller.refusal(need, service);
  if (code !== null) return code;
  return need.isAct === true && !loop.mayAct(caller.account) ? "LIMIT_EXCEEDED" : null;
}

/** Calls back when a caller may not do something any more that is still under way (A2). The returned function ends that. */
export function whenRefused(
  caller: Caller,
  need: Need,
  service: string,
  refused: (code: ErrorCode) => void,
): () => void {
  return caller.watch(() => {
    const code = caller.refusal(need, service);
    if (code !== null) refused(code);
  });
}

/** What a connection is for: without one of these it has nothing to say. */
export const TO_CONNECT: Need = { scopes: ["lock", "read", "force"], isWayOut: true };

/** A connection that may lock is over when it may no more, or its locks would live on. */
export const TO_HOLD: Need = { scopes: ["lock"], isWayOut: true };

/** To take a lock away from whoever has it. */
export const TO_FORCE: Need = { scopes: ["force"], isAct: true };

const TO_READ: Need = { scopes: ["read"] };

/** The need of each native message. */
export const NEEDS: { readonly [Kind in ClientMessage[0]]: Need } = {
  hello: TO_CONNECT,
  sync: TO_CONNECT,
  heartbeat: TO_CONNECT,
  bye: TO_CONNECT,
  cancel: TO_CONNECT,
  unwatch: TO_CONNECT,
  // It ends detached holds too, by their tokens, which whoever reads can see.
  release: TO_HOLD,
  abandon: TO_HOLD,
  hold: TO_HOLD,
  unlock: TO_HOLD,
  acquire: { scopes: ["lock"], isNewLock: true },
  check: { scopes: ["lock", "read"] },
  inspect: TO_READ,
  list: TO_READ,
  watch: TO_READ,
  force: TO_FORCE,
};

/** What an account may have in all its services together (N3); null: as much as the server can. */
export interface AccountLimits {
  readonly holds: number | null;
  readonly sessions: number | null;
  readonly waiters: number | null;
  readonly services: number | null;
  /** Entries that it may add to the audit log. */
  readonly acts: number | null;
}
