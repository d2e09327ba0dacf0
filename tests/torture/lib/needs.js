// What a part needs of the machine. What is missing is said, with what to do; it is looked for once.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hasEtcd } from "../../../packages/server/test/etcd.js";
import { hasFaketime } from "./clock.js";
import { previousRevision } from "./previous.js";

const canDo = (/** @type {string} */ command, /** @type {readonly string[]} */ ...args) =>
  spawnSync(command, args, { stdio: "ignore" }).status === 0;

/** Each gives what is missing; null: nothing. @type {Record<string, () => string | null>} */
const NEEDS = {
  etcd: () => (hasEtcd ? null : "there is no `etcd` on the PATH; install Debian's etcd-server"),
  root: () => (process.getuid?.() === 0 ? null : "it needs root"),
  strace: () =>
    canDo("strace", "-f", "-qq", "-e", "trace=fsync", "true")
      ? null
      : "there is no `strace`, or it may trace nothing; install Debian's strace, and allow ptrace",
  "loop disk": loopDisk,
  namespaces: namespaces,
  faketime: () => (hasFaketime() ? null : "there is no libfaketime; install Debian's faketime"),
  "previous version": () =>
    previousRevision() === null
      ? "there is no git history, so no version before this one; clone it with its history"
      : null,
};

/** @type {Map<string, string | null>} */
const known = new Map();

/** Why a part with these needs can show nothing here; null: it can. @param {readonly string[]} needs */
export function lacking(needs) {
  const lacks = needs.flatMap((need) => {
    if (NEEDS[need] === undefined) throw new Error(`no such need: ${need}`);
    if (!known.has(need)) known.set(need, NEEDS[need]());
    return known.get(need) ?? [];
  });
  return lacks.length === 0 ? null : lacks.join("; ");
}

/** As root in a container one may be refused a mount all the same: it is tried. */
function loopDisk() {
  if (process.getuid?.() !== 0) return "a disk of its own needs root";
  const folder = mkdtempSync(join(tmpdir(), "lockdb-torture-"));
  const image = join(folder, "image");
  const place = join(folder, "place");
  try {
    const isThere =
      canDo("truncate", "-s", "4M", image) &&
      canDo("mkfs.ext4", "-q", image) &&
      canDo("mkdir", place) &&
      canDo("mount", "-o", "loop", image, place);
    if (isThere) canDo("umount", place);
    return isThere ? null : "no ext4 can be made and mounted here (mkfs.ext4, mount -o loop)";
  } finally {
    if (existsSync(place)) canDo("umount", "-l", place);
    rmSync(folder, { recursive: true, force: true });
  }
}

function namespaces() {
  if (process.getuid?.() !== 0) return "network namespaces need root";
  const name = `lockdb-probe-${process.pid}`;
  const isThere = canDo("ip", "netns", "add", name);
  if (isThere) canDo("ip", "netns", "delete", name);
  return isThere && canDo("nft", "--version")
    ? null
    : "no network namespace can be made here, or there is no `nft`; install Debian's iproute2 and nftables";
}
