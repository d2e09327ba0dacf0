import { copyFileSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { mkdir, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { StoreUnusableError } from "../../src/store/errors.js";
import { openDiskStore } from "../../src/store/journaled.js";
import { openLmdbStore } from "../../src/store/lmdb.js";
import { OfflineStore } from "../../src/store/offline.js";
import { DamagedRecordError, decodeRecord, encodeRecord } from "../../src/store/records.js";
import type { Store } from "../../src/store/store.js";
import { entriesOf, put, remove, textByKey } from "./contract.js";
import { newFolder } from "./folders.js";

test("[R9i] a file that is no store is refused and stays as it is", async () => {
  const garbage = Buffer.alloc(20_000, "\u0007no store at all\u00ff");
  for (const content of [garbage, Buffer.from("text"), Buffer.alloc(8_192), Buffer.alloc(1)]) {
    const folder = newFolder();
    const file = join(folder, "store.mdb");
    writeFileSync(file, content);
    const refused = openLmdbStore(folder);
    await expect(refused).rejects.toThrow(StoreUnusableError);
    await expect(refused).rejects.toThrow(
      `"${file}" is not a LockDB store. Name another data directory, or move`,
    );
    expect(readFileSync(file)).toEqual(content);
  }
});

test("[R9j] a file that was cut off is refused, wherever it was cut", async () => {
  const { file, length, expected } = await storeOfRecords();
  for (let cut = 0; cut <= 40; cut++) {
    const folder = newFolder();
    const copy = join(folder, "store.mdb");
    copyFileSync(file, copy);
    truncateSync(copy, Math.max(1, Math.floor((length * cut) / 40) - (cut % 3)));
    const outcome = await outcomeOf(folder);
    if (outcome instanceof Error) {
      expect(outcome).toBeInstanceOf(StoreUnusableError);
      expect(outcome.message).toContain(`"${copy}"`);
      expect(outcome.message).toMatch(/Restore a backup|Name another data directory/);
    } else {
      // The last page may be one that is free.
      expect(cut).toBeGreaterThan(35);
      expect(outcome).toEqual(expected);
    }
  }
});

test("[R9k] a bit that flips in the file is found before a record is lost, and never crashes the server", async () => {
  const { file, length, pageBytes, expected } = await storeOfRecords();
  const sound = readFileSync(file).subarray(0, length);
  const folder = newFolder();
  const found = { inFile: 0, inRecord: 0, harmless: 0 };
  const position = fc.integer({ min: 0, max: length / pageBytes - 1 }).chain((page) =>
    // Most of the flips go where the structure is.
    fc
      .oneof(fc.integer({ min: 0, max: 200 }), fc.integer({ min: 0, max: pageBytes - 1 }))
      .map((at) => page * pageBytes + at),
  );
  await fc.assert(
    fc.asyncProperty(position, fc.integer({ min: 0, max: 7 }), async (at, bit) => {
      // One bit in the number of a commit looks like a commit that failed.
      fc.pre(at % pageBytes !== 152 || at > 2 * pageBytes);
      const content = Buffer.from(sound);
      content[at]! ^= 1 << bit;
      writeFileSync(join(folder, "store.mdb"), content);
      const outcome = await outcomeOf(folder);
      if (outcome instanceof StoreUnusableError) {
        found.inFile++;
      } else if (outcome instanceof DamagedRecordError) {
        found.inRecord++;
      } else {
        found.harmless++;
        expect(outcome).toEqual(expected);
      }
    }),
    { numRuns: 120 },
  );
  expect(found.inFile).toBeGreaterThan(2);
  expect(found.inRecord).toBeGreaterThan(2);
});

test("[R9l] a page that went missing, or came back from another place, is found", async () => {
  const { file, length, pageBytes } = await storeOfRecords();
  const sound = readFileSync(file).subarray(0, length);
  const folder = newFolder();
  let found = 0;
  for (let page = 2; page < length / pageBytes; page += 2) {
    for (const source of [null, page - 1, page + 1]) {
      const content = Buffer.from(sound);
      if (source === null) content.fill(0, page * pageBytes, (page + 1) * pageBytes);
      else sound.copy(content, page * pageBytes, source * pageBytes, (source + 1) * pageBytes);
      writeFileSync(join(folder, "store.mdb"), content);
      const outcome = await outcomeOf(folder);
      if (outcome instanceof StoreUnusableError || outcome instanceof DamagedRecordError) found++;
      else expect(outcome).toBeTypeOf("string");
    }
  }
  expect(found).toBeGreaterThan(10);
});

test("[R9m] a remnant of a lock file does not stand in the way", async () => {
  const folder = newFolder();
  const store = await openLmdbStore(folder);
  await store.commit([put("a", "1")]);
  await store.close();
  for (const remnant of [Buffer.alloc(0), Buffer.from("x"), Buffer.alloc(50_000, "remnant")]) {
    writeFileSync(join(folder, "store.mdb-lock"), remnant);
    const again = await openLmdbStore(folder);
    expect(await textByKey(again, "")).toEqual([["a", "1"]]);
    await again.commit([put("a", "1")]);
    await again.close();
  }
});

test("[R9ma] who looks at a folder whose lock file cannot be had is told so, and does not die of it", async () => {
  const folder = newFolder();
  const lockFile = join(folder, "store.mdb-lock");
  await (await openDiskStore(folder)).close();
  await rm(lockFile);
  for (const putThere of [() => mkdir(lockFile), () => symlink("store.mdb-lock", lockFile)]) {
    await putThere();
    await expect(OfflineStore.open(folder)).rejects.toThrow(StoreUnusableError);
    await rm(lockFile, { recursive: true });
  }
  await (await OfflineStore.open(folder)).close();
});

interface SoundStore {
  readonly file: string;
  readonly pageBytes: number;
  readonly length: number;
  readonly expected: string;
}

/** A store with all that a file can have: branches, large values, free pages; cut behind its last page in use. */
async function storeOfRecords(): Promise<SoundStore> {
  const folder = newFolder();
  const store = await openLmdbStore(folder);
  for (let round = 0; round < 4; round++) {
    const numbers = Array.from({ length: 60 }, (_, index) => (index * 7 + round) % 90);
    await store.commit(
      numbers.map((number) => {
        const key = `default/sessions/${number}`;
        const bytes = number % 25 === 0 ? 9_000 : 50 + number * 3;
        return number % 9 === round
          ? remove(key)
          : { key, value: encodeRecord(key, { round, text: "x".repeat(bytes) }) };
      }),
    );
  }
  await store.close();
  const file = join(folder, "store.mdb");
  const bytes = readFileSync(file);
  const pageBytes = bytes.readUInt32LE(48);
  const lastPage = Math.max(bytes.readUInt32LE(144), bytes.readUInt32LE(pageBytes + 144));
  const expected = (await outcomeOf(folder)) as string;
  return { file, pageBytes, length: (lastPage + 1) * pageBytes, expected };
}

/** All that the store holds, as one string, or the error that opening or reading it gives. */
async function outcomeOf(folder: string): Promise<string | Error> {
  let store: Store | null = null;
  try {
    store = await openLmdbStore(folder);
    return (await entriesOf(store, ""))
      .map((entry) => entry.key + JSON.stringify(decodeRecord(entry)))
      .join();
  } catch (error) {
    return error as Error;
  } finally {
    await store?.close();
  }
}
