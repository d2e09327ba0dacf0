import { setTimeout as sleep } from "node:timers/promises";
import { Exclusion } from "../exclusion.js";

export const EXCLUSIVE = /** @type {const} */ ({ wait: "forever" });
const SHARED = /** @type {const} */ ({ mode: "shared", wait: "forever" });

/**
 * One lock of LockDB, and those who want it again and again: its queue stays as long as it is. It moves only while it is
 * handed over, so several can take turns.
 */
export class Queue {
  #locker;
  #waiting;
  #isMixed;
  #exclusion = new Exclusion();
  #sharing = 0;
  #handOvers = 0;
  #spentMs = 0;
  /** @type {Promise<void>} */
  #gate = Promise.resolve();
  #open = () => {};
  #isStopped = false;
  /** @type {unknown} */
  #failure;
  /** @type {import("lockdb").Lease | undefined} */
  #holder;

  /**
   * @param {import("lockdb").LockDB} locker
   * @param {string} name
   * @param {number} waiting
   * @param {boolean} isMixed half of them share the lock with those beside them
   */
  constructor(locker, name, waiting, isMixed = false) {
    this.#locker = locker;
    this.name = name;
    this.#waiting = waiting;
    this.#isMixed = isMixed;
  }

  /** The last who came in. */
  get holder() {
    return /** @type {import("lockdb").Lease} */ (this.#holder);
  }

  get violations() {
    return this.#exclusion.violations;
  }

  get perSecond() {
    if (this.#failure !== undefined) throw this.#failure;
    return this.#handOvers / (this.#spentMs / 1_000);
  }

  async fill() {
    this.#close();
    for (let worker = 0; worker <= this.#waiting; worker += 1) {
      this.#work(worker).catch((error) => {
        if (!this.#isStopped) this.#failure ??= error;
      });
    }
    while ((await this.#locker.inspect(this.name)).queueLength < this.#waiting) await sleep(10);
  }

  /** @param {number} forMs */
  async handOver(forMs) {
    const startMs = performance.now();
    this.#open();
    await sleep(forMs);
    this.#close();
    this.#spentMs += performance.now() - startMs;
    // What is under way comes to a stand before another queue moves.
    await this.#locker.inspect(this.name);
  }

  /** Counts from here. */
  restart() {
    this.#handOvers = 0;
    this.#spentMs = 0;
  }

  /** Nobody minds any more when the client is closed. */
  stop() {
    this.#isStopped = true;
  }

  #close() {
    this.#gate = new Promise((resolve) => {
      this.#open = resolve;
    });
  }

  /** @param {number} worker */
  async #work(worker) {
    // In pairs, so that some are let in together.
    const shares = this.#isMixed && worker % 4 >= 2;
    for (;;) {
      const lease = await this.#locker.acquire(this.name, shares ? SHARED : EXCLUSIVE);
      this.#enter(shares);
      this.#holder = lease;
      await this.#gate;
      this.#handOvers += 1;
      this.#leave(shares);
      if (!(await lease.release())) throw new Error(`the hold of ${this.name} was over before its release`);
    }
  }

  /** @param {boolean} shares */
  #enter(shares) {
    if (!shares || this.#sharing === 0) this.#exclusion.enter(this.name);
    if (shares) this.#sharing += 1;
  }

  /** @param {boolean} shares */
  #leave(shares) {
    if (shares) this.#sharing -= 1;
    if (!shares || this.#sharing === 0) this.#exclusion.leave(this.name);
  }
}
