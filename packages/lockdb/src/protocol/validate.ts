/** The trust boundary of the native protocol: whatever passes here is a `ClientMessage`, field by field. */
import { LIMITS, WIRE_LIMITS } from "./limits.js";
import type { AcquireExtra, ClientMessage } from "./messages.js";
import { isRecord, metadataProblem } from "./metadata.js";
import {
  clientIdProblem,
  isCount,
  lockNameProblem,
  lockNamesProblem,
  ownerProblem,
  reasonProblem,
  serviceIdProblem,
  webhookUrlProblem,
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
  return form.problem?.(message) ?? null;
}

interface Check {
  (value: unknown): string | null;
  /** Of an object: its fields. */
  readonly fields?: Readonly<Record<string, Check>>;
}

function acquireProblem([, , names, , extra]: readonly unknown[]): string | null {
  const { steal, detachedMs, webhookUrl } = (extra ?? {}) as AcquireExtra;
  if (webhookUrl !== undefined && detachedMs === undefined) return "Only a detached hold has a webhook.";
  if (steal !== true || (typeof names === "string" && detachedMs === undefined)) return null;
  return "Only one exclusive lock can be stolen, and not for a detached hold.";
}

function trueProblem(value: unknown, field: string): string | null {
  return value === true ? null : `"${field}" must be true, or left out.`;
}

/** Any text that a lock name may begin with, also none. */
function prefixProblem(value: unknown): string | null {
  return value === "" ? null : (lockNameProblem(value)?.replace("A lock name", "A prefix") ?? null);
}

function tokenTextProblem(value: unknown, form: RegExp, field: string): string | null {
  return typeof value === "string" && form.test(value)
    ? null
    : `"${field}" is none that the server gave out.`;
}

function withinProblem(value: unknown): string | null {
  if (!Array.isArray(value) || value.length > LIMITS.withinMax) {
    return `"within" must be a list of at most ${LIMITS.withinMax} tokens.`;
  }
  return value.map(numberProblem).find((problem) => problem !== null) ?? null;
}

const ACQUIRE_EXTRA: Record<string, Check> = {
  detachedMs: (value) => spanProblem(value, 1),
  minHoldMs: (value) => spanProblem(value, 0),
  maxHoldMs: (value) => spanProblem(value, 1),
  metadata: metadataProblem,
  ticket: numberProblem,
  within: withinProblem,
  reentrant: (value) => trueProblem(value, "reentrant"),
  leads: (value) => trueProblem(value, "leads"),
  steal: (value) => trueProblem(value, "steal"),
  webhookUrl: webhookUrlProblem,
};

const CLAIM_EXTRA: Record<string, Check> = {
  heldMs: (value) => spanProblem(value, 0),
  minHoldMs: (value) => spanProblem(value, 0),
  maxHoldMs: (value) => spanProblem(value, 0),
  metadata: metadataProblem,
  leads: (value) => trueProblem(value, "leads"),
  lost: (value) => trueProblem(value, "lost"),
};

const LIST_QUERY: Record<string, Check> = {
  prefix: prefixProblem,
  limit: (value) =>
    isCount(value, WIRE_LIMITS.listMax) ? null : `"limit" is from 1 to ${WIRE_LIMITS.listMax}.`,
  next: (value) => tokenTextProblem(value, /^\d{1,16}\.\d{1,16}$/, "next"),
};

const WATCH_QUERY: Record<string, Check> = {
  prefix: prefixProblem,
  after: (value) => tokenTextProblem(value, /^[\w-]{1,40}\.\d{1,16}$/, "after"),
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
const HELLO_EXTRA: Record<string, Check> = { ...HELLO, epoch: numberProblem };

interface Form {
  readonly required: number;
  readonly fields: readonly Check[];
  /** What is wrong with fields that are right each by itself. */
  readonly problem?: (message: readonly unknown[]) => string | null;
}

/** The forms of all messages, by kind: what the torture makes its messages from, too. */
export const FORMS: Record<ClientMessage[0], Form> = {
  hello: { required: 1, fields: [record(HELLO_EXTRA, HELLO)] },
  hold: { required: 2, fields: [numberProblem, lockNamesProblem, record(CLAIM_EXTRA)] },
  sync: { required: 0, fields: [] },
  acquire: {
    required: 3,
    fields: [numberProblem, lockNamesProblem, waitProblem, record(ACQUIRE_EXTRA)],
    problem: acquireProblem,
  },
  cancel: { required: 1, fields: [numberProblem, numberProblem] },
  release: { required: 2, fields: [numberProblem, numberProblem, lockNameProblem] },
  abandon: { required: 2, fields: [numberProblem, numberProblem] },
  force: { required: 4, fields: [numberProblem, lockNameProblem, numberProblem, reasonProblem] },
  unlock: { required: 2, fields: [numberProblem, lockNameProblem] },
  check: { required: 3, fields: [numberProblem, lockNameProblem, waitProblem] },
  inspect: { required: 2, fields: [numberProblem, lockNameProblem, numberProblem] },
  list: { required: 2, fields: [numberProblem, record(LIST_QUERY)] },
  watch: { required: 2, fields: [numberProblem, record(WATCH_QUERY)] },
  unwatch: { required: 1, fields: [numberProblem] },
  heartbeat: { required: 1, fields: [numberProblem] },
  bye: { required: 1, fields: [numberProblem] },
};

/** @param needed of those that are allowed */
function record(fields: Record<string, Check>, needed: Record<string, Check> = {}): Check {
  return Object.assign((value: unknown) => fieldsProblem(value, fields, needed), { fields });
}

function fieldsProblem(
  value: unknown,
  checks: Record<string, Check>,
  needed: Record<string, Check>,
): string | null {
  if (!isRecord(value)) return "The last field must be an object.";
  for (const key of Object.keys(value)) {
    if (!Object.hasOwn(checks, key)) return `Unknown field ${JSON.stringify(key.slice(0, 64))}.`;
    const problem = checks[key]!(value[key]);
    if (problem !== null) return problem;
  }
  const missing = Object.keys(needed).find((key) => !Object.hasOwn(value, key));
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
