import { ACCOUNT_DEFAULT } from "../../access/index.js";
import type { ContentionLooks, Contention as Found } from "../../loop/index.js";
import { CONTENTION_QUERY, Contention, Diagnosis } from "../contention-schemas.js";
import { Refusal } from "../errors.js";
import type { Good, Operation } from "../operation.js";
import type { Query } from "../query.js";

const NOT_THE_OPERATORS =
  "This is about the whole server. Use a key of the account default, with the scope read.";

const HOLDER = {
  token: 4711,
  owner: "billing:7",
  state: "held",
  mode: "exclusive",
  detached: false,
  heldForMs: 92_000,
  expiresInMs: 8_800,
  metadata: {},
};
const WAITER = { ticket: 9_120, owner: "billing:8", waitingForMs: 61_000, mode: "exclusive", away: false };
const LOCK = {
  name: "invoice/42",
  held: true,
  holders: [HOLDER],
  holderCount: 1,
  queue: [WAITER],
  queueLength: 17,
  recovering: false,
};
const WHERE = { service: "billing", name: "invoice/42" };
const CROWD = {
  ...{ services: 1, recovering: 0, sessions: 40, holds: 12, locks: 12, waiters: 17, grants: 88_412 },
  hottest: [{ service: "billing", lock: LOCK }],
  longestWaits: [{ ...WHERE, waiter: WAITER, holder: HOLDER, queueLength: 17 }],
  oldestHolds: [{ ...WHERE, holder: HOLDER, queueLength: 17 }],
};
const DIAGNOSIS = {
  server: { version: "0.1.0", wallMs: 1_767_225_600_000, monotonicMs: 86_400_000.25 },
  upMs: 86_400_000,
  ready: true,
  listening: {
    host: "0.0.0.0",
    isLoopback: false,
    isTls: true,
    certificateEndsAt: "2027-01-01T00:00:00.000Z",
  },
  store: {
    kind: "disk",
    directory: "/var/lib/lockdb",
    freeBytes: 52_428_800_000,
    totalBytes: 107_374_182_400,
    failures: 0,
  },
  recovering: { count: 0, first: [] },
  queues: {
    waitersMax: 100_000,
    refused: 0,
    longest: { account: "default", service: "billing", name: "invoice/42", length: 17 },
  },
  files: { open: 64, max: 65_536 },
  webhooks: { pending: 0, pausedTargets: 0 },
  serviceFailures: 0,
};

/** Where it is crowded, and how the server is: for `lockdb top` and `lockdb doctor`. */
export function contentionOperations(parts: {
  readonly looks: ContentionLooks;
  readonly diagnosis: () => Promise<object>;
}): readonly Operation[] {
  const { looks } = parts;
  const ofService: Operation = {
    id: "contention",
    method: "GET",
    need: { scopes: ["read"] },
    path: "/v1/services/{service}/contention",
    tag: "Looking",
    summary: "See where a service is crowded",
    description: `Longest queues, longest waits, oldest holds, and how many grants there were. All locks are looked at for it, a few in each
turn of the server, and who asks within half a second of another gets the same answer. \`lockdb top\` shows it.`,
    query: CONTENTION_QUERY,
    answers: { 200: { description: "The crowd.", schema: Contention, example: CROWD } },
    errors: [],
    handle: async ({ loop, service, query }) => {
      const of = () => loop.services.seen(service.account).filter(({ key }) => key.id === service.id);
      return shown(await looks.of(service.prefix, of), query);
    },
  };
  return [
    ofService,
    {
      ...ofService,
      id: "contentionOverall",
      need: { scopes: ["read"], isOverall: true },
      path: "/v1/contention",
      summary: "See where an account is crowded",
      description:
        "The same over all services of the account, for keys that are not limited to some of them.",
      handle: async ({ loop, caller: { account }, query }) =>
        shown(await looks.of(account, () => loop.services.seen(account)), query),
    },
    {
      id: "diagnosis",
      method: "GET",
      path: "/v1/diagnosis",
      tag: "The server",
      need: { scopes: ["read"], isOverall: true },
      summary: "See how the server is",
      description:
        "What only the server itself can tell: its disk, its certificate, what recovers, full queues, its clocks. It takes a key of the account `default` that is not for some services only. `lockdb doctor` says what of it is wrong, and what to do.",
      answers: { 200: { description: "So it is.", schema: Diagnosis, example: DIAGNOSIS } },
      errors: [],
      handle: async ({ caller }) => {
        if (caller.account !== ACCOUNT_DEFAULT) throw new Refusal("FORBIDDEN", NOT_THE_OPERATORS);
        return { status: 200, body: await parts.diagnosis() };
      },
    },
  ];
}

function shown(found: Found, { limit = 10 }: Query): Good {
  const { recoveringNow: _recovering, hottest, longestWaits, oldestHolds, ...counts } = found;
  const most = <T>(items: readonly T[]) => items.slice(0, Number(limit));
  const body = {
    ...counts,
    hottest: most(hottest).map(({ account: _account, service, ...lock }) => ({ service, lock })),
    longestWaits: most(longestWaits).map(({ account: _account, ...wait }) => wait),
    oldestHolds: most(oldestHolds).map(({ account: _account, ...hold }) => hold),
  };
  return { status: 200, body };
}
