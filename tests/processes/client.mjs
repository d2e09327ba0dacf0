// A client of LockDB that does what the test tells it.
import LockDB from "lockdb";
import { clockMs, given, notify, serveCalls } from "./mailbox.mjs";

/** The server refuses more of one connection (N3). */
const INSPECTIONS_AT_ONCE = 50;

const { service, ...options } = given;
const locker = new LockDB(service, options);
const leases = new Map();

serveCalls({
  acquire: async ({ name, options = {} }) => {
    const askedMs = clockMs();
    const lease = await locker.acquire(name, options);
    return keep(lease, askedMs);
  },
  tryAcquire: async ({ name, options = {} }) => {
    const askedMs = clockMs();
    const lease = await locker.tryAcquire(name, options);
    return lease === null ? null : keep(lease, askedMs);
  },
  release: async ({ token }) => {
    const atMs = clockMs();
    return { atMs, released: await leases.get(token).release() };
  },
  isHeld: ({ token }) => leases.get(token).remainingMs > 0 && !leases.get(token).signal.aborted,
  /** Tells when the lease is no longer trusted. */
  tellAbort: ({ token }) => {
    const lease = leases.get(token);
    const { remainingMs } = lease;
    lease.signal.addEventListener("abort", () => {
      notify("aborted", { atMs: clockMs(), reason: String(lease.signal.reason) });
    });
    return { atMs: clockMs(), remainingMs };
  },
  check: ({ name }) => locker.check(name),
  unlock: ({ name }) => locker.unlock(name),
  inspect: ({ name }) => locker.inspect(name),
  inspectAll: async ({ names }) => {
    const infos = [];
    for (let at = 0; at < names.length; at += INSPECTIONS_AT_ONCE) {
      const some = names.slice(at, at + INSPECTIONS_AT_ONCE);
      infos.push(...(await Promise.all(some.map((name) => locker.inspect(name)))));
    }
    return infos;
  },
  /** Tells of the session's next renewal, as soon as the client knows of it. */
  tellRenewal: ({ token }) => {
    const lease = leases.get(token);
    let beforeMs = lease.remainingMs;
    const timer = setInterval(() => {
      const { remainingMs } = lease;
      if (remainingMs > beforeMs) {
        clearInterval(timer);
        notify("renewed", { atMs: clockMs(), remainingMs });
      }
      beforeMs = remainingMs;
    }, 2);
  },
});
notify("ready");

function keep(lease, askedMs) {
  const atMs = clockMs();
  leases.set(lease.token, lease);
  return { token: lease.token, ticket: lease.ticket ?? null, askedMs, atMs };
}
