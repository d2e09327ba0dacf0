import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { WebSocket } from "ws";
import { handshakeProblem, ServerWebSocket } from "../../src/http/web-socket.js";

const MESSAGE_BYTES_MAX = 2 * 1_024 * 1_024;
const PROTOCOL = "lockdb.v1";

/** The server's side of the one connection of a test, and what was heard on it. */
class End {
  readonly heard: (string | null)[] = [];
  ends = 0;
  readonly #wanted: (() => void)[] = [];

  readonly webSocket: ServerWebSocket;
  readonly socket: Socket;

  constructor(webSocket: ServerWebSocket, socket: Socket) {
    this.webSocket = webSocket;
    this.socket = socket;
    webSocket.listen({
      message: (text) => {
        this.heard.push(text);
        this.#changed();
      },
      closed: () => {
        this.ends++;
        this.#changed();
      },
    });
  }

  async until(isSo: () => boolean): Promise<void> {
    while (!isSo()) await new Promise<void>((resolve) => this.#wanted.push(resolve));
  }

  #changed(): void {
    for (const wanted of this.#wanted.splice(0)) wanted();
  }
}

let http: Server;
let accepted: Promise<End>;
beforeEach(async () => {
  http = createServer();
  accepted = new Promise((resolve) => {
    http.on("upgrade", (request, socket, head) => {
      expect(handshakeProblem(request)).toBe(null);
      const parts = { protocol: PROTOCOL, headers: ["x-more: 1"], messageBytesMax: MESSAGE_BYTES_MAX };
      resolve(new End(new ServerWebSocket(request, socket as Socket, head, parts), socket as Socket));
    });
  });
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
});
afterEach(async () => {
  vi.useRealTimers();
  (await accepted).webSocket.terminate();
  http.close();
});

const port = () => (http.address() as AddressInfo).port;

async function opened(): Promise<{ client: WebSocket; end: End }> {
  const client = new WebSocket(`ws://127.0.0.1:${port()}`, PROTOCOL, { perMessageDeflate: false });
  await once(client, "open");
  return { client, end: await accepted };
}

/** A client that writes bytes. */
async function raw(behind: Buffer = Buffer.alloc(0)): Promise<{ socket: Socket; end: End }> {
  const socket = connect({ port: port(), host: "127.0.0.1", allowHalfOpen: true });
  const head =
    "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: WebSocket\r\nsec-websocket-version: 13\r\n" +
    "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
  socket.write(Buffer.concat([Buffer.from(head), behind]));
  return { socket, end: await accepted };
}

/** Of a client, with a mask of zeros. */
function frame(opcode: number, payload: string | Buffer): Buffer {
  return Buffer.concat([
    Buffer.from([0x80 | opcode, 0x80 | Buffer.byteLength(payload), 0, 0, 0, 0]),
    Buffer.from(payload),
  ]);
}

test("[I2zt] a text message of any length is one message, and behind a close there is none", async () => {
  const { client, end } = await opened();
  const lengths = [0, 1, 125, 126, 127, 255, 256, 65_535, 65_536, 65_537, 1_048_576];
  const texts = lengths.flatMap((length) => ["x".repeat(length), `${"é\u{1f512}".repeat(length >> 3)}\n`]);
  const received: string[] = [];
  client.on("message", (data, isBinary) => received.push(isBinary ? "binary" : String(data)));
  for (const text of texts) end.webSocket.send(text);
  end.webSocket.close(1001, "MOVED");
  end.webSocket.send("late");
  end.webSocket.close(1008, "AGAIN");
  const [status, reason] = await once(client, "close");
  expect([status, String(reason)]).toEqual([1001, "MOVED"]);
  expect(received).toEqual(texts);
  await end.until(() => end.ends > 0);
  expect(end.webSocket.status).toBe(1001);
});

test("[I2s] what a client says is heard, in order, with what comes right behind its request", async () => {
  const { socket, end } = await raw(frame(1, "first"));
  socket.write(frame(2, "binary"));
  socket.write(frame(1, "last"));
  await end.until(() => end.heard.length === 3);
  expect(end.heard).toEqual(["first", null, "last"]);
  socket.destroy();
});

test("[I2t] the answer to a request for a WebSocket is that of RFC 6455", async () => {
  const { socket } = await raw();
  const [answer] = await once(socket, "data");
  expect(String(answer).split("\r\n")).toEqual([
    "HTTP/1.1 101 Switching Protocols",
    "Upgrade: websocket",
    "Connection: Upgrade",
    // Its own example, in section 1.3.
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    `Sec-WebSocket-Protocol: ${PROTOCOL}`,
    "x-more: 1",
    "",
    "",
  ]);
  socket.destroy();
});

test("[I2u] a client that closes is answered with its own status, and is not heard any more", async () => {
  const { client, end } = await opened();
  client.send("last");
  client.close(4_001, "enough");
  const [status] = await once(client, "close");
  expect(status).toBe(4_001);
  await end.until(() => end.ends > 0);
  expect(end.heard).toEqual(["last"]);
  expect(end.webSocket.status).toBe(4_001);
});

test("[I2ua] a close without a status is answered with one without", async () => {
  const { client, end } = await opened();
  client.close();
  const [status] = await once(client, "close");
  expect(status).toBe(1_005);
  expect(end.webSocket.status).toBe(1_005);
});

const BREACHES: Readonly<Record<string, readonly [Buffer, number]>> = {
  "no frame": [Buffer.from([0xff, 0xff]), 1_002],
  "no UTF-8": [frame(1, Buffer.from([0xff])), 1_007],
  "more than a message may have": [Buffer.from([0x81, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]), 1_009],
};
for (const [what, [bytes, expected]] of Object.entries(BREACHES)) {
  test(`[I2v] what is no WebSocket is said to be so, and ends it: ${what}`, async () => {
    const { socket, end } = await raw();
    socket.write(Buffer.concat([frame(1, "before"), bytes, frame(1, "behind")]));
    const answer: Buffer[] = [];
    socket.on("data", (data) => answer.push(data));
    await once(socket, "end");
    // The last is its close.
    expect(Buffer.concat(answer).subarray(-4)).toEqual(
      Buffer.from([0x88, 2, expected >> 8, expected & 0xff]),
    );
    expect(end.heard).toEqual(["before"]);
    expect(end.ends).toBe(1);
    socket.destroy();
  });
}

for (const how of ["an end", "a reset"]) {
  test(`[Q7wb] a client that is gone without a word is known to be gone: ${how}`, async () => {
    const { socket, end } = await raw();
    if (how === "an end") socket.end();
    else socket.resetAndDestroy();
    await end.until(() => end.ends > 0);
    expect(end.socket.destroyed).toBe(true);
    expect(end.webSocket.status).toBe(1_006);
    socket.destroy();
  });
}

test("[I2w] pings are answered with what they say", async () => {
  const { client } = await opened();
  for (const said of ["", "here?", "x".repeat(125)]) {
    client.ping(said);
    const [pong] = await once(client, "pong");
    expect(String(pong)).toBe(said);
  }
});

test("[N3zi] whoever sends pings and reads nothing is cut off, however small they are", async () => {
  const { socket, end } = await raw();
  socket.on("error", () => {});
  const pings = (count: number) => Buffer.concat(Array.from({ length: count }, () => frame(9, "")));
  socket.write(Buffer.concat([pings(50), frame(1, "in between")]));
  await end.until(() => end.heard.length === 1);
  expect(end.ends).toBe(0);
  socket.write(pings(1_000));
  await end.until(() => end.ends > 0);
  expect(end.webSocket.bufferedAmount).toBeLessThan(1_000);
});

test("[Q7wc] once the server has closed it nothing is said on it, nothing is heard, and it is over", async () => {
  const { client, end } = await opened();
  client.pause();
  end.webSocket.close(1_008, "INVALID");
  expect(end.ends).toBe(1);
  client.send("late");
  client.resume();
  await once(client, "close");
  expect([end.heard, end.ends]).toEqual([[], 1]);
});

test("[I2x] a client that never closes its side is cut off after half a minute", async () => {
  const { socket, end } = await raw();
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  end.webSocket.close(1_001, "");
  socket.resume();
  await vi.advanceTimersByTimeAsync(29_999);
  expect(end.socket.destroyed).toBe(false);
  const closed = new Promise<void>((resolve) => end.socket.once("close", () => resolve()));
  await vi.advanceTimersByTimeAsync(1);
  await closed;
  expect(end.ends).toBe(1);
  socket.destroy();
});
