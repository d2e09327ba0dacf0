import type { OutsideChange, OutsideRecord } from "../loop/index.js";
import { ACCOUNT_DEFAULT, Account, type AccountRecord } from "./account.js";
import { Key, type KeyRecord, rootRecord } from "./key.js";

/** All accounts and keys, as they are now. */
export class Book {
  readonly #accounts = new Map<string, Account>();
  readonly #keys = new Map<string, Key>();
  readonly #part: (account: string, ratePerS: number) => number;

  /** @param part as an `Account` has it */
  constructor(part: (account: string, ratePerS: number) => number) {
    this.#part = part;
    this.putAccount(ACCOUNT_DEFAULT, {
      createdAt: new Date(0).toISOString(),
      email: null,
      trialEndsAt: null,
    });
  }

  get accounts(): ReadonlyMap<string, Account> {
    return this.#accounts;
  }

  get keys(): ReadonlyMap<string, Key> {
    return this.#keys;
  }

  /** These are all records, and what was known before counts no more. */
  restore(records: readonly OutsideRecord[]): void {
    const { accounts, keys } = this.#put(records);
    accounts.add(ACCOUNT_DEFAULT);
    // After a failure of the store some may be gone that had been seen.
    for (const id of [...this.#keys.keys()]) if (!keys.has(id)) this.forgetKey(id);
    for (const id of [...this.#accounts.keys()]) if (!accounts.has(id)) this.#accounts.delete(id);
  }

  /**
   * These have changed, and nothing else.
   * @throws Error when they do not go with what is known: all is to be read then. Some of them may be in place
   */
  apply(changes: readonly OutsideChange[]): void {
    // First what is gone: nothing after it can keep a revoked key alive.
    for (const { key, value } of changes) {
      const [account, kind, id] = key.split("/");
      if (value !== null) continue;
      if (kind === "account") throw new Error("An account is gone.");
      if (kind === "key" && this.#keys.get(id!)?.account.id === account) this.forgetKey(id!);
    }
    const put = changes.filter((change): change is OutsideRecord => change.value !== null);
    const { strays } = this.#put(put);
    if (strays > 0) throw new Error("A key is there whose account is not known.");
  }

  /** Makes it, or changes what is known of it. */
  putAccount(id: string, record: AccountRecord): Account {
    const known = this.#accounts.get(id);
    if (known !== undefined) {
      known.record = record;
      return known;
    }
    const account = new Account(id, record, this.#part);
    this.#accounts.set(id, account);
    return account;
  }

  /** Makes it, or changes what is known of it. */
  putKey(id: string, account: Account, record: KeyRecord): Key {
    const known = this.#keys.get(id);
    if (known !== undefined && known.account === account) {
      known.record = record;
      return known;
    }
    const key = new Key(id, account, record);
    this.#keys.set(id, key);
    account.keys.add(key);
    return key;
  }

  /** It is revoked: what is open under it hears of it. */
  forgetKey(id: string): void {
    const key = this.#keys.get(id)!;
    this.#keys.delete(id);
    key.account.keys.delete(key);
    key.record = null;
  }

  /** Accounts first. @returns which there are, and how many keys are of no account that is known */
  #put(records: readonly OutsideRecord[]): {
    readonly accounts: Set<string>;
    readonly keys: ReadonlySet<string>;
    readonly strays: number;
  } {
    const [accounts, keys] = [new Set<string>(), new Set<string>()];
    let strays = 0;
    for (const { key, value } of records) {
      const [id, kind] = key.split("/");
      if (kind !== "account") continue;
      accounts.add(id!);
      this.putAccount(id!, value as AccountRecord);
    }
    for (const { key, value } of records) {
      const [accountId, kind, id] = key.split("/");
      if (kind !== "key") continue;
      const account = this.#accounts.get(accountId!);
      if (account === undefined) {
        strays++;
        continue;
      }
      const isFirstForm = "hash" in value;
      this.putKey(id!, account, isFirstForm ? rootRecord(value.hash as string, null) : (value as KeyRecord));
      keys.add(id!);
    }
    return { accounts, keys, strays };
  }
}
