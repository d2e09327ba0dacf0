import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Server } from "../../src/index.js";
import { TLS } from "../tls/files.js";
import { ask, callBody, type HttpAnswer, HttpConnection, requestBytes, startServer } from "./server.js";

const SAFE = {
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
  "content-security-policy":
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
};
const HSTS = "strict-transport-security";

// biome-ignore lint/suspicious/noExplicitAny: the document is looked at as somebody else would.
type Json = any;

for (const isTls of [false, true]) {
  describe(isTls ? "every answer over TLS" : "every answer", () => {
    let server: Server;
    const seen: number[] = [];

    beforeAll(async () => {
      server = await startServer(isTls ? TLS : {});
    });

    afterAll(() => server.close());

    /** Nothing is missing, and nothing is there twice: each of them stands in the answer once. */
    function look(answer: HttpAnswer | null, what: string, policy = SAFE["content-security-policy"]) {
      expect(answer, what).not.toBeNull();
      const { headers, status } = answer!;
      seen.push(status);
      expect(headers, what).toMatchObject({ ...SAFE, "content-security-policy": policy });
      expect(headers[HSTS], what).toBe(isTls ? "max-age=31536000" : undefined);
    }

    const raw = async (bytes: string | Buffer, what: string) => {
      const connection = await HttpConnection.open(server);
      connection.write(bytes);
      look(await connection.answer(), what);
      connection.socket.destroy();
    };

    test("[A6zk] has them: operations, whatever they say", async () => {
      const document: Json = JSON.parse((await ask(server, { method: "GET", path: "/openapi.json" }))!.body);
      // All of them once are enough: over TLS their headers come from the same place.
      const paths = Object.entries<Json>(document.paths).slice(0, isTls ? 3 : undefined);
      for (const [template, methods] of paths) {
        const path = template.replace(/\{(\w+)\}/g, (_, name) => (name === "session" ? "s1234567" : "msg_1"));
        for (const method of ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]) {
          if (template.endsWith("/events") && (method === "GET" || method === "HEAD")) continue;
          for (const key of [server.rootKey, null]) {
            const example: Json = Object.values<Json>(
              Object.values<Json>(methods[method.toLowerCase()]?.requestBody?.content ?? {})[0]?.examples ??
                {},
            )[0]?.value;
            const body = example === undefined ? "" : JSON.stringify({ ...example, waitMs: 0 });
            const answer = await ask(server, { method, path, key, ...(method === "GET" ? {} : { body }) });
            const what = `${method} ${path} ${answer?.status}`;
            // Pages say what they are made of, and browsers may keep the one that has no data.
            if (template === "/" && answer?.status === 200) continue;
            if (template === "/docs" && answer?.status === 200)
              look(answer, what, expect.stringMatching(/^default-src 'none'; style-src 'sha256-/));
            else look(answer, what);
          }
        }
      }
      const events = await HttpConnection.open(server);
      const path = "/v1/services/reports/events";
      events.write(requestBytes({ method: "GET", path, key: server.rootKey }));
      while (!events.received.includes("\r\n\r\n"))
        await new Promise((resolve) => events.socket.once("data", resolve));
      const head = events.received.toString();
      for (const [name, value] of Object.entries(SAFE)) expect(head).toContain(`\r\n${name}: ${value}\r\n`);
      events.socket.destroy();
      if (!isTls) expect(seen).toEqual(expect.arrayContaining([200, 204, 400, 401, 404, 405]));
    });

    test("[A6zl] has them: what no operation has answered", async () => {
      const key = server.rootKey;
      const host = "host: x\r\n";
      const upgrade = `${host}connection: upgrade\r\nupgrade: websocket\r\n`;
      const known = `authorization: Bearer ${key}\r\n`;
      const socket = "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
      const lockdb = "sec-websocket-protocol: lockdb.v1\r\n";
      for (const [what, bytes] of Object.entries({
        "no path that can be read": `GET /%zz HTTP/1.1\r\n${host}\r\n`,
        "no such path": `GET /nothing HTTP/1.1\r\n${host}\r\n`,
        "no such path, by the original client": `POST /api/lock HTTP/1.1\r\n${host}content-length: 0\r\n\r\n`,
        "no host": "GET /livez HTTP/1.1\r\n\r\n",
        "no HTTP": "hello\r\n\r\n",
        "an expectation": `POST /lock HTTP/1.1\r\n${host}expect: 200-maybe\r\ncontent-length: 0\r\n\r\n`,
        "too much of a head": `GET /livez HTTP/1.1\r\n${host}x: ${"x".repeat(20_000)}\r\n\r\n`,
        "a length and chunks": `POST /lock HTTP/1.1\r\n${host}content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n`,
        "an upgrade without a key": `GET /v1/connect HTTP/1.1\r\n${upgrade}\r\n`,
        "an upgrade elsewhere": `GET /v1 HTTP/1.1\r\n${upgrade}${known}\r\n`,
        "an upgrade of another protocol": `GET /v1/connect HTTP/1.1\r\n${upgrade}${known}${socket}\r\n`,
        "an upgrade that is wrong": `GET /v1/connect HTTP/1.1\r\n${upgrade}${known}${lockdb}\r\n`,
        "an upgrade by a stranger's page": `GET /v1/connect HTTP/1.1\r\n${upgrade}${known}${socket}${lockdb}origin: https://evil.example.com\r\n\r\n`,
        "an upgrade of the original client": `POST /lock HTTP/1.1\r\n${upgrade}${known}\r\n`,
        "an upgrade that is right": `GET /v1/connect HTTP/1.1\r\n${upgrade}${known}${socket}${lockdb}\r\n`,
      }))
        await raw(bytes, what);
      await raw(requestBytes({ path: "/lock", key, body: callBody("lock", "a") }), "a call");
      await raw(requestBytes({ path: "/lock", key, body: "x".repeat(70_000) }), "too much of a body");
    });
  });
}
