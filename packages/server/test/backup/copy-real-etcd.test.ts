import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { copyStore, inspectStore, restoreBackup, writeBackup } from "../../src/backup/index.js";
import { type Server, serve } from "../../src/index.js";
import { CANARY_KEY } from "../canary.js";
import { type EtcdCluster, freePorts, hasEtcd, startEtcd } from "../etcd.js";
import { newFolder } from "../store/folders.js";

/** There and back: `LOCKDB_COPIES=20` for more. */
const ROUNDS = Number(process.env.LOCKDB_COPIES ?? 1);
const SERVICES = ["one", "two", "three", "four"];

describe.skipIf(!hasEtcd)("with a real etcd", () => {
  let etcd: EtcdCluster;
  let names = 0;
  beforeAll(async () => {
    etcd = await startEtcd();
  });
  afterAll(async () => etcd?.stop());

  const newUrl = () => `${etcd.url}/c${names++}`;
  const memberOf = async (url: string, options: { rootKey?: string } = {}) => {
    const [port] = await freePorts(1);
    const [, store, cluster] = /^(etcd:\/\/[^/]+)\/(.*)$/.exec(url)!;
    return serve({ ...OPTIONS, port: port!, store: store as "memory", cluster: cluster!, ...options });
  };

  test(
    `[F3wl] ${ROUNDS} times there and back: no token comes again, holds with an end of their own stay, and only the newest starts`,
    async () => {
      let folder = newFolder();
      const last = new Map<string, number>();
      let server = await serve({ ...OPTIONS, port: 0, dataDir: folder, rootKey: CANARY_KEY });
      const kept = await acquire(server, "one", "kept", 3_600_000);
      await use(server, last);
      await server.close();
      for (let round = 0; round < ROUNDS; round++) {
        const url = newUrl();
        expect(await copyStore(folder, url)).toMatchObject({ kind: "moved" });
        await expect(serve({ ...OPTIONS, port: 0, dataDir: folder })).rejects.toThrow(/was moved to/);
        server = await memberOf(url);
        await use(server, last);
        if (round === 0)
          await expect(copyStore(url, newFolder())).rejects.toThrow(/in use by its member http/);
        await server.close();
        folder = join(newFolder(), "back");
        expect(await copyStore(url, folder)).toMatchObject({ kind: "moved", from: url });
        await expect(memberOf(url)).rejects.toThrow(/was moved to/);
        server = await serve({ ...OPTIONS, port: 0, dataDir: folder });
        await use(server, last);
        const held = await ask(server, "GET", "/v1/services/one/locks/kept");
        expect(held.holders[0].token).toBe(kept);
        if (round < ROUNDS - 1) await server.close();
      }
      await server.close();
    },
    30_000 * (ROUNDS + 1),
  );

  test("[F3wm] a backup of a running cluster has all that was acknowledged, and is restored into a folder and into another cluster, with tokens above", async () => {
    const url = newUrl();
    const server = await memberOf(url, { rootKey: CANARY_KEY });
    const tokens = await Promise.all(SERVICES.map((service) => acquire(server, service, "held", 3_600_000)));
    const file = join(newFolder(), "x.backup");
    const response = await fetch(`${server.url}/v1/backup`, { headers: HEADERS });
    expect(response.status).toBe(200);
    await writeBackup(file, response.body!);
    expect(await inspectStore(url)).toMatchObject({ kind: "cluster", members: 1, damageCount: 0 });
    await server.close();
    const summary = await inspectStore(file);
    expect(summary.services.map(({ service, holds }) => `${service} ${holds}`).sort()).toEqual(
      SERVICES.map((service) => `${service} 1`).sort(),
    );
    const [folder, other] = [newFolder(), newUrl()];
    const told = await restoreBackup(file, folder);
    await restoreBackup(file, other);
    await expect(restoreBackup(file, other)).rejects.toThrow(/is not empty/);
    await expect(restoreBackup(file, url)).rejects.toThrow(/is not empty/);
    for (const again of [await serve({ ...OPTIONS, port: 0, dataDir: folder }), await memberOf(other)]) {
      expect(await acquire(again, "one", "new", 1_000)).toBeGreaterThanOrEqual(told.tokensFrom);
      expect(await acquire(again, "never-seen", "new", 1_000)).toBeGreaterThanOrEqual(told.tokensFrom);
      const { holders } = await ask(again, "GET", "/v1/services/two/locks/held");
      expect(holders[0].token).toBe(tokens[1]);
      await again.close();
    }
    const copied = join(newFolder(), "y.backup");
    expect(await copyStore(url, copied)).toMatchObject({ kind: "backup", from: url });
    const moved = newUrl();
    expect(await copyStore(url, moved)).toMatchObject({ kind: "moved", to: moved });
    expect(await inspectStore(url)).toMatchObject({ movedTo: moved });
  }, 60_000);
});

const OPTIONS = { logLevel: "silent", host: "127.0.0.1" } as const;
const HEADERS = { authorization: `Bearer ${CANARY_KEY}` };

// biome-ignore lint/suspicious/noExplicitAny: answers of many forms, whose forms are the matter of other tests
async function ask(server: Server, method: string, path: string, body?: object): Promise<any> {
  const init = body === undefined ? {} : { body: JSON.stringify(body) };
  const response = await fetch(`${server.url}${path}`, { method, headers: HEADERS, ...init });
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
  return response.json();
}

async function acquire(server: Server, service: string, name: string, leaseMs: number): Promise<number> {
  const path = `/v1/services/${encodeURIComponent(service)}/acquire`;
  return (await ask(server, "POST", path, { names: name, leaseMs })).token;
}

/** Takes and gives back, and sees that each token is above all that were before. */
async function use(server: Server, last: Map<string, number>): Promise<void> {
  for (const service of SERVICES) {
    const token = await acquire(server, service, "busy", 10_000);
    expect(token).toBeGreaterThan(last.get(service) ?? 0);
    last.set(service, token);
    await ask(server, "POST", `/v1/services/${service}/release`, { token });
  }
}
