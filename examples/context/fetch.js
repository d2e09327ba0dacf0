// The calling side: whom we call works inside of the locks that we hold.
import { contextHeader } from "lockdb";

/** `fetch` for your own services. Others have no use for the header. */
export function call(url, init = {}) {
  const headers = new Headers(init.headers);
  headers.set("lockdb-context", contextHeader());
  return fetch(url, { ...init, headers });
}
