import { describe, expect, test } from "vitest";
import { LeaseClock } from "../../src/loop/index.js";
import { ManualStore } from "./manual-store.js";
import {
  callBody,
  HttpConnection,
  helloOf,
  NativeClient,
  requestBytes,
  sleep,
  startParts,
} from "./server.js";

type Parts = Awaited<ReturnType<typeof startParts>>;

async function start(): Promise<{ store: ManualStore; parts: Parts }> {
  const store = new ManualStore();
  return { store, parts: await startParts({ store }) };
}

async function call(
  parts: Parts,
  event: string,
  name: string,
  serviceId = "reports",
): Promise<HttpConnection> {
  const connection = await HttpConnection.open(parts);
  const body = callBody(event, name, { serviceId });
  return connection.write(requestBytes({ path: `/${event}`, key: parts.rootKey, body }));
}

describe("durable before audible", () => {
  test("[R1q] a grant over HTTP is answered when it is flushed, and not before", async () => {
    const { store, parts } = await start();
    const other = await NativeClient.welcome(parts, { service: "other" });
    store.isManual = true;
    const caller = await call(parts, "lock", "disk");
    const commit = await store.nextCommit();
    expect(commit.batch.map(({ key }) => key)).toContain("default/service/reports/hold/1");
    // A round trip of somebody else, whom this does not concern: the server is not just slow.
    for (let round = 0; round < 3; round++) await other.inspect("disk");
    expect(caller.received.length).toBe(0);
    commit.succeed();
    expect(await caller.answer()).toMatchObject({ status: 200 });
    store.isManual = false;
    other.close();
    await parts.close();
  });

  test("[R1r] later answers of that service do not overtake it, those of others do", async () => {
    const { store, parts } = await start();
    const [same, other] = [
      await NativeClient.welcome(parts),
      await NativeClient.welcome(parts, { service: "other" }),
    ];
    const order: string[] = [];
    const note = (what: string) => (value: unknown) => {
      order.push(what);
      return value;
    };
    store.isManual = true;
    const caller = await call(parts, "lock", "disk");
    const answer = caller.answer().then(note("grant"));
    const commit = await store.nextCommit();
    // It would tell of a hold that a crash may yet undo.
    const inspected = same.inspect("disk").then((info) => note("inspection")(info) as typeof info);
    const checked = await call(parts, "check", "disk");
    const check = checked.answer().then(note("check"));
    for (let round = 0; round < 3; round++) await other.inspect("disk").then(note("other"));
    expect(order).toEqual(["other", "other", "other"]);
    commit.succeed();
    expect(await inspected).toMatchObject({ held: true });
    await Promise.all([answer, check]);
    expect(order.length).toBe(6);
    store.isManual = false;
    same.close();
    other.close();
    await parts.close();
  });

  test("[R1s] what comes while a commit is in flight is one batch, answered after its own flush", async () => {
    const { store, parts } = await start();
    store.isManual = true;
    const first = await call(parts, "lock", "a");
    const one = await store.nextCommit();
    const calls = [
      await call(parts, "lock", "b"),
      await call(parts, "lock", "c"),
      await call(parts, "lock", "d", "other"),
    ];
    await sleep(20);
    expect(store.commitsWaiting).toBe(0);
    one.succeed();
    expect(await first.answer()).toMatchObject({ status: 200 });
    const two = await store.nextCommit();
    expect(two.batch.filter(({ key }) => key.includes("/hold/")).length).toBe(3);
    await sleep(20);
    for (const waiting of calls) expect(waiting.received.length).toBe(0);
    two.succeed();
    for (const waiting of calls) expect(await waiting.answer()).toMatchObject({ status: 200 });
    store.isManual = false;
    await parts.close();
  });

  test("[R1t] an unlock, and the grant that follows from it, are told when both are flushed", async () => {
    const { store, parts } = await start();
    const holder = await call(parts, "lock", "disk");
    await holder.answer();
    const next = await NativeClient.welcome(parts);
    next.send(["acquire", next.newId(), "disk", null]);
    await next.next("queued");
    const other = await NativeClient.welcome(parts, { service: "other" });
    store.isManual = true;
    const unlock = await call(parts, "unlock", "disk");
    const commit = await store.nextCommit();
    await other.inspect("disk");
    expect(unlock.received.length).toBe(0);
    expect(next.inbox).toEqual([]);
    commit.succeed();
    expect(await unlock.answer()).toMatchObject({ body: expect.stringContaining('"wasLocked":true') });
    await next.next("granted");
    store.isManual = false;
    for (const client of [next, other]) client.close();
    await parts.close();
  });

  test("[R2q] a session is welcomed when it is flushed, and not before", async () => {
    const { store, parts } = await start();
    const other = await NativeClient.welcome(parts, { service: "other" });
    store.isManual = true;
    const client = await NativeClient.open(parts);
    client.send(helloOf(), ["sync"], ["acquire", 1, "disk", 0]);
    const commit = await store.nextCommit();
    await other.inspect("disk");
    expect(client.inbox).toEqual([]);
    commit.succeed();
    await client.next("welcome");
    await client.next("granted", 1);
    store.isManual = false;
    for (const one of [client, other]) one.close();
    await parts.close();
  });
});

describe("a commit that fails", () => {
  for (const isWritten of [false, true]) {
    test(`[R7q] is told to all as UNAVAILABLE, and the store is read anew: ${isWritten ? "" : "not "}written`, async () => {
      const { store, parts } = await start();
      const waiting = await NativeClient.welcome(parts);
      store.isManual = true;
      const caller = await call(parts, "lock", "disk");
      const commit = await store.nextCommit();
      const commitsBefore = store.commitCount;
      const inspected = waiting.request("inspect", "disk").catch((error: Error) => error);
      store.isManual = false;
      commit.fail(isWritten);
      expect(await caller.answer()).toMatchObject({
        status: 503,
        body: expect.stringMatching(/^UNAVAILABLE/),
      });
      expect(await waiting.next("ended")).toMatchObject(["ended", "UNAVAILABLE", expect.any(String)]);
      expect(await waiting.closed).toMatchObject({ code: 1001 });
      // What was behind the flush is not told afterwards.
      expect(await inspected).toBeInstanceOf(Error);
      while (!parts.loop.ready) await sleep(10);
      expect(store.closeCount).toBe(1);
      // One commit since, when it was opened anew: the failed one was not simply tried again.
      expect(store.commitCount).toBe(commitsBefore + 1);
      const later = await NativeClient.welcome(parts);
      const info = await later.inspect("disk");
      expect(info).toMatchObject({ held: isWritten, recovering: true });
      later.close();
      await parts.close();
    });
  }

  test("[R7r] loses no session and no lock of one: its client comes back and has them", async () => {
    const { store, parts } = await start();
    const hello = helloOf()[1];
    const client = await NativeClient.open(parts);
    client.send(["hello", hello], ["sync"], ["acquire", 1, "disk", 0]);
    const [, , token] = await client.next("granted", 1);
    store.isManual = true;
    await call(parts, "lock", "other");
    const commit = await store.nextCommit();
    store.isManual = false;
    commit.fail();
    await client.closed;
    while (!parts.loop.ready) await sleep(10);
    const back = await NativeClient.open(parts);
    back.send(["hello", { ...hello, connection: 2, resume: true }], ["hold", token, "disk"], ["sync"]);
    expect(await back.next("welcome")).toMatchObject(["welcome", { resumed: true }]);
    back.send(["inspect", 5, "disk"]);
    const info = (await back.next("done", 5))[2];
    expect(info).toMatchObject({ held: true, recovering: false, holders: [{ token }] });
    back.close();
    await parts.close();
  });
});

test("[R7s] a stop whose last commit fails says so, and closes the store all the same", async () => {
  const store = new ManualStore();
  const parts = await startParts({ store });
  const client = await NativeClient.welcome(parts);
  await client.acquire("disk");
  store.isManual = true;
  const outcome = parts.loop.stop().catch((error: Error) => error);
  const commit = await store.nextCommit();
  commit.fail();
  expect(await outcome).toBeInstanceOf(Error);
  expect(store.closeCount).toBe(1);
  client.close();
  await parts.close();
});

describe("the lease clock", () => {
  test("[L3q] goes with real time, in steps", () => {
    const clock = new LeaseClock(1_000, 50);
    expect([60, 60.5, 61.2, 311].map((at) => clock.read(at, false))).toEqual([1_010, 1_010, 1_011, 1_261]);
  });

  test("[L3r] takes a step of more than 250 ms as 250 ms", () => {
    const clock = new LeaseClock(0, 0);
    expect([250, 500.5, 751, 10_000_000, 10_000_100].map((at) => clock.read(at, false))).toEqual([
      250, 500, 750, 1_000, 1_100,
    ]);
  });

  test("[L3s] never goes back, and never faster than real time", () => {
    const clock = new LeaseClock(0, 1_000);
    const times = [1_100, 900, 950, 900, 1_000, 1_050];
    const read = times.map((at) => clock.read(at, false));
    expect([...read].sort((a, b) => a - b)).toEqual(read);
    // Forward steps in all: 100 + 50 + 100 + 50.
    expect(read.at(-1)).toBe(300);
    let sum = 0;
    const fractions = new LeaseClock(0, 0);
    for (let at = 0.3; at < 100; at += 0.3) sum = fractions.read(at, true);
    expect(sum).toBeLessThanOrEqual(100);
    expect(sum).toBeGreaterThanOrEqual(99);
  });

  test("[L3v] stands still for a while after a stall, so that all who were cut off come back in time", () => {
    const clock = new LeaseClock(0, 0);
    let atMs = 0;
    /** Read ten times a second, as the loop does. */
    const sampled = (untilMs: number) => {
      while (atMs < untilMs) stalled(100);
      return clock.lastMs;
    };
    const stalled = (ms: number) => {
      atMs += ms;
      return clock.read(atMs, true);
    };
    expect(sampled(200)).toBe(200);
    expect(stalled(1_500)).toBe(450);
    // 1.5 s of standing still, then 1.5 s in which nothing runs out.
    expect([1_800, 3_200, 3_300].map(sampled)).toEqual([450, 450, 550]);
    // Two seconds at most.
    expect(stalled(60_000)).toBe(800);
    expect([65_200, 65_300, 65_400].map(sampled)).toEqual([800, 800, 900]);
    // A stall meanwhile begins anew.
    expect(stalled(2_000)).toBe(1_150);
    expect(sampled(68_400)).toBe(1_150);
    expect(stalled(2_000)).toBe(1_150 + 250);
    expect([72_400, 72_500].map(sampled)).toEqual([1_400, 1_500]);
  });

  test("[L3w] a gap in which nobody looked, and a short one, are no stall", () => {
    const idle = new LeaseClock(0, 0);
    expect([3_600_000, 3_600_100].map((at) => idle.read(at, false))).toEqual([250, 350]);
    const busy = new LeaseClock(0, 0);
    expect([999, 1_099].map((at) => busy.read(at, true))).toEqual([250, 350]);
  });

  test("[L3t] goes on from where it was", () => {
    expect(new LeaseClock(123_456, 5).read(5, true)).toBe(123_456);
    expect(new LeaseClock(123_456, 5).read(6, true)).toBe(123_457);
  });
});
