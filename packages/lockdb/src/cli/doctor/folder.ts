import { accessSync, constants, readdirSync, type Stats, statfsSync, statSync } from "node:fs";
import { userInfo } from "node:os";
import { join, resolve } from "node:path";
import type { ServerPackage } from "../server-package.js";
import { diskFinding, type Finding, fail, ok, skipped, warn } from "./finding.js";

/** Files that a first start leaves alone: of the disk itself, and of those who mount it. */
const NOBODYS = new Set(["lost+found", ".DS_Store", "owner.lock"]);

/**
 * How a server's data folder is, on this machine.
 * @param usedBy the folder of the server that was asked, and its address; null: none answered
 */
export async function folderFindings(
  given: string,
  server: Pick<ServerPackage, "inspectStore"> | null,
  usedBy: { readonly directory: string; readonly url: string } | null,
): Promise<readonly Finding[]> {
  const path = resolve(given);
  let stats: Stats;
  try {
    stats = statSync(path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT") return [fail("data-folder", `${path} cannot be looked at: ${message}`, NO_RIGHT)];
    return [
      fail(
        "data-folder",
        `there is nothing at ${path}`,
        "Name the folder that `lockdb serve --data-dir` has. A first start makes it.",
      ),
    ];
  }
  if (!stats.isDirectory())
    return [fail("data-folder", `${path} is no folder`, "Name a folder, or move away what is in its place.")];
  const rights = rightsFinding(path, stats);
  const found = [rights, diskOf(path)];
  if (rights.status === "fail") return found;
  return [await storeFinding(path, server, usedBy), ...found];
}

const NO_RIGHT =
  "Give the user of the server that folder (`chown -R`), or run this as that user; or name another folder.";

function rightsFinding(path: string, { mode, uid }: Stats): Finding {
  const me = userInfo().username;
  try {
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
    for (const name of namesIn(path)) accessSync(join(path, name), constants.R_OK | constants.W_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return fail("data-rights", `the user ${me} may not read and write all of ${path} (${code})`, NO_RIGHT);
  }
  const open = namesIn(path).find((name) => isOpenToOthers(join(path, name)));
  // A folder that is closed keeps others from what is in it, however that is.
  if (process.platform !== "win32" && (mode & 0o077) !== 0 && open !== undefined)
    return warn(
      "data-rights",
      `others on this machine may read ${join(path, open)}: it may hold secrets of webhooks`,
      `Close it: chmod -R go= ${path}`,
    );
  return ok(
    "data-rights",
    `the user ${me} may read and write ${path}${uid === process.getuid?.() ? "" : ", which is another user's"}`,
  );
}

function isOpenToOthers(file: string): boolean {
  return (statSync(file).mode & 0o077) !== 0;
}

function diskOf(path: string): Finding {
  try {
    const { bavail, bsize, blocks } = statfsSync(path);
    return diskFinding("data-disk", path, bavail * bsize, blocks * bsize);
  } catch (error) {
    return skipped("data-disk", `it cannot be told how full the disk is: ${(error as Error).message}`);
  }
}

async function storeFinding(
  path: string,
  server: Pick<ServerPackage, "inspectStore"> | null,
  usedBy: { readonly directory: string; readonly url: string } | null,
): Promise<Finding> {
  const others = namesIn(path).filter((name) => !NOBODYS.has(name));
  if (others.length === 0)
    return ok("data-folder", `${path} is empty: a first start makes a new store there`);
  if (server === null)
    return skipped("data-folder", "what is in it was not looked at: @lockdb/server is not installed here");
  try {
    const { records, damageCount, damage, movedTo, journal } = await server.inspectStore(path);
    if (movedTo !== null)
      return fail(
        "data-folder",
        `the store in ${path} was moved to ${movedTo}: no server starts with it`,
        "Start the server with the folder that it was moved to.",
      );
    if (damageCount > 0)
      return fail(
        "data-folder",
        `${path} is damaged in ${damageCount} places: ${damage[0]}`,
        "A server does not start with it. `lockdb store inspect` names all of it; restore a backup (docs/backup.md).",
      );
    const how =
      journal?.stoppedInOrder === false
        ? "; the last server did not stop in order, and the next one recovers"
        : "";
    return ok("data-folder", `${path} is whole, with ${records} records, and no server uses it${how}`);
  } catch (error) {
    const { name, message } = error as Error;
    if (name === "StoreInUseError") return inUse(path, message, usedBy);
    if (/^There is no LockDB store/.test(message))
      return fail(
        "data-folder",
        `${path} holds no LockDB store, but ${others.slice(0, 3).join(", ")}: it is another program's`,
        "Give the server a folder of its own: --data-dir.",
      );
    return fail("data-folder", message, "Name another folder, or mend what it says.");
  }
}

function inUse(path: string, message: string, usedBy: { directory: string; url: string } | null): Finding {
  const who = /is in use by ([^.]+)\./.exec(message)?.[1] ?? "another process";
  if (usedBy !== null && usedBy.directory === path)
    return ok("data-folder", `${path} is in use by ${who}, as it should be: the server at ${usedBy.url}`);
  return fail(
    "data-folder",
    `${path} is in use by ${who}${usedBy === null ? "" : `, and not by the server at ${usedBy.url}`}`,
    "A second server does not start with it. Stop that one, give this one a folder of its own, or ask the one that runs: -s <url>.",
  );
}

function namesIn(path: string): readonly string[] {
  return readdirSync(path);
}
