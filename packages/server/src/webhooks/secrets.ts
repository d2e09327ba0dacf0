import type { Act, OutsideChange, OutsideRecord } from "../loop/index.js";
import { newSecret } from "./signature.js";

/** What an account signs with. */
export interface SecretInfo {
  readonly secret: string;
  /** Signs too, until then (ISO 8601), so that receivers can change to the new one. */
  readonly old: { readonly secret: string; readonly until: string } | null;
}

interface SecretRecord {
  readonly secret: string;
  readonly old?: { readonly secret: string; readonly untilMs: number };
}

/** Writes a record unless there is one. @returns the one that is there then */
export type PutIfAbsent = (key: string, value: object) => Promise<object>;

type Keep = (changes: readonly OutsideChange[], ...acts: readonly Act[]) => Promise<void>;

/** The secrets of all accounts. They are in clear in the store: without them nothing can be signed. */
export class Secrets {
  readonly #wallMs: () => number;
  readonly #keep: Keep;
  readonly #putIfAbsent: PutIfAbsent | undefined;
  readonly #byAccount = new Map<string, SecretRecord>();
  /** Until the change of an account's secrets is durable nobody is told of it. */
  readonly #changing = new Map<string, Promise<void>>();

  /** @param putIfAbsent in a cluster: another member may be making the same */
  constructor(wallMs: () => number, keep: Keep, putIfAbsent: PutIfAbsent | undefined) {
    this.#wallMs = wallMs;
    this.#keep = keep;
    this.#putIfAbsent = putIfAbsent;
  }

  restore({ key, value }: OutsideRecord): void {
    this.#byAccount.set(key.split("/")[0]!, value as SecretRecord);
  }

  /** What to sign with, one or two: made at the first use. */
  async live(account: string): Promise<readonly string[]> {
    const { secret, old } = await this.of(account);
    return old === null ? [secret] : [secret, old.secret];
  }

  async of(account: string): Promise<SecretInfo> {
    await this.#changing.get(account);
    if (!this.#byAccount.has(account)) await this.#make(account);
    const { secret, old } = this.#byAccount.get(account)!;
    // By the time of day: two clocks that differ cost one signature too many, and no lock.
    if (old === undefined || old.untilMs <= this.#wallMs()) return { secret, old: null };
    return { secret, old: { secret: old.secret, until: new Date(old.untilMs).toISOString() } };
  }

  /**
   * Makes a new secret. The one before it signs on for a while; the one before that, no more.
   * @param act what is recorded of it, in the same batch
   */
  async rotate(account: string, oldKeptMs: number, act: Act): Promise<SecretInfo> {
    const { secret } = await this.of(account);
    const old = { secret, untilMs: this.#wallMs() + oldKeptMs };
    await this.#change(account, { secret: newSecret(), old }, act);
    return this.of(account);
  }

  async #make(account: string): Promise<void> {
    const record = { secret: newSecret() };
    if (this.#putIfAbsent === undefined) return this.#change(account, record);
    this.#byAccount.set(account, (await this.#putIfAbsent(secretKey(account), record)) as SecretRecord);
  }

  async #change(account: string, record: SecretRecord, ...acts: readonly Act[]): Promise<void> {
    const before = this.#changing.get(account);
    if (before !== undefined) return before;
    const put = { key: secretKey(account), value: record };
    const change = this.#keep([put], ...acts).then(() => {
      this.#byAccount.set(account, record);
    });
    this.#changing.set(account, change);
    // Whatever came of it: the caller has it.
    await change.finally(() => this.#changing.delete(account));
  }
}

function secretKey(account: string): string {
  return `${account}/webhook/secret`;
}
