import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Server } from "../../src/index.js";
import { Api, refusalOf } from "./api.js";
import { EventReader } from "./event-reader.js";
import { ManualStore } from "./manual-store.js";
import { NativeClient, startParts, startServer } from "./server.js";

// biome-ignore lint/suspicious/noExplicitAny: events of any type.
type Json = any;

let server: Server;
let api: Api;

beforeAll(async () => {
  server = await startServer();
  api = new Api(server);
});

afterAll(() => server.close());

describe("the stream of events", () => {
  test("[Q9hd] tells what happens to locks of its prefix, in order, with tokens", async () => {
    const reader = await EventReader.open(server, "?prefix=seen%2F");
    expect(await reader.next()).toMatchObject({ type: "start", id: expect.stringMatching(/\.\d+$/) });
    await api.token("unseen");
    const token = await api.token("seen/😀\u2028", { owner: "ann" });
    await api.post("/release", { token });
    const [granted, released] = [await reader.next(), await reader.next()];
    expect(granted).toMatchObject({
      type: "granted",
      data: {
        type: "granted",
        names: ["seen/😀\u2028"],
        owner: "ann",
        token,
        at: expect.stringMatching(/Z$/),
      },
    });
    expect(released).toMatchObject({ type: "released", data: { token } });
    expect(released.id).not.toBe(granted.id);
    reader.close();
  });

  test("[Q9he] goes on from Last-Event-ID without a gap, and without telling anything twice", async () => {
    const first = await EventReader.open(server, "?prefix=resumed%2F");
    await first.next();
    for (let at = 0; at < 3; at++) await api.token(`resumed/${at}`);
    const [a, b] = [await first.next(), await first.next()];
    first.close();
    for (let at = 3; at < 300; at++) await api.token(`resumed/${at}`);
    const second = await EventReader.open(server, "?prefix=resumed%2F", b!.id);
    const names: string[] = [a!.data.names[0], b!.data.names[0]];
    while (names.length < 300) names.push((await second.next()).data.names[0]);
    await api.token("resumed/300");
    names.push((await second.next()).data.names[0]);
    expect(names).toEqual(Array.from({ length: 301 }, (_, at) => `resumed/${at}`));
    second.close();
  });

  test("[Q9hf] says so when what came before is not kept any more", async () => {
    const reader = await EventReader.open(server, "", "another-log.5");
    expect(await reader.next()).toMatchObject({ type: "gap" });
    await api.token("after the gap");
    const frames = await reader.until("granted");
    expect(frames.at(-1)!.id).toBeDefined();
    reader.close();
  });

  test("[Q9hg] tells only what is durable", async () => {
    const store = new ManualStore();
    const parts = await startParts({ store });
    const reader = await EventReader.open(parts);
    await reader.next();
    store.isManual = true;
    const granted = new Api(parts).acquire("disk");
    const commit = await store.nextCommit();
    expect(JSON.stringify(reader.waiting)).not.toContain("granted");
    commit.succeed();
    expect(await reader.next()).toMatchObject({ type: "granted" });
    await granted;
    store.isManual = false;
    reader.close();
    await parts.close();
  });

  test("[Q10c] ends with its reason when the server stops, and when its store fails", async () => {
    const store = new ManualStore();
    const parts = await startParts({ store });
    const reader = await EventReader.open(parts);
    await reader.next();
    store.isManual = true;
    const refused = new Api(parts).acquire("disk");
    const commit = await store.nextCommit();
    store.isManual = false;
    commit.fail();
    expect(await reader.next()).toMatchObject({ type: "ended", data: { reason: "UNAVAILABLE" } });
    await reader.closed;
    expect((await refused).status).toBe(503);
    while (!parts.loop.ready) await new Promise((resolve) => setTimeout(resolve, 10));
    const next = await EventReader.open(parts);
    await next.next();
    const closed = parts.close();
    expect(await next.next()).toMatchObject({ type: "ended" });
    await closed;
  });

  test.each([
    ["a Last-Event-ID that is none", "", "x y"],
    ["a limit without since", "?limit=5", undefined],
    ["a since that is none", "?since=yesterday", undefined],
    ["an unknown parameter", "?after=5", undefined],
    ["a control character in the prefix", "?prefix=%00", undefined],
  ])("[Q9hh] %s is refused", async (_what, query, id) => {
    const reader = await EventReader.open(server, query, id);
    expect(await reader.status()).toBe(400);
    reader.close();
  });

  test("[N3l] a reader that does not read is cut, told why, and the others notice nothing", async () => {
    const own = await startServer();
    const local = new Api(own);
    const slow = await EventReader.open(own);
    await slow.next();
    slow.socket.pause();
    const reader = await EventReader.open(own);
    await reader.next();
    const client = await NativeClient.welcome(own);
    const names = Array.from({ length: 64 }, (_, at) => `${at}`.padStart(500, "x"));
    // Each event is 32 KiB; the kernel keeps a few megabytes.
    for (let round = 0; round < 400; round++) await client.release(await client.acquire(names as never));
    let seen = 0;
    while (seen < 800) if (["granted", "released"].includes((await reader.next()).type)) seen++;
    slow.socket.resume();
    const frames = await slow.until("cut");
    expect(frames.at(-1)!.data).toMatchObject({ reason: "SLOW_READER" });
    expect(frames.length).toBeLessThan(800);
    await slow.closed;
    // Where it was cut it goes on.
    const back = await EventReader.open(own, "", frames.at(-2)!.id);
    expect((await back.next()).type).toMatch(/granted|released|gap/);
    client.close();
    back.close();
    reader.close();
    await local.get("/stats");
    await own.close();
  });
});

describe("the past", () => {
  test("[Q9hi] begins when somebody looks, and goes on from a position", async () => {
    const own = await startServer();
    const local = new Api(own);
    await local.token("before");
    const { body: none } = await local.get("/events?since=0");
    expect(none).toMatchObject({ events: [], missed: false, more: false });
    for (let at = 0; at < 5; at++) await local.token(`n${at}`);
    const { body: some } = await local.get("/events?since=0&limit=2");
    expect(some.events.map(({ event }: Json) => event.names[0])).toEqual(["n0", "n1"]);
    expect(some.more).toBe(true);
    const { body: rest } = await local.get(`/events?since=${some.position}`);
    expect(rest.events.map(({ event }: Json) => event.names[0])).toEqual(["n2", "n3", "n4"]);
    expect(rest).toMatchObject({ missed: false, more: false });
    expect((await local.get("/events?since=other.7")).body).toMatchObject({ missed: true });
    expect((await local.get("/events?since=0&prefix=n3")).body.events).toHaveLength(1);
    await own.close();
  });

  test("[Q10d] is refused while the store does not work", async () => {
    const store = new ManualStore();
    const parts = await startParts({
      store,
      openStore: () => (store.closeCount > 0 ? Promise.reject(new Error("gone")) : Promise.resolve(store)),
    });
    const local = new Api(parts);
    store.isManual = true;
    const refused = local.acquire("disk");
    (await store.nextCommit()).fail();
    await refused;
    for (const path of ["/events?since=0", "/events", "/locks", "/settings"])
      expect(refusalOf(await local.get(path)), path).toEqual([503, "UNAVAILABLE"]);
    expect((await local.get("/readyz")).status).toBe(503);
    await parts.close();
  });
});
