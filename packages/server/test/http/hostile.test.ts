import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Server } from "../../src/index.js";
import { Api, refusalOf } from "./api.js";
import { ask, HttpConnection, requestBytes, SERVICE, startServer } from "./server.js";

/** What nobody sends by accident. Each gets a refusal, nothing happens by it, and the server goes on. */
let server: Server;
let api: Api;

beforeAll(async () => {
  server = await startServer();
  api = new Api(server);
});

afterAll(() => server.close());

const PATH = `/v1/services/${SERVICE}/acquire`;

describe("request smuggling", () => {
  const auth = () => `host: x\r\nauthorization: Bearer ${server.rootKey}\r\n`;
  /** A whole request that must never be taken for one. */
  const hidden = () => {
    const body = JSON.stringify({ names: "smuggled" });
    return `POST ${PATH} HTTP/1.1\r\n${auth()}content-length: ${body.length}\r\n\r\n${body}`;
  };
  const chunk = (size: string, data: string) => `${size}\r\n${data}\r\n0\r\n\r\n`;
  const headed = (headers: string, rest: string) =>
    `POST ${PATH} HTTP/1.1\r\n${auth()}${headers}\r\n\r\n${rest}`;

  const FORMS: Record<string, () => string> = {
    "a length and chunks": () =>
      headed("content-length: 5\r\ntransfer-encoding: chunked", `0\r\n\r\n${hidden()}`),
    "chunks and a length": () =>
      headed("transfer-encoding: chunked\r\ncontent-length: 5", `0\r\n\r\n${hidden()}`),
    "two lengths": () => headed(`content-length: 0\r\ncontent-length: ${hidden().length}`, hidden()),
    "two lengths in one": () => headed(`content-length: 0, ${hidden().length}`, hidden()),
    "a length with a sign": () => headed(`content-length: +0`, hidden()),
    "a negative length": () => headed("content-length: -1", hidden()),
    "a length in hex": () => headed("content-length: 0x0", hidden()),
    "a length with a letter": () => headed("content-length: 0a", hidden()),
    "an empty length": () => headed("content-length: ", hidden()),
    "a length beyond all numbers": () => headed(`content-length: ${"9".repeat(30)}`, hidden()),
    "an encoding that is none": () => headed("transfer-encoding: xchunked", chunk("0", "") + hidden()),
    "chunked, and more behind it": () =>
      headed("transfer-encoding: chunked, identity", `0\r\n\r\n${hidden()}`),
    "two encodings": () =>
      headed(
        "transfer-encoding: identity\r\ntransfer-encoding: chunked\r\ncontent-length: 3",
        `0\r\n\r\n${hidden()}`,
      ),
    "an encoding that is folded": () =>
      headed("transfer-encoding:\r\n chunked\r\ncontent-length: 3", `0\r\n\r\n${hidden()}`),
    "a space before the colon": () =>
      headed("transfer-encoding : chunked\r\ncontent-length: 3", `0\r\n\r\n${hidden()}`),
    "a vertical tab in the encoding": () =>
      headed("transfer-encoding: \u000bchunked", `0\r\n\r\n${hidden()}`),
    "a null byte in a header": () => headed("x: a\u0000b\r\ncontent-length: 0", hidden()),
    "a bare carriage return in a header": () => headed("x: a\rcontent-length: 0", hidden()),
    "lines that end with a line feed only": () =>
      `POST ${PATH} HTTP/1.1\n${auth().replaceAll("\r\n", "\n")}transfer-encoding: chunked\n\n0\n\n${hidden()}`,
    "a chunk with a sign": () => headed("transfer-encoding: chunked", chunk("-1", "x") + hidden()),
    "a chunk in 0x": () => headed("transfer-encoding: chunked", chunk("0x1", "x") + hidden()),
    "a chunk beyond all numbers": () =>
      headed("transfer-encoding: chunked", chunk("f".repeat(17), "x") + hidden()),
    "a chunk without its end": () => headed("transfer-encoding: chunked", `1\r\nxx\r\n0\r\n\r\n${hidden()}`),
    "a chunk that ends with a line feed": () =>
      headed("transfer-encoding: chunked", `1\nx\n0\n\n${hidden()}`),
    "a header without a name": () => headed(": x\r\ncontent-length: 0", hidden()),
    "a line that is no header": () => headed("x\r\ncontent-length: 0", hidden()),
    "another version": () => `POST ${PATH} HTTP/9.9\r\n${auth()}\r\n${hidden()}`,
    "no version": () => `GET /v1/services\r\n\r\n${hidden()}`,
    "the preface of HTTP/2": () => `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${hidden()}`,
    "no host": () => `POST ${PATH} HTTP/1.1\r\ncontent-length: 0\r\n\r\n`,
    "a method that is none": () => `SMUGGLE ${PATH} HTTP/1.1\r\n${auth()}\r\n`,
    "the start of TLS": () => "\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001\u00fc\u0003\u0003",
  };

  test.each(Object.entries(FORMS))(
    "[N3m] %s: refused, the connection closed, nothing done",
    async (_what, bytes) => {
      const connection = await HttpConnection.open(server);
      connection.write(Buffer.from(bytes(), "latin1"));
      const answer = await connection.answer();
      // Of the oldest HTTP the first line is a whole request, and has no key.
      expect([400, 401]).toContain(answer?.status ?? 400);
      await connection.closed;
      expect(connection.received.toString()).not.toMatch(/ [23]\d\d /);
      expect(await api.inspect("smuggled")).toMatchObject({ held: false, queueLength: 0 });
    },
  );
});

describe("more than fits", () => {
  const post = (body: string, headers = {}) => ask(server, { path: PATH, body, headers });

  test("[N3n] a name of a mebibyte is refused in a body, a path, a query and a header", async () => {
    const long = "x".repeat(1_024 * 1_024);
    expect((await post(JSON.stringify({ names: long })))!.status).toBe(413);
    for (const path of [`/v1/services/reports/locks/${long}`, `/v1/services/reports/locks?name=${long}`]) {
      expect((await ask(server, { method: "GET", path }))!.status).toBe(431);
    }
    const headers = { "last-event-id": long };
    expect((await ask(server, { method: "GET", path: "/v1/services/reports/events", headers }))!.status).toBe(
      431,
    );
  });

  test("[N3o] JSON that is 100,000 levels deep, and as deep as a body may be, is refused", async () => {
    const deep = (levels: number) => `{"names":"a","metadata":${"[".repeat(levels)}${"]".repeat(levels)}}`;
    expect((await post(deep(100_000)))!.status).toBe(413);
    expect((await post(deep(32_000)))!.status).toBe(400);
    const chunked = { "transfer-encoding": "chunked" };
    const half = "[".repeat(100_000);
    expect((await post(`${half.length.toString(16)}\r\n${half}\r\n0\r\n\r\n`, chunked))!.status).toBe(413);
  });

  test("[N3p] a body that was packed is none", async () => {
    for (const encoding of ["gzip", "br", "identity"]) {
      const answer = await post("\u001f\u008b", { "content-encoding": encoding });
      expect(answer!.status).toBe(400);
    }
  });

  test("[N3q] more headers than fit are refused", async () => {
    const headers = Object.fromEntries(Array.from({ length: 3_000 }, (_, at) => [`x-${at}`, "y"]));
    expect((await post("{}", headers))!.status).toBe(431);
  });

  test("[N3r] wide JSON, many keys, and keys that look like numbers are looked at in time", async () => {
    const keys = Array.from({ length: 4_000 }, (_, at) => `"${at * 65_536}":1`).join();
    const startedAtMs = performance.now();
    expect((await post(`{"names":"a","metadata":{${keys}}}`))!.status).toBe(400);
    expect(performance.now() - startedAtMs).toBeLessThan(2_000);
  });
});

test("[N3s] many calls on one connection, one behind the other, are answered in order", async () => {
  const connection = await HttpConnection.open(server);
  const one = (at: number) =>
    requestBytes({ path: PATH, key: server.rootKey, body: JSON.stringify({ names: `p${at}` }) });
  connection.write(Buffer.concat(Array.from({ length: 200 }, (_, at) => one(at))));
  let last = 0;
  for (let at = 0; at < 200; at++) {
    const answer = await connection.answer();
    expect(answer!.status).toBe(200);
    const { token } = JSON.parse(answer!.body);
    expect(token).toBeGreaterThan(last);
    last = token;
  }
  connection.socket.destroy();
  expect(refusalOf(await api.acquire("p199"))).toEqual([423, "LOCK_TIMEOUT"]);
});
