import { copyFileSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { copyStore, inspectStore, restoreBackup } from "../../src/backup/index.js";
import { type Change, encodeRecord, markFolder, openDiskStore } from "../../src/store/index.js";
import { ended, firstLine, start } from "../store/children.js";
import { newFolder } from "../store/folders.js";
import { backupFile, RECORDS, type Records, recordsIn } from "./backups.js";

async function folderWith(records: Records = RECORDS): Promise<string> {
  const folder = newFolder();
  const store = await openDiskStore(folder);
  await store.commit(
    Object.entries(records).map(([key, value]) => ({ key, value: encodeRecord(key, value) })),
  );
  await store.close();
  return folder;
}

function changesOf(records: Records): Change[] {
  return Object.entries(records).map(([key, value]) => ({ key, value: encodeRecord(key, value) }));
}

describe("a store that is moved", () => {
  test("[F1ua] takes everything along, sessions and numbers too, and the old folder starts no more", async () => {
    const from = await folderWith();
    const to = join(newFolder(), "new");
    expect(await copyStore(from, to)).toMatchObject({ kind: "moved", from, to, records: 22 });
    expect(await recordsIn(to)).toEqual(RECORDS);
    await expect(openDiskStore(from)).rejects.toThrow(`The store in "${from}" was moved to "${to}"`);
    await expect(copyStore(from, join(newFolder(), "other"))).rejects.toThrow(/was moved to/);
  });

  test("[F1ub] after a crash, too: what only the journal has comes along", async () => {
    const running = newFolder();
    const store = await openDiskStore(running);
    await store.commit(changesOf({ ...RECORDS, "default/service/a/hold/1": { names: "gone" } }));
    // As it lies on the disk before anything is copied to LMDB.
    const gone = { key: "default/service/a/hold/1", value: null };
    await store.commit([...changesOf({ "default/service/b/ceiling/": { tokens: 7, tickets: 8 } }), gone]);
    const from = newFolder();
    for (const name of ["store.mdb", "journal"]) copyFileSync(join(running, name), join(from, name));
    await store.close();
    expect(await inspectStore(from)).toMatchObject({
      records: 22,
      journal: { stoppedInOrder: false, batches: 2 },
    });
    const to = join(newFolder(), "new");
    expect(await copyStore(from, to)).toMatchObject({ records: 22 });
    expect(await recordsIn(to)).toEqual({
      ...RECORDS,
      "default/service/b/ceiling/": { tokens: 7, tickets: 8 },
    });
  });

  test("[F1uc] one that stood still when both had their marks is brought to its end by the same command", async () => {
    const from = await folderWith();
    const to = join(newFolder(), "new");
    const child = start("move.mjs", from, to);
    expect(await firstLine(child)).toBe("marked");
    await ended(child, "SIGKILL");
    // None of the two starts.
    await expect(openDiskStore(from)).rejects.toThrow(/was moved to/);
    await expect(openDiskStore(to)).rejects.toThrow(/is not whole/);
    await expect(copyStore(from, join(newFolder(), "other"))).rejects.toThrow(/was moved to/);
    expect(await copyStore(from, to)).toMatchObject({ kind: "moved", records: 22 });
    expect(await recordsIn(to)).toEqual(RECORDS);
    await expect(openDiskStore(from)).rejects.toThrow(/was moved to/);
  });

  test("[F1ud] one that was killed before the old folder is marked leaves that as it was", async () => {
    const from = await folderWith();
    const to = newFolder();
    markFolder(to, "unfinished", { id: "one", other: from, at: "2027" });
    await expect(copyStore(from, to)).rejects.toThrow(/is not empty: "unfinished.json"/);
    expect(await recordsIn(from)).toEqual(RECORDS);
    // A mark of another move does not make it this one's.
    markFolder(from, "moved", { id: "two", other: to, at: "2027" });
    await expect(copyStore(from, to)).rejects.toThrow(/was moved to/);
  });

  test("[F1ue] is refused: while a server runs, into a folder that is not empty, of a damaged record, from a file, to other stores", async () => {
    const from = await folderWith();
    const to = join(newFolder(), "new");
    const store = await openDiskStore(from);
    await expect(copyStore(from, to)).rejects.toThrow(
      `is in use by process ${process.pid}. Stop that server first.`,
    );
    const bad = encodeRecord("default/service/a/settings/", { lockDelayMs: 1 });
    bad[8]! ^= 1;
    await store.commit([{ key: "default/service/a/settings/", value: bad }]);
    await store.close();
    await expect(copyStore(from, to)).rejects.toThrow(/"default\/service\/a\/settings\/" is damaged/);
    expect(readdirSync(to)).toEqual([]);
    const file = await backupFile(RECORDS);
    await expect(copyStore(file, to)).rejects.toThrow(
      /is a file.*lockdb store restore .*some\.backup --data-dir/,
    );
    await expect(copyStore("s3://bucket/lockdb", to)).rejects.toThrow(/knows no store "s3"/);
    await expect(copyStore(from, "s3://bucket")).rejects.toThrow(/knows no store "s3"/);
    await expect(copyStore("etcd://", to)).rejects.toThrow(/must be such as etcd:/);
    await expect(copyStore(join(from, "nothing"), to)).rejects.toThrow(/There is nothing at/);
    await expect(copyStore(newFolder(), to)).rejects.toThrow(/There is no LockDB store in/);
  });

  test("[F3za] into a file it is a backup, for its owner alone, and the folder starts again", async () => {
    const from = await folderWith();
    const file = join(newFolder(), "x.backup");
    writeFileSync(file, "an older one", { mode: 0o644 });
    expect(await copyStore(from, file)).toMatchObject({ kind: "backup", records: 22 });
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readdirSync(join(file, ".."))).toEqual(["x.backup"]);
    expect(await recordsIn(from)).toEqual(RECORDS);
    const to = newFolder();
    await restoreBackup(file, to);
    expect(await recordsIn(to)).toHaveProperty(["default/floor"]);
    await expect(copyStore(from, "/nowhere/at/all.backup")).rejects.toThrow(/ENOENT/);
  });
});

describe("a look at a store", () => {
  test("[I4zzh] tells what is in a folder and in a backup: kinds, accounts, services and their numbers, and no secret", async () => {
    const folder = await folderWith();
    const [one, two] = [await inspectStore(folder), await inspectStore(await backupFile(RECORDS))];
    for (const summary of [one, two]) {
      expect(summary).toMatchObject({
        records: 22,
        recordFormats: { 1: 22 },
        kinds: {
          audit: 1,
          account: 1,
          key: 1,
          hold: 5,
          session: 2,
          "webhook secret": 1,
          revoked: 1,
          stopped: 1,
        },
        leaseClockMs: 5_000,
        tokensFrom: null,
        accounts: ["acc_1", "default"],
        damage: [],
        damageCount: 0,
      });
      expect(summary.services).toEqual([
        { account: "default", service: "a", sessions: 2, holds: 5, tokens: 100_002, tickets: 200_002 },
        { account: "default", service: "b", sessions: 0, holds: 0, tokens: 100_001, tickets: 100_001 },
      ]);
      expect(JSON.stringify(summary)).not.toMatch(/whsec|secrets/);
    }
    expect(one).toMatchObject({ kind: "data directory", journal: { stoppedInOrder: true, batches: 0 } });
    expect(two).toMatchObject({ kind: "backup", backup: { format: 1, from: "running" } });
  });

  test("[I4zzi] changes nothing in the folder", async () => {
    const folder = await folderWith();
    const before = readFileSync(join(folder, "store.mdb"));
    const journal = readFileSync(join(folder, "journal"));
    await inspectStore(folder);
    expect(readFileSync(join(folder, "store.mdb")).equals(before)).toBe(true);
    expect(readFileSync(join(folder, "journal")).equals(journal)).toBe(true);
    expect(await recordsIn(folder)).toEqual(RECORDS);
  });

  test("[R9q] names what is damaged, all of it, and goes on behind it", async () => {
    const folder = await folderWith();
    const store = await openDiskStore(folder);
    for (const key of ["default/service/a/hold/11", "default/service/b/ceiling/"]) {
      const value = encodeRecord(key, { tokens: 3, tickets: 3 });
      value[8]! ^= 1;
      await store.commit([{ key, value }]);
    }
    await store.close();
    const { damage, damageCount, records } = await inspectStore(folder);
    expect({ damageCount, records }).toEqual({ damageCount: 2, records: 22 });
    expect(damage[0]).toMatch(/"default\/service\/a\/hold\/11" is damaged/);
    expect(damage[1]).toMatch(/"default\/service\/b\/ceiling\/" is damaged/);
    const file = await backupFile(RECORDS);
    writeFileSync(file, readFileSync(file).subarray(0, -20));
    expect((await inspectStore(file)).damage[0]).toMatch(/is cut off/);
    const bytes = readFileSync(join(folder, "store.mdb"));
    writeFileSync(join(folder, "store.mdb"), bytes.subarray(0, 20_000));
    expect((await inspectStore(folder)).damage[0]).toMatch(/The store .* is damaged/);
    await expect(inspectStore(newFolder())).rejects.toThrow(/There is no LockDB store/);
    await expect(inspectStore(join(folder, "owner.lock"))).rejects.toThrow(/is no backup of LockDB/);
  });
});
