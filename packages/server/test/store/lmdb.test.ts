import { chmodSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { StoreFailedError, StoreInUseError, StoreUnusableError } from "../../src/store/errors.js";
import { openLmdbStore } from "../../src/store/lmdb.js";
import type { Entry, Store } from "../../src/store/store.js";
import { ended, firstLine, start, startLimited } from "./children.js";
import { entriesOf, put, remove, storeContract, textByKey } from "./contract.js";
import { newFolder } from "./folders.js";

storeContract("lmdb", () => openLmdbStore(newFolder()));

describe("what outlives the process", () => {
  test("[R1m] what was committed is there when the store is opened again", async () => {
    const folder = newFolder();
    for (let round = 0; round < 4; round++) {
      const store = await openLmdbStore(folder);
      expect((await entriesOf(store, "")).length).toBe(round);
      await store.commit([put(`k${round}`, "x"), put("gone", "x")]);
      await store.commit([remove("gone")]);
      await store.close();
    }
  });

  test("[R1n] kill -9 loses nothing acknowledged and tears no batch", async () => {
    const folder = newFolder();
    let committed = -1;
    for (let kill = 0; kill < 10; kill++) {
      const child = start("write.mjs", folder, String(committed + 1), "300");
      // The first acknowledgement shows that it is writing; from then on any moment is as good as another.
      await firstLine(child);
      await new Promise((resolve) => setTimeout(resolve, (kill * 37) % 60));
      const output = await ended(child, "SIGKILL");
      const acknowledged = Number(output.trimEnd().split("\n").at(-1));

      const store = await openLmdbStore(folder);
      const [first, ...others] = await textByKey(store, "slot/");
      const last = Number(first![1]);
      expect(last).toBeGreaterThanOrEqual(acknowledged);
      // One more may be there: it was flushed when the process died before it could say so.
      expect(last).toBeLessThanOrEqual(acknowledged + 1);
      expect(others.length).toBe(19);
      expect(others.every(([, number]) => Number(number) === last)).toBe(true);
      expect((await entriesOf(store, "log/")).length).toBe(last + 1);
      await store.close();
      committed = last;
    }
  });

  test("[R1o] the folder and its files are for the server's user alone", async () => {
    const folder = join(newFolder(), "made", "on the way");
    const store = await openLmdbStore(folder);
    await store.commit([put("a", "x")]);
    expect([folder, join(folder, "..")].map(modeOf)).toEqual([0o700, 0o700]);
    const files = ["owner.lock", "store.mdb", "store.mdb-lock"].map((file) => join(folder, file));
    expect(files.map(modeOf)).toEqual([0o600, 0o600, 0o600]);
    await store.close();
  });

  test("[R1q] a load that is left early keeps no old state of the store on the disk", async () => {
    const folder = newFolder();
    const store = await openLmdbStore(folder);
    for (let round = 0; round < 60; round++) {
      await store.commit(
        Array.from({ length: 100 }, (_, index) => put(`k${index}`, `${round}`.repeat(1_000))),
      );
      if (round < 2) {
        for await (const { key } of store.load("")) {
          expect(key).toBe("k0");
          break;
        }
      }
    }
    // A state that is held keeps all later ones too: sixty of 0.2 MB each.
    expect(statSync(join(folder, "store.mdb")).size).toBeLessThan(6_000_000);
    await store.close();
  });

  test("[R1r] loads that stand still while the store is closed reject, and do not crash the server", async () => {
    for (let round = 0; round < 12; round++) {
      const store = await openLmdbStore(newFolder());
      await store.commit(Array.from({ length: 100 }, (_, index) => put(`k${index}`, "x".repeat(3_000))));
      const loads: AsyncIterator<Entry>[] = [];
      for (let index = 0; index < 10; index++) {
        const load = store.load("")[Symbol.asyncIterator]();
        await load.next();
        loads.push(load);
        await store.commit([put(`k${index}`, "y")]);
      }
      await store.close();
      for (const load of loads) {
        await expect(load.next()).rejects.toThrow("closed");
      }
    }
  });

  test("[R1p] LMDB is opened in the one mode whose promise means flushed, and whose failures can be caught", async () => {
    await withLmdb(
      (_, options) => {
        expect(options).toMatchObject({ overlappingSync: false, eventTurnBatching: false });
        expect(options).not.toHaveProperty("noSync");
        expect(options).not.toHaveProperty("noMetaSync");
      },
      async (store) => store.commit([put("a", "1")]),
    );
  });

  test("[N3c] loading many records leaves turns of the event loop to others", async () => {
    const store = await openLmdbStore(newFolder());
    await store.commit(Array.from({ length: 5_000 }, (_, index) => put(`k${index}`, "x")));
    let turns = 0;
    let isLoading = true;
    setImmediate(function turn() {
      turns++;
      if (isLoading) setImmediate(turn);
    });
    expect((await entriesOf(store, "")).length).toBe(5_000);
    isLoading = false;
    expect(turns).toBeGreaterThanOrEqual(4);
    await store.close();
  });
});

describe("a commit that fails", () => {
  test("[R7a] when no room is left the commit rejects, every later call too, and opening anew gives what was acknowledged", async () => {
    const folder = newFolder();
    // A limit on the size of files is what a test can have without a disk to fill.
    const child = startLimited(8_000, "write.mjs", folder, "0", "30000");
    const lines = (await ended(child)).trimEnd().split("\n");
    expect(child.exitCode).toBe(0);
    const [failure, outcomes, again] = lines.splice(-3);
    expect(failure).toMatch(/^StoreFailedError: A commit to ".*store\.mdb" failed \(EFBIG.*opened anew/);
    expect(outcomes).toBe("StoreFailedError,StoreFailedError,StoreFailedError");
    expect(again).toBe("opened again");
    expect(lines.length).toBeGreaterThan(10);
    // What could be had of the room was given back.
    expect(statSync(join(folder, "store.mdb")).size % 1_048_576).toBe(0);
    const store = await openLmdbStore(folder);
    expect(await textByKey(store, "slot/0")).toEqual([["slot/0", lines.at(-1)]]);
    expect((await entriesOf(store, "log/")).length).toBe(lines.length);
    await store.close();
  });

  test("[R7b] a failed flush is told with its reason and is never followed by another", async () => {
    let batches = 0;
    await withLmdb(
      (database) => {
        database.batch = async () => {
          batches++;
          throw Object.assign(new Error("Commit failed"), {
            commitError: Promise.reject(new Error("Input/output error")),
          });
        };
      },
      async (store) => {
        const calls = [store.commit([put("a", "1")]), store.commit([put("b", "1")])];
        const [first, second] = await Promise.allSettled(calls);
        for (const outcome of [first, second] as PromiseRejectedResult[]) {
          expect(outcome.reason).toBeInstanceOf(StoreFailedError);
          expect(outcome.reason.message).toContain("Input/output error");
          expect(outcome.reason.message).toContain("store.mdb");
        }
        await expect(store.commit([put("c", "1")])).rejects.toThrow(StoreFailedError);
        await expect(entriesOf(store, "")).rejects.toThrow(StoreFailedError);
        expect(batches).toBe(1);
      },
    );
  });

  test("[R7c] a load under way when a commit fails does not go on", async () => {
    let isBroken = false;
    await withLmdb(
      (database) => {
        const batch = database.batch.bind(database);
        database.batch = (write) => (isBroken ? Promise.reject(new Error("broken")) : batch(write));
      },
      async (store) => {
        await store.commit([put("a", "1"), put("b", "1")]);
        const load = store.load("")[Symbol.asyncIterator]();
        await load.next();
        isBroken = true;
        await expect(store.commit([put("c", "1")])).rejects.toThrow("broken");
        await expect(load.next()).rejects.toThrow(StoreFailedError);
      },
    );
  });
});

describe("one owner", () => {
  test("[R8a] a second server on the same folder refuses and names the first", async () => {
    const folder = newFolder();
    const store = await openLmdbStore(folder);
    await store.commit([put("a", "1")]);
    const refusal = await ended(start("hold.mjs", folder));
    expect(refusal).toContain("StoreInUseError");
    expect(refusal).toContain(folder);
    expect(refusal).toContain(`process ${process.pid}`);
    expect(refusal).toContain("Stop that server, or give this one");
    // The refused one has touched nothing, nor taken the lock with it when it ended.
    await store.commit([put("b", "1")]);
    expect(await ended(start("hold.mjs", folder))).toContain(`process ${process.pid}`);
    await store.close();
  });

  test("[R8b] after kill -9 of the owner the folder opens at once", async () => {
    const folder = newFolder();
    const child = start("hold.mjs", folder);
    expect(await firstLine(child)).toBe("opened");
    const refused = openLmdbStore(folder);
    await expect(refused).rejects.toThrow(StoreInUseError);
    await expect(refused).rejects.toThrow(`process ${child.pid}`);
    await ended(child, "SIGKILL");
    const store = await openLmdbStore(folder);
    await store.commit([put("a", "1")]);
    await store.close();
  });

  test("[R8c] one process cannot open it twice, and can after a close", async () => {
    const folder = newFolder();
    const store = await openLmdbStore(folder);
    await expect(openLmdbStore(folder)).rejects.toThrow(StoreInUseError);
    await expect(openLmdbStore(join(folder, "..", folder.split("/").at(-1)!))).rejects.toThrow(
      StoreInUseError,
    );
    await store.commit([put("a", "1")]);
    await store.close();
    const again = await openLmdbStore(folder);
    expect(await textByKey(again, "")).toEqual([["a", "1"]]);
    await again.close();
  });

  test("[R8d] the text in the lock file decides nothing", async () => {
    const folder = newFolder();
    writeFileSync(
      join(folder, "owner.lock"),
      `${process.ppid} ${hostname()}\n and a long line of something else\n`,
    );
    const store = await openLmdbStore(folder);
    expect(readFileSync(join(folder, "owner.lock"), "utf8")).toBe(`${process.pid} ${hostname()}\n`);
    writeFileSync(join(folder, "owner.lock"), "7 elsewhere\n");
    await expect(openLmdbStore(folder)).rejects.toThrow("process 7 on host elsewhere");
    writeFileSync(join(folder, "owner.lock"), "");
    await expect(openLmdbStore(folder)).rejects.toThrow("another process");
    await store.close();
  });
});

describe("a folder that cannot be used", () => {
  test("[I6a] a file in the place of the folder, or of a part of its path, is named", async () => {
    const file = join(newFolder(), "file");
    writeFileSync(file, "");
    for (const folder of [file, join(file, "below")]) {
      const refused = openLmdbStore(folder);
      await expect(refused).rejects.toThrow(StoreUnusableError);
      await expect(refused).rejects.toThrow(`"${folder}"`);
      await expect(refused).rejects.toThrow("or name another data directory");
    }
  });

  for (const file of ["owner.lock", "store.mdb", "store.mdb-lock"]) {
    test(`[I6b] a folder in the place of ${file} is named`, async () => {
      const folder = newFolder();
      mkdirSync(join(folder, file));
      const refused = openLmdbStore(folder);
      await expect(refused).rejects.toThrow(StoreUnusableError);
      await expect(refused).rejects.toThrow(file);
      // Nothing is kept from the attempt.
      rmSync(join(folder, file), { recursive: true });
      await (await openLmdbStore(folder)).close();
    });
  }

  test("[I6c] a folder without the right to write is named", async () => {
    const folder = newFolder();
    await asNobody(folder, async () => {
      for (const refused of [openLmdbStore(folder), openLmdbStore(join(folder, "below"))]) {
        await expect(refused).rejects.toThrow(StoreUnusableError);
        await expect(refused).rejects.toThrow(folder);
        await expect(refused).rejects.toThrow("the right to write");
      }
    });
  });

  test("[I6d] a disk without room for a new store is named", async () => {
    const folder = newFolder();
    const refusal = await ended(startLimited(100, "hold.mjs", folder));
    expect(refusal).toMatch(/^StoreUnusableError: .*EFBIG/);
    expect(refusal).toContain(`"${folder}"`);
  });
});

function modeOf(path: string): number {
  return statSync(path).mode & 0o777;
}

interface Breakable {
  batch(write: () => void): Promise<boolean>;
}

/** Runs the test with a store whose database was tampered with. */
async function withLmdb(
  tamper: (database: Breakable, options: object) => void,
  run: (store: Store) => Promise<void>,
): Promise<void> {
  const lmdb = await import("lmdb");
  vi.doMock("lmdb", () => ({
    open: (options: object) => {
      const database = lmdb.open(options as never);
      tamper(database, options);
      return database;
    },
  }));
  try {
    const store = await openLmdbStore(newFolder());
    await run(store);
    await store.close();
  } finally {
    vi.doUnmock("lmdb");
  }
}

/** Root may write anywhere, so for the test it is somebody else. */
async function asNobody(folder: string, run: () => Promise<void>): Promise<void> {
  chmodSync(folder, 0o500);
  const isRoot = process.geteuid?.() === 0;
  if (isRoot) process.seteuid!(65_534);
  try {
    await run();
  } finally {
    if (isRoot) process.seteuid!(0);
    chmodSync(folder, 0o700);
  }
}
