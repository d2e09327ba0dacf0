// The version before this one, as git has it, built in a folder of its own.
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
/** Packages of this repository: theirs are the old ones. */
const OWN = ["lockdb", "@lockdb", ".bin", ".cache", ".vite", ".vitest", ".package-lock.json"];

/** What `LOCKDB_PREVIOUS` names, or the commit before this one; null: git knows of none. */
export function previousRevision() {
  const name = process.env.LOCKDB_PREVIOUS ?? "HEAD^1";
  const { status, stdout } = spawnSync(
    "git",
    ["-C", ROOT, "rev-parse", "--verify", "-q", `${name}^{commit}`],
    { encoding: "utf8" },
  );
  return status === 0 ? stdout.trim() : null;
}

/**
 * Builds it, with the modules that are installed here.
 * @param {import("./stage.js").Stage} stage
 * @returns {{ revision: string, cli: string, load: string }} its command line, and `load.js` of this version with its client
 */
export function builtPrevious(stage) {
  const revision = /** @type {string} */ (previousRevision());
  const folder = stage.folder();
  done("sh", "-c", `git -C "$0" archive "$1" | tar -x -C "$2"`, ROOT, revision, folder);
  const modules = join(folder, "node_modules");
  mkdirSync(join(modules, "@lockdb"), { recursive: true });
  for (const name of readdirSync(join(ROOT, "node_modules")))
    if (!OWN.includes(name)) symlinkSync(join(ROOT, "node_modules", name), join(modules, name));
  symlinkSync(join(folder, "packages/lockdb"), join(modules, "lockdb"));
  symlinkSync(join(folder, "packages/server"), join(modules, "@lockdb/server"));
  // Of a package that is not hoisted.
  for (const name of readdirSync(join(folder, "packages"))) {
    const nested = join(ROOT, "packages", name, "node_modules");
    if (existsSync(nested)) symlinkSync(nested, join(folder, "packages", name, "node_modules"));
  }
  done(
    process.execPath,
    join(ROOT, "node_modules/typescript/bin/tsc"),
    "-b",
    join(folder, "packages/lockdb"),
    join(folder, "packages/server"),
  );
  for (const each of ["tests/processes", "tests/torture/lib"])
    cpSync(join(ROOT, each), join(folder, each), { recursive: true });
  return {
    revision,
    cli: join(folder, "packages/lockdb/bin/lockdb.js"),
    load: join(folder, "tests/torture/lib/load.js"),
  };
}

function done(command, ...args) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${error?.message ?? stdout + stderr}`);
}
