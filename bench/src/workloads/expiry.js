import { fileURLToPath } from "node:url";
import { startOwnServer } from "../own-server.js";
import { runProgram } from "../processes.js";

const PROGRAM = fileURLToPath(new URL("../programs/expiry.js", import.meta.url));

/** @type {import("./alone.js").Alone} */
export const expiry = {
  name: "expiry",
  about: "100,000 locks of a session that falls silent, each with a waiter; and holds that expire one by one",
  figures: [
    { key: "allMs", title: "all expired, and granted to the waiters: ms" },
    { key: "firstMs", title: "the first of them: ms" },
    { key: "lateP50Ms", title: "a single expiry is late by, p50: ms", digits: 1 },
    { key: "lateP99Ms", title: "the same, p99: ms", digits: 1 },
    { key: "early", title: "were early" },
  ],
  async measure({ isQuick, rounds: count }) {
    const job = isQuick
      ? { holds: 5_000, leaseMs: 1_000, singles: 100, earliestMs: 500, spreadMs: 300 }
      : { holds: 100_000, leaseMs: 5_000, singles: 1_000, earliestMs: 1_500, spreadMs: 5_000 };
    /** @type {Record<string, number>[]} */
    const rounds = [];
    const failures = [];
    for (let round = 0; round < (isQuick ? 1 : count); round += 1) {
      const server = await startOwnServer({ isWatched: false });
      try {
        const outcome = await runProgram(PROGRAM, { ...job, endpoint: server.endpoint }, 90_000);
        const { allMs, firstMs, lateP50Ms, lateP99Ms, earlySingles } = outcome;
        failures.push(...outcome.failures);
        if (earlySingles > 0) failures.push(`${earlySingles} single holds ended early`);
        const early = earlySingles + (firstMs < 0 ? 1 : 0);
        rounds.push({ allMs, firstMs, lateP50Ms, lateP99Ms, early });
      } finally {
        await server.stop();
      }
    }
    return { rounds, failures, said: isQuick ? [`Quick: ${job.holds.toLocaleString("en-US")} locks.`] : [] };
  },
};
