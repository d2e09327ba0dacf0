// HTTP requests out of the server's own OpenAPI document: right ones, and what can be made of them.
import { hostile, json, mangled, Raw, spoilt, TEXTS } from "./random.js";

/** Short, so that those who wait are few. */
const WAITS_MS = [0, 0, 0, 1, 20];
const LEASES_MS = [1_000, 2_000, 60_000];
const NAMES = ["a", "b", "c/d", "é", "__proto__", "x y", "🧨", "n1", "n2", "n3"];
const SERVICES = ["fuzz-0", "fuzz-1", "fuzz.2", "constructor"];
/** Nobody listens there: nothing of this leaves the machine. */
const WEBHOOKS = [
  "http://127.0.0.1:1/",
  "https://127.0.0.1:9/x?y#z",
  "http://[::1]:1/",
  "http://169.254.169.254/",
];
const METHODS = [
  "GET",
  "HEAD",
  "POST",
  "PUT",
  "PATCH",
  "DELETE",
  "OPTIONS",
  "TRACE",
  "CONNECT",
  "BREW",
  "get",
  "",
];
const HEADERS = [
  "transfer-encoding: chunked",
  "transfer-encoding: xchunked",
  "transfer-encoding : chunked",
  "content-length: 5",
  "content-length: -1",
  "content-length: 99999999999999999999",
  "content-length: 1e3",
  "expect: 100-continue",
  "expect: 417",
  "upgrade: websocket\r\nconnection: upgrade",
  "upgrade: h2c\r\nconnection: upgrade",
  "connection: close, keep-alive, x",
  "x-forwarded-for: 1.2.3.4, ::1",
  "x-request-id: a\tb",
  "last-event-id: -1",
  "last-event-id: x.9007199254740993",
  "range: bytes=9-1",
  "content-encoding: gzip",
  "content-type: multipart/form-data; boundary=",
  "origin: null",
  "lockdb-request-id: x",
  "lockdb-not-here: 1",
  "host: a\r\nhost: b",
  "cookie: a=b; __proto__=c",
  " folded",
  ": empty",
  "a b: c",
  "x: \u0000",
  "x: \u00ff\u00fe",
];
const TARGETS = [
  "*",
  "//",
  "/..",
  "http://[",
  "http://a/v1/self",
  "/%",
  "/%ff",
  "/v1/%2e%2e/self",
  "/?",
  "/#",
  "/v1/services/a/locks/%ED%A0%80",
];

export class Requests {
  #document;
  #operations;
  #keys;

  /** @param document the OpenAPI document @param keys API keys that are right, for what each may */
  constructor(document, keys) {
    this.#document = document;
    this.#keys = keys;
    this.#operations = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({
        path,
        method: method.toUpperCase(),
        operation,
      })),
    );
  }

  /**
   * @returns {{ bytes: Buffer, isWhole: boolean, mayWait: boolean, isHead: boolean }} isWhole: it is one request, as HTTP has it, and has to be answered;
   *   mayWait: it may have asked for an answer that takes its time
   */
  make(random) {
    if (random.is(0.04))
      return {
        bytes: handshake(random, random.of(this.#keys)),
        isWhole: false,
        mayWait: true,
        isHead: false,
      };
    const { path, method: own, operation } = random.of(this.#operations);
    const method = random.is(0.95) ? own : random.of(METHODS);
    const target = random.is(0.98) ? this.#target(random, path, operation) : random.of(TARGETS);
    const body = this.#body(random, operation);
    const key = random.is(0.9)
      ? random.of(this.#keys)
      : String(random.of(TEXTS))
          .replace(/[^\x20-\x7e]/g, "?")
          .slice(0, 20_000);
    const lines = [`${method} ${target} HTTP/1.1`, "host: x", `authorization: Bearer ${key}`];
    if (body !== null) lines.push("content-type: application/json", `content-length: ${body.length}`);
    const isOdd = random.is(0.08);
    if (isOdd) lines.splice(1 + random.below(lines.length), 0, random.of(HEADERS));
    const whole = Buffer.concat([
      Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1"),
      body ?? Buffer.alloc(0),
    ]);
    const isMangled = random.is(0.15);
    return {
      bytes: isMangled ? mangled(random, whole) : whole,
      isWhole: !isOdd && !isMangled && METHODS.indexOf(method) < 7 && METHODS.includes(method),
      mayWait: /acquire|events|\/lock|\/check|backup/.test(target) || isOdd,
      isHead: method === "HEAD",
    };
  }

  #target(random, path, operation) {
    const parameters = operation.parameters ?? [];
    const given = (name) => parameters.find((each) => each.name === name && each.in === "path");
    const filled = path.replace(/\{(\w+)\}/g, (_, name) => {
      if (random.is(0.85)) return encoded(String(this.valid(random, given(name)?.schema ?? {}, name)));
      const text = String(random.of(TEXTS));
      return random.is(0.7) ? encoded(text) : text.replace(/[^\x21-\x7e]/g, "").slice(0, 20_000);
    });
    const query = parameters.filter((each) => each.in === "query" && (each.required || random.is(0.3)));
    const parts = query.map(({ name, schema }) => {
      const value = random.is(0.75) ? this.valid(random, schema, name) : random.of(TEXTS);
      return `${name}=${encoded(String(value))}`;
    });
    if (random.is(0.04)) parts.push(`${encoded(random.of(TEXTS))}=${encoded(random.of(TEXTS))}`);
    if (random.is(0.02) && parts.length > 0) parts.push(parts[0]);
    return parts.length === 0 ? filled : `${filled}?${parts.join("&")}`;
  }

  #body(random, { requestBody }) {
    const content = requestBody?.content;
    if (content === undefined) return random.is(0.02) ? Buffer.from("{}") : null;
    const [{ schema, examples = {} }] = Object.values(content);
    const shown = Object.values(examples);
    const right =
      shown.length > 0 && random.is(0.2)
        ? withoutHosts(random.of(shown).value)
        : this.valid(random, schema, "");
    const value = random.is(0.35) ? right : random.is(0.9) ? spoilt(random, right) : hostile(random);
    const text = Buffer.from(json(value));
    return random.is(0.05) ? mangled(random, text) : text;
  }

  /** A value that fits the schema, or nearly. */
  valid(random, given, name) {
    if (name === "account") return random.of(["x", "fuzz", "acc_none", "a1"]);
    if (name === "service" || name === "serviceId") return random.of(SERVICES);
    if (/webhookurl/i.test(name)) return random.of(WEBHOOKS);
    if (name === "waitMs" || name === "waitForLockInMs" || name === "sliceMs") return random.of(WAITS_MS);
    if (name === "leaseMs") return random.of(LEASES_MS);
    const schema = this.#resolved(given);
    const choices = schema.anyOf ?? schema.oneOf;
    if (choices !== undefined) return this.valid(random, random.of(choices), name);
    if (schema.const !== undefined) return schema.const;
    if (schema.enum !== undefined) return random.of(schema.enum);
    const type = Array.isArray(schema.type) ? random.of(schema.type) : schema.type;
    switch (type) {
      case "integer":
      case "number": {
        const low = schema.minimum ?? 0;
        return Math.min(
          schema.maximum ?? Number.MAX_SAFE_INTEGER,
          low + random.below(random.is(0.8) ? 30 : 5_000),
        );
      }
      case "boolean":
        return random.is(0.5);
      case "null":
        return null;
      case "array": {
        const most = Math.min(schema.maxItems ?? 4, 4);
        const count = (schema.minItems ?? 0) + random.below(most);
        return Array.from({ length: count }, () => this.valid(random, schema.items ?? {}, name));
      }
      case "object":
        return this.#object(random, schema);
      default:
        return this.#text(random, schema, name);
    }
  }

  #object(random, { properties = {}, required = [], patternProperties }) {
    const entries = Object.entries(properties)
      .filter(([key]) => required.includes(key) || random.is(0.3))
      .map(([key, schema]) => [key, this.valid(random, schema, key)]);
    if (patternProperties !== undefined) entries.push([random.of(NAMES), random.below(9)]);
    return Object.fromEntries(entries);
  }

  #text(random, { examples = [], pattern }, name) {
    if (/name|prefix/i.test(name)) return random.of(NAMES);
    if (examples.length > 0 && random.is(0.3)) return random.of(examples);
    if (/Id$|^id$|session|delivery|key/.test(name)) return `id-${random.below(50)}-abcdefgh`;
    return pattern === undefined || random.is(0.5) ? random.of(NAMES) : "a1";
  }

  #resolved(schema) {
    if (schema?.$ref === undefined) return schema ?? {};
    return schema.$ref
      .slice(2)
      .split("/")
      .reduce((at, part) => at[part], this.#document);
  }
}

/** What should open a native connection, with frames behind it that come too early. */
function handshake(random, key) {
  const odd = () =>
    String(random.of(TEXTS))
      .replace(/[^\x20-\x7e]/g, "")
      .slice(0, 2_000);
  const lines = [
    `${random.of(["GET", "GET", "GET", "POST", "CONNECT"])} /v1/connect${random.is(0.1) ? `?${odd()}` : ""} HTTP/${random.of(["1.1", "1.1", "1.0", "2.0"])}`,
    "host: x",
    `upgrade: ${random.of(["websocket", "websocket", "WebSocket", "h2c", odd()])}`,
    `connection: ${random.of(["upgrade", "Upgrade", "keep-alive, upgrade", "close"])}`,
    `sec-websocket-version: ${random.of(["13", "13", "13", "8", "99999999999", odd()])}`,
    `sec-websocket-key: ${random.of(["AAAAAAAAAAAAAAAAAAAAAA==", "AAAAAAAAAAAAAAAAAAAAAA==", "short", odd()])}`,
    `sec-websocket-protocol: ${random.of(["lockdb.v1", "lockdb.v1", "lockdb.v1, lockdb.key.AAAA", "lockdb.v2", `${"a,".repeat(500)}lockdb.v1`, odd()])}`,
    random.of([
      `authorization: Bearer ${key}`,
      `authorization: Bearer ${key}`,
      `authorization: ${odd()}`,
      "x: y",
    ]),
    random.of([
      "sec-websocket-extensions: permessage-deflate; server_max_window_bits=99",
      "origin: http://a",
      "x: y",
      "content-length: 5",
    ]),
  ].filter(() => random.is(0.97));
  const whole = Buffer.concat([
    Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1"),
    random.is(0.5) ? random.bytes(40) : Buffer.alloc(0),
  ]);
  return random.is(0.4) ? mangled(random, whole) : whole;
}

/** Examples lead to hosts that are not ours. */
function withoutHosts(value) {
  return JSON.parse(JSON.stringify(value).replace(/https?:\/\/[^"]*/g, WEBHOOKS[0]));
}

function encoded(text) {
  if (text instanceof Raw) return text.text;
  try {
    return encodeURIComponent(text);
  } catch {
    return "%ED%A0%80";
  }
}
