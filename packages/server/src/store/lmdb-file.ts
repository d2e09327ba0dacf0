import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { StoreUnusableError } from "./errors.js";

/**
 * Walks through an LMDB file before LMDB itself opens it (R9). LMDB trusts its file: it dies of a segmentation fault on
 * one that is no LMDB file, of a bus error on one that was cut off, and shows a tree with a lost page as a smaller one,
 * which no checksum of the remaining records can tell. So everything that LMDB follows is followed here first: both
 * trees, that their pages are there, lie in order and are used once, and that no free page is in use.
 *
 * An empty file is a new store. The caller must own the file: a file that is being written looks damaged.
 */
export async function checkLmdbFile(path: string): Promise<void> {
  const fd = openSync(path, "r");
  try {
    const size = fstatSync(fd).size;
    if (size > 0 && IS_LAYOUT_KNOWN) {
      await new FileCheck(fd, size).run();
    }
  } catch (error) {
    if (error instanceof NotLmdb) {
      throw new StoreUnusableError(
        `"${path}" is not a LockDB store. Name another data directory, or move the file away.`,
      );
    }
    if (error instanceof Damage) {
      throw new StoreUnusableError(
        `The store "${path}" is damaged: ${error.message}. The server refuses to start rather than guess what was in it. ` +
          "Restore a backup, or move the file away to start with an empty store.",
      );
    }
    throw new StoreUnusableError(
      `The store "${path}" cannot be read (${error instanceof Error ? error.message : error}). ` +
        "See that the disk works, or restore a backup.",
      { cause: error },
    );
  } finally {
    closeSync(fd);
  }
}

class NotLmdb extends Error {}
class Damage extends Error {}

interface Tree {
  readonly name: string;
  readonly depth: number;
  readonly entries: number;
  readonly root: number;
  readonly compare: (a: Buffer, b: Buffer) => number;
}

interface Meta {
  readonly pageSize: number;
  readonly lastPage: number;
  readonly transaction: number;
  readonly free: Tree;
  readonly main: Tree;
}

/** A page still to be visited; its keys must lie in low <= key < high. */
interface Visit {
  readonly page: number;
  readonly level: number;
  readonly low: Buffer | null;
  readonly high: Buffer | null;
}

class FileCheck {
  readonly #fd: number;
  readonly #size: number;
  #pageSize = 0;
  #pageCount = 0;
  #lastPage = 0;
  #transaction = 0;
  #isUsed = new Uint8Array(0);
  /** Most pages are leaves, and nothing of one is needed once the next is read. */
  #leaf = Buffer.alloc(0);
  #pagesRead = 0;

  constructor(fd: number, size: number) {
    this.#fd = fd;
    this.#size = size;
  }

  async run(): Promise<void> {
    const meta = this.#readMeta();
    this.#pageSize = meta.pageSize;
    this.#pageCount = Math.floor(this.#size / meta.pageSize);
    this.#lastPage = meta.lastPage;
    this.#transaction = meta.transaction;
    this.#isUsed = new Uint8Array(this.#pageCount);
    this.#leaf = Buffer.alloc(this.#pageSize);
    const freeRuns: { first: number; count: number }[] = [];
    await this.#checkTree(meta.free, (list) => {
      for (const run of this.#readFreeList(list)) {
        freeRuns.push(run);
      }
    });
    await this.#checkTree(meta.main, null);
    for (const { first, count } of freeRuns) {
      const used = this.#isUsed.subarray(first, first + count).indexOf(1);
      ensure(used === -1, `page ${first + used} is in use and free at once`);
    }
  }

  /**
   * The newer of the two meta pages. LMDB writes them in turn, so that their numbers tell a damaged one: all but one bit
   * of them, which makes the newer one look like one whose writing failed. That state is sound, so it must pass.
   */
  #readMeta(): Meta {
    const first = this.#readMetaAt(0, 0);
    const second = this.#readMetaAt(1, first.pageSize);
    const [a, b] = [first.transaction, second.transaction];
    ensure(second.pageSize === first.pageSize, "its two meta pages disagree");
    ensure(a % 2 === 0 && (b === 0 || b % 2 === 1), "a meta page has the wrong number");
    ensure(a === 0 || b === 0 || Math.abs(a - b) === 1, "its two meta pages are not of successive commits");
    return a >= b ? first : second;
  }

  #readMetaAt(page: number, offset: number): Meta {
    const bytes = Buffer.alloc(META_BYTES);
    const isWhole = readSync(this.#fd, bytes, 0, META_BYTES, offset) === META_BYTES;
    const isLmdb = isWhole && bytes.readUInt32LE(24) === MAGIC && bytes.readUInt16LE(28) === DATA_VERSION;
    if (page === 0 && !isLmdb) {
      throw new NotLmdb();
    }
    ensure(
      isLmdb && bytes.readUInt16LE(18) === META && readU64(bytes, 0) === page,
      `meta page ${page} is unreadable`,
    );
    const tree = (name: string, at: number, flags: number, compare: Tree["compare"]): Tree => {
      ensure(bytes.readUInt16LE(at + 4) === flags, `${name} has unknown flags`);
      return {
        name,
        depth: bytes.readUInt16LE(at + 6),
        entries: readU64(bytes, at + 32),
        root: readU64(bytes, at + 40),
        compare,
      };
    };
    const meta = {
      pageSize: bytes.readUInt32LE(PAGE_SIZE_OFFSET),
      free: tree("the list of free pages", 48, FREE_TREE_FLAGS, compareNumbers),
      main: tree("the tree of records", 96, 0, Buffer.compare),
      lastPage: readU64(bytes, LAST_PAGE_OFFSET),
      transaction: readU64(bytes, 152),
    };
    const { pageSize } = meta;
    ensure(
      pageSize >= 256 && pageSize <= 65_536 && (pageSize & (pageSize - 1)) === 0,
      "its page size is wrong",
    );
    // LMDB maps all pages up to the last one; a file may end a little before, at pages that were never written.
    ensure(
      meta.lastPage * pageSize <= this.#size + UNWRITTEN_BYTES_MAX,
      "the number of its last page is wrong",
    );
    const isNew = meta.free.root === NO_PAGE && meta.main.root === NO_PAGE;
    ensure(meta.transaction > 0 || isNew, "a meta page has lost its number");
    return meta;
  }

  async #checkTree(tree: Tree, readValue: ((value: Buffer) => void) | null): Promise<void> {
    let entries = 0;
    const visits: Visit[] = [];
    if (tree.root !== NO_PAGE) {
      visits.push({ page: tree.root, level: 1, low: null, high: null });
    }
    for (let visit = visits.pop(); visit !== undefined; visit = visits.pop()) {
      const isLeaf = visit.level === tree.depth;
      const { bytes, starts } = this.#readNodes(visit.page, isLeaf);
      // The first key of a branch page counts as smaller than all.
      this.#checkOrder(tree, visit, bytes, isLeaf ? starts : starts.slice(1));
      if (isLeaf) {
        entries += starts.length;
        for (const start of starts) {
          const value = this.#checkValue(bytes, start, readValue !== null);
          if (value !== null) readValue?.(value);
        }
      } else {
        for (let index = starts.length - 1; index >= 0; index--) {
          const next = starts[index + 1];
          visits.push({
            page: childAt(bytes, starts[index]!),
            level: visit.level + 1,
            low: index === 0 ? visit.low : keyAt(bytes, starts[index]!),
            high: next === undefined ? visit.high : keyAt(bytes, next),
          });
        }
      }
      if (this.#pagesRead > PAGES_A_TURN) {
        this.#pagesRead = 0;
        await setImmediate();
      }
    }
    ensure(entries === tree.entries, `${tree.name} has ${entries} entries instead of ${tree.entries}`);
  }

  #checkOrder(tree: Tree, { page, low, high }: Visit, bytes: Buffer, starts: readonly number[]): void {
    const isInteger = tree.compare === compareNumbers;
    let previous = -1;
    for (const start of starts) {
      const length = bytes.readUInt16LE(start + 6);
      ensure(isInteger ? length === 8 : length > 0, `page ${page} has a key of wrong length`);
      if (previous !== -1) {
        // Without a buffer for each of a million keys.
        const order = isInteger
          ? compareNumbers(keyAt(bytes, previous), keyAt(bytes, start))
          : compareKeys(bytes, previous, start);
        ensure(order < 0, `the keys of page ${page} are not in order`);
      }
      previous = start;
    }
    if (previous !== -1) {
      const [first, last] = [keyAt(bytes, starts[0]!), keyAt(bytes, previous)];
      ensure(low === null || tree.compare(low, first) <= 0, `page ${page} has keys of another page`);
      ensure(high === null || tree.compare(last, high) < 0, `page ${page} has keys of another page`);
    }
  }

  /** Where the nodes of a branch or leaf page begin, which fill it from `upper` to its end without a gap. */
  #readNodes(
    number: number,
    isLeaf: boolean,
  ): { readonly bytes: Buffer; readonly starts: readonly number[] } {
    const page = this.#readPages(number, 1, isLeaf ? LEAF : BRANCH);
    const broken = `page ${number} is broken`;
    const lower = page.readUInt16LE(20) + HEADER_BYTES;
    const upper = page.readUInt16LE(22) + HEADER_BYTES;
    ensure(lower % 2 === 0 && lower > HEADER_BYTES && lower <= upper && upper <= page.length, broken);
    let bytesUsed = 0;
    const starts: number[] = [];
    for (let at = HEADER_BYTES; at < lower; at += 2) {
      const start = page.readUInt16LE(at) + HEADER_BYTES;
      ensure(start >= upper && start + NODE_BYTES <= page.length, broken);
      const end = start + nodeSize(page, start, isLeaf);
      ensure(end <= page.length, broken);
      starts.push(start);
      bytesUsed += (end - start + 1) & ~1;
    }
    ensure(upper + bytesUsed === page.length, broken);
    return { bytes: page, starts };
  }

  /** Checks that the value is there; large ones have pages of their own, which are read only when asked for. */
  #checkValue(bytes: Buffer, nodeStart: number, isWanted: boolean): Buffer | null {
    const keyEnd = keyEndAt(bytes, nodeStart);
    const flags = bytes.readUInt16LE(nodeStart + 4);
    if (flags === 0) {
      return isWanted ? bytes.subarray(keyEnd, keyEnd + bytes.readUInt32LE(nodeStart)) : null;
    }
    ensure(flags === BIG_VALUE, "a record is of an unknown kind");
    const size = bytes.readUInt32LE(nodeStart);
    const first = readU64(bytes, keyEnd);
    const count = readU64(bytes, keyEnd + 16);
    ensure(count * this.#pageSize >= HEADER_BYTES + size, `the value at page ${first} is cut off`);
    const pages = this.#readPages(first, count, OVERFLOW, isWanted ? count : 1);
    ensure(pages.readUInt32LE(20) === count, `page ${first} is broken`);
    return pages.subarray(HEADER_BYTES, HEADER_BYTES + size);
  }

  /** Marks the pages as used and reads the first ones. */
  #readPages(first: number, count: number, type: number, countRead = count): Buffer {
    ensure(first >= META_PAGES && first + count - 1 <= this.#lastPage, `a page number, ${first}, is wrong`);
    ensure(first + count <= this.#pageCount, `page ${first + count - 1} is missing at its end`);
    for (let page = first; page < first + count; page++) {
      ensure(this.#isUsed[page] === 0, `page ${first} is used twice`);
      this.#isUsed[page] = 1;
    }
    const pages = type === LEAF ? this.#leaf : Buffer.allocUnsafe(countRead * this.#pageSize);
    const bytesRead = readSync(this.#fd, pages, 0, pages.length, first * this.#pageSize);
    this.#pagesRead += countRead;
    ensure(bytesRead === pages.length, `page ${first} cannot be read`);
    const isExpected = readU64(pages, 0) === first && pages.readUInt16LE(18) === type;
    ensure(isExpected && readU64(pages, 8) <= this.#transaction, `page ${first} is not what it should be`);
    return pages;
  }

  /** A list of words after their number: a page, or minus the length of a run and its first page, or an empty slot. */
  #readFreeList(list: Buffer): { first: number; count: number }[] {
    const broken = "the list of free pages is broken";
    ensure(list.length >= 8 && list.length % 8 === 0, broken);
    const end = (Number(list.readBigInt64LE(0)) + 1) * 8;
    ensure(end >= 8 && end <= list.length, broken);
    const runs = [];
    for (let at = 8; at < end; at += 8) {
      const word = Number(list.readBigInt64LE(at));
      if (word === 0) {
        continue;
      }
      if (word < 0) {
        at += 8;
        ensure(at < end, broken);
      }
      const first = word < 0 ? Number(list.readBigInt64LE(at)) : word;
      const count = word < 0 ? -word : 1;
      ensure(first >= META_PAGES && first + count - 1 <= this.#lastPage, broken);
      runs.push({ first, count });
    }
    return runs;
  }
}

// The layout of data version 2 as the pinned lmdb writes it on 64-bit little-endian machines, which are all that we are
// tested on; elsewhere the check is left out rather than wrong.
export const IS_LAYOUT_KNOWN = ["x64", "arm64", "riscv64", "loong64"].includes(process.arch);
export const PAGE_SIZE_OFFSET = 48;
export const LAST_PAGE_OFFSET = 144;
const MAGIC = 0xbeefc0de;
const DATA_VERSION = 2;
const META_PAGES = 2;
const META_BYTES = 168;
const HEADER_BYTES = 24;
const NODE_BYTES = 8;
const BIG_VALUE_BYTES = 24;
const BRANCH = 0x01;
const LEAF = 0x02;
const OVERFLOW = 0x04;
const META = 0x08;
// Integer keys, and a file that is no directory.
const FREE_TREE_FLAGS = 0x4008;
const BIG_VALUE = 0x01;
const NO_PAGE = Number(0xffff_ffff_ffff_ffffn);
const UNWRITTEN_BYTES_MAX = 2 ** 24;
const PAGES_A_TURN = 1_000;

function ensure(isSound: boolean, otherwise: string): asserts isSound {
  if (!isSound) {
    throw new Damage(otherwise);
  }
}

function nodeSize(page: Buffer, start: number, isLeaf: boolean): number {
  const keyBytes = page.readUInt16LE(start + 6);
  const isBig = (page.readUInt16LE(start + 4) & BIG_VALUE) !== 0;
  const valueBytes = isBig ? BIG_VALUE_BYTES : page.readUInt32LE(start);
  return NODE_BYTES + keyBytes + (isLeaf ? valueBytes : 0);
}

function keyAt(page: Buffer, start: number): Buffer {
  return page.subarray(start + NODE_BYTES, keyEndAt(page, start));
}

function keyEndAt(page: Buffer, start: number): number {
  return start + NODE_BYTES + page.readUInt16LE(start + 6);
}

/** The bytes of a key are its order, and what it is the beginning of comes after it. */
function compareKeys(page: Buffer, a: number, b: number): number {
  const [aAt, bAt] = [a + NODE_BYTES, b + NODE_BYTES];
  const [aBytes, bBytes] = [keyEndAt(page, a) - aAt, keyEndAt(page, b) - bAt];
  const bytes = Math.min(aBytes, bBytes);
  for (let at = 0; at < bytes; at++) {
    const difference = page[aAt + at]! - page[bAt + at]!;
    if (difference !== 0) return difference;
  }
  return aBytes - bBytes;
}

function childAt(page: Buffer, start: number): number {
  return page.readUInt32LE(start) + page.readUInt16LE(start + 4) * 2 ** 32;
}

function compareNumbers(a: Buffer, b: Buffer): number {
  return readU64(a, 0) - readU64(b, 0);
}

function readU64(bytes: Buffer, offset: number): number {
  return bytes.readUInt32LE(offset) + bytes.readUInt32LE(offset + 4) * 2 ** 32;
}
