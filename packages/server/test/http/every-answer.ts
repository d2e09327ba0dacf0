/**
 * Looks at every answer that a server gives in the tests of this folder, and compares it with the OpenAPI document: the status, the
 * kind of body, each field of it, the headers; and looks for those that every answer has (A6). And no answer says a key again that was
 * shown once, or the root key at all (A1). A test whose server has said anything else fails.
 */
import { ServerResponse } from "node:http";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import { afterEach, beforeAll, expect } from "vitest";
import { CANARY_SECRET, secretOf, secretsIn } from "../canary.js";
import { startServer } from "./server.js";

// biome-ignore lint/suspicious/noExplicitAny: the document is looked at as somebody else would.
type Json = any;

interface Told {
  readonly method: string;
  readonly url: string;
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

const OPTIONAL: ReadonlySet<string> = new Set(["/signup", "/v1/signup"]);

const told: Told[] = [];

/** What shows a key, this once: in its field `apiKey`, and nowhere else. */
const SHOWS_A_KEY = /^POST \/v1\/(keys|keys\/[^/]+\/rotate|accounts|signup)$/;
const KEY_FORM = /ldb_[0-9A-Za-z]{1,32}_[0-9A-Za-z]{38}/g;
/** The secrets of all keys that were shown in this file, which nobody shows again. */
const shown = new Set([CANARY_SECRET]);
const bodies = new WeakMap<ServerResponse, { chunks: Buffer[]; headers: object }>();

record();

let document: Json;
let ajv: Ajv2020;
const validators = new Map<string, ValidateFunction>();

beforeAll(async () => {
  const server = await startServer({ signup: true });
  document = await (await fetch(`${server.url}/openapi.json`)).json();
  await server.close();
  ajv = new Ajv2020({ strict: false, validateFormats: false });
});

afterEach(() => {
  const answers = told.splice(0);
  if (document === undefined) return;
  const wrong = answers.flatMap((answer) => {
    const problem = secretProblem(answer) ?? problemOf(answer);
    return problem === null ? [] : [`${answer.method} ${answer.url} ${answer.status}: ${problem}`];
  });
  expect(wrong, "answers that are not in the OpenAPI document").toEqual([]);
});

function record(): void {
  const { write, end, writeHead } = ServerResponse.prototype as Json;
  const partsOf = (response: ServerResponse) => {
    const parts = bodies.get(response) ?? { chunks: [], headers: {} };
    bodies.set(response, parts);
    return parts;
  };
  const keep = (response: ServerResponse, chunk: unknown) => {
    if (typeof chunk === "string" || chunk instanceof Uint8Array)
      partsOf(response).chunks.push(Buffer.from(chunk as string));
  };
  Object.assign(ServerResponse.prototype, {
    writeHead(this: ServerResponse, ...args: unknown[]) {
      const given = args.at(-1);
      if (typeof given === "object" && given !== null) partsOf(this).headers = given;
      return writeHead.apply(this, args);
    },
    write(this: ServerResponse, ...args: unknown[]) {
      keep(this, args[0]);
      return write.apply(this, args);
    },
    end(this: ServerResponse, ...args: unknown[]) {
      // What receives webhooks in these tests answers as it likes. What a member answers to another one is looked at where that passes it back.
      const { headers: asked } = this.req ?? { headers: { "webhook-id": "" } };
      if (asked["webhook-id"] === undefined && asked["lockdb-forwarded-by"] === undefined) {
        keep(this, args[0]);
        const { chunks, headers } = partsOf(this);
        const all = Object.entries({ ...this.getHeaders(), ...headers });
        told.push({
          method: this.req.method ?? "?",
          url: this.req.url ?? "?",
          status: this.statusCode,
          headers: Object.fromEntries(all.map(([name, value]) => [name.toLowerCase(), String(value)])),
          body: Buffer.concat(chunks).toString(),
        });
      }
      return end.apply(this, args);
    },
  });
}

/** The headers that every answer has, and what each of them begins with. */
const SAFE = {
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
  "content-security-policy": "default-src 'none'",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
};

/** The web page and its files, which browsers may keep. */
const PAGE = /^\/(assets\/.*)?$/;

/** What an answer gives away, or null. */
function secretProblem({ method, url, status, headers, body }: Told): string | null {
  const text = `${JSON.stringify(headers)} ${body}`;
  const again = secretsIn(text, shown);
  if (again.length > 0) return "it says a key that nobody shows again";
  // A key that somebody has put into a name is in every answer about it: that was his doing.
  if (status >= 300 || !SHOWS_A_KEY.test(`${method} ${pathOf(url)}`)) return null;
  const keys = text.match(KEY_FORM) ?? [];
  for (const key of keys) shown.add(secretOf(key));
  return keys.length === 1 && JSON.parse(body).apiKey === keys[0] ? null : "it does not show its key once";
}

/** What is wrong with an answer, or null. */
function problemOf({ method, url, status, headers, body }: Told): string | null {
  const isPage = PAGE.test(pathOf(url)) && status === 200;
  for (const [name, value] of Object.entries(SAFE))
    if (!(isPage && name === "cache-control") && !headers[name]?.startsWith(value))
      return `its ${name} is ${headers[name]}`;
  // A browser asks what a page may do. That is no operation.
  if (method === "OPTIONS" && headers["access-control-allow-methods"] !== undefined)
    return status === 204 ? null : "no 204";
  // Node.js itself has refused what is no proper HTTP.
  if ((status === 400 || status === 417) && body === "" && headers["content-type"] === undefined) return null;
  const path = pathOf(url);
  const template = Object.keys(document.paths).find((each) =>
    new RegExp(`^${each.replace(/[.]/g, "\\.").replace(/\{\w+\}/g, "[^/]+")}$`).test(path),
  );
  if ((status === 429 || status === 503) && !/^\d+$/.test(headers["retry-after"] ?? ""))
    return "no Retry-After";
  // Of what some servers do not offer, those say what they say of any unknown address.
  const isAbsent = status === 404 && OPTIONAL.has(template ?? "");
  if (template === undefined || isAbsent) return strayProblem(status, headers, body);
  const asked = method === "HEAD" ? "get" : method.toLowerCase();
  const operation = document.paths[template][asked];
  if (operation === undefined) return otherMethodProblem(method, status, headers);
  const response = operation.responses[status];
  // Of what is a stream there is no head alone.
  if (method === "HEAD" && status === 405) return otherMethodProblem(method, status, headers);
  if (response === undefined) return `this status is not in the document of ${operation.operationId}`;
  const type = headers["content-type"]?.split(";")[0];
  // Its files have the types of web pages.
  if (operation.operationId === "pageFile" && status === 200) return null;
  if (type === undefined || !Object.hasOwn(response.content, type)) return `its type is ${type}`;
  if (type === "text/event-stream" || method === "HEAD") return null;
  for (const name of Object.keys(response.headers ?? {}))
    if (headers[name] === undefined) return `no ${name}`;
  const key = `${template} ${asked} ${status} ${type}`;
  const validate = validators.get(key) ?? validatorOf(response.content[type].schema);
  validators.set(key, validate);
  const value = type === "application/json" ? JSON.parse(body) : body;
  return validate(value) ? null : `${ajv.errorsText(validate.errors)}: ${body.slice(0, 200)}`;
}

/** Of an address that is none of the document's. */
function strayProblem(status: number, headers: Told["headers"], body: string): string | null {
  if (status < 400) return "there is no such operation";
  if (headers["content-type"]?.startsWith("text/plain")) return null;
  const validate = validators.get("") ?? validatorOf(document.components.schemas.Error);
  validators.set("", validate);
  return validate(JSON.parse(body)) ? null : ajv.errorsText(validate.errors);
}

function validatorOf(schema: object): ValidateFunction {
  return ajv.compile({ ...schema, components: document.components });
}

/** Without what may be spelled in several ways. */
function pathOf(url: string): string {
  const spelled = url.replace(/^https?:\/\/[^/]*/, "").split("?")[0]!;
  const plain = spelled.replace(/%([46][1-9a-f]|[57][0-9a])/gi, (_, hex) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return plain.replace(/\/{2,}/g, "/").replace(/(.)\/$/, "$1");
}

function otherMethodProblem(method: string, status: number, headers: Told["headers"]): string | null {
  const isTold = status === 405 || (status === 204 && method === "OPTIONS") || status === 404;
  if (!isTold) return "there is no such operation";
  return headers.allow === undefined && status !== 404 ? "no Allow" : null;
}
