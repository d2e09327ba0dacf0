import { randomUUID } from "node:crypto";
import { closeSync, fsyncSync, openSync, renameSync, rmSync, statSync } from "node:fs";
import { open } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { backupChunks, decodeRecord, type Entry, isEtcdUrl, StoreUnusableError } from "../store/index.js";
import { type Place, placeOf, type WayToEtcd } from "./places.js";
import { version } from "./version.js";

export interface Copied {
  /** `moved`: what it came from starts no more. `backup`: it may. */
  readonly kind: "moved" | "backup";
  readonly from: string;
  readonly to: string;
  readonly records: number;
}

/**
 * Copies the store of a stopped server, or of a cluster in which no member lives. Into a folder or a cluster it is a move: all is taken over as it is, sessions and
 * numbers too, and what it came from is marked so that no server starts with it. Into a file, whose name ends in `.backup`, it is a backup.
 * @param way to etcd, on either side
 * @throws StoreInUseError, StoreUnusableError, StoreFailedError, EtcdError, DamagedRecordError, NewerFormatError
 */
export async function copyStore(from: string, to: string, way: WayToEtcd = {}): Promise<Copied> {
  refuseFile(from, to);
  const source = await placeOf(from, way);
  try {
    if (isBackup(to)) return await intoFile(source, resolve(to));
    const target = await placeOf(to, way);
    try {
      return await moveStore(source, target);
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}

function isBackup(to: string): boolean {
  if (!to.endsWith(".backup") || to.includes("://")) return false;
  return statSync(to, { throwIfNoEntry: false })?.isDirectory() !== true;
}

function refuseFile(from: string, to: string): void {
  const source = resolve(from);
  if (from.includes("://") || statSync(source, { throwIfNoEntry: false })?.isDirectory() !== false) return;
  const where = isEtcdUrl(to) ? to : `--data-dir ${to}`;
  throw new StoreUnusableError(
    `"${source}" is a file. A backup may be used more than once, so its tokens have to be raised: lockdb store restore ${from} ${where}`,
  );
}

/**
 * Writes a backup: to a file beside it, which takes its name once it is whole.
 * @param check looks at that file before; what it throws, the file comes to
 */
export async function writeBackup(
  path: string,
  chunks: AsyncIterable<Uint8Array>,
  check: (partial: string) => Promise<void> = async () => {},
): Promise<void> {
  const partial = `${path}.${process.pid}.partial`;
  try {
    const file = await open(partial, "wx", 0o600);
    try {
      for await (const chunk of chunks) await file.writeFile(chunk);
      await file.sync();
    } finally {
      await file.close();
    }
    await check(partial);
    renameSync(partial, path);
  } catch (error) {
    rmSync(partial, { force: true });
    throw error;
  }
  const folder = openSync(dirname(path), "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

async function intoFile(from: Place, to: string): Promise<Copied> {
  from.refuseMarked();
  const store = await from.read();
  try {
    const counted = { records: 0 };
    const header = { at: new Date().toISOString(), lockdb: version(), from: "stopped" } as const;
    await writeBackup(to, backupChunks(header, checked(store.load(), counted)));
    return { kind: "backup", from: from.name, to, records: counted.records };
  } finally {
    await store.close();
  }
}

/**
 * In an order in which each crash leaves at most one store that starts: the old one until it is marked, then none, until the new one loses its
 * mark. A move that stood still between the two is brought to its end by the same command.
 */
export async function moveStore(from: Place, to: Place): Promise<Copied> {
  const begun = to.markOf("unfinished");
  const gone = from.markOf("moved");
  if (gone !== null && begun !== null && gone.id === begun.id && gone.id !== "") return end(from, to);
  from.refuseMarked();
  const store = await from.read();
  try {
    const id = randomUUID();
    const filling = await to.fill(from.name, id);
    const counted = { records: 0 };
    try {
      for await (const entry of checked(store.load(), counted)) await filling.put(entry);
      await filling.written();
    } catch (error) {
      await filling.undo();
      throw error;
    }
    try {
      await from.markMoved({ id, other: to.name, at: new Date().toISOString() });
    } catch (error) {
      // Where it has a mark, or may have one, it starts no more: then the copy is what there is.
      if (from.isUnmarked(error)) await filling.undo();
      throw error;
    }
    await filling.finish();
    return { kind: "moved", from: from.name, to: to.name, records: counted.records };
  } finally {
    await store.close();
  }
}

/** Both have the mark of one move: all was there before the second was made. */
async function end(from: Place, to: Place): Promise<Copied> {
  const store = await to.readUnfinished();
  try {
    const counted = { records: 0 };
    for await (const _ of checked(store.load(), counted));
    await to.unmarkUnfinished();
    return { kind: "moved", from: from.name, to: to.name, records: counted.records };
  } finally {
    await store.close();
  }
}

/** A damaged record is not copied: nobody would find out (R9). */
async function* checked(entries: AsyncIterable<Entry>, counted: { records: number }): AsyncGenerator<Entry> {
  for await (const entry of entries) {
    decodeRecord(entry);
    counted.records++;
    yield entry;
  }
}
