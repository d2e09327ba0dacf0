import {
  closeSync,
  constants,
  existsSync,
  fdatasync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { crc32 } from "node:zlib";
import { StoreUnusableError } from "./errors.js";
import { syncDirectory } from "./folder.js";
import { keyLength, valueLength } from "./keys.js";
import { fillWithZeros } from "./lmdb-room.js";
import type { Change } from "./store.js";

/** A frame begins at a multiple of this: what was flushed is never part of a page that is written again. */
const PAGE_BYTES = 4_096;

/** While one half is copied to where its records stay, the other is written. */
const HALF_BYTES = 4 * 1_024 * 1_024;

/** The first page of a half is a frame without changes: it says whose half this is. The others are for batches. */
export const ROOM_BYTES = HALF_BYTES - PAGE_BYTES;

const HEADER_BYTES = 32;
/** Its first two bytes are in no UTF-8: no key and no JSON can look like the beginning of a frame. */
const MAGIC = 0x4a4c_feff;
const VERSION = 1;
export const EPOCH_BYTES = 8;
const DELETED = 0xffff_ffff;
const CHANGE_HEADER_BYTES = 6;
/** Of the 96 of its magic word and its epoch. As few are different by chance in one of 10^10 frames of another epoch. */
const DAMAGED_BITS_MAX = 8;

const flush = promisify(fdatasync);

/** One batch of changes in a journal. */
export interface Frame {
  /** One more than that of the frame before. */
  readonly sequence: number;
  readonly changes: readonly { readonly key: string; readonly value: Uint8Array | null }[];
}

/**
 * The file in which a batch is durable first, in one write and one flush. Two halves of a fixed size, written in turn. A frame
 * is `magic, bytes, checksum, version, sequence, epoch, changes`; the checksum is of all that follows it and of the length. Which frames
 * count is for the store to say: those of its epoch, behind the sequence that it has.
 */
export class Journal {
  readonly #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * Opens the file, or makes it.
   * @param isNeeded true when it may hold what is nowhere else
   * @throws StoreUnusableError when it is needed, and gone or cut off
   */
  static open(file: string, isNeeded: boolean): Journal {
    const fd = openSync(file, constants.O_RDWR | constants.O_CREAT, 0o600);
    try {
      const { size } = fstatSync(fd);
      if (isNeeded && size < 2 * HALF_BYTES) throw gone(file, size);
      if (size < 2 * HALF_BYTES) make(fd, file);
      return new Journal(fd);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /**
   * Opens the file for `frames` alone. Null: it is gone, and is not needed.
   * @throws StoreUnusableError as `open` does
   */
  static openToRead(file: string, isNeeded: boolean): Journal | null {
    if (!existsSync(file)) {
      if (isNeeded) throw gone(file, 0);
      return null;
    }
    const journal = new Journal(openSync(file, constants.O_RDONLY));
    const { size } = fstatSync(journal.#fd);
    if (!isNeeded || size >= 2 * HALF_BYTES) return journal;
    journal.close();
    throw gone(file, size);
  }

  /** Whether a store was ever open with it: its first pages are written once there is one. */
  wasUsed(): boolean {
    const word = Buffer.alloc(4);
    return [0, HALF_BYTES].some(
      (at) => readSync(this.#fd, word, 0, word.length, at) === word.length && word.readUInt32LE(0) === MAGIC,
    );
  }

  /**
   * The frames of an epoch behind a sequence, in order. One that was being written when the power failed is not among them, and
   * nobody was told that it was written.
   * @throws StoreUnusableError when this is no journal of that epoch, or one is damaged, as others show (R9)
   */
  frames(epoch: Uint8Array, sequence: number): readonly Frame[] {
    const found: Frame[] = [];
    const broken: Begun[] = [];
    const bytes = Buffer.allocUnsafe(2 * HALF_BYTES);
    for (let at = 0; at < bytes.length; ) {
      const count = readSync(this.#fd, bytes, at, bytes.length - at, at);
      if (count === 0) bytes.fill(0, at);
      at = count === 0 ? bytes.length : at + count;
    }
    for (const half of [bytes.subarray(0, HALF_BYTES), bytes.subarray(HALF_BYTES)]) {
      if (frameLength(half, epoch) === null) throw foreign();
      for (let at = PAGE_BYTES; at < half.length; ) {
        const length = frameLength(half.subarray(at), epoch);
        if (length === null && isBroken(half.subarray(at), epoch)) broken.push(begunAt(half, at));
        if (length !== null) {
          const frame = decoded(half.subarray(at, at + length));
          if (frame.sequence > sequence) found.push(frame);
        }
        at += length === null ? PAGE_BYTES : padded(length);
      }
    }
    found.sort((a, b) => a.sequence - b.sequence);
    found.forEach((frame, at) => {
      if (frame.sequence !== sequence + 1 + at) throw damaged(sequence + 1 + at);
    });
    const next = sequence + 1 + found.length;
    if (!isTornWrite(broken, sequence, next)) throw damaged(next);
    return found;
  }

  /** Begins an epoch, in both halves. Resolves when that is flushed. */
  begin(epoch: Uint8Array): Promise<void> {
    const head = numbered(framed([]), 0, epoch);
    for (const position of [0, HALF_BYTES]) writeSync(this.#fd, head, 0, head.length, position);
    return flush(this.#fd);
  }

  /**
   * Resolves when it is flushed.
   * @param half 0 or 1
   * @param end where the last frame in this half has ended: the sum of their lengths
   */
  append(frame: Uint8Array, half: number, end: number): Promise<void> {
    const position = half * HALF_BYTES + PAGE_BYTES + end;
    for (let at = 0; at < frame.length; )
      at += writeSync(this.#fd, frame, at, frame.length - at, position + at);
    return flush(this.#fd);
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** A batch as a frame in whole pages, that has no number yet. */
export interface Framed {
  readonly bytes: Buffer;
  /** Without what fills the last page. */
  readonly length: number;
  /** The batch, whose values are parts of the frame. */
  readonly changes: readonly Change[];
}

/**
 * Checks a whole batch and takes it over: whoever gave it may use its values again.
 * @throws TypeError when it breaks a limit
 */
export function framed(batch: readonly Change[]): Framed {
  let length = HEADER_BYTES;
  for (const { key, value } of batch) length += CHANGE_HEADER_BYTES + keyLength(key) + valueLength(value);
  const bytes = Buffer.allocUnsafe(padded(length));
  let at = HEADER_BYTES;
  const changes = batch.map(({ key, value, isNew = false }) => {
    const keyAt = at + CHANGE_HEADER_BYTES;
    const keyEnd = keyAt + bytes.write(key, keyAt, "utf8");
    bytes.writeUInt16LE(keyEnd - keyAt, at);
    bytes.writeUInt32LE(value?.length ?? DELETED, at + 2);
    at = keyEnd;
    if (value === null) return { key, value };
    bytes.set(value, keyEnd);
    at += value.length;
    return { key, value: bytes.subarray(keyEnd, at), isNew };
  });
  // Nothing of what was in this memory before goes to the disk.
  bytes.fill(0, at);
  return { bytes, length, changes };
}

/** A frame as it is written. */
export function numbered({ bytes, length }: Framed, sequence: number, epoch: Uint8Array): Buffer {
  bytes.writeUInt32LE(MAGIC, 0);
  bytes.writeUInt32LE(length, 4);
  bytes.writeUInt32LE(VERSION, 12);
  bytes.writeBigUInt64LE(BigInt(sequence), 16);
  bytes.set(epoch, 24);
  bytes.writeUInt32LE(checksum(bytes, length), 8);
  return bytes;
}

/** How long the frame is that begins here; null when none does, or one of another epoch, or a damaged one. */
function frameLength(bytes: Buffer, epoch: Uint8Array): number | null {
  if (bytes.length < HEADER_BYTES || bytes.readUInt32LE(0) !== MAGIC) return null;
  const length = bytes.readUInt32LE(4);
  if (length < HEADER_BYTES || length > bytes.length) return null;
  if (bytes.compare(epoch, 0, EPOCH_BYTES, 24, 24 + EPOCH_BYTES) !== 0) return null;
  if (bytes.readUInt32LE(8) !== checksum(bytes, length)) return null;
  // Only a frame that is whole can say of itself that it is newer.
  const version = bytes.readUInt32LE(12);
  if (version === VERSION) return length;
  throw new StoreUnusableError(
    `The journal has format ${version}; this LockDB reads format ${VERSION}. Start the LockDB that wrote it, and stop it in order.`,
  );
}

/**
 * Whether a frame of this epoch was begun here; asked where none is whole. Its beginning may be damaged itself, in a few bits: of other epochs, and of what
 * is no frame, more than that are different.
 */
function isBroken(bytes: Buffer, epoch: Uint8Array): boolean {
  let different = bitsSet(bytes.readUInt32LE(0) ^ MAGIC);
  for (const [at, byte] of epoch.entries()) different += bitsSet(bytes[24 + at]! ^ byte);
  return different <= DAMAGED_BITS_MAX;
}

/** A frame that is not whole, as its beginning says. */
interface Begun {
  readonly half: Buffer;
  readonly at: number;
  readonly end: number;
  readonly sequence: number;
}

function begunAt(half: Buffer, at: number): Begun {
  const length = half.readUInt32LE(at + 4);
  return { half, at, end: at + padded(length), sequence: sequenceOf(half.subarray(at)) };
}

/**
 * Whether that is what a power cut leaves of the frame that was being written. There is one at most, and all before it are whole. In its place, and only there, may lie
 * what it did not overwrite of older ones, which are copied.
 */
function isTornWrite(broken: readonly Begun[], copied: number, next: number): boolean {
  const [last, ...others] = broken.filter(({ sequence }) => sequence > copied);
  if (last === undefined) return true;
  const isWithin = ({ half, at }: Begun) => half === last.half && at > last.at && at < last.end;
  return (
    others.length === 0 && last.sequence === next && broken.every((each) => each === last || isWithin(each))
  );
}

function bitsSet(word: number): number {
  let count = 0;
  for (let rest = word; rest !== 0; rest &= rest - 1) count++;
  return count;
}

function sequenceOf(frame: Buffer): number {
  return Number(frame.readBigUInt64LE(16));
}

function checksum(frame: Buffer, length: number): number {
  return crc32(frame.subarray(12, length), crc32(frame.subarray(4, 8)));
}

function decoded(frame: Buffer): Frame {
  const changes: { key: string; value: Uint8Array | null }[] = [];
  for (let at = HEADER_BYTES; at < frame.length; ) {
    const keyEnd = at + CHANGE_HEADER_BYTES + frame.readUInt16LE(at);
    const valueLength = frame.readUInt32LE(at + 2);
    const key = frame.toString("utf8", at + CHANGE_HEADER_BYTES, keyEnd);
    at = valueLength === DELETED ? keyEnd : keyEnd + valueLength;
    changes.push({ key, value: valueLength === DELETED ? null : new Uint8Array(frame.subarray(keyEnd, at)) });
  }
  return { sequence: sequenceOf(frame), changes };
}

function padded(length: number): number {
  return Math.ceil(length / PAGE_BYTES) * PAGE_BYTES;
}

/** Its blocks are on the disk before it is used: a flush then has nothing but the frame to write. */
function make(fd: number, file: string): void {
  ftruncateSync(fd, 0);
  fillWithZeros(fd, 0, 2 * HALF_BYTES);
  fsyncSync(fd);
  syncDirectory(dirname(file));
}

function gone(file: string, size: number): StoreUnusableError {
  return new StoreUnusableError(
    `The file "${file}" is ${size === 0 ? "gone" : "cut off"}, and the last server here did not stop in order: what was committed last stands ` +
      "only there. Put it back, or restore a backup of the whole data directory.",
  );
}

function foreign(): StoreUnusableError {
  return new StoreUnusableError(
    'The file "journal" is not the one that this store was used with, or its beginning is damaged, and the last server here did not stop in ' +
      "order: what was committed last stood only there. Put it back, or restore a backup of the whole data directory.",
  );
}

function damaged(sequence: number): StoreUnusableError {
  return new StoreUnusableError(
    `Batch ${sequence} of the journal is damaged. The server refuses to start rather than guess what it held. Restore a backup of the ` +
      "whole data directory.",
  );
}
