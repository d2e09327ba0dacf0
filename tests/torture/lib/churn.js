// Locks and unlocks all the time, waits in vain for a lock that many want, and says how long each took.
import { setTimeout } from "node:timers/promises";
import LockDB from "lockdb";
import { clockMs, given, serveCalls } from "../../processes/mailbox.mjs";

const { service, url, apiKey, loops, wanted, pauseMs } = given;
/** A few wait for what they do not get. */
const VAIN_SHARE = 0.02;
const VAIN_MS = 100;
const NAMES = 5_000;
let isOver = false;
let tookMs = [];
let vain = 0;
/** @type {string[]} */
let failures = [];

async function work(at) {
  const locker = new LockDB(service, { serverUrl: url, apiKey });
  await (await locker.acquire(`first/${at}`)).release();
  while (!isOver) {
    try {
      if (Math.random() < VAIN_SHARE) {
        if ((await locker.tryAcquire(wanted, { wait: VAIN_MS })) !== null)
          failures.push("got what somebody else has");
        vain++;
      } else {
        const startedMs = clockMs();
        await (await locker.acquire(`churn/${Math.floor(Math.random() * NAMES)}`)).release();
        tookMs.push(clockMs() - startedMs);
      }
    } catch (error) {
      failures.push(`${error.code ?? error.name}: ${error.message}`);
    }
    await setTimeout(pauseMs * (0.5 + Math.random()));
  }
  await locker.close();
}

const running = Array.from({ length: loops }, (_, at) => work(at));

serveCalls({
  /** What has come since it was asked last. */
  report: () => {
    const seen = { tookMs, vain, failures };
    [tookMs, vain, failures] = [[], 0, []];
    return seen;
  },
  stop: async () => {
    isOver = true;
    await Promise.all(running);
  },
});
