import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { ERRORS, type ServerMessage, type ServiceSettings, serviceIdProblem } from "lockdb/protocol";
import type { Access } from "../access/index.js";
import { type Loop, ServiceKey } from "../loop/index.js";
import { refuseTyped } from "./errors.js";

/** Longer than any write that was on its way when a lease ran out. */
const LOCK_DELAY_MS_MAX = 3_600_000;

/** Adds `GET` and `PUT /v1/services/{service}/settings`: what an operator may set for a service (L8). */
export async function settingsRoutes(app: FastifyInstance, { access, loop }: { access: Access; loop: Loop }) {
  app.route<{ Params: { service: string } }>({
    method: ["GET", "PUT"],
    url: "/v1/services/:service/settings",
    // Before the body is read.
    onRequest: (request, reply, done) => {
      if (access.accountOf(request.headers.authorization) !== null) return done();
      refuseTyped(reply, "UNAUTHORIZED");
    },
    handler: async (request, reply) => {
      const account = access.accountOf(request.headers.authorization)!;
      const { service } = request.params;
      const change = request.method === "PUT" ? settingsIn(request.body) : null;
      const problem = serviceIdProblem(service) ?? (typeof change === "string" ? change : null);
      if (problem !== null) return refuseTyped(reply, "INVALID", problem);
      return ask(loop, new ServiceKey(account, service), change as ServiceSettings | null, request, reply);
    },
  });
}

/** The settings in a body, or what is wrong with it. Nothing that is not known is quietly dropped. */
function settingsIn(body: unknown): ServiceSettings | string {
  if (typeof body !== "object" || body === null || Array.isArray(body))
    return "The body must be a JSON object.";
  const unknown = Object.keys(body).find((field) => field !== "lockDelayMs");
  if (unknown !== undefined) return `Unknown field ${JSON.stringify(unknown.slice(0, 64))}.`;
  const { lockDelayMs } = body as { lockDelayMs?: unknown };
  const fits =
    Number.isInteger(lockDelayMs) &&
    (lockDelayMs as number) >= 0 &&
    (lockDelayMs as number) <= LOCK_DELAY_MS_MAX;
  if (!fits) return "lockDelayMs must be whole milliseconds, from 0 to one hour.";
  return { lockDelayMs: lockDelayMs as number };
}

/** Sends the command, and the answer once what it depends on is durable. */
function ask(
  loop: Loop,
  service: ServiceKey,
  change: ServiceSettings | null,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  return new Promise((resolve) => {
    const address = loop.attach({
      receive: (message) => {
        loop.detach(address);
        resolve(answered(message, reply));
      },
      flush: () => {},
    });
    const who = `root key from ${request.ip}`;
    loop.submit(service, { kind: "settings", session: null, address, id: 1, change, who });
  });
}

function answered(message: ServerMessage, reply: FastifyReply): FastifyReply {
  switch (message[0]) {
    case "done":
      return reply.send(message[2]);
    case "refused":
      return refuseTyped(reply, message[2], message[3]);
    case "ended":
      return refuseTyped(reply, message[1], message[2]);
    default:
      return refuseTyped(reply, "INTERNAL", ERRORS.INTERNAL.message);
  }
}
