/** What is counted and logged of HTTP requests: never a query, a body, a header or a key. */
import { randomUUID } from "node:crypto";
import type { ServerResponse } from "node:http";
import type { FastifyInstance } from "fastify";
import type { ErrorCode } from "lockdb/protocol";
import type { ServerTotals } from "../loop/index.js";

/** What a proxy may have named a request; anything else is not written anywhere. */
const ID_GIVEN = /^[\w.:+/=@-]{1,128}$/;

/** The name of a request in the log and in its answer. @param given by a proxy that is believed; else undefined */
export function requestId(given: string | string[] | undefined): string {
  // Not one that counts: it would tell how much others ask.
  return typeof given === "string" && ID_GIVEN.test(given) ? given : randomUUID();
}

const refusals = new WeakMap<ServerResponse, ErrorCode>();

/** This answer is a refusal. It is counted when it has left. */
export function noteRefusal(response: ServerResponse, code: ErrorCode): void {
  refusals.set(response, code);
}

/** Counts every answer, and at the level `debug` writes a line for each. */
export function watchAnswers(app: FastifyInstance, totals: ServerTotals): void {
  app.addHook("onResponse", (request, reply, done) => {
    const { raw } = reply;
    const code = refusals.get(raw);
    totals.answeredWith(raw.statusCode);
    if (code !== undefined) totals.refusedWith(code);
    request.log.debug(
      {
        method: request.method,
        // The pattern and not the address: in that may be anything.
        route: request.routeOptions.url ?? null,
        status: raw.statusCode,
        ...(code === undefined ? {} : { code }),
        ms: Math.round(reply.elapsedTime),
      },
      "answered",
    );
    done();
  });
}
