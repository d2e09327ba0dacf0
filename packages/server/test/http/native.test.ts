import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Server } from "../../src/index.js";
import { openMemoryStore } from "../../src/store/index.js";
import { HttpConnection, helloOf, NativeClient, startParts, startServer } from "./server.js";

let server: Server;
/** Somebody else, whose lock none of this may disturb. */
let other: NativeClient;
let othersToken: number;

beforeAll(async () => {
  server = await startServer();
  other = await NativeClient.welcome(server);
  othersToken = await other.acquire("other's");
});

afterAll(async () => {
  other.close();
  await server.close();
});

/** Shows that what happens meanwhile grants nothing and disturbs nobody. */
async function withoutEffect(happening: () => Promise<void>): Promise<void> {
  const probe = async () => {
    const token = await other.acquire("probe");
    await other.release(token);
    return token;
  };
  const before = await probe();
  await happening();
  expect((await probe()) - before).toBe(1);
  const { holders, queueLength } = await other.inspect("other's");
  expect({ tokens: holders.map(({ token }) => token), queueLength }).toEqual({
    tokens: [othersToken],
    queueLength: 0,
  });
}

test("[Q7w] a release that comes in the turn in which waiters are cut off passes them over", async () => {
  const [holder, live] = [await NativeClient.welcome(server), await NativeClient.welcome(server)];
  const token = await holder.acquire("cut");
  const dead = await Promise.all(Array.from({ length: 5 }, () => NativeClient.welcome(server)));
  for (const waiter of [...dead, live]) {
    waiter.send(["acquire", 1, "cut", null]);
    await waiter.next("queued", 1);
  }
  // All of it has arrived when the server looks.
  for (const { socket } of dead) socket.terminate();
  holder.send(["release", 9, token]);
  await live.next("granted", 1);
  for (const client of [holder, live]) client.close();
});

test("[Q7wa] so does one whose waiters were cut off after a last word, which is read a turn before their end", async () => {
  const [holder, live] = [await NativeClient.welcome(server), await NativeClient.welcome(server)];
  const token = await holder.acquire("cut short");
  const dead = await Promise.all(Array.from({ length: 5 }, () => NativeClient.welcome(server)));
  const first = await NativeClient.welcome(server);
  for (const waiter of [...dead, live]) {
    waiter.send(["acquire", 1, "cut short", null]);
    await waiter.next("queued", 1);
  }
  first.socket.terminate();
  for (const waiter of dead) {
    waiter.send(["heartbeat", 2]);
    waiter.socket.terminate();
  }
  holder.send(["release", 9, token]);
  await live.next("granted", 1);
  for (const client of [holder, live]) client.close();
});

describe("frames", () => {
  test("[I2f] the answers of one turn come in one frame", async () => {
    const client = await NativeClient.welcome(server);
    const frames: string[] = [];
    client.socket.on("message", (data) => frames.push(String(data)));
    client.send(["heartbeat", 1], ["inspect", 2, "a"], ["check", 3, "a", 0], ["inspect", 4, "b"]);
    await client.next("done", 4);
    expect(frames.length).toBe(1);
    client.close();
  });

  test("[I2g] many requests are in flight, each answered under its id when it is due", async () => {
    const [holder, client] = [await NativeClient.welcome(server), await NativeClient.welcome(server)];
    const tokens = [await holder.acquire("one"), await holder.acquire("two")];
    client.send(["acquire", 1, "one", null], ["acquire", 2, "two", null], ["acquire", 3, "three", null]);
    await client.next("granted", 3);
    await holder.release(tokens[1]!);
    await client.next("granted", 2);
    await holder.release(tokens[0]!);
    await client.next("granted", 1);
    holder.close();
    client.close();
  });

  test("[I2h] a message in many fragments is a message", async () => {
    const client = await NativeClient.welcome(server);
    const text = JSON.stringify([client.received, ["inspect", 1, "ö€💥"]]);
    for (const [at, unit] of [...text].entries())
      client.socket.send(unit, { fin: at === [...text].length - 1 });
    expect((await client.next("done", 1))[2]).toMatchObject({ name: "ö€💥", held: false });
    client.close();
  });

  const wrongFrames: Readonly<Record<string, string | Buffer>> = {
    "an empty one": "",
    "no JSON": "inspect",
    "half of one": '[0,["inspect"',
    "an object": '{"0":["inspect",1,"x"]}',
    null: "null",
    "a number": "7",
    "a text": '"[0]"',
    "a binary one": Buffer.from('[2,["acquire",7,"x",0]]'),
    "no counter at all": "[]",
    "a message in place of the counter": '[["acquire",1,"x",0]]',
    "a counter below 0": '[-1,["acquire",1,"x",0]]',
    "a counter that is no integer": '[0.5,["acquire",1,"x",0]]',
    "a counter that is a text": '["1",["acquire",1,"x",0]]',
    "a counter that is null": '[null,["acquire",1,"x",0]]',
    "a counter that is true": '[true,["acquire",1,"x",0]]',
    "a counter of more than was sent": '[9,["acquire",1,"x",0]]',
    "a counter beyond all numbers": '[1e999,["acquire",1,"x",0]]',
    "a counter that is no safe integer": '[9007199254740993,["acquire",1,"x",0]]',
    "a counter that goes back": '[0,["acquire",1,"x",0]]',
  };
  for (const [what, frame] of Object.entries(wrongFrames)) {
    test(`[Q10a] a frame that is none is refused as such, and the connection stays: ${what}`, () =>
      withoutEffect(async () => {
        const client = await NativeClient.welcome(server);
        client.send(["heartbeat", client.newId()]);
        await client.next("done");
        client.send();
        client.sendRaw(frame);
        expect(await client.next("error")).toEqual([
          "error",
          "INVALID",
          expect.stringMatching(/^A frame must/),
        ]);
        expect(await client.inspect("x")).toMatchObject({ held: false });
        client.close();
      }));
  }

  test("[N3k] a frame of more than 1 MiB closes the connection with 1009, one of 1 MiB is read", () =>
    withoutEffect(async () => {
      const client = await NativeClient.welcome(server);
      const frame = JSON.stringify([client.received, ["inspect", 1, "x"]]);
      client.sendRaw(frame.padEnd(1_048_576));
      await client.next("done", 1);
      client.sendRaw(JSON.stringify([client.received, ["acquire", 2, "x", 0]]).padEnd(1_048_577));
      expect(await client.closed).toMatchObject({ code: 1009 });
    }));

  const wrongBytes: Readonly<Record<string, readonly number[]>> = {
    "no mask": [0x81, 0x02, 0x5b, 0x5d],
    "reserved bits": [0xf1, 0x82, 0, 0, 0, 0, 0x5b, 0x5d],
    "an unknown kind": [0x83, 0x80, 0, 0, 0, 0],
    "no UTF-8": [0x81, 0x81, 0, 0, 0, 0, 0xff],
    "a length of 2^63": [0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    "a long ping": [0x89, 0xfe, 0, 200, 0, 0, 0, 0],
    "the rest of nothing": [0x80, 0x80, 0, 0, 0, 0],
    "a close with half a code": [0x88, 0x81, 0, 0, 0, 0, 3],
  };
  for (const [what, bytes] of Object.entries(wrongBytes)) {
    test(`[Q10b] bytes that are no WebSocket end that connection only: ${what}`, () =>
      withoutEffect(async () => {
        const connection = await HttpConnection.open(server);
        connection.write(
          `GET /v1/connect HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${server.rootKey}\r\nconnection: upgrade\r\n` +
            `upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-protocol: lockdb.v1\r\n` +
            `sec-websocket-key: ${randomBytes(16).toString("base64")}\r\n\r\n`,
        );
        expect(await connection.answer()).toMatchObject({ status: 101 });
        connection.write(Buffer.from(bytes));
        await connection.closed;
      }));
  }
});

describe("messages", () => {
  const deep = JSON.parse(`${"[".repeat(1_000)}${"]".repeat(1_000)}`) as unknown;
  const times = [-1, 0.5, "5", true, [], {}, 315_360_000_001, 1e300];
  const names = [
    "",
    5,
    null,
    true,
    [],
    {},
    ["x", 7],
    "a\u0000",
    "a\nb",
    "\u007f",
    "\ud800",
    "x\udfff",
    "x".repeat(513),
  ];
  const ids = [0, -1, 1.5, "1", null, true, [], {}, 2 ** 53, 1e300];
  const wrongMessages: readonly unknown[] = [
    ...["steal", "Acquire", "granted", "welcome", "error", "__proto__", "constructor", "", 5, null, true].map(
      (kind) => [kind, 7, "x", 0],
    ),
    ...[[], {}, "acquire", 5, null, true, [[]], deep, ["acquire", deep], ["acquire", 7, deep, 0]],
    ...names.map((name) => ["acquire", 7, name, 0]),
    ...names.map((name) => ["unlock", 7, name]),
    ...names.map((name) => ["check", 7, name, 0]),
    ...names.map((name) => ["inspect", 7, name]),
    ...names.map((name) => ["release", 7, 7, name]),
    ...times.map((time) => ["acquire", 7, "x", time]),
    ...times.map((time) => ["check", 7, "x", time]),
    ...times.map((time) => ["acquire", 7, "x", 0, { detachedMs: time }]),
    ...times.map((time) => ["acquire", 7, "x", 0, { minHoldMs: time }]),
    ...times.map((time) => ["acquire", 7, "x", 0, { maxHoldMs: time }]),
    ...ids.map((token) => ["release", 7, token]),
    ...ids.map((ticket) => ["acquire", 7, "x", 0, { ticket }]),
    ...["acquire", "cancel", "release", "unlock", "check", "inspect", "heartbeat", "bye"].flatMap((kind) => [
      [kind],
      ...ids.map((id) => [kind, id, "x", 0]),
      [kind, 7, "x", 0, {}, "too much"],
    ]),
    ["acquire", 7],
    ["acquire", 7, "x"],
    ["acquire", 7, "x", 0, { detachedMs: 0 }],
    ["acquire", 7, "x", 0, { maxHoldMs: 0 }],
    ...[
      null,
      [],
      "x",
      5,
      { detachedms: 5 },
      { owner: "me" },
      { token: 5 },
      JSON.parse('{"__proto__":{}}'),
    ].map((extra) => ["acquire", 7, "x", 0, extra]),
    ...[null, [], "x", { a: null }, { a: {} }, { a: [1] }, { a: deep }, { a: "x".repeat(1_017) }].map(
      (metadata) => ["acquire", 7, "x", 0, { metadata }],
    ),
    ["release", 7],
    ["check", 7, "x"],
    ["inspect", 7, "x", 0],
  ];

  test("[Q10c] a message that is none is refused, under its id when it has one, and the connection stays", () =>
    withoutEffect(async () => {
      const client = await NativeClient.welcome(server);
      for (const message of wrongMessages) {
        client.send(message);
        const [kind, ...rest] = await client.take(() => true);
        const hasId = Array.isArray(message) && Number.isSafeInteger(message[1]) && message[1] > 0;
        const shown = JSON.stringify(message)?.slice(0, 80);
        expect({ shown, kind, rest }).toMatchObject({ kind: hasId ? "refused" : "error" });
        const [code, text] = hasId ? rest.slice(1) : rest;
        expect({ shown, code }).toMatchObject({ code: "INVALID" });
        expect(text).toSatisfy((text: string) => text.length > 10 && text.length < 200);
      }
      expect(await client.inspect("x")).toMatchObject({ held: false, queueLength: 0 });
      client.close();
    }));

  test("[Q10d] a wrong message does not spoil the others of its frame", () =>
    withoutEffect(async () => {
      const client = await NativeClient.welcome(server);
      client.send(["inspect", 1, "x"], ["steal", 2], ["inspect", 3, "x"], null, ["inspect", 4, "x"]);
      for (const id of [1, 3, 4]) await client.next("done", id);
      expect(await client.next("refused", 2)).toMatchObject(["refused", 2, "INVALID", expect.any(String)]);
      await client.next("error");
      client.close();
    }));

  test("[N3l] a message of more than 64 KiB is refused as too large, and the others of its frame are not", () =>
    withoutEffect(async () => {
      const client = await NativeClient.welcome(server);
      client.send(["inspect", 1, "x"], ["acquire", 2, "x".repeat(65_536), 0], ["inspect", 3, "x"]);
      for (const id of [1, 3]) await client.next("done", id);
      expect(await client.next("refused", 2)).toMatchObject(["refused", 2, "TOO_LARGE", expect.any(String)]);
      client.close();
    }));

  test("[Q10e] nothing works before hello", () =>
    withoutEffect(async () => {
      const client = await NativeClient.open(server);
      client.send(
        ["acquire", 1, "x", 0],
        ["unlock", 2, "other's"],
        ["release", 3, othersToken],
        ["heartbeat", 4],
      );
      client.send(["inspect", 5, "other's"], ["check", 6, "x", 0], ["bye", 7], ["cancel", 8]);
      for (let id = 1; id <= 8; id++) {
        expect(await client.next("refused", id)).toEqual(["refused", id, "INVALID", "Say hello first."]);
      }
      client.send(["sync"]);
      await client.next("error");
      client.send(helloOf(), ["sync"]);
      await client.next("welcome");
      client.close();
    }));

  test("[Q10f] hello twice is refused, and the first one stands", () =>
    withoutEffect(async () => {
      const client = await NativeClient.welcome(server);
      client.send(helloOf({ service: "elsewhere" }));
      expect(await client.next("error")).toMatchObject([
        "error",
        "INVALID",
        expect.stringContaining("Hello"),
      ]);
      expect(await client.inspect("other's")).toMatchObject({ held: true });
      client.close();
    }));

  const wrongHellos = [
    ...[null, 5, "", "-a", "a/b", "ä", "x".repeat(65)].map((service) => ({ service })),
    ...[null, 5, "", "short", "with space", "x".repeat(65), "a/b/c/d/e"].map((client) => ({ client })),
    ...[null, 5, "", "short", "with space", "x".repeat(65), "../../../etc"].map((session) => ({ session })),
    ...[null, 0, -1, 1.5, "1", 2 ** 53].map((connection) => ({ connection })),
    ...[null, 0, 1, "false"].map((resume) => ({ resume })),
    ...[null, 0, 999, 3_600_001, 5_000.5, "10s", 1e300].map((leaseMs) => ({ leaseMs })),
    ...[null, 5, "", "a\nb", "\ud800", "x".repeat(257)].map((owner) => ({ owner })),
    { extra: 1 },
    { account: "default" },
  ];
  test("[Q10g] a wrong hello is told what is wrong, and its connection is closed", () =>
    withoutEffect(async () => {
      for (const fields of wrongHellos) {
        const client = await NativeClient.open(server);
        client.send(helloOf(fields as object), ["sync"]);
        expect(await client.next("ended")).toMatchObject(["ended", "INVALID", expect.any(String)]);
        expect(await client.closed).toMatchObject({ code: 1008 });
      }
      for (const hello of [
        ["hello"],
        ["hello", null],
        ["hello", {}],
        ["hello", []],
        ["hello", "x"],
        [...helloOf(), 1],
      ]) {
        const client = await NativeClient.open(server);
        client.send(hello, ["sync"]);
        await client.next("ended");
        await client.closed;
      }
    }));

  test("[Q10h] a session that is not there cannot be resumed, and another's cannot be taken", () =>
    withoutEffect(async () => {
      const owner = await NativeClient.open(server);
      const hello = helloOf();
      owner.send(hello, ["sync"]);
      await owner.next("welcome");
      for (const [fields, code] of [
        [{ resume: true }, "SESSION_ENDED"],
        [{ session: hello[1].session, connection: 2 }, "INVALID"],
        [{ ...hello[1], connection: 1 }, "INVALID"],
      ] as const) {
        const client = await NativeClient.open(server);
        client.send(helloOf(fields), ["sync"]);
        expect(await client.next("ended")).toMatchObject(["ended", code, expect.any(String)]);
        await client.closed;
      }
      expect(await owner.inspect("other's")).toMatchObject({ held: true });
      owner.close();
    }));

  test("[Q10i] an id that does not rise is refused, unless it is the same request again", async () => {
    const client = await NativeClient.welcome(server);
    client.send(["acquire", 5, "rising", 0]);
    const [, , token] = await client.next("granted", 5);
    await withoutEffect(async () => {
      // Not acknowledged yet: the same request gets the same answer.
      client.sendRaw('[1,["acquire",5,"rising",0]]');
      expect(await client.next("granted", 5)).toMatchObject(["granted", 5, token]);
      client.send(["acquire", 5, "another", 0]);
      expect(await client.next("refused", 5)).toMatchObject([
        "refused",
        5,
        "REQUEST_ID_REUSED",
        expect.any(String),
      ]);
      client.send(["acquire", 3, "another", 0]);
      expect(await client.next("refused", 3)).toMatchObject([
        "refused",
        3,
        "REQUEST_ID_REUSED",
        expect.any(String),
      ]);
      client.send(["release", 4, token]);
      expect(await client.next("refused", 4)).toMatchObject([
        "refused",
        4,
        "REQUEST_ID_REUSED",
        expect.any(String),
      ]);
      expect(await client.inspect("rising")).toMatchObject({ held: true });
    });
    client.close();
  });

  test("[Q10j] a lock of another session is not released by whoever knows its token", () =>
    withoutEffect(async () => {
      const client = await NativeClient.welcome(server);
      client.send(
        ["release", 1, othersToken],
        ["release", 2, othersToken, "other's"],
        ["unlock", 3, "other's"],
      );
      for (const id of [1, 2, 3]) {
        expect(await client.next("refused", id)).toMatchObject([
          "refused",
          id,
          "NOT_HELD",
          expect.any(String),
        ]);
      }
      client.send(["hold", othersToken, "other's"]);
      expect(await client.next("lost")).toMatchObject(["lost", othersToken, expect.any(String)]);
      client.close();
    }));
});

describe("who says nothing, and who does not listen", () => {
  test("[N3m] a connection that does not say hello within 10 s is closed, one that does is not", async () => {
    const fast = await startParts({ store: openMemoryStore(), speed: 50 });
    const polite = await NativeClient.welcome(fast);
    const silent = await NativeClient.open(fast);
    const openedAtMs = performance.now();
    expect(await silent.next("ended")).toMatchObject([
      "ended",
      "UNAVAILABLE",
      expect.stringContaining("hello"),
    ]);
    expect(await silent.closed).toMatchObject({ code: 1001 });
    expect(performance.now() - openedAtMs).toBeGreaterThan(10_000 / 50 - 50);
    expect(await polite.inspect("x")).toMatchObject({ held: false });
    polite.close();
    await fast.close();
  });

  test("[N3n] a reader that never reads is cut off, its memory is bounded, and nobody else notices", async () => {
    const crowd = await NativeClient.welcome(server, { owner: "o".repeat(256) });
    const token = await crowd.acquire("crowded");
    for (let at = 0; at < 100; at++) crowd.send(["acquire", crowd.newId(), "crowded", null]);
    const deaf = await NativeClient.welcome(server);
    deaf.send(["acquire", deaf.newId(), "other's", null]);
    await other.until("other's", (info) => info.queueLength === 1);
    (deaf.socket as unknown as { _socket: { pause(): void } })._socket.pause();
    const before = process.memoryUsage.rss();
    let isAway = false;
    let frames = 0;
    for (; frames < 200 && !isAway; frames++) {
      // An answer has 30 KiB.
      deaf.send(...Array.from({ length: 20 }, () => ["inspect", deaf.newId(), "crowded"]));
      isAway = (await other.inspect("other's")).queue[0]!.away;
    }
    expect(isAway).toBe(true);
    expect(process.memoryUsage.rss() - before).toBeLessThan(256 * 1_048_576);
    deaf.close();
    await crowd.release(token);
    crowd.close();
    await other.request("cancel");
  });
});
