import { fileURLToPath } from "node:url";
import { dependencyVersion, startServer } from "../processes.js";
import { batcher } from "./echo-ws-batcher.js";

const SERVER = fileURLToPath(new URL("./echo-ws-server.js", import.meta.url));

/**
 * The floor under every lock server that speaks JSON over a WebSocket from Node: the server says each request
 * back and does nothing else. A cycle is two round trips, so its figure is half the requests a second.
 *
 * @type {import("./index.js").Peer}
 */
export const echoWs = {
  name: "echo-ws",
  title: "half echo-ws (floor)",
  excludes: false,
  durable: false,
  onCrash: "no locks to lose",

  async find() {
    return { found: true, version: dependencyVersion("ws") };
  },

  async start() {
    const server = await startServer({ command: process.execPath, args: [SERVER], ready: /port (\d+)\n/ });
    return { endpoint: { port: Number(server.ready[1]) }, stop: server.stop };
  },

  async connect({ port }) {
    const { WebSocket } = await import("ws");
    const socket = new WebSocket(`ws://127.0.0.1:${port}`, { perMessageDeflate: false });
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    socket.on("error", (error) => {
      throw error;
    });

    /** @type {Map<number, () => void>} */
    const callerById = new Map();
    socket.on("message", (data) => {
      for (const [, id] of JSON.parse(data.toString())) {
        const answered = callerById.get(id);
        callerById.delete(id);
        answered?.();
      }
    });

    const send = batcher(socket);
    let idNext = 1;
    const request = (/** @type {string} */ kind, /** @type {string} */ name) =>
      /** @type {Promise<void>} */ (
        new Promise((resolve) => {
          const id = idNext++;
          callerById.set(id, resolve);
          send([kind, id, name]);
        })
      );
    return {
      async cycle(name, inside) {
        await request("acquire", name);
        await inside(name);
        await request("release", name);
      },
      close: async () => socket.terminate(),
    };
  },
};
