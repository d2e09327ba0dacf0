import type { FastifyReply, FastifyRequest } from "fastify";
import type { Access, AccountInfo } from "../../access/index.js";
import { Signup, SignupBody } from "../access-schemas.js";
import { AddressCounts } from "../address-counts.js";
import { addressBucket, addressOf } from "../addresses.js";
import { Refusal } from "../errors.js";
import type { Operation } from "../operation.js";
import { isCrossSite } from "../same-origin.js";

/** Sign-ups an hour from one address (A4). */
const SIGNUPS_MAX = 5;
const HOUR_MS = 3_600_000;

/** The free trial (A4): anyone who comes gets an account for 30 days. */
export class Signups {
  readonly #access: Access;
  readonly #counts: AddressCounts;

  constructor(access: Access, monotonicMs: () => number) {
    this.#access = access;
    this.#counts = new AddressCounts(SIGNUPS_MAX, HOUR_MS, monotonicMs);
  }

  /**
   * Begins a trial. A refusal's `Retry-After` is set already where it is known.
   * @param email checked
   * @throws Refusal `FORBIDDEN` for a browser that another site has sent; `RATE_LIMITED`, `LIMIT_EXCEEDED`, `UNAVAILABLE`
   */
  begin(
    email: string,
    { raw }: FastifyRequest,
    reply: FastifyReply,
  ): Promise<{ readonly account: AccountInfo; readonly apiKey: string }> {
    // A page could else have all its visitors make accounts.
    if (isCrossSite(raw)) throw new Refusal("FORBIDDEN", CROSS_SITE);
    const address = addressOf(raw);
    const { waitMs } = this.#counts.add(addressBucket(address));
    if (waitMs > 0) {
      reply.header("retry-after", Math.ceil(waitMs / 1_000));
      throw new Refusal("RATE_LIMITED", "Five trials an hour can begin from one address. Try again later.");
    }
    return this.#access.addAccount({ email, isTrial: true }, `sign-up from ${address}`);
  }
}

const CROSS_SITE =
  "This came from a page of another site. Start the trial from this server's own page, or with curl.";

export function signupOperations(signups: Signups): readonly Operation[] {
  const errors = ["FORBIDDEN", "RATE_LIMITED", "LIMIT_EXCEEDED", "UNAVAILABLE"] as const;
  return [
    {
      id: "signUp",
      method: "POST",
      goesTo: "keeper",
      path: "/v1/signup",
      tag: "Access",
      need: null,
      summary: "Start a free trial",
      description: `An account of your own for 30 days, with a key that has every scope. The key is shown this once. When the trial ends, new locks are refused with
\`TRIAL_ENDED\`, and what is held can be released; the operator can extend it. Five an hour from one address.`,
      body: SignupBody,
      examples: { You: { email: "dev@example.com" } },
      answers: {
        201: {
          description: "Go ahead.",
          schema: Signup,
          example: {
            account: { id: "acc_7Yw2Lr9sKd", trialEndsAt: "2026-01-31T09:00:00.000Z" },
            apiKey: "ldb_9hTq3Zr1xW_…",
          },
        },
      },
      errors,
      handle: async ({ body, request, reply }) => {
        const { email } = body as SignupBody;
        const { account, apiKey } = await signups.begin(email, request, reply);
        const { id, trialEndsAt } = account;
        return { status: 201, body: { account: { id, trialEndsAt }, apiKey } };
      },
    },
    {
      id: "signUpPage",
      method: "GET",
      path: "/signup",
      tag: "Access",
      need: null,
      summary: "Where people start a free trial",
      description: "Leads to that screen of the web page: an address that can be told.",
      answers: {
        303: { description: "There.", type: "text/plain", headers: { location: "Where it is." } },
      },
      errors: [],
      handle: ({ request }) => {
        // Relative, so that it is right below a path of a proxy, too.
        const up = request.raw.url?.split("?")[0]?.endsWith("/") ? "../" : "./";
        const location = `${up}#/signup`;
        return { status: 303, type: "text/plain", body: `Go to ${location}\n`, headers: { location } };
      },
    },
  ];
}
