import { isToken, keyOf, numberOf, placeOf, type Token } from "./fence.js";
import { StaleTokenError, TokenHeaderError } from "./stale-token-error.js";

const HEADER = "lockdb-token";
const ELEMENT = /^(\d{1,16}); *service=([A-Za-z0-9._-]{1,64}); *lock=([^;, ]+)$/;
const FENCES_MAX = 100_000;

/**
 * Headers as `fetch` has them, or as Node.js does.
 * @example
 * const headers: HeadersIn = { "lockdb-token": "4711; service=billing; lock=account%2F7" };
 */
export type HeadersIn =
  | { get(name: string): string | null }
  | { readonly [name: string]: string | readonly string[] | undefined };

/**
 * Remembers the highest token of each fence.
 * @example
 * const fences: FenceStore = memoryFences();
 */
export interface FenceStore {
  /**
   * Keeps the token, unless a higher one is there, in one atomic step.
   * @param key of the fence: `service/lock`
   * @returns the token that is kept now: this one, or the higher
   * @example
   * const store: FenceStore = {
   *   raise: async (key, token) => {
   *     const { rows } = await client.query("SELECT raise_fence($1, $2) AS token", [key, token]);
   *     return Number((rows[0] as { token: string }).token);
   *   },
   * };
   */
  raise(key: string, token: number): number | PromiseLike<number>;
}

/**
 * The header that takes a token of one lock to another service, and the look at it there.
 * @example
 * const fence: HttpFence = httpFence("billing", "account/7");
 */
export interface HttpFence {
  /**
   * What the holder sends along.
   * @throws TypeError for what is no token
   * @example
   * await fetch(url, { method: "PUT", headers: { ...httpFence("billing", "account/7").headers(lease) }, body });
   */
  headers(token: Token): Record<string, string>;
  /**
   * The token that came, to be entered where the data is (`postgresFence`, `redisFence`). Nothing is compared here.
   * @throws TokenHeaderError when there is none of this lock (status 428), or the header is malformed (400)
   * @example
   * const token = httpFence("billing", `account/${id}`).token(request.headers);
   * await postgresFence("billing", `account/${id}`).enter(client, token);
   */
  token(headers: HeadersIn): number;
  /**
   * Compares at the door: refuses a request of an earlier holder that arrives after one of a later holder. A request that has passed
   * and stands still inside is not stopped; where that matters take `token`, and enter it in the transaction that writes.
   *
   * @returns the token
   * @throws StaleTokenError (status 409) when a later holder was here
   * @throws TokenHeaderError as `token` does
   * @example
   * await httpFence("billing", `account/${id}`).enter(request.headers, memoryFences());
   */
  enter(headers: HeadersIn, store: FenceStore): Promise<number>;
}

/**
 * The fence of one lock of one service at an HTTP server, and the header for it at its clients:
 * `lockdb-token: 4711; service=billing; lock=account%2F7`, the name percent-encoded. For several locks, several such, with commas between.
 *
 * Believe it only from your own services: whoever writes it can raise the fence to any number, and so keep all holders out.
 *
 * @param service whose lock it is
 * @param lock its name: the receiver says which lock guards what is asked for, and never takes that from the request's header
 * @throws TypeError for what is no service or lock
 * @example
 * await fetch(url, { headers: httpFence("billing", "account/7").headers(lease) });
 */
export function httpFence(service: string, lock: string): HttpFence {
  const place = placeOf(service, lock);
  const label = `The lock "${lock}" of ${service}`;
  const fence: HttpFence = {
    headers: (token) => ({
      [HEADER]: `${numberOf(token)}; service=${service}; lock=${encodeURIComponent(lock)}`,
    }),
    token(headers) {
      const ours = elementsIn(headers).filter((found) => found.service === service && found.lock === lock);
      const [first] = ours;
      if (first === undefined)
        throw new TokenHeaderError("TOKEN_MISSING", `${label}: the header ${HEADER} has no token of it.`);
      if (ours.length > 1) throw malformed(`more than one token of "${lock}"`);
      return first.token;
    },
    async enter(headers, store) {
      const token = fence.token(headers);
      const seen = await store.raise(keyOf(place), token);
      // A store that gives no number has not compared.
      if (!(seen <= token)) throw new StaleTokenError(label, token, seen);
      return token;
    },
  };
  return fence;
}

/**
 * Fences in the memory of this process. A restart forgets them, and a late request then passes; several processes need one store for
 * all of them.
 *
 * @param fencesMax how many locks. Default 100,000
 * @throws RangeError from `raise`, for one lock more: none may be forgotten
 * @example
 * const fences = memoryFences();
 * await httpFence("billing", `account/${id}`).enter(request.headers, fences);
 */
export function memoryFences(fencesMax = FENCES_MAX): FenceStore {
  const tokens = new Map<string, number>();
  return {
    raise(key, token) {
      const seen = tokens.get(key) ?? 0;
      if (seen >= token) return seen;
      if (seen === 0 && tokens.size >= fencesMax)
        throw new RangeError(`${fencesMax} fences are kept, and none is forgotten. Keep them in a database.`);
      tokens.set(key, token);
      return token;
    },
  };
}

interface Element {
  readonly token: number;
  readonly service: string;
  readonly lock: string;
}

function elementsIn(headers: HeadersIn): Element[] {
  return valuesIn(headers).flatMap((value) => value.split(",").map((element) => parsed(element.trim())));
}

function valuesIn(headers: HeadersIn): readonly string[] {
  const value =
    typeof headers.get === "function" ? headers.get(HEADER) : (headers as Record<string, string>)[HEADER];
  if (value === null || value === undefined) return [];
  return typeof value === "string" ? [value] : value;
}

function parsed(element: string): Element {
  const [, digits, service, encoded] = ELEMENT.exec(element) ?? [];
  const token = Number(digits);
  const lock = decoded(encoded);
  if (!isToken(token) || lock === null) throw malformed("something else than tokens");
  return { token, service: service!, lock };
}

function decoded(text: string | undefined): string | null {
  try {
    return text === undefined ? null : decodeURIComponent(text);
  } catch {
    return null;
  }
}

function malformed(what: string): TokenHeaderError {
  const form = `4711; service=billing; lock=account%2F7`;
  return new TokenHeaderError("TOKEN_MALFORMED", `The header ${HEADER} has ${what}. It looks like: ${form}`);
}
