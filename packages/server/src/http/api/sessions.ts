import { ownerProblem, type SessionInfo, WIRE_LIMITS } from "lockdb/protocol";
import { ask } from "../ask.js";
import { callerHost } from "../caller.js";
import { Refusal } from "../errors.js";
import { SessionPage } from "../looking-schemas.js";
import type { Operation } from "../operation.js";
import { Ended, LEASED_MS_DEFAULT, Session, SessionBody } from "../schemas.js";
import { Type } from "../type.js";

const EXAMPLE = { sessionId: "pJ2n0XnGQkq8w6tq0Yw3Xg", leaseMs: 30_000 };

const openSession: Operation = {
  id: "openSession",
  method: "POST",
  need: { scopes: ["lock"] },
  path: "/v1/services/{service}/sessions",
  tag: "Sessions",
  summary: "Open a session",
  description: `A session is kept by heartbeats, and all its holds live as long as it does: one heartbeat for any number of locks. Every request
that names it is a heartbeat too. It survives restarts of the server.

With a random \`sessionId\` of your own, opening it twice is opening it once.`,
  body: SessionBody,
  examples: { "With the default lease": {}, "With an id of your own": EXAMPLE },
  answers: {
    201: {
      description: "It is open.",
      schema: Session,
      headers: { location: "Where it is." },
      example: EXAMPLE,
    },
    200: { description: "It was open already.", schema: Session, example: EXAMPLE },
  },
  errors: ["REQUEST_ID_REUSED", "SESSION_ENDED"],
  handle: async ({ loop, service, body, request }) => {
    const given = body as SessionBody;
    const { sessionId = loop.runtime.randomId(), leaseMs = LEASED_MS_DEFAULT } = given;
    const problem = given.owner === undefined ? null : ownerProblem(given.owner);
    if (problem !== null) throw new Refusal("INVALID", problem);
    // It must be the same when the request comes again, on another connection.
    const owner = given.owner ?? callerHost(request.raw);
    const value = await ask(loop, service, (address) => ({
      kind: "openSession",
      address,
      id: 1,
      session: sessionId,
      leaseMs,
      owner,
    }));
    const { resumed } = value as SessionInfo;
    return {
      status: resumed ? 200 : 201,
      body: { sessionId, leaseMs },
      ...(resumed ? {} : { headers: { location: `/v1/services/${service.id}/sessions/${sessionId}` } }),
    };
  },
};

const heartbeat: Operation = {
  id: "heartbeat",
  method: "POST",
  need: { scopes: ["lock"], isWayOut: true },
  path: "/v1/services/{service}/sessions/{session}/heartbeat",
  tag: "Sessions",
  summary: "Keep a session",
  description: `Gives the session a full lease from when the server processes it. Send it at a third of the lease. **409 SESSION_ENDED**: it is
over, and so are its holds.`,
  answers: { 200: { description: "It lasts.", schema: Session, example: EXAMPLE } },
  errors: ["SESSION_ENDED"],
  handle: async ({ loop, service, params }) => {
    const value = await ask(loop, service, (address) => ({
      kind: "keepSession",
      address,
      id: 1,
      session: params.session!,
    }));
    const { session: sessionId, leaseMs } = value as SessionInfo;
    return { status: 200, body: { sessionId, leaseMs } };
  },
};

const endSession: Operation = {
  id: "endSession",
  method: "DELETE",
  need: { scopes: ["lock"], isWayOut: true },
  path: "/v1/services/{service}/sessions/{session}",
  tag: "Sessions",
  summary: "Close a session",
  description: "Gives back all that the session holds, in order, and gives up what it waits for.",
  answers: { 200: { description: "It is over.", schema: Ended, example: { ended: true } } },
  errors: ["SESSION_ENDED"],
  handle: async ({ loop, service, params }) => {
    await ask(loop, service, (address) => ({ kind: "endSession", address, id: 1, session: params.session! }));
    return { status: 200, body: { ended: true } };
  },
};

const listSessions: Operation = {
  id: "listSessions",
  method: "GET",
  need: { scopes: ["read"] },
  path: "/v1/services/{service}/sessions",
  tag: "Looking",
  summary: "List sessions",
  description:
    "In the order in which they came, page by page: who is there, what each holds, and what it waits for.",
  query: Type.Object(
    {
      after: Type.Optional(
        Type.Integer({ minimum: 0, default: 0, description: "The `next` of the page before." }),
      ),
      limit: Type.Optional(Type.Integer({ minimum: 1, maximum: WIRE_LIMITS.listMax, default: 100 })),
    },
    { additionalProperties: false },
  ),
  answers: {
    200: {
      description: "A page.",
      schema: SessionPage,
      example: {
        sessions: [
          {
            ...{
              number: 1,
              owner: "billing:7",
              kind: "native",
              state: "here",
              leaseMs: 10_000,
              expiresInMs: 8_200,
            },
            ...{ holdCount: 1, holds: ["invoice/42"], waiterCount: 0, waitsFor: [] },
          },
        ],
        next: null,
      },
    },
  },
  errors: [],
  handle: async ({ loop, service, query }) => {
    const [after, limit] = [Number(query.after ?? 0), Number(query.limit ?? 100)];
    const page = await ask(loop, service, (address) => ({
      ...{ kind: "sessions", session: null, address, id: 1, after, limit },
    }));
    return { status: 200, body: page as object };
  },
};

export const SESSIONS: readonly Operation[] = [listSessions, openSession, heartbeat, endSession];
