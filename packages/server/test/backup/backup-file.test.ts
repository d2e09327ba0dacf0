import { writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { checkBackup } from "../../src/backup/index.js";
import { BackupFile, BackupUnusableError, type Entry, encodeRecord } from "../../src/store/index.js";
import { backupOf, entriesOf, fileOf, RECORDS } from "./backups.js";

const SMALL = { "default/clock": { nowMs: 5 }, "default/service/a/ceiling/": { tokens: 9, tickets: 9 } };

const path = fileOf(Buffer.alloc(0));

async function entriesIn(bytes: Uint8Array): Promise<Entry[]> {
  writeFileSync(path, bytes);
  const file = BackupFile.open(path);
  const found: Entry[] = [];
  try {
    for await (const entry of file.entries()) found.push(entry);
  } finally {
    file.close();
  }
  return found;
}

function hexOf(entries: readonly Entry[]): readonly string[] {
  return entries.map(({ key, value }) => `${key} ${Buffer.from(value).toString("hex")}`);
}

describe("a backup as a file", () => {
  test("[F3a] gives back every record, byte by byte, in many pieces too", async () => {
    const many = Array.from({ length: 5_000 }, (_, at) => ({
      key: `default/service/a/hold/${String(at).padStart(5, "0")}`,
      value: new Uint8Array(at % 257).fill(at),
    }));
    for (const entries of [[], entriesOf(RECORDS), many]) {
      expect(hexOf(await entriesIn(await backupOf(entries)))).toEqual(hexOf(entries));
    }
  });

  test("[F3b] says in its first line what it is, so that nobody has to guess", async () => {
    const bytes = await backupOf([]);
    expect(bytes.subarray(0, 16).toString()).toBe("LockDB backup 1\n");
  });

  test("[F3c] cut off anywhere it is refused, and says so", async () => {
    const bytes = await backupOf(entriesOf(SMALL));
    for (let length = 0; length < bytes.length; length++) {
      const refused = entriesIn(bytes.subarray(0, length));
      await expect(refused, `${length} of ${bytes.length}`).rejects.toThrow(BackupUnusableError);
      if (length > 15) await expect(refused).rejects.toThrow(/is cut off at its (header|record \d)/);
    }
  });

  test("[F3d] with any one bit flipped it is refused", async () => {
    const bytes = await backupOf(entriesOf(SMALL));
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = Buffer.from(bytes);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      await expect(entriesIn(flipped), `bit ${bit}`).rejects.toThrow(BackupUnusableError);
    }
  });

  test("[F3e] whole records that are left out, doubled or turned round are missed", async () => {
    const [a, b, c] = await Promise.all([
      backupOf(entriesOf(SMALL).slice(0, 1)),
      backupOf(entriesOf(SMALL)),
      backupOf([]),
    ]);
    const trailer = b.length - (c.length - c.indexOf("records") + 11);
    const first = c.length - (c.length - c.indexOf("records") + 11);
    const end = a.length - (a.length - a.indexOf("records") + 11);
    const head = b.subarray(0, first);
    const one = b.subarray(first, end);
    const two = b.subarray(end, trailer);
    const tail = b.subarray(trailer);
    expect(await entriesIn(Buffer.concat([head, one, two, tail]))).toHaveLength(2);
    // The same record of another backup, whole in itself.
    const otherBackup = await backupOf(entriesOf({ "default/clock": { nowMs: 6 } }));
    const other = otherBackup.subarray(first, end);
    const wrongs = [[other, two], [one], [two], [two, one], [one, one, two], [one, two, two], []];
    for (const wrong of wrongs)
      await expect(entriesIn(Buffer.concat([head, ...wrong, tail]))).rejects.toThrow(/is damaged/);
  });

  test("[F3f] with something behind its end it is refused", async () => {
    const bytes = await backupOf(entriesOf(SMALL));
    await expect(entriesIn(Buffer.concat([bytes, Buffer.of(0)]))).rejects.toThrow(/damaged at its end/);
  });

  test("[F3g] of a newer format it is refused, and what reads it is named", async () => {
    const bytes = await backupOf(entriesOf(SMALL));
    const newer = Buffer.concat([Buffer.from("LockDB backup 2\n"), bytes.subarray(16)]);
    await expect(entriesIn(newer)).rejects.toThrow(
      /has format 2; this LockDB reads format 1. Use the LockDB that has made it, or a newer one./,
    );
    await expect(entriesIn(Buffer.from("PK\u0003\u0004 something else"))).rejects.toThrow(
      /is no backup of LockDB/,
    );
    expect(() => BackupFile.open("/nowhere/at/all")).toThrow(/cannot be read/);
  });

  test("[F3h] a record that was damaged before it was backed up is found, and a newer one told from it", async () => {
    const key = "default/service/a/ceiling/";
    const value = encodeRecord(key, { tokens: 9, tickets: 9 });
    const damaged = value.slice();
    damaged[9]! ^= 1;
    await expect(checkBackup(fileOf(await backupOf([{ key, value: damaged }])))).rejects.toThrow(
      /"default\/service\/a\/ceiling\/" is damaged/,
    );
    const elsewhere = { key: "default/service/b/ceiling/", value };
    await expect(checkBackup(fileOf(await backupOf([elsewhere])))).rejects.toThrow(/is damaged/);
    expect(await checkBackup(fileOf(await backupOf([{ key, value }])))).toMatchObject({ records: 1 });
  });
});
