/** What goes over the HTTP API about accounts and keys. See schemas.ts. */
import { LIMITS, SCOPES } from "lockdb/protocol";
import { ServerNow } from "./contention-schemas.js";
import { Refusal } from "./errors.js";
import { MISSING, nullable, object, ServiceId } from "./schemas.js";
import { type Static, Type } from "./type.js";

const SERVICES_MAX = 256;
const EMAIL_LENGTH_MAX = 254;
/** An old secret that works for ever would be no rotation. */
const OLD_KEPT_MS_MAX = 30 * 24 * 3_600_000;
export const OLD_KEPT_MS_DEFAULT = 24 * 3_600_000;

export const KeyId = Type.String({
  pattern: "^[0-9A-Za-z]{1,32}$",
  description: "The public part of a key: what stands between `ldb_` and its secret.",
  examples: ["4fZk2Qm0aB"],
});

export const AccountId = Type.String({
  pattern: "^(default|acc_[0-9A-Za-z]{1,32})$",
  description: "An account: who keys and services belong to.",
  examples: ["acc_7Yw2Lr9sKd"],
});

/** Of the account that is meant: its own, unless the caller's account is `default`. */
export const ACCOUNT_QUERY = Type.Object(
  {
    account: Type.Optional(
      Type.Unsafe<string>({
        ...AccountId,
        description:
          "Another account than the key's own. Only keys of `default` that are for all services reach others.",
      }),
    ),
  },
  { additionalProperties: false },
);

const ScopeName = Type.Union(
  SCOPES.map((scope) => Type.Literal(scope)),
  {
    description:
      "`lock`: ask for locks and give them back. `read`: look. `force`: take a lock from somebody else. `admin`: keys, account, settings.",
  },
);
const Scopes = Type.Array(ScopeName, { minItems: 1, maxItems: SCOPES.length, uniqueItems: true });
const ServiceIds = Type.Array(ServiceId, { minItems: 1, maxItems: SERVICES_MAX, uniqueItems: true });
const KeyName = Type.String({
  minLength: 1,
  maxLength: LIMITS.labelBytesMax,
  pattern: "^[^\\u0000-\\u001f\\u007f]*$",
  description: "What it is for, for whoever looks.",
});
const DAY_LENGTH = "2027-01-01".length;
/** With `Z` at its end. */
const TIME = "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(\\.\\d{1,3})?Z$";
const Time = (description: string) => Type.String({ pattern: TIME, description });
const maybeTime = (description: string) =>
  nullable<string>({ type: "string", pattern: TIME, description } as { type: string });

export const KeyInfo = object(
  {
    id: KeyId,
    account: AccountId,
    name: KeyName,
    scopes: Type.Array(ScopeName),
    services: Type.Unsafe<readonly string[] | null>({
      type: ["array", "null"],
      items: ServiceId,
      description: "What it is limited to; null: all services of the account.",
    }),
    createdAt: maybeTime("Null for a root key of an old version."),
    createdBy: Type.String(),
    expiresAt: maybeTime("Null: it has no end."),
    oldSecretEndsAt: maybeTime("Until then the secret before the newest works too. Null: it does not."),
    lastUsedAt: maybeTime("To the minute. Null: never, as far as is known."),
  },
  "An API key, without its secret.",
);

export const Keys = object({ keys: Type.Array(KeyInfo) });

const ApiKey = Type.String({
  pattern: "^ldb_",
  description: "The key itself. It is shown this once: only its hash is stored.",
});
export const NewKey = object({ key: KeyInfo, apiKey: ApiKey });

export const KeyBody = object({
  name: Type.Optional(KeyName),
  scopes: Scopes,
  services: Type.Optional(
    Type.Unsafe<readonly string[] | null>({
      anyOf: [ServiceIds, { type: "null" }],
      description: "Limits it to these. Null, or left out: all services of the account.",
    }),
  ),
  expiresAt: Type.Optional(maybeTime("When it ends. Null, or left out: never.")),
});
export type KeyBody = Static<typeof KeyBody>;

export const NarrowBody = object({
  name: Type.Optional(KeyName),
  scopes: Type.Optional(Scopes),
  services: Type.Optional(ServiceIds),
  expiresAt: Type.Optional(Time("When it ends, not later than before.")),
});
export type NarrowBody = Static<typeof NarrowBody>;

/** To give a secret another, of a key or for webhooks. @param does what the old one still does, in the third person */
export const rotateBody = (does: string) =>
  object({
    oldKeptMs: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: OLD_KEPT_MS_MAX,
        default: OLD_KEPT_MS_DEFAULT,
        description: `How long the old secret ${does} beside the new one. 0 ends it at once: for one that has leaked.`,
      }),
    ),
  });
export const RotateKeyBody = rotateBody("works");
export type RotateKeyBody = Static<typeof RotateKeyBody>;

const limit = (description: string) =>
  nullable<number>({ type: "integer", minimum: 0, description } as { type: string });
const LIMIT_FIELDS = {
  requestsPerSecond: limit(
    "Requests a second that ask for something. What gives back may come ten times as often.",
  ),
  holds: limit("Holds, and those who wait for one."),
  sessions: limit("Sessions."),
  waiters: limit("Those who wait."),
  services: limit("Services."),
  keys: limit("API keys."),
  connections: limit("Native connections, and streams of events."),
  deliveries: limit("Webhook deliveries that are still to be made."),
  acts: limit("Entries in the audit log."),
};

const USE = Type.Integer({ minimum: 0 });
export const AccountInfo = object(
  {
    id: AccountId,
    email: nullable<string>({ type: "string" }),
    createdAt: Time("When it was made."),
    trialEndsAt: maybeTime("Null: it is no trial."),
    daysLeft: nullable<number>({
      type: "integer",
      minimum: 0,
      description: "Of the trial, the begun day too.",
    } as { type: string }),
    limits: object(LIMIT_FIELDS, "What it may have; null: as much as the server can."),
    use: object(
      { holds: USE, sessions: USE, waiters: USE, services: USE, acts: USE, missing: Type.Optional(MISSING) },
      "What it has now.",
    ),
  },
  "An account.",
);

export const Accounts = object({
  accounts: Type.Array(AccountInfo),
  next: nullable<string>({
    type: "string",
    description: "`after` of the next page; null: this is the last.",
  } as { type: string }),
});

const EMAIL = "^[^\\s@\\u0000-\\u001f\\u007f]+@[^\\s@\\u0000-\\u001f\\u007f]+$";
export const Email = Type.String({
  maxLength: EMAIL_LENGTH_MAX,
  pattern: EMAIL,
  description: "Whom to ask about this account. Nothing is sent to it.",
  examples: ["dev@example.com"],
});

/** As that schema has it. */
export function isEmail(text: string): boolean {
  return [...text].length <= EMAIL_LENGTH_MAX && new RegExp(EMAIL, "u").test(text);
}

export const AccountBody = object({
  email: Type.Optional(Email),
  trial: Type.Optional(Type.Boolean({ default: false, description: "True: it ends after 30 days." })),
});
export type AccountBody = Static<typeof AccountBody>;

export const NewAccount = object({ account: AccountInfo, apiKey: ApiKey });

export const ChangeAccountBody = object({
  trialEndsAt: Type.Optional(maybeTime("When its trial ends. Null: it is no trial any more.")),
  limits: Type.Optional(
    object(
      Object.fromEntries(Object.entries(LIMIT_FIELDS).map(([name, field]) => [name, Type.Optional(field)])),
      "Other limits than usual; null: the usual one.",
    ),
  ),
});
export type ChangeAccountBody = Static<typeof ChangeAccountBody>;

export const Self = object({ key: KeyInfo, account: AccountInfo, server: ServerNow });

export const SignupBody = object({ email: Email });
export type SignupBody = Static<typeof SignupBody>;
export const Signup = object({
  account: object({ id: AccountId, trialEndsAt: Time("When the trial ends.") }),
  apiKey: ApiKey,
});

export const AuditEntry = Type.Object(
  {
    at: Time("Time of day."),
    who: Type.String({ description: "Which key, from where." }),
    what: Type.String(),
    service: Type.Optional(ServiceId),
    details: Type.Optional(
      Type.Record(Type.String(), Type.Unknown(), { description: "What was done to what, and why." }),
    ),
  },
  { additionalProperties: false },
);

export const Audit = object({
  entries: Type.Array(AuditEntry),
  next: nullable<string>({
    type: "string",
    description: "`after` of the next page; null: this is the last.",
  } as { type: string }),
});

/** In the one form in which times are compared and shown. */
export function isoTime(text: string): string {
  const ms = Date.parse(text);
  const iso = Number.isNaN(ms) ? "" : new Date(ms).toISOString();
  // The 30th of February would be taken for a day in March.
  if (!iso.startsWith(text.slice(0, DAY_LENGTH)))
    throw new Refusal("INVALID", "There is no such time. Write it as 2027-01-01T00:00:00Z.");
  return iso;
}
