import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer as createTlsServer } from "node:https";
import { type AddressInfo, createServer, type Server as NetServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { AddressPolicy } from "../../src/webhooks/addresses.js";
import { dnsLookup, type Lookup } from "../../src/webhooks/lookup.js";
import { type Outcome, post } from "../../src/webhooks/post.js";
import { Receiver } from "./receiver.js";

const toEnd: (() => unknown)[] = [];
const loopback = new AddressPolicy({ allowPrivate: true, allowed: "" });
const none = new AddressPolicy({ allowPrivate: false, allowed: "" });

afterEach(async () => {
  for (const end of toEnd.splice(0)) await end();
});

async function receiver(options?: { port?: number; host?: string }): Promise<Receiver> {
  const opened = await Receiver.open(options);
  toEnd.push(() => opened.close());
  return opened;
}

/** A server that does with a connection what the test likes. */
async function rawServer(serve: (socket: Socket) => void): Promise<{ url: string; sockets: Socket[] }> {
  const sockets: Socket[] = [];
  const server: NetServer = createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    serve(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  toEnd.push(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, sockets };
}

interface Given {
  readonly policy?: AddressPolicy;
  readonly lookup?: Lookup;
  readonly connectMs?: number;
  readonly totalMs?: number;
  readonly signal?: AbortSignal;
}

const noLookup: Lookup = async () => {
  throw new Error("nobody is to be asked");
};

function send(url: string, given: Given = {}): Promise<Outcome> {
  const { policy = loopback, lookup = noLookup, connectMs = 5_000, totalMs = 10_000 } = given;
  const message = {
    url,
    headers: { "content-type": "application/json", "webhook-id": "msg_1" },
    body: '{"a":"€"}',
  };
  return post(message, { policy, lookup, connectMs, totalMs }, given.signal ?? new AbortController().signal);
}

describe("a post", () => {
  test("[C5v] brings its body, its headers and the URL's host to the path that was named", async () => {
    const target = await receiver();
    expect(await send(target.url("/a/b?c=d&e=%20f#nothing"))).toMatchObject({ status: 200, error: null });
    const [{ method, path, headers, body }] = target.received as [(typeof target.received)[0]];
    expect({ method, path, body }).toEqual({ method: "POST", path: "/a/b?c=d&e=%20f", body: '{"a":"€"}' });
    expect(headers).toMatchObject({
      host: `127.0.0.1:${target.port}`,
      "content-type": "application/json",
      "content-length": "11",
      "webhook-id": "msg_1",
      connection: "close",
    });
  });

  for (const status of [200, 201, 202, 204, 299]) {
    test(`[C5w] is delivered when it is answered ${status}`, async () => {
      const target = await receiver();
      target.answer = (_request, response) => response.writeHead(status).end();
      expect(await send(target.url())).toMatchObject({ status, error: null });
    });
  }
  for (const status of [400, 401, 404, 410, 429, 500, 503]) {
    test(`[C5x] is not when it is answered ${status}`, async () => {
      const target = await receiver();
      target.answer = (_request, response) => response.writeHead(status, { "retry-after": "120" }).end("{}");
      expect(await send(target.url())).toEqual({
        status,
        error: `answered ${status}`,
        retryAfterMs: 120_000,
        isGone: status === 410,
      });
    });
  }
  for (const status of [300, 301, 302, 303, 307, 308]) {
    test(`[C5y] follows no redirect: ${status}`, async () => {
      const [target, elsewhere] = [await receiver(), await receiver()];
      target.answer = (_request, response) => response.writeHead(status, { location: elsewhere.url() }).end();
      expect(await send(target.url())).toMatchObject({
        status,
        error: expect.stringMatching(/not followed/),
      });
      expect(elsewhere.connectionCount).toBe(0);
    });
  }

  test("[C5z] reads no answer's body, however long: the connection ends with the status", async () => {
    let sent = 0;
    const target = await receiver();
    const over = new Promise<void>((resolve) => {
      target.answer = (_request, response) => {
        const block = Buffer.alloc(65_536);
        response.writeHead(200);
        const more = () => {
          while (sent < 1e9 && response.write(block)) sent += block.length;
        };
        response.on("drain", more).once("close", resolve);
        more();
      };
    });
    expect(await send(target.url())).toMatchObject({ status: 200, error: null });
    await over;
    expect(sent).toBeLessThan(64 * 1_024 * 1_024);
  });

  test("[C5aa] an answer that comes drop by drop, and never to its end, is cut off", async () => {
    const target = await rawServer((socket) => {
      socket.write("HTTP/1.1 200 OK\r\n");
      const timer = setInterval(() => socket.write("x-more: 1\r\n"), 10);
      socket.once("close", () => clearInterval(timer));
    });
    expect(await send(target.url, { totalMs: 300 })).toMatchObject({
      status: null,
      error: "no answer within 300 ms",
    });
    const [socket] = target.sockets;
    if (!socket!.destroyed) await new Promise((resolve) => socket!.once("close", resolve));
  });

  test("[C5ab] nor are any number of interim answers an answer", async () => {
    const target = await rawServer((socket) => {
      const timer = setInterval(() => socket.write("HTTP/1.1 102 Processing\r\n\r\n"), 5);
      socket.once("close", () => clearInterval(timer));
    });
    expect(await send(target.url, { totalMs: 200 })).toMatchObject({ error: "no answer within 200 ms" });
  });

  test("[C5ac] a head that is too long, and what is no HTTP, are no success", async () => {
    const long = await rawServer(
      (socket) => void socket.write(`HTTP/1.1 200 OK\r\nx: ${"y".repeat(50_000)}\r\n\r\n`),
    );
    expect(await send(long.url)).toMatchObject({ status: null, error: "HPE_HEADER_OVERFLOW" });
    const other = await rawServer((socket) => void socket.end("SSH-2.0-OpenSSH_9.2\r\n"));
    expect(await send(other.url)).toMatchObject({ status: null, error: expect.stringMatching(/^HPE_/) });
    const silent = await rawServer((socket) => void socket.end());
    expect(await send(silent.url)).toMatchObject({ status: null, error: expect.any(String) });
  });

  test("[C5ad] a target that is not there is told as such", async () => {
    const target = await receiver();
    await target.close();
    expect(await send(target.url())).toMatchObject({ status: null, error: "ECONNREFUSED" });
  });

  test("[C5ae] one that does not accept a connection in time is given up", async () => {
    // It connects, and never answers the greeting of TLS.
    const target = await rawServer(() => {});
    expect(await send(target.url.replace("http", "https"), { connectMs: 200 })).toMatchObject({
      error: "no connection within 200 ms",
    });
  });

  test("[C5af] is cut off when its caller says so, and not begun when that was before", async () => {
    const target = await rawServer(() => {});
    const controller = new AbortController();
    const sending = send(target.url, { signal: controller.signal });
    while (target.sockets.length === 0) await new Promise((resolve) => setImmediate(resolve));
    controller.abort(new Error("the server stops"));
    expect(await sending).toMatchObject({ status: null, error: "the server stops" });
    expect(await send(target.url, { signal: controller.signal })).toMatchObject({
      error: "the server stops",
    });
    expect(target.sockets.length).toBe(1);
  });
});

describe("where a post goes", () => {
  test("[C5ag] an address that is not allowed is not connected to", async () => {
    const target = await receiver();
    expect(await send(target.url(), { policy: none })).toMatchObject({
      status: null,
      error: expect.stringMatching(/no public address/),
    });
    expect(target.connectionCount).toBe(0);
  });

  test("[C5ah] nor a name that leads there, though only one of its addresses does", async () => {
    const target = await receiver();
    for (const addresses of [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["127.0.0.1", "2606:4700::1111"]]) {
      const outcome = await send(target.url("/", "inner.example"), {
        policy: none,
        lookup: async () => addresses,
      });
      expect(outcome).toMatchObject({
        status: null,
        error: expect.stringMatching(/^127.0.0.1 is no public/),
      });
    }
    expect(target.connectionCount).toBe(0);
  });

  test("[C5ai] a name that means something else when it is asked again is asked once, and connected as it was checked", async () => {
    const inside = await receiver();
    // Beside it, on another address of this machine, which alone is allowed here.
    const outside = await receiver({ port: inside.port, host: "127.0.0.2" });
    const policy = new AddressPolicy({ allowPrivate: false, allowed: "127.0.0.2" });
    let asked = 0;
    const lookup: Lookup = async () => [++asked % 2 === 1 ? "127.0.0.2" : "127.0.0.1"];
    const url = inside.url("/hook", "rebinding.example");
    expect(await send(url, { policy, lookup })).toMatchObject({ status: 200 });
    expect(asked).toBe(1);
    expect(await send(url, { policy, lookup })).toMatchObject({ status: null });
    expect([outside.received.length, outside.connectionCount, inside.connectionCount]).toEqual([1, 1, 0]);
    expect(outside.received[0]!.headers.host).toBe(`rebinding.example:${inside.port}`);
  });

  test("[C5aj] one that has several addresses is reached at one that works", async () => {
    const target = await receiver({ host: "127.0.0.2" });
    const lookup: Lookup = async () => ["::1", "127.0.0.2"];
    expect(await send(target.url("/", "two.example"), { lookup })).toMatchObject({ status: 200 });
  });

  test("[C5ak] a name that nobody knows, or of which nobody tells in time, is a failure", async () => {
    const unknown: Lookup = async () => {
      throw Object.assign(new Error("queryA ENOTFOUND x.example"), { code: "ENOTFOUND" });
    };
    expect(await send("http://x.example/", { lookup: unknown })).toMatchObject({ error: "ENOTFOUND" });
    let wasCancelled = false;
    const silent: Lookup = (_host, signal) => {
      signal.addEventListener("abort", () => {
        wasCancelled = true;
      });
      return new Promise(() => {});
    };
    expect(await send("http://x.example/", { lookup: silent, totalMs: 50 })).toMatchObject({
      error: "no answer within 50 ms",
    });
    expect(wasCancelled).toBe(true);
  });

  test("[C5al] no proxy of the environment is asked", async () => {
    const [target, proxy] = [await receiver(), await receiver()];
    const variables = ["http_proxy", "HTTP_PROXY", "ALL_PROXY"];
    for (const name of variables) process.env[name] = proxy.url("");
    try {
      expect(await send(target.url())).toMatchObject({ status: 200 });
    } finally {
      for (const name of variables) delete process.env[name];
    }
    expect([target.received.length, proxy.connectionCount]).toEqual([1, 0]);
  });

  test("[C5am] localhost is this machine, whatever DNS would say, and asks nobody", async () => {
    expect(await dnsLookup("localhost", new AbortController().signal)).toEqual(["127.0.0.1", "::1"]);
    expect(await dnsLookup("a.LOCALHOST.", new AbortController().signal)).toEqual(["127.0.0.1", "::1"]);
  });
});

describe("TLS", () => {
  test("[C5an] a certificate that nobody vouches for is no receiver, whatever the environment says", async (context) => {
    const made = certificate("hook.example");
    if (made === null) return context.skip("openssl is not installed");
    let count = 0;
    const server = createTlsServer(made, (_request, response) => {
      count++;
      response.end();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    toEnd.push(() => new Promise((resolve) => server.close(resolve)));
    const url = `https://hook.example:${(server.address() as AddressInfo).port}/`;
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
    try {
      expect(await send(url, { lookup: async () => ["127.0.0.1"] })).toMatchObject({
        status: null,
        error: "DEPTH_ZERO_SELF_SIGNED_CERT",
      });
    } finally {
      delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    }
    expect(count).toBe(0);
  });

  test("[C5ao] one that is trusted is asked by the name of the URL, and has to be of that name", async (context) => {
    const made = certificate("hook.example");
    if (made === null) return context.skip("openssl is not installed");
    const server = createTlsServer(made, (request, response) => {
      response.writeHead(request.headers.host?.startsWith("hook.example:") ? 204 : 400).end();
    });
    const names: unknown[] = [];
    server.on("secureConnection", (socket) => names.push(socket.servername));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    toEnd.push(() => new Promise((resolve) => server.close(resolve)));
    const { port } = server.address() as AddressInfo;
    // A process of its own: who is trusted is read once, at the start.
    const script = `
      import { post } from ${JSON.stringify(new URL("../../dist/webhooks/post.js", import.meta.url).href)};
      import { AddressPolicy } from ${JSON.stringify(new URL("../../dist/webhooks/addresses.js", import.meta.url).href)};
      const policy = new AddressPolicy({ allowPrivate: true, allowed: "" });
      const options = { policy, lookup: async () => ["127.0.0.1"], connectMs: 5000, totalMs: 5000 };
      const found = [];
      for (const host of ["hook.example", "other.example"])
        found.push(await post({ url: "https://" + host + ":${port}/", headers: {}, body: "{}" }, options, new AbortController().signal));
      process.stdout.write(JSON.stringify(found));`;
    const { execFile } = await import("node:child_process");
    const said = await new Promise<string>((resolve, reject) => {
      const env = { ...process.env, NODE_EXTRA_CA_CERTS: made.file };
      execFile(process.execPath, ["--input-type=module", "-e", script], { env }, (error, out) =>
        error ? reject(error) : resolve(out),
      );
    });
    expect(JSON.parse(said)).toMatchObject([
      { status: 204, error: null },
      { status: null, error: "ERR_TLS_CERT_ALTNAME_INVALID" },
    ]);
    expect(names[0]).toBe("hook.example");
  });
});

/** A key and a certificate that it has signed itself. Null where there is no openssl. */
function certificate(name: string): { key: Buffer; cert: Buffer; file: string } | null {
  const folder = mkdtempSync(join(tmpdir(), "lockdb-tls-"));
  toEnd.push(() => rmSync(folder, { recursive: true, force: true }));
  const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  const subject = ["-subj", `/CN=${name}`, "-addext", `subjectAltName=DNS:${name}`];
  try {
    execFileSync(
      "openssl",
      [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
      ].concat(["-keyout", key, "-out", cert], subject),
      { stdio: "ignore" },
    );
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
  return { key: readFileSync(key), cert: readFileSync(cert), file: cert };
}
