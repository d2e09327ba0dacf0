/** Whoever chose his texts to collide is no concern of the others. */
const PROBES_MAX = 64;
/** Of one hash: whoever searches compares with each of them, and they may be long. By chance there are hardly ever two. */
const SAME_MAX = 4;

/**
 * Which entries of a list have a text, for very many of them: open addressing in one array of numbers, a hash and a place for
 * each. It keeps no texts, is as large as it will be from the beginning, and forgets nothing. Its hash has no secret, so
 * there is an end to its patience: what was chosen to collide is not taken (decision 026).
 */
export class TextIndex {
  /** In pairs: a hash, and the entry's number plus one; 0 for none. */
  readonly #slots: Uint32Array;
  readonly #mask: number;

  /** @param countMax so many entries at most */
  constructor(countMax: number) {
    let capacity = 16;
    while (capacity < 2 * countMax) capacity *= 2;
    this.#slots = new Uint32Array(2 * capacity);
    this.#mask = capacity - 1;
  }

  /** False when it does not take it. */
  add(hash: number, entry: number): boolean {
    const slots = this.#slots;
    let same = 0;
    for (let slot = hash & this.#mask, probes = 0; probes < PROBES_MAX; probes++) {
      if (slots[2 * slot + 1] === 0) {
        slots[2 * slot] = hash;
        slots[2 * slot + 1] = entry + 1;
        return true;
      }
      if (slots[2 * slot] === hash && ++same === SAME_MAX) return false;
      slot = (slot + 1) & this.#mask;
    }
    return false;
  }

  /** The entry with this hash for which `isIt` says so; -1: none. */
  find(hash: number, isIt: (entry: number) => boolean): number {
    const slots = this.#slots;
    for (let slot = hash & this.#mask, probes = 0; probes < PROBES_MAX; probes++) {
      const entry = slots[2 * slot + 1]! - 1;
      if (entry < 0) return -1;
      if (slots[2 * slot] === hash && isIt(entry)) return entry;
      slot = (slot + 1) & this.#mask;
    }
    return -1;
  }
}

/** Of ASCII text in bytes (FNV-1a, its bits mixed once more). */
export function hashOfBytes(bytes: Uint8Array, start: number, end: number): number {
  let hash = FNV_START;
  for (let at = start; at < end; at++) hash = Math.imul(hash ^ bytes[at]!, FNV_PRIME);
  return mixed(hash);
}

/** The same of a text. What is not ASCII has some other hash. */
export function hashOfText(text: string): number {
  let hash = FNV_START;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), FNV_PRIME);
  return mixed(hash);
}

/** True when these bytes are this text, which is ASCII if so. */
export function isTextAt(text: string, bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start !== text.length) return false;
  for (let at = 0; at < text.length; at++) if (bytes[start + at] !== text.charCodeAt(at)) return false;
  return true;
}

const FNV_START = 0x811c_9dc5 | 0;
const FNV_PRIME = 0x0100_0193;

function mixed(hash: number): number {
  const once = Math.imul(hash ^ (hash >>> 15), 0x2c1b_3c6d);
  return (once ^ (once >>> 13)) >>> 0;
}
