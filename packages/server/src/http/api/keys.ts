import type { KeyInfo } from "lockdb/protocol";
import type { Access } from "../../access/index.js";
import type { Need } from "../../loop/index.js";
import {
  ACCOUNT_QUERY,
  isoTime,
  KeyBody,
  KeyInfo as KeySchema,
  Keys,
  NarrowBody,
  NewKey,
  OLD_KEPT_MS_DEFAULT,
  RotateKeyBody,
  Self,
} from "../access-schemas.js";
import { whoOf } from "../caller.js";
import { serverNow } from "../diagnosis.js";
import { Refusal } from "../errors.js";
import type { Asked, Operation } from "../operation.js";
import { version } from "../version.js";
import { ACCOUNT, accountShown, heardOf } from "./accounts.js";

const KEY: KeyInfo = {
  id: "4fZk2Qm0aB",
  account: "default",
  name: "billing in production",
  scopes: ["lock", "read"],
  services: ["billing"],
  createdAt: "2026-01-01T09:00:00.000Z",
  createdBy: "root key",
  expiresAt: null,
  oldSecretEndsAt: null,
  lastUsedAt: "2026-01-02T09:00:00.000Z",
};
const API_KEY = "ldb_4fZk2Qm0aB_…";

const SERVER = { version: "0.1.0", wallMs: 1_767_225_600_000, monotonicMs: 86_400_000.25 };

const WHO_AM_I: Need = { scopes: [], isWayOut: true };

/** API keys (A1, A2). A key is shown with its secret once, when it is made or gets another. */
export function keyOperations(access: Access): readonly Operation[] {
  const accountOf = ({ caller, query }: Asked) =>
    access.accountFor(caller, query.account as string | undefined);
  const lockdb = version();
  const keyOf = (asked: Asked) => access.keyOf(accountOf(asked), asked.params.key!);
  return [
    {
      id: "whoAmI",
      method: "GET",
      path: "/v1/self",
      tag: "Access",
      need: WHO_AM_I,
      summary: "Look at the key that you use",
      description:
        "The key, and its account: what it may, what it has, and how many days are left of a trial; and the server's version and clocks. Every key may ask this.",
      answers: {
        200: {
          description: "You.",
          schema: Self,
          example: { key: KEY, account: ACCOUNT, server: SERVER },
        },
      },
      errors: [],
      handle: async (asked) => {
        const { caller, loop } = asked;
        const elsewhere = await heardOf(asked);
        // While others were asked it may have been revoked.
        const code = caller.refusal(WHO_AM_I, null);
        if (code !== null) throw new Refusal(code);
        const account = accountShown(access, loop, caller.owner, elsewhere);
        const server = serverNow(loop, lockdb);
        return { status: 200, body: { key: access.keyInfo(caller.key), account, server } };
      },
    },
    {
      id: "listKeys",
      method: "GET",
      goesTo: "keeper",
      path: "/v1/keys",
      tag: "Access",
      need: { scopes: ["admin"], isOverall: true },
      summary: "List the API keys",
      description:
        "All keys of the account, the oldest first. Revoked ones are gone; the audit log knows them.",
      query: ACCOUNT_QUERY,
      answers: { 200: { description: "The keys.", schema: Keys, example: { keys: [KEY] } } },
      errors: ["NOT_FOUND"],
      handle: (asked) => ({ status: 200, body: { keys: access.keysOf(accountOf(asked)) } }),
    },
    {
      id: "createKey",
      method: "POST",
      goesTo: "keeper",
      path: "/v1/keys",
      tag: "Access",
      need: { scopes: ["admin"], isAct: true },
      summary: "Make an API key",
      description: `The answer is the only place where the key stands in clear. A key gives only what it has: no scope, service or end beyond its own.`,
      query: ACCOUNT_QUERY,
      body: KeyBody,
      examples: {
        "For one service": { name: "billing in production", scopes: ["lock", "read"], services: ["billing"] },
        "To look, until the new year": { scopes: ["read"], expiresAt: "2027-01-01T00:00:00Z" },
      },
      answers: { 201: { description: "It works.", schema: NewKey, example: { key: KEY, apiKey: API_KEY } } },
      errors: ["NOT_FOUND", "LIMIT_EXCEEDED"],
      handle: async (asked) => {
        const { name = "unnamed", scopes, services = null, expiresAt = null } = asked.body as KeyBody;
        const wish = { name, scopes, services, expiresAt: expiresAt === null ? null : isoTime(expiresAt) };
        return { status: 201, body: await access.addKey(asked.caller, accountOf(asked), wish, whoOf(asked)) };
      },
    },
    {
      id: "getKey",
      method: "GET",
      goesTo: "keeper",
      path: "/v1/keys/{key}",
      tag: "Access",
      need: { scopes: ["admin"], isOverall: true },
      summary: "Look at an API key",
      description: "What it may, and when it was used last.",
      query: ACCOUNT_QUERY,
      answers: { 200: { description: "The key.", schema: KeySchema, example: KEY } },
      errors: ["NOT_FOUND"],
      handle: (asked) => ({ status: 200, body: access.keyInfo(keyOf(asked)) }),
    },
    {
      id: "narrowKey",
      method: "PATCH",
      goesTo: "keeper",
      path: "/v1/keys/{key}",
      tag: "Access",
      need: { scopes: ["admin"], isAct: true },
      summary: "Make an API key less",
      description: `Takes scopes or services away, or makes it end sooner; it can also be renamed. It can never be made more: make a new one for that. What is open
under it hears of it within a second: connections that may no longer lock are closed.`,
      query: ACCOUNT_QUERY,
      body: NarrowBody,
      examples: { "Only to look, and not for long": { scopes: ["read"], expiresAt: "2026-02-01T00:00:00Z" } },
      answers: { 200: { description: "What it is now.", schema: KeySchema, example: KEY } },
      errors: ["NOT_FOUND", "LIMIT_EXCEEDED"],
      handle: async (asked) => {
        const { expiresAt, ...less } = asked.body as NarrowBody;
        const narrowing = { ...less, ...(expiresAt === undefined ? {} : { expiresAt: isoTime(expiresAt) }) };
        return {
          status: 200,
          body: await access.narrowKey(asked.caller, keyOf(asked), narrowing, whoOf(asked)),
        };
      },
    },
    {
      id: "rotateKey",
      method: "POST",
      goesTo: "keeper",
      path: "/v1/keys/{key}/rotate",
      tag: "Access",
      need: { scopes: ["admin"], isAct: true },
      summary: "Give an API key another secret",
      description: `The old secret works beside the new one for a while, so that its users can change over one after the other. The secret before that
works no more.`,
      query: ACCOUNT_QUERY,
      body: RotateKeyBody,
      isBodyOptional: true,
      examples: {
        "The old one works for an hour more": { oldKeptMs: 3_600_000 },
        "It has leaked": { oldKeptMs: 0 },
      },
      answers: {
        200: {
          description: "The key with its new secret.",
          schema: NewKey,
          example: { key: { ...KEY, oldSecretEndsAt: "2026-01-03T09:00:00.000Z" }, apiKey: API_KEY },
        },
      },
      errors: ["NOT_FOUND", "LIMIT_EXCEEDED"],
      handle: async (asked) => {
        const { oldKeptMs = OLD_KEPT_MS_DEFAULT } = asked.body as RotateKeyBody;
        return {
          status: 200,
          body: await access.rotateKey(asked.caller, keyOf(asked), oldKeptMs, whoOf(asked)),
        };
      },
    },
    {
      id: "revokeKey",
      method: "DELETE",
      goesTo: "keeper",
      path: "/v1/keys/{key}",
      tag: "Access",
      // Recorded like all others, but also when an account has filled its part of the log: a key that has leaked must end.
      need: { scopes: ["admin"] },
      summary: "Revoke an API key",
      description: `It works no more, at once. Connections, streams and waiting requests under it are closed within a second. Sessions are not: their locks are freed when
their leases run out, because until then their holders may be at work. Who cannot wait for that frees them by force.`,
      query: ACCOUNT_QUERY,
      answers: { 200: { description: "What it was.", schema: KeySchema, example: KEY } },
      errors: ["NOT_FOUND", "LIMIT_EXCEEDED"],
      handle: async (asked) => {
        const key = keyOf(asked);
        const info = access.keyInfo(key);
        await access.revokeKey(asked.caller, key, whoOf(asked));
        return { status: 200, body: info };
      },
    },
  ];
}
