import { setTimeout as sleep } from "node:timers/promises";
import { dependencyVersion, folderTemporary, portFree, startServer, versionOf } from "../processes.js";

const LEASE_S = 10;

/** @type {import("./index.js").Peer} */
export const etcd = {
  name: "etcd",
  title: "etcd (etcd3)",
  excludes: true,
  durable: true,
  onCrash: "kept: they are on disk, and their leases begin again",

  async find() {
    const text = await versionOf("etcd", ["--version"]);
    if (text === undefined) return { found: false, why: "no `etcd` on the PATH (Debian: etcd-server)" };
    const version = /etcd Version: (\S+)/.exec(text)?.[1] ?? "of unknown version";
    return { found: true, version: `etcd ${version}, ${dependencyVersion("etcd3")}` };
  },

  async start() {
    const [own, peers] = [await portFree(), await portFree()].map((port) => `http://127.0.0.1:${port}`);
    const addresses = {
      "--listen-client-urls": own,
      "--advertise-client-urls": own,
      "--listen-peer-urls": peers,
      "--initial-advertise-peer-urls": peers,
      "--initial-cluster": `default=${peers}`,
    };
    const server = await startServer({
      command: "etcd",
      args: ["--data-dir", folderTemporary(), ...Object.entries(addresses).flat()],
      ready: /ready to serve client requests/,
    });
    return { endpoint: { url: own }, stop: server.stop };
  },

  async connect({ url }) {
    const { Etcd3, EtcdLockFailedError } = await import("etcd3");
    const client = new Etcd3({ hosts: String(url) });
    return {
      async cycle(name, inside) {
        const lock = client.lock(name).ttl(LEASE_S);
        // It has no queue: who is refused asks again.
        for (;;) {
          try {
            await lock.acquire();
            break;
          } catch (error) {
            if (!(error instanceof EtcdLockFailedError)) throw error;
            await sleep(5 + Math.random() * 5);
          }
        }
        await inside(name);
        await lock.release(); // Does not say whether it still had the lock.
      },
      close: async () => client.close(),
    };
  },
};
