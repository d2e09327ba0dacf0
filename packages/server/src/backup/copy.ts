import { randomUUID } from "node:crypto";
import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, statSync } from "node:fs";
import { open } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import {
  backupChunks,
  decodeRecord,
  type Entry,
  markFolder,
  markOf,
  OfflineStore,
  refuseMarked,
  StoreUnusableError,
  unmarkFolder,
} from "../store/index.js";
import { Filling } from "./filling.js";
import { version } from "./version.js";

export interface Copied {
  /** `moved`: the folder that it came from starts no more. `backup`: it may. */
  readonly kind: "moved" | "backup";
  readonly from: string;
  readonly to: string;
  readonly records: number;
}

/**
 * Copies the store of a stopped server. Into a folder it is a move: all is taken over as it is, sessions and numbers too, and the old folder is
 * marked so that no server starts with it. Into a file, whose name ends in `.backup`, it is a backup.
 * @throws StoreInUseError, StoreUnusableError, DamagedRecordError, NewerFormatError
 */
export async function copyStore(from: string, to: string): Promise<Copied> {
  for (const place of [from, to]) {
    const scheme = /^([a-z][a-z0-9+.-]+):\/\//.exec(place)?.[1];
    if (scheme !== undefined)
      throw new StoreUnusableError(
        `"${place}": this LockDB copies between folders, and from a folder into a file. It knows no store "${scheme}".`,
      );
  }
  const [source, target] = [resolve(from), resolve(to)];
  if (!existsSync(source)) throw new StoreUnusableError(`There is nothing at "${source}".`);
  if (!statSync(source).isDirectory())
    throw new StoreUnusableError(
      `"${source}" is a file. A backup may be used more than once, so its tokens have to be raised: lockdb store restore ${from} --data-dir ${to}`,
    );
  const isFolder = existsSync(target) && statSync(target).isDirectory();
  return target.endsWith(".backup") && !isFolder ? intoFile(source, target) : move(source, target);
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

async function intoFile(from: string, to: string): Promise<Copied> {
  refuseMarked(from);
  const store = await OfflineStore.open(from);
  try {
    const counted = { records: 0 };
    const header = { at: new Date().toISOString(), lockdb: version(), from: "stopped" } as const;
    await writeBackup(to, backupChunks(header, checked(store.load(), counted)));
    return { kind: "backup", from, to, records: counted.records };
  } finally {
    await store.close();
  }
}

/**
 * In an order in which each crash leaves at most one folder that starts: the old one until it is marked, then none, until the new one loses its
 * mark. A move that stood still between the two is brought to its end by the same command.
 */
async function move(from: string, to: string): Promise<Copied> {
  const begun = markOf(to, "unfinished");
  const gone = markOf(from, "moved");
  if (gone !== null && begun !== null && gone.id === begun.id && gone.id !== "") {
    const store = await OfflineStore.open(to);
    try {
      const counted = { records: 0 };
      for await (const _ of checked(store.load(), counted));
      unmarkFolder(to, "unfinished");
      return { kind: "moved", from, to, records: counted.records };
    } finally {
      await store.close();
    }
  }
  refuseMarked(from);
  const store = await OfflineStore.open(from);
  try {
    const id = randomUUID();
    const filling = await Filling.begin(to, from, id);
    const counted = { records: 0 };
    try {
      for await (const entry of checked(store.load(), counted)) await filling.put(entry);
      await filling.written();
      markFolder(from, "moved", { id, other: to, at: new Date().toISOString() });
    } catch (error) {
      // Where it has a mark, even half a one, it starts no more: then the copy is what there is.
      if (markOf(from, "moved") === null) await filling.undo();
      throw error;
    }
    filling.finish();
    return { kind: "moved", from, to, records: counted.records };
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
