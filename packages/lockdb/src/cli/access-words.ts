import type { AccountInfo, AuditEntry, KeyInfo } from "./answers.js";
import { oneLine } from "./words.js";

/** A key, with what it may do on lines of their own. */
export function keyText(key: KeyInfo): string {
  const { id, name, account, scopes, services, createdAt, createdBy, lastUsedAt, expiresAt } = key;
  const { oldSecretEndsAt } = key;
  return lines(`key ${id} "${name}" of account ${account}`, [
    ["scopes", scopes.join(", ")],
    ["services", servicesText(services)],
    ["made", `${createdAt === null ? "" : `${createdAt} `}by ${createdBy}`],
    ["last used", lastUsedAt ?? "never, as far as is known"],
    ["ends", expiresAt ?? "never"],
    ...(oldSecretEndsAt === null ? [] : [["old secret", `works until ${oldSecretEndsAt}`] as const]),
  ]);
}

/** An account, with what it has and may have on lines of their own. */
export function accountText({ id, email, createdAt, limits, use, ...trial }: AccountInfo): string {
  const names = new Set([...Object.keys(use), ...Object.keys(limits)]);
  const made = id === "default" ? [] : [["made", createdAt] as const];
  return lines(`account ${id}${email === null ? "" : ` (${email})`}`, [
    ...made,
    ["trial", trialText(trial)],
    ...[...names].map((name) => [spaced(name), useText(use[name], limits[name] ?? null)] as const),
  ]);
}

/** What is left of a trial, and when it ends. */
export function trialText({ daysLeft, trialEndsAt }: Pick<AccountInfo, "daysLeft" | "trialEndsAt">): string {
  if (trialEndsAt === null) return "none";
  if (daysLeft === 0) return `ended ${trialEndsAt}; new locks are refused until the operator extends it`;
  return `${daysText(daysLeft)} left, ends ${trialEndsAt}`;
}

export const KEY_COLUMNS = ["ID", "NAME", "SCOPES", "SERVICES", "ENDS", "LAST USED"];

export function keyCells({ id, name, scopes, services, expiresAt, lastUsedAt }: KeyInfo): readonly string[] {
  return [id, name, scopes.join(","), servicesText(services), expiresAt ?? "never", lastUsedAt ?? "never"];
}

export const ACCOUNT_COLUMNS = ["ID", "EMAIL", "TRIAL", "HOLDS", "SESSIONS", "SERVICES"];

export function accountCells({ id, email, daysLeft, use }: AccountInfo): readonly string[] {
  const trial = daysLeft === null ? "none" : daysLeft === 0 ? "ended" : `${daysText(daysLeft)} left`;
  const counts = ["holds", "sessions", "services"].map((name) => String(use[name] ?? ""));
  return [id, email ?? "", trial, ...counts];
}

/** One line of the audit log. */
export function entryText({ at, who, what, service, details = {} }: AuditEntry): string {
  const facts = Object.entries(details).map(([name, value]) => `${name} ${JSON.stringify(value)}`);
  const where = service === undefined ? "" : ` in ${service}`;
  return oneLine(`${at} ${what}${where}  ${who}${facts.length === 0 ? "" : ` (${facts.join(", ")})`}`);
}

function servicesText(services: readonly string[] | null): string {
  return services === null ? "all" : services.join(",");
}

function useText(used: number | undefined, limit: number | null): string {
  if (used === undefined) return limit === null ? "no limit" : `at most ${limit}`;
  return limit === null ? `${used}, no limit` : `${used} of ${limit}`;
}

function daysText(days: number | null): string {
  return days === 1 ? "1 day" : `${days} days`;
}

/** `requestsPerSecond` for people. */
function spaced(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}

function lines(head: string, rows: readonly (readonly [name: string, text: string])[]): string {
  const width = Math.max(...rows.map(([name]) => name.length));
  return [head, ...rows.map(([name, text]) => `  ${name.padEnd(width)}  ${text}`)].map(oneLine).join("\n");
}
