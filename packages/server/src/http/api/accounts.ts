import {
  ACCOUNT_DEFAULT,
  type Access,
  type Account,
  type AccountChange,
  type AccountInfo,
  LIMITS_TRIAL,
} from "../../access/index.js";
import { auditPrefix, type Loop } from "../../loop/index.js";
import {
  ACCOUNT_QUERY,
  AccountBody,
  AccountId,
  AccountInfo as AccountSchema,
  Accounts,
  Audit,
  ChangeAccountBody,
  isoTime,
  NewAccount,
} from "../access-schemas.js";
import { whoOf } from "../caller.js";
import { Refusal } from "../errors.js";
import type { Asked, Operation } from "../operation.js";
import { type AllHeard, missingIn } from "../other-members.js";
import { Type } from "../type.js";

const PAGE_DEFAULT = 100;
const PAGE_MAX = 1_000;

type Use = ReturnType<Loop["useOf"]>;
type Shown = AccountInfo & { readonly use: Use & { readonly missing?: readonly string[] } };

export const ACCOUNT: Shown = {
  id: "acc_7Yw2Lr9sKd",
  email: "dev@example.com",
  createdAt: "2026-01-01T09:00:00.000Z",
  trialEndsAt: "2026-01-31T09:00:00.000Z",
  daysLeft: 29,
  limits: LIMITS_TRIAL,
  use: { holds: 3, sessions: 1, waiters: 0, services: 1, acts: 4 },
};

/** An account with what it has now, on this member and on all others that have said so. */
export function accountShown(access: Access, loop: Loop, account: Account, all: AllHeard | null): Shown {
  const parts = (all?.answers ?? [])
    .flatMap(({ body }) => accountsIn(body))
    .filter(({ id }) => id === account.id);
  const use = parts.reduce((sum, part) => usedIn(sum, part.use), loop.useOf(account.id));
  return { ...access.accountInfo(account), use: { ...use, ...missingIn(all) } };
}

/** Answers of the operations that show accounts. */
function accountsIn(body: unknown): readonly Shown[] {
  const { accounts, account } = body as { readonly accounts?: readonly Shown[]; readonly account?: Shown };
  return accounts ?? [account ?? (body as Shown)];
}

/** A service is on one member. The audit log is one for all. */
function usedIn(sum: Use, part: Use): Use {
  return {
    holds: sum.holds + part.holds,
    sessions: sum.sessions + part.sessions,
    waiters: sum.waiters + part.waiters,
    services: sum.services + part.services,
    acts: Math.max(sum.acts, part.acts),
  };
}

/** What the other members show at the same address. */
export function heardOf({ others, request }: Asked): Promise<AllHeard> | null {
  return others === null ? null : others.ask(request.raw);
}

/** Accounts, their trials and limits (A4, A5), and the audit log (A7). */
export function accountOperations(access: Access): readonly Operation[] {
  return [
    {
      id: "listAccounts",
      method: "GET",
      goesTo: "keeper",
      path: "/v1/accounts",
      tag: "Access",
      need: { scopes: ["admin"], isOverall: true },
      summary: "List the accounts",
      description: "Sorted by id, page by page. A key of another account than `default` sees its own.",
      query: Type.Object(
        {
          after: Type.Optional(AccountId),
          limit: Type.Optional(Type.Integer({ minimum: 1, maximum: PAGE_MAX, default: PAGE_DEFAULT })),
        },
        { additionalProperties: false },
      ),
      answers: {
        200: { description: "A page.", schema: Accounts, example: { accounts: [ACCOUNT], next: null } },
      },
      errors: [],
      handle: async (asked) => {
        const { caller, loop, query } = asked;
        const { after = "", limit = PAGE_DEFAULT } = query;
        const elsewhere = await heardOf(asked);
        const all = caller.account === ACCOUNT_DEFAULT ? access.accounts() : [caller.owner];
        const behind = all.filter(({ id }) => id > String(after));
        const page = behind.slice(0, Number(limit));
        const next = behind.length > page.length ? page.at(-1)!.id : null;
        const accounts = page.map((account) => accountShown(access, loop, account, elsewhere));
        return { status: 200, body: { accounts, next } };
      },
    },
    {
      id: "createAccount",
      method: "POST",
      goesTo: "keeper",
      path: "/v1/accounts",
      tag: "Access",
      need: { scopes: ["admin"], isOverall: true, isAct: true },
      summary: "Make an account",
      description: `An account has keys, services and limits of its own, and sees nothing of others. The answer has its first key, with every scope. Only keys of
\`default\` may.`,
      body: AccountBody,
      isBodyOptional: true,
      examples: {
        "For a team": { email: "team@example.com" },
        "For a trial": { email: "dev@example.com", trial: true },
      },
      answers: {
        201: {
          description: "It is there.",
          schema: NewAccount,
          example: { account: ACCOUNT, apiKey: "ldb_9hTq3Zr1xW_…" },
        },
      },
      errors: ["LIMIT_EXCEEDED"],
      handle: async (asked) => {
        const { email = null, trial = false } = asked.body as AccountBody;
        const { account, apiKey } = await access.addAccount(
          { email, isTrial: trial },
          whoOf(asked),
          asked.caller,
        );
        const shown = accountShown(access, asked.loop, access.accountFor(asked.caller, account.id), null);
        return { status: 201, body: { account: shown, apiKey } };
      },
    },
    {
      id: "getAccount",
      method: "GET",
      goesTo: "keeper",
      path: "/v1/accounts/{account}",
      tag: "Access",
      need: { scopes: ["admin"], isOverall: true },
      summary: "Look at an account",
      description: "Its limits, what it has, and how many days are left of a trial.",
      answers: { 200: { description: "The account.", schema: AccountSchema, example: ACCOUNT } },
      errors: ["NOT_FOUND"],
      handle: async (asked) => {
        const account = access.accountFor(asked.caller, asked.params.account);
        return { status: 200, body: accountShown(access, asked.loop, account, await heardOf(asked)) };
      },
    },
    {
      id: "changeAccount",
      method: "PATCH",
      goesTo: "keeper",
      path: "/v1/accounts/{account}",
      tag: "Access",
      need: { scopes: ["admin"], isOverall: true, isAct: true },
      summary: "Extend a trial, end it, or change limits",
      description:
        "Only keys of `default` may. A trial whose end has passed goes on when it gets a later one.",
      body: ChangeAccountBody,
      examples: {
        "Until March": { trialEndsAt: "2026-03-01T00:00:00Z" },
        "A trial no more": { trialEndsAt: null },
        "More sessions than usual": { limits: { sessions: 500 } },
      },
      answers: {
        200: {
          description: "What it is now.",
          schema: AccountSchema,
          example: { ...ACCOUNT, trialEndsAt: null, daysLeft: null },
        },
      },
      errors: ["NOT_FOUND", "LIMIT_EXCEEDED"],
      handle: async (asked) => {
        const account = access.accountFor(asked.caller, asked.params.account);
        const { trialEndsAt, ...more } = asked.body as ChangeAccountBody;
        const change: AccountChange = {
          ...(more as AccountChange),
          ...(trialEndsAt === undefined
            ? {}
            : { trialEndsAt: trialEndsAt === null ? null : isoTime(trialEndsAt) }),
        };
        await access.changeAccount(asked.caller, account, change, whoOf(asked));
        return { status: 200, body: accountShown(access, asked.loop, account, await heardOf(asked)) };
      },
    },
    {
      id: "listAudit",
      method: "GET",
      path: "/v1/audit",
      tag: "Access",
      need: { scopes: ["admin"], isOverall: true },
      summary: "Read the audit log",
      description: `Every administrative act and every forced release of the account, the oldest first, page by page: who, what, when and why. Nothing changes or
deletes an entry.`,
      query: Type.Object(
        {
          ...ACCOUNT_QUERY.properties,
          after: Type.Optional(
            Type.String({
              pattern: "^[0-9TZ:.-]{1,80}$",
              description: "The `next` of the page before, or a time.",
            }),
          ),
          limit: Type.Optional(Type.Integer({ minimum: 1, maximum: PAGE_MAX, default: PAGE_DEFAULT })),
        },
        { additionalProperties: false },
      ),
      answers: {
        200: {
          description: "A page.",
          schema: Audit,
          example: {
            entries: [
              {
                at: "2026-01-01T09:00:00.000Z",
                who: "root key from 10.0.0.7",
                what: "force release",
                service: "billing",
                details: { name: "invoice/42", token: 4711, reason: "host db3 hangs" },
              },
            ],
            next: null,
          },
        },
      },
      errors: ["NOT_FOUND"],
      handle: async ({ caller, loop, query }) => {
        const { account, after = "", limit = PAGE_DEFAULT } = query;
        const prefix = auditPrefix(access.accountFor(caller, account as string | undefined).id);
        // Without its Z a time comes before all entries that are not before it, however many digits it has.
        const begin = after === "" ? "" : prefix + String(after).replace(/Z$/, "");
        const entries: object[] = [];
        let last = "";
        let isMore = false;
        try {
          for await (const { key, value } of loop.records(prefix, begin)) {
            isMore = entries.length === limit;
            if (isMore) break;
            entries.push(value);
            last = key.slice(prefix.length);
          }
        } catch {
          throw new Refusal("UNAVAILABLE");
        }
        return { status: 200, body: { entries, next: isMore ? last : null } };
      },
    },
  ];
}
