import { fileURLToPath } from "node:url";
import { startOwnServer } from "../own-server.js";
import { ask, startServer } from "../processes.js";
import { median } from "../report.js";

const program = (/** @type {string} */ name) =>
  fileURLToPath(new URL(`../programs/${name}.js`, import.meta.url));
/** 10^5 in a minute. */
const PER_SECOND = 1_700;

/** @type {import("./alone.js").Alone} */
export const wrongKeys = {
  name: "wrong-keys",
  about:
    "8 workers of one client, while another address tries 1,700 wrong keys a second, and while nobody does",
  figures: [
    { key: "calm", title: "nobody does: cycles/s" },
    { key: "flooded", title: "1,700 a second: cycles/s" },
    { key: "slower", title: "a cycle costs, of one without", digits: 2 },
    { key: "p50", title: "its p50, of one without", digits: 2 },
    { key: "p99", title: "its p99, of one without", digits: 2 },
    { key: "cpuUs", title: "processor time of the server a key, microseconds" },
  ],
  async measure({ isQuick, rounds: count }) {
    const [warmUpMs, windowMs] = isQuick ? [200, 300] : [2_000, 3_000];
    const server = await startOwnServer();
    const programs = [];
    try {
      for (const name of ["steady-user", "wrong-keys-flood"]) {
        const args = [program(name)];
        programs.push(await startServer({ command: process.execPath, args, ready: /ready\n/ }));
      }
      const [user, flood] = programs.map(({ child }) => child);
      const work = async (/** @type {number} */ forMs) =>
        JSON.parse(await ask(user, JSON.stringify({ endpoint: server.endpoint, forMs })));
      const floods = async (/** @type {number} */ forMs) => {
        const { serverUrl } = server.endpoint;
        return JSON.parse(await ask(flood, JSON.stringify({ serverUrl, perSecond: PER_SECOND, forMs })));
      };
      const cpuOf = async (/** @type {() => Promise<any>} */ act) => {
        const before = await server.look();
        const value = await act();
        return { value, cpuMs: (await server.look()).cpuMs - before.cpuMs };
      };
      await Promise.all([work(warmUpMs), floods(warmUpMs)]);
      const rounds = [];
      const failures = [];
      const tried = [];
      for (let round = 0; round < (isQuick ? 1 : count); round += 1) {
        /** @type {{ calm: any[], flooded: any[] }} */
        const seen = { calm: [], flooded: [] };
        // There and back: what disturbs the machine disturbs both alike.
        for (const how of /** @type {const} */ (["calm", "flooded", "flooded", "calm"])) {
          if (how === "calm") seen.calm.push(await work(windowMs / 2));
          else {
            const [worked, flooded] = await Promise.all([work(windowMs / 2), floods(windowMs / 2)]);
            seen.flooded.push(worked);
            tried.push((flooded.sent / flooded.ms) * 1_000);
            failures.push(...unexpected(flooded));
          }
        }
        // By itself: what the keys alone cost.
        const { value, cpuMs } = await cpuOf(() => floods(windowMs / 2));
        const of = (/** @type {"calm" | "flooded"} */ how, /** @type {string} */ key) =>
          median(seen[how].map((one) => one[key]));
        rounds.push({
          calm: of("calm", "perSecond"),
          flooded: of("flooded", "perSecond"),
          slower: of("calm", "perSecond") / of("flooded", "perSecond"),
          p50: of("flooded", "p50Ms") / of("calm", "p50Ms"),
          p99: of("flooded", "p99Ms") / of("calm", "p99Ms"),
          cpuUs: (cpuMs * 1_000) / value.sent,
        });
      }
      const said = [`Wrong keys a second: ${median(tried).toFixed(0)}.`];
      return { rounds, failures: [...new Set(failures)], said };
    } finally {
      for (const one of programs) await one.stop();
      await server.stop();
    }
  },
};

/** @param {import("../wrong-keys.js").Flood} flood */
function unexpected({ answers }) {
  return Object.entries(answers).flatMap(([kind, byStatus]) =>
    Object.keys(byStatus)
      .filter((status) => status !== "401" && status !== "429")
      .map((status) => `a wrong key was answered ${status} (${kind})`),
  );
}
