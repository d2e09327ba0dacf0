import { join } from "node:path";
import { LockDB } from "lockdb";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type Server, serve, writeBackup } from "../../src/index.js";
import { BackupFile } from "../../src/store/index.js";
import { CANARY_KEY } from "../canary.js";
import { type EtcdCluster, freePorts, hasEtcd, startEtcd } from "../etcd.js";
import { newFolder } from "../store/folders.js";

/** So many that each member serves some of them. */
const SERVICES = Array.from({ length: 12 }, (_, at) => `service${at}`);
const SETTLED_MS = 10_000;

interface Seen {
  readonly members: readonly {
    readonly url: string;
    readonly isReady: boolean;
    readonly partitions: number;
  }[];
  readonly partitions: readonly { readonly state: string }[];
}

describe.skipIf(!hasEtcd)("two members of a cluster", () => {
  let etcd: EtcdCluster;
  let a: Server;
  let b: Server;
  const lockers: LockDB[] = [];
  beforeAll(async () => {
    etcd = await startEtcd();
    a = await member({ rootKey: CANARY_KEY });
    b = await member({ rootKey: CANARY_KEY });
    await settled(a, 2);
    await settled(b, 2);
  });
  afterEach(async () => {
    await Promise.all(lockers.splice(0).map((locker) => locker.close()));
  });
  afterAll(async () => {
    await Promise.all([a?.close(), b?.close()]);
    await etcd?.stop();
  });

  async function member(options: Parameters<typeof serve>[0]): Promise<Server> {
    const [port] = await freePorts(1);
    return serve({ port: port!, store: etcd.url as "memory", logLevel: "silent", ...options });
  }

  function client(service: string, server: Server): LockDB {
    const locker = new LockDB(service, { serverUrl: server.url, apiKey: CANARY_KEY });
    lockers.push(locker);
    return locker;
  }

  test("[I2qa] any member takes any request over HTTP: one serves the service, the other passes it on", async () => {
    for (const service of SERVICES) {
      const path = `/v1/services/${service}`;
      const { token } = await json(await ask(a, "POST", `${path}/acquire`, { names: "x", waitMs: 0 }));
      const refused = await ask(b, "POST", `${path}/acquire`, { names: "x", waitMs: 0 });
      expect(refused.status).toBe(423);
      expect((await json(refused)).error.details.holder.token).toBe(token);
      expect((await json(await ask(a, "GET", `${path}/locks/x`))).holders[0].token).toBe(token);
      expect(await json(await ask(b, "POST", `${path}/release`, { token }))).toEqual({ released: true });
    }
  });

  test("[C1qa] the original client's routes work at any member", async () => {
    for (const [at, serviceId] of SERVICES.entries()) {
      const [one, other] = at % 2 === 0 ? [a, b] : [b, a];
      const lock = { serviceId, eventName: "lock", lockName: "original", waitForLockInMs: 1_000 };
      expect((await ask(one, "POST", "/lock", lock)).status).toBe(200);
      const check = { serviceId, eventName: "check", lockName: "original", waitForLockInMs: 1_000 };
      expect((await ask(other, "POST", "/check", check)).status).toBe(200);
      const unlock = { serviceId, eventName: "unlock", lockName: "original" };
      expect((await ask(other, "POST", "/unlock", unlock)).status).toBe(200);
      const free = await ask(one, "GET", `/v1/services/${serviceId}/locks/original`);
      expect((await json(free)).held).toBe(false);
    }
  });

  test("[R3qa] clients of any address find who serves their service, and one lock is one lock", async () => {
    for (const service of SERVICES) {
      const held = await client(service, a).acquire("native");
      expect(await client(service, b).tryAcquire("native")).toBeNull();
      await held.release();
      const next = await client(service, b).acquire("native");
      expect(next.token).toBeGreaterThan(held.token);
      await next.release();
    }
  });

  test("[A2qa] a key that was made at one member works at the other, and is refused by both once it is revoked", async () => {
    const made = await json(await ask(a, "POST", "/v1/keys", { name: "both", scopes: ["lock", "read"] }));
    for (const server of [a, b])
      await until(async () => (await ask(server, "GET", "/v1/self", undefined, made.apiKey)).status === 200);
    expect((await ask(b, "DELETE", `/v1/keys/${made.key.id}`)).ok).toBe(true);
    for (const server of [a, b])
      await until(async () => (await ask(server, "GET", "/v1/self", undefined, made.apiKey)).status === 401);
  });

  test("[A2qb] a key that is revoked while the others are asked about its account is refused", async () => {
    const statuses = new Set<number>();
    for (let round = 0; round < 5; round++) {
      const made = await json(await ask(a, "POST", "/v1/keys", { name: "short", scopes: ["lock"] }));
      await until(async () => (await ask(b, "GET", "/v1/self", undefined, made.apiKey)).status === 200);
      const asking = [a, b].flatMap((server) =>
        Array.from({ length: 30 }, () => ask(server, "GET", "/v1/self", undefined, made.apiKey)),
      );
      await ask(a, "DELETE", `/v1/keys/${made.key.id}`);
      for (const { status } of await Promise.all(asking)) statuses.add(status);
    }
    expect([...statuses].filter((status) => status !== 200 && status !== 401)).toEqual([]);
  });

  test("[R5qa] a member that stops gives all it serves to the other, and no lease is lost; it gets its share when it is back", async () => {
    const leases = await Promise.all(SERVICES.map((service) => client(service, b).acquire("through")));
    const durable = await json(
      await ask(b, "POST", "/v1/services/service0/acquire", { names: "durable", leaseMs: 60_000 }),
    );
    await b.close();
    await settled(a, 1);
    for (const lease of leases) expect(lease.signal.aborted).toBe(false);
    const seen = await json(await ask(a, "GET", "/v1/services/service0/locks/durable"));
    expect(seen.holders[0].token).toBe(durable.token);
    // Each is known where it is now, by its token.
    for (const [at, service] of SERVICES.entries())
      expect((await client(service, a).inspect("through")).holders[0]?.token).toBe(leases[at]!.token);
    b = await member({});
    await settled(b, 2);
    for (const lease of leases) expect(await lease.release()).toBe(true);
  });

  test("[F3qa] any member makes a backup of what all of them have acknowledged, as of one moment", async () => {
    const held = new Map<string, number>();
    for (const [at, service] of SERVICES.entries()) {
      const body = { names: "backed up", leaseMs: 60_000 };
      const answer = await ask(at % 2 === 0 ? a : b, "POST", `/v1/services/${service}/acquire`, body);
      held.set(service, (await json(answer)).token);
    }
    for (const server of [a, b]) {
      const file = join(newFolder(), "x.backup");
      await writeBackup(file, (await ask(server, "GET", "/v1/backup")).body!);
      const backup = BackupFile.open(file);
      const keys: string[] = [];
      for await (const { key } of backup.entries()) keys.push(key);
      backup.close();
      for (const [service, token] of held) expect(keys).toContain(`default/service/${service}/hold/${token}`);
      expect(keys).toContain("default/key/root");
      const acts = (await json(await ask(server, "GET", "/v1/audit"))).entries.length;
      expect(keys.filter((key) => key.startsWith("default/audit/"))).toHaveLength(acts);
    }
  });

  test("[A1qz] two that start a cluster at once make one root key, and both take it", async () => {
    const both = await Promise.all([member({ cluster: "other" }), member({ cluster: "other" })]);
    const makers = both.filter(({ rootKeyIsNew }) => rootKeyIsNew);
    expect(makers).toHaveLength(1);
    for (const server of both)
      expect((await ask(server, "GET", "/v1/self", undefined, makers[0]!.rootKey)).status).toBe(200);
    await Promise.all(both.map((server) => server.close()));
    const again = await member({ cluster: "other" });
    expect(again.rootKeyIsNew).toBe(false);
    expect((await ask(again, "GET", "/v1/self", undefined, makers[0]!.rootKey)).status).toBe(200);
    await again.close();
  });
});

function ask(
  server: Server,
  method: string,
  path: string,
  body?: object,
  key = CANARY_KEY,
): Promise<Response> {
  const init = body === undefined ? {} : { body: JSON.stringify(body) };
  return fetch(`${server.url}${path}`, { method, headers: { authorization: `Bearer ${key}` }, ...init });
}

// biome-ignore lint/suspicious/noExplicitAny: answers of many forms, whose forms are the matter of other tests
async function json(answer: Response): Promise<any> {
  return answer.json();
}

/** Each of so many members has a share, and each partition is served. */
function settled(by: Server, members: number): Promise<void> {
  return until(async () => {
    const answer = await ask(by, "GET", "/v1/cluster");
    if (!answer.ok) return false;
    const seen = (await json(answer)) as Seen;
    const shares = seen.members.filter(({ isReady, partitions }) => isReady && partitions > 0);
    return shares.length === members && seen.partitions.every(({ state }) => state === "served");
  });
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + SETTLED_MS;
  while (!(await isSo())) {
    if (performance.now() > endMs) throw new Error("It did not become so.");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
