// Locks and unlocks as fast as it goes, over a few sessions, each lock its own.
import LockDB from "lockdb";
import { clockMs, given, serveCalls } from "../../processes/mailbox.mjs";

const { service, urls, apiKey, sessions = 4, loops = 64 } = given;
const lockers = Array.from({ length: sessions }, () => new LockDB(service, { serverUrl: urls, apiKey }));
await Promise.all(lockers.map(async (locker) => (await locker.acquire("first")).release()));

serveCalls({
  /** Holds a second, over so many milliseconds. */
  rate: async ({ forMs }) => {
    const startMs = clockMs();
    let count = 0;
    const work = async (locker, name) => {
      while (clockMs() - startMs < forMs) {
        await locker.withLock(name, () => {});
        count++;
      }
    };
    await Promise.all(
      lockers.flatMap((locker, at) =>
        Array.from({ length: loops }, (_, loop) => work(locker, `lock/${at}/${loop}`)),
      ),
    );
    return count / ((clockMs() - startMs) / 1_000);
  },
  stop: () => Promise.all(lockers.map((locker) => locker.close())),
});
