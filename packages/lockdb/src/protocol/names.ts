import { LIMITS } from "./limits.js";

const PLAIN = /^[\x20-\x7e]{1,512}$/;
const CONTROL = /[\u0000-\u001f\u007f]/;
const LONE_SURROGATE = /\p{Surrogate}/u;
const SERVICE = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const ID = /^[A-Za-z0-9_-]{8,64}$/;

/** What is wrong with a lock name (N1), or null. Names are compared byte for byte and never normalised. */
export function lockNameProblem(name: unknown): string | null {
  if (typeof name !== "string") return "A lock name must be a string.";
  if (PLAIN.test(name)) return null;
  if (name === "") return "A lock name must not be empty.";
  if (utf8Bytes(name) > LIMITS.nameBytesMax) return "A lock name is at most 512 bytes of UTF-8.";
  return textProblem(name, "A lock name");
}

/** What is wrong with the names of a request, or null (N3, Q4, Q5). */
export function lockNamesProblem(names: unknown): string | null {
  if (typeof names === "string") return lockNameProblem(names);
  if (!Array.isArray(names) || names.length === 0) return "A lock name or a list of names is needed.";
  if (names.length > LIMITS.namesMax) return `A request names at most ${LIMITS.namesMax} locks.`;
  const seen = new Set<string>();
  for (const spec of names) {
    const problem = typeof spec === "string" ? lockNameProblem(spec) : specProblem(spec);
    if (problem !== null) return problem;
    const name = typeof spec === "string" ? spec : (spec as [string])[0];
    if (seen.has(name)) return `A request names each lock once, unlike ${JSON.stringify(name)}.`;
    seen.add(name);
  }
  return null;
}

function specProblem(spec: unknown): string | null {
  if (!Array.isArray(spec) || spec.length < 2 || spec.length > 3) {
    return 'A lock of a set is a name, [name, "shared"], or [name, permits, weight].';
  }
  const [name, kind, weight] = spec;
  const problem = lockNameProblem(name);
  if (problem !== null || (kind === "shared" && spec.length === 2)) return problem;
  if (!isCount(kind, LIMITS.permitsMax)) return `Permits are a whole number from 1 to ${LIMITS.permitsMax}.`;
  if (spec.length === 3 && !isCount(weight, kind)) return "A weight is a whole number from 1 to the permits.";
  return null;
}

/** What is wrong with a service id (N2), or null. */
export function serviceIdProblem(id: unknown): string | null {
  if (typeof id === "string" && SERVICE.test(id)) return null;
  return "A service id is 1 to 64 of A-Z a-z 0-9 . _ - and starts with a letter or digit.";
}

/** What is wrong with a client's or session's id, or null. Clients make them at random: 128 bits are enough. */
export function clientIdProblem(id: unknown): string | null {
  if (typeof id === "string" && ID.test(id)) return null;
  return "A client or session id is 8 to 64 of A-Z a-z 0-9 _ -.";
}

/** What is wrong with an owner label, or null. */
export function ownerProblem(owner: unknown): string | null {
  return labelProblem(owner, "An owner");
}

/** What is wrong with the reason of an administrative act, or null. */
export function reasonProblem(reason: unknown): string | null {
  return labelProblem(reason, "A reason");
}

/**
 * What is wrong with the address of a webhook, or null. Where it leads, and whether this server may go there, is not asked
 * here.
 */
export function webhookUrlProblem(url: unknown): string | null {
  if (typeof url !== "string") return "The URL of a webhook must be a string.";
  if (utf8Bytes(url) > LIMITS.webhookUrlBytesMax)
    return "The URL of a webhook is at most 1,024 bytes of UTF-8.";
  // The parser would quietly leave some of these out.
  if (/\s/.test(url) || textProblem(url, "") !== null)
    return "The URL of a webhook has no spaces or control characters.";
  if (!/^https?:/i.test(url) || !URL.canParse(url))
    return "The URL of a webhook must be a whole URL that begins with https:// or http://, such as https://example.com/unlocked.";
  const { username, password } = new URL(url);
  if (username !== "" || password !== "") {
    return "The URL of a webhook has no user name or password. Check the signature instead.";
  }
  return null;
}

function labelProblem(label: unknown, what: string): string | null {
  if (typeof label !== "string") return `${what} must be a string.`;
  if (label === "") return `${what} must not be empty.`;
  if (utf8Bytes(label) > LIMITS.labelBytesMax) return `${what} is at most 256 bytes of UTF-8.`;
  return textProblem(label, what);
}

/** Length in UTF-8 of a string, without encoding it. A lone surrogate counts as three. */
export function utf8Bytes(text: string): number {
  let bytes = text.length;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit < 0x80) continue;
    if (unit < 0x800) bytes += 1;
    else if (unit >= 0xd800 && unit < 0xdc00 && isLowSurrogate(text.charCodeAt(at + 1))) {
      bytes += 2;
      at++;
    } else bytes += 2;
  }
  return bytes;
}

function textProblem(text: string, what: string): string | null {
  if (CONTROL.test(text)) return `${what} must not hold control characters.`;
  // On the wire two different ill-formed strings could become one name.
  if (LONE_SURROGATE.test(text)) return `${what} must be well-formed Unicode.`;
  return null;
}

function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit < 0xe000;
}

/** A whole number from 1 to that. */
export function isCount(value: unknown, max: number): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= max;
}
