import { randomUUID } from "node:crypto";
import { SERVICE, type Target } from "./server.js";

// biome-ignore lint/suspicious/noExplicitAny: what comes is compared with the OpenAPI document, in every-answer.ts.
type Json = any;

export interface ApiAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Json;
}

export interface CallOptions {
  readonly service?: string;
  readonly key?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

/** The HTTP API as somebody has it who knows nothing but HTTP. */
export class Api {
  readonly #server: Target;

  constructor(server: Target) {
    this.#server = server;
  }

  /** @param path after `/v1/services/{service}`, or whole when it begins with `/v1` or has no service */
  async call(method: string, path: string, body?: unknown, options: CallOptions = {}): Promise<ApiAnswer> {
    const { service = SERVICE, key = this.#server.rootKey, headers = {}, signal } = options;
    const isWhole = /^\/(v1|openapi|docs|livez|readyz|metrics)/.test(path);
    const response = await fetch(`${this.#server.url}${isWhole ? "" : `/v1/services/${service}`}${path}`, {
      method,
      headers: { ...(key === null ? {} : { authorization: `Bearer ${key}` }), ...headers },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
      ...(signal === undefined ? {} : { signal }),
    });
    const text = await response.text();
    const isJson = response.headers.get("content-type")?.startsWith("application/json") && text !== "";
    return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text };
  }

  get(path: string, options?: CallOptions): Promise<ApiAnswer> {
    return this.call("GET", path, undefined, options);
  }

  post(path: string, body?: unknown, options?: CallOptions): Promise<ApiAnswer> {
    return this.call("POST", path, body, options);
  }

  delete(path: string, options?: CallOptions): Promise<ApiAnswer> {
    return this.call("DELETE", path, undefined, options);
  }

  acquire(names: unknown, more: object = {}, options?: CallOptions): Promise<ApiAnswer> {
    return this.post("/acquire", { names, ...more }, options);
  }

  /** The token of what has to be granted at once. */
  async token(names: unknown, more: object = {}): Promise<number> {
    const { status, body } = await this.acquire(names, more);
    if (status !== 200) throw new Error(`not granted: ${status} ${JSON.stringify(body)}`);
    return body.token;
  }

  inspect(name: string): Promise<Json> {
    return this.get(`/locks/${encodeURIComponent(name)}`).then(({ body }) => body);
  }
}

/** A new request id. */
export function newId(): string {
  return randomUUID();
}

/** Code and status of a refusal. */
export function refusalOf({ status, body }: ApiAnswer): readonly [number, string] {
  return [status, body.error?.code];
}
