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
  readonly #pageSize: number;

  constructor(file: string) {
    this.#fd = openSync(file, "r+");
    this.#pageSize = this.#readWord(PAGE_SIZE_OFFSET);
  }

  /** Call it with no commit in flight. Throws what the system says. */
  reserve(changes: readonly EncodedChange[]): void {
    if (!IS_LAYOUT_KNOWN) {
      return;
    }
    const pages = PAGES_A_COMMIT + changes.length * PAGES_A_CHANGE;
    const valueBytes = changes.reduce((sum, { value }) => sum + (value?.length ?? 0), 0);
    const end = (this.#lastPage() + 1 + pages) * this.#pageSize + 2 * valueBytes;
    // Only ever appended: all that LMDB wrote lies before the end of the file.
    const size = fstatSync(this.#fd).size;
    if (end > size) {
      this.#extend(size, Math.ceil(end / ZEROS.length) * ZEROS.length);
    }
  }

  close(): void {
    closeSync(this.#fd);
  }

  #extend(from: number, to: number): void {
    try {
      for (let at = from; at < to; ) {
        at += writeSync(this.#fd, ZEROS, 0, Math.min(ZEROS.length, to - at), at);
      }
    } catch (error) {
      ftruncateSync(this.#fd, from);
      throw error;
    }
  }

  /** Both meta pages are whole between commits, and the last page of either is one that may not be lost. */
  #lastPage(): number {
    return Math.max(this.#readWord(LAST_PAGE_OFFSET), this.#readWord(this.#pageSize + LAST_PAGE_OFFSET));
  }

  #readWord(offset: number): number {
    readSync(this.#fd, WORD, 0, WORD.length, offset);
    return WORD.readUInt32LE(0);
  }
}

const WORD = Buffer.alloc(4);
const ZEROS = Buffer.alloc(1_048_576);
// The pages of a path down the tree, copied; those of a split; a list of free pages, written anew.
const PAGES_A_CHANGE = 4;
const PAGES_A_COMMIT = 64;
