// Many clients, each of which holds a lock of its own and waits for another one that somebody else has.
import LockDB from "lockdb";
import { clockMs, given, notify, serveCalls } from "./mailbox.mjs";

const { serverUrl, apiKey, service, lease, clients } = given;
/** A crowd at the start is not what is looked at here. */
const STARTS_AT_ONCE = 8;

class Waiter {
  #owner;
  #name;
  #locker;
  #own = null;
  /** When the client's own clock told it that its hold is over. */
  #lostMs = null;
  #waiting;

  constructor({ owner, name }) {
    this.#owner = owner;
    this.#name = name;
    this.#locker = new LockDB(service, { serverUrl, apiKey, lease, owner });
  }

  async start() {
    this.#own = await this.#locker.acquire(`own/${this.#owner}`);
    this.#own.signal.addEventListener("abort", () => {
      this.#lostMs = clockMs();
    });
    this.#waiting = this.#wait();
  }

  /** What became of the request that waited. */
  granted() {
    return this.#waiting;
  }

  /** What became of its hold, and whether it can lock again. */
  async again() {
    const { token, signal } = this.#own;
    const next = await this.#locker.acquire(`own/${this.#owner}`);
    const reason = signal.aborted ? signal.reason.code : null;
    return { lostMs: this.#lostMs, reason, token, nextToken: next.token, isHeld: next.remainingMs > 0 };
  }

  async #wait() {
    const [owner, name] = [this.#owner, this.#name];
    try {
      const lease = await this.#locker.acquire(name, { wait: "forever" });
      const { token, ticket } = lease;
      return { owner, name, token, ticket, released: await lease.release() };
    } catch (error) {
      return { owner, name, error: error.code ?? error.message };
    }
  }
}

const waiters = clients.map((client) => new Waiter(client));
const all = (work) => Promise.all(waiters.map(work));
for (let at = 0; at < waiters.length; at += STARTS_AT_ONCE) {
  await Promise.all(waiters.slice(at, at + STARTS_AT_ONCE).map((waiter) => waiter.start()));
}

serveCalls({
  granted: () => all((waiter) => waiter.granted()),
  again: () => all((waiter) => waiter.again()),
});
notify("ready");
