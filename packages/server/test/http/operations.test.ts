import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { crc32 } from "node:zlib";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { Access } from "../../src/access/index.js";
import { newApiKey, newKeyId } from "../../src/access/keys.js";
import { httpServer } from "../../src/http/app.js";
import { type Server, serve } from "../../src/index.js";
import { Loop, nodeRuntime } from "../../src/loop/index.js";
import { decodeRecord, encodeRecord, openDiskStore, openMemoryStore } from "../../src/store/index.js";
import { ManualStore } from "./manual-store.js";
import {
  ask,
  callBody,
  errorShape,
  HttpConnection,
  NativeClient,
  requestBytes,
  SERVICE,
  sleep,
  startParts,
  startServer,
} from "./server.js";

describe("health", () => {
  let server: Server;

  beforeAll(async () => {
    server = await startServer();
  });

  afterAll(() => server.close());

  const get = (path: string, target: { url: string; rootKey: string } = server) =>
    ask(target, { method: "GET", path, key: null });

  test("[I6q] /livez and /readyz are 200, without a key", async () => {
    for (const path of ["/livez", "/readyz"]) {
      expect(await get(path)).toMatchObject({ status: 200, body: "ok\n" });
      expect(await ask(server, { method: "HEAD", path, key: null })).toMatchObject({ status: 200 });
    }
  });

  test("[I6r] /readyz is 200 while a service recovers", async () => {
    const store = openMemoryStore();
    const key = `default/service/${SERVICE}/session/s-before-the-crash`;
    const session = { client: "c-before-the-crash", leaseMs: 60_000, owner: "somebody" };
    await store.commit([{ key, value: encodeRecord(key, session) }]);
    const parts = await startParts({ store });
    const native = await NativeClient.welcome(parts);
    expect(await native.inspect("disk")).toMatchObject({ recovering: true });
    expect(await get("/readyz", parts)).toMatchObject({ status: 200 });
    native.close();
    await parts.close();
  });

  test("[I6s] /readyz is 503 without the store, and 200 when it is back; /livez stays", async () => {
    const store = new ManualStore();
    let canOpen = true;
    const openStore = async () => {
      if (!canOpen) throw new Error("the disk is gone");
      return store;
    };
    const parts = await startParts({ store, openStore, speed: 10 });
    store.isManual = true;
    const call = ask(parts, { path: "/lock", body: callBody("lock", "disk") });
    const commit = await store.nextCommit();
    canOpen = false;
    commit.fail();
    await call;
    expect(await get("/readyz", parts)).toMatchObject({ status: 503, body: "not ready\n" });
    expect(await get("/livez", parts)).toMatchObject({ status: 200 });
    const upgrade = await ask(parts, {
      method: "GET",
      path: "/v1/connect",
      headers: {
        connection: "upgrade",
        upgrade: "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-protocol": "lockdb.v1",
      },
    });
    expect(upgrade).toMatchObject({ status: 503 });
    expect(JSON.parse(upgrade!.body)).toEqual(errorShape("UNAVAILABLE"));
    store.isManual = false;
    canOpen = true;
    while (!parts.loop.ready) await sleep(10);
    expect(await get("/readyz", parts)).toMatchObject({ status: 200 });
    await parts.close();
  });

  test("[I6t] a stop says goodbye to all, is not ready any more, and ends though somebody never answers", async () => {
    const stopping = await startServer();
    const polite = await NativeClient.welcome(stopping);
    const deaf = await NativeClient.welcome(stopping);
    (deaf.socket as unknown as { _socket: { pause(): void } })._socket.pause();
    const late = await HttpConnection.open(stopping, { allowHalfOpen: true });
    late.write("GET /readyz HT");
    await polite.inspect("x");
    const closed = stopping.close();
    expect(stopping.close()).toBe(closed);
    expect(await polite.next("ended")).toMatchObject(["ended", "UNAVAILABLE", expect.any(String)]);
    expect(await polite.closed).toMatchObject({ code: 1001 });
    late.write("TP/1.1\r\nhost: x\r\n\r\n");
    expect(await late.answer()).toMatchObject({ status: 503 });
    const startedAtMs = performance.now();
    await closed;
    expect(performance.now() - startedAtMs).toBeLessThan(3_000);
    await expect(HttpConnection.open(stopping)).rejects.toThrow("ECONNREFUSED");
    deaf.close();
    late.socket.destroy();
  });

  test("[I6u] a port that is taken, or is none of this machine, stops the start and says what to do", async () => {
    const taken = createServer();
    const port = await new Promise<number>((resolve) =>
      taken.listen(0, "127.0.0.1", () => resolve((taken.address() as { port: number }).port)),
    );
    await expect(startServer({ port })).rejects.toThrow(/Port \d+ is taken\. .*--port 0/);
    await new Promise((resolve) => taken.close(resolve));
    const again = await startServer({ port });
    await again.close();
  });

  test("[Ea] an unknown route is 404 in the one shape of errors, with a key and without", async () => {
    for (const key of [null, server.rootKey]) {
      for (const [method, path] of [
        ["GET", "/nothing"],
        ["GET", "/v1"],
        ["GET", "/v1/connect"],
        ["POST", "/v1/nothing"],
        ["DELETE", "/v1/locks/x"],
        ["GET", "/livez/x"],
        ["GET", "/__proto__"],
      ] as const) {
        const answer = await ask(server, { method, path, key });
        expect(answer!.status).toBe(404);
        expect(answer!.headers["content-type"]).toMatch(/^application\/json/);
        expect(JSON.parse(answer!.body)).toEqual(errorShape("NOT_FOUND"));
      }
    }
  });

  test("[Eb] a path or a body that is none is refused in the same shape, and nothing of the inside is told", async () => {
    const json = { "content-type": "application/json" };
    for (const [parts, code] of [
      [{ method: "GET", path: "/%zz" }, "INVALID"],
      [{ method: "POST", path: "/v1/nothing", headers: json, body: "{" }, "INVALID"],
      [{ method: "POST", path: "/v1/nothing", headers: json, body: "x".repeat(65_537) }, "TOO_LARGE"],
      [{ method: "POST", path: "/v1/nothing", headers: { "content-type": "x" }, body: "{}" }, "INVALID"],
    ] as const) {
      const answer = await ask(server, parts);
      expect(JSON.parse(answer!.body)).toEqual(errorShape(code));
      expect(answer!.body).not.toMatch(/FST_|node_modules|at .*:\d+/);
    }
  });
});

describe("keys", () => {
  const folders: string[] = [];
  const newFolder = async () => {
    const folder = await mkdtemp(join(tmpdir(), "lockdb-keys-"));
    folders.push(folder);
    return folder;
  };
  const start = (dataDir: string, rootKey: string | null = null) =>
    serve({ port: 0, dataDir, rootKey, logLevel: "silent" });
  const statusOf = async (server: Server, key: string) =>
    (await ask(server, { path: "/check", key, body: callBody("check", "x") }))!.status;

  afterEach(async () => {
    for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
  });

  test("[A1r] a new key is ldb_<id>_<secret><crc> in base62, and its checksum is right", async () => {
    const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const keys = new Set<string>();
    for (let round = 0; round < 50; round++) {
      const rootKey = newApiKey(newKeyId());
      expect(rootKey).toMatch(/^ldb_[0-9A-Za-z]{10}_[0-9A-Za-z]{32}[0-9A-Za-z]{6}$/);
      const crc = [...rootKey.slice(-6)].reduce((sum, digit) => sum * 62 + BASE62.indexOf(digit), 0);
      expect(crc).toBe(crc32(rootKey.slice(0, -6)));
      keys.add(rootKey);
    }
    expect(keys.size).toBe(50);
  });

  test("[A1s] the data folder has the hash of the key, and nothing of its secret", async () => {
    const folder = await newFolder();
    const server = await start(folder);
    const { rootKey } = server;
    expect(server.rootKeyIsNew).toBe(true);
    await ask(server, { path: "/lock", body: callBody("lock", "disk") });
    await server.close();
    const bytes = await bytesIn(folder);
    const hash = await import("node:crypto").then(({ createHash }) =>
      createHash("sha256").update(rootKey).digest("hex"),
    );
    expect(bytes.includes(hash)).toBe(true);
    const secret = rootKey.split("_")[2]!;
    for (const part of [rootKey, secret, secret.slice(0, 16), secret.slice(-16)]) {
      expect(bytes.includes(part)).toBe(false);
      expect(bytes.includes(Buffer.from(part, "utf16le"))).toBe(false);
      expect(bytes.includes(Buffer.from(part).toString("base64"))).toBe(false);
    }
  });

  test("[A1t] a key is shown once: the next start knows it, and cannot tell it", async () => {
    const folder = await newFolder();
    const first = await start(folder);
    await first.close();
    const second = await start(folder);
    expect(second).toMatchObject({ rootKey: "", rootKeyIsNew: false });
    expect(await statusOf(second, first.rootKey)).toBe(200);
    await second.close();
  });

  test("[A1u] a given key replaces the stored one, which is written down; the same one again is not", async () => {
    const folder = await newFolder();
    const given = "an-operator's-own-key!";
    const made = await start(folder);
    await made.close();
    expect(await auditIn(folder)).toEqual([]);
    const replaced = await start(folder, given);
    expect(replaced).toMatchObject({ rootKey: given, rootKeyIsNew: false });
    expect(await statusOf(replaced, given)).toBe(200);
    expect(await statusOf(replaced, made.rootKey)).toBe(401);
    await replaced.close();
    const audit = await auditIn(folder);
    expect(audit).toEqual([
      {
        at: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
        who: "operator",
        what: expect.stringContaining("root key"),
      },
    ]);
    const again = await start(folder, given);
    expect(await statusOf(again, given)).toBe(200);
    await again.close();
    expect(await auditIn(folder)).toEqual(audit);
    const kept = await start(folder);
    expect(await statusOf(kept, given)).toBe(200);
    await kept.close();
    expect((await bytesIn(folder)).includes(given)).toBe(false);
  });

  test("[A1v] a wrong key of equal length is refused, wherever it differs", async () => {
    const rootKey = "K".repeat(40);
    const server = await startServer({ rootKey });
    for (let at = 0; at < rootKey.length; at += 3) {
      const wrong = `${rootKey.slice(0, at)}k${rootKey.slice(at + 1)}`;
      expect(await statusOf(server, wrong)).toBe(401);
    }
    expect(await statusOf(server, rootKey)).toBe(200);
    await server.close();
  });

  test("[A1w] no key is logged, whatever goes wrong", async () => {
    let logged = "";
    const stream = new Writable({
      write: (chunk, _encoding, done) => {
        logged += String(chunk);
        done();
      },
    });
    const logger = pino({ level: "trace" }, stream);
    const store = new ManualStore();
    const access = new Access({ runtime: nodeRuntime, accountsMax: 9 });
    const loop = await Loop.start({
      openStore: async () => store,
      service: { waitersMax: 9, holdsMax: 9, sessionsMax: 9, writesSessionHolds: false },
      servicesMax: 9,
      runtime: nodeRuntime,
      log: logger,
    });
    const rootKey = (await access.start(loop, null)).rootKey!;
    const http = await httpServer({ access, loop, logger });
    const target = { url: await http.app.listen({ host: "127.0.0.1", port: 0 }), rootKey };
    for (const body of [callBody("lock", "disk"), "{", "x".repeat(70_000), callBody("lock", rootKey)]) {
      await ask(target, { path: "/lock", body });
      await ask(target, { path: `/nothing?key=${rootKey}`, body });
      await ask(target, { path: `/%zz${rootKey}`, body });
    }
    const broken = await HttpConnection.open(target);
    broken.write(`POST /lock HTTP/1.1\r\nAuthorization: Bearer ${rootKey}\r\n: \r\n\r\n`);
    await broken.answer();
    store.isManual = true;
    const failing = ask(target, { path: "/lock", body: callBody("lock", "failing") });
    const commit = await store.nextCommit();
    store.isManual = false;
    commit.fail();
    await failing;
    while (!loop.ready) await sleep(10);
    await access.stop();
    await loop.stop();
    await http.close();
    expect(logged).toContain("the store failed");
    expect(logged).not.toContain(rootKey);
    expect(logged).not.toContain(rootKey.slice(-20));
  });

  test("[A6a] beyond loopback the server does not start in plain text, unless told to", async () => {
    for (const host of [
      "0.0.0.0",
      "::",
      "192.0.2.1",
      "example.org",
      "localhost.example.org",
      "127.0.0.1.example.org",
    ]) {
      await expect(startServer({ host })).rejects.toThrow(/--allow-plain-text/);
    }
    // Nothing listens at such an address: it is the address that is refused now, and not the plain text.
    await expect(startServer({ host: "192.0.2.1", allowPlainText: true })).rejects.toThrow(
      /no address of this machine/,
    );
    const server = await startServer({ host: "localhost" });
    expect(await ask(server, { method: "GET", path: "/livez" })).toMatchObject({ status: 200 });
    await server.close();
  });
});

test("[I6v] a start that fails leaves the data folder to the next one", async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "lockdb-start-"));
  const running = await startServer();
  const port = Number(new URL(running.url).port);
  await expect(serve({ port, dataDir, logLevel: "silent" })).rejects.toThrow(/is taken/);
  const server = await serve({ port: 0, dataDir, logLevel: "silent" });
  const connection = await HttpConnection.open(server);
  connection.write(requestBytes({ method: "GET", path: "/readyz", key: null }));
  expect(await connection.answer()).toMatchObject({ status: 200 });
  await server.close();
  await running.close();
  await rm(dataDir, { recursive: true });
});

async function bytesIn(folder: string): Promise<Buffer> {
  const names = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = names.filter((entry) => entry.isFile());
  return Buffer.concat(await Promise.all(files.map((file) => readFile(join(file.parentPath, file.name)))));
}

async function auditIn(folder: string): Promise<unknown[]> {
  const store = await openDiskStore(folder);
  const records: unknown[] = [];
  for await (const entry of store.load("default/audit/")) records.push(decodeRecord(entry));
  await store.close();
  return records;
}
