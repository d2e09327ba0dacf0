import type { ServiceSettings } from "lockdb/protocol";
import { SPANS_MS, Tally } from "../../engine/index.js";
import { ask } from "../ask.js";
import { whoOf } from "../caller.js";
import { Stats } from "../looking-schemas.js";
import type { Asked, Good, Operation } from "../operation.js";
import { type AllHeard, missingIn } from "../other-members.js";
import { ServiceId, Services, Settings } from "../schemas.js";
import { type Static, Type } from "../type.js";

const SERVICES_A_PAGE = 1_000;

const listServices: Operation = {
  id: "listServices",
  method: "GET",
  need: { scopes: ["read"] },
  path: "/v1/services",
  tag: "Looking",
  summary: "List services",
  description:
    "All services of the account that are known here, as far as the key is for them, sorted by id, page by page.",
  query: Type.Object(
    {
      after: Type.Optional(ServiceId),
      limit: Type.Optional(Type.Integer({ minimum: 1, maximum: SERVICES_A_PAGE, default: 100 })),
    },
    { additionalProperties: false },
  ),
  answers: {
    200: {
      description: "A page.",
      schema: Services,
      example: { services: [{ service: "billing" }], next: null },
    },
  },
  errors: [],
  handle: async ({ loop, caller, query, others, request }) => {
    const { after = "", limit = 100 } = query;
    const all = await (others?.ask(request.raw) ?? null);
    const own = caller.record?.services ?? null;
    const ids = loop.services
      .idsOf(caller.account)
      .filter((id) => id > String(after) && (own === null || own.includes(id)));
    const { more, hasNext } = listedElsewhere(all);
    const known = more.length === 0 ? ids : [...new Set([...ids, ...more])].sort();
    const page = known.slice(0, Number(limit));
    const next = known.length > page.length || (hasNext && page.length > 0) ? page.at(-1)! : null;
    return { status: 200, body: { services: page.map((service) => ({ service })), next, ...missingIn(all) } };
  },
};

/** The pages of the other members: each has its first ones behind the same service. */
function listedElsewhere(all: AllHeard | null): { more: readonly string[]; hasNext: boolean } {
  const pages = (all?.answers ?? []).map(({ body }) => body as Partial<Static<typeof Services>>);
  const more = pages.flatMap(({ services = [] }) => services.map(({ service }) => service));
  return { more, hasNext: pages.some(({ next = null }) => next !== null) };
}
const TALLY = {
  ...{ granted: 4711, queued: 40, deadlocks: 0, released: 4700, expired: 2, forced: 1 },
  waits: [
    { withinMs: 1, count: 4700 },
    { withinMs: 5, count: 11 },
  ],
};

const stats: Operation = {
  id: "stats",
  method: "GET",
  need: { scopes: ["read"] },
  path: "/v1/services/{service}/stats",
  tag: "Looking",
  summary: "Count what there is",
  description: `What is in memory of a service, whether it is recovering, and what has happened in it since it came into memory: ask twice, and the difference
is what happened in between. Of a service that nobody has used all is 0.`,
  answers: {
    200: {
      description: "The counts.",
      schema: Stats,
      example: {
        service: "billing",
        recovering: false,
        sessions: 2,
        holds: 5,
        locks: 6,
        waiters: 3,
        ...TALLY,
      },
    },
  },
  errors: [],
  handle: ({ loop, service }) => {
    const { nested: _nested, tally, ...counts } = loop.services.statsOf(service) ?? NOTHING;
    const { waits, ...happened } = tally;
    const buckets = waits.map((count, at) => ({ withinMs: SPANS_MS[at] ?? null, count }));
    return { status: 200, body: { service: service.id, ...counts, ...happened, waits: buckets } };
  },
};

const NOTHING = {
  ...{ recovering: false, sessions: 0, holds: 0, locks: 0, waiters: 0, nested: 0 },
  tally: new Tally(),
};

const getSettings: Operation = {
  id: "getSettings",
  method: "GET",
  need: { scopes: ["read"] },
  path: "/v1/services/{service}/settings",
  tag: "Operating",
  summary: "Read a service's settings",
  description: "What an operator has set for the service.",
  answers: { 200: { description: "The settings.", schema: Settings, example: { lockDelayMs: 0 } } },
  errors: [],
  handle: (asked) => settings(asked, null),
};

const putSettings: Operation = {
  ...getSettings,
  id: "putSettings",
  method: "PUT",
  need: { scopes: ["admin"], isAct: true },
  summary: "Change a service's settings",
  description: `A **lock delay** keeps a lock closed for a while after its holder was lost, for writes that are still under way somewhere. It is for
holds that end by expiry, and not for a release. After a crash the service waits for it behind every native client that does not
return. The change is in the audit log.`,
  body: Settings,
  examples: { "A quarter of a minute": { lockDelayMs: 15_000 } },
  handle: (asked) => settings(asked, asked.body as ServiceSettings),
};

async function settings(asked: Asked, change: ServiceSettings | null): Promise<Good> {
  const value = await ask(asked.loop, asked.service, (address) => ({
    kind: "settings",
    session: null,
    address,
    id: 1,
    change,
    who: whoOf(asked),
  }));
  return { status: 200, body: value as ServiceSettings };
}

export const SERVICE: readonly Operation[] = [listServices, stats, getSettings, putSettings];
