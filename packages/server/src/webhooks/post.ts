import { request as httpRequest, type IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import { isIP, type LookupFunction } from "node:net";
import { type AddressPolicy, hostOf } from "./addresses.js";
import type { Lookup } from "./lookup.js";

/** What is sent. */
export interface Message {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** What came of it. `status` is null when no answer came; `error` is null when the receiver has it. */
export interface Outcome {
  readonly status: number | null;
  readonly error: string | null;
  /** What the receiver has asked for with `Retry-After`, or 0. */
  readonly retryAfterMs: number;
  /** The receiver wants no more of this (410). */
  readonly isGone: boolean;
}

export interface PostOptions {
  readonly policy: AddressPolicy;
  readonly lookup: Lookup;
  readonly connectMs: number;
  /** From the question for the name to the answer's status. */
  readonly totalMs: number;
}

/** An answer's head may take so much; its body is not read. */
const HEAD_BYTES_MAX = 16_384;

/**
 * One POST to a URL that a caller has named. The name is asked for once, all its addresses must be allowed, and the
 * connection is made to one of these. No redirect is followed, no proxy is asked, no body is read. Never rejects.
 */
export async function post(message: Message, options: PostOptions, signal: AbortSignal): Promise<Outcome> {
  const controller = new AbortController();
  const over = controller.signal;
  const stop = () => controller.abort(signal.reason);
  signal.addEventListener("abort", stop, { once: true });
  const late = setTimeout(
    () => controller.abort(new Error(`no answer within ${options.totalMs} ms`)),
    options.totalMs,
  );
  try {
    signal.throwIfAborted();
    const url = new URL(message.url);
    const host = hostOf(url);
    const addresses = isIP(host) === 0 ? await orAborted(over, options.lookup(host, over)) : [host];
    const problem = addresses.map((address) => options.policy.problem(address)).find((each) => each !== null);
    if (problem !== undefined) return failure(null, problem);
    return outcomeOf(await exchange(url, addresses, message, options, over));
  } catch (error) {
    return failure(null, wordsOf(over.aborted ? over.reason : error));
  } finally {
    clearTimeout(late);
    signal.removeEventListener("abort", stop);
  }
}

interface Head {
  readonly status: number;
  readonly retryAfter: string | undefined;
}

/** The status of the answer. As soon as that is there the connection is closed. */
function exchange(
  url: URL,
  addresses: readonly string[],
  { headers, body }: Message,
  { connectMs }: PostOptions,
  signal: AbortSignal,
): Promise<Head> {
  return new Promise((resolve, reject) => {
    const isTls = url.protocol === "https:";
    const outgoing = (isTls ? httpsRequest : httpRequest)({
      protocol: url.protocol,
      // As an address it is connected to as it stands; as a name only `lookup` says what it means.
      hostname: hostOf(url),
      lookup: pinned(addresses),
      ...(url.port === "" ? {} : { port: Number(url.port) }),
      path: url.pathname + url.search,
      method: "POST",
      headers: { ...headers, host: url.host, "content-length": Buffer.byteLength(body) },
      agent: false,
      maxHeaderSize: HEAD_BYTES_MAX,
      signal,
      // Whatever the environment says.
      rejectUnauthorized: true,
    });
    const connecting = setTimeout(() => {
      outgoing.destroy(new Error(`no connection within ${connectMs} ms`));
    }, connectMs);
    outgoing.once("socket", (socket) => {
      socket.once(isTls ? "secureConnect" : "connect", () => clearTimeout(connecting));
    });
    outgoing.once("response", ({ statusCode = 0, headers: answered }: IncomingMessage) => {
      resolve({ status: statusCode, retryAfter: answered["retry-after"] });
      outgoing.destroy();
    });
    // Also after the answer, when nobody waits for it any more.
    outgoing.on("error", reject);
    outgoing.once("close", () => {
      clearTimeout(connecting);
      reject(new Error("the connection was closed before an answer came"));
    });
    outgoing.end(body);
  });
}

/** Answers with what was found and allowed before, whatever DNS would say by now. */
function pinned(addresses: readonly string[]): LookupFunction {
  const all = addresses.map((address) => ({ address, family: isIP(address) }));
  return (_host, options, done) => {
    if (options.all === true) done(null, all);
    else done(null, all[0]!.address, all[0]!.family);
  };
}

function outcomeOf({ status, retryAfter }: Head): Outcome {
  if (status >= 200 && status < 300) return { status, error: null, retryAfterMs: 0, isGone: false };
  const isRedirect = status >= 300 && status < 400;
  const error = `answered ${status}${isRedirect ? ", and redirects are not followed" : ""}`;
  const seconds = /^\d{1,6}$/.test(retryAfter ?? "") ? Number(retryAfter) : 0;
  return { status, error, retryAfterMs: seconds * 1_000, isGone: status === 410 };
}

function failure(status: number | null, error: string): Outcome {
  return { status, error, retryAfterMs: 0, isGone: false };
}

async function orAborted<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  signal.throwIfAborted();
  let stop = () => {};
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
  });
  // Whoever is late has nobody to tell.
  promise.catch(() => {});
  return Promise.race([promise, aborted]).finally(() => signal.removeEventListener("abort", stop));
}

/** Short, and without what only this machine knows. */
function wordsOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return String(code ?? message).slice(0, 200);
}
