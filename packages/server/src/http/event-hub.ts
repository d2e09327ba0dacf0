import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { ERRORS, type ErrorCode, type ServerMessage } from "lockdb/protocol";
import type { Loop, Past, Recipient, ServiceKey } from "../loop/index.js";
import { Refusal } from "./errors.js";

/** Readers of all services together (N3). */
const READERS_MAX = 10_000;
/** What may wait for one slow reader, and for all of them; over it readers are cut. */
const BACKLOG_BYTES_MAX = 256 * 1_024;
const ALL_BACKLOG_BYTES_MAX = 64 * 1_024 * 1_024;
/** A reader that has less than this before it is none of the slow ones. */
const FAIR_BYTES = 16 * 1_024;
/** So that proxies and readers know that the silence is none of the network. */
const KEEP_ALIVE_MS = 15_000;
/** With many readers, events of so long are written together: ten more readers cost a millisecond more. */
const READERS_A_MS = 10;
const GATHER_MS_MAX = 400;
/** Readers that are written to in one turn of the event loop: others are waiting. */
const READERS_A_TURN = 250;
/** Events of the past that are read at once, and what may wait before more of them are. */
const PAST_A_STEP = 100;
const PAST_BACKLOG_BYTES = 64 * 1_024;
const WATCH = 1;
/** How long a reader that was cut has to hear why. */
const LAST_WORDS_MS = 30_000;

/** All readers of events, by what they read. */
export class EventHub {
  readonly #loop: Loop;
  readonly #channels = new Map<string, Channel>();
  readonly backlog = { bytes: 0 };
  readerCount = 0;
  /** Readers that were cut since they read too slowly. */
  cutCount = 0;

  constructor(loop: Loop) {
    this.#loop = loop;
  }

  get isFull(): boolean {
    return this.readerCount >= READERS_MAX;
  }

  /** What is read of a service. @throws Refusal when it cannot be read now */
  channel(service: ServiceKey, prefix: string): Channel {
    const key = `${service.prefix}\n${prefix}`;
    const known = this.#channels.get(key);
    if (known !== undefined) return known;
    const channel = new Channel(this.#loop, service, prefix, () => this.#channels.delete(key));
    if (channel.refusal === null) this.#channels.set(key, channel);
    else throw channel.refusal;
    return channel;
  }

  /** Adds a reader whose headers were written. It has come to `after`; undefined: it wants what happens from now on. */
  read(
    channel: Channel,
    after: string | undefined,
    response: ServerResponse,
    /** Calls back with the code when it may read no more (A2). */
    watch: (over: (code: ErrorCode) => void) => () => void,
  ): void {
    this.readerCount++;
    const reader = new Reader(response, this.backlog, () => this.cutCount++);
    const unwatch = watch((code) => reader.end("ended", { reason: code, message: ERRORS[code].message }));
    response.once("close", () => {
      unwatch();
      this.readerCount--;
      reader.gone();
      channel.delete(reader);
    });
    channel.add(reader, after);
  }
}

/** One reader, and how much waits for it. */
class Reader {
  readonly response: ServerResponse;
  readonly #socket: Socket;
  readonly #all: { bytes: number };
  readonly #onCut: () => void;
  #pending = 0;
  isCut = false;

  constructor(response: ServerResponse, all: { bytes: number }, onCut: () => void) {
    this.#onCut = onCut;
    this.response = response;
    // Its headers were flushed: it has one.
    this.#socket = response.socket!;
    this.#all = all;
  }

  write(data: Buffer | string): void {
    if (this.isCut) return;
    // Past the response, which would do the same at three times the cost: its headers are out, and it has no chunks.
    this.#socket.write(data);
    this.#count();
    const isMuch = this.#all.bytes > ALL_BACKLOG_BYTES_MAX && this.#pending > FAIR_BYTES;
    if (isMuch || this.#pending > BACKLOG_BYTES_MAX) {
      this.#cut();
    }
  }

  /** Last words, then the end; whoever does not read them in time has his connection closed all the same. */
  end(type: string, data: object): void {
    if (this.isCut) return;
    this.isCut = true;
    this.response.end(frame(type, data));
    const timer = setTimeout(() => this.response.destroy(), LAST_WORDS_MS);
    timer.unref();
    this.response.once("close", () => clearTimeout(timer));
  }

  /** What waits for it, in this process. */
  get pending(): number {
    return this.#socket.writableLength;
  }

  /** Goes on when it has read what waits for it. Whoever reads nothing for long is cut. */
  whenDrained(then: () => void): void {
    const timer = setTimeout(() => this.#cut(), LAST_WORDS_MS);
    timer.unref();
    const stop = () => clearTimeout(timer);
    this.response.once("close", stop);
    this.#socket.once("drain", () => {
      stop();
      then();
    });
  }

  gone(): void {
    this.isCut = true;
    this.#all.bytes -= this.#pending;
    this.#pending = 0;
  }

  #cut(): void {
    if (!this.isCut) this.#onCut();
    this.end("cut", { reason: "SLOW_READER", message: "You read too slowly. Come back with Last-Event-ID." });
  }

  #count(): void {
    const { pending } = this;
    this.#all.bytes += pending - this.#pending;
    this.#pending = pending;
  }
}

/** The readers of one service and prefix: one watch, and one text of each event, for all of them. */
export class Channel implements Recipient {
  /** Why it cannot be read. */
  refusal: Refusal | null = null;
  readonly #loop: Loop;
  readonly service: ServiceKey;
  readonly #prefix: string;
  readonly #onOver: () => void;
  readonly #address: string;
  /** Those who have come to the newest event. */
  readonly #readers = new Set<Reader>();
  /** Those who are still told of the past. */
  readonly #behind = new Set<Reader>();
  #texts: string[] = [];
  /** What is to be written, and to whom: who comes later has had it. */
  readonly #batches: { readonly data: Buffer; readonly to: readonly Reader[]; at: number }[] = [];
  #gathering: NodeJS.Timeout | undefined;
  #isWriting = false;
  readonly #keepAlive: NodeJS.Timeout;

  constructor(loop: Loop, service: ServiceKey, prefix: string, onOver: () => void) {
    this.#loop = loop;
    this.service = service;
    this.#prefix = prefix;
    this.#onOver = onOver;
    this.#address = loop.attach(this);
    this.#keepAlive = setInterval(() => this.#stillHere(), KEEP_ALIVE_MS);
    this.#keepAlive.unref();
    loop.watch(service, this, WATCH, { prefix });
  }

  add(reader: Reader, after: string | undefined): void {
    this.#behind.add(reader);
    reader.write("retry: 1000\n\n");
    if (after !== undefined) return this.#tellPast(reader, after);
    this.#join(reader);
    reader.write(frame("start", {}, this.#past(undefined, 0)?.head));
  }

  delete(reader: Reader): void {
    this.#readers.delete(reader);
    this.#behind.delete(reader);
    if (this.#readers.size === 0 && this.#behind.size === 0) this.#close();
  }

  receive(message: ServerMessage): void {
    if (message[0] === "event") this.#texts.push(frame(message[4].type, message[4], message[2]));
    if (message[0] === "refused") this.#end(new Refusal(message[2], message[3]));
    if (message[0] === "ended") this.#end(new Refusal("UNAVAILABLE", message[2]));
    if (message[0] === "moved") this.#end(new Refusal("UNAVAILABLE"));
  }

  flush(): void {
    if (this.#texts.length === 0 || this.#gathering !== undefined) return;
    const ms = Math.min(GATHER_MS_MAX, this.#readers.size / READERS_A_MS);
    if (ms < 1) return this.#write();
    this.#gathering = setTimeout(() => {
      this.#gathering = undefined;
      this.#write();
    }, ms);
  }

  /** Page by page, as fast as it reads, until there is no more. Then it is one of the others. */
  #tellPast(reader: Reader, after: string): void {
    if (reader.isCut) return;
    if (reader.pending > PAST_BACKLOG_BYTES) return reader.whenDrained(() => this.#tellPast(reader, after));
    const past = this.#past(after, PAST_A_STEP);
    if (past === null)
      return reader.end("ended", { reason: "UNAVAILABLE", message: ERRORS.UNAVAILABLE.message });
    if (past.missed) reader.write(frame("gap", { message: "Events before this are not kept any more." }));
    const texts = past.events.map(({ event, position }) => frame(event.type, event, position));
    if (texts.length > 0) reader.write(texts.join(""));
    if (past.more) setImmediate(() => this.#tellPast(reader, past.position));
    else this.#join(reader);
  }

  #past(after: string | undefined, limit: number): Past | null {
    const query = { prefix: this.#prefix, ...(after === undefined ? {} : { after }) };
    return this.#loop.past(this.service, query, limit);
  }

  #join(reader: Reader): void {
    // What has happened until now it has heard.
    this.#seal();
    this.#behind.delete(reader);
    this.#readers.add(reader);
    this.#pump();
  }

  #stillHere(): void {
    const head = this.#past(undefined, 0)?.head;
    // By the position, whoever reconnects is not told of a gap that has nothing to do with his prefix.
    if (head !== undefined) this.#texts.push(`: still here\nid: ${head}\n\n`);
    this.#write();
  }

  #write(): void {
    this.#seal();
    this.#pump();
  }

  #seal(): void {
    if (this.#texts.length === 0) return;
    this.#batches.push({ data: Buffer.from(this.#texts.join("")), to: [...this.#readers], at: 0 });
    this.#texts = [];
  }

  #pump(): void {
    if (this.#isWriting) return;
    const batch = this.#batches[0];
    if (batch === undefined) return;
    const end = Math.min(batch.at + READERS_A_TURN, batch.to.length);
    while (batch.at < end) batch.to[batch.at++]!.write(batch.data);
    if (batch.at === batch.to.length) this.#batches.shift();
    if (this.#batches.length === 0) return;
    this.#isWriting = true;
    setImmediate(() => {
      this.#isWriting = false;
      this.#pump();
    });
  }

  #end(refusal: Refusal): void {
    this.refusal = refusal;
    const words = { reason: refusal.code, message: refusal.message };
    for (const reader of [...this.#readers, ...this.#behind]) reader.end("ended", words);
    this.#close();
  }

  #close(): void {
    clearInterval(this.#keepAlive);
    clearTimeout(this.#gathering);
    this.#loop.detach(this.#address);
    this.#loop.unwatch(this.service, this, null);
    this.#onOver();
  }
}

/** One event of the stream. JSON has no line breaks of its own. */
function frame(type: string, data: object, id?: string): string {
  return `${id === undefined ? "" : `id: ${id}\n`}event: ${type}\ndata: ${JSON.stringify(data)}\n\n`;
}
