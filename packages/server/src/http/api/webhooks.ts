import type { PageQuery, Webhooks } from "../../webhooks/index.js";
import { OLD_KEPT_MS_DEFAULT, rotateBody } from "../access-schemas.js";
import { whoOf } from "../caller.js";
import { Refusal } from "../errors.js";
import type { Asked, Good, Operation } from "../operation.js";
import { missingIn } from "../other-members.js";
import { Deliveries, Delivery, DeliveryStatus, WebhookSecret } from "../schemas.js";
import { type Static, Type } from "../type.js";

const PAGE_DEFAULT = 100;
const PAGE_MAX = 500;

const DELIVERY: Static<typeof Delivery> = {
  id: "msg_Lk2b1nJkQy4n0m8rJt6v5g",
  service: "billing",
  lockName: "report",
  token: 4711,
  endedBy: "release",
  url: "https://app.example.com/unlocked",
  createdAt: "2026-01-01T09:00:00.000Z",
  status: "pending",
  attempts: 3,
  lastAttemptAt: "2026-01-01T09:00:19.000Z",
  lastStatus: 503,
  lastError: "answered 503",
  nextAttemptAt: "2026-01-01T09:00:37.000Z",
  paused: false,
};
const SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const NEW_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

const RotateBody = rotateBody("signs");

/** What became of deliveries, and the secret that signs them (C5). They are of the account, over all its services. */
export function webhookOperations(webhooks: Webhooks): readonly Operation[] {
  const listDeliveries: Operation = {
    id: "listDeliveries",
    method: "GET",
    need: { scopes: ["read"], isOverall: true },
    path: "/v1/webhooks/deliveries",
    tag: "Webhooks",
    summary: "List what webhooks were owed",
    description: `The newest come first, of all services of the account. The last thousand that were delivered are kept, and the last
thousand that were given up.`,
    query: Type.Object(
      {
        status: Type.Optional(DeliveryStatus),
        limit: Type.Optional(Type.Integer({ minimum: 1, maximum: PAGE_MAX, default: PAGE_DEFAULT })),
        before: Type.Optional(
          Type.String({
            pattern: "^[0-9TZ:.-]{1,40}\\.msg_[A-Za-z0-9_-]{1,64}$",
            description: "The `next` of the page before.",
          }),
        ),
      },
      { additionalProperties: false },
    ),
    answers: {
      200: { description: "A page.", schema: Deliveries, example: { deliveries: [DELIVERY], next: null } },
    },
    errors: [],
    handle: async ({ caller, query, others, request }) => {
      const { limit = PAGE_DEFAULT, ...more } = query as Partial<PageQuery>;
      const all = await (others?.ask(request.raw) ?? null);
      const own = webhooks.page(caller.account, { limit, ...more });
      const pages = [own, ...(all?.answers ?? []).map(({ body }) => body as DeliveryPage)];
      const body = pages.length === 1 ? own : onePage(pages, limit);
      return { status: 200, body: { ...body, ...missingIn(all) } };
    },
  };

  const retryDelivery: Operation = {
    id: "retryDelivery",
    method: "POST",
    need: { scopes: ["admin"], isOverall: true, isAct: true },
    path: "/v1/webhooks/deliveries/{delivery}/retry",
    tag: "Webhooks",
    summary: "Call a webhook once more",
    description: `Tries it now, and for another day if that fails, whatever became of it before. It has the same \`webhook-id\`.`,
    answers: {
      202: {
        description: "It will be tried.",
        schema: Delivery,
        example: { ...DELIVERY, nextAttemptAt: "2026-01-01T09:00:20.000Z" },
      },
    },
    errors: ["NOT_FOUND"],
    handle: async (asked) => {
      const found = await kept(asked, () =>
        webhooks.retry(asked.caller.account, asked.params.delivery!, whoOf(asked)),
      );
      return found === null ? elsewhere(asked) : shown(202, found);
    },
  };

  const giveUpDelivery: Operation = {
    id: "giveUpDelivery",
    method: "DELETE",
    need: { scopes: ["admin"], isOverall: true, isAct: true },
    path: "/v1/webhooks/deliveries/{delivery}",
    tag: "Webhooks",
    summary: "Give a pending call up",
    description: `One that is over stays as it is. One that is on its way at this moment may be delivered all the same. The act is in the audit
log.`,
    answers: {
      200: {
        description: "What there is now.",
        schema: Delivery,
        example: { ...DELIVERY, status: "failed", lastError: "given up by hand", nextAttemptAt: null },
      },
    },
    errors: ["NOT_FOUND"],
    handle: async (asked) => {
      const { caller, params } = asked;
      const found = await kept(asked, () => webhooks.giveUp(caller.account, params.delivery!, whoOf(asked)));
      return found === null ? elsewhere(asked) : shown(200, found);
    },
  };

  const getSecret: Operation = {
    id: "getWebhookSecret",
    method: "GET",
    goesTo: "keeper",
    need: { scopes: ["admin"], isOverall: true },
    path: "/v1/webhooks/secret",
    tag: "Webhooks",
    summary: "Read the secret that signs",
    description: "It is made at its first use, one an account.",
    answers: {
      200: { description: "The secret.", schema: WebhookSecret, example: { secret: SECRET, old: null } },
    },
    errors: [],
    handle: async (asked) => ({
      status: 200,
      body: await kept(asked, () => webhooks.secret(asked.caller.account)),
    }),
  };

  const rotateSecret: Operation = {
    id: "rotateWebhookSecret",
    method: "POST",
    goesTo: "keeper",
    need: { scopes: ["admin"], isOverall: true, isAct: true },
    path: "/v1/webhooks/secret/rotate",
    tag: "Webhooks",
    summary: "Change the secret that signs",
    description: `Makes a new one. The old one signs beside it for a while: each call has two signatures then, and receivers may change over one
after the other. The one before that signs no more. The change is in the audit log.`,
    body: RotateBody,
    isBodyOptional: true,
    examples: {
      "The old one signs for an hour more": { oldKeptMs: 3_600_000 },
      "It has leaked": { oldKeptMs: 0 },
    },
    answers: {
      200: {
        description: "Both.",
        schema: WebhookSecret,
        example: { secret: NEW_SECRET, old: { secret: SECRET, until: "2026-01-02T09:00:00.000Z" } },
      },
    },
    errors: [],
    handle: async (asked) => {
      const { oldKeptMs = OLD_KEPT_MS_DEFAULT } = asked.body as Static<typeof RotateBody>;
      const body = await kept(asked, () => webhooks.rotate(asked.caller.account, oldKeptMs, whoOf(asked)));
      return { status: 200, body };
    },
  };

  return [listDeliveries, retryDelivery, giveUpDelivery, getSecret, rotateSecret];
}

/** What has to be durable first; if the store does not work the caller is told so. */
async function kept<T>({ request }: Asked, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    request.log.warn({ err: error }, "a webhook record could not be kept");
    throw new Refusal("UNAVAILABLE");
  }
}

function shown(status: number, delivery: object): Good {
  return { status, body: delivery };
}

/** A delivery is with its service, and which one that is does not stand in its id. */
async function elsewhere({ others, request }: Asked): Promise<Good> {
  const heard = (await others?.find(request.raw)) ?? null;
  if (heard === null) throw new Refusal("NOT_FOUND");
  if (heard.status < 300) return { status: heard.status, body: heard.body as object };
  throw new Refusal("UNAVAILABLE");
}

type DeliveryPage = ReturnType<Webhooks["page"]>;

/** One page of those of all members: the newest first, and nothing that may stand behind what one of them has not shown. */
function onePage(pages: readonly DeliveryPage[], limit: number): DeliveryPage {
  const placeOf = ({ createdAt, id }: { createdAt: string; id: string }) => `${createdAt}.${id}`;
  const ends = pages.flatMap(({ next }) => (next === null ? [] : [next])).sort();
  const end = ends.at(-1) ?? null;
  const found = pages
    .flatMap(({ deliveries }) => deliveries)
    .filter((delivery) => end === null || placeOf(delivery) >= end)
    .sort((a, b) => (placeOf(a) < placeOf(b) ? 1 : -1));
  const deliveries = found.slice(0, limit);
  return { deliveries, next: found.length > limit ? placeOf(deliveries.at(-1)!) : end };
}
