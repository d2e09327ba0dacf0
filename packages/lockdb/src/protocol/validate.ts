/** The trust boundary of the native protocol: whatever passes here is a `ClientMessage`, field by field. */
import { LIMITS } from "./limits.js";
import type { ClientMessage } from "./messages.js";
import {
  clientIdProblem,
  lockNameProblem,
  ownerProblem,
  reasonProblem,
  serviceIdProblem,
  utf8Bytes,
} from "./names.js";

/** What is wrong with a message that came over the wire, or null when it is a `ClientMessage`. */
export function clientMessageProblem(message: unknown): string | null {
  if (!Array.isArray(message)) return "A message must be an array.";
  const kind: unknown = message[0];
  if (typeof kind !== "string" || !Object.hasOwn(FORMS, kind)) return "Unknown operation.";
  const form = FORMS[kind as ClientMessage[0]];
  if (message.length - 1 < form.required) return `"${kind}" needs more fields.`;
  if (message.length - 1 > form.fields.length) return `"${kind}" has too many fields.`;
  for (let at = 1; at < message.length; at++) {
    const problem = form.fields[at - 1]!(message[at]);
    if (problem !== null) return problem;
  }
  return null;
}

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

type Check = (value: unknown) => string | null;

const ACQUIRE_EXTRA: Record<string, Check> = {
  detachedMs: (value) => spanProblem(value, 1),
  minHoldMs: (value) => spanProblem(value, 0),
  maxHoldMs: (value) => spanProblem(value, 1),
  metadata: metadataProblem,
  ticket: numberProblem,
};

const CLAIM_EXTRA: Record<string, Check> = {
  heldMs: (value) => spanProblem(value, 0),
  minHoldMs: (value) => spanProblem(value, 0),
  maxHoldMs: (value) => spanProblem(value, 0),
  metadata: metadataProblem,
  lost: (value) => (value === true ? null : `"lost" must be true, or left out.`),
};

const HELLO: Record<string, Check> = {
  service: serviceIdProblem,
  client: clientIdProblem,
  session: clientIdProblem,
  connection: numberProblem,
  resume: (value) => (typeof value === "boolean" ? null : `"resume" must be true or false.`),
  leaseMs: leaseProblem,
  owner: ownerProblem,
};

const FORMS: Record<ClientMessage[0], { readonly required: number; readonly fields: readonly Check[] }> = {
  hello: { required: 1, fields: [(value) => fieldsProblem(value, HELLO, true)] },
  hold: {
    required: 2,
    fields: [numberProblem, lockNameProblem, (value) => fieldsProblem(value, CLAIM_EXTRA)],
  },
  sync: { required: 0, fields: [] },
  acquire: {
    required: 3,
    fields: [numberProblem, lockNameProblem, waitProblem, (value) => fieldsProblem(value, ACQUIRE_EXTRA)],
  },
  cancel: { required: 1, fields: [numberProblem, numberProblem] },
  release: { required: 2, fields: [numberProblem, numberProblem, lockNameProblem] },
  abandon: { required: 2, fields: [numberProblem, numberProblem] },
  force: { required: 4, fields: [numberProblem, lockNameProblem, numberProblem, reasonProblem] },
  unlock: { required: 2, fields: [numberProblem, lockNameProblem] },
  check: { required: 3, fields: [numberProblem, lockNameProblem, waitProblem] },
  inspect: { required: 2, fields: [numberProblem, lockNameProblem] },
  heartbeat: { required: 1, fields: [numberProblem] },
  bye: { required: 1, fields: [numberProblem] },
};

function fieldsProblem(value: unknown, checks: Record<string, Check>, all = false): string | null {
  if (!isRecord(value)) return "The last field must be an object.";
  for (const key of Object.keys(value)) {
    if (!Object.hasOwn(checks, key)) return `Unknown field ${JSON.stringify(key.slice(0, 64))}.`;
    const problem = checks[key]!(value[key]);
    if (problem !== null) return problem;
  }
  if (!all) return null;
  const missing = Object.keys(checks).find((key) => !Object.hasOwn(value, key));
  return missing === undefined ? null : `Field "${missing}" is missing.`;
}

function numberProblem(value: unknown): string | null {
  return Number.isSafeInteger(value) && (value as number) > 0
    ? null
    : "Ids, tokens and tickets are integers from 1.";
}

function waitProblem(value: unknown): string | null {
  return value === null ? null : spanProblem(value, 0);
}

function leaseProblem(value: unknown): string | null {
  const fits = spanProblem(value, LIMITS.leaseMsMin) === null && (value as number) <= LIMITS.leaseMsMax;
  return fits ? null : "A session's lease is between 1 s and 1 h, in whole milliseconds.";
}

function spanProblem(value: unknown, msMin: number): string | null {
  const fits =
    Number.isSafeInteger(value) && (value as number) >= msMin && (value as number) <= LIMITS.durationMsMax;
  return fits ? null : `A time must be whole milliseconds, from ${msMin} to ten years.`;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
