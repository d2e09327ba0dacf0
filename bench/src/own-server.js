/** LockDB's own server, for the workloads that measure it by itself: as installed, and with a way to look inside. */

import { randomBytes } from "node:crypto";
import { fileURLToPath } from "node:url";
import { ask, folderTemporary, startServer } from "./processes.js";

export const inRepository = (/** @type {string} */ path) =>
  fileURLToPath(new URL(`../../${path}`, import.meta.url));

export const COMMAND = inRepository("packages/lockdb/bin/lockdb.js");
/** With a million records to read, on a machine that is busy. */
const READY_WITHIN_MS = 120_000;
const PROBE = new URL("./programs/probe.js", import.meta.url).href;

/**
 * @typedef {object} OwnServer
 * @property {{ serverUrl: string, apiKey: string }} endpoint
 * @property {string} folder
 * @property {() => Promise<Inside>} look What it uses now.
 * @property {() => Promise<Inside>} lookClean The same after a full collection of garbage.
 * @property {() => Promise<void>} stop
 *
 * @typedef {{ rss: number, heapUsed: number, external: number, cpuMs: number }} Inside Bytes, and the time of its processors since its start.
 */

/**
 * @param {{ folder?: string, isWatched?: boolean, args?: readonly string[] }} [options] `isWatched`: `look` works.
 * @returns {Promise<OwnServer>}
 */
export async function startOwnServer({
  folder = folderTemporary(),
  isWatched = true,
  args = ["--data-dir", folder],
} = {}) {
  const apiKey = randomBytes(24).toString("hex");
  const server = await startServer({
    command: process.execPath,
    args: [
      ...(isWatched ? ["--expose-gc", "--import", PROBE] : []),
      COMMAND,
      "serve",
      "--port",
      "0",
      ...args,
    ],
    env: { LOCKDB_ROOT_KEY: apiKey },
    withinMs: READY_WITHIN_MS,
    ready: /(http:\/\/127\.0\.0\.1:\d+)\D/,
  });
  const look = async (/** @type {string} */ how) => JSON.parse(await ask(server.child, how));
  return {
    endpoint: { serverUrl: server.ready[1], apiKey },
    folder,
    look: () => look("look"),
    lookClean: () => look("clean"),
    stop: server.stop,
  };
}
