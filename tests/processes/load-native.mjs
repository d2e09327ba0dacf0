// Locks and unlocks over the native protocol, session and detached holds, while the server is killed again and again.
// Clients wait through that: what goes wrong here is written down.
import { setTimeout } from "node:timers/promises";
import LockDB from "lockdb";
import { History } from "./history.mjs";
import { clockMs, given, notify, serveCalls } from "./mailbox.mjs";

const { id, historyFile, hotNames, service, ...options } = given;
const history = new History(historyFile, 5);
const locker = new LockDB(service, options);
const WAIT = { wait: "forever" };
/** Some holds are so long that a crash comes in between: others must not get the lock then. */
const LONG_MS = 400;
const LONG_SHARE = 0.1;
let isStopping = false;
let lostCount = 0;
let oneTimeNames = 0;

const long = await acquire(`long/${id}`, WAIT);
const running = Promise.all([again(sessionHold), again(detachedHold), again(oneTimeHold)]);

serveCalls({
  /** Ends all loops, each after what it has begun. The long hold must have lived through everything. */
  stop: async () => {
    isStopping = true;
    await running;
    const wasHeld = !long.signal.aborted && long.remainingMs > 0;
    const longHold = { token: long.token, wasHeld, released: await long.release() };
    await locker.close();
    return { lostCount, longHold };
  },
});
notify("ready");

async function again(work) {
  while (!isStopping) {
    await work();
    await setTimeout(2);
  }
}

async function sessionHold() {
  const [name, askedMs] = [hotName(), clockMs()];
  const lease = await acquire(name, WAIT);
  await hold(lease, { type: "session", name, askedMs });
  await free(name, lease, "session hold", () => lease.release());
}

async function detachedHold() {
  const [name, askedMs] = [hotName(), clockMs()];
  const lease = await acquire(name, { ...WAIT, detached: "60s" });
  await hold(lease, { type: "detached", name, askedMs });
  // By its token, or by name as anyone may: a repetition after a crash must not free the next holder (Q6).
  await free(name, lease, "detached hold", () => (lease.token % 2 ? lease.release() : locker.unlock(name)));
}

/** Names that nobody else uses, and used once: what was acknowledged about them stays so. */
async function oneTimeHold() {
  const name = `once/${id}/${++oneTimeNames}`;
  const lease = await acquire(name, { ...WAIT, detached: "1h" });
  if (oneTimeNames % 4 === 0) history.kept(name, lease.token);
  else if (await free(name, lease, "detached hold", () => locker.unlock(name))) history.freed(name);
}

/** Releases or unlocks, and writes down when it was over before, or when no answer came. */
async function free(name, { token }, doing, call) {
  const fromMs = clockMs();
  try {
    const wasHeld = await call();
    if (!wasHeld) history.trouble(doing, "over", fromMs);
    return wasHeld;
  } catch (error) {
    history.trouble(doing, error.code ?? error.message, fromMs);
    // Otherwise a detached hold would stay in everybody's way for its whole time.
    return doing === "detached hold" && locker.release(name, token).catch(() => false);
  }
}

async function acquire(name, options) {
  const fromMs = clockMs();
  try {
    const lease = await locker.acquire(name, options);
    if (options.detached === undefined) lease.signal.addEventListener("abort", () => lostCount++);
    return lease;
  } catch (error) {
    history.trouble("wait", error.code ?? error.message, fromMs);
    throw error;
  }
}

/** Holds it for a while, and writes down for how long it was believed to be held. */
async function hold(lease, { type, name, askedMs }) {
  const fromMs = clockMs();
  let untilMs = null;
  lease.signal.addEventListener("abort", () => {
    untilMs = clockMs();
  });
  await setTimeout(Math.random() < LONG_SHARE ? LONG_MS : Math.random() * 3);
  untilMs ??= clockMs();
  history.hold({ type, name, token: lease.token, askedMs, fromMs, untilMs });
}

function hotName() {
  return hotNames[Math.floor(Math.random() * hotNames.length)];
}
