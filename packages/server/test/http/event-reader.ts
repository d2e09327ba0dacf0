import type { Socket } from "node:net";
import { StringDecoder } from "node:string_decoder";
import { HttpConnection, requestBytes, type Target, within } from "./server.js";

// biome-ignore lint/suspicious/noExplicitAny: events of any type.
type Json = any;

export interface Frame {
  readonly id: string | undefined;
  readonly type: string;
  readonly data: Json;
}

/** A reader of the stream: of a slow one the test pauses the socket. */
export class EventReader {
  readonly socket: Socket;
  readonly closed: Promise<void>;
  /** What has come before the first frame. */
  head = "";
  readonly #frames: Frame[] = [];
  readonly #decoder = new StringDecoder("utf8");
  #rest = "";
  #wake = () => {};

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("error", () => {});
    socket.on("data", (bytes) => this.#take(this.#decoder.write(bytes)));
    this.closed = new Promise((resolve) => socket.once("close", () => resolve()));
  }

  static async open(target: Target, query = "", lastEventId?: string): Promise<EventReader> {
    const connection = await HttpConnection.open(target);
    connection.socket.removeAllListeners("data");
    const reader = new EventReader(connection.socket);
    connection.write(
      requestBytes({
        method: "GET",
        path: `/v1/services/reports/events${query}`,
        key: target.rootKey,
        headers: lastEventId === undefined ? {} : { "last-event-id": lastEventId },
      }),
    );
    return reader;
  }

  /** Frames that came and nobody took. */
  get waiting(): readonly Frame[] {
    return this.#frames;
  }

  /** The next frame that has data. */
  async next(): Promise<Frame> {
    while (this.#frames.length === 0) await this.#more();
    return this.#frames.shift()!;
  }

  /** Up to one of a type. */
  async until(type: string): Promise<readonly Frame[]> {
    const frames: Frame[] = [];
    do frames.push(await this.next());
    while (frames.at(-1)!.type !== type);
    return frames;
  }

  /** The status of an answer that is no stream. */
  async status(): Promise<number> {
    while (this.head === "") await this.#more();
    return Number(/^HTTP\/1\.1 (\d+)/.exec(this.head)![1]);
  }

  close(): void {
    this.socket.destroy();
  }

  #more(): Promise<void> {
    const more = new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    return within(8_000, "an event", more);
  }

  #take(text: string): void {
    this.#rest += text;
    if (this.head === "") {
      const end = this.#rest.indexOf("\r\n\r\n");
      if (end === -1) return;
      this.head = this.#rest.slice(0, end);
      this.#rest = this.#rest.slice(end + 4);
    }
    const frames = this.#rest.split("\n\n");
    this.#rest = frames.pop()!;
    for (const frame of frames) {
      const field = (name: string) => new RegExp(`^${name}: ([^\n]*)$`, "m").exec(frame)?.[1];
      const data = field("data");
      if (data !== undefined)
        this.#frames.push({ id: field("id"), type: field("event")!, data: JSON.parse(data) });
    }
    this.#wake();
  }
}
