import type { Access } from "../../access/index.js";
import { Signup, SignupBody } from "../access-schemas.js";
import { AddressCounts } from "../address-counts.js";
import { addressBucket, addressOf } from "../addresses.js";
import { Refusal } from "../errors.js";
import type { Operation } from "../operation.js";

/** Sign-ups an hour from one address (A4). */
const SIGNUPS_MAX = 5;
const HOUR_MS = 3_600_000;

/** The free trial (A4): anyone who comes gets an account for 30 days. */
export function signupOperations(access: Access, monotonicMs: () => number): readonly Operation[] {
  const counts = new AddressCounts(SIGNUPS_MAX, HOUR_MS, monotonicMs);
  return [
    {
      id: "signUp",
      method: "POST",
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
      errors: ["RATE_LIMITED", "LIMIT_EXCEEDED", "UNAVAILABLE"],
      handle: async ({ body, request, reply }) => {
        const address = addressOf(request.raw);
        const { waitMs } = counts.add(addressBucket(address));
        if (waitMs > 0) {
          reply.header("retry-after", Math.ceil(waitMs / 1_000));
          throw new Refusal(
            "RATE_LIMITED",
            "Five trials an hour can begin from one address. Try again later.",
          );
        }
        const { email } = body as { readonly email: string };
        const { account, apiKey } = await access.addAccount(
          { email, isTrial: true },
          `sign-up from ${address}`,
        );
        const { id, trialEndsAt } = account;
        return { status: 201, body: { account: { id, trialEndsAt }, apiKey } };
      },
    },
  ];
}
