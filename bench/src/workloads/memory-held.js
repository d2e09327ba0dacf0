import { fileURLToPath } from "node:url";
import { startOwnServer } from "../own-server.js";
import { ask, runProgram, startServer } from "../processes.js";

const ENGINE = fileURLToPath(new URL("../programs/engine-held.js", import.meta.url));
const HOLDERS = fileURLToPath(new URL("../programs/hold-many.js", import.meta.url));

/** @type {import("./alone.js").Alone} */
export const memoryHeld = {
  name: "memory-held",
  about: "bytes a held session lock with a 16-byte name, while 1,000,000 are held",
  figures: [
    { key: "serverHeap", title: "server: heap after gc" },
    { key: "serverRss", title: "server: resident memory" },
    { key: "serverRssBefore", title: "server: the same before that gc" },
    { key: "engineHeap", title: "engine alone: heap after gc" },
    { key: "engineRss", title: "engine alone: resident memory" },
  ],
  async measure({ isQuick }) {
    const locks = isQuick ? 30_000 : 1_000_000;
    const engine = await runProgram(ENGINE, { locks }, 60_000);
    const server = await startOwnServer();
    const holders = await startServer({ command: process.execPath, args: [HOLDERS], ready: /ready\n/ });
    try {
      const before = await server.lookClean();
      await ask(holders.child, JSON.stringify({ endpoint: server.endpoint, locks }));
      const grown = await server.look();
      const after = await server.lookClean();
      const figures = {
        serverHeap: (after.heapUsed - before.heapUsed) / locks,
        serverRss: (after.rss - before.rss) / locks,
        serverRssBefore: (grown.rss - before.rss) / locks,
        engineHeap: engine.heapBytes,
        engineRss: engine.rssBytes,
      };
      return { rounds: [figures], said: isQuick ? [`Quick: ${locks.toLocaleString("en-US")} locks.`] : [] };
    } finally {
      await holders.stop();
      await server.stop();
    }
  },
};
