import {
  type Act,
  type Keeper,
  type Need,
  type OutsideChange,
  type OutsideRead,
  type OutsideRecord,
  Refusal,
} from "../loop/index.js";
import {
  ACCOUNT_DEFAULT,
  type Account,
  type AccountRecord,
  LIMITS_FULL,
  type Limits,
  TRIAL_MS,
} from "./account.js";
import { Book } from "./book.js";
import {
  isWithin,
  type Key,
  type KeyInfo,
  type KeyRecord,
  ROOT,
  rootHash,
  rootRecord,
  timeOf,
} from "./key.js";
import { KeyCaller } from "./key-caller.js";
import { bearerKey, isSameHash, keyHash, keyIdIn, newAccountId, newApiKey, newKeyId } from "./keys.js";
import type { AccessOptions, AccountChange, AccountInfo, KeyWish, Narrowing, NewKey } from "./wishes.js";

/** How soon what is open hears that its key has come to its end (A2: within a second). */
const ENDS_EVERY_MS = 250;
const USE_WRITTEN_EVERY_MS = 60_000;

interface Loop {
  keep(changes: readonly OutsideChange[], ...acts: readonly Act[]): Promise<void>;
}

/** Who may call, and what (A). All keys and accounts are in memory; each change is durable before it shows. */
export class Access implements Keeper {
  readonly kinds: ReadonlySet<string> = new Set(["account", "key"]);
  readonly #options: AccessOptions;
  readonly #book: Book;
  #loop: Loop | null = null;
  /** Changes are made one after the other: each begins with what the one before has left. */
  #last: Promise<unknown> = Promise.resolve();
  #cancelTimer: () => void = () => {};
  /** The hash of the root key that there was when this server started. */
  #rootAtStart: string | null = null;
  #sweptMs: number;
  #useWrittenMs: number;

  constructor(options: AccessOptions) {
    this.#options = options;
    this.#sweptMs = options.runtime.wallMs();
    this.#useWrittenMs = options.runtime.monotonicMs();
    this.#book = new Book((account, rate) => options.shares?.rateOf(account, rate) ?? 1);
  }

  /**
   * Begins to keep its records there.
   * @param givenKey the root key from outside; null: the one that is stored, or a new one
   * @returns the root key in clear when this start has made it or was given it; only its hash is stored
   */
  async start(
    loop: Loop,
    givenKey: string | null,
  ): Promise<{ readonly rootKey: string | null; readonly isNew: boolean }> {
    this.#loop = loop;
    this.#sweep();
    this.#rootAtStart = rootHash(this.#book.keys.get(ROOT));
    return this.takeRootKey(givenKey);
  }

  get hasRootKey(): boolean {
    return this.#book.keys.has(ROOT);
  }

  /**
   * Makes the root key, or takes the one from outside, if that is to be done. In a cluster again whenever this member comes to keep the keys: it replaces
   * the one that there was when it started, and no later one, so that members with an old one do not bring it back.
   */
  takeRootKey(
    givenKey: string | null,
  ): Promise<{ readonly rootKey: string | null; readonly isNew: boolean }> {
    return this.#change(async () => {
      const known = this.#book.keys.get(ROOT);
      const isKnown = givenKey !== null && known !== undefined && known.endsMs(keyHash(givenKey)) > 0;
      if (isKnown || (known !== undefined && givenKey === null)) return { rootKey: givenKey, isNew: false };
      const { isKeeper } = this.#options;
      if (isKeeper !== undefined && known !== undefined) {
        if (!isKeeper() || rootHash(known) !== this.#rootAtStart) return { rootKey: null, isNew: false };
      }
      const rootKey = givenKey ?? newApiKey(ROOT);
      const record = rootRecord(keyHash(rootKey), this.#now());
      const act = {
        account: ACCOUNT_DEFAULT,
        who: "operator",
        what: "root key replaced from the environment",
      };
      await this.#write([keyChange(ACCOUNT_DEFAULT, ROOT, record)], known === undefined ? [] : [act]);
      this.#book.putKey(ROOT, this.#book.accounts.get(ACCOUNT_DEFAULT)!, record);
      return { rootKey, isNew: givenKey === null };
    });
  }

  /**
   * In a cluster: takes what there is by now, or what has changed. Between two changes of its own, so that neither is lost.
   * @throws Error as `Book.apply`
   */
  readAnew(read: () => Promise<OutsideRead>): Promise<void> {
    return this.#change(async () => {
      const found = await read();
      if (found.isWhole) this.#book.restore(found.records);
      else this.#book.apply(found.changes);
    });
  }

  async stop(): Promise<void> {
    this.#cancelTimer();
    this.#cancelTimer = () => {};
    await this.#writeUse().catch(() => {});
    this.#loop = null;
  }

  restore(records: readonly OutsideRecord[]): void {
    this.#book.restore(records);
  }

  /** Who shows this `Authorization` header, or null. */
  callerOf(authorization: string | undefined): KeyCaller | null {
    const text = bearerKey(authorization);
    if (text === null) return null;
    const hash = keyHash(text);
    const root = this.#book.keys.get(ROOT);
    const named = this.#book.keys.get(keyIdIn(text) ?? ROOT) ?? root;
    // The root key may have any form, also one that looks like another key's.
    for (const key of named === root ? [root] : [named, root]) {
      for (const secret of key?.record?.secrets ?? []) {
        if (!isSameHash(secret.hash, hash)) continue;
        const caller = new KeyCaller(key!, secret.hash, this.#options.runtime);
        return caller.record === null ? null : caller;
      }
    }
    return null;
  }

  /** The limits of an account (A5). Null: it has none, and will have none. */
  limitsOf(account: string): Limits | null {
    if (account === ACCOUNT_DEFAULT) return null;
    // Services are read before it is known what their accounts may.
    return this.#book.accounts.get(account)?.limits ?? LIMITS_FULL;
  }

  /** What of them may be had at this server: in a cluster others have some. */
  leftOf(account: string): Limits | null {
    const limits = this.limitsOf(account);
    return limits === null ? null : (this.#options.shares?.leftOf(account, limits) ?? limits);
  }

  /** Accounts that have limits. */
  *limited(): Generator<Account> {
    for (const account of this.#book.accounts.values()) if (account.isLimited) yield account;
  }

  get counts(): { readonly accounts: number; readonly keys: number } {
    return { accounts: this.#book.accounts.size, keys: this.#book.keys.size };
  }

  // --- accounts ---

  /**
   * The account that a caller means.
   * @param id undefined: its own
   * @throws Refusal `NOT_FOUND` also for one that it does not reach (A3)
   */
  accountFor(caller: KeyCaller, id: string | undefined): Account {
    const isOwn = id === undefined || id === caller.account;
    const account = this.#book.accounts.get(isOwn ? caller.account : id);
    if (account === undefined || !(isOwn || isOperator(caller))) throw new Refusal("NOT_FOUND");
    return account;
  }

  /** In the order of their ids. */
  accounts(): readonly Account[] {
    return [...this.#book.accounts.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  /**
   * Makes an account, with a key that has every scope.
   * @param wish what it is to be; a trial begins now
   * @param who for the audit log
   * @param by an operator; absent: somebody who signs up
   * @throws Refusal `FORBIDDEN`, `LIMIT_EXCEEDED`, `UNAVAILABLE`
   */
  addAccount(
    wish: { readonly email: string | null; readonly isTrial: boolean },
    who: string,
    by?: KeyCaller,
  ): Promise<{ readonly account: AccountInfo; readonly apiKey: string }> {
    return this.#change(async () => {
      if (by !== undefined) this.#assertOperator(by);
      if (this.#book.accounts.size >= this.#options.accountsMax)
        throw new Refusal("LIMIT_EXCEEDED", "There are too many accounts. Ask the operator.");
      const { email, isTrial } = wish;
      const id = newAccountId();
      const trialEndsAt = isTrial ? isoTime(this.#options.runtime.wallMs() + TRIAL_MS) : null;
      const record: AccountRecord = { createdAt: this.#now(), email, trialEndsAt };
      const keyId = newKeyId();
      const apiKey = newApiKey(keyId);
      const createdBy = by === undefined ? "sign-up" : OPERATOR;
      const key = { ...rootRecord(keyHash(apiKey), this.#now()), name: "first key", createdBy };
      const changes = [{ key: `${id}/account`, value: record }, keyChange(id, keyId, key)];
      await this.#write(changes, actsOf(by, id, who, "account made", { key: keyId, trialEndsAt }));
      const account = this.#book.putAccount(id, record);
      this.#book.putKey(keyId, account, key);
      return { account: this.accountInfo(account), apiKey };
    });
  }

  /** Extends or ends a trial, or sets limits. @throws Refusal */
  changeAccount(
    caller: KeyCaller,
    account: Account,
    change: AccountChange,
    who: string,
  ): Promise<AccountInfo> {
    return this.#change(async () => {
      this.#assertOperator(caller);
      if (account.id === ACCOUNT_DEFAULT)
        throw new Refusal("INVALID", "The account default has no trial and no limits.");
      const { trialEndsAt = account.record.trialEndsAt, limits } = change;
      const all = Object.entries({ ...account.record.limits, ...limits });
      const record: AccountRecord = {
        ...account.record,
        trialEndsAt,
        limits: Object.fromEntries(all.filter(([, limit]) => limit !== null)) as Partial<Limits>,
      };
      const acts = actsOf(caller, account.id, who, "account changed", change);
      await this.#write([{ key: `${account.id}/account`, value: record }], acts);
      account.record = record;
      return this.accountInfo(account);
    });
  }

  accountInfo(account: Account): AccountInfo {
    const { email, createdAt, trialEndsAt } = account.record;
    const daysLeft = account.daysLeft(this.#options.runtime.wallMs());
    return { id: account.id, email, createdAt, trialEndsAt, daysLeft, limits: account.limits };
  }

  // --- keys ---

  /** All keys of an account, the oldest first. */
  keysOf(account: Account): readonly KeyInfo[] {
    const keys = [...account.keys].map((key) => this.keyInfo(key));
    return keys.sort((a, b) => compare(a.createdAt ?? "", b.createdAt ?? ""));
  }

  /** @throws Refusal `NOT_FOUND` also for a key of another account (A3) */
  keyOf(account: Account, id: string): Key {
    const key = this.#book.keys.get(id);
    if (key === undefined || key.account !== account) throw new Refusal("NOT_FOUND");
    return key;
  }

  /** @throws Refusal `FORBIDDEN` when the caller has not all of it; `LIMIT_EXCEEDED`, `UNAVAILABLE` */
  addKey(caller: KeyCaller, account: Account, wish: KeyWish, who: string): Promise<NewKey> {
    return this.#change(async () => {
      this.#assertAdmin(caller);
      if (!caller.covers(wish)) throw new Refusal("FORBIDDEN", GIVES_TOO_MUCH);
      if (timeOf(wish.expiresAt) <= this.#options.runtime.wallMs())
        throw new Refusal("INVALID", "That time has passed: the key would never work.");
      if (account.keys.size >= account.limits.keys) throw new Refusal("LIMIT_EXCEEDED");
      const id = newKeyId();
      const apiKey = newApiKey(id);
      const record: KeyRecord = {
        ...wish,
        createdAt: this.#now(),
        createdBy: caller.account === account.id ? caller.label : OPERATOR,
        secrets: [{ hash: keyHash(apiKey), endsAt: null }],
        lastUsedAt: null,
      };
      const details = { key: id, ...wish };
      const acts = actsOf(caller, account.id, who, "key made", details);
      await this.#write([keyChange(account.id, id, record)], acts);
      return { key: this.keyInfo(this.#book.putKey(id, account, record)), apiKey };
    });
  }

  /** @throws Refusal `INVALID` when it would be more than before; `FORBIDDEN`, `NOT_FOUND`, `UNAVAILABLE` */
  narrowKey(caller: KeyCaller, key: Key, { name, ...less }: Narrowing, who: string): Promise<KeyInfo> {
    return this.#change(async () => {
      const before = this.#lessenable(caller, key);
      const record = { ...before, ...less, ...(name === undefined ? {} : { name }) };
      if (!isWithin(record, before))
        throw new Refusal("INVALID", "A key can only be narrowed. Make a new one for more.");
      await this.#rewrite(caller, key, record, who, "key narrowed", {
        ...less,
        ...(name === undefined ? {} : { name }),
      });
      return this.keyInfo(key);
    });
  }

  /**
   * Gives a key another secret. The one before works beside it for a while, those before that no more.
   * @throws Refusal
   */
  rotateKey(caller: KeyCaller, key: Key, oldKeptMs: number, who: string): Promise<NewKey> {
    return this.#change(async () => {
      const before = this.#lessenable(caller, key);
      // Whoever has its secret may do all that it may.
      if (!caller.covers(before)) throw new Refusal("FORBIDDEN", CHANGES_TOO_MUCH);
      const apiKey = newApiKey(key.id);
      const endsMs = Math.min(this.#options.runtime.wallMs() + oldKeptMs, timeOf(before.secrets[0]!.endsAt));
      const old = oldKeptMs === 0 ? [] : [{ hash: before.secrets[0]!.hash, endsAt: isoTime(endsMs) }];
      const record = { ...before, secrets: [{ hash: keyHash(apiKey), endsAt: null }, ...old] };
      await this.#rewrite(caller, key, record, who, "key rotated", { oldKeptMs });
      return { key: this.keyInfo(key), apiKey };
    });
  }

  /** Ends a key, and what is open under it, at once. @throws Refusal */
  revokeKey(caller: KeyCaller, key: Key, who: string): Promise<void> {
    return this.#change(async () => {
      this.#lessenable(caller, key);
      const { account, id } = key;
      const acts = actsOf(caller, account.id, who, "key revoked", { key: id });
      await this.#write([keyChange(account.id, id, null)], acts);
      this.#book.forgetKey(id);
    });
  }

  keyInfo({ id, account, record }: Key): KeyInfo {
    const { secrets, ...rest } = record!;
    return { id, account: account.id, ...rest, oldSecretEndsAt: this.#liveEnd(secrets[1]?.endsAt ?? null) };
  }

  /** Null when it has passed. */
  #liveEnd(endsAt: string | null): string | null {
    return timeOf(endsAt) > this.#options.runtime.wallMs() ? endsAt : null;
  }

  /** What a key is, for a caller who may make it less: an admin of all services that it is for, whatever else it may. */
  #lessenable(caller: KeyCaller, key: Key): KeyRecord {
    this.#assertAdmin(caller);
    const { record } = key;
    if (record === null) throw new Refusal("NOT_FOUND");
    if (!caller.isForAll(record.services)) throw new Refusal("FORBIDDEN", CHANGES_TOO_MUCH);
    if (key.isRoot) throw new Refusal("INVALID", ROOT_IS_GIVEN);
    return record;
  }

  /** It was looked at before, but what came first may have changed that. */
  #assertAdmin(caller: KeyCaller): void {
    const code = caller.refusal(TO_CHANGE_KEYS, null);
    if (code !== null) throw new Refusal(code);
  }

  /** Only a key of `default` that is for all services makes and changes accounts. */
  #assertOperator(caller: KeyCaller): void {
    this.#assertAdmin(caller);
    if (!isOperator(caller)) throw new Refusal("FORBIDDEN");
  }

  async #rewrite(
    caller: KeyCaller,
    key: Key,
    record: KeyRecord,
    who: string,
    what: string,
    details: object,
  ): Promise<void> {
    const { account, id } = key;
    const acts = actsOf(caller, account.id, who, what, { key: id, ...details });
    await this.#write([keyChange(account.id, id, record)], acts);
    key.record = record;
  }

  #change<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {});
    return done;
  }

  /** @throws Refusal `UNAVAILABLE` when it is not known to be durable */
  async #write(changes: readonly OutsideChange[], acts: readonly Act[]): Promise<void> {
    if (this.#loop === null || !this.#isKeeper) throw new Refusal("UNAVAILABLE");
    await this.#loop.keep(changes, ...acts).catch(() => {
      throw new Refusal("UNAVAILABLE");
    });
  }

  get #isKeeper(): boolean {
    return this.#options.isKeeper?.() !== false;
  }

  /** Tells what is open that its key has ended, and now and then writes down which keys were used. */
  #sweep(): void {
    const { runtime } = this.#options;
    const nowMs = runtime.wallMs();
    for (const key of this.#book.keys.values()) {
      if (key.watchers.size > 0 && key.ends.some((endMs) => endMs > this.#sweptMs && endMs <= nowMs))
        key.changed();
    }
    this.#sweptMs = nowMs;
    if (runtime.monotonicMs() - this.#useWrittenMs >= USE_WRITTEN_EVERY_MS)
      void this.#writeUse().catch(() => {});
    this.#cancelTimer = runtime.setTimer(() => this.#sweep(), ENDS_EVERY_MS);
  }

  #writeUse(): Promise<void> {
    this.#useWrittenMs = this.#options.runtime.monotonicMs();
    return this.#change(async () => {
      const lastUsedAt = this.#now();
      const used = [...this.#book.keys.values()].filter((key) => key.wasUsed);
      // What other members have seen in use is not written down.
      if (used.length === 0 || !this.#isKeeper) return;
      for (const key of used) key.wasUsed = false;
      const changed = used.map((key) => [key, { ...key.record!, lastUsedAt }] as const);
      await this.#write(
        changed.map(([key, record]) => keyChange(key.account.id, key.id, record)),
        [],
      );
      for (const [key, record] of changed) if (key.record !== null) key.used(record);
    });
  }

  #now(): string {
    return isoTime(this.#options.runtime.wallMs());
  }
}

const TO_CHANGE_KEYS: Need = { scopes: ["admin"] };
/** Who it is to other accounts: which key and from where is nobody's affair there. */
const OPERATOR = "operator";

/** An act on another account stands in both logs. */
function actsOf(
  caller: KeyCaller | undefined,
  account: string,
  who: string,
  what: string,
  details: object,
): readonly Act[] {
  if (caller === undefined || caller.account === account) return [{ account, who, what, details }];
  return [
    { account, who: OPERATOR, what, details },
    { account: caller.account, who, what, details: { account, ...details } },
  ];
}

const GIVES_TOO_MUCH = "A key can give only what it has: scopes, services and end. Use one that has them.";
const CHANGES_TOO_MUCH = "That key may do more than this one. Use one with the same scopes and services.";
const ROOT_IS_GIVEN = "The root key is set from outside. Start the server with another LOCKDB_ROOT_KEY.";

function isOperator({ account, record }: KeyCaller): boolean {
  return account === ACCOUNT_DEFAULT && record?.services === null;
}

function keyChange(account: string, id: string, value: KeyRecord | null): OutsideChange {
  return { key: `${account}/key/${id}`, value };
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}

function compare(a: string, b: string): number {
  return Number(a > b) - Number(a < b);
}
