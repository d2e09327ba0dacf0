import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, connect as netConnect, type Socket } from "node:net";
import { join } from "node:path";
import { type ConnectionOptions, connect, type TLSSocket } from "node:tls";
import type { FastifyBaseLogger } from "fastify";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { readTls, TlsWatch } from "../../src/http/tls.js";
import type { Server } from "../../src/index.js";
import { openMemoryStore } from "../../src/store/index.js";
import { CA, certFile, keyFile, type Name, SecretFolder, showing, TLS } from "../tls/files.js";
import {
  ask,
  callBody,
  HttpConnection,
  NativeClient,
  requestBytes,
  startParts,
  startServer,
  type Target,
} from "./server.js";

const DAY_MS = 24 * 60 * 60 * 1_000;

/** A TLS connection that is open, or the error that it came to. */
function shake({ url }: { url: string }, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const { hostname: host, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port: Number(port), ca: CA, ...options }, () => resolve(socket));
    socket.once("error", reject);
  });
}

/** The common name of the certificate that the server shows to a new connection. */
async function shownBy(target: { url: string }): Promise<string> {
  const socket = await shake(target);
  const { CN } = socket.getPeerCertificate().subject;
  socket.destroy();
  return String(CN);
}

/** The status that a request on a connection of its own is answered with; null when the connection ends, or never is. */
async function asked(target: Target, options: ConnectionOptions): Promise<number | null> {
  try {
    const connection = await HttpConnection.open(target, { tls: options });
    connection.write(requestBytes({ method: "GET", path: "/livez", key: null }));
    const answer = await connection.answer();
    connection.socket.destroy();
    return answer?.status ?? null;
  } catch (error) {
    expect((error as NodeJS.ErrnoException).code).toMatch(/^(ERR_SSL_|ECONNRESET|EPIPE)/);
    return null;
  }
}

/** A log that a test reads. */
function logbook() {
  const lines: { readonly level: string; readonly text: string; readonly facts: Record<string, unknown> }[] =
    [];
  const level = (name: string) => (facts: Record<string, unknown>, text: string) =>
    void lines.push({ level: name, text, facts });
  const log = { info: level("info"), warn: level("warn"), error: level("error"), debug: () => {} };
  return { lines, log: log as unknown as FastifyBaseLogger };
}

describe("a server with a certificate", () => {
  let server: Server;

  beforeAll(async () => {
    server = await startServer(TLS);
  });

  afterAll(() => server.close());

  test("[A6c] speaks TLS 1.2 and 1.3, and nothing older", async () => {
    for (const [version, is] of [
      ["TLSv1.2", "TLSv1.2"],
      ["TLSv1.3", "TLSv1.3"],
    ] as const) {
      const socket = await shake(server, { minVersion: version, maxVersion: version });
      expect(socket.getProtocol()).toBe(is);
      socket.destroy();
    }
    for (const version of ["TLSv1", "TLSv1.1"] as const) {
      const old = { minVersion: version, maxVersion: version, ciphers: "DEFAULT@SECLEVEL=0" } as const;
      await expect(shake(server, old)).rejects.toThrow(/protocol version/);
    }
  });

  test("[A6d] says so in its address, and serves all of its protocols there", async () => {
    expect(server.url).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/);
    expect((await ask(server, { method: "GET", path: "/livez" }))!.status).toBe(200);
    const locked = await ask(server, { path: "/lock", body: callBody("lock", "by the original") });
    expect(JSON.parse(locked!.body)).toEqual({ eventName: "lock", lockName: "by the original" });
    const native = await NativeClient.welcome(server);
    expect(await native.acquire("native")).toBeGreaterThan(0);
    native.close();
  });

  test("[A6e] says nothing to whoever speaks plain text there", async () => {
    const connection = await HttpConnection.open({ url: server.url.replace("https", "http") });
    connection.write(requestBytes({ method: "GET", path: "/livez", key: server.rootKey }));
    expect(await connection.answer()).toBeNull();
    expect(connection.received.toString()).not.toContain("HTTP/1.1");
    await connection.closed;
  });

  test("[A6f] may listen beyond loopback without --allow-plain-text", async () => {
    const open = await startServer({ ...TLS, host: "0.0.0.0" });
    expect(open.url).toMatch(/^https:\/\/0\.0\.0\.0:/);
    await open.close();
  });

  test("[A6g] of localhost serves every address with it", async () => {
    const local = await startServer({ ...TLS, host: "localhost" });
    const { port } = new URL(local.url);
    for (const host of ["127.0.0.1", "[::1]"]) {
      const at = { url: `https://${host}:${port}`, rootKey: local.rootKey };
      const native = await NativeClient.welcome(at).catch((error: NodeJS.ErrnoException) => error.code);
      // Of a machine without IPv6 there is one.
      if (typeof native === "string") expect([host, native]).toEqual(["[::1]", "ECONNREFUSED"]);
      else native?.close();
    }
    await local.close();
  });

  test("[Q7v] takes back a grant that was not read when the connection broke below TLS", async () => {
    const native = await NativeClient.welcome(server);
    const token = await native.acquire("unread");
    const relay = await relayTo(server);
    const caller = await HttpConnection.open(relay);
    caller.write(requestBytes({ path: "/lock", key: server.rootKey, body: callBody("lock", "unread") }));
    await native.until("unread", (info) => info.queueLength === 1);
    relay.upstream().pause();
    await native.release(token);
    await native.until("unread", (info) => info.holders[0]?.detached === true);
    relay.upstream().resetAndDestroy();
    await native.until("unread", (info) => !info.held);
    native.close();
    relay.close();
  });
});

/** Passes bytes on, so that a test may stop or break a connection that TLS goes over. */
async function relayTo({ url }: { url: string }) {
  const sockets: Socket[] = [];
  const relay = createServer((client) => {
    const upstream = netConnect(Number(new URL(url).port), "127.0.0.1");
    sockets.push(upstream);
    for (const socket of [client, upstream]) socket.on("error", () => {});
    client.pipe(upstream).pipe(client);
  });
  await new Promise<void>((resolve) => relay.listen(0, "127.0.0.1", resolve));
  const { port } = relay.address() as { port: number };
  return { url: `https://127.0.0.1:${port}`, upstream: () => sockets.at(-1)!, close: () => relay.close() };
}

describe("a server that asks clients for a certificate", () => {
  const open = (clientCa: Name = "ca") => startServer({ ...TLS, tlsClientCa: certFile(clientCa) });

  test("[A6h] serves those that its CA has signed, and nobody else", async () => {
    const server = await open();
    for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
      expect(await asked(server, { ...showing("client"), maxVersion })).toBe(200);
      expect(await asked(server, { maxVersion })).toBeNull();
      expect(await asked(server, { ...showing("stranger"), maxVersion })).toBeNull();
    }
    await server.close();
  });

  test("[A6i] refuses before anything is read: also with the right key", async () => {
    const server = await open("other-ca");
    await expect(NativeClient.open(server)).rejects.toThrow();
    expect(await asked(server, showing("client"))).toBeNull();
    expect(await asked(server, showing("stranger"))).toBe(200);
    await server.close();
  });
});

describe("files that cannot be used", () => {
  const folder = new SecretFolder("server");
  const empty = join(folder.path, "empty");
  const half = join(folder.path, "half");
  const locked = join(folder.path, "locked");

  beforeAll(() => {
    writeFileSync(empty, "");
    writeFileSync(half, `${CA}\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`);
    // With a passphrase, which nobody is there to type.
    writeFileSync(
      locked,
      "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
  });

  afterAll(() => folder.remove());

  test("[A6j] stop the start, which says which and why", async () => {
    const absent = join(folder.path, "absent");
    const cases: readonly (readonly [Partial<Parameters<typeof startServer>[0]>, RegExp])[] = [
      [{ tlsCert: absent }, /^--tls-cert .*absent: the file cannot be read \(ENOENT\)\. Check/],
      [{ tlsKey: absent }, /^--tls-key .*absent: the file cannot be read \(ENOENT\)/],
      [{ tlsClientCa: absent }, /^--tls-client-ca .*absent: the file cannot be read \(ENOENT\)/],
      [{ tlsCert: folder.path }, /^--tls-cert .*: the file cannot be read \(EISDIR\)/],
      [{ tlsCert: empty }, /^--tls-cert .*empty: this is no certificate in PEM form/],
      [{ tlsCert: half }, /^--tls-cert .*half: this is no certificate in PEM form .*or not all of it/],
      [{ tlsCert: keyFile("server") }, /^--tls-cert .*: this is no certificate in PEM form/],
      [{ tlsKey: certFile("server") }, /^--tls-key .*: this is no private key in PEM form/],
      [{ tlsKey: locked }, /^--tls-key .*locked: this is no private key .*without a passphrase/],
      [
        { tlsKey: keyFile("client") },
        /^--tls-key .*: this key does not fit the certificate in .*server\.pem/,
      ],
      [{ tlsClientCa: empty }, /^--tls-client-ca .*empty: this is no certificate/],
    ];
    for (const [files, message] of cases)
      await expect(startServer({ ...TLS, ...files }), String(message)).rejects.toThrow(message);
  });

  test("[A6k] go together: a certificate and its key, and a clients' CA with both", async () => {
    for (const [files, message] of [
      [{ tlsCert: TLS.tlsCert }, /^--tls-cert needs --tls-key/],
      [{ tlsKey: TLS.tlsKey }, /^--tls-key needs --tls-cert/],
      [{ tlsClientCa: certFile("ca") }, /^--tls-client-ca needs --tls-cert and --tls-key/],
    ] as const)
      await expect(startServer(files)).rejects.toThrow(message);
  });
});

describe("files that change", () => {
  let folder: SecretFolder;
  let watch: TlsWatch;
  let book: ReturnType<typeof logbook>;
  let parts: Awaited<ReturnType<typeof startParts>>;
  let nowMs = Date.now();

  async function start(clientCa: Name | null = null): Promise<void> {
    folder = new SecretFolder("server");
    book = logbook();
    nowMs = Date.now();
    if (clientCa !== null) copyFileSync(certFile(clientCa), clientCaFile());
    const files = { cert: folder.cert, key: folder.key, clientCa: clientCa === null ? null : clientCaFile() };
    watch = await TlsWatch.open(files, { log: book.log, wallMs: () => nowMs });
    parts = await startParts({ store: openMemoryStore(), tls: watch });
  }

  const clientCaFile = () => join(folder.path, "clients.pem");

  afterEach(async () => {
    watch.stop();
    await parts.close();
    folder.remove();
  });

  test("[A6l] are in use for new connections, and an open one keeps its lock", async () => {
    await start();
    const native = await NativeClient.welcome(parts);
    const token = await native.acquire("kept");
    expect(await shownBy(parts)).toBe("localhost");
    folder.put("server-new");
    await watch.look();
    await watch.look();
    expect(await shownBy(parts)).toBe("localhost new");
    expect(book.lines).toMatchObject([{ level: "info", text: "new TLS files are in use" }]);
    expect(await native.inspect("kept")).toMatchObject({ holders: [{ token }] });
    await native.release(token);
    native.close();
  });

  test("[A6m] and are bad leave the old in use, say so once, and are looked at again at the next change", async () => {
    await start();
    const bad: readonly (() => void)[] = [
      () => folder.put("server-new", "server"),
      () => folder.putFiles(keyFile("server"), keyFile("server")),
      () => folder.putFiles(certFile("server-new"), certFile("server-new")),
    ];
    for (const [at, change] of bad.entries()) {
      change();
      for (let look = 0; look < 4; look++) await watch.look();
      expect(await shownBy(parts)).toBe("localhost");
      expect(book.lines.length).toBe(at + 1);
      expect(book.lines[at]).toMatchObject({
        level: "error",
        text: "the new TLS files cannot be used: the old certificate stays",
        facts: { reason: expect.stringMatching(/^--tls-(cert|key) /) },
      });
    }
    folder.put("server-new");
    for (let look = 0; look < 2; look++) await watch.look();
    expect(await shownBy(parts)).toBe("localhost new");
  });

  test("[A6n] one after the other are read as a pair, when they have stayed the same from look to look", async () => {
    await start();
    const [cert, key] = [join(folder.path, "plain.crt"), join(folder.path, "plain.key")];
    copyFileSync(certFile("server"), cert);
    copyFileSync(keyFile("server"), key);
    const lines = logbook();
    const plain = await TlsWatch.open({ cert, key, clientCa: null }, { log: lines.log, wallMs: () => nowMs });
    const taken: string[] = [];
    plain.serve({ setSecureContext: ({ cert: text }) => void taken.push(text) });
    await plain.look();
    copyFileSync(certFile("server-new"), cert);
    await plain.look();
    copyFileSync(keyFile("server-new"), key);
    await plain.look();
    expect(taken).toEqual([]);
    await plain.look();
    expect(taken).toEqual([readFileSync(certFile("server-new"), "utf8")]);
    await plain.look();
    expect(taken.length).toBe(1);
    expect(lines.lines.map(({ level }) => level)).toEqual(["info"]);
  });

  test("[A6o] a CA of clients that is taken away is gone for all new connections, resumed ones too", async () => {
    await start("ca");
    const ticket = new Promise<Buffer>((resolve, reject) => {
      void shake(parts, showing("client")).then((socket) => {
        socket.once("session", (session) => {
          resolve(session);
          socket.destroy();
        });
        socket.write(requestBytes({ method: "GET", path: "/livez", key: null }));
      }, reject);
    });
    const session = await ticket;
    const resumed = await shake(parts, { ...showing("client"), session });
    expect(resumed.isSessionReused()).toBe(true);
    resumed.destroy();
    copyFileSync(certFile("other-ca"), clientCaFile());
    for (let look = 0; look < 2; look++) await watch.look();
    expect(await asked(parts, { ...showing("client"), session })).toBeNull();
    expect(await asked(parts, showing("stranger"))).toBe(200);
  });

  test("[A6p] are found by a server that runs, without a signal", async () => {
    await start();
    const server = await startServer({ tlsCert: folder.cert, tlsKey: folder.key });
    folder.put("server-new");
    while ((await shownBy(server)) !== "localhost new");
    await server.close();
  });

  test("[A6q] that are gone for a moment leave the old in use", async () => {
    await start();
    const gone = await TlsWatch.open(
      { cert: folder.cert, key: folder.key, clientCa: null },
      { log: book.log, wallMs: () => nowMs },
    );
    folder.putFiles(certFile("server"), keyFile("server"));
    folder.remove();
    for (let look = 0; look < 3; look++) await gone.look();
    expect(book.lines).toMatchObject([
      { level: "error", facts: { reason: expect.stringContaining("ENOENT") } },
    ]);
    expect(await shownBy(parts)).toBe("localhost");
    folder = new SecretFolder("server");
  });

  test("[A6r] and end soon are told of at the start, once a day, and when they have ended", async () => {
    await start();
    const { endsAtMs } = await readTls({ cert: folder.cert, key: folder.key, clientCa: null });
    const warnings = () => book.lines.map(({ level, text, facts }) => [level, text, facts.days]);
    const at = async (ms: number) => {
      nowMs = ms;
      await watch.look();
    };
    watch.start();
    expect(warnings()).toEqual([]);
    await at(endsAtMs - 14 * DAY_MS - 1);
    expect(warnings()).toEqual([]);
    await at(endsAtMs - 14 * DAY_MS);
    await at(endsAtMs - 13 * DAY_MS - 1);
    expect(warnings()).toEqual([["warn", "the TLS certificate ends soon", 14]]);
    await at(endsAtMs - 13 * DAY_MS);
    await at(endsAtMs - 13 * DAY_MS + 1);
    expect(warnings().slice(1)).toEqual([["warn", "the TLS certificate ends soon", 13]]);
    await at(endsAtMs);
    expect(warnings().at(-1)).toEqual([
      "warn",
      "the TLS certificate has ended: clients refuse it",
      undefined,
    ]);
    // A server that is started then says so at once.
    const second = await TlsWatch.open(
      { cert: folder.cert, key: folder.key, clientCa: null },
      { log: book.log, wallMs: () => endsAtMs - DAY_MS },
    );
    second.start();
    second.stop();
    expect(warnings().at(-1)).toEqual(["warn", "the TLS certificate ends soon", 1]);
  });
});
