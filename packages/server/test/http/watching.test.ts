import type { LockPage, ServerMessage, WatchStart } from "lockdb/protocol";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Server } from "../../src/index.js";
import { NativeClient, startServer } from "./server.js";

let server: Server;
let client: NativeClient;

beforeAll(async () => {
  server = await startServer();
  client = await NativeClient.welcome(server);
});

afterAll(async () => {
  client.close();
  await server.close();
});

type Event = Extract<ServerMessage, readonly ["event", ...unknown[]]>;

describe("the native protocol", () => {
  test("[I2i] a watch begins where its answer says, and ends when that is asked", async () => {
    const watcher = await NativeClient.welcome(server);
    watcher.send(["watch", 1, { prefix: "w/" }], ["watch", 2, {}]);
    const { position, missed } = (await watcher.next("done", 1))[2] as WatchStart;
    expect(missed).toBe(false);
    await client.acquire("w/1");
    const first: Event = await watcher.next("event", 1);
    expect(first[3]).toBe(position);
    expect(first[4]).toMatchObject({ type: "granted", names: ["w/1"] });
    expect((await watcher.next("event", 2))[2]).toBe(first[2]);
    watcher.send(["unwatch", 1]);
    await client.acquire("w/2");
    await watcher.next("event", 2);
    expect(watcher.inbox.filter((message) => message[0] === "event")).toEqual([]);
    watcher.close();
  });

  test("[I2j] a list goes on from page to page", async () => {
    for (const name of ["l/1", "l/2", "l/3"]) await client.acquire(name);
    client.send(["list", 901, { prefix: "l/", limit: 2 }]);
    const first = (await client.next("done", 901))[2] as LockPage;
    expect(first.locks.map(({ name }) => name)).toEqual(["l/1", "l/2"]);
    client.send(["list", 902, { next: first.next }]);
    const last = (await client.next("done", 902))[2] as LockPage;
    expect(last.locks.map(({ name }) => name)).toEqual(["l/3"]);
    expect(last.next).toBeNull();
  });

  test("[N3y] a connection has sixty-four watches", async () => {
    const watcher = await NativeClient.welcome(server);
    for (let id = 1; id <= 65; id++) watcher.send(["watch", id, {}]);
    expect((await watcher.next("refused", 65))[2]).toBe("LIMIT_EXCEEDED");
    watcher.send(["unwatch", 1], ["watch", 66, {}]);
    await watcher.next("done", 66);
    watcher.close();
  });
});

describe("what is too much", () => {
  test("[N3ab] answers that tell of much are sent in frames, and the server lives", async () => {
    const greedy = await NativeClient.welcome(server);
    const long = (n: number) => `${n}${'"'.repeat(500)}`;
    greedy.send(["acquire", 1, "hot", 0], ["acquire", 2, "block", 0]);
    const [, , token] = await greedy.next("granted", 1);
    const names = Array.from({ length: 60 }, (_, n) => long(n));
    for (let id = 3; id < 13; id++)
      greedy.send(["acquire", id, [...names, "block"], null, { within: [token] }]);
    await greedy.next("queued", 12);
    greedy.send(...Array.from({ length: 1_000 }, (_, n) => ["acquire", 100 + n, "hot", 0]));
    await greedy.closed.then(
      () => {},
      () => {},
    );
    await client.release(await client.acquire("still there"));
    greedy.close();
  });

  test("[Q9za] a reader that is too slow is told of the gap as soon as it reads again", async () => {
    const watcher = await NativeClient.welcome(server);
    watcher.send(["watch", 1, { prefix: "slow" }]);
    await watcher.next("done", 1);
    const raw = (watcher.socket as unknown as { _socket: { pause(): void; resume(): void } })._socket;
    raw.pause();
    const long = "x".repeat(500);
    for (let n = 1; n <= 8_000; n++) client.send(["acquire", 10_000 + n, `slow${n}${long}`, 0]);
    await client.next("granted", 18_000);
    raw.resume();
    const [, watch, position] = await watcher.next("gap");
    expect(watch).toBe(1);
    client.send(["acquire", 20_000, "slow again", 0]);
    const after = await watcher.take(
      (message) => message[0] === "event" && message[4].names[0] === "slow again",
    );
    expect(after[3]).toBe(position);
    watcher.close();
  }, 30_000);
});

describe("what is refused", () => {
  const wrong: Readonly<Record<string, readonly unknown[]>> = {
    "a set without names": ["acquire", 1, [], 0],
    "a set of sixty-five": ["acquire", 1, Array.from({ length: 65 }, (_, n) => `${n}`), 0],
    "a name twice": ["acquire", 1, ["a", ["a", "shared"]], 0],
    "a mode that is none": ["acquire", 1, [["a", "exclusive"]], 0],
    "a shared one with a weight": ["acquire", 1, [["a", "shared", 1]], 0],
    "no permits": ["acquire", 1, [["a", 0]], 0],
    "too many permits": ["acquire", 1, [["a", 1_000_001]], 0],
    "more weight than permits": ["acquire", 1, [["a", 2, 3]], 0],
    "half a weight": ["acquire", 1, [["a", 2, 0.5]], 0],
    "a name in too deep a list": ["acquire", 1, [[["a"]]], 0],
    "within that is no list": ["acquire", 1, "a", 0, { within: 1 }],
    "within sixty-five": ["acquire", 1, "a", 0, { within: Array.from({ length: 65 }, (_, n) => n + 1) }],
    "within no token": ["acquire", 1, "a", 0, { within: [0] }],
    "reentrant: false": ["acquire", 1, "a", 0, { reentrant: false }],
    "leads: 1": ["acquire", 1, "a", 0, { leads: 1 }],
    "a stolen set": ["acquire", 1, ["a", "b"], 0, { steal: true }],
    "a stolen detached hold": ["acquire", 1, "a", 0, { steal: true, detachedMs: 1_000 }],
    "a list without a query": ["list", 1],
    "a list of nobody's": ["list", 1, { next: "x" }],
    "a limit of 0": ["list", 1, { limit: 0 }],
    "a limit of 501": ["list", 1, { limit: 501 }],
    "a prefix with control characters": ["list", 1, { prefix: "a\n" }],
    "an unknown field of a query": ["list", 1, { suffix: "a" }],
    "a watch after nothing": ["watch", 1, { after: "" }],
    "a watch with a number": ["watch", 1, 7],
  };
  for (const [what, message] of Object.entries(wrong)) {
    test(`[Q10m] ${what}: INVALID, and the connection stays`, async () => {
      const stranger = await NativeClient.welcome(server);
      stranger.send(message);
      expect((await stranger.next("refused", 1))[2]).toBe("INVALID");
      stranger.send(["heartbeat", 2]);
      await stranger.next("done", 2);
      stranger.close();
    });
  }

  test("[Q10n] an unwatch of no watch does nothing, and one that cannot be read is an error", async () => {
    const stranger = await NativeClient.welcome(server);
    stranger.send(["unwatch", 7], ["unwatch", "x"], ["heartbeat", 2]);
    expect((await stranger.next("error"))[1]).toBe("INVALID");
    await stranger.next("done", 2);
    stranger.close();
  });
});
