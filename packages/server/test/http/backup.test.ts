import { once } from "node:events";
import { afterEach, expect, test } from "vitest";
import { checkBackup } from "../../src/backup/index.js";
import { BackupFile, encodeRecord, openMemoryStore } from "../../src/store/index.js";
import { fileOf } from "../backup/backups.js";
import { Api } from "./api.js";
import { Members } from "./members.js";
import { HttpConnection, requestBytes, startParts, startServer } from "./server.js";

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((each) => each.close()));
});

/** More than all buffers between the server and a reader that does not read. */
const MANY = 200;

async function partsWithMuch() {
  const store = openMemoryStore();
  const text = "x".repeat(100_000);
  for (let at = 0; at < MANY; at++) {
    const key = `default/old/${String(at).padStart(4, "0")}`;
    await store.commit([{ key, value: encodeRecord(key, { text }) }]);
  }
  const parts = await startParts({ store });
  open.push(parts);
  return { store, parts, api: new Api(parts) };
}

async function download(url: string, key: string): Promise<Buffer> {
  const answer = await fetch(`${url}/v1/backup`, { headers: { authorization: `Bearer ${key}` } });
  expect(answer.status).toBe(200);
  expect(answer.headers.get("content-type")).toBe("application/octet-stream");
  return Buffer.from(await answer.arrayBuffer());
}

/** A reader that takes its first bytes and no more, on a connection of its own. */
async function slowReader(server: { readonly url: string }, key: string) {
  const connection = await HttpConnection.open(server);
  connection.write(requestBytes({ method: "GET", path: "/v1/backup", key }));
  await once(connection.socket, "data");
  connection.socket.pause();
  return connection;
}

/** Until the one before is over. */
async function possible(api: Api): Promise<void> {
  while ((await api.get("/v1/backup")).status !== 200);
}

test("[F3zb] a backup has all that was acknowledged before it was asked for, and says that it was made", async () => {
  const server = await startServer();
  open.push(server);
  const api = new Api(server);
  const tokens = [await api.token("one", { leaseMs: 60_000 }), await api.token("two", { leaseMs: 60_000 })];
  await api.call("PUT", "/settings", { lockDelayMs: 7 });
  const made = (await api.post("/v1/keys", { scopes: ["lock"], name: "kept" })).body;
  const file = BackupFile.open(fileOf(await download(server.url, server.rootKey)));
  const keys: string[] = [];
  for await (const { key } of file.entries()) keys.push(key);
  file.close();
  expect(file.header).toMatchObject({ from: "running", at: expect.stringMatching(/^20\d\d-/) });
  const expected = tokens.map((token) => `default/service/reports/hold/${token}`);
  expect(keys).toEqual(expect.arrayContaining([...expected, "default/service/reports/settings/"]));
  expect(keys).toContain(`default/key/${made.key.id}`);
  const { entries } = (await api.get("/v1/audit")).body;
  expect(entries.at(-1)).toMatchObject({
    what: "backup made",
    who: expect.stringMatching(/^root key from /),
  });
  // Its own entry is in it: who takes one away leaves a trace in it.
  expect(keys.filter((key) => key.startsWith("default/audit/"))).toHaveLength(entries.length);
});

test("[F3zc] it is for keys of the operator with the scope admin, for all services", async () => {
  const server = await startServer({ signup: true });
  open.push(server);
  const api = new Api(server);
  const keyWith = async (wish: object) => (await api.post("/v1/keys", { name: "k", ...wish })).body.apiKey;
  const trial = (await api.post("/v1/signup", { email: "a@example.com" }, { key: null })).body.apiKey;
  const refused = async (key: string | null) => {
    const { status, body } = await api.get("/v1/backup", { key });
    return `${status} ${body.error?.code}`;
  };
  expect(await refused(null)).toBe("401 UNAUTHORIZED");
  expect(await refused(await keyWith({ scopes: ["lock", "read", "force"] }))).toBe("403 FORBIDDEN");
  expect(await refused(await keyWith({ scopes: ["admin"], services: ["reports"] }))).toBe("403 FORBIDDEN");
  expect(await refused(trial)).toBe("403 FORBIDDEN");
  expect((await download(server.url, await keyWith({ scopes: ["admin"] }))).length).toBeGreaterThan(100);
});

test("[F3wn] a member gives what the whole cluster has, and not what its own store shows", async () => {
  const members = await Members.start(1);
  open.push(members);
  const [one] = members.all as [Members["all"][number]];
  const key = "default/service/elsewhere/ceiling/";
  one.cluster.records = async function* () {
    yield { key, value: encodeRecord(key, { tokens: 7, tickets: 7 }) };
  };
  const file = BackupFile.open(fileOf(await download(one.url, one.rootKey)));
  const keys: string[] = [];
  for await (const entry of file.entries()) keys.push(entry.key);
  file.close();
  expect(keys).toEqual([key]);
});

test("[F3zd] one is made at a time, and the server goes on beside one that is read slowly", async () => {
  const { parts, api } = await partsWithMuch();
  const slow = await slowReader(parts, parts.rootKey);
  const { status, body } = await api.get("/v1/backup");
  expect(status).toBe(429);
  expect(body.error).toMatchObject({ code: "LIMIT_EXCEEDED", message: expect.stringMatching(/being made/) });
  expect(await api.token("free", { leaseMs: 60_000 })).toBe(1);
  slow.socket.destroy();
  await possible(api);
});

test("[F3ze] a key that ends cuts off the backup that is read with it", async () => {
  const { parts, api } = await partsWithMuch();
  const { key, apiKey } = (await api.post("/v1/keys", { scopes: ["admin"], name: "k" })).body;
  const slow = await slowReader(parts, apiKey);
  expect((await api.delete(`/v1/keys/${key.id}`)).status).toBe(200);
  slow.socket.resume();
  await slow.closed;
  await possible(api);
});

test("[F3zf] a record that is damaged, or a server that stops, leaves a file without an end", async () => {
  const { store, parts } = await partsWithMuch();
  const whole = await download(parts.url, parts.rootKey);
  expect(await checkBackup(fileOf(whole))).toMatchObject({ records: MANY + 2 });
  const key = "default/old/0100";
  await store.commit([{ key, value: encodeRecord("default/old/0101", {}) }]);
  const broken = await download(parts.url, parts.rootKey).then(
    ({ length }) => `${length} bytes`,
    (error: Error) => error.message,
  );
  expect(broken).toBe("terminated");
  await store.commit([{ key, value: encodeRecord(key, {}) }]);
  const stopping = await slowReader(parts, parts.rootKey);
  open.length = 0;
  const closed = parts.close();
  stopping.socket.resume();
  await Promise.all([stopping.closed, closed]);
});
