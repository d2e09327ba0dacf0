import { PORT_DEFAULT } from "../protocol/index.js";
import { LockDBError } from "./errors.js";

/**
 * Addresses of servers, from a list or a text with commas between.
 * @returns loopback when none is given
 * @throws LockDBError `INVALID` for what is no address
 */
export function serverUrls(given: string | readonly string[] | undefined): readonly string[] {
  const list = typeof given === "string" ? given.split(",") : (given ?? []);
  if (!Array.isArray(list))
    throw new LockDBError("INVALID", "serverUrl must be an address or a list of addresses.");
  const urls = list.map((url) => String(url).trim()).filter((url) => url !== "");
  if (urls.length === 0) return [`http://127.0.0.1:${PORT_DEFAULT}`];
  for (const url of urls) {
    if (!isServerUrl(url)) {
      throw new LockDBError(
        "INVALID",
        `A server address begins with http:// or https:// and has no ? or #, unlike ${JSON.stringify(url)}.`,
      );
    }
  }
  return urls;
}

/** True for the address of a server, whoever says it. */
export function isServerUrl(url: unknown): url is string {
  return typeof url === "string" && URL.canParse(url) && /^https?:\/\/[^?#]+$/.test(url);
}
