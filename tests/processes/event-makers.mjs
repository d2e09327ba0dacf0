// Locks and unlocks a set, again and again: two events each time.
import { setTimeout } from "node:timers/promises";
import LockDB from "../../packages/lockdb/dist/index.js";
import { clockMs, given, serveCalls } from "./mailbox.mjs";

const { serverUrl, apiKey, service } = given;
const locker = new LockDB(service, { serverUrl, apiKey });

serveCalls({
  async make({ names, everyMs, forMs }) {
    const startedMs = clockMs();
    let count = 0;
    while (clockMs() - startedMs < forMs) {
      await (await locker.acquire(names)).release();
      count++;
      await setTimeout(Math.max(0, startedMs + count * everyMs - clockMs()));
    }
    return count;
  },
});
