import type { GoodAnswer, Operation } from "../operation.js";
import { ORIGINAL_NEEDS } from "../original-routes.js";
import { LockName, ServiceId } from "../schemas.js";
import { Type } from "../type.js";

/**
 * The three routes of the original client, for the document: they are served by rules of their own (C1 to C4), and refuse in
 * plain text.
 */
const BASE = { serviceId: ServiceId, lockName: LockName };
const answer = (event: string, more: object): Readonly<Record<number, GoodAnswer>> => ({
  200: {
    description: "It is so.",
    schema: Type.Object({ eventName: Type.Literal(event), lockName: Type.String(), ...more }),
    example: {
      eventName: event,
      lockName: "invoice/42",
      ...Object.fromEntries(Object.keys(more).map((name) => [name, true])),
    },
  },
});
const eventName = (event: string) => Type.Optional(Type.Literal(event));

export const ORIGINAL: readonly Operation[] = [
  {
    id: "originalLock",
    need: ORIGINAL_NEEDS.lock,
    method: "POST",
    path: "/lock",
    tag: "The original client",
    summary: "lock(name)",
    description: `Gets a lock that lasts so many seconds, whatever becomes of its maker; anyone in the service may unlock it by name. For the
archived client, which takes any JSON for success: refusals are plain text, and a time-out is silence until it hangs up, then 408.`,
    body: Type.Object({
      ...BASE,
      eventName: eventName("lock"),
      waitForLockInMs: Type.Optional(Type.Number({ minimum: 0, default: 30_000 })),
      lockExpirationInSeconds: Type.Optional(Type.Number({ minimum: 0.001, default: 300 })),
    }),
    examples: {
      "As that client sends it": { serviceId: "billing", eventName: "lock", lockName: "invoice/42" },
    },
    answers: { ...answer("lock", {}), 408: { description: "TimeoutError", type: "text/plain" } },
    errors: ["RECOVERING", "QUEUE_FULL", "LIMIT_EXCEEDED", "PERMITS_MISMATCH"],
  },
  {
    id: "originalUnlock",
    need: ORIGINAL_NEEDS.unlock,
    method: "POST",
    path: "/unlock",
    tag: "The original client",
    summary: "unlock(name)",
    description: "Frees a lock by its name, whoever has made it. What a session or a lease holds is refused.",
    body: Type.Object({ ...BASE, eventName: eventName("unlock") }),
    examples: {
      "As that client sends it": { serviceId: "billing", eventName: "unlock", lockName: "invoice/42" },
    },
    answers: answer("unlock", { wasLocked: Type.Boolean() }),
    errors: ["NOT_HELD", "RECOVERING", "QUEUE_FULL", "LIMIT_EXCEEDED"],
  },
  {
    id: "originalCheck",
    need: ORIGINAL_NEEDS.check,
    method: "POST",
    path: "/check",
    tag: "The original client",
    summary: "check(name)",
    description: "Whether anyone holds it.",
    body: Type.Object({ ...BASE, eventName: eventName("check") }),
    examples: {
      "As that client sends it": { serviceId: "billing", eventName: "check", lockName: "invoice/42" },
    },
    answers: answer("check", { isLocked: Type.Boolean() }),
    errors: ["RECOVERING", "QUEUE_FULL", "LIMIT_EXCEEDED"],
  },
];
