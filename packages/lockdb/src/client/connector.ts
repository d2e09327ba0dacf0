import type { ErrorCode, Hello, ServerMessage } from "../protocol/index.js";
import type { Runtime, Socket, Timer } from "../runtime/runtime.js";
import { isServerUrl } from "./server-urls.js";
import { type Moment, now } from "./trust.js";

const BACKOFF_MS_MIN = 50;
/** Short: after a crash a server grants nothing until its clients are back (R4), and a refused attempt costs little. */
const BACKOFF_MS_MAX = 500;
/** When nobody waits for the connection, and many attempts have come to nothing. */
const BACKOFF_MS_IDLE = 2_000;
const ROUNDS_UNTIL_IDLE = 100;
/** An address that does not answer is left after this time; sooner while there are others, so that they have their turn. */
const CONNECT_MS = 4_000;
const CONNECT_MS_OF_SEVERAL = 2_000;
/** What a cluster tells of its members is taken up to so many addresses. */
const LEARNT_MAX = 64;
/** So many moves in a row are made at once; more of them are servers that do not agree. After this time without one they are forgotten. */
const MOVES_AT_ONCE = 3;
const MOVES_MS = 10_000;
/** In UTF-16 units: the server takes at most 1 MiB (N3), unless one message alone is longer. */
const FRAME_LENGTH_MAX = 256 * 1_024;
/**
 * A frame leaves at the end of the turn, or when it has so many messages: the first of a turn soon, so that the server works
 * on it while the next are made, and each further one with twice as many.
 */
const MESSAGES_A_FRAME_MIN = 32;
const MESSAGES_A_FRAME_MAX = 256;

/** What happens on a connection. Nothing comes from a connection that was given up (R3). */
export interface ConnectorEvents {
  /** Whether a lost connection is to be made again now. If not, `want` will say when. */
  isWanted(): boolean;
  /** Whether there is at most one request that waits for its answer. */
  isQuiet(): boolean;
  opened(): void;
  received(messages: readonly ServerMessage[]): void;
  /** It is gone, or could not be made. `code` is set when the server refused it with a reason. */
  closed(reason: string, code: ErrorCode | null): void;
}

/** Keeps one connection to one of several addresses while it is wanted, and batches a turn's messages into a frame. */
export class Connector {
  readonly #runtime: Runtime;
  /** As the caller gave them. They come first, and are never forgotten. */
  readonly #given: readonly string[];
  readonly #apiKey: string;
  readonly #events: ConnectorEvents;
  #socket: Socket | null = null;
  #isOpen = false;
  /** Where to look for a server: what was given, then what the last one has told of others. */
  #urls: readonly string[];
  #url: string;
  #moves = 0;
  #epoch: number | null = null;
  #movedAtMs = 0;
  /** Attempts in a row that came to nothing. */
  #failures = 0;
  #retry: Timer | null = null;
  #retryAtMs = 0;
  #connectTimer: Timer | null = null;
  #keepsAlive = false;
  #outgoing: (readonly unknown[])[] = [];
  /** When this turn's first message was added. */
  #turnAt: Moment | null = null;
  #frameSize = MESSAGES_A_FRAME_MIN;
  /** Messages on this connection, and how many of them the server may forget. */
  #received = 0;
  #acknowledged = 0;

  constructor(runtime: Runtime, urls: readonly string[], apiKey: string, events: ConnectorEvents) {
    this.#runtime = runtime;
    this.#given = urls;
    this.#urls = urls;
    this.#url = urls[0]!;
    this.#apiKey = apiKey;
    this.#events = events;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** The address in use, or tried last. */
  get url(): string {
    return this.#url;
  }

  /** Connects if there is no connection and none is on its way. */
  want(): void {
    if (this.#socket === null && this.#retry === null) this.#connect();
  }

  /** The connection works: the next failure starts with a short pause again. */
  settled(): void {
    this.#failures = 0;
    // It was of use for the connection that it led to, and numbers of another cluster at this address would be others.
    this.#epoch = null;
  }

  /** While true the connection, or the pause before the next, keeps the process alive. */
  keepAlive(on: boolean): void {
    if (this.#keepsAlive === on) return;
    this.#keepsAlive = on;
    this.#socket?.keepAlive(on);
    if (this.#retry === null) return;
    // Who waits changes, and how long only once: else a client that is called often would never try again.
    if (on) this.#retryAtMs = Math.min(this.#retryAtMs, this.#runtime.monotonicMs() + BACKOFF_MS_MAX);
    this.#retry.cancel();
    this.#setRetry();
  }

  /**
   * This turn, in which something is to be sent.
   * @returns a moment before its frames leave: leases are counted from it, so it may be early but never late (L2)
   */
  turn(): Moment {
    if (this.#turnAt === null) {
      this.#turnAt = now(this.#runtime);
      const endTurn = () => this.#endTurn();
      // Alone it has nothing to wait for: the rest of the turn would be a twentieth of its time (decision 030).
      if (this.#events.isQuiet()) this.#runtime.soon(endTurn);
      else this.#runtime.defer(endTurn);
    }
    return this.#turnAt;
  }

  /** Adds a message to those of this turn, whose moment it returns. */
  send(message: readonly unknown[]): Moment {
    const at = this.turn();
    if (this.#outgoing.push(message) >= this.#frameSize) {
      this.#flush();
      this.#frameSize = Math.min(2 * this.#frameSize, MESSAGES_A_FRAME_MAX);
    }
    return at;
  }

  /** All that was received is settled: frames from now on say so (Q6). */
  acknowledge(): void {
    this.#acknowledged = this.#received;
  }

  /** Addresses of all members of the cluster, in place of what was told before. From TLS nobody is led to where there is none. */
  learn(urls: unknown): void {
    const learnt = Array.isArray(urls) ? urls.filter((url) => this.#mayUse(url)) : [];
    this.#urls = [...new Set([...this.#given, ...learnt.slice(0, LEARNT_MAX)])];
  }

  /** What is wanted is at that address now. The present connection is over, and the next one is made there. */
  move(url: unknown, urls: unknown, epoch: unknown): void {
    this.learn(urls);
    this.#epoch = Number.isSafeInteger(epoch) && (epoch as number) > 0 ? (epoch as number) : null;
    if (!this.#mayUse(url)) return this.drop("the server leads to an address that is none");
    const nowMs = this.#runtime.monotonicMs();
    if (nowMs - this.#movedAtMs > MOVES_MS) this.#moves = 0;
    this.#movedAtMs = nowMs;
    const rounds = this.#moves++ - MOVES_AT_ONCE;
    this.#over();
    this.#url = url;
    this.#retryIn(rounds < 0 ? 0 : this.#backoffMs(rounds));
    this.#events.closed(`it has moved to ${url}`, null);
  }

  #mayUse(url: unknown): url is string {
    return isServerUrl(url) && (/^https/.test(url) || !/^https/.test(this.#url));
  }

  /** What a `hello` says of the last move: whatever else it says is not older than that. */
  get lastMove(): Pick<Hello, "epoch"> {
    return this.#epoch === null ? {} : { epoch: this.#epoch };
  }

  /** Gives the present connection up: it does not answer. */
  drop(reason: string): void {
    this.#gone(reason, null);
  }

  close(): void {
    this.#retry?.cancel();
    this.#retry = null;
    this.#over();
  }

  #connect(): void {
    const url = this.url;
    let current: Socket | null = null;
    const isCurrent = () => current !== null && this.#socket === current;
    current = this.#runtime.connect(connectUrl(url), this.#apiKey, {
      open: () => {
        if (!isCurrent()) return;
        this.#isOpen = true;
        this.#connectTimer?.cancel();
        this.#received = 0;
        this.#acknowledged = 0;
        this.#events.opened();
      },
      message: (text) => {
        if (isCurrent()) this.#read(text);
      },
      close: (reason) => {
        if (isCurrent()) this.#gone(reason.message, reason.code ?? null);
      },
    });
    this.#socket = current;
    current.keepAlive(this.#keepsAlive);
    const connectMs = this.#urls.length === 1 ? CONNECT_MS : CONNECT_MS_OF_SEVERAL;
    const tooLate = () => this.drop(`no connection within ${connectMs / 1_000} s (${url})`);
    this.#connectTimer = this.#runtime.setTimer(tooLate, connectMs, false);
  }

  #read(text: string): void {
    let messages: unknown;
    try {
      messages = JSON.parse(text);
    } catch {
      messages = null;
    }
    if (!Array.isArray(messages) || !messages.every(Array.isArray)) {
      return this.drop("the server sent a frame that is no list of messages");
    }
    this.#received += messages.length;
    this.#events.received(messages as unknown as ServerMessage[]);
  }

  #gone(reason: string, code: ErrorCode | null): void {
    this.#over();
    this.#failures++;
    this.#url = this.#urls[(this.#urls.indexOf(this.#url) + 1) % this.#urls.length]!;
    this.#pause();
    this.#events.closed(reason, code);
  }

  #over(): void {
    const socket = this.#socket;
    this.#connectTimer?.cancel();
    this.#socket = null;
    this.#isOpen = false;
    this.#outgoing = [];
    this.#turnAt = null;
    socket?.close();
  }

  /** Waits before the next attempt; another address is tried at once, until each has had its turn. */
  #pause(): void {
    const rounds = Math.floor((this.#failures - 1) / this.#urls.length);
    const isNewRound = this.#failures % this.#urls.length === 0;
    this.#retryIn(isNewRound ? this.#backoffMs(rounds) : 0);
  }

  #backoffMs(rounds: number): number {
    const isIdle = !this.#keepsAlive && rounds >= ROUNDS_UNTIL_IDLE;
    const capMs = isIdle
      ? BACKOFF_MS_IDLE
      : Math.min(BACKOFF_MS_MAX, BACKOFF_MS_MIN * 2 ** Math.min(rounds, 10));
    // Jitter over the whole span: a thousand clients of a server that was restarted must not return in step.
    return capMs * (0.25 + 0.75 * this.#runtime.random());
  }

  #retryIn(pauseMs: number): void {
    this.#retryAtMs = this.#runtime.monotonicMs() + pauseMs;
    this.#setRetry();
  }

  #setRetry(): void {
    const retry = () => {
      this.#retry = null;
      if (this.#events.isWanted()) this.#connect();
    };
    const restMs = Math.max(0, this.#retryAtMs - this.#runtime.monotonicMs());
    this.#retry = this.#runtime.setTimer(retry, restMs, this.#keepsAlive);
  }

  #endTurn(): void {
    this.#turnAt = null;
    this.#frameSize = MESSAGES_A_FRAME_MIN;
    this.#flush();
  }

  #flush(): void {
    const messages = this.#outgoing;
    this.#outgoing = [];
    if (messages.length > 0) this.#say(messages);
  }

  /** All at once is the fastest; those that are too long together go in halves. */
  #say(messages: readonly (readonly unknown[])[]): void {
    const text = JSON.stringify(messages);
    if (text.length <= FRAME_LENGTH_MAX || messages.length === 1) {
      this.#socket?.send(`[${this.#acknowledged},${text.slice(1)}`);
      return;
    }
    const half = messages.length >> 1;
    this.#say(messages.slice(0, half));
    this.#say(messages.slice(half));
  }
}

/** The WebSocket address of a server's `http://` or `https://` one. */
export function connectUrl(url: string): string {
  return `${url.replace(/^http/, "ws").replace(/\/+$/, "")}/v1/connect`;
}
