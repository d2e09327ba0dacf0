import { fileURLToPath } from "node:url";
import { dependencyVersion, portFree, startServer } from "../processes.js";

const SERVER = fileURLToPath(new URL("./live-mutex-server.js", import.meta.url));
const PORT_MAX = 49_151; // It takes no port above that.

/** By default it asks again after 3 s, and gives up after the third time; a hold lasts 7 s. */
const OPTIONS = { lockRequestTimeout: 5_000, lockRetryMax: 20, ttl: 10_000 };

/** @type {import("./index.js").Peer} */
export const liveMutex = {
  name: "live-mutex",
  title: "live-mutex",
  excludes: true,
  durable: false,
  isFair: true,
  onCrash: "lost: a new holder can come in while the old one works on",

  async find() {
    return { found: true, version: dependencyVersion("live-mutex") };
  },

  async start() {
    const port = await portFree(PORT_MAX);
    const args = [SERVER, String(port)];
    const server = await startServer({ command: process.execPath, args, ready: /ready\n/ });
    return { endpoint: { port }, stop: server.stop };
  },

  async connect({ port }) {
    const { default: library } = await import("live-mutex");
    const client = new library.Client({ host: "127.0.0.1", port: Number(port), ...OPTIONS });
    client.emitter.on("warning", () => {}); // It would print each of them.
    await client.ensure();
    return {
      async cycle(name, inside) {
        const lock = await client.acquire(name);
        await inside(name);
        await client.release(name, { id: lock.id }); // Rejects when another has the lock.
      },
      close: async () => client.close(),
    };
  },
};
