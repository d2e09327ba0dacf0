/** Answers of the HTTP API that the command line reads. Fields that it does not know are left as they are. */

/** An answer has another form than LockDB's. */
export class FormError extends Error {}

export interface KeyInfo {
  readonly id: string;
  readonly account: string;
  readonly name: string;
  readonly scopes: readonly string[];
  readonly services: readonly string[] | null;
  readonly createdAt: string | null;
  readonly createdBy: string;
  readonly expiresAt: string | null;
  readonly oldSecretEndsAt: string | null;
  readonly lastUsedAt: string | null;
}

export interface AccountInfo {
  readonly id: string;
  readonly email: string | null;
  readonly createdAt: string;
  readonly trialEndsAt: string | null;
  readonly daysLeft: number | null;
  readonly limits: Readonly<Record<string, number | null>>;
  readonly use: Readonly<Record<string, number>>;
}

export interface AuditEntry {
  readonly at: string;
  readonly who: string;
  readonly what: string;
  readonly service?: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

type Form<T> = (value: unknown) => T;

const text: Form<string> = (value) => checked(value, typeof value === "string");
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
  use: recordOf(number),
});

const entryForm = fields({
  at: text,
  who: text,
  what: text,
  service: orAbsent(text),
  details: orAbsent(recordOf((value) => value)),
}) as Form<AuditEntry>;

export const selfForm = fields({ key: keyForm, account: accountForm });
export const keysForm = fields({ keys: listOf(keyForm) });
export const newKeyForm = fields({ key: keyForm, apiKey });
export const newAccountForm = fields({ account: accountForm, apiKey });
export const accountsForm = fields({ accounts: listOf(accountForm), next: orNull(text) });
export const auditForm = fields({ entries: listOf(entryForm), next: orNull(text) });

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
