import { KEY_SUBPROTOCOL, SUBPROTOCOL } from "../protocol/index.js";
import type { Runtime, Socket, SocketHandlers } from "./runtime.js";
import { longTimer } from "./timer.js";

/** What is used of a browser, written out: this package is compiled without the types of one. */
interface BrowserSocket {
  readonly readyState: number;
  onopen: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onerror: (() => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  send(text: string): void;
  close(): void;
}

interface Browser {
  readonly WebSocket: new (url: string, protocols: string[]) => BrowserSocket;
  readonly crypto: { getRandomValues(bytes: Uint8Array): Uint8Array };
  readonly MessageChannel: new () => {
    port1: { onmessage: (() => void) | null };
    port2: { postMessage(data: null): void };
  };
  btoa(bytes: string): string;
}

const OPEN = 1;
const browser = globalThis as unknown as Browser;

/** A browser, or anything with its globals. The key goes along as a subprotocol: a page cannot set headers. */
export const runtime: Runtime = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  setTimer: longTimer,
  defer: (callback) => {
    // Unlike a timer of 0 ms it is not slowed down in a page that is not in front.
    const { port1, port2 } = new browser.MessageChannel();
    port1.onmessage = () => {
      port1.onmessage = null;
      callback();
    };
    port2.postMessage(null);
  },
  soon: (callback) => queueMicrotask(callback),
  randomId: () => base64Url(String.fromCharCode(...browser.crypto.getRandomValues(new Uint8Array(16)))),
  random: () => Math.random(),
  env: () => undefined,
  ownerDefault: () => "browser",
  context: { current: () => undefined, run: (_context, fn) => fn() },
  connect,
};

function connect(url: string, apiKey: string, handlers: SocketHandlers): Socket {
  const socket = new browser.WebSocket(url, [SUBPROTOCOL, KEY_SUBPROTOCOL + base64Url(apiKey)]);
  socket.onopen = () => handlers.open();
  socket.onmessage = ({ data }) => handlers.message(String(data));
  // It says nothing that 'close' does not.
  socket.onerror = () => {};
  socket.onclose = ({ code, reason }) =>
    handlers.close({ message: `closed with ${code} ${reason} (${url})` });
  return {
    send: (text) => {
      if (socket.readyState === OPEN) socket.send(text);
    },
    close: () => socket.close(),
    keepAlive: () => {},
  };
}

function base64Url(bytes: string): string {
  return browser.btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
