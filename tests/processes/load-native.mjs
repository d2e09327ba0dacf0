// Several clients that lock and unlock over the native protocol, session and detached holds, while the server is killed
// again and again. Clients wait through that: what goes wrong here is written down.
import { EventEmitter, once, setMaxListeners } from "node:events";
import { setTimeout } from "node:timers/promises";
import LockDB from "lockdb";
import { History } from "./history.mjs";
import { clockMs, given, notify, serveCalls } from "./mailbox.mjs";

const { id, clients, historyFile, service, serverUrl, apiKey } = given;
let { names } = given;
const history = new History(historyFile, 5);
const WAIT = { wait: "forever" };
const DETACHED_MS = 60_000;
const ONE_TIME_MS = 3_600_000;
/** A few take longer, so that others have to wait. */
const LONG_MS = 400;
const LONG_SHARE = 0.1;
const PAUSE_MS = 2;
/** What is done once a name is not forgotten by the server, nor by the test. */
const ONE_TIME_PAUSE_MS = 200;
const CHECK_PAUSE_MS = 250;
const stopping = new AbortController();
/** Holds of slow names end when the test says so: after a crash others want the lock, and must not get it. */
const turns = new EventEmitter();
setMaxListeners(0, stopping.signal, turns);

/** One client instance with a session of its own, and what its users do. */
class LoadClient {
  #id;
  #locker = new LockDB(service, { serverUrl, apiKey });
  #long;
  #running;
  #lostCount = 0;
  #oneTimeNames = 0;

  constructor(id) {
    this.#id = id;
  }

  async start() {
    this.#long = await this.#acquire(`long/${this.#id}`, WAIT);
    this.#running = Promise.all([
      again(PAUSE_MS, () => this.#sessionHold()),
      again(PAUSE_MS, () => this.#detachedHold()),
      again(PAUSE_MS, () => this.#slowHold()),
      again(ONE_TIME_PAUSE_MS, () => this.#oneTimeHold()),
      again(CHECK_PAUSE_MS, () => this.#check()),
    ]);
  }

  /** Ends all loops, each after what it has begun. The long hold must have lived through everything. */
  async stop() {
    await this.#running;
    const long = this.#long;
    const wasHeld = !long.signal.aborted && long.remainingMs > 0;
    const released = await long.release();
    await this.#locker.close();
    return { lostCount: this.#lostCount, wasHeld, released };
  }

  async #sessionHold() {
    await this.#sessionHoldOf(oneOf(names.hot), aMoment);
    history.progress();
  }

  async #detachedHold() {
    await this.#detachedHoldOf(oneOf(names.hot), aMoment);
    history.progress();
  }

  async #slowHold() {
    if (Math.random() < 0.5) await this.#sessionHoldOf(oneOf(names.slow), aTurn);
    else await this.#detachedHoldOf(oneOf(names.slow), aTurn);
  }

  async #sessionHoldOf(name, work) {
    const hold = await this.#hold(name, WAIT, work);
    await this.#end(hold, "session hold", "release");
  }

  async #detachedHoldOf(name, work) {
    const hold = await this.#hold(name, { ...WAIT, detached: DETACHED_MS }, work);
    // By its token, or by name as anyone may: a repetition after a crash must not free the next holder (Q6).
    await this.#end(hold, "detached hold", hold.lease.token % 2 ? "release" : "unlock");
  }

  /** Names that nobody else uses, and used once: what was acknowledged about them stays so. */
  async #oneTimeHold() {
    const name = `once/${this.#id}/${++this.#oneTimeNames}`;
    const hold = await this.#hold(name, { ...WAIT, detached: ONE_TIME_MS });
    if (this.#oneTimeNames % 4 === 0) history.kept(name, hold.lease.token);
    else if (await this.#end(hold, "detached hold", "unlock")) history.freed(name);
  }

  async #check() {
    const name = oneOf(Math.random() < 0.5 ? names.hot : names.slow);
    const answered = history.ask({ kind: "check", name, client: this.#id });
    // Longer than a recovery takes.
    answered(await this.#locker.check(name, { waitTimeoutInMs: 30_000 }));
  }

  /** Holds a lock for a while, and writes down for how long it was believed to be held. */
  async #hold(name, terms, work = () => {}) {
    const askedMs = clockMs();
    const lease = await this.#acquire(name, terms);
    const fromMs = clockMs();
    let untilMs = null;
    lease.signal.addEventListener("abort", () => {
      untilMs = clockMs();
    });
    await work();
    untilMs ??= clockMs();
    const { token, ticket = null } = lease;
    const type = terms.detached === undefined ? "session" : "detached";
    const endsMs = terms.detached === undefined ? null : askedMs + terms.detached;
    history.hold({ client: this.#id, type, name, token, ticket, askedMs, fromMs, untilMs, endsMs });
    return { name, lease };
  }

  /** Releases or unlocks, and writes down when it was over before, or when no answer came. */
  async #end({ name, lease }, doing, kind) {
    const fromMs = clockMs();
    const { token } = lease;
    const answered = history.ask({ kind, name, client: this.#id, token });
    try {
      const wasHeld = await (kind === "unlock" ? this.#locker.unlock(name) : lease.release());
      answered(wasHeld);
      if (!wasHeld) history.trouble(doing, "over", fromMs);
      return wasHeld;
    } catch (error) {
      answered();
      history.trouble(doing, error.code ?? error.message, fromMs);
      // Otherwise a detached hold would stay in everybody's way for its whole time.
      return doing === "detached hold" && this.#releaseAny(name, token);
    }
  }

  async #releaseAny(name, token) {
    const answered = history.ask({ kind: "release", name, client: this.#id, token });
    const result = await this.#locker.release(name, token).catch(() => null);
    answered(result);
    return result === true;
  }

  async #acquire(name, terms) {
    const fromMs = clockMs();
    try {
      const lease = await this.#locker.acquire(name, terms);
      if (terms.detached === undefined) lease.signal.addEventListener("abort", () => this.#lostCount++);
      return lease;
    } catch (error) {
      history.trouble("wait", error.code ?? error.message, fromMs);
      throw error;
    }
  }
}

const loads = Array.from({ length: clients }, (_, at) => new LoadClient(`${id}.${at}`));
await Promise.all(loads.map((load) => load.start()));

serveCalls({
  /** Whoever waits for one of the old names goes on to. */
  rename: (others) => {
    names = others.names;
  },
  turn: () => {
    turns.emit("turn");
  },
  stop: async () => {
    stopping.abort();
    return { clients: await Promise.all(loads.map((load) => load.stop())) };
  },
});
notify("ready");

async function again(pauseMs, work) {
  while (!stopping.signal.aborted) {
    await work();
    await pause(pauseMs);
  }
}

/** Ends early when all is to end. */
async function pause(ms) {
  await setTimeout(ms, undefined, { signal: stopping.signal }).catch(() => {});
}

function oneOf(some) {
  return some[Math.floor(Math.random() * some.length)];
}

function aMoment() {
  return pause(Math.random() < LONG_SHARE ? LONG_MS : Math.random() * 3);
}

function aTurn() {
  return once(turns, "turn", { signal: stopping.signal }).catch(() => {});
}
