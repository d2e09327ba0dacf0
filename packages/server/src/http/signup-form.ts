import type { IncomingMessage } from "node:http";
import type { FastifyInstance, FastifyReply } from "fastify";
import { ERRORS, type ErrorCode } from "lockdb/protocol";
import type { Loop } from "../loop/index.js";
import { isEmail } from "./access-schemas.js";
import type { Signups } from "./api/signup.js";
import { Refusal, retryAfterS } from "./errors.js";
import type { PassingOn } from "./passing-on.js";
import { formPage, keyPage, type SignupPage } from "./signup-page.js";

/** An email address of 254 characters fits, however it is encoded. */
const FORM_BYTES_MAX = 4_096;
const UTF8 = new TextDecoder("utf-8", { fatal: true });

interface FormParts {
  readonly signups: Signups;
  readonly loop: Loop;
  readonly passing: PassingOn | null;
}

/** What was typed in; it is shown again beside what was wrong. */
class FormProblem extends Refusal {
  readonly email: string;

  constructor(email: string, { code, message, details }: Refusal) {
    super(code, message, details);
    this.email = email;
  }
}

/** Adds `POST /signup` (A4). The original client may come here by a wrong base address, so nothing is answered in JSON (C2). */
export async function signupForm(app: FastifyInstance, { signups, loop, passing }: FormParts) {
  const send = (reply: FastifyReply, status: number, { html, headers }: SignupPage) => {
    if (!loop.ready) reply.header("connection", "close");
    const type = "text/html; charset=utf-8";
    return reply.code(status).type(type).headers(headers).send(html);
  };
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "buffer", bodyLimit: FORM_BYTES_MAX }, (_request, bytes, done) =>
    done(null, bytes),
  );
  app.setErrorHandler<Error & { statusCode?: number }>((error, request, reply) => {
    const code = codeOf(error);
    if (code === "INTERNAL") request.log.error({ err: error }, "a request failed");
    const seconds = Number(reply.getHeader("retry-after") ?? retryAfterS(code) ?? 0);
    if (seconds > 0) reply.header("retry-after", seconds);
    const email = error instanceof FormProblem ? error.email : "";
    const message = error instanceof Refusal ? error.message : ERRORS[code].message;
    return send(reply, ERRORS[code].status!, formPage({ code, message, seconds, email }));
  });
  app.post("/signup", async (request, reply) => {
    const refuse = () => {
      const said = new Refusal("UNAVAILABLE");
      const page = formPage({ code: said.code, message: said.message, seconds: 1, email: "" });
      void send(reply.header("retry-after", 1), ERRORS.UNAVAILABLE.status!, page);
    };
    if (passing !== null && !(await passing.isHere("keeper", request, reply, refuse))) return reply;
    const email = emailIn(request.body as Buffer | undefined);
    if (!isEmail(email)) throw new FormProblem(email, new Refusal("INVALID", NO_EMAIL));
    try {
      const { account, apiKey } = await signups.begin(email, request, reply);
      return send(reply, 201, keyPage(account, apiKey, addressIn(request.raw)));
    } catch (error) {
      throw error instanceof Refusal ? new FormProblem(email, error) : error;
    }
  });
}

const NO_EMAIL = "Enter an email address, such as dev@example.com.";

/** Empty when there is none, or more than one. */
function emailIn(bytes: Buffer = Buffer.alloc(0)): string {
  try {
    const emails = new URLSearchParams(UTF8.decode(bytes)).getAll("email");
    return emails.length === 1 ? emails[0]!.trim() : "";
  } catch {
    return "";
  }
}

function codeOf(error: Error & { statusCode?: number }): ErrorCode {
  if (error instanceof Refusal) return error.code;
  const { statusCode = 500 } = error;
  if (statusCode === 413) return "TOO_LARGE";
  return statusCode < 500 ? "INVALID" : "INTERNAL";
}

/**
 * Where the caller has reached this server, or null. A browser says it as its origin, also behind a proxy. It will stand in commands for a
 * shell: so what could be more than an address there is not shown at all.
 */
function addressIn({ headers, socket }: IncomingMessage): string | null {
  const scheme = "encrypted" in socket ? "https" : "http";
  const address = headers.origin?.startsWith("http") ? headers.origin : `${scheme}://${headers.host}`;
  const isPlain = /^https?:\/\/([0-9a-z.-]{1,253}|\[[0-9a-f:.]{2,45}\])(:\d{1,5})?$/i.test(address);
  return isPlain ? address : null;
}
