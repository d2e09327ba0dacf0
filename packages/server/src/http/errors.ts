import type { FastifyReply, FastifyRequest } from "fastify";
import { ERRORS, type ErrorCode, type RefusalDetails } from "lockdb/protocol";
import { Refusal } from "../loop/index.js";
import { noteRefusal } from "./request-log.js";

export { Refusal };

/**
 * What it is about has moved to another member before anything was done, or while it waits: the request may be passed on after all. What was done is told
 * before its service moves (R5).
 */
export class Moved extends Refusal {
  constructor() {
    super("UNAVAILABLE");
  }
}

/** The one shape of an error over HTTP (E). */
export function errorBody(
  code: ErrorCode,
  message: string = ERRORS[code].message,
  details: RefusalDetails = {},
): object {
  return { error: { code, message, retryable: ERRORS[code].retryable, details } };
}

/** Headers of a refusal: when to try again, where that can help soon. */
export function errorHeaders(code: ErrorCode): Readonly<Record<string, string>> {
  const seconds = retryAfterS(code);
  return seconds === null ? {} : { "retry-after": String(seconds) };
}

/** What is over in a moment is tried again in one second; a limit, in five. */
export function retryAfterS(code: ErrorCode): number | null {
  if (ERRORS[code].status === 503 || code === "RATE_LIMITED") return 1;
  return ERRORS[code].status === 429 ? 5 : null;
}

/** A handler failed that had taken the answer over: nobody else gives one any more. */
export function answerFailure(
  request: FastifyRequest,
  reply: FastifyReply,
  error: unknown,
  form: { readonly type: string; readonly body: string } = {
    type: "application/json; charset=utf-8",
    body: JSON.stringify(errorBody("INTERNAL")),
  },
): void {
  const { raw } = reply;
  request.log.error({ err: error }, "a request failed");
  if (raw.headersSent) return void raw.destroy();
  noteRefusal(raw, "INTERNAL");
  raw.writeHead(ERRORS.INTERNAL.status!, {
    "content-type": form.type,
    "content-length": Buffer.byteLength(form.body),
    connection: "close",
  });
  raw.end(form.body);
}

/** A typed refusal in that shape, with its status. */
export function refuseTyped(
  reply: FastifyReply,
  code: ErrorCode,
  message?: string,
  details?: RefusalDetails,
): FastifyReply {
  const { status } = ERRORS[code];
  noteRefusal(reply.raw, code);
  // Who knows better when has said so.
  const headers = reply.hasHeader("retry-after") ? {} : errorHeaders(code);
  return reply
    .code(status!)
    .headers(headers)
    .send(errorBody(code, message, details));
}
