/** Callers that wait, hang up or go on at a member that does not serve what they wait for: it is as if they had asked the one that does (Q7). */
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Api } from "./api.js";
import { Members } from "./members.js";
import { OriginalClient } from "./original-client.js";
import { ask, callBody, HttpConnection, NativeClient, requestBytes, SERVICE } from "./server.js";

let members: Members;
let native: NativeClient;
let wrong: Api;

beforeAll(async () => {
  members = await Members.start();
  native = await NativeClient.welcome(members.all[0]!);
  wrong = new Api(members.all[1]!);
});

afterAll(async () => {
  native.close();
  await members.close();
});

const toWrong = () => members.all[1]!;

describe("the original client, at the wrong member", () => {
  const client = () => new OriginalClient(SERVICE, { apiKey: toWrong().rootKey, serverUrl: toWrong().url });

  async function call(name: string, isPaused = false): Promise<HttpConnection> {
    const connection = await HttpConnection.open(toWrong(), { isPaused });
    return connection.write(
      requestBytes({ path: "/lock", key: toWrong().rootKey, body: callBody("lock", name) }),
    );
  }

  test("[C1ra] locks, checks and unlocks, and its bytes arrive as it has sent them", async () => {
    const body = ` { "serviceId" : "${SERVICE}", "eventName":"lock","lockName":"größe 🔒"}\n`;
    const answers = [];
    for (const member of members.all) {
      answers.push(await ask(member, { path: "/lock", body }));
      await ask(member, { path: "/unlock", body: callBody("unlock", "größe 🔒") });
    }
    expect(answers[1]!.body).toBe(answers[0]!.body);
    expect(await client().lock(["a", "b"])).toBe(true);
    expect(await native.inspect("a")).toMatchObject({ held: true });
    expect(await client().check("b")).toBe(true);
    expect(await client().unlock(["a", "b"])).toBe(true);
    expect(await client().check("a")).toBe(false);
  });

  test("[C3ra] has its own timeout, and nothing else", async () => {
    const token = await native.acquire("busy");
    await expect(client().lock("busy", { waitTimeoutInMs: 200 })).rejects.toMatchObject({
      name: "TimeoutError",
    });
    await native.until("busy", (info) => info.queueLength === 0);
    await native.release(token);
  });

  test("[C2ra] is refused in plain text where what it asks about is nowhere", {
    timeout: 15_000,
  }, async () => {
    members.where = "nowhere";
    const answer = await ask(toWrong(), { path: "/lock", body: callBody("lock", "nowhere") });
    members.where = 0;
    expect(answer).toMatchObject({ status: 503, body: expect.stringMatching(/^UNAVAILABLE: /) });
    expect(answer!.headers["content-type"]).toMatch(/^text\/plain/);
    expect(answer!.headers["retry-after"]).toBe("1");
  });

  for (const way of ["destroy", "end", "resetAndDestroy"] as const) {
    test(`[Q7ma] that waits and hangs up leaves the queue at once: ${way}`, async () => {
      const token = await native.acquire(`left by ${way}`);
      const connection = await call(`left by ${way}`);
      await native.until(`left by ${way}`, (info) => info.queueLength === 1);
      connection.socket[way]();
      await native.until(`left by ${way}`, (info) => info.queueLength === 0);
      await native.release(token);
    });
  }

  test("[Q7mb] a grant that it has not read when it ends is taken back", async () => {
    const token = await native.acquire("unread");
    const caller = await call("unread", true);
    await native.until("unread", (info) => info.queueLength === 1);
    await native.release(token);
    await native.until("unread", (info) => info.holders[0]?.detached === true);
    caller.socket.destroy();
    await native.until("unread", (info) => !info.held);
  });

  test("[Q7mc] a grant that it has read stays, however it ends then", async () => {
    for (const way of ["destroy", "end"] as const) {
      const caller = await call(`read, then ${way}`);
      expect(await caller.answer()).toMatchObject({ status: 200 });
      caller.socket[way]();
      await caller.closed;
      await native.until(`read, then ${way}`, (info) => info.holders[0]!.heldForMs > 100);
    }
  });

  test("[Q7md] a grant that it has read stays when its next call on the connection is broken off", async () => {
    const caller = await call("first");
    expect(await caller.answer()).toMatchObject({ status: 200 });
    const token = await native.acquire("second");
    caller.write(requestBytes({ path: "/lock", key: toWrong().rootKey, body: callBody("lock", "second") }));
    await native.until("second", (info) => info.queueLength === 1);
    caller.socket.resetAndDestroy();
    await native.until("second", (info) => info.queueLength === 0);
    expect(await native.inspect("first")).toMatchObject({ held: true });
    await native.release(token);
  });

  test("[Q7me] a grant that never got past the answer in front of it is taken back", async () => {
    const token = await native.acquire("in front");
    const caller = await call("in front", true);
    await native.until("in front", (info) => info.queueLength === 1);
    caller.write(requestBytes({ path: "/lock", key: toWrong().rootKey, body: callBody("lock", "behind") }));
    await native.release(token);
    await native.until("in front", (info) => info.holders[0]?.detached === true);
    caller.socket.destroy();
    await native.until("in front", (info) => !info.held);
    await native.until("behind", (info) => !info.held && info.queueLength === 0);
  });

  test("[Q7mf] races of a grant against a hang-up never leave the lock held by nobody", async () => {
    const outcomes = { delivered: 0, undelivered: 0 };
    const ways = ["destroy", "end", "resetAndDestroy"] as const;
    for (let round = 0; round < 45; round++) {
      const token = await native.acquire("race", 5_000);
      const caller = await call("race");
      await native.until("race", (info) => info.queueLength === 1);
      const way = ways[round % 3]!;
      const lag = [-1, 0, 0.5, 1, 2][round % 5]!;
      if (lag < 0) caller.socket[way]();
      native.send(["release", native.newId(), token]);
      for (const endMs = performance.now() + lag; performance.now() < endMs; )
        await new Promise(setImmediate);
      if (lag >= 0) caller.socket[way]();
      await caller.closed;
      if (caller.received.length > 0) {
        outcomes.delivered++;
        await ask(members.all[0]!, { path: "/unlock", body: callBody("unlock", "race") });
      } else outcomes.undelivered++;
      await native.until("race", (info) => !info.held && info.queueLength === 0);
    }
    expect(outcomes.delivered).toBeGreaterThan(2);
    expect(outcomes.undelivered).toBeGreaterThan(2);
  });
});

describe("a long wait, at the wrong member", () => {
  test("[Q7mg] keeps its place from slice to slice, and is granted in its turn", async () => {
    const token = await native.acquire("slices");
    const requestId = randomUUID();
    const first = await wrong.acquire("slices", { waitMs: 60_000, requestId, sliceMs: 50 });
    expect([first.status, first.body.position]).toEqual(
      [202, 0].map((value, at) => (at === 0 ? value : first.body.position)),
    );
    const second = wrong.acquire("slices", { waitMs: 60_000, requestId });
    await native.until("slices", (info) => info.queue[0]?.away === false);
    await native.release(token);
    expect((await second).body).toMatchObject({ requestId, ticket: first.body.ticket });
  });
});
