import type { KeyInfo, Scope } from "lockdb/protocol";
import type { LoopRuntime } from "../loop/index.js";
import type { Limits } from "./account.js";
import type { AccountShares } from "./shares.js";

export interface AccessOptions {
  readonly runtime: Pick<LoopRuntime, "monotonicMs" | "wallMs" | "setTimer">;
  /** Accounts in all; beyond it nobody can sign up (N3). */
  readonly accountsMax: number;
  /** False while another member of the cluster keeps accounts and keys: only it writes them. Default: there is none. */
  readonly isKeeper?: () => boolean;
  /** What accounts have at other members of the cluster. Default: nothing. */
  readonly shares?: AccountShares;
}

/** What a new key is to be. */
export interface KeyWish {
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly services: readonly string[] | null;
  readonly expiresAt: string | null;
}

/** How a key is to be less. */
export interface Narrowing {
  readonly name?: string;
  readonly scopes?: readonly Scope[];
  readonly services?: readonly string[];
  readonly expiresAt?: string;
}

export interface AccountChange {
  /** Null ends the trial and keeps the account. */
  readonly trialEndsAt?: string | null;
  /** Null gives a limit its usual value back. */
  readonly limits?: { readonly [K in keyof Limits]?: Limits[K] | null };
}

/** An account as it is shown. */
export interface AccountInfo {
  readonly id: string;
  readonly email: string | null;
  readonly createdAt: string;
  readonly trialEndsAt: string | null;
  readonly daysLeft: number | null;
  readonly limits: Limits;
}

/** A key with its secret, which is shown this once. */
export interface NewKey {
  readonly key: KeyInfo;
  readonly apiKey: string;
}
