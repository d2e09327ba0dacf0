import type { LockInfo } from "lockdb";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  type Child,
  type Granted,
  type Notice,
  Processes,
  type RawNotice,
  type ServerProcess,
  until,
} from "./processes.js";

const LEASE_MS = 2_000;
/** How much later than its end a lease may be noticed. */
const LATE_MS = 500;
/** The server's clock has whole milliseconds. */
const ROUNDING_MS = 1;

const processes = new Processes();
let server: ServerProcess;
let watcher: Child;
beforeAll(async () => {
  server = await processes.server();
  watcher = await processes.client(server);
});
afterAll(() => processes.end());

// The server counts a lease from the moment it processes the session's last message. A holder that speaks the protocol
// by itself makes that moment known: it sends one heartbeat and nothing else, so the server has processed it after it was
// sent and before its answer came, a millisecond or two apart. Then the holder is killed.
test.concurrent("[L1p] a killed holder's lock is free when its lease has run out, never before", async () => {
  const waiter = await processes.client(server);
  const holder = await processes.raw(server, { leaseMs: LEASE_MS });
  await holder.call("send", { messages: [["acquire", 1, "exact", 0]] });
  await holder.next<RawNotice>("message", ({ message }) => message[0] === "granted");
  const granted = waiter.call<Granted>("acquire", { name: "exact", options: { wait: "forever" } });
  await queueOf("exact", ({ queueLength }) => queueLength === 1);

  const sentMs = await holder.call<number>("send", { messages: [["heartbeat", 2]] });
  const answer = await holder.next<RawNotice>("message", ({ message }) => message[0] === "done");
  await holder.kill("SIGKILL");

  const { atMs } = await granted;
  console.info(
    `[L1p] lease ${LEASE_MS} ms, renewed once in a known moment (within ${ms(answer.atMs - sentMs)}), then kill -9: ` +
      `granted ${ms(atMs - sentMs)} after it was sent, ${ms(atMs - answer.atMs)} after it was answered`,
  );
  expect(atMs).toBeGreaterThanOrEqual(sentMs + LEASE_MS - ROUNDING_MS);
  expect(atMs).toBeLessThanOrEqual(answer.atMs + LEASE_MS + LATE_MS);
});

// The real client renews a third of its lease after the renewal before. What it knows of its lease tells when it sent the
// last renewal that was answered: `remainingMs` is 99 % of the lease less 200 ms at that moment, and falls from there (L2).
// The test kills it as soon as such a renewal is seen. The server has processed that one after it was sent and before it
// was seen; and the next one would not have been due before the kill.
test.concurrent("[L1q] the same with the client itself, which renews by heartbeats", async () => {
  const waiter = await processes.client(server);
  const holder = await processes.client(server, { lease: LEASE_MS });
  const { token } = await holder.call<Granted>("acquire", { name: "heartbeats" });
  const granted = waiter.call<Granted>("acquire", { name: "heartbeats", options: { wait: "forever" } });
  await queueOf("heartbeats", ({ queueLength }) => queueLength === 1);

  await holder.call("tellRenewal", { token });
  const renewed = await holder.next<Notice & { atMs: number; remainingMs: number }>("renewed");
  const { atMs: killedMs } = await holder.kill("SIGKILL");
  const sentMs = renewed.atMs - (LEASE_MS * 0.99 - 200 - renewed.remainingMs) - ROUNDING_MS;
  expect(killedMs).toBeLessThan(sentMs + LEASE_MS / 3);

  const { atMs } = await granted;
  console.info(
    `[L1q] the client itself, kill -9 ${ms(killedMs - sentMs)} after its last renewal: ` +
      `granted ${ms(atMs - sentMs)} after that was sent, ${ms(atMs - killedMs)} after the kill`,
  );
  expect(atMs).toBeGreaterThanOrEqual(sentMs + LEASE_MS - ROUNDING_MS);
  expect(atMs).toBeLessThanOrEqual(renewed.atMs + LEASE_MS + LATE_MS);
});

test.concurrent("[Q3p] a killed waiter never receives a grant: the one behind it does", async () => {
  const holder = await processes.client(server);
  const doomed = await processes.client(server, { lease: LEASE_MS });
  const waiter = await processes.client(server);
  const name = "behind a dead one";
  const held = await holder.call<Granted>("acquire", { name });
  const never = doomed.call<Granted>("acquire", { name, options: { wait: "forever" } });
  await queueOf(name, ({ queueLength }) => queueLength === 1);
  const granted = waiter.call<Granted>("acquire", { name, options: { wait: "forever" } });
  const { queue } = await queueOf(name, ({ queueLength }) => queueLength === 2);

  await doomed.kill("SIGKILL");
  await expect(never).rejects.toThrow("the process ended");
  // Its connection is gone: it keeps its ticket while its lease lasts, and is passed over (Q7).
  const before = await queueOf(name, (info) => info.queue[0]?.away === true);
  expect(before.queue.map(({ ticket }) => ticket)).toEqual(queue.map(({ ticket }) => ticket));
  const released = await holder.call<{ atMs: number; released: boolean }>("release", { token: held.token });
  const next = await granted;
  console.info(
    `[Q3p] first in the queue killed with -9, second granted ${ms(next.atMs - released.atMs)} after the release`,
  );
  expect(released.released).toBe(true);
  expect(next.ticket).toBe(queue[1]!.ticket);
  expect(next.atMs - released.atMs).toBeLessThan(LEASE_MS / 4);
  // When its lease is over it is gone for good, and the holder is still the one who was behind it.
  const after = await queueOf(name, ({ queueLength }) => queueLength === 0);
  expect(after.holders).toMatchObject([{ token: next.token }]);
});

// The kill meets the grant in flight: it was sent to a connection that looked alive. Such a grant stays until the dead
// session's lease has run out (Q7), and the one behind is next.
test.concurrent("[Q3q] a waiter killed in the moment of its grant holds the lock up for a lease at most", async () => {
  const holder = await processes.client(server);
  const doomed = await processes.client(server, { lease: LEASE_MS });
  const waiter = await processes.client(server);
  const name = "killed at the grant";
  const held = await holder.call<Granted>("acquire", { name });
  void doomed.call<Granted>("acquire", { name, options: { wait: "forever" } });
  await queueOf(name, ({ queueLength }) => queueLength === 1);
  const granted = waiter.call<Granted>("acquire", { name, options: { wait: "forever" } });
  await queueOf(name, ({ queueLength }) => queueLength === 2);

  const release = holder.call<{ released: boolean }>("release", { token: held.token });
  const { atMs: killedMs } = await doomed.kill("SIGKILL");
  const { atMs } = await granted;
  console.info(`[Q3q] killed while it was granted: the next had the lock ${ms(atMs - killedMs)} later`);
  expect((await release).released).toBe(true);
  expect(atMs - killedMs).toBeLessThan(LEASE_MS + LATE_MS);
});

/** Asks until the lock is as wanted: no event tells a third party of a queue. */
async function queueOf(name: string, fits: (info: LockInfo) => boolean): Promise<LockInfo> {
  let info: LockInfo | null = null;
  await until(`the queue of "${name}"`, async () => {
    info = await watcher.call<LockInfo>("inspect", { name });
    return fits(info);
  });
  return info!;
}

function ms(span: number): string {
  return `${span.toFixed(1)} ms`;
}
