import type { LockDBError } from "../../client/errors.js";
import type { AccountInfo, KeyInfo } from "../answers.js";
import { endFinding, type Finding, fail, ok, skipped, warn } from "./finding.js";

/** What a server says to a key that it does not know, and the like. */
export function keyRefused(error: LockDBError): Finding {
  const { code, message } = error;
  if (code === "UNAUTHORIZED")
    return fail(
      "key",
      "the server does not know this API key, or the key has ended",
      "Set LOCKDB_API_KEY to one that works: `lockdb keys create` makes one, with a key that may; an operator without any starts the server once with LOCKDB_ROOT_KEY.",
    );
  if (code === "RATE_LIMITED")
    return fail(
      "key",
      `the key could not be tried: ${message}`,
      "Wait a minute. Of wrong keys 60 a minute are looked at from one address.",
    );
  return fail("key", `the key could not be tried: ${message}`, "Mend what it says, then ask again.");
}

/** What the key may, and for how long. */
export function keyFindings(
  { key, account }: { readonly key: KeyInfo; readonly account: AccountInfo },
  service: string | undefined,
): readonly Finding[] {
  return [keyEnd(key, account), scopesFinding(key, service)];
}

function keyEnd({ id, name, account, expiresAt }: KeyInfo, { daysLeft, trialEndsAt }: AccountInfo): Finding {
  const what = `key ${id} "${name}"`;
  if (trialEndsAt !== null && daysLeft === 0)
    return fail(
      "key",
      `the trial of its account ended ${trialEndsAt}: new locks are refused`,
      "Ask the operator to extend it: `lockdb accounts extend`.",
    );
  const mend = "Make another one in time: `lockdb keys create`. A key's end is never put off.";
  if (expiresAt !== null) {
    const end = endFinding("key", what, Date.parse(expiresAt), mend);
    if (end.status !== "ok") return end;
  }
  if (daysLeft !== null && daysLeft <= 7)
    return warn(
      "key",
      `the trial of its account ends ${trialEndsAt}`,
      "Ask the operator to extend or convert it: `lockdb accounts extend`, `lockdb accounts convert`.",
    );
  return ok(
    "key",
    `${what} of account ${account} is known${expiresAt === null ? "" : `, and ends ${expiresAt}`}`,
  );
}

function scopesFinding({ scopes, services }: KeyInfo, service: string | undefined): Finding {
  const where = services === null ? "in all services" : `in ${services.join(", ")}`;
  if (services !== null && service !== undefined && !services.includes(service))
    return fail(
      "scopes",
      `the key is for ${services.join(", ")}, and not for ${service}`,
      "Say another -i, or use a key for this service: `lockdb keys create --services`.",
    );
  const lacks = ["lock", "read", "force", "admin"].filter((scope) => !scopes.includes(scope));
  return ok(
    "scopes",
    `the key may ${scopes.join(", ") || "nothing"} ${where}${lacks.length === 0 ? "" : `; it may not ${lacks.join(", ")}`}`,
  );
}

/** Whether command line and server are of one version. */
export function versionFinding(own: string, server: string | null): Finding {
  if (server === null)
    return warn(
      "version",
      `the server does not tell its version: it is older than this client, ${own}`,
      "Upgrade the server.",
    );
  const order = compared(own, server);
  if (order === 0) return ok("version", `client and server are ${own}`);
  if (order < 0)
    return warn(
      "version",
      `this client is ${own}, older than the server, which is ${server}`,
      `Upgrade it: npm install lockdb@${server}, here and in the programs that use it.`,
    );
  return warn(
    "version",
    `the server is ${server}, older than this client, which is ${own}`,
    `Upgrade the server: npm install @lockdb/server@${own}, and start it anew. Clients keep their locks.`,
  );
}

/** Less than 0: the first is older. What stands behind the three numbers does not count. */
function compared(one: string, two: string): number {
  const [a, b] = [one, two].map((text) => text.split(/[-+]/)[0]!.split(".").map(Number));
  for (let at = 0; at < 3; at++) {
    const difference = (a![at] || 0) - (b![at] || 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Whether the native protocol gets through, which programs use. */
export async function connectFinding(
  service: string | undefined,
  inspect: () => Promise<unknown>,
): Promise<Finding> {
  if (service === undefined)
    return skipped("connect", "the native protocol was not tried: it is about one service", "Say -i <id>.");
  const startMs = performance.now();
  try {
    await inspect();
  } catch (error) {
    const { code, message } = error as LockDBError;
    // It got through, and that is what is asked.
    if (code !== "FORBIDDEN")
      return fail(
        "connect",
        `programs cannot connect: ${message}`,
        "Where HTTP works and this does not, a proxy in between must pass Upgrade (WebSocket) on /v1/connect.",
      );
  }
  return ok(
    "connect",
    `the native protocol answers; connecting took ${(performance.now() - startMs).toFixed(1)} ms`,
  );
}
