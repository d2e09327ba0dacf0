/**
 * What goes over the HTTP API, in both directions. These schemas validate, are the types, and are in the OpenAPI document. What
 * JSON Schema cannot say (bytes of UTF-8, well-formed Unicode) is checked beside them by the rules of the protocol.
 */
import { ERRORS, LIMITS } from "lockdb/protocol";
import { type Static, type TProperties, Type } from "./type.js";

export const LEASED_MS_DEFAULT = 30_000;
export const SLICE_MS_MAX = 25_000;
export const EVENTS_A_PAGE = 1_000;
/** Longer than any write that was on its way when a lease ran out. */
const LOCK_DELAY_MS_MAX = 3_600_000;

/** An object that has these fields and no others. */
export const object = <T extends TProperties>(properties: T, description?: string) =>
  Type.Object(properties, {
    additionalProperties: false,
    ...(description === undefined ? {} : { description }),
  });

const span = (msMin: number, description: string, more: object = {}) =>
  Type.Integer({ minimum: msMin, maximum: LIMITS.durationMsMax, description, ...more });

export const count = (description: string) => Type.Integer({ minimum: 0, description });

/** As `null`, without what a type generator makes of a union. */
export const nullable = <T>(schema: { type: string }) =>
  Type.Unsafe<T | null>({ ...schema, type: [schema.type, "null"] });

/** Of an answer that several members have a part of. */
export const MISSING = Type.Array(Type.String(), {
  description:
    "Members of the cluster that did not answer in time: what they have is left out. Absent: nothing is.",
});

export const ServiceId = Type.String({
  pattern: "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
  description: "A lock space: the unit of isolation and of limits. It comes to be on first use.",
  examples: ["billing"],
});

export const LockName = Type.String({
  minLength: 1,
  maxLength: LIMITS.nameBytesMax,
  pattern: "^[^\\u0000-\\u001f\\u007f]*$",
  description: "Well-formed Unicode, 1 to 512 bytes of UTF-8, no control characters. Compared byte for byte.",
  examples: ["invoice/42"],
});

/** Also none. */
export const Prefix = Type.String({
  maxLength: LIMITS.nameBytesMax,
  pattern: "^[^\\u0000-\\u001f\\u007f]*$",
  description: "Only locks whose names begin so.",
});

export const Token = Type.Integer({
  minimum: 1,
  maximum: Number.MAX_SAFE_INTEGER,
  description: "The fencing token of a hold: greater than all before it in its service, for ever.",
  examples: [4711],
});

export const RequestId = Type.String({
  pattern: "^[A-Za-z0-9._~:-]{1,128}$",
  description:
    "Made by the caller, random, new for each new request: sent again with the same id, a request has no second effect.",
  examples: ["3f1c7a90-5d1e-4c58-9f0b-2f6f3f6f4f11"],
});

export const SessionId = Type.String({
  pattern: "^[A-Za-z0-9_-]{8,64}$",
  description: "Of an HTTP session.",
  examples: ["pJ2n0XnGQkq8w6tq0Yw3Xg"],
});

const Label = (description: string) =>
  Type.String({
    minLength: 1,
    maxLength: LIMITS.labelBytesMax,
    pattern: "^[^\\u0000-\\u001f\\u007f]*$",
    description,
  });

export const Owner = Label("Who asks, for whoever looks: shown in `inspect`, lists and events.");
export const Reason = Label("Why, for the audit log and the events.");

export const Metadata = Type.Record(
  Type.String(),
  Type.Union([Type.String(), Type.Number(), Type.Boolean()]),
  {
    description:
      "The caller's own data about the hold, shown to whoever inspects the lock; at most 1 KiB as JSON.",
  },
);

export const WebhookUrl = Type.String({
  maxLength: LIMITS.webhookUrlBytesMax,
  description:
    "Where to send `POST {serviceId, lockName}` when the hold is over, once a name. http or https, to an address that the server may call. Not with a `sessionId`.",
  examples: ["https://app.example.com/unlocked"],
});

const LockSpec = object(
  {
    name: LockName,
    mode: Type.Optional(
      Type.Unsafe<"exclusive" | "shared">({
        type: "string",
        enum: ["exclusive", "shared"],
        default: "exclusive",
      }),
    ),
    permits: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: LIMITS.permitsMax,
        description: "Makes it a semaphore with so many permits; all who use it say the same number.",
      }),
    ),
    weight: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: LIMITS.permitsMax,
        description: "How many of the permits this request takes; 1 unless it says.",
      }),
    ),
  },
  "A lock and how it is wanted. `mode: shared` and `permits` do not go together.",
);

const LockNames = Type.Union(
  [LockName, Type.Array(Type.Union([LockName, LockSpec]), { minItems: 1, maxItems: LIMITS.namesMax })],
  {
    description: "One lock, or several that are granted all at once, as one hold. A plain name is exclusive.",
  },
);

export const AcquireBody = object({
  names: LockNames,
  waitMs: Type.Optional(
    Type.Unsafe<number | null>({
      type: ["integer", "null"],
      minimum: 0,
      maximum: LIMITS.durationMsMax,
      default: 0,
      description:
        "How long the request may stand in the queue, over all its slices, from when it was first made. 0 asks once; null waits for as long as it is repeated.",
    }),
  ),
  sliceMs: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: SLICE_MS_MAX,
      default: SLICE_MS_MAX,
      description: "How long this one HTTP request may wait before it is answered 202.",
    }),
  ),
  leaseMs: Type.Optional(
    span(LIMITS.leaseMsMin, "How long the hold lasts unless it is renewed. Not with a `sessionId`.", {
      default: LEASED_MS_DEFAULT,
    }),
  ),
  requestId: Type.Optional(RequestId),
  sessionId: Type.Optional(SessionId),
  owner: Type.Optional(Owner),
  metadata: Type.Optional(Metadata),
  minHoldMs: Type.Optional(
    span(0, "The lock stays closed for at least so long, also after an early release.", { default: 0 }),
  ),
  maxHoldMs: Type.Optional(span(1, "The hold ends then at the latest, renewed or not.")),
  within: Type.Optional(
    Type.Array(Token, {
      maxItems: LIMITS.withinMax,
      description:
        "Tokens of the holds that this is asked inside of: a request that would wait for itself is refused.",
    }),
  ),
  leads: Type.Optional(
    Type.Boolean({ default: false, description: "It is for a leader, and shown as such." }),
  ),
  webhookUrl: Type.Optional(WebhookUrl),
});
export type AcquireBody = Static<typeof AcquireBody>;

const Previous = object(
  {
    endedBy: Type.Unsafe<"expiry" | "force">({ type: "string", enum: ["expiry", "force"] }),
    token: Token,
    owner: Type.String(),
  },
  "The last hold of the lock that was not given back: look whether it left something half done.",
);

export const Grant = object(
  {
    token: Token,
    requestId: RequestId,
    expiresInMs: count(
      "How long the hold lasts if nothing renews it, from when the server answered. Count it from before you asked, and stop a little earlier.",
    ),
    sessionId: Type.Optional(SessionId),
    ticket: Type.Optional(
      Type.Integer({ description: "Its place in the order of arrival, when it has waited." }),
    ),
    previous: Type.Optional(Previous),
  },
  "A lock, or a set, that is held now.",
);

export const Waiting = object(
  {
    requestId: RequestId,
    ticket: Type.Integer({
      minimum: 1,
      description: "Its place in the service's order of arrival; it keeps it.",
    }),
    position: count("How many stand before it in the queue; counted up to 1,000."),
  },
  "It waits. Send the same body again, at once: the place is kept for 30 s, and nobody is granted it meanwhile.",
);

export const ReleaseBody = object({
  token: Token,
  sessionId: Type.Optional(SessionId),
  requestId: Type.Optional(RequestId),
});
export type ReleaseBody = Static<typeof ReleaseBody>;

export const Released = object({ released: Type.Literal(true) });

export const RenewBody = object({
  token: Token,
  leaseMs: Type.Optional(span(LIMITS.leaseMsMin, "Another lease from now on; else as long as before.")),
});
export type RenewBody = Static<typeof RenewBody>;

const AskedFor = Type.Optional(
  Type.String({ description: "Why an operator has asked for it: finish soon, and give it back." }),
);

export const Renewed = object({
  token: Token,
  expiresInMs: count("From when the server processed the renewal. Count it from before you sent it."),
  askedFor: AskedFor,
});

export const SessionBody = object({
  sessionId: Type.Optional(SessionId),
  leaseMs: Type.Optional(
    Type.Integer({
      minimum: LIMITS.leaseMsMin,
      maximum: LIMITS.leaseMsMax,
      default: LEASED_MS_DEFAULT,
      description: "How long the session may be silent. Its holds end with it.",
    }),
  ),
  owner: Type.Optional(Owner),
});
export type SessionBody = Static<typeof SessionBody>;

export const Session = object({
  sessionId: SessionId,
  leaseMs: Type.Integer({ description: "It lasts so long from when the server processed this." }),
});

export const Ended = object({ ended: Type.Literal(true) });

const ModeInfo = {
  mode: Type.Unsafe<string>({ type: "string", enum: ["exclusive", "shared", "semaphore"] }),
  permits: Type.Optional(Type.Integer()),
  weight: Type.Optional(Type.Integer()),
  names: Type.Optional(Type.Array(Type.String(), { description: "Of a set: its names, the first sixteen." })),
};

export const Holder = object({
  token: Token,
  owner: Type.String(),
  state: Type.Unsafe<string>({
    type: "string",
    enum: ["held", "closed"],
    description:
      "`closed`: the hold is over, and its lock stays closed for the rest of a minimum hold or a lock delay.",
  }),
  ...ModeInfo,
  waitsFor: Type.Optional(
    Type.Array(Type.String(), {
      description: "Names that requests inside this hold wait for; at most sixteen.",
    }),
  ),
  leads: Type.Optional(Type.Literal(true)),
  askedFor: AskedFor,
  detached: Type.Boolean({ description: "True for a hold that has no session." }),
  heldForMs: count("Since its grant."),
  expiresInMs: count("Until it ends if nothing renews it."),
  metadata: Metadata,
});

export const Waiter = object({
  ticket: Type.Integer(),
  owner: Type.String(),
  waitingForMs: count("Since it came."),
  ...ModeInfo,
  away: Type.Boolean({
    description: "True while it cannot be reached: it keeps its ticket, and is passed over.",
  }),
});

export const LockInfo = object({
  name: Type.String(),
  held: Type.Boolean(),
  holders: Type.Array(Holder, { description: "The newest hundred; ten in a list." }),
  holderCount: count("All of them."),
  queue: Type.Array(Waiter, {
    description: "The first hundred in the order in which they came; ten in a list.",
  }),
  queueLength: count("All of them."),
  previous: Type.Optional(Previous),
  recovering: Type.Boolean({
    description: "True while the server waits for its clients after a crash: a holder may be unknown yet.",
  }),
});

export const LockPage = object({
  locks: Type.Array(LockInfo),
  next: nullable<string>({
    type: "string",
    description: "Where the list goes on; null at its end. A page may be empty and not be the last.",
  } as { type: string }),
});

export const Services = object({
  services: Type.Array(object({ service: ServiceId })),
  next: nullable<string>({ type: "string", description: "Give it as `after`; null at the end." } as {
    type: string;
  }),
  missing: Type.Optional(MISSING),
});

export const Settings = object({
  lockDelayMs: Type.Integer({
    minimum: 0,
    maximum: LOCK_DELAY_MS_MAX,
    description: "How long a lock stays closed after a hold that ended by expiry, in whole milliseconds.",
  }),
});
export type Settings = Static<typeof Settings>;

export const DeliveryId = Type.String({
  pattern: "^msg_[A-Za-z0-9_-]{1,64}$",
  description: "The `webhook-id` of all its attempts.",
  examples: ["msg_Lk2b1nJkQy4n0m8rJt6v5g"],
});

export const DeliveryStatus = Type.Unsafe<"pending" | "delivered" | "failed">({
  type: "string",
  enum: ["pending", "delivered", "failed"],
  description: "`failed`: given up.",
});

const time = { type: "string", format: "date-time" };

export const Delivery = object(
  {
    id: DeliveryId,
    service: ServiceId,
    lockName: LockName,
    token: Token,
    endedBy: Type.Unsafe<string>({ type: "string", enum: ["release", "expiry", "force"] }),
    url: Type.String(),
    createdAt: Type.Unsafe<string>({
      ...time,
      description: "When the hold ended. Times of day are for people.",
    }),
    status: DeliveryStatus,
    attempts: count("That have come to their end."),
    lastAttemptAt: nullable<string>(time),
    lastStatus: nullable<number>({ type: "integer", description: "What was answered, if anything was." } as {
      type: string;
    }),
    lastError: nullable<string>({ type: "string" }),
    nextAttemptAt: nullable<string>({ ...time, description: "Null when there will be none." } as {
      type: string;
    }),
    paused: Type.Boolean({ description: "True while its target is left alone after failures in a row." }),
  },
  "A call that the end of a hold owes to its webhook, and what became of it.",
);

export const Deliveries = object({
  deliveries: Type.Array(Delivery),
  next: nullable<string>({
    type: "string",
    description: "Give it as `before`; null at the end. A page may be empty and not be the last.",
  } as { type: string }),
  missing: Type.Optional(MISSING),
});

export const WebhookSecret = object({
  secret: Type.String({ description: "What webhooks are signed with, as Standard Webhooks has it." }),
  old: Type.Unsafe<{ secret: string; until: string } | null>({
    type: ["object", "null"],
    properties: { secret: { type: "string" }, until: time },
    required: ["secret", "until"],
    additionalProperties: false,
    description: "Signs too, until then.",
  }),
});

export const ErrorAnswer = object(
  {
    error: object({
      code: Type.Unsafe<string>({
        type: "string",
        enum: Object.keys(ERRORS).filter((code) => ERRORS[code as keyof typeof ERRORS].status !== null),
        description: "Stable. The message is not.",
      }),
      message: Type.String({ description: "What is wrong, and the next step." }),
      retryable: Type.Boolean({ description: "True when the same request may succeed later." }),
      details: Type.Object(
        {},
        { description: "More, by code: who holds a lock, how a deadlock goes round." },
      ),
    }),
  },
  "Every refusal has this shape.",
);

/** Those that have a name of their own in the document. */
export const COMPONENTS = {
  AcquireBody,
  Deliveries,
  Delivery,
  Ended,
  Error: ErrorAnswer,
  Grant,
  Holder,
  LockInfo,
  LockName,
  LockNames,
  LockPage,
  LockSpec,
  Metadata,
  Previous,
  Released,
  ReleaseBody,
  Renewed,
  RenewBody,
  RequestId,
  ServiceId,
  Services,
  Session,
  SessionBody,
  SessionId,
  Settings,
  Token,
  Waiter,
  Waiting,
  WebhookSecret,
} as const;
