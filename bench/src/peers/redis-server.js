/** One Redis for each peer that is a client of it. Not a peer by itself. */

import { dependencyVersion, folderTemporary, portFree, startServer, versionOf } from "../processes.js";

/** Longer than anything here takes: a hold that ends by it would be seen as lost. */
export const LEASE_MS = 10_000;

/** @param {readonly string[]} libraries */
export async function findRedis(libraries) {
  const text = await versionOf("redis-server", ["--version"]);
  if (text === undefined) {
    return /** @type {const} */ ({
      found: false,
      why: "no `redis-server` on the PATH (Debian: redis-server)",
    });
  }
  const redis = /v=(\S+)/.exec(text)?.[1] ?? "of unknown version";
  const version = [`redis ${redis}`, ...libraries.map(dependencyVersion)].join(", ");
  return /** @type {const} */ ({ found: true, version });
}

/** @param {{ isDurable: boolean }} options */
export async function startRedis({ isDurable }) {
  const port = await portFree();
  const persistence = isDurable ? ["--appendonly", "yes", "--appendfsync", "always"] : ["--appendonly", "no"];
  const server = await startServer({
    command: "redis-server",
    args: ["--bind", "127.0.0.1", "--port", String(port), "--dir", folderTemporary()].concat(
      ["--save", ""],
      persistence,
    ),
    ready: /Ready to accept connections/,
  });
  return { endpoint: { port }, stop: server.stop };
}

/** @param {import("./index.js").Endpoint} endpoint */
export async function connectRedis({ port }) {
  const { Redis } = await import("ioredis");
  const redis = new Redis({
    host: "127.0.0.1",
    port: Number(port),
    enableAutoPipelining: true,
    lazyConnect: true,
    retryStrategy: () => null,
  });
  redis.on("error", () => {}); // The command that was under way rejects, and that ends the measurement.
  await redis.connect();
  return redis;
}

/**
 * What the two settings of the server have to say for themselves.
 *
 * @param {boolean} isDurable
 */
export const promiseOf = (isDurable) => ({
  durable: isDurable,
  onCrash: isDurable
    ? "kept, and running out: they are on disk, with their leases"
    : "lost: a new holder can come in while the old one works on",
});
