import type { FastifyReply } from "fastify";
import { ERRORS, type ErrorCode } from "lockdb/protocol";

/** The one shape of an error over HTTP (E). */
export function errorBody(code: ErrorCode, message: string = ERRORS[code].message): object {
  return { error: { code, message, retryable: ERRORS[code].retryable, details: {} } };
}

/** A typed refusal in that shape, with its status. */
export function refuseTyped(reply: FastifyReply, code: ErrorCode, message?: string): FastifyReply {
  return reply.code(ERRORS[code].status!).send(errorBody(code, message));
}
