// Writes to an object store that a late holder cannot make. The reasons are in docs/fencing.md.
// `send(key, { method, headers, body })` makes one request and resolves to its `Response`; addressing and signing are
// up to your SDK or proxy.
import { randomUUID } from "node:crypto";
import { StaleTokenError } from "lockdb/guards";

const TRIES_MAX = 5;
const EMPTY = { fence: 0, write: null, value: null };

/** How each store says "only if it is still the one that I read", and "only if there is none". */
const KINDS = {
  s3: {
    version: "etag",
    ifSame: (version) => ({ "if-match": version }),
    ifNone: { "if-none-match": "*" },
  },
  gcs: {
    version: "x-goog-generation",
    ifSame: (version) => ({ "x-goog-if-generation-match": version }),
    ifNone: { "x-goog-if-generation-match": "0" },
  },
  azure: {
    version: "etag",
    ifSame: (version) => ({ "if-match": version, "x-ms-blob-type": "BlockBlob" }),
    ifNone: { "if-none-match": "*", "x-ms-blob-type": "BlockBlob" },
  },
};

/** A store with two verbs: read an object with its version, write it if it still has that version. */
export function conditionalStore(kind, send) {
  const { version: versionHeader, ifSame, ifNone } = KINDS[kind];
  return {
    async read(key) {
      const response = await send(key, { method: "GET", headers: {} });
      if (response.status === 404) return null;
      if (!response.ok) throw new Error(`Reading ${key} was answered ${response.status}.`);
      return { text: await response.text(), version: response.headers.get(versionHeader) };
    },
    async write(key, text, version) {
      const headers = version === null ? ifNone : ifSame(version);
      const response = await send(key, { method: "PUT", headers, body: text });
      await response.arrayBuffer(); // Frees the connection.
      if (response.status === 412) return false; // Somebody was faster.
      if (!response.ok) throw new Error(`Writing ${key} was answered ${response.status}.`);
      return true;
    },
  };
}

/**
 * Gives the object a new value, made from the one before. `change` is called again when somebody was faster.
 * `write` is another in each call: it tells whose write is there, and gives no two texts the same ETag.
 */
export async function update(store, key, token, change) {
  const write = randomUUID();
  let cause;
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const found = await store.read(key);
    const last = found === null ? EMPTY : JSON.parse(found.text);
    if (!Number.isSafeInteger(last?.fence)) throw new Error(`${key} has no fence. Give it one first.`);
    if (last.write === write) return last.value; // It was written after all; the answer was lost.
    if (last.fence > token) throw new StaleTokenError(key, token, last.fence);
    const value = change(last.value);
    const text = JSON.stringify({ fence: token, write, value });
    try {
      if (await store.write(key, text, found?.version ?? null)) return value;
    } catch (error) {
      cause = error; // Lost race (409 of Azure or S3), fault, lost answer: the next read tells.
    }
  }
  throw new Error(`${key}: not written in ${TRIES_MAX} tries, or not known to be.`, { cause });
}

/** The first thing a new holder does: reads the value and closes the object to all holders before it. */
export async function raiseFence(store, key, token) {
  return await update(store, key, token, (value) => value);
}
