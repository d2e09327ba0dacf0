import { notLoaded } from "./not-loaded.js";
import type { ClientSession } from "./session.js";
import type { Lock, LockManager, LockManagerSnapshot, WebLockOptions } from "./web-locks.js";

/** The Web Locks surface in a browser: loaded when it is used first, since most pages never do. */
export class WebLocks implements LockManager {
  readonly #session: ClientSession;
  #loading: Promise<LockManager> | null = null;

  constructor(session: ClientSession) {
    this.#session = session;
  }

  get [Symbol.toStringTag](): string {
    return "LockManager";
  }

  request<T>(name: string, callback: (lock: Lock | null) => T): Promise<Awaited<T>>;
  request<T>(name: string, options: WebLockOptions, callback: (lock: Lock | null) => T): Promise<Awaited<T>>;
  async request(name: string, ...args: readonly unknown[]): Promise<unknown> {
    // Now, as they are: the caller may change them before the rest is here.
    const converted = [`${name}`, ...args.map(asItIsNow)] as unknown as Parameters<LockManager["request"]>;
    // One promise for all, so that they go on in the order in which they were made.
    return (await this.#load()).request(...converted);
  }

  async query(): Promise<LockManagerSnapshot> {
    return (await this.#load()).query();
  }

  #load(): Promise<LockManager> {
    this.#loading ??= import("./web-locks.js").then(
      ({ WebLocks }) => new WebLocks(this.#session),
      (error) => {
        // Who asks later tries again.
        this.#loading = null;
        throw notLoaded("Web Locks", error);
      },
    );
    return this.#loading;
  }
}

/** The members of a dictionary, read in the order of their names; anything else unchanged. */
function asItIsNow(arg: unknown): unknown {
  if (typeof arg !== "object" || arg === null) return arg;
  const { ifAvailable, mode, signal, steal } = arg as WebLockOptions;
  return { ifAvailable, mode, signal, steal };
}
