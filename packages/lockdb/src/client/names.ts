import type { LockNames } from "../protocol/index.js";

/** How messages call the locks of a request. */
export function labelOf(names: LockNames): string {
  const all = typeof names === "string" ? [names] : namesIn(names);
  const shown = all.slice(0, 3).map((name) => `"${name}"`);
  if (all.length > shown.length) shown.push(`${all.length - shown.length} more`);
  return `The lock${all.length === 1 ? "" : "s"} ${shown.join(", ")}`;
}

/** The names alone. */
export function namesIn(names: LockNames): readonly string[] {
  if (typeof names === "string") return [names];
  return names.map((spec) => (typeof spec === "string" ? spec : spec[0]));
}
