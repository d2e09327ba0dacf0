import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { startOwnServer } from "../own-server.js";
import { ask, runToEnd, startServer } from "../processes.js";

const SESSIONS = fileURLToPath(new URL("../programs/idle-sessions.js", import.meta.url));
const PROCESSES = 2;
/** Open before the count begins: the first ones also bring code and pools that all share. */
const FIRST = 200;
/** A session renews itself every third of its ten seconds. */
const SETTLE_MS = 4_000;
const WINDOW_MS = 10_000;

/** @type {import("./alone.js").Alone} */
export const memoryIdle = {
  name: "memory-idle",
  about: "what 10,000 idle sessions cost a server, each with a WebSocket of its own",
  figures: [
    { key: "rss", title: "resident memory a session, KiB", digits: 1 },
    { key: "rssClean", title: "the same after gc, KiB", digits: 1 },
    { key: "heapClean", title: "heap a session after gc, KiB", digits: 1 },
    { key: "cpu", title: "heartbeats: ms of processor time a second", digits: 1 },
  ],
  async measure({ isQuick }) {
    const wanted = isQuick ? 600 : 10_000;
    const filesMax = await filesOpenMax();
    const sessions = Math.min(wanted, filesMax - 100);
    const server = await startOwnServer();
    const clients = [];
    try {
      for (let index = 0; index < PROCESSES; index += 1) {
        clients.push(await startServer({ command: process.execPath, args: [SESSIONS], ready: /ready\n/ }));
      }
      const open = (/** @type {number} */ count) =>
        Promise.all(
          clients.map(({ child }) =>
            ask(child, JSON.stringify({ endpoint: server.endpoint, count: count / PROCESSES })),
          ),
        );
      await open(FIRST);
      const first = await server.lookClean();
      await open(sessions - FIRST);
      await sleep(isQuick ? 300 : SETTLE_MS);
      const before = await server.look();
      const startMs = performance.now();
      await sleep(isQuick ? 1_000 : WINDOW_MS);
      const idle = await server.look();
      const seconds = (performance.now() - startMs) / 1_000;
      const clean = await server.lookClean();
      for (const { child } of clients) {
        if (child.exitCode !== null) throw new Error("sessions were lost while they were idle");
      }
      const kibEach = (/** @type {number} */ bytes) => bytes / 1_024 / (sessions - FIRST);
      const figures = {
        rss: kibEach(idle.rss - first.rss),
        rssClean: kibEach(clean.rss - first.rss),
        heapClean: kibEach(clean.heapUsed - first.heapUsed),
        cpu: (idle.cpuMs - before.cpuMs) / seconds,
      };
      const said = isQuick ? [`Quick: ${sessions.toLocaleString("en-US")} sessions.`] : [];
      if (sessions < wanted) {
        said.push(`A process may have ${filesMax} files open (ulimit -Hn): only ${sessions} sessions.`);
      }
      return { rounds: [figures], said };
    } finally {
      for (const client of clients) await client.stop();
      await server.stop();
    }
  },
};

/** Node raises its own limit as far as it may. */
async function filesOpenMax() {
  const { stdout } = await runToEnd("sh", ["-c", "ulimit -Hn"]).catch(() => ({ stdout: "unlimited" }));
  const max = Number(stdout);
  return Number.isInteger(max) && max > 0 ? max : Number.POSITIVE_INFINITY;
}
