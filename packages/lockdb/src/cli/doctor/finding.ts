/** What came of one look. `skipped`: it could not be made here. */
export interface Finding {
  readonly check: CheckName;
  readonly status: "ok" | "warn" | "fail" | "skipped";
  /** What was found, in one sentence. */
  readonly found: string;
  /** What to do, where there is something. */
  readonly mend?: string;
}

/** Every check, in the order in which they are told. */
export const CHECKS = [
  "address",
  "reach",
  "tls",
  "plain-text",
  "ready",
  "key",
  "scopes",
  "version",
  "connect",
  "clock",
  "clock-rate",
  "server",
  "disk",
  "store",
  "recovery",
  "queues",
  "certificate",
  "listening",
  "files",
  "webhooks",
  "mistakes",
  "cluster",
  "etcd",
  "data-folder",
  "data-rights",
  "data-disk",
] as const;
export type CheckName = (typeof CHECKS)[number];

export function ok(check: CheckName, found: string): Finding {
  return { check, status: "ok", found };
}

export function warn(check: CheckName, found: string, mend: string): Finding {
  return { check, status: "warn", found, mend };
}

export function fail(check: CheckName, found: string, mend: string): Finding {
  return { check, status: "fail", found, mend };
}

export function skipped(check: CheckName, found: string, mend?: string): Finding {
  return { check, status: "skipped", found, ...(mend === undefined ? {} : { mend }) };
}

const DAY_MS = 24 * 60 * 60 * 1_000;
/** As the server begins to warn of it in its log (A6). */
const ENDS_SOON_DAYS = 14;
const ENDS_NOW_DAYS = 2;

/** How something is that ends by the time of day. */
export function endFinding(check: CheckName, what: string, endsAtMs: number, mend: string): Finding {
  const days = (endsAtMs - Date.now()) / DAY_MS;
  const day = new Date(endsAtMs).toISOString();
  if (days <= 0) return fail(check, `${what} ended ${day}`, mend);
  const text = `${what} ends in ${days < 1 ? "less than a day" : `${Math.floor(days)} days`}, ${day}`;
  if (days < ENDS_NOW_DAYS) return fail(check, text, mend);
  return days < ENDS_SOON_DAYS ? warn(check, text, mend) : ok(check, text);
}

const MIB = 1_024 * 1_024;

/** How a disk is on which a data folder is. */
export function diskFinding(check: CheckName, path: string, freeBytes: number, totalBytes: number): Finding {
  const part = totalBytes === 0 ? 0 : freeBytes / totalBytes;
  const found = `${bytesText(freeBytes)} of ${bytesText(totalBytes)} are free on the disk of ${path}`;
  const mend =
    "Make room there, or move the data: stop the server, then `lockdb store copy FROM TO`. On a full disk the server answers UNAVAILABLE " +
    "until there is room; nothing that was acknowledged is lost.";
  if (part < 0.05 || freeBytes < 32 * MIB) return fail(check, found, mend);
  return part < 0.15 || freeBytes < 256 * MIB ? warn(check, found, mend) : ok(check, found);
}

function bytesText(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  let value = bytes;
  for (; value >= 1_024 && at < units.length - 1; at++) value /= 1_024;
  return `${value < 10 && at > 0 ? value.toFixed(1) : Math.round(value)} ${units[at]}`;
}
