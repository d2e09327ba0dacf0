import type { Scope } from "lockdb/protocol";
import {
  ACCOUNT_DEFAULT,
  Access,
  type Account,
  type KeyCaller,
  type KeyWish,
} from "../../src/access/index.js";
import type { Key } from "../../src/access/key.js";
import { Refusal } from "../../src/http/errors.js";
import { auditPrefix, Loop } from "../../src/loop/index.js";
import { ManualStore } from "../http/manual-store.js";
import { settled, VirtualTime } from "../webhooks/stage.js";

export const ROOT_KEY = "ldb_root_testtesttesttesttesttesttesttest000000";
export const ALL: readonly Scope[] = ["lock", "read", "force", "admin"];
export const DAY_MS = 24 * 3_600_000;

/** The access room on a real loop, in virtual time, on a store whose commits a test may end by hand. */
export class AccessStage {
  readonly time = new VirtualTime();
  readonly store: ManualStore;
  /** Added to the time that passes: a day is set, and not waited for. */
  wallOffsetMs = Date.parse("2026-01-01T00:00:00.000Z");
  access!: Access;
  loop!: Loop;

  constructor(store = new ManualStore()) {
    this.store = store;
  }

  static async open(
    store?: ManualStore,
    rootKey: string | null = ROOT_KEY,
    accountsMax = 1_000,
  ): Promise<AccessStage> {
    const stage = new AccessStage(store);
    await stage.start(rootKey, accountsMax);
    return stage;
  }

  async start(rootKey: string | null, accountsMax = 1_000) {
    const { time } = this;
    const runtime = {
      monotonicMs: () => time.nowMs,
      wallMs: () => this.wallMs,
      randomId: () => "id",
      defer: (run: () => void) => void setImmediate(run),
      setTimer: time.setTimer,
    };
    this.access = new Access({ runtime, accountsMax });
    this.loop = await Loop.start({
      openStore: async () => this.store,
      service: { waitersMax: 10, holdsMax: 10, sessionsMax: 10, writesSessionHolds: false },
      servicesMax: 10,
      runtime,
      keepers: [this.access],
      limitsOf: (account) => this.access.limitsOf(account),
      log: { warn: () => {}, error: () => {} },
    });
    return this.access.start(this.loop, rootKey);
  }

  get wallMs(): number {
    return this.wallOffsetMs + this.time.nowMs;
  }

  get root(): KeyCaller {
    return this.caller(ROOT_KEY)!;
  }

  get own(): Account {
    return this.access.accountFor(this.root, ACCOUNT_DEFAULT);
  }

  caller(apiKey: string): KeyCaller | null {
    return this.access.callerOf(`Bearer ${apiKey}`);
  }

  /** A new key of an account, made by its first one or the root key. */
  async key(wish: Partial<KeyWish> = {}, caller = this.root, account: Account = caller.owner) {
    const whole = { name: "a key", scopes: ALL, services: null, expiresAt: null, ...wish };
    const { apiKey, key } = await this.access.addKey(caller, account, whole, "a test");
    return { apiKey, info: key, key: this.access.keyOf(account, key.id), caller: this.caller(apiKey)! };
  }

  /** A new account with its first key. */
  async account(isTrial = true) {
    const { account, apiKey } = await this.access.addAccount({ email: null, isTrial }, "a test");
    const caller = this.caller(apiKey)!;
    return { apiKey, caller, account: caller.owner, id: account.id };
  }

  /** So much later by the time of day: what looks at ends has looked. */
  async wait(ms: number): Promise<void> {
    this.wallOffsetMs += ms;
    await this.time.pass(300);
  }

  at(msFromNow: number): string {
    return new Date(this.wallMs + msFromNow).toISOString();
  }

  async audit(account = ACCOUNT_DEFAULT) {
    const entries: { what: string; who: string; details?: object }[] = [];
    for await (const { value } of this.loop.records(auditPrefix(account))) entries.push(value as never);
    return entries;
  }

  /** What the store has of keys, read as another process would. */
  async storedKeys(): Promise<Map<string, { readonly lastUsedAt: string | null }>> {
    const stored = new Map<string, never>();
    for await (const { key, value } of this.loop.records("")) {
      const [, kind, id] = key.split("/");
      if (kind === "key") stored.set(id!, value as never);
    }
    return stored;
  }

  /** The loop is there again, after a failure. */
  async isBack(): Promise<void> {
    while (!this.loop.ready) {
      await settled();
      await this.time.pass(100);
    }
  }

  async close(): Promise<void> {
    this.store.isManual = false;
    await this.access.stop();
    await this.loop.stop();
  }
}

/** The code of a refusal. */
export async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return "done";
  } catch (error) {
    if (error instanceof Refusal) return error.code;
    throw error;
  }
}

export function isAlive(key: Key): boolean {
  return key.record !== null;
}
