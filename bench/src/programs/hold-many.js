/** Sessions in the raw protocol that hold locks with 16-byte names: a line says that they do, the next one ends it. */

import { createInterface } from "node:readline";
import { holdMany, RawSession } from "../raw-session.js";

const A_SESSION = 100_000;

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const { endpoint, locks } = JSON.parse(line);
  void hold(endpoint, locks).then(
    () => process.stdout.write("held\n"),
    (error) => {
      process.stderr.write(`${error?.stack ?? error}\n`, () => process.exit(1));
    },
  );
});
lines.on("close", () => process.exit(0));
process.stdout.write("ready\n");

/**
 * @param {{ serverUrl: string, apiKey: string }} endpoint
 * @param {number} locks
 */
async function hold(endpoint, locks) {
  for (let from = 0; from < locks; from += A_SESSION) {
    const session = await RawSession.open(endpoint);
    await holdMany(session, Math.min(A_SESSION, locks - from), (index) => {
      return `job-${String(from + index).padStart(12, "0")}`;
    });
    // What it has received last is acknowledged with this.
    await session.heartbeat();
    await session.heartbeat();
  }
}
