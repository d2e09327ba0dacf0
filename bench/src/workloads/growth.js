import { fileURLToPath } from "node:url";
import { startOwnServer } from "../own-server.js";
import { runProgram } from "../processes.js";

const PROGRAM = fileURLToPath(new URL("../programs/growth.js", import.meta.url));

/** @type {import("./alone.js").Alone} */
export const growth = {
  name: "growth",
  about: "64 workers, each on its own name, while ever more other locks are held; queues: see queue-x10000",
  figures: [
    { key: "few", title: "10 held: cycles/s" },
    { key: "many", title: "1,000,000 held: cycles/s" },
    { key: "cost1e3", title: "a cycle at 1,000 costs, of one at 10", digits: 2 },
    { key: "cost1e5", title: "at 100,000", digits: 2 },
    { key: "cost1e6", title: "at 1,000,000", digits: 2 },
  ],
  async measure({ isQuick, rounds: count }) {
    const sizes = isQuick ? [10, 20_000] : [10, 1_000, 100_000, 1_000_000];
    const [warmUpMs, windowMs] = isQuick ? [100, 200] : [1_000, 2_000];
    /** @type {{ held: number, server: import("../own-server.js").OwnServer }[]} */
    const servers = [];
    try {
      await Promise.all(
        sizes.map(async (held, at) => {
          servers[at] = { held, server: await startOwnServer({ isWatched: false }) };
        }),
      );
      const job = {
        servers: servers.map(({ held, server }) => ({ held, endpoint: server.endpoint })),
        rounds: isQuick ? 2 : count,
        warmUpMs,
        windowMs,
      };
      /** @type {number[][]} */
      const outcomes = await runProgram(PROGRAM, job, 240_000);
      return {
        rounds: outcomes.map((perSecond) => {
          const [few, many] = [perSecond[0], perSecond[perSecond.length - 1]];
          const between = isQuick ? {} : { cost1e3: few / perSecond[1], cost1e5: few / perSecond[2] };
          return { few, many, ...between, cost1e6: few / many };
        }),
        said: isQuick ? ["Quick: 20,000 are held instead of 1,000,000."] : [],
      };
    } finally {
      await Promise.all(servers.map(({ server }) => server.stop()));
    }
  },
};
