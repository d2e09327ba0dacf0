/** What goes over the HTTP API about crowds, and about how a server is. See schemas.ts. */
import { FOUND_MAX } from "../loop/index.js";
import { Holder, LockInfo, LockName, nullable, object, ServiceId, Waiter } from "./schemas.js";
import { Type } from "./type.js";

const count = (description: string) => Type.Integer({ minimum: 0, description });
const orNull = <T extends object>(schema: T) => Type.Unsafe({ anyOf: [schema, { type: "null" }] });
const time = (description: string) => nullable<string>({ type: "string", description } as { type: string });
const size = (description: string) => nullable<number>({ type: "integer", description } as { type: string });

export const CONTENTION_QUERY = Type.Object(
  { limit: Type.Optional(Type.Integer({ minimum: 1, maximum: FOUND_MAX, default: 10 })) },
  { additionalProperties: false },
);

export const Contention = object(
  {
    services: count("That were looked at."),
    recovering: count("Services among them that wait for their clients."),
    sessions: count("That are open, native and over HTTP."),
    holds: count("Of all kinds; a set is one."),
    locks: count("That are held or waited for."),
    waiters: count("Requests that wait."),
    grants: count(
      "Since these services came to be in memory. Two answers give a rate, unless it has become less.",
    ),
    hottest: Type.Array(object({ service: ServiceId, lock: LockInfo }), {
      description:
        "Locks with the longest queues, the longest first, with the newest holder and the first waiter.",
    }),
    longestWaits: Type.Array(
      object({
        service: ServiceId,
        name: LockName,
        waiter: Waiter,
        holder: orNull(Holder),
        queueLength: count("Of that lock."),
      }),
      {
        description: "Requests that have waited longest, with the lock that is in their way, and who has it.",
      },
    ),
    oldestHolds: Type.Array(
      object({ service: ServiceId, name: LockName, holder: Holder, queueLength: count("Of that lock.") }),
      { description: "Holds that have lasted longest. A set is shown once." },
    ),
  },
  "Where it is crowded.",
);

/** Clocks that a client compares with its own. */
export const ServerNow = object(
  {
    version: Type.String(),
    wallMs: Type.Number({ description: "Time of day, in milliseconds since 1970." }),
    monotonicMs: Type.Number({
      description:
        "A clock that nobody sets, in milliseconds from any start. Two looks at it tell how fast it runs.",
    }),
  },
  "The server, as it made this answer.",
);

export const Diagnosis = object(
  {
    server: ServerNow,
    upMs: Type.Number({ description: "How long the process has run." }),
    ready: Type.Boolean(),
    listening: object({
      host: Type.String(),
      isLoopback: Type.Boolean({ description: "Only this machine reaches it." }),
      isTls: Type.Boolean(),
      certificateEndsAt: time("Null: it speaks plain text."),
    }),
    store: object({
      kind: Type.Unsafe<string>({ type: "string", enum: ["disk", "memory"] }),
      directory: time("Null: it is in memory."),
      freeBytes: size("What this user may still write there. Null: it is not known."),
      totalBytes: size("Of the disk. Null: it is not known."),
      failures: count("Commits that failed, since the start."),
    }),
    recovering: object({
      count: count("Services that wait for their clients."),
      first: Type.Array(object({ account: Type.String(), service: ServiceId })),
    }),
    queues: object({
      waitersMax: count("Waiters that a lock may have."),
      refused: count("Requests that were refused since a queue was full, since the start."),
      longest: orNull(
        object({
          account: Type.String(),
          service: ServiceId,
          name: nullable<string>({
            type: "string",
            description: "Null: of another account.",
          } as { type: string }),
          length: count("Who wait."),
        }),
      ),
    }),
    files: object({
      open: size("Null: this system does not tell."),
      max: size("Null: this system does not tell."),
    }),
    webhooks: object({
      pending: count("Deliveries that are still to be made."),
      pausedTargets: count("Targets that are left alone for a while."),
    }),
    serviceFailures: count("Services that were read anew because of a mistake in LockDB, since the start."),
  },
  "What is to be seen of a server from the inside.",
);
