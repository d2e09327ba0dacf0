import {
  type LockInfo as Info,
  type ListQuery,
  lockNameProblem,
  reasonProblem,
  WIRE_LIMITS,
} from "lockdb/protocol";
import { ask } from "../ask.js";
import { whoOf } from "../caller.js";
import { Refusal } from "../errors.js";
import { AskBody, Asked as AskedSchema } from "../looking-schemas.js";
import type { Asked, Good, Operation } from "../operation.js";
import { LockInfo, LockName, LockPage, Prefix, Reason, Released, Token } from "../schemas.js";
import { Type } from "../type.js";

const LOCK = {
  name: "invoice/42",
  held: true,
  holders: [
    {
      token: 4711,
      owner: "billing:7",
      state: "held",
      mode: "exclusive",
      detached: true,
      heldForMs: 1_200,
      expiresInMs: 28_800,
      metadata: {},
    },
  ],
  holderCount: 1,
  queue: [],
  queueLength: 0,
  recovering: false,
};

const listLocks: Operation = {
  id: "listLocks",
  method: "GET",
  need: { scopes: ["read"] },
  path: "/v1/services/{service}/locks",
  tag: "Looking",
  summary: "List locks",
  description: `Locks that are held or waited for, the oldest first, page by page: give \`next\` to go on. What is there from beginning to end is
listed once. A list that nobody goes on with for a minute is forgotten.

With \`name\` it is that one lock, whatever its name: some HTTP clients resolve \`.\` and \`..\` in a path.`,
  query: Type.Object(
    {
      prefix: Type.Optional(Prefix),
      limit: Type.Optional(Type.Integer({ minimum: 1, maximum: WIRE_LIMITS.listMax, default: 100 })),
      next: Type.Optional(
        Type.String({ pattern: "^\\d{1,16}\\.\\d{1,16}$", description: "From the page before." }),
      ),
      name: Type.Optional(LockName),
    },
    { additionalProperties: false },
  ),
  answers: { 200: { description: "A page.", schema: LockPage, example: { locks: [LOCK], next: null } } },
  errors: ["NOT_FOUND", "RATE_LIMITED"],
  handle: async (asked) => {
    const { name, ...query } = asked.query;
    if (name !== undefined)
      return { status: 200, body: { locks: [await inspected(asked, nameIn(name))], next: null } };
    if (query.prefix !== undefined && query.prefix !== "") nameIn(query.prefix);
    const page = await ask(asked.loop, asked.service, (address) => ({
      kind: "list",
      session: null,
      address,
      id: 1,
      query: query as ListQuery,
    }));
    return { status: 200, body: page as object };
  },
};

const inspectLock: Operation = {
  id: "inspectLock",
  method: "GET",
  need: { scopes: ["read"] },
  path: "/v1/services/{service}/locks/{name}",
  tag: "Looking",
  summary: "Look at a lock",
  description: `Who has it, since when, with which token, and who waits, in order. The name is percent-encoded (\`invoice%2F42\`). A lock that nobody
holds or wants is free, not absent.`,
  answers: { 200: { description: "The lock.", schema: LockInfo, example: LOCK } },
  errors: [],
  handle: async (asked) => ({ status: 200, body: await inspected(asked, asked.params.name!) }),
};

const FORCE = {
  token: Token,
  reason: Reason,
} as const;

const forceRelease: Operation = {
  id: "forceRelease",
  method: "DELETE",
  need: { scopes: ["force"], isAct: true },
  path: "/v1/services/{service}/locks/{name}",
  tag: "Operating",
  summary: "Free a lock by force",
  description: `Ends somebody else's hold, the one with this token and no later one. Its holder hears of it when it asks next; until then it may
be at work, beside the next holder: only a place that checks tokens is safe from that. The act and its reason are in the audit log.`,
  query: Type.Object(FORCE, { additionalProperties: false }),
  answers: { 200: { description: "It is freed.", schema: Released, example: { released: true } } },
  errors: ["NOT_HELD", "RECOVERING"],
  handle: (asked) => forced(asked, asked.params.name!),
};

const forceReleaseNamed: Operation = {
  ...forceRelease,
  id: "forceReleaseNamed",
  path: "/v1/services/{service}/locks",
  summary: "Free a lock by force, its name in the query",
  description: `The same, for names that an HTTP client would not leave as they are in a path, such as \`..\`.`,
  query: Type.Object({ name: LockName, ...FORCE }, { additionalProperties: false }),
  handle: (asked) => forced(asked, nameIn(asked.query.name!)),
};

const askBack: Operation = {
  id: "askBack",
  method: "POST",
  need: { scopes: ["force"] },
  path: "/v1/services/{service}/ask",
  tag: "Operating",
  summary: "Ask for a lock that somebody has",
  description: `Tells the holder that somebody wants the hold with this token, and why. It stays his until he gives it back: free it by force if he does not.
A native client hears of it at once, or when it comes back (\`lease.onAsked\`); a holder over HTTP in the answer to its next renewal. Whoever looks sees
\`askedFor\`, until the server stops.`,
  body: AskBody,
  examples: { "For a repair": { name: "invoice/42", token: 4711, reason: "the printer is on fire" } },
  answers: { 200: { description: "He is told, or will be.", schema: AskedSchema, example: { told: true } } },
  errors: ["NOT_HELD", "RECOVERING"],
  handle: async ({ loop, service, body }) => {
    const { name, token, reason } = body as AskBody;
    const problem = reasonProblem(reason);
    if (problem !== null) throw new Refusal("INVALID", problem);
    const asked = { kind: "ask", session: null, id: 1, name: nameIn(name), token, reason } as const;
    const value = await ask(loop, service, (address) => ({ ...asked, address }));
    return { status: 200, body: value as object };
  },
};

export const LOCKS: readonly Operation[] = [askBack, listLocks, inspectLock, forceRelease, forceReleaseNamed];

function nameIn(value: string | number): string {
  const problem = lockNameProblem(value);
  if (problem !== null) throw new Refusal("INVALID", problem);
  return value as string;
}

async function inspected({ loop, service }: Asked, name: string): Promise<Info> {
  const value = await ask(loop, service, (address) => ({
    kind: "inspect",
    session: null,
    address,
    id: 1,
    name,
  }));
  return value as Info;
}

async function forced(asked: Asked, name: string): Promise<Good> {
  const { loop, service, query } = asked;
  const reason = query.reason as string;
  const problem = reasonProblem(reason);
  if (problem !== null) throw new Refusal("INVALID", problem);
  await ask(loop, service, (address) => ({
    kind: "force",
    session: null,
    address,
    id: 1,
    name,
    token: query.token as number,
    reason,
    who: whoOf(asked),
  }));
  return { status: 200, body: { released: true } };
}
