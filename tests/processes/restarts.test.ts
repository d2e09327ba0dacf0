import { request } from "node:http";
import { afterAll, describe, expect, test } from "vitest";
import {
  type Child,
  clockMs,
  type Granted,
  Processes,
  type RawNotice,
  ROOT_KEY,
  type ServerProcess,
  until,
} from "./processes.js";

const LEASE_MS = 10_000;

const processes = new Processes();
afterAll(() => processes.end());

describe.concurrent("restarts", { timeout: 60_000 }, () => {
  // The lease clock runs while the server does (R6). Seen from outside: it ran at most from before a start to after an
  // end, and at least from ready to the signal; and a crash may cost what it had not written down, a second.
  test("[L9p] a detached hold outlives its client and the server's restarts, and ends at its time", async () => {
    const heldMs = 4_000;
    const server = await processes.server();
    // A short lease: after the crash the server waits for its dead session no longer than that (R4).
    const maker = await processes.client(server, { lease: 1_000 });
    const waiter = await processes.client(server);
    const name = "nightly";
    const held = await maker.call<Granted>("acquire", { name, options: { detached: heldMs } });
    await maker.kill("SIGKILL");
    const granted = waiter.call<Granted>("acquire", { name, options: { wait: "forever" } });
    await until("the waiter is in the queue", async () => (await queueLength(waiter, name)) === 1);

    let [downMs, surelyDownMs] = [0, 0];
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      const signalledMs = clockMs();
      const { atMs: endedMs } = await server.child.kill(signal);
      await server.restart();
      downMs += server.readyMs - signalledMs;
      surelyDownMs += server.startedMs - endedMs;
      const info = await waiter.call("inspect", { name });
      expect(info).toMatchObject({ holders: [{ token: held.token, detached: true }] });
    }

    const next = await granted;
    const [longestMs, shortestMs] = [next.atMs - held.askedMs - surelyDownMs, next.atMs - held.atMs - downMs];
    console.info(
      `[L9p] a detached hold of ${heldMs} ms, its client and its server (twice) gone: ended after ` +
        `${shortestMs.toFixed(0)} to ${longestMs.toFixed(0)} ms of the server's time, ${downMs.toFixed(0)} ms down`,
    );
    expect(next.token).toBeGreaterThan(held.token);
    expect(longestMs).toBeGreaterThanOrEqual(heldMs);
    expect(shortestMs).toBeLessThan(heldMs + 1_000 + 500);
  });

  test("[R8p] a second server on the same folder exits and says why; the first goes on", async () => {
    const server = await processes.server();
    const other = processes.serve({ port: 0, dataDir: server.dataDir, store: "lmdb" });
    const { code } = await other.exited;
    expect(code).toBe(1);
    expect(other.stdout).toBe("");
    expect(other.stderr).toContain(`"${server.dataDir}" is in use by process ${server.child.pid}`);
    const client = await processes.client(server);
    expect(await client.call("check", { name: "any" })).toBe(false);
  });

  test("[I6p] SIGTERM stops a server within 5 s, tells who waits, and clients wait on", async () => {
    const server = await processes.server();
    const [holder, waiter] = [await processes.client(server), await processes.client(server)];
    const raw = await processes.raw(server, { leaseMs: LEASE_MS });
    const name = "waited for";
    const held = await holder.call<Granted>("acquire", { name });
    const granted = waiter.call<Granted>("acquire", { name, options: { wait: "forever" } });
    await raw.call("send", { messages: [["acquire", 1, name, null]] });
    await raw.next<RawNotice>("message", ({ message }) => message[0] === "queued");
    const answer = postLock(server, name);
    await until("all three are in the queue", async () => (await queueLength(holder, name)) === 3);

    const signalledMs = clockMs();
    const { code, atMs: endedMs } = await server.child.kill("SIGTERM");
    console.info(`[I6p] SIGTERM with 3 waiters: stopped after ${(endedMs - signalledMs).toFixed(0)} ms`);
    expect(code).toBe(0);
    expect(endedMs - signalledMs).toBeLessThan(5_000);
    expect(await answer).toMatchObject({ status: 503, body: expect.stringMatching(/^UNAVAILABLE: /) });
    const { message } = await raw.next<RawNotice>("message", (notice) => notice.message[0] === "ended");
    expect(message[1]).toBe("UNAVAILABLE");

    await server.restart();
    await until("the waiter is back", async () => (await queueLength(holder, name)) >= 1);
    expect(await holder.call("release", { token: held.token })).toMatchObject({ released: true });
    const next = await granted;
    console.info(
      `[I6p] a client that waited across the restart had its lock ${(next.atMs - server.readyMs).toFixed(0)} ms after ready`,
    );
    expect(next.token).toBeGreaterThan(held.token);
  });

  // The holder's process stands still meanwhile: the server has only its own records to know of the hold.
  test("[R5p] after a clean stop session holds are still held, and nothing is waited for", async () => {
    const server = await processes.server();
    const holder = await processes.client(server, { lease: 60_000 });
    const other = await processes.client(server);
    const held = await holder.call<Granted>("acquire", { name: "kept" });
    holder.signal("SIGSTOP");
    await server.child.kill("SIGTERM");
    await server.restart();

    expect(await other.call("tryAcquire", { name: "kept" })).toBeNull();
    expect(await other.call("inspect", { name: "kept" })).toMatchObject({
      recovering: false,
      holders: [{ token: held.token, detached: false }],
    });
    const free = await other.call<Granted>("tryAcquire", { name: "free" });
    console.info(
      `[R5p] after a clean stop: a new grant ${(free.atMs - server.readyMs).toFixed(0)} ms after ready`,
    );
    expect(free.token).toBeGreaterThan(held.token);

    holder.signal("SIGCONT");
    expect(await holder.call("isHeld", { token: held.token })).toBe(true);
    expect(await holder.call("release", { token: held.token })).toMatchObject({ released: true });
  });

  test("[R4q] a client that is alive and idle at a crash makes nobody wait for its lease", async () => {
    const server = await processes.server();
    const [idle, busy] = [await processes.client(server), await processes.client(server)];
    await idle.call("check", { name: "any" });
    const held = await busy.call<Granted>("acquire", { name: "kept" });
    await server.child.kill("SIGKILL");
    await server.restart();
    const next = await busy.call<Granted>("acquire", { name: "new", options: { wait: "forever" } });
    console.info(
      `[R4q] with an idle client: the first grant ${(next.atMs - server.readyMs).toFixed(0)} ms after ready`,
    );
    expect(next.atMs - server.readyMs).toBeLessThan(LEASE_MS / 2);
    expect(await busy.call("isHeld", { token: held.token })).toBe(true);
  });
});

async function queueLength(client: Child, name: string): Promise<number> {
  return (await client.call<{ queueLength: number }>("inspect", { name })).queueLength;
}

/** The original `POST /lock`, which waits. */
function postLock({ url }: ServerProcess, lockName: string): Promise<{ status: number; body: string }> {
  const headers = { authorization: `Bearer ${ROOT_KEY}`, "content-type": "text/plain;charset=UTF-8" };
  return new Promise((resolve, reject) => {
    const call = request(`${url}/lock`, { method: "POST", headers }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (part: string) => {
        body += part;
      });
      response.on("end", () => resolve({ status: response.statusCode!, body }));
    });
    call.on("error", reject);
    call.end(JSON.stringify({ serviceId: "processes", lockName, waitForLockInMs: 60_000 }));
  });
}
