// What a load has written down (load.js), and what is wrong with it.
import { existsSync, readFileSync } from "node:fs";
import { historyProblems, TooLarge } from "../../../sim/dist/history.js";

const NEVER = Number.POSITIVE_INFINITY;
/** Clocks of the server have whole milliseconds. */
const ROUNDING_MS = 1;

/** @param {readonly string[]} files */
export function entriesOf(files) {
  return files.flatMap((file) => {
    if (!existsSync(file)) return [];
    const lines = readFileSync(file, "utf8").split("\n");
    lines.pop();
    return lines.map((line) => JSON.parse(line));
  });
}

/** Two who believed in one lock at one time. */
export function overlaps(entries) {
  const found = [];
  const latest = new Map();
  for (const hold of holdsOf(entries).sort((a, b) => a.fromMs - b.fromMs)) {
    const before = latest.get(hold.name);
    if (before === undefined || before.untilMs < hold.untilMs) latest.set(hold.name, hold);
    if (before !== undefined && before.untilMs > hold.fromMs)
      found.push(
        `${hold.name}: ${before.client} with token ${before.token} (${before.type}) and ${hold.client} with ${hold.token} (${hold.type}), for ` +
          `${(Math.min(before.untilMs, hold.untilMs) - hold.fromMs).toFixed(1)} ms`,
      );
  }
  return found;
}

/** Tokens that are not above all that were out when they were asked for, service by service (F1). */
export function descents(entries) {
  const found = [];
  for (const [service, holds] of groups(holdsOf(entries), ({ name }) => name.split("/")[0])) {
    const tokens = new Set(holds.map(({ token }) => token));
    if (tokens.size !== holds.length)
      found.push(`${service}: ${holds.length - tokens.size} tokens were given twice`);
    const byGrant = [...holds].sort((a, b) => a.fromMs - b.fromMs);
    let [granted, highest] = [0, 0];
    for (const { askedMs, token } of [...holds].sort((a, b) => a.askedMs - b.askedMs)) {
      while (granted < byGrant.length && byGrant[granted].fromMs < askedMs)
        highest = Math.max(highest, byGrant[granted++].token);
      if (token <= highest) found.push(`${service}: ${token} was asked for when ${highest} was out`);
    }
  }
  return found;
}

/** @param {readonly { fromMs: number, untilMs: number }[]} faults times at which connections may have been lost */
export function contradictions(entries, faults) {
  const byLock = groups(
    entries.filter(({ kind }) => ["hold", "release", "check", "unheard"].includes(kind)),
    ({ name }) => name,
  );
  const problems = [];
  const unfinished = [];
  let operations = 0;
  for (const [lock, all] of byLock) {
    const released = new Set(
      all.flatMap(({ kind, result, token }) => (kind === "release" && result ? [token] : [])),
    );
    const ops = all.flatMap((entry) => opOf(entry, released, faults) ?? []);
    const unheard = all
      .filter(({ kind }) => kind === "unheard")
      .map((entry) => ({ ...entry, returnedMs: NEVER }));
    operations += ops.length;
    try {
      problems.push(...historyProblems({ lock, ops, unheard }));
    } catch (error) {
      if (!(error instanceof TooLarge)) throw error;
      unfinished.push(error.message);
    }
  }
  return { locks: byLock.size, operations, problems, unfinished };
}

function opOf(entry, released, faults) {
  const { kind, client, token, result } = entry;
  if (kind === "hold") {
    const { type, ticket, askedMs, fromMs, untilMs, endsMs } = entry;
    return {
      kind: "acquire",
      client,
      calledMs: askedMs,
      returnedMs: fromMs,
      token,
      detached: type !== "session",
      ticket,
      wasAway: faults.some((fault) => askedMs < fault.untilMs && fault.fromMs < fromMs),
      mayEndFromMs: endsMs === null ? (released.has(token) ? NEVER : untilMs) : endsMs - ROUNDING_MS,
    };
  }
  const span = { client, calledMs: entry.calledMs, returnedMs: entry.returnedMs ?? NEVER };
  if (kind === "release") return { kind, ...span, token, result };
  return kind === "check" ? { kind, ...span, result } : null;
}

export function holdsOf(entries) {
  return entries.filter(({ kind }) => kind === "hold");
}

/** @template T @param {readonly T[]} all @param {(each: T) => string} keyOf @returns {Map<string, T[]>} */
export function groups(all, keyOf) {
  const found = new Map();
  for (const each of all) {
    const key = keyOf(each);
    const group = found.get(key) ?? [];
    group.push(each);
    found.set(key, group);
  }
  return found;
}

/** How often each. */
export function counts(words) {
  const all = [...groups(words, (word) => word)].map(([word, each]) => [word, each.length]);
  return (
    all
      .sort((a, b) => b[1] - a[1])
      .map(([word, count]) => `${count} ${word}`)
      .join(", ") || "none"
  );
}
