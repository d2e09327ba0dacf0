import { closeSync, constants, fsyncSync, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { StoreInUseError, StoreUnusableError } from "./errors.js";

/** LMDB lets a second process in and neither would notice. The lock ends with the process, however that ends. */
export async function takeOwnership(directory: string, nextStep = NEXT_STEP_IN_USE): Promise<number> {
  const { tryLock } = await import("fs-native-extensions");
  // Not truncated before it is ours: the text is the owner's.
  const fd = explained(directory, () => openOrMake(join(directory, OWNER_FILE)));
  try {
    if (!explained(directory, () => tryLock(fd))) {
      throw new StoreInUseError(
        `The data directory "${directory}" is in use by ${readOwner(fd)}. ${nextStep}`,
      );
    }
    explained(directory, () => {
      ftruncateSync(fd, 0);
      writeSync(fd, `${process.pid} ${hostname()}\n`, 0);
    });
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

const NEXT_STEP_IN_USE = "Stop that server, or give this one a data directory of its own.";
const OWNER_FILE = "owner.lock";

export function giveUpOwnership(fd: number): void {
  try {
    ftruncateSync(fd, 0);
  } finally {
    closeSync(fd);
  }
}

function readOwner(fd: number): string {
  const [, pid, host] = /^(\d+) (\S+)$/m.exec(readFileSync(fd, "utf8")) ?? [];
  if (pid === undefined) {
    return "another process";
  }
  // In containers two hosts may share a folder, and process numbers mean little.
  return host === hostname() ? `process ${pid}` : `process ${pid} on host ${host}`;
}

/** A new file is only as durable as its entry in its directory, and that one as its own. */
export function syncDirectories(from: string, to: string): void {
  for (let directory = from; ; directory = dirname(directory)) {
    syncDirectory(directory);
    if (directory === to) {
      return;
    }
  }
}

export function syncDirectory(directory: string): void {
  let fd: number | null = null;
  try {
    fd = openSync(directory, "r");
    fsyncSync(fd);
  } catch (error) {
    // Windows, some file systems, and a parent that we may not read know no such thing.
    if (
      !["EACCES", "EINVAL", "EISDIR", "ENOTSUP", "EPERM"].includes(
        (error as NodeJS.ErrnoException).code ?? "",
      )
    ) {
      throw error;
    }
  } finally {
    if (fd !== null) {
      closeSync(fd);
    }
  }
}

/** Runs a system call; when it fails, the error names the directory and says what to do. */
export function explained<T>(directory: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const next = NEXT_STEP_BY_CODE[code ?? ""] ?? "Mend that, or name another data directory.";
    throw new StoreUnusableError(
      `The data directory "${directory}" cannot be used (${messageOf(error)}). ${next}`,
      { cause: error },
    );
  }
}

const NEXT_STEP_PERMISSION =
  "Give the user of the server the right to write there, or name another data directory.";
const NEXT_STEP_PLACE = "Something else is in its place: move that away, or name another data directory.";
const NEXT_STEP_ROOM = "Make room on that disk, then start again.";
const NEXT_STEP_BY_CODE: Readonly<Record<string, string>> = {
  EACCES: NEXT_STEP_PERMISSION,
  EPERM: NEXT_STEP_PERMISSION,
  EROFS: NEXT_STEP_PERMISSION,
  EEXIST: NEXT_STEP_PLACE,
  EISDIR: NEXT_STEP_PLACE,
  ENOTDIR: NEXT_STEP_PLACE,
  EDQUOT: NEXT_STEP_ROOM,
  ENOSPC: NEXT_STEP_ROOM,
};

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export function openOrMake(file: string): number {
  return openSync(file, constants.O_RDWR | constants.O_CREAT, 0o600);
}
