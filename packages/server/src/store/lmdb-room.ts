import { closeSync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import type { EncodedChange } from "./keys.js";
import { IS_LAYOUT_KNOWN, LAST_PAGE_OFFSET, PAGE_SIZE_OFFSET } from "./lmdb-file.js";

/**
 * Room on the disk ahead of a commit. When LMDB (3.5.6) cannot write a page it prints the reason into a buffer that is
 * too short for it, and the process may die at any later time. So we take the room first, in zeros behind its last page:
 * a full disk or a limit on files is met here, as an ordinary error, and LMDB has not begun. How much a commit will need
 * is an estimate; where it is too low, LMDB takes its chance.
 */
export class LmdbRoom {
  readonly #fd: number;

  constructor(file: string) {
    this.#fd = openSync(file, "r+");
  }

  /** Call it with no commit in flight. Throws what the system says. */
  reserve(changes: readonly EncodedChange[]): void {
    if (!IS_LAYOUT_KNOWN) {
      return;
    }
    const pageSize = this.#readWord(PAGE_SIZE_OFFSET);
    // Both meta pages are whole between commits, and the last page of either is one that may not be lost.
    const lastPage = Math.max(this.#readWord(LAST_PAGE_OFFSET), this.#readWord(pageSize + LAST_PAGE_OFFSET));
    // A commit copies each page that it changes once, and new records may fill theirs by half.
    const pagesCopied = Math.min(lastPage + 1, changes.length * PAGES_A_CHANGE);
    const bytesAdded = changes.reduce((sum, { key, value }) => sum + key.length + (value?.length ?? 0), 0);
    const end = (lastPage + 1 + PAGES_A_COMMIT + pagesCopied) * pageSize + 2 * bytesAdded;
    const size = fstatSync(this.#fd).size;
    if (end > size) {
      // Only behind the end of the file: all that LMDB wrote lies before it.
      fillWithZeros(this.#fd, size, Math.ceil(end / ZEROS.length) * ZEROS.length);
    }
  }

  close(): void {
    closeSync(this.#fd);
  }

  #readWord(offset: number): number {
    readSync(this.#fd, WORD, 0, WORD.length, offset);
    return WORD.readUInt32LE(0);
  }
}

/** Lengthens the file, or leaves it as long as it was: what room there was is then free again. */
export function fillWithZeros(fd: number, from: number, to: number): void {
  try {
    for (let at = from; at < to; ) {
      at += writeSync(fd, ZEROS, 0, Math.min(ZEROS.length, to - at), at);
    }
  } catch (error) {
    ftruncateSync(fd, from);
    throw error;
  }
}

const WORD = Buffer.alloc(4);
const ZEROS = Buffer.alloc(1_048_576);
const PAGES_A_CHANGE = 4;
// The top of the tree, and a list of free pages that is written anew.
const PAGES_A_COMMIT = 64;
