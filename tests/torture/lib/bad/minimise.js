/**
 * Fewer of these parts that still do it: takes pieces out, ever smaller ones, for as long as it is still so (ddmin).
 * @template T @param {readonly T[]} parts @param {(parts: T[]) => Promise<boolean>} isStillSo @param {number} triesMax
 * @returns {Promise<T[]>}
 */
export async function minimised(parts, isStillSo, triesMax = 200) {
  let left = [...parts];
  let tries = 0;
  for (let size = Math.ceil(left.length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let at = 0; at < left.length && left.length > 1; ) {
      if (++tries > triesMax) return left;
      const without = [...left.slice(0, at), ...left.slice(at + size)];
      if (without.length > 0 && (await isStillSo(without))) left = without;
      else at += size;
    }
  }
  return left;
}
