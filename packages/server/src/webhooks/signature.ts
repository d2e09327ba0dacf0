import { createHmac, randomBytes } from "node:crypto";

const PREFIX = "whsec_";
const SECRET_BYTES = 32;

/** A new secret in the form of Standard Webhooks: 256 random bits. */
export function newSecret(): string {
  return PREFIX + randomBytes(SECRET_BYTES).toString("base64");
}

/** The three headers of Standard Webhooks, signed with each of the secrets. */
export function signedHeaders(
  secrets: readonly string[],
  { id, atS, body }: { readonly id: string; readonly atS: number; readonly body: string },
): Readonly<Record<string, string>> {
  const sign = (secret: string) => {
    const key = Buffer.from(secret.slice(PREFIX.length), "base64");
    return `v1,${createHmac("sha256", key).update(`${id}.${atS}.${body}`).digest("base64")}`;
  };
  return {
    "webhook-id": id,
    "webhook-timestamp": String(atS),
    "webhook-signature": secrets.map(sign).join(" "),
  };
}
