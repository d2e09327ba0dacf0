/**
 * So many names, made before a measurement: to make one takes longer than some peers take for a lock.
 *
 * @param {string} prefix
 * @param {number} count
 * @returns {readonly string[]}
 */
export function namesOf(prefix, count) {
  return Array.from({ length: count }, (_, at) => `${prefix}-${at}`);
}
