import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { Access } from "../access/index.js";
import { OLD_KEPT_MS_DEFAULT, type PageQuery, type Webhooks } from "../webhooks/index.js";
import { refuseTyped } from "./errors.js";

const PAGE_DEFAULT = 100;
const PAGE_MAX = 500;
/** An old secret that signs for ever would be no rotation. */
const OLD_KEPT_MS_MAX = 30 * 24 * 3_600_000;

const STATUSES = ["pending", "delivered", "failed"] as const;
const PLACE = /^[0-9TZ:.-]{1,40}\.msg_[\w-]{1,64}$/;

/** Adds `/v1/webhooks/…`: what became of deliveries, and the secret that signs them (C5). */
export async function webhookRoutes(
  app: FastifyInstance,
  { access, webhooks }: { access: Access; webhooks: Webhooks },
) {
  app.addHook("onRequest", (request, reply, done) => {
    if (access.accountOf(request.headers.authorization) !== null) return done();
    refuseTyped(reply, "UNAUTHORIZED");
  });
  const accountOf = (request: FastifyRequest) => access.accountOf(request.headers.authorization)!;

  app.get("/v1/webhooks/deliveries", async (request, reply) => {
    const query = pageQuery(request.query as Record<string, unknown>);
    if (typeof query === "string") return refuseTyped(reply, "INVALID", query);
    return webhooks.page(accountOf(request), query);
  });

  app.post<{ Params: { id: string } }>("/v1/webhooks/deliveries/:id/retry", (request, reply) =>
    kept(reply, async () => {
      const delivery = await webhooks.retry(accountOf(request), request.params.id);
      return delivery === null ? refuseTyped(reply, "NOT_FOUND") : reply.code(202).send(delivery);
    }),
  );

  app.delete<{ Params: { id: string } }>("/v1/webhooks/deliveries/:id", (request, reply) =>
    kept(reply, async () => {
      const delivery = await webhooks.giveUp(accountOf(request), request.params.id, whoOf(request));
      return delivery === null ? refuseTyped(reply, "NOT_FOUND") : reply.send(delivery);
    }),
  );

  app.get("/v1/webhooks/secret", (request, reply) =>
    kept(reply, async () => noStore(reply).send(await webhooks.secret(accountOf(request)))),
  );

  app.post("/v1/webhooks/secret/rotate", async (request, reply) => {
    const oldKeptMs = oldKeptIn(request.body);
    if (typeof oldKeptMs === "string") return refuseTyped(reply, "INVALID", oldKeptMs);
    return kept(reply, async () =>
      noStore(reply).send(await webhooks.rotate(accountOf(request), oldKeptMs, whoOf(request))),
    );
  });
}

/** What has to be durable first; if the store does not work the caller is told so. */
async function kept(reply: FastifyReply, work: () => Promise<FastifyReply>): Promise<FastifyReply> {
  try {
    return await work();
  } catch (error) {
    reply.log.warn({ err: error }, "a webhook record could not be kept");
    return refuseTyped(reply, "UNAVAILABLE");
  }
}

/** For the audit log. There is one key so far. */
function whoOf({ ip }: FastifyRequest): string {
  return `root key from ${ip}`;
}

/** Secrets belong in no cache. */
function noStore(reply: FastifyReply): FastifyReply {
  return reply.header("cache-control", "no-store");
}

/** The query of a page, or what is wrong with it. */
function pageQuery(query: Record<string, unknown>): PageQuery | string {
  const unknown = Object.keys(query).find((name) => !["status", "limit", "before"].includes(name));
  if (unknown !== undefined) return `Unknown parameter ${JSON.stringify(unknown.slice(0, 64))}.`;
  const { status: wanted, limit: text = String(PAGE_DEFAULT), before } = query;
  const status = STATUSES.find((each) => each === wanted);
  if (wanted !== undefined && status === undefined) return `status is one of ${STATUSES.join(", ")}.`;
  const limit = typeof text === "string" && /^\d{1,3}$/.test(text) ? Number(text) : 0;
  if (limit < 1 || limit > PAGE_MAX) return `limit is from 1 to ${PAGE_MAX}.`;
  if (before === undefined) return { status, limit };
  if (typeof before !== "string" || !PLACE.test(before)) return "before is the next of a page before.";
  return { status, limit, before };
}

/** How long the old secret is to sign on, or what is wrong with the body. No body is the default. */
function oldKeptIn(body: unknown): number | string {
  if (body === undefined || body === null) return OLD_KEPT_MS_DEFAULT;
  if (typeof body !== "object" || Array.isArray(body)) return "The body must be a JSON object, or none.";
  const unknown = Object.keys(body).find((field) => field !== "oldKeptMs");
  if (unknown !== undefined) return `Unknown field ${JSON.stringify(unknown.slice(0, 64))}.`;
  const { oldKeptMs = OLD_KEPT_MS_DEFAULT } = body as { oldKeptMs?: unknown };
  const fits =
    Number.isInteger(oldKeptMs) && (oldKeptMs as number) >= 0 && (oldKeptMs as number) <= OLD_KEPT_MS_MAX;
  return fits ? (oldKeptMs as number) : "oldKeptMs must be whole milliseconds, from 0 to thirty days.";
}
