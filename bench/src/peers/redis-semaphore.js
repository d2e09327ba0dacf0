import { connectRedis, findRedis, LEASE_MS, promiseOf, startRedis } from "./redis-server.js";

/** It asks every 10 ms and renews by a timer, as by default; but for as long as it takes, and not for ten seconds. */
const OPTIONS = { lockTimeout: LEASE_MS, acquireTimeout: Number.POSITIVE_INFINITY };

/** @type {import("./index.js").Peer} */
export const redisSemaphore = {
  name: "redis-semaphore",
  title: "redis-semaphore (Mutex)",
  excludes: true,
  ...promiseOf(false),
  find: () => findRedis(["redis-semaphore", "ioredis"]),
  start: () => startRedis({ isDurable: false }),

  async connect(endpoint) {
    const { Mutex } = await import("redis-semaphore");
    const redis = await connectRedis(endpoint);
    return {
      async cycle(name, inside) {
        const mutex = new Mutex(redis, name, OPTIONS);
        await mutex.acquire();
        await inside(name);
        await mutex.release(); // Does not say whether it still had the lock.
      },
      close: async () => redis.disconnect(),
    };
  },
};
