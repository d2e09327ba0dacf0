import { randomBytes } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { folderTemporary, startServer } from "../processes.js";

const inRepository = (/** @type {string} */ path) =>
  fileURLToPath(new URL(`../../../${path}`, import.meta.url));

const BUILT = [
  "packages/lockdb/dist/index.js",
  "packages/lockdb/dist/cli/main.js",
  "packages/server/dist/index.js",
];
const SHARED = /** @type {const} */ ({ mode: "shared" });
const COMMAND = inRepository("packages/lockdb/bin/lockdb.js");

/** @type {import("./index.js").Peer} */
export const lockdb = {
  name: "lockdb",
  title: "lockdb",
  isOurs: true,
  excludes: true,
  durable: false,
  isFair: true,
  hasShared: true,
  hasSets: true,
  onCrash: "kept: the clients resume their sessions and say what they hold",

  async find() {
    if (!BUILT.every((file) => existsSync(inRepository(file)))) {
      return { found: false, why: "not built; run `npm run build` in the repository" };
    }
    const { version } = JSON.parse(readFileSync(inRepository("packages/lockdb/package.json"), "utf8"));
    return { found: true, version: `lockdb ${version}` };
  },

  async start() {
    const apiKey = randomBytes(24).toString("hex");
    const server = await startServer({
      command: process.execPath,
      args: [COMMAND, "serve", "--port", "0", "--data-dir", folderTemporary()],
      env: { LOCKDB_ROOT_KEY: apiKey },
      ready: /(http:\/\/127\.0\.0\.1:\d+)\D/,
    });
    return { endpoint: { serverUrl: server.ready[1], apiKey }, stop: server.stop };
  },

  async connect(endpoint) {
    const db = await clientOf(endpoint);
    const tooLate = () => new Error("a hold was over before its release");
    return {
      locker: db,
      async cycle(name, inside) {
        const lease = await db.acquire(name);
        await inside(name);
        if (!(await lease.release())) throw tooLate();
      },
      async shared(name, inside) {
        const lease = await db.acquire(name, SHARED);
        await inside(name);
        if (!(await lease.release())) throw tooLate();
      },
      async set(names, inside) {
        const lease = await db.acquire(names);
        await inside(names);
        if (!(await lease.release())) throw tooLate();
      },
      close: () => db.close(),
    };
  },
};

/**
 * @param {import("./index.js").Endpoint} endpoint
 * @returns {Promise<import("lockdb").LockDB>}
 */
export async function clientOf({ serverUrl, apiKey }) {
  const { LockDB } = await import(new URL("../../../packages/lockdb/dist/index.js", import.meta.url).href);
  return new LockDB("bench", { serverUrl, apiKey });
}
