import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Server } from "../../src/index.js";
import { ask, errorShape, HttpConnection, type RequestParts, startServer } from "./server.js";

let server: Server;

beforeAll(async () => {
  server = await startServer();
});

afterAll(() => server.close());

describe("the handshake", () => {
  const handshake = {
    connection: "Upgrade",
    upgrade: "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-protocol": "lockdb.v1",
  };
  const upgrade = (parts: Partial<RequestParts> = {}) =>
    ask(server, {
      method: "GET",
      path: "/v1/connect",
      ...parts,
      headers: { ...handshake, ...parts.headers },
    });

  test("[I2a] speaks lockdb.v1, also when more is offered", async () => {
    for (const offer of ["lockdb.v1", "lockdb.v9, lockdb.v1", "a,lockdb.v1,b"]) {
      const answer = await upgrade({ headers: { "sec-websocket-protocol": offer } });
      expect(answer).toMatchObject({ status: 101, headers: { "sec-websocket-protocol": "lockdb.v1" } });
    }
  });

  test("[I2b] without the right key is refused with 401, whatever else is wrong with it", async () => {
    const { rootKey } = server;
    const wrong = `${rootKey.slice(0, -1)}${rootKey.endsWith("0") ? "1" : "0"}`;
    for (const key of [null, "", wrong, `${rootKey}x`, rootKey.slice(1)]) {
      for (const headers of [
        {},
        { "sec-websocket-protocol": "lockdb.v9" },
        { "sec-websocket-version": "7" },
      ]) {
        const answer = await upgrade({ key, headers } as RequestParts);
        expect(answer!.status).toBe(401);
        expect(JSON.parse(answer!.body)).toEqual(errorShape("UNAUTHORIZED"));
      }
    }
    expect((await upgrade({ key: null, path: `/v1/connect?key=${rootKey}` }))!.status).toBe(401);
  });

  test("[I2c] at another address is refused with 404", async () => {
    for (const path of ["/", "/v1", "/v1/connect/x", "/V1/CONNECT", "/livez", "/v1//connect"]) {
      const answer = await upgrade({ path });
      expect(answer!.status).toBe(404);
      expect(JSON.parse(answer!.body)).toEqual(errorShape("NOT_FOUND"));
    }
  });

  test("[I2d] for another protocol, or one that is none, is refused with 400", async () => {
    const wrong = [
      { "sec-websocket-protocol": "" },
      { "sec-websocket-protocol": "lockdb.v2" },
      { "sec-websocket-protocol": "LOCKDB.V1" },
      { "sec-websocket-protocol": "lockdb.v1,,lockdb.v1" },
      { "sec-websocket-protocol": "lockdb.v1, lockdb.v1" },
      { "sec-websocket-protocol": "lockdb.v1, a b" },
      { "sec-websocket-key": "short" },
      { "sec-websocket-key": "" },
      { "sec-websocket-version": "99" },
      { upgrade: "h2c" },
    ];
    for (const headers of wrong) {
      const answer = await upgrade({ headers } as Partial<RequestParts>);
      expect(answer!.status).toBe(400);
      expect(JSON.parse(answer!.body)).toEqual(errorShape("INVALID"));
    }
    expect((await upgrade({ method: "PUT" }))!.status).toBe(400);
    // RFC 6455, section 4.4.
    const old = await upgrade({ headers: { "sec-websocket-version": "8" } });
    expect(old).toMatchObject({ status: 400, headers: { "sec-websocket-version": "13" } });
  });

  test("[A1q] a browser's key comes as a subprotocol, and is not said back", async () => {
    const { rootKey } = server;
    const offer = (key: string) => `lockdb.v1, lockdb.key.${Buffer.from(key).toString("base64url")}`;
    const open = (key: string, more: Partial<RequestParts> = {}) =>
      upgrade({ key: null, ...more, headers: { "sec-websocket-protocol": offer(key) } });
    const answer = await open(rootKey);
    expect(answer).toMatchObject({ status: 101, headers: { "sec-websocket-protocol": "lockdb.v1" } });
    for (const wrong of ["", "x", `${rootKey}x`, rootKey.slice(1), ` ${rootKey} ${rootKey}`]) {
      expect((await open(wrong))!.status).toBe(401);
    }
    // A header that is there is the one that counts.
    expect((await open(rootKey, { key: "ldb_wrong" }))!.status).toBe(401);
  });

  test("[N3zj] that is refused behind answers that nobody reads ends the connection all the same", async () => {
    const own = await startServer();
    const connection = await HttpConnection.open(own, { isPaused: true });
    const unread = `GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n`.repeat(300);
    const refused =
      "GET /v1/connect HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    // Whoever is asked next is asked behind them: they are answered, and then it is refused.
    for (const bytes of [unread, refused]) {
      connection.write(bytes);
      for (let at = 0; at < 10; at++)
        expect((await ask(own, { path: "/openapi.json", method: "GET" }))!.status).toBe(200);
    }
    // It waits for all of its connections.
    await own.close();
    connection.socket.destroy();
  });

  test("[I2e] that is refused ends the connection, also for a client that never closes its side", async () => {
    const connection = await HttpConnection.open(server, { allowHalfOpen: true });
    connection.write(
      "GET /v1/connect HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    );
    expect(await connection.answer()).toMatchObject({ status: 401 });
    // Somebody who is not there any more answers with a reset.
    const poke = setInterval(() => connection.write("x"), 10);
    await connection.closed;
    clearInterval(poke);
  });
});
