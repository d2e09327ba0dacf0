import { AsyncLocalStorage } from "node:async_hooks";
import { randomBytes } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { hostname } from "node:os";
import WebSocket from "ws";
import { type ErrorCode, isErrorCode, SUBPROTOCOL, WIRE_LIMITS } from "../protocol/index.js";
import type { Connect, Runtime, Socket, SocketClosed, SocketHandlers } from "./runtime.js";
import { type SecureOptions, secureOptions, troubleText } from "./secure.js";
import { longTimer } from "./timer.js";

const HANDSHAKE_MS = 5_000;
/** How long a server has to answer a close. Its time keeps the process alive. */
const CLOSING_MS = 1_000;
/** Answers such as a long list may be larger than what a client may send. */
const FRAME_BYTES_MAX = 16 * WIRE_LIMITS.frameBytesMax;
const REFUSAL_BYTES_MAX = 64 * 1_024;

/** One for the process, though it may have loaded this package twice: as a module, and by `require`. */
const CONTEXT = Symbol.for("lockdb.context");
const shared = globalThis as { [CONTEXT]?: AsyncLocalStorage<unknown> };
shared[CONTEXT] ??= new AsyncLocalStorage();
const context = shared[CONTEXT];

/** Node.js, and what imitates it: Bun and Deno. */
export const runtime: Runtime = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  setTimer: (callback, ms, keepsAlive) => aside(() => longTimer(callback, ms, keepsAlive)),
  defer: (callback) => aside(() => void setImmediate(callback)),
  soon: (callback) => aside(() => process.nextTick(callback)),
  randomId: () => randomBytes(16).toString("base64url"),
  random: () => Math.random(),
  env: (name) => process.env[name],
  ownerDefault: () => `${hostname()}:${process.pid}`,
  context: { current: () => context.getStore(), run: (value, fn) => context.run(value, fn) },
  connect: connector({}),
  secured: (tls) => ({ ...runtime, connect: connector(secureOptions(tls)) }),
};

function connector(tls: SecureOptions): Connect {
  return (url, apiKey, handlers) => aside(() => connect(url, apiKey, handlers, tls));
}

/** What comes of it later, for all who use a client, is no part of the work that happened to start it. */
function aside<T>(start: () => T): T {
  // Before the first `run` nothing goes along, and every promise of the process costs less.
  return context.getStore() === undefined ? start() : context.run(undefined, start);
}

function connect(url: string, apiKey: string, handlers: SocketHandlers, tls: SecureOptions): Socket {
  // The types of ws do not know closeTimeout yet.
  const options: WebSocket.ClientOptions & { closeTimeout: number } = {
    ...tls,
    headers: { authorization: `Bearer ${apiKey}` },
    perMessageDeflate: false,
    handshakeTimeout: HANDSHAKE_MS,
    closeTimeout: CLOSING_MS,
    maxPayload: FRAME_BYTES_MAX,
    // While it connects, too, it must not keep a process alive that waits for nothing.
    finishRequest: (request) => {
      request.on("socket", (connecting) => {
        raw = connecting;
        if (!keepsAlive) raw.unref();
      });
      request.end();
    },
  };
  let raw: IncomingMessage["socket"] | null = null;
  let keepsAlive = true;
  const socket = new WebSocket(url, SUBPROTOCOL, options);
  let failure: SocketClosed | null = null;
  let isClosed = false;
  const closed = (reason: SocketClosed) => {
    if (isClosed) return;
    isClosed = true;
    handlers.close(failure ?? reason);
  };
  // Where `finishRequest` is not known, as in Bun, the socket shows up here.
  socket.on("upgrade", (response) => {
    raw = response.socket;
    if (!keepsAlive) raw.unref();
  });
  socket.on("open", () => handlers.open());
  socket.on("message", (data) => handlers.message((data as Buffer).toString("utf8")));
  socket.on("error", (error) => {
    failure ??= { message: troubleText(error, url) };
  });
  socket.on("close", (code, reason) => closed({ message: `closed with ${code} ${reason} (${url})` }));
  socket.on("unexpected-response", (request, response) => {
    let body = "";
    response.setEncoding("utf8");
    response.on("data", (chunk: string) => {
      body += chunk;
      if (body.length > REFUSAL_BYTES_MAX) request.destroy();
    });
    // With this listener on, ws leaves the request to us, and no 'close' comes.
    response.once("close", () => {
      request.destroy();
      closed({ message: `HTTP ${response.statusCode} (${url})`, ...refusalIn(body) });
    });
  });
  return {
    send: (text) => {
      if (socket.readyState !== WebSocket.OPEN) return;
      // From bytes, ws makes one piece to write; from a text two, at twice the cost. Bun has a ws of its own.
      if (IS_BUN) socket.send(text);
      else socket.send(Buffer.from(text), TEXT);
    },
    close: () => (socket.readyState === WebSocket.OPEN ? socket.close() : socket.terminate()),
    keepAlive: (on) => {
      keepsAlive = on;
      if (on) raw?.ref();
      else raw?.unref();
    },
  };
}

const TEXT = { binary: false };
const IS_BUN = process.versions.bun !== undefined;

/** Code and message of a typed refusal, when the body is one. */
function refusalIn(body: string): { message?: string; code?: ErrorCode } {
  try {
    const { code, message } = JSON.parse(body).error;
    return { ...(isErrorCode(code) ? { code } : {}), message: String(message) };
  } catch {
    return {};
  }
}
