import { describe, expect, test } from "vitest";
import { encodeRecord, openMemoryStore } from "../../src/store/index.js";
import { ManualStore } from "./manual-store.js";
import {
  ask,
  callBody,
  HttpConnection,
  isRefusal,
  NativeClient,
  requestBytes,
  SERVICE,
  sleep,
  startParts,
  startServer,
  type Target,
} from "./server.js";

const EVENTS = ["lock", "unlock", "check"] as const;

describe("a server that cannot", () => {
  async function isRefusedBy(
    target: Target,
    status: number,
    body: (event: string) => string = (event) => callBody(event, "disk"),
  ) {
    for (const event of EVENTS) {
      const answer = await ask(target, { path: `/${event}`, body: body(event) });
      expect(answer).toSatisfy(isRefusal);
      expect(answer!.status).toBe(status);
    }
  }

  test("[C2v] a full queue refuses with 429 in plain text, and at once", async () => {
    const small = await startServer({ waitersMax: 1 });
    const holder = await NativeClient.welcome(small);
    await holder.acquire("disk");
    const first = await HttpConnection.open(small);
    first.write(requestBytes({ path: "/lock", key: small.rootKey, body: callBody("lock", "disk") }));
    await holder.until("disk", (info) => info.queueLength === 1);
    const answer = await ask(small, { path: "/lock", body: callBody("lock", "disk") });
    expect(answer).toMatchObject({ status: 429, body: expect.stringMatching(/^QUEUE_FULL: /) });
    expect(answer).toSatisfy(isRefusal);
    expect(await holder.inspect("disk")).toMatchObject({ queueLength: 1 });
    first.socket.destroy();
    holder.close();
    await small.close();
  });

  test("[C2w] a limit of holds or of services refuses with 429 in plain text", async () => {
    const small = await startServer({ servicesMax: 1, holdsMax: 1 });
    expect(await ask(small, { path: "/lock", body: callBody("lock", "a") })).toMatchObject({ status: 200 });
    const overHolds = await ask(small, { path: "/lock", body: callBody("lock", "b") });
    expect(overHolds).toMatchObject({ status: 429, body: expect.stringMatching(/^LIMIT_EXCEEDED: /) });
    expect(overHolds).toSatisfy(isRefusal);
    await isRefusedBy(small, 429, (event) => callBody(event, "disk", { serviceId: "another" }));
    await small.close();
  });

  test("[C2x] a recovering service that may not be asked refuses with 503 in plain text", async () => {
    const store = openMemoryStore();
    const key = `default/service/${SERVICE}/session/s-before-the-crash`;
    const session = { client: "c-before-the-crash", leaseMs: 60_000, owner: "somebody" };
    await store.commit([{ key, value: encodeRecord(key, session) }]);
    const recovering = await startParts({ store, speed: 10 });
    const calls = EVENTS.map((event) =>
      ask(recovering, { path: `/${event}`, body: callBody(event, "disk", { waitForLockInMs: 0 }) }),
    );
    expect(await calls[0]).toMatchObject({ status: 503, body: expect.stringMatching(/^RECOVERING: /) });
    expect(await calls[0]).toSatisfy(isRefusal);
    // The client gives up after 5 s: just before, whoever asked to unlock or check is told, and not in JSON.
    for (const call of calls.slice(1)) expect(await call).toSatisfy(isRefusal);
    await recovering.close();
  });

  test("[C2y] a store that fails refuses with 503 in plain text, and nothing is granted (R7)", async () => {
    const store = new ManualStore();
    let canOpen = true;
    const openStore = async () => {
      if (!canOpen) throw new Error("the disk is gone");
      return store;
    };
    const failing = await startParts({ store, openStore, speed: 10 });
    store.isManual = true;
    const call = ask(failing, { path: "/lock", body: callBody("lock", "disk") });
    const commit = await store.nextCommit();
    canOpen = false;
    commit.fail();
    const answer = await call;
    expect(answer).toMatchObject({ status: 503, body: expect.stringMatching(/^UNAVAILABLE: /) });
    expect(answer).toSatisfy(isRefusal);
    await isRefusedBy(failing, 503);
    store.isManual = false;
    canOpen = true;
    while (!failing.loop.ready) await sleep(20);
    const check = await ask(failing, { path: "/check", body: callBody("check", "disk") });
    expect(check!.body).toBe('{"eventName":"check","lockName":"disk","isLocked":false}');
    await failing.close();
  });

  test("[C2z] a server that stops refuses with 503 in plain text: who waits, and who comes on an open connection", async () => {
    const stopping = await startServer();
    const holder = await NativeClient.welcome(stopping);
    await holder.acquire("disk");
    const waiting = await HttpConnection.open(stopping);
    waiting.write(requestBytes({ path: "/lock", key: stopping.rootKey, body: callBody("lock", "disk") }));
    await holder.until("disk", (info) => info.queueLength === 1);
    const late = await Promise.all(
      EVENTS.map(async (event) => {
        const connection = await HttpConnection.open(stopping);
        const bytes = requestBytes({
          path: `/${event}`,
          key: stopping.rootKey,
          body: callBody(event, "disk"),
        });
        connection.write(bytes.subarray(0, 10));
        return { connection, rest: bytes.subarray(10) };
      }),
    );
    await holder.inspect("disk");
    // The native connection does not answer the server's goodbye, so that the end takes its full second.
    (holder.socket as unknown as { _socket: { pause(): void } })._socket.pause();
    const closed = stopping.close();
    const told = await waiting.answer();
    expect(told).toMatchObject({ status: 503, body: expect.stringMatching(/^UNAVAILABLE: /) });
    expect(told).toSatisfy(isRefusal);
    for (const { connection, rest } of late) {
      const answer = await connection.write(rest).answer();
      expect(answer).toMatchObject({ status: 503, body: expect.stringMatching(/^UNAVAILABLE: /) });
      expect(answer).toSatisfy(isRefusal);
    }
    await closed;
    holder.close();
  });
});
