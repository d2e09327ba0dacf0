import { connectRedis, findRedis, LEASE_MS, promiseOf, startRedis } from "./redis-server.js";

/** It asks every 200 ms, give or take 100, as by default; but for as long as it takes, and not ten times. */
const SETTINGS = { retryCount: -1 };
/** A hold that is over does not come back. */
const ONCE = { retryCount: 0 };

/** @param {{ name: string, isDurable: boolean }} options */
const peerOf = ({ name, isDurable }) =>
  /** @type {import("./index.js").Peer} */ ({
    name,
    title: name,
    excludes: true,
    hasSets: true,
    ...promiseOf(isDurable),
    find: () => findRedis(["redlock", "ioredis"]),
    start: () => startRedis({ isDurable }),

    async connect(endpoint) {
      const { default: Redlock } = await import("redlock");
      const redis = await connectRedis(endpoint);
      const redlock = new Redlock([redis], SETTINGS);
      return {
        async cycle(name, inside) {
          const lock = await redlock.acquire([name], LEASE_MS);
          await inside(name);
          await redlock.release(lock, ONCE);
        },
        async set(names, inside) {
          const lock = await redlock.acquire([...names], LEASE_MS);
          await inside(names);
          await redlock.release(lock, ONCE);
        },
        close: async () => redis.disconnect(),
      };
    },
  });

export const redisRedlock = peerOf({ name: "redis-redlock", isDurable: false });
export const redisAlwaysRedlock = peerOf({ name: "redis-always-redlock", isDurable: true });
