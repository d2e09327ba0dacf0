import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { dependencyVersion, folderTemporary, portFree, startServer, versionOf } from "../processes.js";

const LEASE_MS = 10_000;

// The lock by the book: SET NX PX to take it, and a script that deletes it only if it is still ours.
const RELEASE =
  'if redis.call("get", KEYS[1]) == ARGV[1] then return redis.call("del", KEYS[1]) else return 0 end';

/** @type {import("./index.js").Peer} */
export const redisIoredis = {
  name: "redis-ioredis",
  title: "redis-ioredis",
  excludes: true,
  durable: false,
  onCrash: "lost: a new holder can come in while the old one works on",

  async find() {
    const text = await versionOf("redis-server", ["--version"]);
    if (text === undefined) return { found: false, why: "no `redis-server` on the PATH" };
    const redis = /v=(\S+)/.exec(text)?.[1] ?? "of unknown version";
    return { found: true, version: `redis ${redis}, ${dependencyVersion("ioredis")}` };
  },

  async start() {
    const port = await portFree();
    const server = await startServer({
      command: "redis-server",
      args: ["--bind", "127.0.0.1", "--port", String(port), "--dir", folderTemporary()].concat([
        "--save",
        "",
        "--appendonly",
        "no",
      ]),
      ready: /Ready to accept connections/,
    });
    return { endpoint: { port }, stop: server.stop };
  },

  async connect({ port }) {
    const redis = /** @type {Redis & { releaseIfMine(key: string, value: string): Promise<number> }} */ (
      new Redis({
        host: "127.0.0.1",
        port: Number(port),
        enableAutoPipelining: true,
        lazyConnect: true,
        retryStrategy: () => null,
      })
    );
    redis.on("error", () => {}); // The command that was under way rejects, and that ends the measurement.
    redis.defineCommand("releaseIfMine", { numberOfKeys: 1, lua: RELEASE });
    await redis.connect();
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
};
