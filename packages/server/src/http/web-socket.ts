import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { ClientSocket, SocketListener } from "../loop/index.js";
import { FrameReader, OPCODES, STATUS } from "./frame-reader.js";
import { frameOf } from "./frames.js";

/** How long a client has to close its side. */
const CLOSING_MS = 30_000;
/** Answers to pings that have not left this process. Small as they are, each takes two hundred bytes here. */
const PONGS_MAX = 60;

/** RFC 6455, section 1.3. */
const ACCEPT_SUFFIX = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/** 16 bytes in Base64. */
const KEY = /^[+/0-9A-Za-z]{22}==$/;
/** RFC 9110, section 5.6.2. */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const VERSION = "13";

/** What a request for a WebSocket offers to speak, in the order of its header; null: that is none (RFC 6455, section 4.1). */
export function protocolsIn({ headers }: IncomingMessage): readonly string[] | null {
  const said = headers["sec-websocket-protocol"];
  if (said === undefined) return [];
  const protocols = said.split(",").map((protocol) => protocol.trim());
  const isList = protocols.every((protocol) => TOKEN.test(protocol));
  return isList && new Set(protocols).size === protocols.length ? protocols : null;
}

/** What is wrong with a request for a WebSocket (RFC 6455, section 4.2.1), or null. */
export function handshakeProblem({ method, headers }: IncomingMessage): string | null {
  if (method !== "GET") return "A WebSocket is asked for with GET.";
  if (headers.upgrade?.toLowerCase() !== "websocket") return "The Upgrade header must say websocket.";
  if (!KEY.test(headers["sec-websocket-key"] ?? ""))
    return "The Sec-WebSocket-Key header is missing or wrong.";
  if (headers["sec-websocket-version"] !== VERSION)
    return `The Sec-WebSocket-Version header must say ${VERSION}.`;
  return null;
}

/** Without an error, Node.js makes one, with a stack trace, for each piece that was not written yet. */
const CUT = new Error("The connection was cut off.");

/** What is said to whoever asks for another version (RFC 6455, section 4.4). */
export const VERSION_HEADER = { "sec-websocket-version": VERSION };

/**
 * The server's side of a WebSocket (RFC 6455), without extensions. Its messages are texts; from a client, binary ones come too.
 * What is not UTF-8, too long, or no frame ends it with the status that the RFC has for that.
 */
export class ServerWebSocket implements ClientSocket {
  readonly #socket: Socket;
  readonly #reader: FrameReader;
  #listener: SocketListener | null = null;
  #isOpen = true;
  #pongs = 0;
  #status: number = STATUS.abnormal;
  #closingTimer: NodeJS.Timeout | null = null;

  /**
   * Accepts a request that has no `handshakeProblem`.
   * @param head what has come behind the request
   * @param headers more lines of the answer
   */
  constructor(
    request: IncomingMessage,
    socket: Socket,
    head: Buffer,
    {
      protocol,
      headers,
      messageBytesMax,
    }: { readonly protocol: string; readonly headers: readonly string[]; readonly messageBytesMax: number },
  ) {
    this.#socket = socket;
    this.#reader = new FrameReader(messageBytesMax, {
      message: (text, bytes) => this.#listener?.message(text, bytes),
      ping: (payload) => this.#pong(payload),
      close: (status) => this.#closed(status),
    });
    const accept = createHash("sha1").update(`${request.headers["sec-websocket-key"]}${ACCEPT_SUFFIX}`);
    const lines = [
      "HTTP/1.1 101 Switching Protocols",
      "Upgrade: websocket",
      "Connection: Upgrade",
      `Sec-WebSocket-Accept: ${accept.digest("base64")}`,
      `Sec-WebSocket-Protocol: ${protocol}`,
      ...headers,
    ];
    socket.setTimeout(0).setNoDelay();
    socket.write(`${lines.join("\r\n")}\r\n\r\n`);
    if (head.length > 0) socket.unshift(head);
  }

  /** Of the client's close; 1006: none came. */
  get status(): number {
    return this.#status;
  }

  get bufferedAmount(): number {
    return this.#socket.writableLength;
  }

  listen(listener: SocketListener): void {
    this.#listener = listener;
    // Its 'close' comes some turns later: in these it would be granted what nobody hears of, for as long as its lease lasts.
    // Nothing is left to be said to it: at once is half of the work, when ten thousand leave at once.
    const gone = () => this.terminate();
    this.#socket
      .on("data", (chunk: Buffer) => this.#read(chunk))
      .once("end", gone)
      .once("error", gone)
      .once("close", () => {
        this.#over();
        if (this.#closingTimer !== null) clearTimeout(this.#closingTimer);
      });
  }

  send(text: string): void {
    if (this.#isOpen) this.#socket.write(frameOf(OPCODES.text, text));
  }

  close(status: number, reason = ""): void {
    if (!this.#isOpen) return;
    this.#sayClose(status, reason);
    this.#over();
  }

  terminate(): void {
    this.#over();
    this.#socket.destroy(CUT);
  }

  #read(chunk: Buffer): void {
    const breach = this.#reader.read(chunk);
    if (breach !== null) this.#end(breach);
  }

  /** The client has said its last: whatever was said to it before, it hears no more. */
  #closed(status: number): void {
    this.#status = status;
    this.#end(status);
  }

  /** Says close, unless that was done, and ends this side. */
  #end(status: number): void {
    this.close(status);
    this.#socket.end();
  }

  #sayClose(status: number, reason: string): void {
    const payload = Buffer.alloc(2 + Buffer.byteLength(reason));
    payload.writeUInt16BE(status);
    payload.write(reason, 2);
    // That there is no status is not said by one (RFC 6455, section 7.4.1).
    this.#socket.write(frameOf(OPCODES.close, status === STATUS.none ? "" : payload));
    this.#closingTimer = setTimeout(() => this.terminate(), CLOSING_MS);
  }

  #pong(payload: Uint8Array): void {
    if (!this.#isOpen) return;
    if (this.#pongs >= PONGS_MAX) return this.terminate();
    this.#pongs++;
    this.#socket.write(frameOf(OPCODES.pong, payload), () => {
      this.#pongs--;
    });
  }

  #over(): void {
    this.#isOpen = false;
    const listener = this.#listener;
    this.#listener = null;
    listener?.closed();
  }
}
