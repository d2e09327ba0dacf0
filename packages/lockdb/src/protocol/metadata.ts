import { LIMITS } from "./limits.js";
import { utf8Bytes } from "./names.js";

/** What is wrong with a hold's metadata, or null. */
export function metadataProblem(value: unknown): string | null {
  if (!isRecord(value)) return "Metadata must be an object.";
  for (const entry of Object.values(value)) {
    const fits = typeof entry === "string" || typeof entry === "boolean" || Number.isFinite(entry);
    if (!fits) return "Metadata values must be strings, finite numbers or booleans.";
  }
  if (utf8Bytes(JSON.stringify(value)) > LIMITS.metadataBytesMax) return "Metadata is at most 1 KiB as JSON.";
  return null;
}

/** An object that is no list. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
