import { Resolver } from "node:dns/promises";
import { isLoopbackName } from "./addresses.js";

/** All addresses of a host name. Rejects when it has none, or the signal aborts. */
export type Lookup = (host: string, signal: AbortSignal) => Promise<readonly string[]>;

/** How long one name server has to answer, and how often it is asked. */
const ANSWER_MS = 2_000;
const TRIES = 2;

/** What DNS says, by the name servers of this machine. */
export const dnsLookup: Lookup = lookupBy(null);

/**
 * Asks these name servers, or those of this machine. Not by the system's own resolver: that holds one of the few threads
 * for as long as a name server is silent, and the store needs them to flush. So `/etc/hosts` and search domains are not
 * looked at, but for localhost.
 */
export function lookupBy(servers: readonly string[] | null): Lookup {
  return async (host, signal) => {
    if (isLoopbackName(host)) return ["127.0.0.1", "::1"];
    const resolver = new Resolver({ timeout: ANSWER_MS, tries: TRIES });
    if (servers !== null) resolver.setServers(servers);
    const cancel = () => resolver.cancel();
    signal.addEventListener("abort", cancel, { once: true });
    try {
      const answers = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)]);
      const found = answers.flatMap((answer) => (answer.status === "fulfilled" ? answer.value : []));
      if (found.length > 0) return found;
      throw (
        answers.find((answer) => answer.status === "rejected")?.reason ?? new Error("the name has no address")
      );
    } finally {
      signal.removeEventListener("abort", cancel);
    }
  };
}
