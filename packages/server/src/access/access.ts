import { randomBytes } from "node:crypto";
import { type Change, decodeRecord, encodeRecord, type Store } from "../store/index.js";
import { bearerKey, keyHash, keyMatches, newApiKey } from "./keys.js";

/** The account of a self-hosted server; its keys are the operator's. */
export const ACCOUNT_DEFAULT = "default";

const ROOT_KEY = `${ACCOUNT_DEFAULT}/key/root`;

interface RootKeyRecord {
  readonly hash: string;
}

/** Who may call. Until more keys exist, the root key has every scope (A1). */
export class Access {
  readonly #rootHash: string;
  /** The root key in clear, when this start made it or was given it; only its hash is stored. */
  readonly rootKey: string | null;
  /** True when this start made the key: it has to be shown, now or never. */
  readonly isNew: boolean;

  private constructor(rootHash: string, rootKey: string | null, isNew: boolean) {
    this.#rootHash = rootHash;
    this.rootKey = rootKey;
    this.isNew = isNew;
  }

  /** Reads the root key's hash from the store; makes a key for a new store, or takes the one that is given. */
  static async open(store: Store, givenKey: string | null): Promise<Access> {
    let stored: RootKeyRecord | null = null;
    for await (const entry of store.load(ROOT_KEY)) stored = decodeRecord(entry) as RootKeyRecord;
    if (stored !== null && (givenKey === null || keyMatches(givenKey, stored.hash))) {
      return new Access(stored.hash, givenKey, false);
    }
    const rootKey = givenKey ?? newApiKey();
    const hash = keyHash(rootKey);
    const changes: Change[] = [put(ROOT_KEY, { hash } satisfies RootKeyRecord)];
    if (stored !== null) changes.push(audit("root key replaced from the environment"));
    await store.commit(changes);
    return new Access(hash, rootKey, givenKey === null);
  }

  /** The account behind an `Authorization` header, or null. */
  accountOf(authorization: string | undefined): string | null {
    const key = bearerKey(authorization);
    return key !== null && keyMatches(key, this.#rootHash) ? ACCOUNT_DEFAULT : null;
  }
}

function audit(what: string): Change {
  const at = new Date().toISOString();
  const key = `${ACCOUNT_DEFAULT}/audit/${at}-${randomBytes(4).toString("hex")}`;
  return put(key, { at, who: "operator", what });
}

function put(key: string, value: object): Change {
  return { key, value: encodeRecord(key, value) };
}
