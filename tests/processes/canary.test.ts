import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { KEY_SUBPROTOCOL, SUBPROTOCOL } from "lockdb/protocol";
import { afterAll, expect, test } from "vitest";
import { WebSocket } from "ws";
import { CANARY_SECRET, secretOf, secretsIn } from "../../packages/server/test/canary.js";
import { Processes, ROOT_KEY, type ServerProcess, until } from "./processes.js";

/** Nobody waits longer for what does not end by itself, such as a stream. */
const PATIENCE_MS = 1_000;
const SERVICE = "aviary";
/** What fills the store: characters of metadata, and requests at a time. */
const FILLING = 900;
const FILLED_AT_ONCE = 40;

const processes = new Processes();
afterAll(() => processes.end());

/**
 * What is promised (A1): a key that is shown where keys belong, or where they do not, such as in a URL's query, a path, another header, a
 * field that nobody reads, is in no answer, no log, no error, no file. It stands once in the answer that makes it.
 *
 * What is not: a key that a client uses as the name of something, of a lock, a service, an owner, a key, as metadata or as a reason, is
 * that name from then on: the server keeps it and says it to whoever may ask, and names a field that it does not know to the one who
 * sent it. But it is not logged: no log has a path, a name or a body.
 */
test("[A1pa] no key is in any answer, log, error, file or entry of the audit log, whatever is done with it", {
  timeout: 120_000,
}, async () => {
  const server = await processes.server({ flags: ["--log-level", "debug", "--signup"] });
  const first = server.child;
  const walk = new Walk(server);
  const made = await walk.makes("/v1/keys", { scopes: ["lock", "read", "force", "admin"] });
  await walk.makes(`/v1/keys/${made.id}/rotate`, {});
  await walk.makes("/v1/accounts", { email: "canary@example.com" });
  await walk.makes("/v1/signup", { email: "canary@example.com" });
  const document = await documentOf(server);
  const operations = await walk.operations(document, [ROOT_KEY, made.apiKey]);
  await walk.wrongPlaces(document, [ROOT_KEY, made.apiKey]);
  await walk.native([ROOT_KEY, made.apiKey]);
  // Known from here on is only that this one is not logged.
  const named = await walk.makes("/v1/keys", { scopes: ["lock", "read"] });
  walk.forgets(named.apiKey);
  await walk.names(named.apiKey);

  await walk.audit();
  const failed = await storeFailure(walk, server);
  await server.child.kill("SIGKILL");
  await server.restart();
  await walk.operations(document, [made.apiKey]);
  await walk.audit();
  await server.child.kill("SIGTERM");

  const outputs = [first, server.child].flatMap(({ stdout, stderr }) => [stdout, stderr]);
  const files = bytesOf(server.dataDir);
  console.info(
    `[A1pa] ${operations} operations of the document; ${walk.answers.length} answers and ${walk.messages.length} native messages, ` +
      `${Buffer.concat(files).length} bytes of files, ${outputs.join("").length} characters of output, ` +
      `${walk.secrets.size} keys looked for; the store ${failed ? "failed and came back" : "could not be made to fail here"}`,
  );
  expect(operations).toBeGreaterThan(30);
  expect(walk.statuses).toEqual(expect.arrayContaining([200, 201, 400, 401, 404, 405]));
  expect(walk.statuses).not.toContain(500);
  for (const { asked, text } of walk.answers) expect(secretsIn(text, walk.secrets), asked).toEqual([]);
  for (const message of walk.messages) expect(secretsIn(message, walk.secrets)).toEqual([]);
  for (const file of files) expect(secretsIn(file, walk.secrets)).toEqual([]);
  for (const output of outputs) {
    expect(secretsIn(output, [...walk.secrets, secretOf(named.apiKey)])).toEqual([]);
    // No log has a path as it was sent: only which route it was.
    expect(output.toString().replaceAll(/"route":"[^"]*"/g, "")).not.toContain("/v1/");
  }
  // What would be found is there: the search itself works.
  expect(secretsIn(Buffer.concat(files), [secretOf(named.apiKey)])).toHaveLength(1);
  // What makes a key shows it once.
  for (const { apiKey, text } of walk.shown) expect(text.split(secretOf(apiKey)).length).toBe(2);
});

// biome-ignore lint/suspicious/noExplicitAny: the document is looked at as somebody else would.
type Json = any;

interface Asked {
  readonly method?: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

interface Shown {
  readonly id: string;
  readonly apiKey: string;
  readonly text: string;
}

/** Somebody who tries everything, and writes down all that is said to him. */
class Walk {
  readonly answers: { readonly asked: string; readonly text: string }[] = [];
  readonly messages: string[] = [];
  readonly shown: Shown[] = [];
  /** What nobody may see again. */
  readonly secrets = new Set([CANARY_SECRET]);
  readonly #server: ServerProcess;

  constructor(server: ServerProcess) {
    this.#server = server;
  }

  get statuses(): readonly number[] {
    return this.answers.map(({ text }) => statusIn(text));
  }

  /** Makes a key, or another secret of one: the one answer that has it. */
  async makes(path: string, body: object): Promise<Shown> {
    const asked = { method: "POST", path, headers: bearer(ROOT_KEY), body: JSON.stringify(body) };
    const text = await exchange(this.#server, requestOf(asked));
    const { apiKey, key } = JSON.parse(text.slice(text.indexOf("{"), text.lastIndexOf("}") + 1));
    this.secrets.add(secretOf(apiKey));
    const shown = { id: key?.id, apiKey, text };
    this.shown.push(shown);
    return shown;
  }

  forgets(apiKey: string): void {
    this.secrets.delete(secretOf(apiKey));
  }

  async say(asked: Asked): Promise<void> {
    return this.#bytes(requestOf(asked), `${asked.method} ${asked.path}`);
  }

  async #bytes(bytes: string, asked: string): Promise<void> {
    const text = await exchange(this.#server, bytes);
    // A key that one of the document's examples makes.
    const made = /"apiKey":"(ldb_\w+)"/.exec(text)?.[1];
    if (made !== undefined && statusIn(text) < 300) return void this.secrets.add(secretOf(made));
    this.answers.push({ asked, text });
  }

  /** Every operation, with each of its examples and with what is no good. @returns how many there are */
  async operations(document: Json, keys: readonly string[]): Promise<number> {
    const all = operationsOf(document);
    for (const { method, path, bodies } of all) {
      const wrong = ["{", '{"apiKey":1}', "\u0000", `{"names":"x","leaseMs":-1}`];
      for (const key of keys) {
        for (const body of [...bodies, ...(bodies[0] === undefined ? [undefined] : wrong)])
          await this.say({ method, path, headers: bearer(key), ...(body === undefined ? {} : { body }) });
      }
      await this.say({ method: "PROPFIND", path, headers: bearer(keys[0]!) });
    }
    return all.length;
  }

  /** The key where no key belongs, and where nothing is named by it. */
  async wrongPlaces(document: Json, keys: readonly string[]): Promise<void> {
    // At once: some of it has no end, and is waited for.
    const all: Promise<void>[] = [];
    const say = (asked: Asked) => void all.push(this.say(asked));
    for (const key of keys) {
      const form = encodeURIComponent(key);
      const base64 = Buffer.from(key).toString("base64");
      const forms = [
        { authorization: key },
        { authorization: `Basic ${Buffer.from(`root:${key}`).toString("base64")}` },
        { authorization: `Bearer ${key}x` },
        { authorization: `Bearer ${key.slice(0, -1)}` },
        { authorization: `Bearer ${base64}` },
        { authorization: `Bearer ${key} ${key}` },
        { authorization: `Bearer: ${key}` },
        { authorization: `Token ${key}` },
        { "x-api-key": key, cookie: `apiKey=${key}` },
        { ...bearer(key), "last-event-id": key },
        { ...bearer(key), expect: key },
        { ...bearer(key), "transfer-encoding": key },
        { ...bearer(key), "content-type": key, accept: key, referer: `http://x/?${key}` },
      ];
      const paths = [
        `/v1/services/${SERVICE}/locks?key=${form}`,
        `/v1/services/${SERVICE}/events?key=${form}`,
        `/v1/services/${SERVICE}/events?since=${form}`,
        `/v1/services/${SERVICE}/locks?next=${form}`,
        `/v1/keys?account=${form}`,
        `/v1/keys/${form}`,
        `/v1/accounts/${form}`,
        `/v1/services/${SERVICE}/sessions/${form}`,
        `/v1/webhooks/deliveries/${form}/retry`,
        `/v1/audit?after=${form}`,
        `/v1/connect?key=${form}`,
        `/${form}`,
        `/v1/${form}`,
        `/%zz${key}`,
        `/lock?apiKey=${form}`,
        `/docs?key=${form}`,
        `/${form}/lock`,
      ];
      for (const headers of forms) {
        for (const [method, path] of [
          ["GET", "/v1/self"],
          ["POST", "/lock"],
          ["GET", `/v1/services/${SERVICE}/events`],
          ["GET", `/${SERVICE}`],
        ] as const)
          say({ method, path, headers });
      }
      for (const path of paths) {
        for (const method of ["GET", "POST", "DELETE"]) {
          say({ method, path, headers: {} });
          say({
            method,
            path,
            headers: bearer(key),
            ...(method === "POST" ? { body: "{}" } : {}),
          });
        }
      }
      for (const { method, path, bodies } of operationsOf(document)) {
        for (const body of bodies.slice(0, 1)) {
          // As the value of a field that nobody knows, and instead of all.
          const more = { ...JSON.parse(body), apiKey: key, authorization: `Bearer ${key}` };
          say({ method, path, headers: bearer(key), body: JSON.stringify(more) });
          say({ method, path, headers: bearer(key), body: JSON.stringify(key) });
          say({ method, path, headers: bearer(key), body: `{"apiKey": ${key}` });
          say({ method, path, headers: {}, body: key });
        }
      }
      // What is no HTTP.
      for (const bytes of [
        `${key}\r\n\r\n`,
        `GET / HTTP/9.9\r\nauthorization: Bearer ${key}\r\n\r\n`,
        `GET /v1/self HTTP/1.1\r\nhost: x\r\nauthorization Bearer ${key}\r\n\r\n`,
        `GET /v1/self HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${key}\r\ncontent-length: ${key}\r\n\r\n`,
        `GET /v1/self HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${key}\u0000\r\n\r\n`,
        `GET /v1/self HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${key}\r\nx: ${"y".repeat(100_000)}\r\n\r\n`,
      ])
        all.push(this.#bytes(bytes, "what is no HTTP"));
      const upgrade = { connection: "upgrade", upgrade: "websocket" };
      const proper = { "sec-websocket-version": "13", "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==" };
      for (const headers of [
        { ...bearer(key), ...upgrade },
        { ...bearer(key), ...upgrade, "sec-websocket-version": key, "sec-websocket-key": key },
        { ...bearer(key), ...upgrade, ...proper, "sec-websocket-protocol": key },
        { ...upgrade, ...proper, "sec-websocket-protocol": `${KEY_SUBPROTOCOL}${key}` },
        {
          ...upgrade,
          ...proper,
          "sec-websocket-protocol": `${KEY_SUBPROTOCOL}${Buffer.from(key).toString("base64url")}`,
        },
        { ...bearer(key), ...upgrade, ...proper, "sec-websocket-protocol": `${SUBPROTOCOL}, ${key}` },
        {
          ...bearer(key),
          ...upgrade,
          ...proper,
          "sec-websocket-protocol": `${SUBPROTOCOL}, ${KEY_SUBPROTOCOL}${key}`,
        },
      ])
        say({ method: "GET", path: "/v1/connect", headers });
    }
    await Promise.all(all);
  }

  /** Native messages, good and bad. */
  async native(keys: readonly string[]): Promise<void> {
    const hello = (at: number, more: object = {}) => [
      "hello",
      {
        service: SERVICE,
        client: `c${at}`,
        session: `s${at}`,
        connection: 1,
        resume: false,
        leaseMs: 5_000,
        owner: "o",
        ...more,
      },
    ];
    for (const [at, key] of keys.entries()) {
      const shown = { authorization: `Bearer ${key}` };
      const offered = `${KEY_SUBPROTOCOL}${Buffer.from(key).toString("base64url")}`;
      const good = [
        [0, hello(at), ["sync"]],
        [
          0,
          ["acquire", 1, `lock/${at}`, 0],
          ["acquire", 2, ["a", "b"], 10],
          ["check", 3, "a", 0],
          ["inspect", 4, "a"],
          ["list", 5, {}],
        ],
        [0, ["watch", 6, {}], ["unlock", 7, "a"], ["force", 8, "a", 1, "because"], ["heartbeat", 9]],
      ].map((frame) => JSON.stringify(frame));
      const bad = [
        key,
        `"${key}"`,
        `[0,["hello",{"apiKey":"${key}"}]]`,
        JSON.stringify([0, hello(at, { apiKey: key })]),
        JSON.stringify([key]),
        JSON.stringify([0, ["authorization", key]]),
        JSON.stringify([
          0,
          hello(at + 10),
          ["sync"],
          ["acquire", 1, { apiKey: key }],
          ["acquire", key, "a"],
          ["force", 2, "a", 1, { key }],
        ]),
      ];
      await Promise.all([
        this.#frames(shown, [SUBPROTOCOL], good),
        this.#frames({}, [SUBPROTOCOL, offered], good),
        ...[...bad, Buffer.from(key)].map((frame) => this.#frames(shown, [SUBPROTOCOL], [frame])),
      ]);
    }
  }

  #frames(
    headers: Record<string, string>,
    protocols: string[],
    frames: readonly (string | Buffer)[],
  ): Promise<void> {
    return new Promise((resolve) => {
      const url = `${this.#server.url.replace("http", "ws")}/v1/connect`;
      const socket = new WebSocket(url, protocols, { headers, perMessageDeflate: false });
      const timer = setTimeout(() => socket.terminate(), PATIENCE_MS / 3);
      socket.on("upgrade", ({ headers }) => this.messages.push(JSON.stringify(headers)));
      socket.on("open", () => {
        for (const frame of frames) socket.send(frame);
      });
      socket.on("message", (data) => this.messages.push(String(data)));
      socket.on("error", (error) => this.messages.push(error.message));
      socket.on("close", (code, reason) => {
        clearTimeout(timer);
        this.messages.push(`${code} ${reason}`);
        resolve();
      });
    });
  }

  /** What a client calls by a key is its own doing; it is still no matter of logs. Its answers are not looked at. */
  async names(key: string): Promise<void> {
    const form = encodeURIComponent(key);
    const headers = bearer(key);
    const say = (asked: Asked) => exchange(this.#server, requestOf({ headers, ...asked }));
    const body = { names: key, owner: key, metadata: { key }, requestId: "an-id-of-its-own" };
    await say({ method: "POST", path: `/v1/services/${SERVICE}/acquire`, body: JSON.stringify(body) });
    await say({
      method: "POST",
      path: "/lock",
      body: JSON.stringify({ serviceId: SERVICE, lockName: `l${key}` }),
    });
    await say({ method: "GET", path: `/v1/services/${SERVICE}/locks/${form}` });
    await say({ method: "GET", path: `/v1/services/${form}/locks` });
    await say({ method: "GET", path: `/v1/services/${SERVICE}/locks?${form}=1` });
    await say({
      method: "POST",
      path: `/v1/services/${SERVICE}/acquire`,
      body: JSON.stringify({ [key]: 1 }),
    });
    await exchange(
      this.#server,
      requestOf({
        method: "POST",
        path: "/v1/keys",
        headers: bearer(ROOT_KEY),
        body: JSON.stringify({ name: key, scopes: ["read"] }),
      }),
    );
  }

  /** The audit log, whole. */
  async audit(): Promise<void> {
    for (let after = ""; ; ) {
      const path = `/v1/audit?limit=1000${after}`;
      const text = await exchange(
        this.#server,
        requestOf({ method: "GET", path, headers: bearer(ROOT_KEY) }),
      );
      expect(statusIn(text)).toBe(200);
      this.answers.push({ asked: path, text });
      const next = /"next":"([^"]+)"/.exec(text)?.[1];
      if (next === undefined) return;
      after = `&after=${encodeURIComponent(next)}`;
    }
  }
}

/** Lets the server's file grow no more, and asks for more and more, until its store has failed. @returns false where that cannot be done */
async function storeFailure(walk: Walk, { child, dataDir, url }: ServerProcess): Promise<boolean> {
  const limit = (bytes: string | number) =>
    execFileSync("prlimit", ["--pid", String(child.pid), `--fsize=${bytes}:`], { stdio: "pipe" });
  try {
    limit(statSync(join(dataDir, "store.mdb")).size);
  } catch {
    console.warn("[A1pa] prlimit is not there: the store is not made to fail");
    return false;
  }
  const headers = bearer(ROOT_KEY);
  const metadata = { filling: "x".repeat(FILLING) };
  for (let at = 0; !walk.statuses.slice(-FILLED_AT_ONCE).includes(503); at++) {
    expect(at).toBeLessThan(100);
    const fill = (of: number) => {
      const body = JSON.stringify({ names: `filling/${at}/${of}`, metadata });
      return walk.say({ method: "POST", path: `/v1/services/${SERVICE}/acquire`, headers, body });
    };
    await Promise.all(Array.from({ length: FILLED_AT_ONCE }, (_, of) => fill(of)));
  }
  await walk.say({ method: "POST", path: "/v1/keys", headers, body: '{"scopes":["read"]}' });
  await walk.say({
    method: "POST",
    path: "/lock",
    headers,
    body: `{"serviceId":"${SERVICE}","lockName":"f"}`,
  });
  await walk.say({ method: "POST", path: "/v1/signup", body: '{"email":"canary@example.com"}' });
  limit("unlimited");
  await until("the store works again", async () => (await fetch(`${url}/readyz`)).status === 200);
  return true;
}

function bearer(key: string): Record<string, string> {
  return { authorization: `Bearer ${key}` };
}

function requestOf({ method = "GET", path, headers = {}, body }: Asked): string {
  const lines = Object.entries({ host: "x", connection: "close", ...headers }).map(
    ([name, value]) => `${name}: ${value}\r\n`,
  );
  const length = body === undefined ? "" : `content-length: ${Buffer.byteLength(body)}\r\n`;
  return `${method} ${path} HTTP/1.1\r\n${lines.join("")}${length}\r\n${body ?? ""}`;
}

/** All that comes back, until the end of the connection, or until nothing more is to be waited for. */
function exchange({ port }: ServerProcess, bytes: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port, noDelay: true });
    let text = "";
    const timer = setTimeout(() => socket.destroy(), PATIENCE_MS);
    socket.once("connect", () => socket.write(bytes));
    socket.setEncoding("latin1").on("data", (chunk) => {
      text += chunk;
      if (text.includes("event: start") || statusIn(text) === 101) socket.destroy();
    });
    socket.on("error", () => {});
    socket.once("close", () => {
      clearTimeout(timer);
      resolve(text);
    });
  });
}

function statusIn(text: string): number {
  return Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0);
}

async function documentOf({ url }: ServerProcess): Promise<Json> {
  return (await fetch(`${url}/openapi.json`)).json();
}

/** All operations of the document, with something in place of their parameters, and the bodies of their examples. */
function operationsOf(document: Json) {
  return Object.entries<Json>(document.paths).flatMap(([template, operations]) => {
    const path = template
      .replace("{service}", SERVICE)
      .replace("{name}", "lock%2F1")
      .replace("{account}", "default")
      .replace(/\{\w+\}/g, "unknown000");
    return Object.entries<Json>(operations).map(([method, { requestBody }]) => {
      const [content] = Object.values<Json>(requestBody?.content ?? {});
      const examples = Object.values<Json>(content?.examples ?? {});
      const bodies = examples.map(({ value }) => JSON.stringify({ ...value, ...quick(value) }));
      return { method: method.toUpperCase(), path, bodies };
    });
  });
}

/** No example waits for long. */
function quick(body: Json): object {
  return {
    ...("waitMs" in body ? { waitMs: 1 } : {}),
    ...("waitForLockInMs" in body ? { waitForLockInMs: 1 } : {}),
  };
}

function bytesOf(folder: string): Buffer[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name)));
}
