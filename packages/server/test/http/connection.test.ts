import type { ServerMessage } from "lockdb/protocol";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Server } from "../../src/index.js";
import { Connection, Loop, nodeRuntime, type SocketListener } from "../../src/loop/index.js";
import { openMemoryStore } from "../../src/store/index.js";
import { ROOT_CALLER } from "../root-caller.js";
import { ManualStore } from "./manual-store.js";
import { HttpConnection, helloOf, NativeClient, startParts, startServer } from "./server.js";

/** Hostile clients of the native protocol. One that is let in must not be able to stop the server for the others. */
describe("a hostile frame", () => {
  /** A connection on a socket of the test's own: what its handlers throw is thrown here, and kills nobody. */
  async function connection(): Promise<{
    read(text: string): void;
    sent: ServerMessage[];
    stop(): Promise<void>;
  }> {
    const loop = await Loop.start({
      openStore: async () => openMemoryStore(),
      service: { waitersMax: 9, holdsMax: 9, sessionsMax: 9, writesSessionHolds: false },
      servicesMax: 9,
      runtime: nodeRuntime,
      log: { warn: () => {}, error: () => {} },
    });
    let listener: SocketListener | null = null;
    const sent: ServerMessage[] = [];
    const socket = {
      listen: (given: SocketListener) => {
        listener = given;
      },
      send: (text: string) => sent.push(...(JSON.parse(text) as ServerMessage[])),
      close: () => {},
      terminate: () => {},
      bufferedAmount: 0,
    };
    new Connection(socket, loop, ROOT_CALLER);
    const read = (text: string) => listener!.message(text, Buffer.byteLength(text));
    const stop = () => {
      listener!.closed();
      return loop.stop();
    };
    return { read, sent, stop };
  }

  const deep = `${"[".repeat(400_000)}${"]".repeat(400_000)}`;
  const nested: Readonly<Record<string, string>> = {
    "a message": `[0,${deep}]`,
    "its kind": `[0,[${deep}]]`,
    "its id": `[0,["acquire",${deep},"x",0]]`,
    "its name": `[0,["acquire",1,${deep},0]]`,
    "its metadata": `[0,["acquire",1,"x",0,{"metadata":{"a":${deep}}}]]`,
    hello: `[0,["hello",${deep}]]`,
    "the counter": `[${deep}]`,
    objects: `[0,${'{"a":'.repeat(150_000)}1${"}".repeat(150_000)}]`,
  };
  for (const [what, frame] of Object.entries(nested)) {
    test(`[N3o] that nests ever deeper is refused, and does not stop the process: ${what}`, async () => {
      const { read, sent, stop } = await connection();
      expect(() => read(frame)).not.toThrow();
      expect(sent.length).toBe(1);
      expect(sent[0]).toSatisfy(([kind]: ServerMessage) => ["error", "refused", "ended"].includes(kind));
      await stop();
    });
  }
});

describe("a connection", () => {
  let server: Server;
  let other: NativeClient;

  beforeAll(async () => {
    server = await startServer();
    other = await NativeClient.welcome(server, { owner: "o".repeat(256) });
    await other.acquire("crowded");
    for (let at = 0; at < 100; at++) other.send(["acquire", other.newId(), "crowded", null]);
    await other.until("crowded", (info) => info.queueLength === 100);
  });

  afterAll(async () => {
    other.close();
    await server.close();
  });

  test("[Q10k] that is ended by a wrong hello has ended: nothing behind it in the frame has an effect", async () => {
    const client = await NativeClient.open(server);
    client.send(["hello", { wrong: true }], helloOf(), ["sync"], ["acquire", 1, "behind", 0]);
    await client.closed;
    expect(client.inbox.map(([kind]) => kind)).toEqual(["ended"]);
    expect(await other.inspect("behind")).toMatchObject({ held: false });
  });

  test("[Q10l] a wrong claim is refused, but not under the id of a request: its number is a token", async () => {
    const client = await NativeClient.open(server);
    client.send(["hold", 1, "x"]);
    expect((await client.take(() => true))[0]).toBe("error");
    client.send(helloOf(), ["sync"]);
    await client.next("welcome");
    client.send(["acquire", 1, "crowded", null]);
    await client.next("queued", 1);
    for (const wrong of [
      ["hold", 1, ""],
      ["hold", 1],
      ["hold", 1, "x", {}, 5],
      ["sync", 1],
    ])
      client.send(wrong);
    for (let at = 0; at < 4; at++) expect((await client.take(() => true))[0]).toBe("error");
    client.close();
  });

  test("[N3q] who asks much in one frame, and reads, gets an answer or a typed refusal to all of it", async () => {
    const client = await NativeClient.welcome(server);
    const ids = Array.from({ length: 2_000 }, () => client.newId());
    // 30 bytes of question each, and 30 KiB of answer.
    client.send(...ids.map((id) => ["inspect", id, "crowded"]));
    const answered: number[] = [];
    for (const _ of ids) {
      const [, id] = await client.take(([kind]) => kind === "done" || kind === "refused");
      answered.push(id as number);
    }
    expect(answered.sort((a, b) => a - b)).toEqual(ids);
    client.close();
  });

  test("[N3t] who asks much under one id, and spoils it in between, gets an answer to all of it too", async () => {
    const client = await NativeClient.welcome(server);
    client.send(
      ...Array.from({ length: 2_000 }, (_, at) => [at % 5 === 4 ? "steal" : "inspect", 1, "crowded"]),
    );
    for (let at = 0; at < 2_000; at++) await client.take(([kind]) => kind === "done" || kind === "refused");
    client.close();
  });

  test("[N3u] a frame of the server is at most 1 MiB too, however much there is to say in one turn", async () => {
    const holder = await NativeClient.welcome(server, { owner: "h".repeat(256) });
    await holder.request("acquire", "verbose", 0, { metadata: { note: "n".repeat(1_000) } });
    const client = await NativeClient.welcome(server);
    const sizes: number[] = [];
    client.socket.on("message", (data) => sizes.push(String(data).length));
    const ids = Array.from({ length: 2_000 }, () => client.newId());
    // Each refusal tells who holds the lock, and what it says of itself.
    client.send(...ids.map((id) => ["acquire", id, "verbose", 0]));
    for (const id of ids) expect((await client.next("refused", id))[2]).toBe("LOCK_TIMEOUT");
    client.send(...Array.from({ length: 60 }, () => ["inspect", client.newId(), "crowded"]));
    for (let at = 0; at < 60; at++) await client.next("done");
    expect(Math.max(...sizes)).toBeLessThanOrEqual(1_048_576);
    holder.close();
    client.close();
  });

  test("[N3s] who asks on while the disk hangs is stopped, before the answers that wait fill the memory", async () => {
    const store = new ManualStore();
    const parts = await startParts({ store });
    const crowd = await NativeClient.welcome(parts, { owner: "o".repeat(256) });
    await crowd.acquire("crowded");
    for (let at = 0; at < 100; at++) crowd.send(["acquire", crowd.newId(), "crowded", null]);
    const elsewhere = await NativeClient.welcome(parts, { service: "elsewhere" });
    const client = await NativeClient.welcome(parts);
    store.isManual = true;
    client.send(["acquire", client.newId(), "durable", 0, { detachedMs: 60_000 }]);
    const commit = await store.nextCommit();
    // 240 MB of answers in all.
    for (let frame = 0; frame < 16; frame++) {
      client.send(...Array.from({ length: 500 }, () => ["inspect", client.newId(), "crowded"]));
      await elsewhere.inspect("x");
    }
    const isStopped =
      client.isClosed || client.inbox.some(([kind]) => kind === "refused" || kind === "error");
    for (const one of [client, crowd, elsewhere]) one.close();
    store.isManual = false;
    commit.succeed();
    await parts.close();
    expect(isStopped).toBe(true);
  });

  test("[N3r] who sends pings and never reads is cut off too", async () => {
    const connection = await HttpConnection.open(server);
    connection.write(
      `GET /v1/connect HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${server.rootKey}\r\nconnection: upgrade\r\n` +
        "upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-protocol: lockdb.v1\r\n" +
        `sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
    );
    expect(await connection.answer()).toMatchObject({ status: 101 });
    connection.socket.pause();
    let isCut = false;
    connection.socket.once("error", () => {
      isCut = true;
    });
    const ping = Buffer.concat([Buffer.from([0x89, 0x80 + 120, 0, 0, 0, 0]), Buffer.alloc(120)]);
    const pings = Buffer.concat(Array.from({ length: 2_000 }, () => ping));
    const before = process.memoryUsage();
    for (let sent = 0; sent < 64 * 1_048_576 && !isCut; sent += pings.length) {
      if (!connection.socket.write(pings)) await other.inspect("x");
      while (connection.socket.writableLength > 1_048_576 && !isCut) await other.inspect("x");
    }
    expect(isCut).toBe(true);
    expect(process.memoryUsage.rss() - before.rss).toBeLessThan(256 * 1_048_576);
    connection.socket.destroy();
  });
});
