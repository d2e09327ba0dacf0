import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { connectRedis, findRedis, LEASE_MS, promiseOf, startRedis } from "./redis-server.js";

// The lock by the book: SET NX PX to take it, and a script that deletes it only if it is still ours.
const RELEASE =
  'if redis.call("get", KEYS[1]) == ARGV[1] then return redis.call("del", KEYS[1]) else return 0 end';

/** @param {{ name: string, isDurable: boolean }} options */
const peerOf = ({ name, isDurable }) =>
  /** @type {import("./index.js").Peer} */ ({
    name,
    title: name,
    excludes: true,
    ...promiseOf(isDurable),
    find: () => findRedis(["ioredis"]),
    start: () => startRedis({ isDurable }),

    async connect(endpoint) {
      const redis =
        /** @type {import("ioredis").Redis & { releaseIfMine(key: string, value: string): Promise<number> }} */ (
          await connectRedis(endpoint)
        );
      redis.defineCommand("releaseIfMine", { numberOfKeys: 1, lua: RELEASE });
      const client = randomUUID();
      let cycles = 0;
      return {
        async cycle(name, inside) {
          const value = `${client}:${cycles++}`;
          while ((await redis.set(name, value, "PX", LEASE_MS, "NX")) === null) {
            await sleep(5 + Math.random() * 5);
          }
          await inside(name);
          if ((await redis.releaseIfMine(name, value)) !== 1) {
            throw new Error(`the hold of ${name} was over before its release`);
          }
        },
        close: async () => redis.disconnect(),
      };
    },
  });

export const redisIoredis = peerOf({ name: "redis-ioredis", isDurable: false });
export const redisAlwaysIoredis = peerOf({ name: "redis-always-ioredis", isDurable: true });
