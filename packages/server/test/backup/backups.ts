import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Engine } from "../../src/engine/index.js";
import { CLOCK_KEY } from "../../src/loop/index.js";
import { backupChunks, type Entry, encodeRecord, openDiskStore } from "../../src/store/index.js";
import { newFolder } from "../store/folders.js";

/** The moment of backups that say no other. */
export const BACKUP_AT = "2026-02-01T00:00:00.000Z";

export type Records = Readonly<Record<string, object>>;

/** Some of every kind. */
export const RECORDS: Records = {
  "acc_1/account": { createdAt: BACKUP_AT, email: "a@example.com", trialEndsAt: null },
  "acc_1/key/abcd": { secrets: [] },
  [CLOCK_KEY]: { nowMs: 5_000 },
  "default/audit/2026-02-01T00:00:00.000Z-000000001-0": { at: BACKUP_AT, who: "root key", what: "key made" },
  "default/delivery/a/7.0": { id: "msg_1", url: "https://example.com", lockName: "x", token: 7 },
  "default/service/a/answer/client-1/3": {
    message: ["done", 3, true],
    about: "gone",
    untilMs: 50_000,
  },
  "default/service/a/ceiling/": { tokens: 100_002, tickets: 200_002 },
  "default/service/a/hold/11": hold("detached", { expiresAtMs: 305_000, request: "client-1/4" }),
  "default/service/a/hold/12": hold("leased", { expiresAtMs: 35_000, leaseMs: 30_000 }),
  "default/service/a/hold/13": hold("closed", { expiresAtMs: 9_000, remainder: true }),
  "default/service/a/hold/14": hold("of a session", { session: "session-1" }),
  "default/service/a/hold/15": hold(["one", ["two", "shared"]], { session: "session-2" }),
  "default/service/a/previous/lost": { endedBy: "expiry", token: 5, owner: "db1" },
  "default/service/a/previous/of a session": { endedBy: "force", token: 6, owner: "db2" },
  "default/service/a/previous/two": { endedBy: "force", token: 99, owner: "db3" },
  "default/service/a/revoked/14": { token: 14, session: "session-1" },
  "default/service/a/session/session-1": {
    client: "client-1",
    leaseMs: 10_000,
    owner: "db1",
    holdsKnown: true,
  },
  "default/service/a/session/session-2": { client: "client-2", leaseMs: 10_000, owner: "db2", http: true },
  "default/service/a/settings/": { lockDelayMs: 500 },
  "default/service/a/stopped/": { clean: true },
  "default/service/b/ceiling/": { tokens: 100_001, tickets: 100_001 },
  "default/webhook/secret": { secret: "whsec_of_the_webhooks" },
};

export function hold(names: unknown, more: object): object {
  return {
    names,
    owner: "db3",
    grantedAtMs: 1_000,
    expiresAtMs: null,
    metadata: {},
    request: null,
    remainder: false,
    ...more,
  };
}

export function entriesOf(records: Records): Entry[] {
  const entries = Object.entries(records).map(([key, value]) => ({ key, value: encodeRecord(key, value) }));
  return entries.sort((a, b) => Buffer.from(a.key).compare(Buffer.from(b.key)));
}

/** A backup, as bytes. */
export async function backupOf(entries: readonly Entry[], at = BACKUP_AT): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of backupChunks({ at, lockdb: "0.1.0", from: "running" }, each(entries)))
    chunks.push(chunk);
  return Buffer.concat(chunks);
}

export function fileOf(bytes: Uint8Array): string {
  const file = join(newFolder(), "some.backup");
  writeFileSync(file, bytes);
  return file;
}

export async function backupFile(records: Records, at?: string): Promise<string> {
  return fileOf(await backupOf(entriesOf(records), at));
}

/** The records of a folder that nobody uses, by key. */
export async function recordsIn(folder: string): Promise<Record<string, unknown>> {
  const store = await openDiskStore(folder);
  const found: Record<string, unknown> = {};
  for await (const { key, value } of store.load(""))
    found[key] = JSON.parse(Buffer.from(value.subarray(5)).toString());
  await store.close();
  return found;
}

/** The first token of a service that has these records, and begins at a floor. */
export function firstToken(
  records: readonly { readonly type: string; readonly id: string; readonly value: unknown }[],
  floor: number,
): { readonly token: number; readonly ceiling: number } {
  const engine = new Engine({ waitersMax: 10, holdsMax: 10_000, sessionsMax: 10, writesSessionHolds: false });
  const out = {
    answers: [] as { message: readonly unknown[] }[],
    changes: [] as { type: string; value: unknown }[],
  };
  engine.startAbove(floor, floor);
  engine.restore(records, 0, out as never);
  engine.apply(
    {
      kind: "acquire",
      id: 1,
      names: "the first lock after it",
      waitMs: 0,
      detachedMs: 1_000,
      minHoldMs: 0,
      maxHoldMs: null,
      metadata: {},
      ticket: null,
      within: [],
      reentrant: false,
      leads: false,
      stolenBy: null,
      owner: "db9",
      session: null,
      address: "a1",
    },
    0,
    out as never,
  );
  const granted = out.answers.find(({ message }) => message[0] === "granted");
  const ceiling = out.changes.findLast(({ type }) => type === "ceiling")!.value as { tokens: number };
  return { token: granted!.message[2] as number, ceiling: ceiling.tokens };
}

async function* each<T>(values: readonly T[]): AsyncGenerator<T> {
  yield* values;
}
