/** What every answer of the server says beside itself, and which web pages may call it (A6). */
import {
  type IncomingMessage,
  type OutgoingHttpHeader,
  type OutgoingHttpHeaders,
  ServerResponse,
} from "node:http";

import { requestIdOf } from "./addresses.js";

export type Headers = Readonly<Record<string, string>>;

/**
 * Nobody keeps, guesses at, frames or embeds what this server says. A page says its own policy. Answers to pages that may call
 * need no other resource policy: browsers do not look at it where CORS is used.
 */
const SAFE: Headers = {
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
  "content-security-policy":
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
};

/** A year. Not for other hosts below this name, which are somebody else's to decide about. */
const TLS_ONLY: Headers = { "strict-transport-security": "max-age=31536000" };

const PREFLIGHT: Headers = {
  "access-control-allow-methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
  "access-control-allow-headers": "authorization, content-type, last-event-id, lockdb-context",
  // What a browser keeps of it: after a change of --allow-origins pages notice within so many seconds.
  "access-control-max-age": "600",
};

const EXPOSED = "retry-after, ratelimit, ratelimit-policy, x-request-id";

export interface HeaderOptions {
  readonly isTls: boolean;
  /** As `--allow-origins` says it. */
  readonly allowOrigins: string;
}

/** The headers of all answers of a server. */
export class AnswerHeaders {
  readonly #origins: ReadonlySet<string>;
  readonly #always: Headers;

  constructor({ isTls, allowOrigins }: HeaderOptions) {
    this.#origins = originList(allowOrigins);
    // Without any origins the answer is the same for all.
    const vary: Headers = this.#origins.size === 0 ? {} : { vary: "Origin" };
    this.#always = { ...SAFE, ...(isTls ? TLS_ONLY : {}), ...vary };
  }

  /** Of an answer to this request; undefined: it is none that could be read. */
  of(request: IncomingMessage | undefined): Headers {
    if (request === undefined) return this.#always;
    const always = { ...this.#always, "x-request-id": requestIdOf(request) };
    const { origin } = request.headers;
    if (origin === undefined || !this.#origins.has(origin)) return always;
    return {
      ...always,
      "access-control-allow-origin": origin,
      ...(this.isPreflight(request) ? PREFLIGHT : { "access-control-expose-headers": EXPOSED }),
    };
  }

  /** True when a browser asks whether a page may call: it sends no key with that. */
  isPreflight({ method, headers }: IncomingMessage): boolean {
    const { origin } = headers;
    const asks = headers["access-control-request-method"] !== undefined;
    return method === "OPTIONS" && asks && origin !== undefined && this.#origins.has(origin);
  }

  /** Why a browser's page may not open a WebSocket here, or null. Whoever says no origin is no browser. */
  originProblem({ headers: { origin, host } }: IncomingMessage): string | null {
    if (origin === undefined || this.#origins.has(origin) || isOriginOf(origin, host)) return null;
    return "Pages of this origin may not call here. An operator may allow it: see --allow-origins.";
  }

  /** The class of answers that have these headers, whoever makes them, for `createServer`. */
  responseClass(): typeof ServerResponse {
    const headersOf = (request: IncomingMessage) => this.of(request);
    // @ts-expect-error: of two ways to call it one is left, which does what both did.
    return class extends ServerResponse {
      override writeHead(status: number, reason?: string | Given, more?: Given): this {
        const given = typeof reason === "string" ? more : reason;
        const headers = { ...headersOf(this.req), ...objectOf(given) };
        return typeof reason === "string"
          ? super.writeHead(status, reason, headers)
          : super.writeHead(status, headers);
      }
    };
  }
}

type Given = OutgoingHttpHeaders | OutgoingHttpHeader[];

/** Node.js itself gives names and values in one flat list. */
function objectOf(given: Given | undefined): OutgoingHttpHeaders {
  if (!Array.isArray(given)) return given ?? {};
  const pairs = given.flatMap((name, at) => (at % 2 === 0 ? [[String(name), given[at + 1]]] : []));
  return Object.fromEntries(pairs) as OutgoingHttpHeaders;
}

/**
 * Origins in a text, with commas between.
 * @throws Error that names what is none
 */
export function originList(text: string): ReadonlySet<string> {
  const entries = text.split(",").map((entry) => entry.trim());
  const origins = entries.filter((entry) => entry !== "");
  for (const origin of origins) {
    if (!isOrigin(origin)) {
      throw new Error(
        `must be origins as browsers say them, such as https://app.example.com, unlike ${JSON.stringify(origin)}.`,
      );
    }
  }
  return new Set(origins);
}

/** As browsers say it: scheme, host in lower case, a port where it is not the usual one, and no more. */
function isOrigin(text: string): boolean {
  return /^https?:[^*]+$/.test(text) && URL.canParse(text) && new URL(text).origin === text;
}

/** Whether a page of this origin came from where it now calls: same host, same port. A proxy may have taken TLS off. */
export function isOriginOf(origin: string, host: string | undefined): boolean {
  if (host === undefined || !isOrigin(origin) || /[/?#@\\]/.test(host)) return false;
  const { protocol, host: own } = new URL(origin);
  const called = `${protocol}//${host}`;
  return URL.canParse(called) && new URL(called).host === own;
}
