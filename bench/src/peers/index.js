/**
 * A peer is something a user could take a lock from. `find` and `start` run in the main process, `connect` in
 * the load process, so what `start` hands over (`endpoint`) is plain JSON. A client library is imported in `connect`, so
 * that a load process loads the one that it measures and no other.
 *
 * @typedef {object} Peer
 * @property {string} name
 * @property {string} title What the tables call it.
 * @property {boolean} [isOurs] LockDB, in one of its ways.
 * @property {boolean} excludes False for a floor: it answers, but it locks nothing.
 * @property {boolean} durable Whether a grant is on disk before it is answered.
 * @property {boolean} [isFair] Whoever has waited longest is next.
 * @property {boolean} [hasShared] Its client has `shared`.
 * @property {boolean} [hasSets] Its client has `set`.
 * @property {string} onCrash What becomes of the locks when the server is killed and started again.
 * @property {() => Promise<Found>} find
 * @property {() => Promise<Started>} start
 * @property {(endpoint: Endpoint) => Promise<Client>} connect
 *
 * @typedef {{ found: true, version: string } | { found: false, why: string }} Found
 * @typedef {Record<string, string | number>} Endpoint
 * @typedef {{ endpoint: Endpoint, stop: () => Promise<void> }} Started
 *
 * @typedef {object} Client One client instance.
 * @property {Cycle<string>} cycle Takes the exclusive lock, awaits `inside`, gives the lock back; throws if any of it fails.
 * @property {Cycle<string>} [shared] The same with a lock that others may share.
 * @property {Cycle<readonly string[]>} [set] The same with several exclusive locks at once.
 * @property {() => Promise<void>} close
 * @property {import("lockdb").LockDB} [locker] LockDB's own, for what only LockDB does.
 */

/**
 * @template T
 * @typedef {(wanted: T, inside: (wanted: T) => Promise<void>) => Promise<void>} Cycle
 */

import { echoWs } from "./echo-ws.js";
import { etcd } from "./etcd.js";
import { liveMutex } from "./live-mutex.js";
import { lockdb } from "./lockdb.js";
import { lockdbDurable } from "./lockdb-durable.js";
import { postgresql } from "./postgresql.js";
import { redisAlwaysIoredis, redisIoredis } from "./redis-ioredis.js";
import { redisAlwaysRedlock, redisRedlock } from "./redis-redlock.js";
import { redisSemaphore } from "./redis-semaphore.js";

/** LockDB first: the ratios are to it. */
export const PEERS = /** @type {readonly Peer[]} */ ([
  lockdb,
  lockdbDurable,
  redisIoredis,
  redisRedlock,
  redisSemaphore,
  redisAlwaysIoredis,
  redisAlwaysRedlock,
  liveMutex,
  postgresql,
  etcd,
  echoWs,
]);
