// Locks and unlocks over the native protocol, session and detached holds, while the server is killed again and again.
// No call here may ever fail: clients wait through a restart.
import { setTimeout } from "node:timers/promises";
import LockDB from "lockdb";
import { History } from "./history.mjs";
import { clockMs, given, notify, serveCalls } from "./mailbox.mjs";

const { id, historyFile, hotNames, service, ...options } = given;
const history = new History(historyFile, 10);
const locker = new LockDB(service, options);
const WAIT = { wait: "forever" };
let isStopping = false;
let lostCount = 0;
let oneTimeNames = 0;

const long = await acquire(`long/${id}`, WAIT);
const works = [sessionHold, sessionHold, detachedHold, detachedHold, oneTimeHold];
const running = Promise.all(works.map(again));

serveCalls({
  /** Ends all loops, each after what it has begun. The long hold must have lived through everything. */
  stop: async () => {
    isStopping = true;
    await running;
    const wasHeld = !long.signal.aborted && long.remainingMs > 0;
    const longHold = { token: long.token, wasHeld, released: await long.release() };
    await locker.close();
    return { errors: history.errors, lostCount, longHold };
  },
});
notify("ready");

async function again(work) {
  while (!isStopping) {
    try {
      await work();
    } catch (error) {
      history.error(work.name, error);
    }
    await setTimeout(2);
  }
}

async function sessionHold() {
  const [name, askedMs] = [hotName(), clockMs()];
  const lease = await acquire(name, WAIT);
  await hold(lease, { type: "session", name, askedMs });
  const fromMs = clockMs();
  if (!(await lease.release())) history.notReleased({ name, token: lease.token, fromMs, untilMs: clockMs() });
}

async function detachedHold() {
  const [name, askedMs] = [hotName(), clockMs()];
  const lease = await acquire(name, { ...WAIT, detached: "60s" });
  await hold(lease, { type: "detached", name, askedMs });
  // By its token, or by name as anyone may: a repetition after a crash must not free the next holder (Q6).
  const released = lease.token % 2 === 0 ? await lease.release() : await locker.unlock(name);
  if (!released) throw new Error("a detached hold was over before its time");
}

/** Names that nobody else uses, and used once: what was acknowledged about them stays so. */
async function oneTimeHold() {
  const name = `once/${id}/${++oneTimeNames}`;
  const lease = await acquire(name, { ...WAIT, detached: "1h" });
  if (oneTimeNames % 4 === 0) return history.kept(name, lease.token);
  if (!(await locker.unlock(name))) throw new Error("a detached hold was gone at its unlock");
  history.freed(name);
}

async function acquire(name, options) {
  const lease = await locker.acquire(name, options);
  lease.signal.addEventListener("abort", () => lostCount++);
  return lease;
}

/** Holds it for a moment, and writes down for how long it was believed to be held. */
async function hold(lease, { type, name, askedMs }) {
  const fromMs = clockMs();
  let untilMs = null;
  lease.signal.addEventListener("abort", () => {
    untilMs = clockMs();
  });
  await setTimeout(Math.random() * 3);
  untilMs ??= clockMs();
  history.hold({ type, name, token: lease.token, askedMs, fromMs, untilMs });
}

function hotName() {
  return hotNames[Math.floor(Math.random() * hotNames.length)];
}
