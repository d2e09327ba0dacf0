/** Another process owns the data directory (R8). */
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

/** A call after `close`. */
export class StoreClosedError extends Error {
  override readonly name = "StoreClosedError";

  constructor() {
    super("The store is closed. Open it again to use it.");
  }
}
