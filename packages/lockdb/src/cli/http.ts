import { type IncomingMessage, request as plainRequest } from "node:http";
import { request as secureRequest } from "node:https";
import { ConnectionError, errorOf, LockDBError } from "../client/errors.js";
import { serverUrls } from "../client/server-urls.js";
import { isErrorCode } from "../protocol/index.js";
import { secureOptions, troubleText } from "../runtime/secure.js";
import { FormError } from "./answers.js";
import { apiKeyOf, type ServerFlags, tlsOptions } from "./args.js";
import { UsageError } from "./exit.js";

const CONNECT_MS = 5_000;
const ANSWER_MS = 30_000;
/** No page of LockDB's answers is nearly as long. */
const ANSWER_BYTES_MAX = 64 * 1_024 * 1_024;
const PAGE_LENGTH = 1_000;
/** How often in a row a reader of pages waits when it is told to slow down. */
const SLOWED_MAX = 10;

type Query = Readonly<Record<string, string | number | undefined>>;

interface Ask<T> {
  readonly method?: "GET" | "POST" | "PATCH" | "DELETE";
  /** Undefined: left out. */
  readonly query?: Query;
  readonly body?: object;
  /** Looks at the form of the answer. @throws FormError */
  readonly read: (value: unknown) => T;
  /** Takes the answer, piece by piece, in place of `read`, which is given nothing then. */
  readonly take?: (pieces: AsyncIterable<Uint8Array>) => Promise<void>;
}

/** The HTTP API, for commands that are about no lock. */
export class HttpApi {
  readonly #urls: readonly string[];
  readonly #apiKey: string;
  readonly #secure: ReturnType<typeof secureOptions>;
  /** The server that answered last. */
  #at = 0;

  /** @throws UsageError, LockDBError for a wrong address or key */
  constructor(flags: ServerFlags) {
    const urls = serverUrls(flags.serverUrl || undefined);
    // They would stand in what is printed, and the key is not theirs.
    if (urls.some((url) => new URL(url).username !== "" || new URL(url).password !== ""))
      throw new UsageError("-s: an address has no user and password. The key goes into LOCKDB_API_KEY.");
    this.#urls = urls.map((url) => url.replace(/\/+$/, ""));
    this.#apiKey = apiKeyOf(flags);
    const isSecure = urls.some((url) => url.startsWith("https:"));
    this.#secure = isSecure ? secureOptions(tlsOptions(process.env) ?? {}) : {};
    if (!/^[\x21-\x7e]+$/.test(this.#apiKey))
      throw new UsageError("An API key has no spaces, line ends or letters beyond ASCII.");
  }

  /**
   * Asks one server after the other, until one can be reached.
   * @throws LockDBError the refusal; `CONNECTION` when none was reached, or what answers is no LockDB
   */
  async ask<T>(path: string, { method = "GET", query = {}, body, read, take }: Ask<T>): Promise<T> {
    const asked = Object.entries(query).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, String(value)] as [string, string]],
    );
    const target = asked.length === 0 ? path : `${path}?${new URLSearchParams(asked)}`;
    const failures: ConnectionError[] = [];
    for (const [step] of this.#urls.entries()) {
      const at = (this.#at + step) % this.#urls.length;
      const url = this.#urls[at]!;
      try {
        const answer = await exchange(url + target, url, {
          method,
          apiKey: this.#apiKey,
          body,
          secure: this.#secure,
          take,
        });
        this.#at = at;
        return take !== undefined && answer.status === 200 ? read(undefined) : valueIn(answer, url, read);
      } catch (error) {
        if (!(error instanceof Unanswered)) throw error;
        // What may have been done is not asked for a second time: there would be two keys.
        if (error.wasSent && method !== "GET") {
          throw new ConnectionError(
            `${error.message}. It may have been done all the same: look before you try again.`,
            true,
          );
        }
        failures.push(new ConnectionError(error.message));
      }
    }
    const said = failures.map(({ message }) => message).join("; ");
    throw new ConnectionError(`${said}. Check the address and that the server runs, then try again.`);
  }

  /** The entries of all pages, one page at a time: the next is not asked for before this one is used up. */
  async *pages<T>(
    path: string,
    { query = {}, read }: { query?: Query; read: (value: unknown) => Page<T> },
  ): AsyncGenerator<T> {
    let after = query.after;
    for (;;) {
      const page = await this.#page(path, { query: { ...query, after, limit: PAGE_LENGTH }, read });
      yield* page.items;
      // A page that leads to itself would be read for ever.
      if (page.next === null || page.next === after) return;
      after = page.next;
    }
  }

  async #page<T>(path: string, asked: Ask<Page<T>>): Promise<Page<T>> {
    for (let slowed = 0; ; slowed++) {
      try {
        return await this.ask(path, asked);
      } catch (error) {
        const isSlowed = error instanceof LockDBError && error.code === "RATE_LIMITED";
        if (!isSlowed || slowed === SLOWED_MAX) throw error;
        await new Promise((resolve) => setTimeout(resolve, 1_000));
      }
    }
  }
}

export interface Page<T> {
  readonly items: readonly T[];
  /** `after` of the next page; null: this is the last. */
  readonly next: string | null;
}

interface Answer {
  readonly status: number;
  readonly location: string | undefined;
  readonly text: string;
}

/** There was no answer. */
class Unanswered extends Error {
  /** Whether the server may have seen the request. */
  readonly wasSent: boolean;

  constructor(message: string, wasSent: boolean) {
    super(message);
    this.wasSent = wasSent;
  }
}

interface ExchangeOptions {
  readonly method: string;
  readonly apiKey: string;
  readonly body: object | undefined;
  readonly secure: ReturnType<typeof secureOptions>;
  readonly take: ((pieces: AsyncIterable<Uint8Array>) => Promise<void>) | undefined;
}

/**
 * The one place where a request leaves. Not `fetch`: that takes no certificates of one's own, and does not tell
 * whether a request that failed had been sent.
 */
function exchange(
  target: string,
  url: string,
  { method, apiKey, body, secure, take }: ExchangeOptions,
): Promise<Answer> {
  const isSecure = target.startsWith("https:");
  const text = body === undefined ? "" : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    let isConnected = false;
    const request = (isSecure ? secureRequest : plainRequest)(target, {
      ...(isSecure ? secure : {}),
      method,
      // A connection of its own: one that was idle may be closing when it is used again.
      agent: false,
      headers: {
        authorization: `Bearer ${apiKey}`,
        accept: "application/json",
        ...(body === undefined
          ? {}
          : { "content-type": "application/json", "content-length": Buffer.byteLength(text) }),
      },
    });
    const failed = (error: Error) => {
      clearTimeout(timer);
      request.destroy();
      const reason =
        (isSecure ? troubleText(error, url) : error.message) ||
        (error as NodeJS.ErrnoException).code ||
        error.name;
      reject(
        isConnected
          ? new Unanswered(`${url} did not answer (${reason})`, true)
          : new Unanswered(`${url} could not be reached (${reason})`, false),
      );
    };
    let timer = setTimeout(() => failed(new Error("no connection within 5 s")), CONNECT_MS);
    request.once("socket", (socket) => {
      socket.once(isSecure ? "secureConnect" : "connect", () => {
        isConnected = true;
        clearTimeout(timer);
        timer = setTimeout(() => failed(new Error("nothing within 30 s")), ANSWER_MS);
      });
    });
    request.on("error", failed);
    request.once("response", (response) => {
      const { statusCode: status = 0 } = response;
      const { location } = response.headers;
      if (take !== undefined && status === 200) {
        clearTimeout(timer);
        const broke = (error: Error) =>
          response.errored === null ? reject(error) : failed(new Error("its answer broke off"));
        take(response).then(() => resolve({ status, location, text: "" }), broke);
        return;
      }
      readAll(response).then((all) => {
        clearTimeout(timer);
        resolve({ status, location, text: all });
      }, failed);
    });
    request.end(text);
  });
}

async function readAll(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > ANSWER_BYTES_MAX) throw new Error("its answer has no end");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** @throws LockDBError the refusal that it is; `CONNECTION` when it is no answer of LockDB */
function valueIn<T>({ status, location, text }: Answer, url: string, read: (value: unknown) => T): T {
  const value = parsed(text);
  if (status >= 200 && status < 300) {
    try {
      return read(value);
    } catch (error) {
      if (!(error instanceof FormError)) throw error;
    }
  } else {
    const { code, message, details } = fieldsOf(fieldsOf(value).error);
    if (isErrorCode(code) && typeof message === "string") throw errorOf(code, message, fieldsOf(details));
  }
  const leads = location === undefined ? "" : `, and leads to ${location}`;
  throw new ConnectionError(
    `${url} answered (${status}${leads}), but not as LockDB does. Check the address: something else may listen there.`,
  );
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
