/** Sessions in the raw protocol that do nothing: a line says that so many more are open. */

import { createInterface } from "node:readline";
import { RawSession } from "../raw-session.js";

const AT_ONCE = 50;
/** @type {RawSession[]} */
const sessions = [];

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const { endpoint, count } = JSON.parse(line);
  void open(endpoint, count).then(
    () => process.stdout.write("open\n"),
    (error) => {
      process.stderr.write(`${error?.stack ?? error}\n`, () => process.exit(1));
    },
  );
});
lines.on("close", () => process.exit(0));
process.stdout.write("ready\n");

/**
 * @param {{ serverUrl: string, apiKey: string }} endpoint
 * @param {number} count
 */
async function open(endpoint, count) {
  let left = count;
  const openSome = async () => {
    while (left > 0) {
      left -= 1;
      const session = await RawSession.open(endpoint);
      session.onOther = (message) => {
        process.stderr.write(`a session was told ${JSON.stringify(message)}\n`, () => process.exit(1));
      };
      sessions.push(session);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, openSome));
}
