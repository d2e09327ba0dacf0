import { fileURLToPath } from "node:url";
import { startOwnServer } from "../own-server.js";
import { runProgram } from "../processes.js";

const PROGRAM = fileURLToPath(new URL("../programs/wake-up.js", import.meta.url));

/** @type {import("./alone.js").Alone} */
export const wakeUp = {
  name: "wake-up",
  about: "one lock for which 10,000 wait, in 100 sessions: from the release to the grant of the next",
  figures: [
    { key: "p50Us", title: "p50, microseconds" },
    { key: "p99Us", title: "p99, microseconds" },
    { key: "woken", title: "woken by a release", digits: 3 },
  ],
  async measure({ isQuick, rounds: count }) {
    const server = await startOwnServer({ isWatched: false });
    try {
      const [waiters, rounds, releases] = isQuick ? [3_000, 2, 100] : [10_000, count, 1_000];
      const job = { endpoint: server.endpoint, waiters, sessions: 100, releases, rounds };
      return {
        rounds: await runProgram(PROGRAM, job, 120_000),
        said: isQuick ? [`Quick: ${waiters.toLocaleString("en-US")} wait.`] : [],
      };
    } finally {
      await server.stop();
    }
  },
};
