import type { Renewed as RenewedValue } from "lockdb/protocol";
import { ask } from "../ask.js";
import type { Operation } from "../operation.js";
import { ReleaseBody, Released, RenewBody, Renewed } from "../schemas.js";

const release: Operation = {
  id: "release",
  method: "POST",
  need: { scopes: ["lock"], isWayOut: true },
  path: "/v1/services/{service}/release",
  tag: "Locks",
  summary: "Give a hold back",
  description: `Ends exactly the hold with this token, and no later one. Of a set it frees all locks. A hold of an HTTP session is given back
with its \`sessionId\`. **409 NOT_HELD**: it was over already, and the work that it protected may not have been alone.

With a \`requestId\` of its own the release may be sent again when its answer was lost, and gets the same answer.`,
  body: ReleaseBody,
  examples: { "By its token": { token: 4711 } },
  answers: { 200: { description: "It is over.", schema: Released, example: { released: true } } },
  errors: ["NOT_HELD", "SESSION_ENDED", "REQUEST_ID_REUSED"],
  handle: async ({ loop, service, body }) => {
    const { token, sessionId = null, requestId = null } = body as ReleaseBody;
    await ask(loop, service, (address) => ({
      kind: "giveBack",
      session: null,
      address,
      id: 1,
      token,
      of: sessionId,
      request: requestId,
    }));
    return { status: 200, body: { released: true } };
  },
};

const renew: Operation = {
  id: "renew",
  method: "POST",
  need: { scopes: ["lock"], isWayOut: true },
  path: "/v1/services/{service}/renew",
  tag: "Locks",
  summary: "Move the end of a hold",
  description: `Gives a hold that has a lease of its own another one, from when the server processes it. Send it at a third of the lease. A
hold that is over is never revived: on **409 NOT_HELD** stop the work at once. Holds of a session are kept by its heartbeats.`,
  body: RenewBody,
  examples: { "As long as before": { token: 4711 }, "For ten seconds": { token: 4711, leaseMs: 10_000 } },
  answers: {
    200: { description: "It lasts.", schema: Renewed, example: { token: 4711, expiresInMs: 30_000 } },
  },
  errors: ["NOT_HELD"],
  handle: async ({ loop, service, body }) => {
    const { token, leaseMs = null } = body as RenewBody;
    const value = await ask(loop, service, (address) => ({
      kind: "renew",
      session: null,
      address,
      id: 1,
      token,
      leaseMs,
    }));
    return { status: 200, body: value as RenewedValue };
  },
};

export const HOLDS: readonly Operation[] = [release, renew];
