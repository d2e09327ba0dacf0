/** Preloaded into a server: a line on standard input asks what it uses, `clean` after collecting garbage. */

import { createInterface } from "node:readline";

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  if (line === "clean") for (let times = 0; times < 3; times += 1) globalThis.gc?.();
  const { rss, heapUsed, external } = process.memoryUsage();
  const { user, system } = process.cpuUsage();
  process.stdout.write(`${JSON.stringify({ rss, heapUsed, external, cpuMs: (user + system) / 1_000 })}\n`);
});
lines.on("close", () => process.exit(1)); // The bench is gone.
