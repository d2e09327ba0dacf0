/**
 * A stand-in for the archived client, written anew from what is known of it (part C of SPEC.md). It is as naive as the
 * original: its only timer is the one it hands to `fetch`, and any JSON is an answer unless the status is 401.
 */
export interface OriginalOptions {
  readonly apiKey: string;
  readonly serverUrl: string;
}

export interface LockOptions {
  readonly waitTimeoutInMs?: number;
  readonly lockExpirationInSeconds?: number;
  readonly unlockWebhookUrl?: string;
}

type Names = string | readonly string[];
type Answer = { readonly wasLocked?: boolean; readonly isLocked?: boolean };

export class OriginalClient {
  readonly #serviceId: string;
  readonly #options: OriginalOptions;

  constructor(serviceId: string, options: OriginalOptions) {
    this.#serviceId = serviceId;
    this.#options = options;
  }

  /** One name after the other, in the caller's order; a failure leaves those before it locked. */
  async lock(names: Names, options: LockOptions = {}): Promise<true> {
    const { waitTimeoutInMs = 30_000, lockExpirationInSeconds = 300, unlockWebhookUrl } = options;
    for (const lockName of [names].flat()) {
      const more = { waitForLockInMs: waitTimeoutInMs, unlockWebhookUrl, lockExpirationInSeconds };
      await this.#call("lock", lockName, waitTimeoutInMs, more);
    }
    return true;
  }

  /** True when any of the names was locked. */
  async unlock(names: Names, { waitTimeoutInMs = 5_000 } = {}): Promise<boolean> {
    let wasLocked = false;
    for (const lockName of [names].flat()) {
      const answer = await this.#call("unlock", lockName, waitTimeoutInMs);
      wasLocked ||= answer.wasLocked ?? false;
    }
    return wasLocked;
  }

  /** True when any of the names is locked. */
  async check(names: Names, { waitTimeoutInMs = 5_000 } = {}): Promise<boolean> {
    let isLocked = false;
    for (const lockName of [names].flat()) {
      const answer = await this.#call("check", lockName, waitTimeoutInMs);
      isLocked ||= answer.isLocked ?? false;
    }
    return isLocked;
  }

  async #call(
    eventName: string,
    lockName: string,
    callTimeoutInMs: number,
    more: object = {},
  ): Promise<Answer> {
    const { serverUrl, apiKey } = this.#options;
    // A string as body: `fetch` sends it as text/plain;charset=UTF-8.
    const response = await fetch(`${serverUrl}/${eventName}`, {
      method: "POST",
      headers: { Authorization: `Bearer ${apiKey}` },
      body: JSON.stringify({ serviceId: this.#serviceId, eventName, lockName, ...more }),
      signal: AbortSignal.timeout(callTimeoutInMs),
    });
    if (response.status === 401) throw new Error("Unauthorized");
    return (await response.json()) as Answer;
  }
}
