import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Server } from "../../src/index.js";
import {
  ask,
  callBody,
  type HttpAnswer,
  HttpConnection,
  isRefusal,
  NativeClient,
  requestBytes,
  SERVICE,
  startServer,
} from "./server.js";

/**
 * The original client takes any answer with a JSON body, other than a 401, for the lock it asked for. So here is every
 * way to be refused that we could think of, and after each of them: no 2xx, no JSON, nothing granted, nothing freed.
 */
const EVENTS = ["lock", "unlock", "check"] as const;

let server: Server;
let native: NativeClient;

beforeAll(async () => {
  server = await startServer();
  native = await NativeClient.welcome(server);
  await ask(server, { path: "/lock", body: callBody("lock", "victim") });
});

afterAll(async () => {
  native.close();
  await server.close();
});

/** Tokens count every grant of the service: two probes tell how many there were in between. */
async function probe(client = native): Promise<number> {
  const token = await client.acquire("probe");
  await client.release(token);
  return token;
}

/** Runs what must be refused, and shows that it was, and that it had no effect. */
async function refused(call: () => Promise<HttpAnswer | null>, status?: number): Promise<HttpAnswer> {
  const before = await probe();
  const answer = await call();
  expect(answer).not.toBeNull();
  expect(answer).toSatisfy(isRefusal);
  if (status !== undefined) expect(answer!.status).toBe(status);
  if (answer!.body !== "") expect(answer!.headers["content-type"]).toMatch(/^text\/plain/);
  expect((await probe()) - before).toBe(1);
  expect(await native.inspect("victim")).toMatchObject({ held: true, queueLength: 0 });
  return answer!;
}

/** The same on all three routes. */
async function refusedEverywhere(body: (event: string) => string | Buffer, status?: number): Promise<void> {
  for (const event of EVENTS)
    await refused(() => ask(server, { path: `/${event}`, body: body(event) }), status);
}

const whole = (event: string, more: object) =>
  JSON.stringify({ serviceId: SERVICE, eventName: event, lockName: "victim", waitForLockInMs: 20, ...more });

describe("bodies", () => {
  const texts: readonly string[] = [
    "",
    " ",
    "{",
    "victim",
    "null",
    "true",
    "5",
    '"victim"',
    "[]",
    "{}",
    "undefined",
    "NaN",
    "{'lockName':'victim'}",
    '[{"serviceId":"reports","lockName":"victim"}]',
    '{"__proto__":{"serviceId":"reports","lockName":"victim"}}',
    '{"constructor":{"prototype":{"lockName":"victim"}},"serviceId":"reports"}',
    `${whole("lock", {})}x`,
    `${whole("lock", {})}${whole("lock", {})}`,
    "[".repeat(60_000),
    `{"a":${"[".repeat(30_000)}${"]".repeat(30_000)}}`,
  ];
  for (const text of texts) {
    test(`[C2a] a body that is no call is refused: ${text.slice(0, 50)}`, () =>
      refusedEverywhere(() => text, 400));
  }

  const values = {
    serviceId: [
      null,
      5,
      true,
      {},
      [],
      "",
      "-a",
      ".a",
      "_a",
      "a b",
      "a/b",
      "a\u0000",
      "ä",
      "a\n",
      "x".repeat(65),
    ],
    lockName: [null, 5, true, {}, ["victim"], "", "x".repeat(513), "€".repeat(171), `${"😀".repeat(128)}x`],
    eventName: [5, true, {}, ["lock"], "", "Lock", "LOCK", "lock ", "release", "__proto__", "constructor"],
    waitForLockInMs: [null, "20", "", true, [], [20], {}, -1, -0.001, -1e308, 315_360_000_001, 1e21, 1e308],
    lockExpirationInSeconds: [null, "300", true, [], {}, 0, -1, 0.0009, 315_360_001, 1e308],
    unlockWebhookUrl: [
      null,
      "",
      5,
      {},
      ["https://example.org"],
      "javascript:1",
      "example.org/hook",
      "//example.org/hook",
      "ftp://example.org/hook",
      "https://",
      "https://user@example.org/hook",
      "https://:secret@example.org/hook",
      "https://example.org/a b",
      "https://exam\nple.org/hook",
      " https://example.org/hook",
      "https://example.org/\ud800",
      `https://example.org/${"x".repeat(1_005)}`,
    ],
  };
  for (const [field, wrong] of Object.entries(values)) {
    for (const value of wrong) {
      const shown = `${field}: ${JSON.stringify(value).slice(0, 40)}`;
      test(`[C2b] a field of a wrong kind or range is refused: ${shown}`, () =>
        refusedEverywhere((event) => whole(event, { [field]: value }), 400));
    }
  }
  for (const field of ["serviceId", "lockName"]) {
    test(`[C2b] a missing field is refused: ${field}`, () =>
      refusedEverywhere((event) => whole(event, { [field]: undefined }), 400));
  }
  for (const field of ["waitForLockInMs", "lockExpirationInSeconds"]) {
    test(`[C2b] a number beyond all numbers is refused: ${field}`, () =>
      refusedEverywhere((event) => whole(event, {}).replace("}", `,"${field}":1e999}`), 400));
  }
  test("[C2c] the event of another route is refused", async () => {
    for (const event of EVENTS) {
      for (const other of EVENTS.filter((one) => one !== event)) {
        await refused(() => ask(server, { path: `/${event}`, body: whole(other, {}) }), 400);
      }
    }
  });

  const escapes = [
    "\\ud800",
    "\\udc00",
    "a\\udfff",
    "\\ud83d\\u0041",
    "\\ude00\\ud83d",
    "\\u0000",
    "\\n",
    "\\u001f",
  ];
  for (const escaped of [...escapes, "\\u007f"]) {
    test(`[N1a] a name that is no text, or has control characters, is refused over HTTP: ${escaped}`, () =>
      refusedEverywhere((event) => whole(event, { lockName: "@" }).replace("@", escaped), 400));
  }
  for (const [what, bytes] of Object.entries({
    "a lone byte": [0xff],
    "a cut character": [0xe2, 0x82],
    "a surrogate as bytes": [0xed, 0xa0, 0x80],
    "an overlong slash": [0xc0, 0xaf],
  })) {
    // Decoded carelessly all of these would be one name: the one with the replacement character.
    test(`[N1b] a name that is no UTF-8 is refused over HTTP: ${what}`, () =>
      refusedEverywhere((event) => {
        const [head, tail] = whole(event, { lockName: "@" }).split("@");
        return Buffer.concat([Buffer.from(head!), Buffer.from(bytes), Buffer.from(tail!)]);
      }, 400));
  }
});

describe("names that look like trouble and are not", () => {
  const names = [
    "__proto__",
    "constructor",
    "toString",
    "hasOwnProperty",
    "💥",
    "a,b",
    "../etc",
    "<b>",
    "x".repeat(512),
  ];
  for (const name of [...names, "€".repeat(170), "😀".repeat(128), "\u0085", "\ufffd", " "]) {
    test(`[N1c] an ordinary name over HTTP: ${JSON.stringify(name).slice(0, 30)}`, async () => {
      expect(await ask(server, { path: "/check", body: callBody("check", name) })).toMatchObject({
        status: 200,
        body: JSON.stringify({ eventName: "check", lockName: name, isLocked: false }),
      });
      expect(await ask(server, { path: "/lock", body: callBody("lock", name) })).toMatchObject({
        status: 200,
      });
      expect(await native.inspect(name)).toMatchObject({ held: true });
      expect(await ask(server, { path: "/unlock", body: callBody("unlock", name) })).toMatchObject({
        body: JSON.stringify({ eventName: "unlock", lockName: name, wasLocked: true }),
      });
    });
  }
  test("[N1d] names are compared byte for byte over HTTP", async () => {
    await ask(server, { path: "/lock", body: callBody("lock", "caf\u00e9") });
    const other = await ask(server, { path: "/check", body: callBody("check", "cafe\u0301") });
    expect(other!.body).toContain('"isLocked":false');
  });
});

describe("sizes", () => {
  const padded = (bytes: number, name = "victim") => {
    const body = whole("lock", { lockName: name, x: "" });
    return body.replace('"x":""', `"x":"${"y".repeat(bytes - body.length)}"`);
  };
  test("[C2d] a body of more than 64 KiB is refused, one of 64 KiB is not", async () => {
    await refusedEverywhere((event) => padded(65_537).replace('"lock"', `"${event}"`).padEnd(65_537), 413);
    const fits = await ask(server, { path: "/lock", body: padded(65_536, "large") });
    expect(fits!.status).toBe(200);
  });
  test("[C2e] a chunked body of more than 64 KiB is refused", () =>
    refused(async () => {
      const connection = await HttpConnection.open(server);
      const chunked = { "transfer-encoding": "chunked" };
      connection.write(requestBytes({ path: "/lock", key: server.rootKey, headers: chunked }));
      const body = padded(70_000);
      for (let at = 0; at < body.length; at += 7_000)
        connection.write(`1b58\r\n${body.slice(at, at + 7_000)}\r\n`);
      connection.write("0\r\n\r\n");
      return connection.answer();
    }, 413));
  test("[C2f] a compressed body is refused", () =>
    refusedEverywhere((event) => gzipSync(whole(event, {})), 400));
  test("[C2g] headers of more than 16 KiB are refused", () =>
    refused(
      () => ask(server, { path: "/lock", headers: { x: "y".repeat(17_000) }, body: whole("lock", {}) }),
      431,
    ));
  test("[C2h] a body that is cut off is no call", async () => {
    const before = await probe();
    const bytes = requestBytes({ path: "/lock", key: server.rootKey, body: callBody("lock", "cut") });
    for (const hangUp of ["end", "destroy", "resetAndDestroy"] as const) {
      const connection = await HttpConnection.open(server);
      connection.write(bytes.subarray(0, -1));
      await native.inspect("cut");
      connection.socket[hangUp]();
      await connection.closed;
      expect(connection.received.toString()).not.toMatch(/ 200 /);
    }
    expect((await probe()) - before).toBe(1);
  });
});

describe("keys", () => {
  const authorizations = (key: string): readonly (string | null)[] => [
    null,
    "",
    "Bearer",
    "Bearer ",
    `Basic ${key}`,
    key,
    `Bearer${key}`,
    `Bearer\t${key}`,
    `Bearer ${key} ${key}`,
    `Bearer "${key}"`,
    `Bearer ${key}x`,
    `Bearer ${key.slice(0, -1)}`,
    `Bearer ${key.slice(0, -1)}${key.endsWith("0") ? "1" : "0"}`,
    `Bearer ${key.toLowerCase()}`,
    `Bearer ${"x".repeat(600)}`,
    "Bearer undefined",
    `Bearer ${key},Bearer ${key}`,
  ];
  test("[C2i] a missing, malformed or wrong key is refused on each route, with 401", async () => {
    for (const event of EVENTS) {
      for (const authorization of authorizations(server.rootKey)) {
        const headers = authorization === null ? {} : { authorization };
        const call = () => ask(server, { path: `/${event}`, key: null, headers, body: whole(event, {}) });
        expect((await refused(call, 401)).body).toBe("Unauthorized");
      }
    }
  });
  test("[C2j] a key anywhere but in its header is no key", async () => {
    const { rootKey } = server;
    for (const path of [
      `/lock?key=${rootKey}`,
      `/lock?access_token=${rootKey}`,
      `/lock?authorization=Bearer+${rootKey}`,
    ]) {
      await refused(() => ask(server, { path, key: null, body: whole("lock", { apiKey: rootKey }) }), 401);
    }
  });
  test("[C2k] without a key the body is not even looked at", () =>
    refused(() => ask(server, { path: "/lock", key: null, body: "{" }), 401));
});

describe("methods and addresses", () => {
  test("[C2l] every method but POST is refused", async () => {
    const methods = [
      "GET",
      "HEAD",
      "PUT",
      "PATCH",
      "DELETE",
      "OPTIONS",
      "TRACE",
      "PROPFIND",
      "LOCK",
      "UNLOCK",
      "M-SEARCH",
    ];
    for (const event of EVENTS) {
      for (const method of methods) {
        await refused(() => ask(server, { method, path: `/${event}`, body: whole(event, {}) }));
        await refused(() => ask(server, { method, path: `/${event}?x=/${event}` }));
      }
    }
  });
  test("[C2m] a wrong base address is refused, whatever is asked of it", async () => {
    const bases = [
      "/api",
      "/v1",
      "/v1/connect",
      "/livez",
      "/readyz",
      "/lock",
      "/a/b/c/d",
      "/a/..",
      "/%zz",
      "/100%",
      "/?",
    ];
    for (const event of EVENTS) {
      for (const base of [...bases, "/%2e%2e", "/\u00e4", "/a;b", "/__proto__", `/${"x".repeat(4_000)}`]) {
        await refused(() => ask(server, { path: `${base}/${event}`, body: whole(event, {}) }));
        const json = { "content-type": "application/json" };
        await refused(() => ask(server, { path: `${base}/${event}`, headers: json, body: "{" }));
        await refused(() =>
          ask(server, { path: `${base}/${event}`, headers: json, body: "x".repeat(65_537) }),
        );
      }
    }
  });
  test("[C2n] a base address with a # in it is refused: fetch leaves out all that follows", async () => {
    for (const path of ["/", "/index.html", "//", "*", "/locks"]) {
      await refused(() => ask(server, { path, body: whole("lock", {}) }));
      await refused(() => ask(server, { path, headers: { "content-type": "application/json" }, body: "{" }));
    }
    const call = fetch(`${server.url}/#/locks/lock`, { method: "POST", body: whole("lock", {}) });
    await expect(call.then((answer) => answer.json())).rejects.toThrow(SyntaxError);
  });
  test("[C2o] a path that is nearly one of the three is refused", async () => {
    for (const path of [
      "/Lock",
      "/LOCK",
      "/lock%00",
      "/lock%2f",
      "/lock;x",
      "/lock.json",
      "/locks",
      "/loc",
      "/lock%20",
    ]) {
      await refused(() => ask(server, { path, body: whole("lock", {}) }));
    }
  });
  test("[C2p] a call with slashes too many, or in another spelling of its path, is a call", async () => {
    for (const path of [
      "//lock",
      "/lock/",
      "///lock//",
      "/lock?",
      "/lock?x=1",
      "/l%6fck",
      `${server.url}/lock`,
    ]) {
      const name = `spelled ${path}`;
      expect(await ask(server, { path, body: callBody("lock", name) })).toMatchObject({ status: 200 });
      expect(await native.inspect(name)).toMatchObject({ held: true });
    }
  });
  test("[C2q] a call that asks for another protocol is refused", async () => {
    for (const upgrade of ["h2c", "websocket", "TLS/1.0"]) {
      const headers = {
        connection: "Upgrade, HTTP2-Settings",
        upgrade,
        "http2-settings": "AAMAAABkAAQAAP__",
      };
      for (const event of EVENTS) {
        await refused(() => ask(server, { path: `/${event}`, headers, body: whole(event, {}) }));
        await refused(() =>
          ask(server, { path: `/api/${event}`, key: null, headers, body: whole(event, {}) }),
        );
      }
    }
  });
});

describe("HTTP that is none", () => {
  const call = (head: string) => (key: string) => {
    const body = whole("lock", { lockName: "free" });
    const auth = `Authorization: Bearer ${key}\r\nContent-Length: ${body.length}\r\n`;
    return `${head.replace("@", auth)}\r\n${body}`;
  };
  const broken: Readonly<Record<string, (key: string) => string>> = {
    "no HTTP at all": () => "lock victim please\r\n\r\n",
    "the preface of HTTP/2": () => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a TLS greeting": () => "\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001\u00fc\u0003\u0003\r\n\r\n",
    "no host": call("POST /lock HTTP/1.1\r\n@"),
    "an unknown method": call("STEAL /lock HTTP/1.1\r\nHost: x\r\n@"),
    "no path": call("POST HTTP/1.1\r\nHost: x\r\n@"),
    "an unknown version": call("POST /lock HTTP/7.3\r\nHost: x\r\n@"),
    "two lengths": call("POST /lock HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n@"),
    "a length and chunks": call("POST /lock HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n@"),
    "a length that is no number": call("POST /lock HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n@"),
    "a negative length": call("POST /lock HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n@"),
    "chunks that are none": () =>
      "POST /lock HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a header without a colon": call("POST /lock HTTP/1.1\r\nHost: x\r\nlock\r\n@"),
    "a zero byte in a header": call("POST /lock HTTP/1.1\r\nHost: x\r\nX: a\u0000b\r\n@"),
  };
  for (const [what, bytes] of Object.entries(broken)) {
    test(`[C2r] broken HTTP is refused: ${what}`, () =>
      refused(async () => {
        const connection = await HttpConnection.open(server);
        return connection.write(Buffer.from(bytes(server.rootKey), "latin1")).answer();
      }));
  }
  test("[C2s] an expectation that nobody knows is refused, and 100-continue is met", async () => {
    const headers = { expect: "a miracle" };
    await refused(() => ask(server, { path: "/lock", headers, body: whole("lock", {}) }), 417);
    const connection = await HttpConnection.open(server);
    const body = callBody("lock", "continued");
    const all = requestBytes({
      path: "/lock",
      key: server.rootKey,
      headers: { expect: "100-continue" },
      body,
    });
    connection.write(all.subarray(0, -body.length));
    expect(await connection.answer()).toMatchObject({ status: 100 });
    connection.write(body);
    expect(await connection.answer()).toMatchObject({ status: 200 });
  });
  test("[C2t] who sends rubbish behind a call that waits has had its answer: it is never granted", async () => {
    const token = await native.acquire("rubbish");
    // This caller does not close its side when it is told off.
    const connection = await HttpConnection.open(server, { allowHalfOpen: true });
    connection.write(requestBytes({ path: "/lock", key: server.rootKey, body: callBody("lock", "rubbish") }));
    await native.until("rubbish", (info) => info.queueLength === 1);
    connection.write("RUBBISH\r\n\r\n");
    expect(await connection.answer()).toSatisfy(isRefusal);
    await native.until("rubbish", (info) => info.queueLength === 0);
    await native.release(token);
    expect(await native.inspect("rubbish")).toMatchObject({ held: false });
    connection.socket.destroy();
  });
  test("[C2u] a content type that is none is refused, none at all is not needed", async () => {
    for (const type of ["", "x", "a/b/c", ";;;", "text"]) {
      await refused(() =>
        ask(server, { path: "/lock", headers: { "content-type": type }, body: whole("lock", {}) }),
      );
    }
    for (const type of [
      "application/json",
      "text/plain",
      "application/x-www-form-urlencoded",
      "multipart/form-data",
    ]) {
      const body = callBody("lock", `typed ${type}`);
      const answer = await ask(server, { path: "/lock", headers: { "content-type": type }, body });
      expect(answer!.status).toBe(200);
    }
  });
});
