import { afterEach, describe, expect, test } from "vitest";
import { nodeRuntime } from "../../src/loop/index.js";
import { openMemoryStore, type Store } from "../../src/store/index.js";
import { type DeliveryInfo, Webhooks, type WebhooksOptions } from "../../src/webhooks/index.js";
import { Receiver } from "../webhooks/receiver.js";
import { Api } from "./api.js";
import { ManualStore } from "./manual-store.js";
import { ask, callBody, NativeClient, SERVICE, startParts } from "./server.js";

type Parts = Awaited<ReturnType<typeof start>>;

const toClose: { close(): Promise<void> }[] = [];

afterEach(async () => {
  for (const each of toClose.splice(0).reverse()) await each.close();
});

async function receiver(port = 0): Promise<Receiver> {
  const opened = await Receiver.open({ port });
  toClose.push(opened);
  return opened;
}

const silent = { info: () => {}, warn: () => {} };

/** A server on this store, whose webhooks may go to this machine. */
async function start(store: Store, options: Partial<WebhooksOptions> & { speed?: number } = {}) {
  const { speed = 1, ...more } = options;
  const runtime = {
    wallMs: nodeRuntime.wallMs,
    randomId: nodeRuntime.randomId,
    monotonicMs: () => nodeRuntime.monotonicMs() * speed,
    setTimer: (callback: () => void, ms: number) => nodeRuntime.setTimer(callback, ms / speed),
  };
  const addresses = { allowPrivate: true, allowed: "" };
  const webhooks = new Webhooks({ addresses, pendingMax: 1_000, runtime, log: silent, ...more });
  const parts = await startParts({ store, webhooks });
  toClose.push(parts);
  return { ...parts, webhooks };
}

async function lock(parts: Parts, lockName: string, unlockWebhookUrl: string) {
  return ask(parts, { path: "/lock", body: callBody("lock", lockName, { unlockWebhookUrl }) });
}

async function unlock(parts: Parts, lockName: string) {
  return ask(parts, { path: "/unlock", body: callBody("unlock", lockName) });
}

function all({ webhooks }: Parts): readonly DeliveryInfo[] {
  return webhooks.page("default", { limit: 500 }).deliveries;
}

/** Until deliveries look as wished: they change with what comes from sockets. */
async function until(parts: Parts, isSo: (deliveries: readonly DeliveryInfo[]) => boolean): Promise<void> {
  const endMs = performance.now() + 10_000;
  while (!isSo(all(parts))) {
    if (performance.now() > endMs) throw new Error(`never so: ${JSON.stringify(all(parts))}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** All that was begun on this machine so far has come to something. */
async function turns(count = 50): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}

describe("a delivery and the end of its hold are one", () => {
  test("[C5bw] nothing is sent before the end of the hold is flushed", async () => {
    const store = new ManualStore();
    const [target, parts] = [await receiver(), await start(store)];
    await lock(parts, "disk", target.url());
    // Its secret is made at the first use.
    await parts.webhooks.secret("default");
    store.isManual = true;
    const unlocked = unlock(parts, "disk");
    const commit = await store.nextCommit();
    const keys = commit.batch.map(({ key, value }) => `${value === null ? "-" : "+"}${key}`);
    expect(keys).toContain("+default/delivery/reports/1.0");
    expect(keys).toContain("-default/service/reports/hold/1");
    await turns();
    expect(target.connectionCount).toBe(0);
    store.isManual = false;
    commit.succeed();
    expect(await unlocked).toMatchObject({ status: 200 });
    await target.count(1);
  });

  for (const isWritten of [false, true]) {
    test(`[C5bx] of an end whose flush fails it is sent when it was written all the same: ${isWritten}`, async () => {
      const store = new ManualStore();
      const [target, parts] = [await receiver(), await start(store)];
      await lock(parts, "disk", target.url());
      store.isManual = true;
      const unlocked = unlock(parts, "disk");
      const commit = await store.nextCommit();
      store.isManual = false;
      commit.fail(isWritten);
      expect(await unlocked).toMatchObject({ status: 503 });
      while (!parts.loop.ready) await turns(1);
      const native = await NativeClient.welcome(parts);
      expect(await native.inspect("disk")).toMatchObject({ held: !isWritten });
      if (!isWritten) {
        await turns();
        expect([target.connectionCount, all(parts).length]).toEqual([0, 0]);
        await unlock(parts, "disk");
      }
      expect((await target.count(1)).length).toBe(1);
      await until(parts, ([first, ...more]) => first?.status === "delivered" && more.length === 0);
      native.close();
    });
  }

  test("[C5by] what becomes of an attempt while the store fails is forgotten, and the attempt made again", async () => {
    const store = new ManualStore();
    const [target, parts] = [await receiver(), await start(store)];
    await lock(parts, "disk", target.url());
    await unlock(parts, "disk");
    await until(parts, ([first]) => first?.status === "delivered");
    store.isManual = true;
    await parts.webhooks.retry("default", "none", "ann");
    const retrying = parts.webhooks.retry("default", all(parts)[0]!.id, "ann").catch((error: Error) => error);
    const commit = await store.nextCommit();
    store.isManual = false;
    commit.fail(true);
    expect(await retrying).toBeInstanceOf(Error);
    await target.count(2);
    await until(parts, ([first]) => first?.status === "delivered" && first.attempts === 2);
  });
});

describe("over restarts", () => {
  test("[C5bz] what was delivered is not sent again, and what was not is, under its id", async () => {
    const store = openMemoryStore();
    const target = await receiver();
    const first = await start(holdingOpen(store));
    await lock(first, "a", target.url());
    await unlock(first, "a");
    await until(first, ([a]) => a?.status === "delivered");
    const { port } = target;
    await target.close();
    await lock(first, "b", target.url());
    await unlock(first, "b");
    await until(first, (deliveries) =>
      deliveries.some(({ attempts, status }) => attempts === 1 && status === "pending"),
    );
    const [{ id }] = all(first) as [DeliveryInfo];
    await first.close();

    const again = await receiver(port);
    const second = await start(holdingOpen(store), { random: () => 0 });
    const [{ headers, body }] = (await again.count(1)) as [(typeof again.received)[0]];
    expect(body).toBe('{"serviceId":"reports","lockName":"b"}');
    expect(headers["webhook-id"]).toBe(id);
    await until(second, (deliveries) => deliveries.every(({ status }) => status === "delivered"));
    expect(all(second).map(({ lockName, attempts }) => [lockName, attempts])).toEqual([
      ["b", 2],
      ["a", 1],
    ]);
    expect(again.received.length).toBe(1);
  });

  test("[C5ca] the secret is the same, and so is the old one", async () => {
    const store = openMemoryStore();
    const first = await start(holdingOpen(store));
    await first.webhooks.secret("default");
    const before = await first.webhooks.rotate("default", 60_000, "ann");
    await first.close();
    const second = await start(holdingOpen(store));
    expect(await second.webhooks.secret("default")).toEqual(before);
  });

  test("[C5cb] an attempt that a stop has cut off is made again by the next start", async () => {
    const store = openMemoryStore();
    const target = await receiver();
    target.answer = () => {};
    const first = await start(holdingOpen(store));
    await lock(first, "a", target.url());
    await unlock(first, "a");
    await target.count(1);
    await first.close();
    target.answer = (_request, response) => response.end();
    const second = await start(holdingOpen(store), { random: () => 0 });
    const ids = (await target.count(2)).map(({ headers }) => headers["webhook-id"]);
    expect(ids[0]).toBe(ids[1]);
    await until(second, ([a]) => a?.status === "delivered" && a.attempts === 1);
  });
});

describe("a lease of the HTTP API", () => {
  for (const isCrash of [true, false]) {
    test(`[C5dj] that was renewed tells its end also when it comes after ${isCrash ? "a crash" : "a clean stop"}`, async () => {
      const store = openMemoryStore();
      const target = await receiver();
      // What a crash leaves: all that was flushed until then.
      let isDead = false;
      const disk = holdingOpen(store);
      const first = await start({
        ...disk,
        commit: (batch) => (isDead ? Promise.resolve() : disk.commit(batch)),
      });
      const api = new Api(first);
      const token = await api.token("disk", { leaseMs: 30_000, webhookUrl: target.url() });
      expect((await api.post("/renew", { token, leaseMs: 60_000 })).status).toBe(200);
      isDead = isCrash;
      await first.close();
      const second = await start(holdingOpen(store), { random: () => 0 });
      expect(all(second)).toEqual([]);
      expect((await new Api(second).post("/release", { token })).status).toBe(200);
      expect((await target.count(1))[0]!.body).toBe(`{"serviceId":"${SERVICE}","lockName":"disk"}`);
      await until(second, ([a, ...more]) => a?.status === "delivered" && more.length === 0);
    });
  }

  test("[C5dk] is refused a webhook while the outbox is full, and had one not", async () => {
    const target = await receiver();
    const parts = await start(openMemoryStore(), { pendingMax: 1 });
    const api = new Api(parts);
    await target.close();
    const webhookUrl = target.url();
    await api.post("/release", { token: await api.token("a", { webhookUrl }) });
    const full = await api.acquire("b", { webhookUrl });
    expect([full.status, full.headers.get("retry-after"), full.body.error]).toMatchObject([
      429,
      "5",
      { code: "LIMIT_EXCEEDED", message: expect.stringMatching(/webhook deliveries .* pending/) },
    ]);
    expect((await api.inspect("b")).held).toBe(false);
    await api.token("b");
  });

  test("[C5dl] an operator's act whose record cannot be kept is refused, typed", async () => {
    const store = new ManualStore();
    const parts = await start(store);
    const api = new Api(parts);
    await api.get("/v1/webhooks/secret");
    store.isManual = true;
    const rotated = api.post("/v1/webhooks/secret/rotate");
    const commit = await store.nextCommit();
    store.isManual = false;
    commit.fail();
    const { status, headers, body } = await rotated;
    expect([status, headers.get("retry-after"), body.error.code]).toEqual([503, "1", "UNAVAILABLE"]);
  });
});

describe("a receiver that is away", () => {
  test("[C5cd] has it once it is back", async () => {
    const target = await receiver();
    const parts = await start(openMemoryStore(), { speed: 100 });
    await target.close();
    await lock(parts, "a", target.url());
    await unlock(parts, "a");
    await until(parts, ([a]) => (a?.attempts ?? 0) >= 2);
    const back = await receiver(target.port);
    await back.count(1);
    await until(parts, ([a]) => a?.status === "delivered");
  });

  test("[C5ce] fills the outbox: new locks with a webhook are refused then, others and those that are held are not", async () => {
    const target = await receiver();
    const parts = await start(openMemoryStore(), { pendingMax: 2 });
    await target.close();
    await lock(parts, "held", target.url());
    for (const name of ["a", "b"]) {
      await lock(parts, name, target.url());
      await unlock(parts, name);
    }
    expect(await lock(parts, "c", target.url())).toMatchObject({
      status: 429,
      headers: { "content-type": "text/plain; charset=utf-8" },
      body: expect.stringMatching(/^LIMIT_EXCEEDED: .*webhook deliveries .* pending/),
    });
    const native = await NativeClient.welcome(parts);
    const refused = await native.request("acquire", "c", 0, { detachedMs: 1_000, webhookUrl: target.url() });
    expect(refused.slice(0, 4)).toEqual([
      "refused",
      expect.any(Number),
      "LIMIT_EXCEEDED",
      expect.stringMatching(/webhook deliveries .* pending/),
    ]);
    expect(await native.inspect("c")).toMatchObject({ held: false });
    expect(await ask(parts, { path: "/lock", body: callBody("lock", "c") })).toMatchObject({ status: 200 });
    // What is owed already is not dropped, whatever the limit.
    await unlock(parts, "held");
    expect(all(parts).filter(({ status }) => status === "pending").length).toBe(3);
    await until(parts, (deliveries) => deliveries.every(({ attempts }) => attempts === 1));
    const back = await receiver(target.port);
    for (const { id } of all(parts)) await parts.webhooks.retry("default", id, "ann");
    await back.count(3);
    await until(parts, (deliveries) => deliveries.every(({ status }) => status === "delivered"));
    expect(await lock(parts, "d", target.url())).toMatchObject({ status: 200 });
    native.close();
  });

  test("[C5cf] does not keep a stop waiting for long", async () => {
    const target = await receiver();
    target.answer = () => {};
    const parts = await start(openMemoryStore());
    await lock(parts, "a", target.url());
    await unlock(parts, "a");
    await target.count(1);
    const stoppedAtMs = performance.now();
    await parts.webhooks.stop();
    expect(performance.now() - stoppedAtMs).toBeLessThan(5_000);
  });
});

describe("a name that leads into this server's own network", () => {
  test("[C5cg] is locked, since nobody asks DNS then, and never connected to", async () => {
    const target = await receiver();
    const asked: string[] = [];
    const parts = await start(openMemoryStore(), {
      addresses: { allowPrivate: false, allowed: "" },
      lookup: async (host) => {
        asked.push(host);
        return ["8.8.8.8", "127.0.0.1"];
      },
    });
    expect(await lock(parts, "a", target.url("/", "inner.example"))).toMatchObject({ status: 200 });
    expect(asked).toEqual([]);
    await unlock(parts, "a");
    await until(parts, ([a]) => a?.attempts === 1);
    expect(all(parts)[0]).toMatchObject({ status: "pending", lastStatus: null });
    expect(all(parts)[0]!.lastError).toMatch(/^127.0.0.1 is no public address/);
    expect([asked, target.connectionCount]).toEqual([["inner.example"], 0]);
  });
});

describe("grants that nobody could receive", () => {
  test("[C5ch] tell nobody that they were unlocked (Q7)", async () => {
    const target = await receiver();
    const parts = await start(openMemoryStore());
    const native = await NativeClient.welcome(parts);
    const terms = { detachedMs: 60_000, webhookUrl: target.url() };
    const [, id, token] = (await native.request("acquire", "a", 0, terms)) as ["granted", number, number];
    native.send(["cancel", id, token]);
    await native.next("done", id);
    expect(await native.inspect("a")).toMatchObject({ held: false });
    await lock(parts, "b", target.url());
    await unlock(parts, "b");
    expect((await target.count(1))[0]!.body).toBe(`{"serviceId":"${SERVICE}","lockName":"b"}`);
    expect(all(parts).map(({ lockName }) => lockName)).toEqual(["b"]);
    native.close();
  });
});

/** The store outlives the server, as a disk does. */
function holdingOpen(store: Store): Store {
  return {
    load: (prefix) => store.load(prefix),
    commit: (batch) => store.commit(batch),
    close: async () => {},
  };
}
