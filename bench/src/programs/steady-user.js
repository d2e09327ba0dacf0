/** Somebody with a right key: workers who lock and unlock, each a name of its own, for as long as a line says. */

import { createInterface } from "node:readline";
import { RawSession } from "../raw-session.js";

const WORKERS = 8;
/** @type {Map<string, RawSession>} By the server's address. */
const sessions = new Map();

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const { endpoint, forMs, workers = WORKERS } = JSON.parse(line);
  void work(endpoint, forMs, workers).then(
    (seen) => process.stdout.write(`${JSON.stringify(seen)}\n`),
    (error) => {
      process.stderr.write(`${error?.stack ?? error}\n`, () => process.exit(1));
    },
  );
});
lines.on("close", () => process.exit(0));
process.stdout.write("ready\n");

/**
 * @param {{ serverUrl: string, apiKey: string }} endpoint
 * @param {number} forMs
 * @param {number} workers
 */
async function work(endpoint, forMs, workers) {
  const own = sessions.get(endpoint.serverUrl) ?? (await RawSession.open(endpoint, { leaseMs: 600_000 }));
  sessions.set(endpoint.serverUrl, own);
  /** @type {number[]} */
  const tookMs = [];
  const startMs = performance.now();
  const worker = async (/** @type {number} */ at) => {
    while (performance.now() - startMs < forMs) {
      const beganMs = performance.now();
      const [, , token] = await own.ask("acquire", `own-${at}`, 0);
      await own.ask("release", token);
      tookMs.push(performance.now() - beganMs);
    }
  };
  await Promise.all(Array.from({ length: workers }, (_, at) => worker(at)));
  const perSecond = (tookMs.length / (performance.now() - startMs)) * 1_000;
  tookMs.sort((a, b) => a - b);
  const at = (/** @type {number} */ share) => tookMs[Math.floor(tookMs.length * share)];
  return { perSecond, p50Ms: at(0.5), p99Ms: at(0.99) };
}
