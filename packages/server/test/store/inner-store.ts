import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { openMemoryStore } from "../../src/store/memory.js";
import type { Change, Store } from "../../src/store/store.js";
import { entriesOf } from "./contract.js";
import { newFolder } from "./folders.js";

/** Of a journal. */
export const PAGE = 4_096;
/** Longer than a test takes: nothing is copied but by hand. */
export const NEVER_MS = 600_000;

/** A store in memory, in place of LMDB, whose commits the test can hold up. */
export class InnerStore {
  isHanging = false;
  readonly #memory = openMemoryStore();
  #held: (() => void)[] = [];
  #watchers: ((batch: readonly Change[]) => void)[] = [];

  asOpened(): Store {
    return {
      load: (prefix, after) => this.#memory.load(prefix, after),
      commit: async (batch) => {
        for (const watcher of this.#watchers) watcher(batch);
        if (this.isHanging) await new Promise<void>((resolve) => this.#held.push(resolve));
        await this.#memory.commit(batch);
      },
      close: async () => {},
    };
  }

  /** What another process finds: commits that hang have not been. */
  asAfterACrash(): Store {
    return {
      load: (prefix, after) => this.#memory.load(prefix, after),
      commit: (batch) => this.#memory.commit(batch),
      close: async () => {},
    };
  }

  goOn(): void {
    this.isHanging = false;
    for (const resolve of this.#held.splice(0)) resolve();
  }

  nextBatch(isWanted: (batch: readonly Change[]) => boolean): Promise<readonly Change[]> {
    return new Promise((resolve) => {
      this.#watchers.push((batch) => {
        if (isWanted(batch)) resolve(batch);
      });
    });
  }

  async keys(): Promise<readonly string[]> {
    const entries = await entriesOf(this.#memory, "");
    return entries.map(({ key }) => key).filter((key) => key !== "journal");
  }
}

/** The journal of a folder, in another one. */
export function copyOf(folder: string): string {
  const copy = newFolder();
  copyFileSync(join(folder, "journal"), join(copy, "journal"));
  return copy;
}
