import type { RawData } from "ws";

/** Follows a value no deeper than it has to. */
export function isDeeperThan(value: unknown, depth: number): boolean {
  if (typeof value !== "object" || value === null) return false;
  return depth === 0 || Object.values(value).some((inner) => isDeeperThan(inner, depth - 1));
}

/** A frame as it came; undefined when it is no JSON. */
export function parsed(data: RawData): unknown {
  try {
    return JSON.parse((data as Buffer).toString("utf8"));
  } catch {
    return undefined;
  }
}
