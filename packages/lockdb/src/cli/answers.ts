/** Answers of the HTTP API that the command line reads. Fields that it does not know are left as they are. */

import type {
  AccountInfo,
  AuditEntry,
  ClusterStatus,
  KeyInfo as KnownKeyInfo,
  PartitionStatus,
} from "../protocol/index.js";

/** An answer has another form than LockDB's. */
export class FormError extends Error {}

/** Of a newer server a key may have scopes that are not known here. */
export type KeyInfo = Omit<KnownKeyInfo, "scopes"> & { readonly scopes: readonly string[] };

/** Of a newer server a partition may be in a state that is not known here. */
export type ClusterInfo = Omit<ClusterStatus, "partitions"> & {
  readonly partitions: readonly (Omit<PartitionStatus, "state"> & { readonly state: string })[];
};

export type { AccountInfo, AuditEntry };

type Form<T> = (value: unknown) => T;

const text: Form<string> = (value) => checked(value, typeof value === "string");
const truth: Form<boolean> = (value) => checked(value, typeof value === "boolean");
const number: Form<number> = (value) => checked(value, typeof value === "number");

/** Goes to standard output as it is, so nothing may be in it that steers a terminal. */
const apiKey: Form<string> = (value) => checked(value, /^ldb_\w{1,256}$/.test(String(value)));

export const keyForm: Form<KeyInfo> = fields({
  id: text,
  account: text,
  name: text,
  scopes: listOf(text),
  services: orNull(listOf(text)),
  createdAt: orNull(text),
  createdBy: text,
  expiresAt: orNull(text),
  oldSecretEndsAt: orNull(text),
  lastUsedAt: orNull(text),
});

export const accountForm: Form<AccountInfo> = fields({
  id: text,
  email: orNull(text),
  createdAt: text,
  trialEndsAt: orNull(text),
  daysLeft: orNull(number),
  limits: recordOf(orNull(number)),
  // Of a cluster it may have the members that are not in it.
  use: recordOf((value) => (Array.isArray(value) ? listOf(text)(value) : number(value))) as Form<
    Record<string, number>
  >,
});

const entryForm = fields({
  at: text,
  who: text,
  what: text,
  service: orAbsent(text),
  details: orAbsent(recordOf((value) => value)),
}) as Form<AuditEntry>;

export interface CrowdHolder {
  readonly owner: string;
  readonly token: number;
  readonly state: string;
  readonly heldForMs: number;
}

/** Where an account, or a service of it, is crowded. */
export interface Crowd {
  readonly services: number;
  readonly recovering: number;
  readonly sessions: number;
  readonly holds: number;
  readonly locks: number;
  readonly waiters: number;
  readonly grants: number;
  readonly hottest: readonly {
    readonly service: string;
    readonly lock: {
      readonly name: string;
      readonly queueLength: number;
      readonly holderCount: number;
      readonly holders: readonly CrowdHolder[];
      readonly queue: readonly { readonly waitingForMs: number }[];
    };
  }[];
  readonly longestWaits: readonly {
    readonly service: string;
    readonly name: string;
    readonly waiter: { readonly owner: string; readonly waitingForMs: number; readonly ticket: number };
    readonly holder: CrowdHolder | null;
  }[];
  readonly oldestHolds: readonly {
    readonly service: string;
    readonly name: string;
    readonly holder: CrowdHolder;
    readonly queueLength: number;
  }[];
}

const holderForm: Form<CrowdHolder> = fields({ owner: text, token: number, state: text, heldForMs: number });
const where = { service: text, name: text };
export const crowdForm: Form<Crowd> = fields({
  services: number,
  recovering: number,
  sessions: number,
  holds: number,
  locks: number,
  waiters: number,
  grants: number,
  hottest: listOf(
    fields({
      service: text,
      lock: fields({
        name: text,
        queueLength: number,
        holderCount: number,
        holders: listOf(holderForm),
        queue: listOf(fields({ waitingForMs: number })),
      }),
    }),
  ),
  longestWaits: listOf(
    fields({
      ...where,
      waiter: fields({ owner: text, waitingForMs: number, ticket: number }),
      holder: orNull(holderForm),
    }),
  ),
  oldestHolds: listOf(fields({ ...where, holder: holderForm, queueLength: number })),
});

/** How a server is, as it sees it itself. */
export interface Diagnosis {
  readonly upMs: number;
  readonly ready: boolean;
  readonly listening: {
    readonly host: string;
    readonly isLoopback: boolean;
    readonly isTls: boolean;
    readonly certificateEndsAt: string | null;
  };
  readonly store: {
    readonly kind: string;
    readonly directory: string | null;
    readonly freeBytes: number | null;
    readonly totalBytes: number | null;
    readonly failures: number;
  };
  readonly recovering: {
    readonly count: number;
    readonly first: readonly { readonly account: string; readonly service: string }[];
  };
  readonly queues: {
    readonly waitersMax: number;
    readonly refused: number;
    readonly longest: {
      readonly account: string;
      readonly service: string;
      readonly name: string | null;
      readonly length: number;
    } | null;
  };
  readonly files: { readonly open: number | null; readonly max: number | null };
  readonly webhooks: { readonly pending: number; readonly pausedTargets: number };
  readonly serviceFailures: number;
}

export const diagnosisForm: Form<Diagnosis> = fields({
  upMs: number,
  ready: truth,
  listening: fields({ host: text, isLoopback: truth, isTls: truth, certificateEndsAt: orNull(text) }),
  store: fields({
    kind: text,
    directory: orNull(text),
    freeBytes: orNull(number),
    totalBytes: orNull(number),
    failures: number,
  }),
  recovering: fields({ count: number, first: listOf(fields({ account: text, service: text })) }),
  queues: fields({
    waitersMax: number,
    refused: number,
    longest: orNull(fields({ account: text, service: text, name: orNull(text), length: number })),
  }),
  files: fields({ open: orNull(number), max: orNull(number) }),
  webhooks: fields({ pending: number, pausedTargets: number }),
  serviceFailures: number,
});

interface ServerNow {
  readonly version: string;
  readonly wallMs: number;
  readonly monotonicMs: number;
}

/** An old server says nothing of itself there. */
export const doctorSelfForm = fields<{ key: KeyInfo; account: AccountInfo; server: ServerNow | undefined }>({
  key: keyForm,
  account: accountForm,
  server: orAbsent(fields<ServerNow>({ version: text, wallMs: number, monotonicMs: number })),
});

export const selfForm = fields({ key: keyForm, account: accountForm });
export const keysForm = fields({ keys: listOf(keyForm) });
export const newKeyForm = fields({ key: keyForm, apiKey });
export const newAccountForm = fields({ account: accountForm, apiKey });
export const accountsForm = fields({ accounts: listOf(accountForm), next: orNull(text) });
export const auditForm = fields({ entries: listOf(entryForm), next: orNull(text) });

export const clusterForm: Form<ClusterInfo> = fields({
  cluster: orNull(text),
  members: listOf(
    fields({
      id: text,
      url: text,
      isReady: truth,
      isLeaving: truth,
      isSelf: truth,
      partitions: number,
      lastSeenMs: number,
    }),
  ),
  partitions: listOf(fields({ id: number, owner: orNull(text), epoch: number, state: text })),
  etcd: listOf(
    fields({
      endpoint: text,
      healthy: truth,
      isLeader: truth,
      version: orNull(text),
      dbSizeBytes: orNull(number),
      error: orNull(text),
    }),
  ),
});

function checked<T>(value: unknown, isRight: boolean): T {
  if (!isRight) throw new FormError();
  return value as T;
}

function orNull<T>(form: Form<T>): Form<T | null> {
  return (value) => (value === null ? null : form(value));
}

function orAbsent<T>(form: Form<T>): Form<T | undefined> {
  return (value) => (value === undefined ? undefined : form(value));
}

function listOf<T>(form: Form<T>): Form<readonly T[]> {
  return (value) => {
    for (const each of checked<unknown[]>(value, Array.isArray(value))) form(each);
    return value as T[];
  };
}

function recordOf<T>(form: Form<T>): Form<Readonly<Record<string, T>>> {
  return (value) => {
    const isRecord = typeof value === "object" && value !== null && !Array.isArray(value);
    for (const each of Object.values(checked<object>(value, isRecord))) form(each);
    return value as Record<string, T>;
  };
}

function fields<T extends object>(forms: { readonly [K in keyof T]: Form<T[K]> }): Form<T> {
  return (value) => {
    const given = checked<Record<string, unknown>>(value, typeof value === "object" && value !== null);
    for (const [name, form] of Object.entries<Form<unknown>>(forms)) form(given[name]);
    return value as T;
  };
}
