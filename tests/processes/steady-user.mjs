// Somebody who uses locks all the time, and measures how long each takes.
import { setTimeout } from "node:timers/promises";
import LockDB from "../../packages/lockdb/dist/index.js";
import { clockMs, given, serveCalls } from "./mailbox.mjs";

const { serverUrl, apiKey, service } = given;
const locker = new LockDB(service, { serverUrl, apiKey });
const PAUSE_MS = 2;

serveCalls({
  /** Milliseconds of each lock with its release. */
  async work({ forMs }) {
    const endMs = clockMs() + forMs;
    const took = [];
    for (let at = 0; clockMs() < endMs; at++) {
      const startedMs = clockMs();
      await (await locker.acquire(`steady/${at % 10}`)).release();
      took.push(clockMs() - startedMs);
      await setTimeout(PAUSE_MS);
    }
    return took;
  },
});
