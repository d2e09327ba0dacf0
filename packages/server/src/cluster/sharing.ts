import type { Op } from "../store/etcd-api.js";
import type { Identity } from "./identity.js";
import { isSame, shareKey, written } from "./records.js";
import type { Words } from "./words.js";

/** How a member tells the others what they are to know: nothing is written while etcd has that already. */
export function sharing(
  words: Words,
  self: Identity,
  share: object | null,
): { readonly ops: readonly Op[]; readonly bytes: Uint8Array | null } {
  const key = shareKey(self.id);
  const { share: known } = self;
  if (share === null) return { ops: known === null ? [] : [words.delete(key)], bytes: null };
  const { value } = written(key, share);
  const isKnown = known !== undefined && known !== null && isSame(known, value);
  return { ops: isKnown ? [] : [words.put({ key, value })], bytes: value };
}
