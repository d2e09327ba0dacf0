/**
 * Another process owns the data directory (R8).
 *
 * @example
 * await serve({ dataDir: "/var/lib/lockdb" }).catch((error: Error) => {
 *   if (!(error instanceof StoreInUseError)) throw error;
 *   console.error("A server runs already.");
 * });
 */
export class StoreInUseError extends Error {
  override readonly name = "StoreInUseError";
}

/** The data directory or a file in it cannot be used as it is; the message says what to do. */
export class StoreUnusableError extends Error {
  override readonly name = "StoreUnusableError";
}

/** A commit failed. What it left behind is unknown until the store is opened anew (R7). */
export class StoreFailedError extends Error {
  override readonly name = "StoreFailedError";
}

/** The right to write was taken away: somebody else has the store now, and nothing of the commit was written. */
export class StoreDeposedError extends Error {
  override readonly name = "StoreDeposedError";
  /** Those that do not hold any more. None: the guards hold, and somebody wrote past them. */
  readonly guards: readonly { readonly key: string }[];

  constructor(why: string, guards: readonly { readonly key: string }[]) {
    super(
      `This server is not the store's owner any more: ${why}. Open the store anew to see whether it may.`,
    );
    this.guards = guards;
  }
}

/** A call after `close`. */
export class StoreClosedError extends Error {
  override readonly name = "StoreClosedError";

  constructor() {
    super("The store is closed. Open it again to use it.");
  }
}
