import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { startOwnServer } from "../own-server.js";
import { ask, folderTemporary, startServer } from "../processes.js";
import { median } from "../report.js";

const USER = fileURLToPath(new URL("../programs/steady-user.js", import.meta.url));
const WORKERS = 1_000;
const SCRAPED_MS = 1_000;

/** @type {import("./alone.js").Alone} */
export const observed = {
  name: "observed",
  about:
    "1,000 workers of one client: with logs as they are by default and a scrape of /metrics a second, and with neither",
  figures: [
    { key: "silent", title: "neither: cycles/s" },
    { key: "observed", title: "both: cycles/s" },
    { key: "share", title: "both, of neither", digits: 3 },
    { key: "scrapeMs", title: "a scrape, ms", digits: 1 },
  ],
  async measure({ isQuick, rounds: count }) {
    const [warmUpMs, windowMs] = isQuick ? [200, 300] : [2_000, 3_000];
    const started = [];
    try {
      const start = async (/** @type {readonly string[]} */ args) => {
        const server = await startOwnServer({
          isWatched: false,
          args: ["--data-dir", folderTemporary(), ...args],
        });
        started.push(server);
        return server.endpoint;
      };
      const endpoints = { silent: await start(["--log-level", "silent"]), observed: await start([]) };
      const user = await startServer({ command: process.execPath, args: [USER], ready: /ready\n/ });
      started.push(user);
      const work = async (/** @type {"silent" | "observed"} */ how, /** @type {number} */ forMs) =>
        JSON.parse(
          await ask(user.child, JSON.stringify({ endpoint: endpoints[how], forMs, workers: WORKERS })),
        );
      /** @type {number[]} */
      const scrapesMs = [];
      const scrape = async () => {
        const { serverUrl, apiKey } = endpoints.observed;
        const startMs = performance.now();
        const answer = await fetch(`${serverUrl}/metrics`, {
          headers: { authorization: `Bearer ${apiKey}` },
        });
        await answer.text();
        if (answer.status !== 200) throw new Error(`/metrics answered ${answer.status}`);
        scrapesMs.push(performance.now() - startMs);
      };
      const watched = async (/** @type {number} */ forMs) => {
        const over = new AbortController();
        const scraping = (async () => {
          while (!over.signal.aborted) {
            await scrape();
            await sleep(SCRAPED_MS, undefined, { signal: over.signal }).catch(() => {});
          }
        })();
        const seen = await work("observed", forMs);
        over.abort();
        await scraping;
        return seen;
      };
      await work("silent", warmUpMs);
      await work("observed", warmUpMs);
      const rounds = [];
      for (let round = 0; round < (isQuick ? 1 : count); round += 1) {
        /** @type {{ silent: number[], observed: number[] }} */
        const seen = { silent: [], observed: [] };
        scrapesMs.length = 0;
        // There and back: what disturbs the machine disturbs both alike.
        for (const how of /** @type {const} */ (["silent", "observed", "observed", "silent"])) {
          const { perSecond } = how === "silent" ? await work(how, windowMs) : await watched(windowMs);
          seen[how].push(perSecond);
        }
        const [silent, both] = [median(seen.silent), median(seen.observed)];
        rounds.push({ silent, observed: both, share: both / silent, scrapeMs: median(scrapesMs) });
      }
      return { rounds };
    } finally {
      for (const one of started.reverse()) await one.stop();
    }
  },
};
