// Many clients, each of which holds a lock through whatever happens to the server.
import LockDB from "lockdb";
import { clockMs, given, serveCalls } from "../../processes/mailbox.mjs";

const { service, url, apiKey, count, first, lease } = given;
const STARTS_AT_ONCE = 40;

const holders = Array.from({ length: count }, (_, at) => ({
  name: `own/${first + at}`,
  locker: new LockDB(service, { serverUrl: url, apiKey, lease }),
  hold: /** @type {any} */ (null),
}));
let lost = 0;
/** @type {{ atMs: number, not: number } | null} */
let heard = null;
let isReady = false;
const ready = each(async (holder) => {
  holder.hold = await holder.locker.acquire(holder.name);
  holder.hold.signal.addEventListener("abort", () => lost++);
}).then(() => {
  isReady = true;
});

serveCalls({
  ready: async () => {
    await Promise.race([ready, new Promise((resolve) => setTimeout(resolve, 1_000))]);
    return isReady;
  },
  /** Each asks the server whether it has its lock. */
  ask: () => {
    heard = null;
    let not = 0;
    const all = holders.map(async ({ locker, name, hold }) => {
      if ((await inspected(locker, name))[0]?.token !== hold.token) not++;
    });
    void Promise.all(all).then(() => {
      heard = { atMs: clockMs(), not };
    });
  },
  /** When the last of them knew, and how many had not got it; null: they are still asking. */
  heard: () => heard,
  /** How many have lost their holds, as they see it. */
  lost: () => lost,
});

/** Who has a lock, however long the server takes to say so. */
async function inspected(locker, name) {
  for (;;) {
    try {
      return (await locker.inspect(name)).holders;
    } catch (error) {
      if (!error.retryable) throw error;
    }
  }
}

async function each(work) {
  let next = 0;
  const some = async () => {
    for (let at = next++; at < count; at = next++) await work(holders[at]);
  };
  await Promise.all(Array.from({ length: STARTS_AT_ONCE }, some));
}
