/**
 * A peer is something a user could take a lock from. `find` and `start` run in the main process, `connect` in
 * the load process, so what `start` hands over (`endpoint`) is plain JSON.
 *
 * @typedef {object} Peer
 * @property {string} name
 * @property {string} title What the tables call it.
 * @property {boolean} excludes False for a floor: it answers, but it locks nothing.
 * @property {boolean} durable Whether a grant is on disk before it is answered.
 * @property {string} onCrash What becomes of the locks when the server is killed and started again.
 * @property {() => Promise<Found>} find
 * @property {() => Promise<Started>} start
 * @property {(endpoint: Endpoint) => Promise<Client>} connect
 *
 * @typedef {{ found: true, version: string } | { found: false, why: string }} Found
 * @typedef {Record<string, string | number>} Endpoint
 * @typedef {{ endpoint: Endpoint, stop: () => Promise<void> }} Started
 *
 * @typedef {object} Client One client instance, with one connection.
 * @property {(name: string, inside: (name: string) => Promise<void>) => Promise<void>} cycle
 *   Takes the exclusive lock, awaits `inside`, gives the lock back; throws if any of it fails.
 * @property {() => Promise<void>} close
 * @property {import("lockdb").LockDB} [locker] LockDB's own, for what only LockDB does.
 */

import { echoWs } from "./echo-ws.js";
import { lockdb } from "./lockdb.js";
import { redisIoredis } from "./redis-ioredis.js";

/** LockDB first: the ratios are to it. */
export const PEERS = /** @type {readonly Peer[]} */ ([lockdb, redisIoredis, echoWs]);
