import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { inspectStore, restoreBackup } from "../../src/backup/index.js";
import { serve } from "../../src/index.js";
import { openDiskStore } from "../../src/store/index.js";
import { ended, firstLine, start, startLimited } from "../store/children.js";
import { newFolder } from "../store/folders.js";
import {
  BACKUP_AT,
  backupFile,
  backupOf,
  entriesOf,
  fileOf,
  firstToken,
  hold,
  RECORDS,
  recordsIn,
} from "./backups.js";

/** Two hours after the backup. */
const NOW_MS = Date.parse(BACKUP_AT) + 7_200_000;
const NEW = "default/service/a/";

async function restored(records = RECORDS, options: { keepHolds?: boolean; tokensAbove?: number } = {}) {
  const folder = join(newFolder(), "new");
  const told = await restoreBackup(await backupFile(records), folder, { nowMs: NOW_MS, ...options });
  return { folder, told, records: await recordsIn(folder) };
}

describe("a restore", () => {
  test("[F3n] keeps what is nobody's belief: keys, accounts, settings, secrets, answers, deliveries, the lease clock", async () => {
    const { records } = await restored();
    const same = Object.keys(RECORDS).filter((key) => !key.startsWith("default/service/"));
    for (const key of [...same, `${NEW}answer/client-1/3`, `${NEW}settings/`, `${NEW}previous/lost`])
      expect(records[key], key).toEqual(RECORDS[key]);
  });

  test("[F3o] sessions are void, with their holds, revocations, and the list of a clean stop", async () => {
    const { told, records } = await restored();
    const gone = ["session/session-1", "session/session-2", "revoked/14", "hold/14", "hold/15", "stopped/"];
    for (const key of gone) expect(records, key).not.toHaveProperty([NEW + key]);
    expect(told.leftOut).toEqual({ sessions: 2, holds: 2 });
  });

  test("[F3p] holds with an end of their own are kept, and dropped on request; what remains of one stays", async () => {
    const kept = (await restored()).records;
    for (const key of ["hold/11", "hold/12", "hold/13"]) expect(kept[NEW + key]).toEqual(RECORDS[NEW + key]);
    const { told, records } = await restored(RECORDS, { keepHolds: false });
    expect(Object.keys(records).filter((key) => key.includes("/hold/"))).toEqual([`${NEW}hold/13`]);
    expect(told.leftOut.holds).toBe(4);
  });

  test("[F3q] the next holder is told of a hold that is left out, by the highest token of its lock", async () => {
    const { records } = await restored();
    expect(records[`${NEW}previous/of a session`]).toEqual({ endedBy: "expiry", token: 14, owner: "db3" });
    expect(records[`${NEW}previous/one`]).toEqual({ endedBy: "expiry", token: 15, owner: "db3" });
    expect(records[`${NEW}previous/two`]).toEqual(RECORDS[`${NEW}previous/two`]);
    expect(records).not.toHaveProperty([`${NEW}previous/detached`]);
    const two = { ...RECORDS, "default/service/a/hold/99": hold("one", { session: "session-1" }) };
    expect((await restored(two)).records[`${NEW}previous/one`]).toMatchObject({ token: 99 });
  });

  test("[F3r] every service begins above the floor: those in the backup by their ceilings, new ones by a record", async () => {
    const { told, records } = await restored();
    const floor = told.tokensFrom;
    expect(records["default/floor"]).toEqual({ tokens: floor, tickets: floor, raisedBy: 0 });
    for (const service of ["a", "b"])
      expect(records[`default/service/${service}/ceiling/`]).toEqual({ tokens: floor, tickets: floor });
    // By the ceiling alone, as a LockDB from before this record would read it; by the floor alone; and by neither less than either.
    const ceiling = { type: "ceiling", id: "", value: { tokens: floor, tickets: floor } };
    expect(firstToken([ceiling], 1).token).toBe(floor);
    expect(firstToken([], floor)).toEqual({ token: floor, ceiling: floor + 1 + 100_000 });
    const later = { type: "ceiling", id: "", value: { tokens: floor + 5, tickets: 1 } };
    expect(firstToken([later], floor).token).toBe(floor + 5);
    expect(firstToken([{ ...later, value: { tokens: 2, tickets: 2 } }], floor).token).toBe(floor);
  });

  test("[F3s] a server that starts with it gives out no lower token, in services that it does not know either", async () => {
    const { folder, told } = await restored({});
    const server = await serve({ port: 0, dataDir: folder, logLevel: "silent" });
    const acquire = async (service: string) => {
      const answer = await fetch(`${server.url}/v1/services/${service}/acquire`, {
        method: "POST",
        headers: { authorization: `Bearer ${server.rootKey}` },
        body: JSON.stringify({ names: "x" }),
      });
      return ((await answer.json()) as { token: number }).token;
    };
    expect(await acquire("never-seen")).toBe(told.tokensFrom);
    expect(await acquire("never-seen-too")).toBe(told.tokensFrom);
    await server.close();
    const again = await recordsIn(folder);
    expect(again["default/floor"]).toMatchObject({ tokens: told.tokensFrom });
  });

  test("[F3t] it is in the audit log: from which file, of which moment, and what was left out", async () => {
    const { told, records } = await restored();
    const [, entry] = Object.entries(records).find(([key]) => key.startsWith("default/audit/2026-02-01T02"))!;
    expect(entry).toEqual({
      at: "2026-02-01T02:00:00.000Z",
      who: "operator",
      what: "store restored",
      details: {
        file: expect.stringMatching(/some\.backup$/),
        backupAt: BACKUP_AT,
        tokensFrom: told.tokensFrom,
        keepHolds: true,
        sessions: 2,
        holds: 2,
      },
    });
  });

  test("[F3u] a number that the operator knows is exceeded", async () => {
    const { told } = await restored(RECORDS, { tokensAbove: 4 * 10 ** 15 });
    expect(told.tokensFrom).toBeGreaterThan(4 * 10 ** 15);
    expect(Number.isSafeInteger(told.tokensFrom + 2 ** 50)).toBe(true);
  });
});

describe("a restore that cannot be", () => {
  test("[F3v] into a folder with anything in it is refused, which is named, and stays as it is", async () => {
    const file = await backupFile(RECORDS);
    const folder = newFolder();
    writeFileSync(join(folder, "precious"), "text");
    const refused = restoreBackup(file, folder, { nowMs: NOW_MS });
    await expect(refused).rejects.toThrow(`The folder "${folder}" is not empty: "precious" is in it.`);
    expect(readdirSync(folder)).toEqual(["precious"]);
    await expect(restoreBackup(file, join(folder, "precious"), { nowMs: NOW_MS })).rejects.toThrow(
      /cannot be used/,
    );
    const empty = newFolder();
    mkdirSync(join(empty, "lost+found"));
    await restoreBackup(file, empty, { nowMs: NOW_MS });
    expect(readdirSync(empty)).not.toContain("unfinished.json");
  });

  test("[F3w] of a file that is not whole writes nothing at all", async () => {
    const bytes = await backupOf(entriesOf(RECORDS));
    for (const bad of [bytes.subarray(0, -1), Buffer.from("LockDB backup 2\n")]) {
      const folder = join(newFolder(), "new");
      await expect(restoreBackup(fileOf(bad), folder, { nowMs: NOW_MS })).rejects.toThrow(
        /cut off|has format 2/,
      );
      expect(existsSync(folder)).toBe(false);
    }
  });

  test("[F3x] one that is killed leaves a folder that no server starts with, and says what to do", async () => {
    const many = Array.from(
      { length: 60_000 },
      (_, at) => [`default/service/a/hold/${100 + at}`, hold("x", {})] as const,
    );
    const file = await backupFile({ ...RECORDS, ...Object.fromEntries(many) });
    for (const moment of ["begun", "written"]) {
      const folder = join(newFolder(), "new");
      const child = start("restore.mjs", file, folder, moment);
      expect(await firstLine(child)).toBe(moment);
      await ended(child, "SIGKILL");
      expect(readdirSync(folder)).toContain("unfinished.json");
      await expect(openDiskStore(folder)).rejects.toThrow(
        /is not whole: what was begun at 20.*some\.backup", did not come to its end\. Remove all that is in this folder/,
      );
      await expect(restoreBackup(file, folder, { nowMs: NOW_MS })).rejects.toThrow(/is not empty/);
      expect((await inspectStore(folder)).damage[0]).toMatch(/^It is not whole: what was begun at/);
    }
  });

  test("[F3y] when the disk is full it says so, and leaves the folder empty", async () => {
    const big = Array.from(
      { length: 3_000 },
      (_, at) => [`default/service/a/hold/${100 + at}`, hold("x".repeat(500), {})] as const,
    );
    const file = await backupFile({ ...RECORDS, ...Object.fromEntries(big) });
    const folder = newFolder();
    // 1.5 MiB: enough for an empty store.
    const child = startLimited(3_072, "restore.mjs", file, folder);
    expect(await ended(child)).toMatch(/^Store\w+Error: .*(EFBIG|too large)/);
    expect(readdirSync(folder)).toEqual([]);
    await restoreBackup(file, folder, { nowMs: NOW_MS });
  });

  test("[F3z] two at once into one folder: one is refused, and the other comes to its end", async () => {
    const file = await backupFile(RECORDS);
    const folder = join(newFolder(), "new");
    const both = await Promise.allSettled([1, 2].map(() => restoreBackup(file, folder, { nowMs: NOW_MS })));
    expect(both.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    expect(Object.keys(await recordsIn(folder)).length).toBeGreaterThan(10);
    mkdirSync(join(folder, "x"));
    expect(readFileSync(join(folder, "owner.lock"), "utf8")).toBe("");
  });
});
