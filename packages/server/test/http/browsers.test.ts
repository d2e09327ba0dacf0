import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Server } from "../../src/index.js";
import { ask, callBody, errorShape, HttpConnection, isRefusal, requestBytes, startServer } from "./server.js";

const APP = "https://app.example.com";
const LOCAL = "http://localhost:3000";
const STRANGERS = [
  "https://evil.example.com",
  "http://app.example.com",
  "https://app.example.com:8443",
  "https://app.example.com.evil.com",
  "https://sub.app.example.com",
  "HTTPS://APP.EXAMPLE.COM",
  "https://app.example.com/",
  "null",
  "",
  "*",
];

let server: Server;
let closed: Server;

beforeAll(async () => {
  server = await startServer({ allowOrigins: `${APP}, ${LOCAL}` });
  closed = await startServer();
});

afterAll(() => Promise.all([server.close(), closed.close()]));

const HANDSHAKE = {
  connection: "Upgrade",
  upgrade: "websocket",
  "sec-websocket-version": "13",
  "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
  "sec-websocket-protocol": "lockdb.v1",
};

async function upgrade(at: Server, headers: Record<string, string>, key: string | null = at.rootKey) {
  const answer = await ask(at, {
    method: "GET",
    path: "/v1/connect",
    key,
    headers: { ...HANDSHAKE, ...headers },
  });
  return answer!;
}

describe("a WebSocket from a page", () => {
  test("[A6zb] is opened for whoever says no origin: that is no browser", async () => {
    expect((await upgrade(server, {})).status).toBe(101);
    expect((await upgrade(closed, {})).status).toBe(101);
  });

  test("[A6zc] is opened for pages that came from the server's own address, as the page asks for it", async () => {
    for (const [origin, host] of [
      ["http://locks.example.com", "locks.example.com"],
      ["https://locks.example.com", "locks.example.com"],
      ["https://locks.example.com", "locks.example.com:443"],
      ["https://locks.example.com", "LOCKS.example.com"],
      ["http://127.0.0.1:5625", "127.0.0.1:5625"],
      ["http://[::1]:5625", "[::1]:5625"],
    ] as const)
      expect((await upgrade(closed, { origin, host })).status, `${origin} at ${host}`).toBe(101);
  });

  test("[A6zd] is refused with 403 for pages from elsewhere, unless they are allowed", async () => {
    for (const origin of [APP, LOCAL]) {
      expect((await upgrade(server, { origin })).status).toBe(101);
      const refused = await upgrade(closed, { origin });
      expect(refused.status).toBe(403);
      expect(JSON.parse(refused.body)).toEqual(errorShape("FORBIDDEN"));
      expect(refused.body).toContain("--allow-origins");
    }
    for (const origin of STRANGERS) expect((await upgrade(server, { origin })).status, origin).toBe(403);
    for (const [origin, host] of [
      ["http://locks.example.com:81", "locks.example.com"],
      ["http://locks.example.com", "locks.example.com:81"],
      ["https://locks.example.com", "locks.example.com:80"],
      ["http://evil.example.com", "locks.example.com"],
      ["http://evil.example.com", "x@evil.example.com"],
      ["http://evil.example.com", "evil.example.com/x"],
      ["chrome-extension://locks", "locks"],
      ["null", "null"],
      ["http://evil.example.com", ""],
    ] as const)
      expect((await upgrade(closed, { origin, host })).status, `${origin} at ${host}`).toBe(403);
  });

  test("[A6ze] is asked for its key first, wherever it comes from", async () => {
    for (const origin of [APP, "https://evil.example.com"])
      expect((await upgrade(server, { origin }, null)).status).toBe(401);
    const { rootKey } = server;
    const offer = `lockdb.v1, lockdb.key.${Buffer.from(rootKey).toString("base64url")}`;
    const headers = { "sec-websocket-protocol": offer };
    expect((await upgrade(server, { ...headers, origin: APP }, null)).status).toBe(101);
    expect((await upgrade(server, { ...headers, origin: "https://evil.example.com" }, null)).status).toBe(
      403,
    );
  });
});

describe("HTTP from a page", () => {
  const preflight = (at: Server, origin: string, path: string, method = "POST") =>
    ask(at, {
      method: "OPTIONS",
      path,
      key: null,
      headers: {
        origin,
        "access-control-request-method": method,
        "access-control-request-headers": "authorization,content-type",
      },
    });
  const cors = (headers: Readonly<Record<string, string>>) =>
    Object.keys(headers).filter((name) => name.startsWith("access-control-"));

  test("[A6zf] may call when its origin is allowed: it is told so before it says its key", async () => {
    for (const origin of [APP, LOCAL]) {
      for (const path of [
        "/v1/services/reports/acquire",
        "/v1/services",
        "/lock",
        "/nowhere",
        "/v1/webhooks/x",
      ]) {
        const answer = await preflight(server, origin, path);
        expect(answer).toMatchObject({ status: 204, body: "" });
        expect(answer!.headers).toMatchObject({
          "access-control-allow-origin": origin,
          "access-control-allow-methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
          "access-control-allow-headers": "authorization, content-type, last-event-id, lockdb-context",
          vary: "Origin",
        });
        expect(answer!.headers).not.toHaveProperty("access-control-allow-credentials");
      }
    }
  });

  test("[A6zg] reads every answer then, refusals and streams too", async () => {
    const headers = { origin: APP };
    const exposed = {
      "access-control-allow-origin": APP,
      "access-control-expose-headers": "retry-after, ratelimit, ratelimit-policy, x-request-id",
      vary: "Origin",
    };
    const body = JSON.stringify({ names: "disk" });
    for (const [status, parts] of [
      [200, { path: "/v1/services/reports/acquire", body }],
      [423, { path: "/v1/services/reports/acquire", body }],
      [401, { path: "/v1/services/reports/acquire", body, key: "wrong" }],
      [400, { path: "/v1/services/reports/acquire", body: "{" }],
      [404, { method: "GET", path: "/v1/services/reports/nothing" }],
      [405, { method: "PATCH", path: "/v1/services/reports/acquire" }],
      [200, { method: "GET", path: "/livez", key: null }],
      [200, { path: "/check", body: callBody("check", "disk") }],
      [400, { path: "/lock", body: "{" }],
    ] as const) {
      const answer = await ask(server, { ...parts, headers });
      expect(answer!.status).toBe(status);
      expect(answer!.headers).toMatchObject(exposed);
    }
    const events = await HttpConnection.open(server);
    const path = "/v1/services/reports/events";
    events.write(requestBytes({ method: "GET", path, key: server.rootKey, headers }));
    while (!events.received.includes("\r\n\r\n"))
      await new Promise((resolve) => events.socket.once("data", resolve));
    expect(events.received.toString()).toContain(`access-control-allow-origin: ${APP}\r\n`);
    events.socket.destroy();
  });

  test("[A6zh] is told nothing when it is not", async () => {
    for (const origin of STRANGERS) {
      const asked = await preflight(server, origin, "/v1/services/reports/acquire");
      expect(cors(asked!.headers), origin).toEqual([]);
      const answer = await ask(server, { method: "GET", path: "/v1/services", headers: { origin } });
      expect(cors(answer!.headers), origin).toEqual([]);
      expect(answer!.headers.vary).toBe("Origin");
    }
    const none = await preflight(closed, APP, "/v1/services/reports/acquire");
    expect(cors(none!.headers)).toEqual([]);
    expect(none!.headers).not.toHaveProperty("vary");
  });

  test("[C2wa] never makes a refusal of the original routes look like a lock", async () => {
    for (const origin of [APP, "https://evil.example.com"]) {
      for (const [path, key, body] of [
        ["/lock", server.rootKey, "{"],
        ["/lock", "wrong", callBody("lock", "a")],
        ["/api/lock", server.rootKey, callBody("lock", "a")],
        ["/unlock", server.rootKey, "[]"],
      ] as const) {
        const answer = await ask(server, { path, key, body, headers: { origin } });
        expect(answer).toSatisfy(isRefusal);
        expect(answer!.headers["content-type"]).toMatch(/^text\/plain/);
      }
      // A stranger's preflight is refused as any other method is.
      const asked = await preflight(server, origin, "/lock");
      if (origin !== APP) expect(asked).toSatisfy(isRefusal);
    }
  });

  test("[A6zi] of an origin that is none the server does not start", async () => {
    for (const allowOrigins of [
      "*",
      "null",
      "app.example.com",
      "https://app.example.com/",
      "https://app.example.com/path",
      "https://App.example.com",
      "https://app.example.com:443",
      "https://*.example.com",
      "ftp://app.example.com",
      `${APP} ${LOCAL}`,
    ])
      await expect(startServer({ allowOrigins }), allowOrigins).rejects.toThrow(
        /^"allowOrigins": must be origins/,
      );
  });
});
