import { fileURLToPath } from "node:url";
import { runProgram } from "../processes.js";

const PROGRAM = fileURLToPath(new URL("../programs/engine.js", import.meta.url));

/** @type {import("./alone.js").Alone} */
export const engine = {
  name: "engine",
  about: "commands a second of the pure engine, in one thread",
  figures: [
    { key: "distinct", title: "acquire and release, distinct names: /s" },
    { key: "distinctCpu", title: "the same, a second of processor time, gc's too" },
    { key: "overHeld", title: "distinct names, over 1,000,000 held locks: /s" },
    { key: "hot", title: "one name, 63 wait: /s" },
    { key: "shared", title: "shared, 8 at a time: /s" },
    { key: "sets", title: "sets of 3: /s" },
  ],
  async measure({ isQuick, rounds: count }) {
    const held = isQuick ? 50_000 : 1_000_000;
    const [warmUpMs, windowMs] = isQuick ? [100, 150] : [500, 1_000];
    const jobs = {
      distinct: { kind: "distinct", held: 0 },
      overHeld: { kind: "distinct", held },
      hot: { kind: "hot", held: 0 },
      shared: { kind: "shared", held: 0 },
      sets: { kind: "sets", held: 0 },
    };
    const rounds = [];
    for (let round = 0; round < (isQuick ? 1 : count); round += 1) {
      /** @type {Record<string, number>} */
      const figures = {};
      for (const [key, job] of Object.entries(jobs)) {
        // A process for each, so that none runs in code that was compiled for another.
        const outcome = await runProgram(PROGRAM, { ...job, warmUpMs, windowMs }, 60_000);
        figures[key] = outcome.perSecond;
        if (key === "distinct") figures.distinctCpu = outcome.perCpuSecond;
      }
      rounds.push(figures);
    }
    return { rounds, said: isQuick ? [`Quick: over ${held.toLocaleString("en-US")} held locks.`] : [] };
  },
};
