import { crc32 } from "node:zlib";

/** The part that nobody may ever see again. */
export const CANARY_SECRET = "CanaryKeyThatNoAnswerLogOrFileH0";

const BODY = `ldb_root_${CANARY_SECRET}`;
const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/**
 * The root key of the tests, wherever they do not say otherwise. It is a proper key, checksum and all, so that no rule about the form of
 * keys treats it as another, and it is looked for in what servers say, write and keep.
 */
export const CANARY_KEY = BODY + checksum(BODY);

const forms = new Map<string, readonly string[]>();

/** In which forms a secret might lie somewhere: as it is, percent-encoded, in hex, in base64 at each of its three offsets. */
function formsOf(secret: string): readonly string[] {
  const known = forms.get(secret);
  if (known !== undefined) return known;
  const bytes = Buffer.from(secret);
  const base64 = [0, 1, 2].map((offset) => {
    const text = Buffer.concat([Buffer.alloc(offset), bytes]).toString("base64");
    // Without the characters that it shares with what stands around it.
    return text.slice(offset === 0 ? 0 : offset + 1, -4);
  });
  const percent = [...bytes].map((byte) => `%${byte.toString(16)}`).join("");
  const hex = bytes.toString("hex");
  const all = [secret, ...base64, percent, percent.toUpperCase(), hex, hex.toUpperCase()];
  forms.set(secret, all);
  return all;
}

/** Which of these secrets are in there, in some form. Those of keys have letters and digits alone, so base64url is base64. */
export function secretsIn(text: Buffer | string, secrets: Iterable<string>): readonly string[] {
  return [...secrets].filter((secret) => formsOf(secret).some((form) => text.includes(form)));
}

/** The secret part of a key. */
export function secretOf(key: string): string {
  return key.slice(key.lastIndexOf("_") + 1);
}

function checksum(body: string): string {
  let text = "";
  for (let rest = crc32(body); text.length < 6; rest = Math.floor(rest / 62)) text = BASE62[rest % 62] + text;
  return text;
}
