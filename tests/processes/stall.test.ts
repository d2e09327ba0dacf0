import { setTimeout } from "node:timers/promises";
import type { LockInfo } from "lockdb";
import { afterAll, expect, test } from "vitest";
import {
  type Child,
  clockMs,
  type Granted,
  Processes,
  quantile,
  ROOT_KEY,
  type ServerProcess,
  until,
} from "./processes.js";

const SESSIONS = 1_000;
/** How long the server stands still, in leases. */
const LEASES = 3;
const RAW_LEASE_MS = 2_000;
/** A lease and more: heartbeats are sent at a third of it. */
const RENEWALS = 4;
/** Clients have given their connections up by then: in what is left of it the server has to take up all of them again. */
const LEASE_MS = 3_000;
/** An inspection shows the first hundred of a queue. */
const QUEUES = 20;
const SERVICE = "stalls";
const PROCESSES = 4;

const processes = new Processes();
afterAll(() => processes.end());

test.concurrent("[L3p] a server that stood still for three leases has every hold of those who kept up heartbeats", {
  timeout: 60_000,
}, async () => {
  const server = await processes.server();
  const names = Array.from({ length: SESSIONS }, (_, at) => `held/${at}`);
  const holders = split(names).map((part) =>
    processes.script("raw-holders.mjs", { ...target(server), leaseMs: RAW_LEASE_MS, names: part }),
  );
  const watcher = await watcherOf(server);
  await Promise.all(holders.map((holder) => holder.next("ready")));
  const tokens = await callAll<number>(holders, "tokens");

  const stoppedMs = await stop(server, LEASES * RAW_LEASE_MS);
  const unanswered = await callAll<number>(holders, "unanswered");
  const continuedMs = goOn(server);
  const renewedMs = await Promise.all(holders.map((holder) => holder.call<number>("beat")));
  // By then a lease that nobody had renewed would have run out.
  await Promise.all(holders.map((holder) => holder.call("renewals", { count: RENEWALS })));

  const troubles = await callAll<string>(holders, "troubles");
  const infos = await watcher.call<LockInfo[]>("inspectAll", { names });
  const released = await callAll<boolean>(holders, "release");
  const beats = unanswered.reduce((sum, count) => sum + count, 0);
  console.info(
    `[L3p] ${SESSIONS} sessions with a lease of ${ms(RAW_LEASE_MS)}, the server stopped for ${ms(continuedMs - stoppedMs)}, ` +
      `${beats} heartbeats sent meanwhile: ${troubles.length} sessions lost, all renewed ` +
      `${ms(Math.max(...renewedMs) - continuedMs)} after it went on; ` +
      `${released.filter((is) => is).length} of ${SESSIONS} holds released by their holders afterwards`,
  );
  // Else it was not stopped, or nobody tried to reach it.
  expect(Math.min(...unanswered)).toBeGreaterThan(LEASES);
  expect(troubles).toEqual([]);
  expect(infos.map(({ holders }) => holders.map(({ token }) => token))).toEqual(
    tokens.map((token) => [token]),
  );
  expect(released).toEqual(names.map(() => true));
});

test.concurrent("[L3u] clients that waited keep their tickets through that, and those that held lock again", {
  timeout: 60_000,
}, async () => {
  const server = await processes.server();
  const queues = Array.from({ length: QUEUES }, (_, at) => `queue/${at}`);
  const watcher = await watcherOf(server);
  for (const name of queues) {
    await watcher.call<Granted>("acquire", { name, options: { detached: "10m" } });
  }
  const clients = Array.from({ length: SESSIONS }, (_, at) => ({
    owner: `client:${at}`,
    name: queues[at % QUEUES]!,
  }));
  const waiters = split(clients).map((part) =>
    processes.script("waiters.mjs", { ...target(server), lease: LEASE_MS, clients: part }),
  );
  await Promise.all(waiters.map((waiter) => waiter.next("ready")));
  const ticketsBefore = await ticketsOf(watcher, queues);

  const stoppedMs = await stop(server, LEASES * LEASE_MS);
  const continuedMs = goOn(server);
  // Whoever has a lock again has resumed its session, or begun another one.
  const again = await callAll<Again>(waiters, "again");
  const backMs = clockMs();
  const ticketsAfter = await ticketsOf(watcher, queues);
  for (const name of queues) await watcher.call("unlock", { name });
  const granted = await callAll<Outcome>(waiters, "granted");
  const kept = granted.filter(({ owner, ticket }) => ticketsBefore.get(owner) === ticket);
  const toldMs = again.map(({ lostMs }) => (lostMs ?? Number.POSITIVE_INFINITY) - stoppedMs);
  console.info(
    `[L3u] ${SESSIONS} clients with a lease of ${ms(LEASE_MS)} in ${QUEUES} queues, the server stopped for ${ms(continuedMs - stoppedMs)}: all back ` +
      `${ms(backMs - continuedMs)} after it went on, ${kept.length} granted with the ticket that they had before; their own ` +
      `clocks told them that they had lost what they held ${ms(Math.min(...toldMs))} to ${ms(Math.max(...toldMs))} after ` +
      `the stop, and ${again.filter(({ isHeld }) => isHeld).length} have locked it again`,
  );
  expect(ticketsAfter).toEqual(ticketsBefore);
  expect(granted.filter(({ error }) => error !== undefined)).toEqual([]);
  expect(kept).toHaveLength(SESSIONS);
  expect(granted.filter(({ released }) => !released)).toEqual([]);
  const byToken = [...granted].sort((a, b) => a.token! - b.token!);
  for (const queue of queues) {
    const tickets = byToken.filter(({ name }) => name === queue).map(({ ticket }) => ticket!);
    expect(tickets).toEqual([...tickets].sort((a, b) => a - b));
  }

  // No news came while the server stood still: it was their own clocks that told them.
  expect(Math.max(...toldMs)).toBeLessThan(continuedMs - stoppedMs);
  // One in twenty may meet a moment in which this machine lets other processes run.
  expect(quantile(toldMs, 0.95)).toBeLessThan(LEASE_MS);
  expect(again.filter(({ reason }) => reason !== "LOCK_LOST")).toEqual([]);
  expect(again.filter(({ token, nextToken, isHeld }) => !isHeld || nextToken <= token)).toEqual([]);
});

interface Again {
  readonly lostMs: number | null;
  readonly reason: string | null;
  readonly token: number;
  readonly nextToken: number;
  readonly isHeld: boolean;
}

interface Outcome {
  readonly owner: string;
  readonly name: string;
  readonly token?: number;
  readonly ticket?: number;
  readonly released?: boolean;
  readonly error?: string;
}

/** Waits until all clients stand in the queues, on a connection that works. Gives the ticket of each. */
async function ticketsOf(watcher: Child, queues: readonly string[]): Promise<ReadonlyMap<string, number>> {
  let tickets = new Map<string, number>();
  await until("all clients stand in the queues", async () => {
    const infos = await watcher.call<LockInfo[]>("inspectAll", { names: queues });
    const here = infos.flatMap(({ queue }) => queue).filter(({ away }) => !away);
    tickets = new Map(here.map(({ owner, ticket }) => [owner, ticket]));
    return tickets.size === SESSIONS;
  });
  return tickets;
}

/** Gives a moment from which on the server stands still, when it has stood long enough. */
async function stop(server: ServerProcess, forMs: number): Promise<number> {
  server.child.signal("SIGSTOP");
  const stoppedMs = clockMs();
  await setTimeout(forMs);
  return stoppedMs;
}

/** Gives a moment until which it did. */
function goOn(server: ServerProcess): number {
  const continuedMs = clockMs();
  server.child.signal("SIGCONT");
  return continuedMs;
}

/** A client that lives through all that, whatever comes. */
function watcherOf(server: ServerProcess): Promise<Child> {
  return processes.client(server, { service: SERVICE, lease: "5m" });
}

function target({ url }: ServerProcess) {
  return { service: SERVICE, serverUrl: url, apiKey: ROOT_KEY };
}

async function callAll<T>(children: readonly Child[], op: string): Promise<readonly T[]> {
  const parts = await Promise.all(children.map((child) => child.call<readonly T[]>(op)));
  return parts.flat();
}

function split<T>(all: readonly T[]): readonly (readonly T[])[] {
  const each = Math.ceil(all.length / PROCESSES);
  return Array.from({ length: PROCESSES }, (_, at) => all.slice(at * each, (at + 1) * each));
}

function ms(span: number): string {
  return `${span.toFixed(0)} ms`;
}
