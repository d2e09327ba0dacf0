import type { IncomingMessage, ServerResponse } from "node:http";
import type { Access, KeyCaller } from "../access/index.js";
import type { Loop, ServerTotals } from "../loop/index.js";
import { AddressCounts } from "./address-counts.js";
import { addressBucket, addressOf } from "./addresses.js";

/** Wrong keys a minute from one address; beyond it they are told to slow down (A1). */
const WRONG_MAX = 60;
const WRONG_WINDOW_MS = 60_000;

type Log = { warn(facts: object, text: string): void };

/** Who comes in, the same for every interface: by the key, before anything else of a request is read (A1). */
export class Gate {
  readonly #access: Access;
  readonly #callers = new WeakMap<IncomingMessage, KeyCaller>();
  readonly #wrong: AddressCounts;
  readonly #log: Log;
  readonly #totals: ServerTotals;

  constructor(access: Access, loop: Loop, log: Log) {
    this.#access = access;
    this.#totals = loop.totals;
    this.#wrong = new AddressCounts(WRONG_MAX, WRONG_WINDOW_MS, loop.runtime.monotonicMs);
    this.#log = log;
  }

  /** One more connection or stream of an account. @returns what ends it; null: it has too many (N3) */
  enter({ account, owner }: KeyCaller): (() => void) | null {
    const { connections = null } = this.#access.leftOf(account) ?? {};
    if (connections !== null && owner.connections >= connections) return null;
    owner.connections++;
    return () => {
      owner.connections--;
    };
  }

  /** Who has made a request that was admitted. */
  callerOf(request: IncomingMessage): KeyCaller {
    return this.#callers.get(request)!;
  }

  /**
   * Who is calling, or the code of the refusal. A right key passes whatever others from its address have tried.
   * @param authorization in place of the header, for those who cannot set it
   */
  admit(
    request: IncomingMessage,
    authorization: string | undefined = request.headers.authorization,
  ): KeyCaller | "UNAUTHORIZED" | "RATE_LIMITED" {
    const caller = this.#access.callerOf(authorization);
    if (caller !== null) {
      this.#callers.set(request, caller);
      return caller;
    }
    if (authorization === undefined) {
      this.#totals.authFailures.no_key++;
      return "UNAUTHORIZED";
    }
    this.#totals.authFailures.wrong_key++;
    const address = addressBucket(addressOf(request));
    const { count, waitMs } = this.#wrong.add(address);
    if (count === WRONG_MAX + 1) this.#log.warn({ address }, "many wrong API keys came from one address");
    return waitMs === 0 ? "UNAUTHORIZED" : "RATE_LIMITED";
  }
}

/** Tells how many requests the account has left, where they are counted (draft-ietf-httpapi-ratelimit-headers-10). */
export function tellQuota({ quota }: KeyCaller, response: ServerResponse): void {
  if (quota === null) return;
  response.setHeader("ratelimit-policy", `"account";q=${quota.ratePerS};w=1`);
  response.setHeader("ratelimit", `"account";r=${quota.left};t=1`);
}
