/** What goes over the HTTP API about what there is. See schemas.ts. */
import { count, LockName, nullable, object, Reason, ServiceId, Token } from "./schemas.js";
import { type Static, Type } from "./type.js";

export const Stats = object({
  service: ServiceId,
  recovering: Type.Boolean(),
  sessions: count("That are open, native and over HTTP."),
  holds: count("Of all kinds; a set is one."),
  locks: count("That are held or waited for."),
  waiters: count("Requests that wait."),
  granted: count("Requests that were granted; this and what follows since the service came into memory."),
  queued: count("Requests that had to wait."),
  deadlocks: count("Requests that were refused, since they would have waited for themselves."),
  released: count("Holds that were given back."),
  expired: count("Holds that ran out."),
  forced: count("Holds that were freed by force."),
  waits: Type.Array(
    object({
      withinMs: nullable<number>({ type: "integer", description: "Null: longer." } as { type: string }),
      count: count("Of this bucket alone."),
    }),
    { description: "How long those had waited who were granted a lock, 0 for whoever got it at once." },
  ),
});

const SessionSeen = object(
  {
    number: Type.Integer({
      minimum: 1,
      description: "Its place in the order in which sessions came; another one after a restart.",
    }),
    owner: Type.String(),
    kind: Type.Unsafe<string>({
      type: "string",
      enum: ["native", "reader", "http"],
      description: "`reader`: a native one that may only look.",
    }),
    state: Type.Unsafe<string>({
      type: "string",
      enum: ["here", "away", "awaited"],
      description: "`away`: its connection is down. `awaited`: it is from before a crash, and not back yet.",
    }),
    leaseMs: count("How long it may be silent."),
    expiresInMs: count("Until it ends if nothing renews it."),
    holdCount: count("Its holds; a set is one."),
    holds: Type.Array(Type.String(), { description: "Names, the first ten." }),
    waiterCount: count("Its requests that wait."),
    waitsFor: Type.Array(Type.String(), { description: "Names, the first ten." }),
  },
  "A session as others see it. Its id is for its client alone.",
);

export const SessionPage = object({
  sessions: Type.Array(SessionSeen),
  next: nullable<number>({ type: "integer", description: "Give it as `after`; null at the end." } as {
    type: string;
  }),
});

const DeadlockStep = object(
  {
    owner: Type.String(),
    token: Type.Optional(Token),
    holds: Type.Array(Type.String()),
    wants: Type.String(),
    of: Type.String({ description: "Who is in its way; empty: somebody who waits, too." }),
  },
  "It waits, inside its hold, for what the next step has; the last for the first.",
);

export const ServiceEvent = object({
  type: Type.Unsafe<string>({
    type: "string",
    enum: [
      "queued",
      "left",
      "deadlock",
      "granted",
      "restored",
      "released",
      "expired",
      "forced",
      "opened",
      "asked",
    ],
  }),
  names: Type.Array(Type.String()),
  owner: Type.String(),
  token: Type.Optional(Token),
  ticket: Type.Optional(Type.Integer()),
  leads: Type.Optional(Type.Literal(true)),
  reason: Type.Optional(Type.String({ description: "Why it left, was forced, or was asked for." })),
  closedForMs: Type.Optional(count("How long the lock stays closed yet, after its hold.")),
  cycle: Type.Optional(Type.Array(Type.String(), { description: "Of a deadlock: who waits for whom." })),
  round: Type.Optional(Type.Array(DeadlockStep, { description: "The same, to draw it." })),
  at: Type.String({ format: "date-time", description: "Time of day at the server, for people." }),
});

export const POSITION = "^[A-Za-z0-9_-]{1,40}\\.\\d{1,16}$";

export const Position = Type.String({
  pattern: POSITION,
  description: "Where somebody has come to in the events of a service.",
  examples: ["pJ2n0XnGQkq8w6tq0Yw3Xg.17"],
});

export const PastEvents = object({
  events: Type.Array(object({ id: Position, event: ServiceEvent })),
  position: Type.String({
    description: "Of the last event that was looked at: give it as `since` to go on.",
  }),
  missed: Type.Boolean({ description: "True when events after `since` are not kept any more." }),
  more: Type.Boolean({ description: "True when there is more already." }),
});

export const AskBody = object({ name: LockName, token: Token, reason: Reason });
export type AskBody = Static<typeof AskBody>;

export const Asked = object({
  told: Type.Boolean({
    description:
      "True: its holder is connected, and told at once. Else he is told when he renews it or comes back.",
  }),
});

/** Those that have a name of their own in the document. */
export const LOOKING = {
  AskBody,
  PastEvents,
  ServiceEvent,
  SessionPage,
  SessionSeen,
  Stats,
} as const;
