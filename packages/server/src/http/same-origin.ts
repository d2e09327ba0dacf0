import type { IncomingMessage } from "node:http";
import { isOriginOf } from "./headers.js";

/**
 * True when a page of another site has a browser send this. Browsers of today say so themselves; others tell the page's origin, which
 * is then compared with where they called. Who says neither is no browser, and nobody can make it send something.
 */
export function isCrossSite({ headers }: IncomingMessage): boolean {
  const { "sec-fetch-site": site, origin, host } = headers;
  // "none": typed in by the user.
  if (site !== undefined) return site !== "same-origin" && site !== "none";
  return origin !== undefined && !isOriginOf(origin, host);
}
