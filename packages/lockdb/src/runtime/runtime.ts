import type { ErrorCode } from "../protocol/index.js";

/** What the client needs from the machine it runs on. Tests and the simulator bring their own. */
export interface Runtime {
  /** Monotonic milliseconds, from any start. May stop while the machine is suspended. */
  monotonicMs(): number;
  /** Wall clock milliseconds. May jump. */
  wallMs(): number;
  /** Calls back after `ms`, any length of time. `keepsAlive`: the process does not end before. */
  setTimer(callback: () => void, ms: number, keepsAlive: boolean): Timer;
  /** Calls back when this turn's callbacks and promises have run. */
  defer(callback: () => void): void;
  /** Calls back when what runs now has run, and at the latest when `defer` would. */
  soon(callback: () => void): void;
  /** 128 random bits as text. */
  randomId(): string;
  /** From 0 to 1, for jitter. */
  random(): number;
  env(name: string): string | undefined;
  /** A name for this process that people understand. */
  ownerDefault(): string;
  /** Something that goes along with work, over promises and callbacks. */
  readonly context: ContextCarrier;
  readonly connect: Connect;
  /**
   * `connect` with certificates of the caller's own; absent where the machine has its own way, as in browsers.
   * @throws Error for what TLS cannot use
   */
  secured?(tls: TlsOptions): Runtime;
}

export type Connect = (url: string, apiKey: string, handlers: SocketHandlers) => Socket;

/**
 * Texts or bytes in PEM form.
 *
 * @example
 * const secured = new LockDB("reports", { serverUrl: "https://locks.internal:5625", tls: { ca } });
 */
export interface TlsOptions {
  /** Certificates one of which must have signed the server's, instead of those that the machine trusts, the default. */
  readonly ca?: string | Uint8Array;
  /** A certificate to show, for a server that asks for one. Default: none. */
  readonly cert?: string | Uint8Array;
  /** Its private key, without a passphrase. Default: none. */
  readonly key?: string | Uint8Array;
}

export interface ContextCarrier {
  /** What `run` was given around here; undefined where nothing goes along, as in browsers always. */
  current(): unknown;
  run<T>(context: unknown, fn: () => T): T;
}

export interface Timer {
  cancel(): void;
}

/** An open or opening WebSocket that speaks `lockdb.v1`. */
export interface Socket {
  send(text: string): void;
  close(): void;
  /** While false, this socket alone does not keep the process alive. */
  keepAlive(on: boolean): void;
}

export interface SocketHandlers {
  open(): void;
  message(text: string): void;
  /** Once, and the last call: the socket is closed or could not be opened. */
  close(reason: SocketClosed): void;
}

export interface SocketClosed {
  readonly message: string;
  /** The code of the server's typed refusal, when there was one. */
  readonly code?: ErrorCode;
}
