import { connect, type Socket } from "node:net";
import { type ConnectionOptions as TlsOptions, connect as tlsConnect } from "node:tls";
import { ERRORS, type Hello, type LockInfo, type ServerMessage } from "lockdb/protocol";
import { type Logger, pino } from "pino";
import { expect } from "vitest";
import { WebSocket } from "ws";
import { Access } from "../../src/access/index.js";
import { httpServer } from "../../src/http/app.js";
import type { HttpCluster } from "../../src/http/cluster.js";
import type { TlsWatch } from "../../src/http/tls.js";
import { OPTIONS, type ServeOptions, type Server, serve } from "../../src/index.js";
import {
  busyPolling,
  Loop,
  type LoopRuntime,
  measured,
  nodeRuntime,
  type Placement,
  ServerTotals,
} from "../../src/loop/index.js";
import type { Store } from "../../src/store/index.js";
import type { Webhooks } from "../../src/webhooks/index.js";
import { CANARY_KEY } from "../canary.js";
import { CA } from "../tls/files.js";

/** Longest wait for something that has to happen: a test that meets it has failed. */
export const PATIENCE_MS = 8_000;

export const SERVICE = "reports";

/** What the helpers below need to know of a server. */
export type Target = Pick<Server, "url" | "rootKey">;

/** A server as a user has it, in memory and silent. */
export function startServer(options: Partial<ServeOptions> = {}): Promise<Server> {
  return serve({ port: 0, store: "memory", logLevel: "silent", rootKey: CANARY_KEY, ...options });
}

export interface PartsOptions {
  readonly store: Store;
  /** For a store that is another one after a failure. */
  readonly openStore?: () => Promise<Store>;
  readonly limits?: Partial<ServeOptions>;
  /** How many times faster than real the server's clock and timers run. */
  readonly speed?: number;
  readonly webhooks?: Webhooks;
  readonly tls?: TlsWatch;
  readonly trustedProxies?: string;
  readonly allowOrigins?: string;
  readonly logger?: Logger;
  /** The time of day, for ends of keys and trials. */
  readonly wallMs?: () => number;
  /** In place of the machine's, for what is counted by the second. */
  readonly monotonicMs?: () => number;
  readonly signup?: boolean;
  readonly cluster?: HttpCluster;
  readonly placement?: Placement;
}

/** The same server, put together by hand on a store of the test's own. */
export async function startParts({
  store,
  openStore = async () => store,
  limits = {},
  speed = 1,
  webhooks,
  tls,
  trustedProxies = "",
  allowOrigins = "",
  logger = pino({ level: "silent" }),
  wallMs = nodeRuntime.wallMs,
  monotonicMs = nodeRuntime.monotonicMs,
  signup = false,
  cluster,
  placement,
}: PartsOptions) {
  const access = new Access({ runtime: { ...nodeRuntime, wallMs, monotonicMs }, accountsMax: 1_000 });
  const totals = new ServerTotals();
  const runtime: LoopRuntime = {
    ...nodeRuntime,
    wallMs,
    monotonicMs: () => monotonicMs() * speed,
    setTimer: (callback, ms) => nodeRuntime.setTimer(callback, ms / speed),
  };
  const loop = await Loop.start({
    openStore: async () => measured(await openStore(), totals, nodeRuntime.monotonicMs),
    totals,
    service: { waitersMax: 1_000, holdsMax: 1_000, sessionsMax: 1_000, writesSessionHolds: false, ...limits },
    servicesMax: limits.servicesMax ?? 1_000,
    runtime: busyPolling(runtime, OPTIONS.busyPoll.default / 1_000, totals),
    log: logger,
    keepers: [access],
    limitsOf: (account) => access.limitsOf(account),
    ...(webhooks === undefined ? {} : { outbox: webhooks }),
    ...(placement === undefined ? {} : { placement }),
  });
  const { rootKey } = await access.start(loop, CANARY_KEY);
  webhooks?.start(loop);
  const http = await httpServer({
    ...{ access, loop, logger, signup, tls, trustedProxies, allowOrigins, cluster },
    ...(webhooks === undefined ? {} : { webhooks }),
  });
  const address = await http.app.listen({ host: "127.0.0.1", port: 0 });
  const url = tls === undefined ? address : address.replace("http:", "https:");
  const close = async () => {
    await webhooks?.stop();
    await access.stop();
    await loop.stop().catch(() => {});
    await http.close();
  };
  return { url, rootKey: rootKey!, access, loop, close };
}

// --- HTTP ---

export interface HttpAnswer {
  readonly status: number;
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface RequestParts {
  readonly method?: string;
  readonly path: string;
  /** Null: no `Authorization` at all. */
  readonly key: string | null;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
}

/** False for an answer that the original client would take for what it asked for (C2). */
export function isRefusal(answer: HttpAnswer): boolean {
  if (answer.status === 401) return true;
  try {
    JSON.parse(answer.body);
    return false;
  } catch {
    return answer.status >= 400;
  }
}

/** A request as bytes, so that a test can also send what no HTTP library would. */
export function requestBytes({ method = "POST", path, key, headers = {}, body }: RequestParts): Buffer {
  const all: Record<string, string> = { host: "localhost", "content-type": "text/plain;charset=UTF-8" };
  if (key !== null) all.authorization = `Bearer ${key}`;
  const isChunked = "transfer-encoding" in headers;
  if (body !== undefined && !isChunked) all["content-length"] = String(Buffer.byteLength(body));
  const lines = Object.entries({ ...all, ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
  const head = `${method} ${path} HTTP/1.1\r\n${lines.join("")}\r\n`;
  return Buffer.concat([Buffer.from(head, "latin1"), Buffer.from(body ?? "")]);
}

/** One request on a connection of its own; null when the server closed it without an answer. */
export async function ask(server: Target, parts: Omit<RequestParts, "key"> & { key?: string | null }) {
  const connection = await HttpConnection.open(server);
  try {
    connection.write(requestBytes({ key: server.rootKey, ...parts }));
    return await connection.answer(parts.method === "HEAD");
  } finally {
    connection.socket.destroy();
  }
}

/** Body of a call of the original client's three routes. */
export function callBody(event: string, lockName: unknown, more: object = {}): string {
  return JSON.stringify({ serviceId: SERVICE, eventName: event, lockName, ...more });
}

export interface ConnectionOptions {
  /** A caller that does not close its side when the server does. */
  readonly allowHalfOpen?: boolean;
  /** A caller that does not read: what comes stays with its operating system until `socket.resume()`. */
  readonly isPaused?: boolean;
  /** How to speak TLS, where the address says so. */
  readonly tls?: TlsOptions;
}

/** A TCP connection that speaks HTTP as the test likes. */
export class HttpConnection {
  readonly socket: Socket;
  readonly closed: Promise<void>;
  #received = Buffer.alloc(0);
  #isClosed = false;
  readonly #wakers = new Set<() => void>();

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (bytes) => {
      this.#received = Buffer.concat([this.#received, bytes]);
      this.#wake();
    });
    socket.on("error", () => {});
    socket.on("end", () => this.#end());
    this.closed = new Promise((resolve) => socket.once("close", () => resolve(this.#end())));
  }

  static async open(
    { url }: { url: string },
    { allowHalfOpen = false, isPaused = false, tls = {} }: ConnectionOptions = {},
  ): Promise<HttpConnection> {
    const { hostname: host, port, protocol } = new URL(url);
    const isSecure = protocol === "https:";
    const options = { host, port: Number(port), allowHalfOpen, noDelay: true };
    const socket = isSecure ? tlsConnect({ ...options, ca: CA, ...tls }) : connect(options);
    if (isPaused) socket.pause();
    const opened = isSecure ? "secureConnect" : "connect";
    await new Promise((resolve, reject) => socket.once(opened, resolve).once("error", reject));
    return new HttpConnection(socket);
  }

  /** Bytes that came and are no complete answer yet. */
  get received(): Buffer {
    return this.#received;
  }

  write(bytes: string | Buffer): this {
    this.socket.write(bytes);
    return this;
  }

  /** The next answer, or null when the connection ended before one came. */
  async answer(isHead = false): Promise<HttpAnswer | null> {
    for (;;) {
      const parsed = parseAnswer(this.#received, this.#isClosed, isHead);
      if (parsed !== null) {
        this.#received = this.#received.subarray(parsed.length);
        return parsed.answer;
      }
      if (this.#isClosed) return null;
      await within(PATIENCE_MS, "an HTTP answer", new Promise<void>((resolve) => this.#wakers.add(resolve)));
    }
  }

  #end(): void {
    this.#isClosed = true;
    this.#wake();
  }

  #wake(): void {
    for (const waker of this.#wakers) waker();
    this.#wakers.clear();
  }
}

function parseAnswer(
  bytes: Buffer,
  isClosed: boolean,
  isHead: boolean,
): { answer: HttpAnswer; length: number } | null {
  const headEnd = bytes.indexOf("\r\n\r\n");
  if (headEnd === -1) return null;
  const [statusLine, ...lines] = bytes.toString("latin1", 0, headEnd).split("\r\n");
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(statusLine!)?.[1]);
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const colon = line.indexOf(":");
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
  }
  const start = headEnd + 4;
  const answer = (end: number, body: Buffer) => ({
    answer: { status, headers, body: body.toString() },
    length: end,
  });
  if (isHead || status < 200 || status === 204) return answer(start, Buffer.alloc(0));
  if (headers["transfer-encoding"] === "chunked") {
    const chunks = parseChunks(bytes, start);
    return chunks === null ? null : answer(chunks.end, chunks.body);
  }
  const given = headers["content-length"];
  if (given === undefined && !isClosed) return null;
  const end = given === undefined ? bytes.length : start + Number(given);
  return bytes.length < end ? null : answer(end, bytes.subarray(start, end));
}

function parseChunks(bytes: Buffer, start: number): { body: Buffer; end: number } | null {
  const chunks: Buffer[] = [];
  for (let at = start; ; ) {
    const lineEnd = bytes.indexOf("\r\n", at);
    if (lineEnd === -1) return null;
    const size = Number.parseInt(bytes.toString("latin1", at, lineEnd), 16);
    const next = lineEnd + 2 + size + 2;
    if (bytes.length < next) return null;
    chunks.push(bytes.subarray(lineEnd + 2, lineEnd + 2 + size));
    if (size === 0) return { body: Buffer.concat(chunks), end: next };
    at = next;
  }
}

// --- the native protocol ---

let idsMade = 0;

/** A hello that is right in all fields but those that are given. */
export function helloOf(fields: Partial<Record<keyof Hello, unknown>> = {}): ["hello", Hello] {
  const id = String(++idsMade).padStart(8, "0");
  const hello = { service: SERVICE, client: `c${id}`, session: `s${id}`, connection: 1, resume: false };
  return ["hello", { ...hello, leaseMs: 60_000, owner: `tester-${id}`, ...fields } as Hello];
}

export interface Closed {
  readonly code: number;
  readonly reason: string;
}

/** A native connection that sends whatever it is told to, right or wrong. */
export class NativeClient {
  readonly socket: WebSocket;
  readonly closed: Promise<Closed>;
  /** All that has come and nobody has taken. */
  readonly inbox: ServerMessage[] = [];
  received = 0;
  isClosed = false;
  #idLast = 0;
  readonly #wakers = new Set<() => void>();

  private constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on("message", (data) => {
      const messages = JSON.parse(String(data)) as ServerMessage[];
      this.received += messages.length;
      this.inbox.push(...messages);
      this.#wake();
    });
    socket.on("error", () => {});
    this.closed = new Promise((resolve) => {
      socket.once("close", (code, reason) => {
        this.isClosed = true;
        this.#wake();
        resolve({ code, reason: String(reason) });
      });
    });
  }

  /** Connected, and nothing said yet. */
  static async open({ url, rootKey }: Target): Promise<NativeClient> {
    const socket = new WebSocket(`${url.replace("http", "ws")}/v1/connect`, "lockdb.v1", {
      headers: { authorization: `Bearer ${rootKey}` },
      perMessageDeflate: false,
      ca: CA,
    });
    const client = new NativeClient(socket);
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    return client;
  }

  /** Connected, with a session of its own. */
  static async welcome(
    server: Target,
    fields: Partial<Record<keyof Hello, unknown>> = {},
  ): Promise<NativeClient> {
    const client = await NativeClient.open(server);
    client.send(helloOf(fields), ["sync"]);
    await client.next("welcome");
    return client;
  }

  /** One well-formed frame of messages, which need not be right. */
  send(...messages: unknown[]): void {
    this.sendRaw(JSON.stringify([this.received, ...messages]));
  }

  sendRaw(data: string | Buffer): void {
    this.socket.send(data);
  }

  /** The next message of a kind, taken out of the inbox. Fails when the connection closes first. */
  async next<K extends ServerMessage[0]>(
    kind: K,
    id?: number,
  ): Promise<Extract<ServerMessage, readonly [K, ...unknown[]]>> {
    const message = await this.take(
      (message) => message[0] === kind && (id === undefined || message[1] === id),
    );
    return message as Extract<ServerMessage, readonly [K, ...unknown[]]>;
  }

  async take(fits: (message: ServerMessage) => boolean): Promise<ServerMessage> {
    for (;;) {
      const at = this.inbox.findIndex(fits);
      if (at !== -1) return this.inbox.splice(at, 1)[0]!;
      if (this.isClosed) throw new Error("the connection closed before the message came");
      await within(PATIENCE_MS, "a message", new Promise<void>((resolve) => this.#wakers.add(resolve)));
    }
  }

  /** Sends one request under a new id, and gives its answer. */
  async request(kind: string, ...fields: unknown[]): Promise<ServerMessage> {
    const id = this.newId();
    this.send([kind, id, ...fields]);
    return this.take(
      ([kind, of]) => of === id && (kind === "granted" || kind === "done" || kind === "refused"),
    );
  }

  newId(): number {
    return ++this.#idLast;
  }

  /** Acquires and gives the token; fails when the lock is not free within the wait. */
  async acquire(name: string, waitMs: number | null = 0): Promise<number> {
    const answer = await this.request("acquire", name, waitMs);
    if (answer[0] !== "granted") throw new Error(`not granted: ${JSON.stringify(answer)}`);
    return answer[2];
  }

  async release(token: number): Promise<void> {
    await this.request("release", token);
  }

  async inspect(name: string): Promise<LockInfo> {
    const answer = await this.request("inspect", name);
    if (answer[0] !== "done") throw new Error(`not inspected: ${JSON.stringify(answer)}`);
    return answer[2] as LockInfo;
  }

  /** Resolves when an inspection of the lock looks as wished. Asks again at once, without sleeping. */
  async until(name: string, fits: (info: LockInfo) => boolean): Promise<LockInfo> {
    const startedAtMs = performance.now();
    for (;;) {
      const info = await this.inspect(name);
      if (fits(info)) return info;
      if (performance.now() - startedAtMs > PATIENCE_MS) throw new Error(`never so: ${JSON.stringify(info)}`);
    }
  }

  close(): void {
    this.socket.terminate();
  }

  #wake(): void {
    for (const waker of this.#wakers) waker();
    this.#wakers.clear();
  }
}

/** The shape of every error over HTTP that is JSON (E). */
export function errorShape(code: keyof typeof ERRORS) {
  const { retryable } = ERRORS[code];
  return { error: { code, message: expect.any(String), retryable, details: {} } };
}

export async function within<T>(ms: number, what: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
