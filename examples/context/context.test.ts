import { execFile } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { setImmediate } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type Server, serve } from "@lockdb/server";
import LockDB, { DeadlockError } from "lockdb";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
// @ts-expect-error Plain JavaScript, as its readers run it.
import { ordersService } from "./fastify.js";
// @ts-expect-error Plain JavaScript, as its readers run it.
import { call } from "./fetch.js";
// @ts-expect-error Plain JavaScript, as its readers run it.
import { close, move, moveAtOnce, save, tryingAgain } from "./snippets.js";
// @ts-expect-error Plain JavaScript, as its readers run it.
import { stockService } from "./stock.js";

const ORDER = "order/7";
const STOCK = "stock/teapot";

let server: Server;
let lockers: LockDB[];
let ends: (() => unknown)[];

function client(owner: string): LockDB {
  const locker = new LockDB("shop", { serverUrl: server.url, apiKey: server.rootKey, owner });
  lockers.push(locker);
  return locker;
}

beforeEach(async () => {
  server = await serve({ port: 0, store: "memory", logLevel: "silent" });
  lockers = [];
  ends = [];
});
afterEach(async () => {
  for (const end of ends) await end();
  await Promise.all(lockers.map((locker) => locker.close()));
  await server.close();
});

async function isQueued(locker: LockDB, name: string): Promise<void> {
  while ((await locker.inspect(name)).queueLength === 0) await setImmediate();
}

describe("two services that call each other under locks: Fastify, and what Express runs", () => {
  let [ordersUrl, stockUrl] = ["", ""];

  beforeEach(async () => {
    const where: { ordersUrl?: string } = {};
    const stock = stockService(client("stock"), where).listen(0, "127.0.0.1");
    await once(stock, "listening");
    stockUrl = `http://127.0.0.1:${(stock.address() as AddressInfo).port}`;
    const orders = ordersService(client("orders"), stockUrl);
    ordersUrl = await orders.listen({ port: 0, host: "127.0.0.1" });
    where.ordersUrl = ordersUrl;
    ends = [() => orders.close(), () => stock.close(), () => stock.closeAllConnections()];
  });

  async function post(path: string, body: object, send: typeof fetch = fetch) {
    const headers = { "content-type": "application/json" };
    const response = await send(`${ordersUrl}${path}`, {
      method: "POST",
      headers,
      body: JSON.stringify(body),
    });
    return (await response.json()) as { readonly code?: string; readonly cycle?: readonly string[] };
  }

  test("[D1v] a deadlock that comes back through both of them is refused, not waited for", async () => {
    const refused = await post("/ship", { order: 7 });
    expect(refused).toMatchObject({ code: "DEADLOCK" });
    expect(refused.cycle).toEqual([
      expect.stringMatching(
        /^orders \(token \d+, holding "order\/7"\) waits for "order\/7", which orders holds/,
      ),
    ]);
  });

  test("[D3v] with reentrant it is the same hold, through both of them", async () => {
    expect(await post("/ship", { order: 7, reentrant: true })).toEqual({
      order: 7,
      token: expect.any(Number),
    });
    expect(await client("someone").check([ORDER, STOCK])).toBe(false);
  });

  test("[D1w] a deadlock of two callers is refused to the second, and the first goes on", async () => {
    const [counting, beside] = [client("counting"), client("beside")];
    let shipping: Promise<unknown> | undefined;
    const refused = await counting.withLock(STOCK, async () => {
      // As somebody else's call: without the header.
      shipping = post("/ship", { order: 7, reentrant: true });
      await isQueued(beside, STOCK);
      return post("/label", { order: 7 }, call);
    });
    expect(refused.cycle).toEqual([
      expect.stringMatching(
        /^counting \(token 1, holding "stock.*waits through orders for "order\/7", which orders/,
      ),
      expect.stringMatching(
        /^orders \(token 2, holding "order\/7"\) waits through stock for "stock.*which counting/,
      ),
    ]);
    expect(await shipping).toMatchObject({ order: 7 });
  });

  test("[D1x] a header that nobody of ours wrote is refused, and takes nothing", async () => {
    const headers = { "content-type": "application/json", "lockdb-context": "shop=1; drop" };
    const response = await fetch(`${ordersUrl}/label`, { method: "POST", headers, body: '{"order":7}' });
    expect(await response.json()).toMatchObject({ code: "INVALID" });
    expect(await client("someone").check(ORDER)).toBe(false);
  });
});

test("[D1y] the demo shows both", { timeout: 15_000 }, async () => {
  const demo = fileURLToPath(new URL("demo.js", import.meta.url));
  const stdout = await new Promise<string>((resolve, reject) => {
    execFile(process.execPath, [demo], (error, stdout) => (error === null ? resolve(stdout) : reject(error)));
  });
  const readme = readFileSync(new URL("README.md", import.meta.url), "utf8");
  expect(readme).toContain(stdout.trim());
});

describe("what docs/deadlocks.md shows", () => {
  test("[D2w] is what is tested", () => {
    const page = readFileSync(new URL("../../docs/deadlocks.md", import.meta.url), "utf8");
    const shown = [...page.matchAll(/^```js\n([\s\S]*?)^```$/gm)].map((match) => match[1]!);
    const programs = ["fetch.js", "fastify.js", "express.js", "snippets.js"].map((name) =>
      readFileSync(new URL(name, import.meta.url), "utf8"),
    );
    expect(shown.length).toBeGreaterThan(5);
    expect(shown.filter((code) => !programs.some((program) => program.includes(code)))).toEqual([]);
  });

  test("[D1z] within: what is asked beside a lease from acquire counts as inside of it", async () => {
    const [ann, bob] = [client("ann"), client("bob")];
    const lease = await ann.acquire("b");
    const moving = move(bob, "a", "b", () => "moved");
    await isQueued(bob, "b");
    await expect(ann.acquire("a", { within: lease })).rejects.toThrow(DeadlockError);
    await lease.release();
    expect(await moving).toBe("moved");
  });

  test("[D1za] independent: what is not awaited comes later", async () => {
    const locker = client("ann");
    const told: string[] = [];
    const reported = vi.fn(() => void told.push("reported"));
    await save(locker, 7, async () => void told.push("written"), reported);
    await vi.waitFor(() => expect(told).toEqual(["written", "reported"]));
  });

  test("[D3w] reentrant: with the lock held, and without", async () => {
    const told: string[] = [];
    await close(
      client("ann"),
      7,
      async () => void told.push("written"),
      () => void told.push("printed"),
    );
    expect(told).toEqual(["written", "printed"]);
  });

  test("[D2x] all at once, or trying again: two who move things against each other both come through", async () => {
    const [ann, bob] = [client("ann"), client("bob")];
    const times = Array.from({ length: 20 }, (_, at) => at);
    const by = (way: (locker: LockDB, from: string, to: string, carry: () => number) => Promise<number>) =>
      times.map((at) => {
        const [locker, from, to] = at % 2 === 0 ? [ann, "a", "b"] : [bob, "b", "a"];
        return way(locker as LockDB, from as string, to as string, () => at);
      });
    expect(await Promise.all(by(moveAtOnce))).toEqual(times);
    expect(await Promise.all(by((...args) => tryingAgain(() => move(...args), 100)))).toEqual(times);
  });
});
