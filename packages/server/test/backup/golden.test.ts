import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { crc32 } from "node:zlib";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Filling } from "../../src/backup/filling.js";
import { inspectStore, restoreBackup } from "../../src/backup/index.js";
import { serve } from "../../src/index.js";
import { BackupFile, type Entry, openDiskStore } from "../../src/store/index.js";
import { Api } from "../http/api.js";
import { newFolder } from "../store/folders.js";
import { backupOf, fileOf } from "./backups.js";

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const GOLDEN = path("./golden/format-1.backup");
const ROOT_KEY = "root-key-of-the-golden-file";
const SERVICE = "/v1/services/orders";

/** Ten minutes after the file was written: some of what it has ends by the time of day. */
beforeAll(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: Date.parse("2026-11-26T18:30:00Z") });
});
afterAll(() => {
  vi.useRealTimers();
});

async function goldenEntries(): Promise<Entry[]> {
  const file = BackupFile.open(GOLDEN);
  const entries: Entry[] = [];
  for await (const entry of file.entries()) entries.push(entry);
  file.close();
  return entries;
}

/** As the server that wrote it has left it: with its sessions. */
async function folderAsItWas(): Promise<string> {
  const folder = newFolder();
  const filling = await Filling.begin(folder, GOLDEN);
  for (const entry of await goldenEntries()) await filling.put(entry);
  await filling.written();
  await filling.finish();
  return folder;
}

async function started(dataDir: string, durability: "standard" | "strict") {
  const server = await serve({ port: 0, dataDir, durability, logLevel: "silent" });
  return { server, api: new Api({ url: server.url, rootKey: ROOT_KEY }) };
}

test("[R9r] the golden file of this format has every kind of record, and each is read", async () => {
  const { kinds, damage, recordFormats } = await inspectStore(GOLDEN);
  expect(damage).toEqual([]);
  expect(recordFormats).toEqual({ 1: 31 });
  // What services write: a new kind wants a new golden file.
  const commands = readFileSync(path("../../src/engine/commands.ts"), "utf8");
  const ofServices = [...commands.matchAll(/readonly type: "(\w+)"/g)].map((match) => match[1]!);
  expect(ofServices.length).toBeGreaterThan(9);
  const others = ["account", "clock", "floor", "key", "webhook secret"];
  expect(Object.keys(kinds).sort()).toEqual([...new Set([...ofServices, ...others])].sort());
  const holds = (await goldenEntries())
    .filter(({ key }) => key.includes("/hold/"))
    .map(({ value }) => JSON.parse(Buffer.from(value.subarray(5)).toString()));
  for (const field of ["leaseMs", "session", "request", "webhookUrl"])
    expect(holds.filter((hold) => hold[field] != null).length, field).toBeGreaterThan(0);
  expect(holds.filter(({ remainder }) => remainder)).toHaveLength(1);
  expect(holds.map(({ names }) => names)).toContainEqual([["readers", "shared"], ["pool", 5, 2], "third"]);
});

test("[R9s] a server starts with what it has, in both ways, and shows all of it", async () => {
  const folder = await folderAsItWas();
  for (const durability of ["strict", "standard"] as const) {
    const { server, api } = await started(folder, durability);
    const { body } = await api.get(`${SERVICE}/locks?limit=500`);
    const names = body.locks.map(({ name }: { name: string }) => name).sort();
    const alone = ["detached", "kept closed", "leased", "of a session", "of an HTTP session"];
    expect(names).toEqual([...alone, "pool", "readers", "third"].sort());
    expect((await api.get(`${SERVICE}/stats`)).body).toMatchObject({ sessions: 2 });
    expect((await api.get(`${SERVICE}/settings`)).body).toMatchObject({ lockDelayMs: 1_500 });
    expect((await api.get("/v1/keys")).body.keys).toHaveLength(2);
    expect((await api.get("/v1/audit")).body.entries).toHaveLength(5);
    expect((await api.get("/v1/webhooks/deliveries")).body.deliveries).toMatchObject([{ lockName: "told" }]);
    expect((await api.get("/v1/webhooks/secret")).body.old).not.toBeNull();
    const { holders, previous } = (await api.get(`${SERVICE}/locks/freed%20by%20force`)).body;
    expect({ holders, previous }).toMatchObject({ holders: [], previous: { endedBy: "force" } });
    await server.close();
  }
});

test("[F3zh] it can be restored: what has an end of its own is there, and tokens begin above all that it knows", async () => {
  const folder = newFolder();
  const { tokensFrom, leftOut } = await restoreBackup(GOLDEN, folder);
  expect(leftOut).toEqual({ sessions: 2, holds: 3 });
  const { server, api } = await started(folder, "standard");
  const { body } = await api.get(`${SERVICE}/locks`);
  expect(body.locks.map(({ name }: { name: string }) => name).sort()).toEqual([
    "detached",
    "kept closed",
    "leased",
  ]);
  const { previous, token } = (await api.post(`${SERVICE}/acquire`, { names: "of a session" })).body;
  expect(previous).toMatchObject({ endedBy: "expiry", owner: "worker@db5" });
  expect(token).toBe(tokensFrom);
  expect(token).toBeGreaterThan(29_263_890_911_905);
  await server.close();
});

test("[R9t] a record of a newer format is refused by a restore and by a start, and the way on is told", async () => {
  const entries = (await goldenEntries()).map(({ key, value }) => {
    if (!key.endsWith("/settings/")) return { key, value };
    const newer = Buffer.from(value);
    newer[0] = 2;
    newer.writeUInt32BE(crc32(newer.subarray(5), crc32(`${key}\0`, crc32(Buffer.of(2)))), 1);
    return { key, value: new Uint8Array(newer) };
  });
  const text =
    /"default\/service\/orders\/settings\/" has format 2; this LockDB reads formats up to 1. Start the newer LockDB/;
  const folder = newFolder();
  await expect(restoreBackup(fileOf(await backupOf(entries)), folder)).rejects.toThrow(text);
  const store = await openDiskStore(folder);
  await store.commit(entries);
  await store.close();
  await expect(started(folder, "standard")).rejects.toThrow(text);
});
