// A small ext4 of its own, in a file: it can be full, and its power can be cut.
import { spawnSync } from "node:child_process";
import { closeSync, fsyncSync, mkdirSync, openSync, rmSync, statfsSync, writeSync } from "node:fs";
import { join } from "node:path";

const CHUNK = Buffer.alloc(64 * 1_024, 1);
/** EXT4_IOC_SHUTDOWN, without flushing anything: what was not flushed is lost, and nothing can be read or written any more. */
const CUT =
  'open(my $f, "<", $ARGV[0]) or die $!; my $how = pack("I", 2); defined(ioctl($f, 0x8004587d, $how)) or die $!;';

export class Disk {
  #image;
  #place;
  /** @type {string | null} */
  #device = null;
  #isMounted = false;

  /** @param {import("./stage.js").Stage} stage */
  static make(stage, mib) {
    const folder = stage.folder();
    const disk = new Disk(join(folder, "image"), join(folder, "disk"));
    const remove = () => disk.#remove();
    stage.onEnd(remove, remove);
    mkdirSync(disk.#place);
    done("truncate", "-s", `${mib}M`, disk.#image);
    // No blocks that only root may have: the server may be root here.
    done("mkfs.ext4", "-q", "-m", "0", disk.#image);
    disk.#mount();
    return disk;
  }

  constructor(image, place) {
    this.#image = image;
    this.#place = place;
  }

  folder(name) {
    return join(this.#place, name);
  }

  /** To the last byte. */
  fill() {
    const file = openSync(this.folder("filler"), "a");
    try {
      for (;;) writeSync(file, CHUNK);
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== "ENOSPC") throw error;
    } finally {
      closeSync(file);
    }
    return statfsSync(this.#place).bavail;
  }

  empty() {
    rmSync(this.folder("filler"), { force: true });
    const folder = openSync(this.#place, "r");
    fsyncSync(folder);
    closeSync(folder);
  }

  cutPower() {
    done("perl", "-e", CUT, this.#place);
  }

  /**
   * As a machine does that has power again, with another disk that has on it what this one had: somebody's namespace may have a copy of the old mount,
   * and then that one stays without power. Nobody may use it meanwhile.
   */
  restorePower() {
    const image = `${this.#image}+`;
    done("cp", "--sparse=always", this.#image, image);
    this.#remove();
    rmSync(this.#image);
    this.#image = image;
    this.#mount();
  }

  #mount() {
    this.#device = done("losetup", "--find", "--show", this.#image).trim();
    done("mount", this.#device, this.#place);
    this.#isMounted = true;
  }

  #unmount(...options) {
    if (!this.#isMounted) return;
    done("umount", ...options, this.#place);
    this.#isMounted = false;
  }

  /** It is let go of once nobody uses it. */
  #remove() {
    this.#unmount("-l");
    if (this.#device !== null) done("losetup", "-d", this.#device);
    this.#device = null;
  }
}

function done(command, ...args) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${error?.message ?? stderr}`);
  return stdout;
}
