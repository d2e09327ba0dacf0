// Very many keys, put into a cluster's etcd by hand: to make them over the API would take longer than all else.
import { keyHash, newApiKey } from "../../../packages/server/dist/access/keys.js";
import { COMMON, COMMON_VERSION } from "../../../packages/server/dist/cluster/keys.js";
import { encodeRecord, openEtcdClient } from "../../../packages/server/dist/store/index.js";

const AT = "/lockdb/";
/** What an account may have. */
const KEYS_AN_ACCOUNT = 10_000;
/** Puts of a transaction, of 128. */
const A_TXN = 120;

/**
 * @param {readonly string[]} endpoints of etcd
 * @returns the last one of them, which works wherever all are known
 */
export async function putKeys(endpoints, count) {
  const etcd = await openEtcdClient({ endpoints });
  const createdAt = new Date().toISOString();
  const account = { createdAt, email: null, trialEndsAt: null };
  const all = { services: null, createdAt, createdBy: "by hand", expiresAt: null, lastUsedAt: null };
  let ops = [];
  let apiKey = "";
  const put = (key, record) => ops.push({ put: `${AT}${COMMON}${key}`, value: encodeRecord(key, record) });
  const send = async () => {
    const { kind } = await etcd.txn({ compare: [], ops }, { timeoutMs: 10_000 });
    if (kind !== "applied") throw new Error(`keys could not be put into etcd: ${kind}`);
    ops = [];
  };
  try {
    for (let at = 0; at < count; at++) {
      const owner = `filled${Math.floor(at / KEYS_AN_ACCOUNT)}`;
      if (at % KEYS_AN_ACCOUNT === 0) put(`${owner}/account`, account);
      const id = `k${String(at).padStart(9, "0")}`;
      apiKey = newApiKey(id);
      const secrets = [{ hash: keyHash(apiKey), endsAt: null }];
      put(`${owner}/key/${id}`, { name: `filled ${at}`, scopes: ["lock", "read"], secrets, ...all });
      if (ops.length >= A_TXN) await send();
    }
    // All members read all, and the keeper's next mark is linked to this one.
    const mark = { chain: `filled/${count}`, at: 1, after: null };
    ops.push({ put: `${AT}${COMMON_VERSION}`, value: encodeRecord(COMMON_VERSION, mark) });
    await send();
  } finally {
    etcd.close();
  }
  return apiKey;
}
