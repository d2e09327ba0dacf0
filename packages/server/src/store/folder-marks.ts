import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { StoreUnusableError } from "./errors.js";
import { explained, syncDirectory } from "./folder.js";

/**
 * Why a folder is no store to start with. `unfinished`: a restore or a copy into it did not come to its end. `moved`: its
 * history goes on elsewhere.
 */
export type MarkKind = "unfinished" | "moved";

export interface FolderMark {
  /** The same on both sides of a move. */
  readonly id: string;
  /** Where it comes from, or has gone to. */
  readonly other: string;
  /** Time of day, ISO 8601. For people. */
  readonly at: string;
}

/** Marks a folder, durably. @throws StoreUnusableError also when it has such a mark already */
export function markFolder(directory: string, kind: MarkKind, mark: FolderMark): void {
  explained(directory, () => {
    // An unfinished folder is one at once, and only one process can make it so; one that was moved must also say where it went.
    const file = fileOf(directory, kind);
    const written = kind === "moved" ? `${file}.partial` : file;
    const fd = openSync(written, kind === "moved" ? "w" : "wx", 0o600);
    try {
      writeSync(fd, `${JSON.stringify(mark)}\n`);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    if (written !== file) renameSync(written, file);
    syncDirectory(directory);
  });
}

/** Takes the mark away, durably. */
export function unmarkFolder(directory: string, kind: MarkKind): void {
  explained(directory, () => {
    rmSync(fileOf(directory, kind));
    syncDirectory(directory);
  });
}

/** Null: there is none. One that was cut off while it was written is one all the same. */
export function markOf(directory: string, kind: MarkKind): FolderMark | null {
  const file = fileOf(directory, kind);
  if (!existsSync(file)) return null;
  try {
    const { id, other, at } = JSON.parse(readFileSync(file, "utf8"));
    return { id: String(id), other: String(other), at: String(at) };
  } catch {
    return { id: "", other: "somewhere", at: "some time ago" };
  }
}

/** @throws StoreUnusableError when nobody may start with this folder */
export function refuseMarked(directory: string): void {
  const moved = markOf(directory, "moved");
  if (moved !== null)
    throw new StoreUnusableError(
      `The store in "${directory}" was moved to "${moved.other}" (${moved.at}), where its history goes on: a second server with the same ` +
        "history would give out its tokens again. Start the server there.",
    );
  const unfinished = markOf(directory, "unfinished");
  if (unfinished !== null)
    throw new StoreUnusableError(
      `The store in "${directory}" is not whole: what was begun at ${unfinished.at}, from "${unfinished.other}", did not come to its end. ` +
        "Remove all that is in this folder, and do it again.",
    );
}

function fileOf(directory: string, kind: MarkKind): string {
  return join(directory, `${kind}.json`);
}
