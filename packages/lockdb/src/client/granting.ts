import type { LockInfo } from "../protocol/index.js";
import { BorrowedHold, type BorrowedTime } from "./borrowed-hold.js";
import { errorOf, LockLostError, LockTimeoutError } from "./errors.js";
import { InnerLease } from "./inner-lease.js";
import { HeldLease, type LeaseKeeper } from "./lease.js";
import { labelOf, namesIn } from "./names.js";
import type { AcquireRequest, Granted } from "./request.js";
import type { Moment } from "./trust.js";

const LOST_AROUND =
  "The hold that this was asked inside of is over. Stop the work it protected, then ask again.";

/** What a grant needs from the session that it came to. */
export interface GrantHost extends LeaseKeeper {
  /** The last moment before which the session is known to have been renewed. */
  readonly renewedAt: Moment | null;
  /** When the grant was heard. */
  readonly heardAt: Moment;
  keep(lease: HeldLease): void;
  /** Nobody will use what this request was granted. */
  giveBack(request: AcquireRequest, token: number): void;
  /** Asks for the same in what is left of the time. */
  askAgain(request: AcquireRequest, waitMs: number): void;
  /** @param token of the holder to be shown first */
  inspect(name: string, token: number): Promise<LockInfo>;
  /** Of the session: how long it is kept without a renewal. */
  readonly leaseMs: number;
}

/** Makes a lease of a grant, unless it came too late to be trusted. */
export function granted(host: GrantHost, request: AcquireRequest, [, , token, extra]: Granted): void {
  if (extra?.reentrant === true) return grantedAgain(host, request, token, extra.expiresInMs ?? 0);
  const { terms } = request;
  const { heardAt } = host;
  const lease = new HeldLease(host, token, terms, request.grantedAfter(host.renewedAt), heardAt, extra);
  if (lease.remainingAt(heardAt) > 0) {
    if (terms.detachedMs === null) host.keep(lease);
    return request.resolve(lease);
  }
  // It is given back, and asked for again in what is left of the time (L5).
  lease.lose("its grant came too late");
  host.giveBack(request, token);
  const leftMs = request.endsAtMs - host.runtime.monotonicMs();
  if (leftMs > 0) return host.askAgain(request, leftMs);
  request.reject(
    new LockTimeoutError("The lock was granted too late to be used. Try again, or wait longer."),
  );
}

/** An enclosing hold has it already: of this client, or of one that has called it (D3). */
function grantedAgain(host: GrantHost, request: AcquireRequest, token: number, expiresInMs: number): void {
  const { names, enclosing } = request.terms;
  const own = enclosing.find((hold) => hold.token === token && hold.lease?.isKeptBy(host))?.lease;
  if (own != null) {
    // It may have been lost meanwhile by our clocks, which the server does not see.
    if (own.remainingMs === 0) return request.reject(new LockLostError(LOST_AROUND, { token }));
    return request.resolve(new InnerLease(own, enclosing));
  }
  const time = { expiresInMs, since: request.grantedAfter(host.renewedAt) };
  const look = () => lookAfter(host, namesIn(names)[0]!, token);
  const outer = new BorrowedHold(host.runtime, token, labelOf(names), time, host.leaseMs, look);
  if (outer.remainingMs > 0) return request.resolve(new InnerLease(outer, enclosing));
  outer.left();
  request.reject(new LockTimeoutError("The lock was granted too late to be used. Try again."));
}

/** Whether a hold of another client is still there, and for how long. */
async function lookAfter(host: GrantHost, name: string, token: number): Promise<BorrowedTime | null> {
  const since = host.now();
  const info = await host.inspect(name, token);
  const holder = info.holders.find((each) => each.token === token && each.state === "held");
  if (holder === undefined && info.recovering) throw errorOf("RECOVERING");
  return holder === undefined ? null : { expiresInMs: holder.expiresInMs, since };
}
