import { connect, createServer } from "node:net";
import { setTimeout } from "node:timers/promises";
import LockDB, { type Lease } from "lockdb";
import { afterAll, beforeAll, expect, test } from "vitest";
import { HttpWait } from "./http-wait.js";
import {
  type Child,
  clockMs,
  freePort,
  type Granted,
  type Notice,
  Processes,
  quantile,
  ROOT_KEY,
  type ServerProcess,
} from "./processes.js";

/** `LOCKDB_HOLDERS=1000` has as many connections in each of these as in the first. */
const HOLDERS = Number(process.env.LOCKDB_HOLDERS ?? 150);
const REVOKED = Math.max(HOLDERS, 1_000);
const LEASE_MS = 2_000;
const WAITS = 50;
const STREAMS = 20;
/** How long before their end the old secret, and the key, are told it. */
const NOTICE_MS = 1_500;
/** A2. */
const WITHIN_MS = 1_000;
const SERVICE = "shop";
const OTHER_SERVICE = "office";
const ALL = ["lock", "read"];

const processes = new Processes();
afterAll(() => processes.end());

let server: ServerProcess;
/** A key that is none of those that are changed, and somebody who works under it. */
let otherKey: string;
beforeAll(async () => {
  server = await processes.server();
  otherKey = (await newKey({ scopes: ALL })).apiKey;
});

test(`[A2pb] a revoked key: ${REVOKED} connections and all waits are ended within a second, and no lock changes hands too early`, {
  timeout: 60_000,
}, async () => {
  const key = await newKey({ scopes: ALL });
  const scene = await Scene.set("revoked", REVOKED, key);
  const fromMs = clockMs();
  await admin("DELETE", `/v1/keys/${key.id}`);
  await scene.ends(fromMs, { code: "UNAUTHORIZED", status: 401, streams: true });
});

test("[A2pc] a key without `lock` any more: what locks is ended, what only reads goes on", {
  timeout: 60_000,
}, async () => {
  const key = await newKey({ scopes: ALL });
  const scene = await Scene.set("scope", HOLDERS, key);
  const fromMs = clockMs();
  await admin("PATCH", `/v1/keys/${key.id}`, { scopes: ["read"] });
  await scene.ends(fromMs, { code: "FORBIDDEN", status: 403, streams: false });
});

test("[A2pd] a key that has lost the service: all of it is ended", { timeout: 60_000 }, async () => {
  const key = await newKey({ scopes: ALL, services: [SERVICE, OTHER_SERVICE] });
  const scene = await Scene.set("service", HOLDERS, key);
  const fromMs = clockMs();
  await admin("PATCH", `/v1/keys/${key.id}`, { services: [OTHER_SERVICE] });
  await scene.ends(fromMs, { code: "FORBIDDEN", status: 403, streams: true });
});

test("[A2pe] a key whose time has come: all of it is ended, and not before", {
  timeout: 60_000,
}, async () => {
  const key = await newKey({ scopes: ALL });
  const scene = await Scene.set("time", HOLDERS, key);
  const endsAt = Date.now() + NOTICE_MS;
  const fromMs = clockMs() + NOTICE_MS;
  await admin("PATCH", `/v1/keys/${key.id}`, { expiresAt: new Date(endsAt).toISOString() });
  await scene.ends(fromMs, { code: "UNAUTHORIZED", status: 401, streams: true });
});

test("[A2pf] the end of an old secret: what was opened with it is ended, what was opened with the new one stays", {
  timeout: 60_000,
}, async () => {
  const key = await newKey({ scopes: ALL });
  const scene = await Scene.set("secret", HOLDERS, key);
  const fromMs = clockMs() + NOTICE_MS;
  const { apiKey } = await admin("POST", `/v1/keys/${key.id}/rotate`, { oldKeptMs: NOTICE_MS });
  const renewed = await holders("renewed", 20, apiKey);
  const stream = await streamOf(apiKey);
  await scene.ends(fromMs, { code: "UNAUTHORIZED", status: 401, streams: true });
  await renewed.call("beat");
  expect(await renewed.call("troubles")).toEqual([]);
  expect(stream.closedMs).toBe(null);
});

test("[A2pg] a client whose key is revoked: who waits is told why, who holds is told in time, and it does not call without end", {
  timeout: 60_000,
}, async () => {
  const key = await newKey({ scopes: ALL });
  const door = await Door.to(server);
  const other = await processes.client(server, { apiKey: otherKey, service: SERVICE });
  const client = await processes.client(server, {
    apiKey: key.apiKey,
    service: SERVICE,
    serverUrl: door.url,
    lease: LEASE_MS,
  });
  await other.call("acquire", { name: "client/other" });
  const held = await client.call<Granted>("acquire", { name: "client/own" });
  const waits = client.call("acquire", { name: "client/other", options: { wait: "forever" } });
  const next = other.call<Granted>("acquire", { name: "client/own", options: { wait: "forever" } });
  const rejected = waits.catch((error: Error) => ({ name: error.name, atMs: clockMs() }));
  await setTimeout(LEASE_MS / 4);
  const { atMs, remainingMs } = await client.call<{ atMs: number; remainingMs: number }>("tellAbort", {
    token: held.token,
  });
  const fromMs = clockMs();
  await admin("DELETE", `/v1/keys/${key.id}`);
  const told = await client.next<Notice & { atMs: number; reason: string }>("aborted");
  const { name, atMs: rejectedMs } = (await rejected) as { name: string; atMs: number };
  const { atMs: nextMs } = await next;
  await setTimeout(LEASE_MS);
  const attempts = door.openedMs.filter((openedMs) => openedMs > fromMs);
  const late = attempts.filter((openedMs) => openedMs > told.atMs + 1_000);
  const again = await client
    .call("acquire", { name: "client/third" })
    .catch((error: Error) => `${error.name}: ${error.message}`);
  console.info(
    `[A2pg] revoked: who waited heard ${name} after ${(rejectedMs - fromMs).toFixed(0)} ms; the lease was given up after ` +
      `${(told.atMs - fromMs).toFixed(0)} ms (${told.reason}), its deadline was after ${(atMs + remainingMs - fromMs).toFixed(0)} ms; ` +
      `the next holder had it after ${(nextMs - fromMs).toFixed(0)} ms; ${attempts.length} attempts to connect, at ` +
      `${attempts.map((openedMs) => (openedMs - fromMs).toFixed(0)).join(", ")} ms; asked again: ${again}`,
  );
  expect(name).toBe("UnauthorizedError");
  expect(rejectedMs - fromMs).toBeLessThan(WITHIN_MS);
  // A renewal may have been answered between the look and the revocation.
  expect(told.atMs).toBeLessThan(fromMs + LEASE_MS + 500);
  expect(told.atMs).toBeLessThan(nextMs);
  expect(attempts.length).toBeLessThan(20);
  expect(late).toEqual([]);
  expect(again).toMatch(/^UnauthorizedError/);
});

interface KeyMade {
  readonly id: string;
  readonly apiKey: string;
}

/** What all of a scene hears, and whether its streams do. */
interface End {
  readonly code: string;
  readonly status: number;
  readonly streams: boolean;
}

interface HolderEnd {
  readonly trouble: string | null;
  readonly renewedMs: number;
  readonly endedMs: number | null;
  readonly closedMs: number | null;
}

/** Many connections under one key, each with a lock; requests and streams that wait; and another key, which wants all of these locks. */
class Scene {
  readonly #name: string;
  readonly #holders: Child;
  readonly #acquires: readonly HttpWait[];
  readonly #locks: readonly HttpWait[];
  readonly #streams: readonly HttpWait[];
  readonly #other: Other;

  private constructor(name: string, holders: Child, waits: readonly (readonly HttpWait[])[], other: Other) {
    this.#name = name;
    this.#holders = holders;
    [this.#acquires = [], this.#locks = [], this.#streams = []] = waits;
    this.#other = other;
  }

  static async set(name: string, count: number, { apiKey }: KeyMade): Promise<Scene> {
    const all = await holders(name, count, apiKey);
    const other = await Other.comes(name, count);
    const many = (count: number, one: (at: number) => HttpWait) =>
      Array.from({ length: count }, (_, at) => one(at));
    const waits = [
      many(WAITS, () =>
        waitFor(`/v1/services/${SERVICE}/acquire`, apiKey, { names: other.held, waitMs: null }),
      ),
      many(WAITS, () =>
        waitFor("/lock", apiKey, { serviceId: SERVICE, lockName: other.held, waitForLockInMs: 60_000 }),
      ),
      await Promise.all(Array.from({ length: STREAMS }, () => streamOf(apiKey))),
    ];
    await other.sees(2 * WAITS);
    return new Scene(name, all, waits, other);
  }

  /** All that the key had open is ended within a second of that moment; the locks are free when their leases are over. */
  async ends(fromMs: number, { code, status, streams }: End): Promise<void> {
    const refused = [...this.#acquires, ...this.#locks];
    const ended = streams ? [...refused, ...this.#streams] : refused;
    await Promise.all(ended.map((wait) => wait.until(({ closedMs }) => closedMs !== null)));
    const grantedMs = await this.#other.grants();
    const ends = await this.#holders.call<HolderEnd[]>("ends");
    const after = (times: readonly (number | null)[]) => times.map((at) => (at ?? Infinity) - fromMs);
    const [holderMs, acquireMs, lockMs] = [
      after(ends.map(({ endedMs }) => endedMs)),
      after(this.#acquires.map(({ answeredMs }) => answeredMs)),
      after(this.#locks.map(({ answeredMs }) => answeredMs)),
    ];
    const closedMs = after(ends.map((end) => end.closedMs));
    const streamMs = streams ? after(this.#streams.map((stream) => stream.closedMs)) : [];
    const overMs = ends.map(({ renewedMs }, at) => grantedMs[at]! - renewedMs - LEASE_MS);
    const figures = (spans: readonly number[]) =>
      spans.length === 0
        ? "none"
        : `${spans.length} after ${quantile(spans, 0.5).toFixed(0)} ms, the last after ${Math.max(...spans).toFixed(0)} ms`;
    console.info(
      `[A2p] ${this.#name}: connections told ${figures(holderMs)}, closed ${figures(closedMs)}; acquires refused ${figures(acquireMs)}; ` +
        `/lock refused ${figures(lockMs)}; streams ended ${figures(streamMs)}; ${overMs.length} locks granted to another ` +
        `${Math.min(...overMs).toFixed(1)} to ${Math.max(...overMs).toFixed(1)} ms after the end of their leases, the last ` +
        `${(Math.max(...grantedMs) - fromMs).toFixed(0)} ms after the end of the key`,
    );
    const all = [...holderMs, ...closedMs, ...acquireMs, ...lockMs, ...streamMs];
    expect(Math.max(...all)).toBeLessThan(WITHIN_MS);
    expect(Math.min(...all)).toBeGreaterThanOrEqual(0);
    expect(new Set(ends.map(({ trouble }) => /\["ended","(\w+)"/.exec(trouble ?? "")?.[1]))).toEqual(
      new Set([code]),
    );
    expect(new Set(refused.map((wait) => wait.status))).toEqual(new Set([status]));
    for (const { text } of this.#acquires) expect(text).toContain(`"code":"${code}"`);
    // Not JSON, which the original client would take for a lock (C2).
    for (const { text } of this.#locks) expect(text).toContain("content-type: text/plain");
    if (streams)
      for (const { text } of this.#streams)
        expect(text).toMatch(new RegExp(`event: ended\ndata: .*"${code}"`));
    else expect(this.#streams.filter((stream) => stream.closedMs !== null)).toEqual([]);
    expect(overMs.filter((over) => over < 0)).toEqual([]);
    expect(Math.max(...grantedMs) - fromMs).toBeLessThan(LEASE_MS + WITHIN_MS);
    await this.#other.hasNoticedNothing();
    await this.#holders.kill("SIGKILL");
  }
}

/** Somebody under another key: holds a lock, watches, waits, and wants what the first ones have. */
class Other {
  readonly held: string;
  readonly #client: LockDB;
  readonly #stream: HttpWait;
  readonly #wait: HttpWait;
  readonly #grants: Promise<number>[];
  readonly #lease: Lease;

  private constructor(
    held: string,
    client: LockDB,
    lease: Lease,
    stream: HttpWait,
    grants: Promise<number>[],
  ) {
    this.held = held;
    this.#client = client;
    this.#lease = lease;
    this.#stream = stream;
    this.#grants = grants;
    this.#wait = waitFor(`/v1/services/${SERVICE}/acquire`, otherKey, { names: held, waitMs: null });
  }

  static async comes(name: string, count: number): Promise<Other> {
    const client = new LockDB(SERVICE, { serverUrl: server.url, apiKey: otherKey, lease: LEASE_MS });
    const held = `${name}/others`;
    const lease = await client.acquire(held);
    const grants = Array.from({ length: count }, async (_, at) => {
      await client.acquire(`${name}/${at}`, { wait: "forever" });
      return clockMs();
    });
    return new Other(held, client, lease, await streamOf(otherKey), grants);
  }

  /** Until so many others wait for what it holds. */
  async sees(count: number): Promise<void> {
    while ((await this.#client.inspect(this.held)).queueLength < count + 1) await setTimeout(10);
  }

  /** When it was granted each of the locks that the others had. */
  grants(): Promise<readonly number[]> {
    return Promise.all(this.#grants);
  }

  async hasNoticedNothing(): Promise<void> {
    expect(this.#lease.signal.aborted).toBe(false);
    expect(this.#stream.closedMs).toBe(null);
    expect(this.#wait.answeredMs).toBe(null);
    expect(await this.#lease.release()).toBe(true);
    await this.#wait.until(({ answeredMs }) => answeredMs !== null);
    expect(this.#wait.status).toBe(200);
    await this.#client.close();
  }
}

/** A port before the server's: it counts who comes. */
class Door {
  readonly url: string;
  readonly openedMs: number[] = [];

  private constructor(url: string) {
    this.url = url;
  }

  static async to({ port }: ServerProcess): Promise<Door> {
    const own = await freePort();
    const door = new Door(`http://127.0.0.1:${own}`);
    const listener = createServer((socket) => {
      door.openedMs.push(clockMs());
      const further = connect({ host: "127.0.0.1", port });
      socket.pipe(further).pipe(socket);
      socket.on("error", () => further.destroy());
      further.on("error", () => socket.destroy());
    });
    listener.unref();
    await new Promise<void>((resolve) => listener.listen(own, "127.0.0.1", resolve));
    return door;
  }
}

async function holders(name: string, count: number, apiKey: string): Promise<Child> {
  const names = Array.from({ length: count }, (_, at) => `${name}/${at}`);
  const given = { serverUrl: server.url, apiKey, service: SERVICE, leaseMs: LEASE_MS, names };
  const child = processes.script("raw-holders.mjs", given);
  await child.next("ready");
  return child;
}

function waitFor(path: string, apiKey: string, body: object): HttpWait {
  return new HttpWait(server.url, { method: "POST", path, apiKey, body });
}

/** A stream of events that has begun. */
function streamOf(apiKey: string): Promise<HttpWait> {
  const path = `/v1/services/${SERVICE}/events?prefix=none`;
  return new HttpWait(server.url, { method: "GET", path, apiKey }).until(({ text }) =>
    text.includes("event: start"),
  );
}

async function newKey(wish: object): Promise<KeyMade> {
  const { key, apiKey } = await admin("POST", "/v1/keys", wish);
  return { id: key.id, apiKey };
}

// biome-ignore lint/suspicious/noExplicitAny: what comes is compared with the document elsewhere.
async function admin(method: string, path: string, body?: object): Promise<any> {
  const answer = await fetch(server.url + path, {
    method,
    headers: { authorization: `Bearer ${ROOT_KEY}` },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  expect(answer.status).toBeLessThan(300);
  return answer.json();
}
