import { copyFileSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { StoreFailedError, StoreUnusableError } from "../../src/store/errors.js";
import { EPOCH_BYTES, framed, Journal, numbered, ROOM_BYTES } from "../../src/store/journal.js";
import { openDiskStore, withJournal } from "../../src/store/journaled.js";
import { openLmdbStore } from "../../src/store/lmdb.js";
import { openMemoryStore } from "../../src/store/memory.js";
import type { Store } from "../../src/store/store.js";
import { ended, firstLine, start, startLimited } from "./children.js";
import { entriesOf, put, remove, storeContract, textByKey } from "./contract.js";
import { newFolder } from "./folders.js";
import { copyOf, InnerStore, NEVER_MS, PAGE } from "./inner-store.js";

storeContract("journaled", () => openDiskStore(newFolder()));

describe("a journal before the store", () => {
  test("[R1aa] a batch is kept by the journal alone until it is copied, and a start takes it over", async () => {
    const folder = newFolder();
    const inner = new InnerStore();
    const store = await withJournal(inner.asOpened(), folder, NEVER_MS);
    await store.commit([put("a", "1"), put("b", "1")]);
    await store.commit([put("a", "2"), remove("b"), put("é", "")]);
    expect(await inner.keys()).toEqual([]);
    const again = await withJournal(inner.asAfterACrash(), folder);
    expect(await textByKey(again, "")).toEqual([
      ["a", "2"],
      ["é", ""],
    ]);
    await again.close();
  });

  test("[R1ab] it is copied by itself, and what came and went meanwhile is not there", async () => {
    const folder = newFolder();
    const inner = new InnerStore();
    const store = await withJournal(inner.asOpened(), folder);
    await store.commit([put("a", "1")]);
    await store.commit([put("b", "1")]);
    await store.commit([remove("a")]);
    const batch = await inner.nextBatch(({ length }) => length > 1);
    expect(batch.map(({ key, value }) => [key, value === null])).toEqual([
      ["a", true],
      ["b", false],
      ["journal", false],
    ]);
    await store.close();
  });

  test("[R1ac] a half is not written again before all of it is copied", async () => {
    const folder = newFolder();
    const inner = new InnerStore();
    const store = await withJournal(inner.asOpened(), folder, NEVER_MS);
    inner.isHanging = true;
    const copyBegins = inner.nextBatch(({ length }) => length > 1);
    const value = new Uint8Array(1_048_576);
    let committed = 0;
    const all = Array.from({ length: 9 }, (_, at) =>
      store.commit([{ key: `k${at}`, value }]).then(() => {
        committed++;
      }),
    );
    // Three fit in a half: the second one is full behind the sixth, and the first is still on its way.
    await Promise.all(all.slice(0, 6));
    await copyBegins;
    const afterCrash = await withJournal(inner.asAfterACrash(), copyOf(folder));
    expect((await entriesOf(afterCrash, "k")).length).toBe(6);
    await afterCrash.close();
    expect(committed).toBe(6);
    inner.goOn();
    await Promise.all(all);
    await store.close();
    expect(await inner.keys()).toEqual(Array.from({ length: 9 }, (_, at) => `k${at}`));
  });

  test("[R1af] what was written since the last copy counts after a crash, from its first batch on", async () => {
    const folder = newFolder();
    const inner = new InnerStore();
    const store = await withJournal(inner.asOpened(), folder, NEVER_MS);
    await store.commit([put("a", "1")]);
    // A look copies.
    expect((await entriesOf(store, "")).length).toBe(1);
    await store.commit([put("b", "1")]);
    await store.commit([remove("a")]);
    expect(await inner.keys()).toEqual(["a"]);
    const again = await withJournal(inner.asAfterACrash(), folder);
    expect((await textByKey(again, "")).map(([key]) => key)).toEqual(["b"]);
    await again.close();
  });

  test("[R1ad] a batch that no half holds is there all the same, after those before it", async () => {
    const folder = newFolder();
    const store = await openDiskStore(folder);
    await store.commit([put("a", "before")]);
    await store.commit([put("a", "with"), { key: "large", value: new Uint8Array(ROOM_BYTES + 1).fill(7) }]);
    await store.commit([put("a", "after")]);
    const [a, large] = await entriesOf(store, "");
    expect([Buffer.from(a!.value).toString(), large!.value.length]).toEqual(["after", ROOM_BYTES + 1]);
    await store.close();
    const again = await openDiskStore(folder);
    expect((await entriesOf(again, "")).length).toBe(2);
    await again.close();
  });

  test("[R1ae] kill -9 loses nothing acknowledged and tears no batch, also while halves change", async () => {
    const folder = newFolder();
    let committed = -1;
    for (let kill = 0; kill < 10; kill++) {
      // Every thirteenth batch begins another half.
      const child = start("write.mjs", folder, String(committed + 1), "300000", "journaled");
      await firstLine(child);
      await new Promise((resolve) => setTimeout(resolve, (kill * 37) % 160));
      const acknowledged = Number((await ended(child, "SIGKILL")).trimEnd().split("\n").at(-1));
      const store = await openDiskStore(folder);
      const [first, ...others] = await textByKey(store, "slot/");
      const last = Number(first![1]);
      expect(last).toBeGreaterThanOrEqual(acknowledged);
      expect(last).toBeLessThanOrEqual(acknowledged + 1);
      expect(others.every(([, number]) => Number(number) === last)).toBe(true);
      expect((await entriesOf(store, "log/")).length).toBe(last + 1);
      await store.commit(Array.from({ length: last + 1 }, (_, at) => put(`log/${at}`, "")));
      await store.close();
      committed = last;
    }
  });

  test("[R7aa] a flush that fails is told, nothing follows it, and opening anew gives what was acknowledged", async () => {
    const folder = newFolder();
    const store = await openDiskStore(folder);
    await store.commit([put("a", "1")]);
    const { append } = Journal.prototype;
    let flushes = 0;
    Journal.prototype.append = async () => {
      flushes++;
      throw Object.assign(new Error("EIO: i/o error"), { code: "EIO" });
    };
    try {
      const outcomes = await Promise.allSettled([
        store.commit([put("a", "2")]),
        store.commit([put("b", "2")]),
      ]);
      for (const { reason } of outcomes as PromiseRejectedResult[]) {
        expect(reason).toBeInstanceOf(StoreFailedError);
        expect(reason.message).toContain("EIO");
      }
      expect(flushes).toBe(1);
      await expect(entriesOf(store, "")).rejects.toThrow(StoreFailedError);
    } finally {
      Journal.prototype.append = append;
    }
    await store.close();
    const again = await openDiskStore(folder);
    expect(await textByKey(again, "")).toEqual([["a", "1"]]);
    await again.close();
  });

  test("[R7ab] when there is no room to copy to, the store fails, and all that was acknowledged is kept", async () => {
    const folder = newFolder();
    // Room for the journal, and for a little more.
    const child = startLimited(17_500, "write.mjs", folder, "0", "30000", "journaled");
    const lines = (await ended(child)).trimEnd().split("\n");
    const [failure, outcomes, again] = lines.splice(-3);
    expect(failure).toMatch(/^StoreFailedError: A commit to ".*store\.mdb" failed \(EFBIG/);
    expect(outcomes).toBe("StoreFailedError,StoreFailedError,StoreFailedError");
    expect(again).toMatch(/^not opened again: A commit to ".*store\.mdb" failed \(EFBIG/);
    const store = await openDiskStore(folder);
    // One more may be there: it was flushed when it became known that it could not be copied.
    const last = Number((await textByKey(store, "slot/0"))[0]![1]);
    expect([0, 1]).toContain(last - Number(lines.at(-1)));
    expect((await entriesOf(store, "log/")).length).toBe(last + 1);
    await store.close();
  });
});

describe("a journal that is not as it was left", () => {
  /** Three batches, of which the journal alone knows. */
  async function crashed() {
    const folder = newFolder();
    const inner = new InnerStore();
    const store = await withJournal(inner.asOpened(), folder, NEVER_MS);
    for (const key of ["a", "b", "c"]) await store.commit([put(key, "1")]);
    return { folder, file: join(folder, "journal"), inner };
  }
  const flip = (file: string, at: number) => {
    const bytes = readFileSync(file);
    bytes[at]! ^= 1;
    writeFileSync(file, bytes);
  };

  test("[R9aa] a damaged batch with others behind it is named, and the start refused", async () => {
    for (const at of [0, 4, 8, 17, 30, 38, 39]) {
      const { file, folder, inner } = await crashed();
      flip(file, 2 * PAGE + at);
      await expect(withJournal(inner.asAfterACrash(), folder)).rejects.toThrow(
        /Batch 2 of the journal is damaged/,
      );
    }
  });

  test("[R9ab] the last batch, half written when the power failed, has never been", async () => {
    const { file, folder, inner } = await crashed();
    flip(file, 3 * PAGE + 39);
    const store = await withJournal(inner.asAfterACrash(), folder);
    expect((await textByKey(store, "")).map(([key]) => key)).toEqual(["a", "b"]);
    // What is committed now takes its number, and its remains do not come back.
    await store.commit([put("d", "1")]);
    const again = await withJournal(inner.asAfterACrash(), folder);
    expect((await textByKey(again, "")).map(([key]) => key)).toEqual(["a", "b", "d"]);
    await again.close();
  });

  test("[R9ag] several damaged batches at its end are none that was half written", async () => {
    const { file, folder, inner } = await crashed();
    flip(file, 2 * PAGE + 39);
    flip(file, 3 * PAGE + 39);
    await expect(withJournal(inner.asAfterACrash(), folder)).rejects.toThrow(
      /Batch 2 of the journal is damaged/,
    );
  });

  test("[R9al] a damaged batch beside one whose beginning is damaged, too, is none that was half written", async () => {
    // In the magic word, the length, the sequence and the epoch; of either of the two.
    for (const at of [0, 4, 16, 24, 31])
      for (const [one, other] of [
        [2, 3],
        [3, 2],
      ] as const) {
        const { file, folder, inner } = await crashed();
        flip(file, one * PAGE + at);
        flip(file, other * PAGE + 39);
        await expect(withJournal(inner.asAfterACrash(), folder)).rejects.toThrow(
          /Batch 2 of the journal is damaged/,
        );
      }
  });

  test("[R9am] the last batch's beginning alone shows that all before it were whole", async () => {
    const { file, folder, inner } = await crashed();
    const bytes = readFileSync(file);
    // Nothing is left of the one before.
    bytes.fill(0, 2 * PAGE, 3 * PAGE);
    writeFileSync(file, bytes);
    flip(file, 3 * PAGE + 39);
    await expect(withJournal(inner.asAfterACrash(), folder)).rejects.toThrow(
      /Batch 2 of the journal is damaged/,
    );
  });

  test("[R9an] older batches that the last one has overwritten in part are no damage; elsewhere they are", async () => {
    const epoch = new Uint8Array(EPOCH_BYTES).fill(7);
    const frame = (sequence: number, bytes: number) =>
      numbered(framed([{ key: "k", value: Buffer.alloc(bytes, sequence) }]), sequence, epoch);
    const broken = (sequence: number) => frame(sequence, 10).fill(1, 40, 50);
    // Five are copied. What is there of the pages behind the half's first one.
    const found = async (...pages: readonly (Buffer | null)[]) => {
      const journal = Journal.open(join(newFolder(), "journal"), false);
      await journal.begin(epoch);
      for (const [at, page] of pages.entries())
        if (page !== null) await journal.append(page.subarray(0, PAGE), 0, at * PAGE);
      try {
        return journal.frames(epoch, 5).length;
      } finally {
        journal.close();
      }
    };
    const torn = frame(6, 2 * PAGE);
    expect(await found(torn, broken(2), broken(3))).toBe(0);
    expect(await found(null, broken(2), broken(3))).toBe(0);
    expect(await found(frame(6, 10), frame(7, 2 * PAGE), broken(2), broken(3))).toBe(1);
    await expect(found(torn, broken(2), null, null, broken(3))).rejects.toThrow(/Batch 6 of the journal/);
    await expect(found(torn, broken(6))).rejects.toThrow(/Batch 6 of the journal/);
  });

  test("[R9ah] the journal of another store, and an empty one, are told from that of this store", async () => {
    const { file, folder, inner } = await crashed();
    const other = await crashed();
    copyFileSync(other.file, file);
    await expect(withJournal(inner.asAfterACrash(), folder)).rejects.toThrow(/is not the one/);
    writeFileSync(file, new Uint8Array(statSync(file).size));
    await expect(withJournal(inner.asAfterACrash(), folder)).rejects.toThrow(/is not the one/);
  });

  test("[R9ai] a start that ends at any of its steps is one that has not been", async () => {
    for (const step of [0, 1, 2]) {
      const { folder, inner } = await crashed();
      const { begin } = Journal.prototype;
      let commits = 0;
      const dying: Store = {
        ...inner.asAfterACrash(),
        commit: async (batch) => {
          if (commits++ === step) throw new Error("killed");
          await inner.asAfterACrash().commit(batch);
        },
      };
      if (step === 2) {
        Journal.prototype.begin = async () => {
          throw new Error("killed");
        };
      }
      await expect(withJournal(dying, folder)).rejects.toThrow("killed");
      Journal.prototype.begin = begin;
      const store = await withJournal(inner.asAfterACrash(), folder);
      expect((await textByKey(store, "")).map(([key]) => key)).toEqual(["a", "b", "c"]);
      await store.close();
    }
  });

  test("[R9ac] a journal that is gone or cut off is missed", async () => {
    const { file, folder, inner } = await crashed();
    truncateSync(file, 2 * PAGE);
    await expect(withJournal(inner.asAfterACrash(), folder)).rejects.toThrow(/is cut off/);
    rmSync(file);
    await expect(withJournal(inner.asAfterACrash(), folder)).rejects.toThrow(/is gone/);
    // The refused start has not made one that would be taken for it.
    await expect(withJournal(inner.asAfterACrash(), folder)).rejects.toThrow(/is gone/);
  });

  test("[R9aj] a store that is gone is missed, while the journal is there that it was used with", async () => {
    for (const isStopped of [true, false]) {
      const folder = newFolder();
      const first = await openDiskStore(folder);
      await first.commit([put("a", "1")]);
      if (isStopped) await first.close();
      const copy = newFolder();
      copyFileSync(join(folder, "journal"), join(copy, "journal"));
      // Gone, and there without anything in it.
      for (const make of [() => {}, () => writeFileSync(join(copy, "store.mdb"), "")]) {
        make();
        const refused = openDiskStore(copy);
        await expect(refused).rejects.toThrow(/"store.mdb" in ".*" is gone or emptied/);
        await expect(refused).rejects.toThrow(StoreUnusableError);
        rmSync(join(copy, "store.mdb"));
      }
      await first.close();
    }
  });

  test("[R9ak] a start that ends before its journal was used for the first time is one that has not been", async () => {
    const folder = newFolder();
    const { begin } = Journal.prototype;
    Journal.prototype.begin = () =>
      Promise.reject(
        Object.assign(new Error("EIO: i/o error, fdatasync"), { syscall: "fdatasync", code: "EIO" }),
      );
    try {
      // It says where.
      const refused = openDiskStore(folder);
      await expect(refused).rejects.toThrow(StoreUnusableError);
      await expect(refused).rejects.toThrow(`"${folder}" cannot be used (EIO`);
    } finally {
      Journal.prototype.begin = begin;
    }
    const store = await openDiskStore(folder);
    await store.commit([put("a", "1")]);
    await store.close();
  });

  test("[R9ad] after a stop in order the journal is not needed, and an old one does not count", async () => {
    const folder = newFolder();
    const file = join(folder, "journal");
    const first = await openDiskStore(folder);
    await first.commit([put("a", "1")]);
    copyFileSync(file, `${file}.old`);
    await first.close();
    rmSync(file);
    const second = await openDiskStore(folder);
    expect(await textByKey(second, "")).toEqual([["a", "1"]]);
    await second.commit([remove("a")]);
    await second.close();
    copyFileSync(`${file}.old`, file);
    const third = await openDiskStore(folder);
    expect(await entriesOf(third, "")).toEqual([]);
    await third.close();
  });

  test("[R9af] a store that was put back from a backup takes nothing of what was written after it", async () => {
    const folder = newFolder();
    const inner = new InnerStore();
    const first = await withJournal(inner.asOpened(), folder, NEVER_MS);
    await first.commit([put("a", "1")]);
    await first.close();
    const backup = await entriesOf(inner.asOpened(), "");
    const second = await withJournal(inner.asOpened(), folder, NEVER_MS);
    await second.commit([put("b", "1")]);
    const putBack = openMemoryStore();
    await putBack.commit(backup);
    const third = await withJournal(putBack, folder);
    expect((await textByKey(third, "")).map(([key]) => key)).toEqual(["a"]);
    await third.close();
  });

  test("[R9ae] the folder of a server without a journal is taken over", async () => {
    const folder = newFolder();
    const before = await openLmdbStore(folder);
    await before.commit([put("a", "1")]);
    await before.close();
    const store = await openDiskStore(folder);
    expect(await textByKey(store, "")).toEqual([["a", "1"]]);
    await store.close();
    expect(statSync(join(folder, "journal")).mode & 0o777).toBe(0o600);
  });
});
