import { ConnectionError } from "./errors.js";

/** What to say of a part of this package that a page loads when it is used, and that did not come. */
export function notLoaded(what: string, error: unknown): ConnectionError {
  const text = `The code of ${what} could not be loaded. Try again.`;
  return new ConnectionError(text, false, error);
}
