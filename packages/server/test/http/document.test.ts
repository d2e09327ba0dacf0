import { Ajv2020 } from "ajv/dist/2020.js";
import { ERRORS } from "lockdb/protocol";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Server } from "../../src/index.js";
import { Api } from "./api.js";
import { ask, startServer } from "./server.js";

// biome-ignore lint/suspicious/noExplicitAny: the document is looked at as somebody else would.
type Json = any;

let server: Server;
let api: Api;
let document: Json;

beforeAll(async () => {
  server = await startServer({ signup: true });
  api = new Api(server);
  document = (await api.get("/openapi.json", { key: null })).body;
});

afterAll(() => server.close());

const operations = () =>
  Object.entries<Json>(document.paths).flatMap(([path, methods]) =>
    Object.entries<Json>(methods).map(([method, operation]) => ({ path, method, operation })),
  );

/** Every object in the document. */
function* objectsIn(value: Json): Generator<Json> {
  if (typeof value !== "object" || value === null) return;
  yield value;
  for (const inner of Object.values(value)) yield* objectsIn(inner);
}

describe("the OpenAPI document", () => {
  test("[I3e] is 3.1, has all that is served, and every reference in it leads somewhere", () => {
    expect(document.openapi).toBe("3.1.0");
    const ids = operations().map(({ operation }) => operation.operationId);
    expect(new Set(ids).size).toBe(ids.length);
    expect(Object.keys(document.paths)).toEqual(
      expect.arrayContaining([
        "/lock",
        "/livez",
        "/openapi.json",
        "/v1/services/{service}/acquire",
        "/v1/services/{service}/locks/{name}",
        "/v1/services/{service}/events",
        "/v1/services/{service}/settings",
      ]),
    );
    for (const { $ref } of objectsIn(document)) {
      if ($ref === undefined) continue;
      const target = $ref
        .slice(2)
        .split("/")
        .reduce((at: Json, part: string) => at?.[part], document);
      expect(target, $ref).toBeDefined();
    }
  });

  test("[I3f] has each error of each operation, with its status, an example, and Retry-After where it may help", () => {
    const found = new Set<string>();
    for (const { path, operation } of operations()) {
      for (const [status, response] of Object.entries<Json>(operation.responses)) {
        if (Number(status) < 400 || operation.operationId === "readyz" || status === "408") continue;
        for (const content of Object.values<Json>(response.content)) {
          const codes = Object.keys(content.examples);
          expect(codes.length, `${path} ${status}`).toBeGreaterThan(0);
          for (const code of codes as (keyof typeof ERRORS)[]) {
            found.add(code);
            expect(String(ERRORS[code].status), `${path} ${code}`).toBe(status);
          }
        }
        if (status === "429" || status === "503")
          expect(response.headers, path).toHaveProperty("retry-after");
      }
      if (operation.security === undefined) expect(operation.responses, path).toHaveProperty("401");
      expect(operation.responses, path).toHaveProperty("400");
    }
    const all = Object.entries(ERRORS).flatMap(([code, { status }]) => (status === null ? [] : [code]));
    expect(all.filter((code) => !found.has(code))).toEqual([]);
  });

  test("[I3g] its schemas are JSON Schema 2020-12, and all its examples fit them", () => {
    const ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: true });
    const wrong: string[] = [];
    const look = (where: string, schema: object, value: unknown) => {
      const validate = ajv.compile({ ...schema, components: document.components });
      if (!validate(value)) wrong.push(`${where}: ${ajv.errorsText(validate.errors)}`);
    };
    for (const { path, method, operation } of operations()) {
      const parts = [operation.requestBody ?? { content: {} }, ...Object.values<Json>(operation.responses)];
      for (const { content } of parts) {
        for (const { schema, example, examples = {} } of Object.values<Json>(content)) {
          const shown = Object.values<Json>(examples).map(({ value }) => value);
          if (example !== undefined) shown.push(example);
          for (const value of shown) look(`${method} ${path}`, schema, value);
        }
      }
    }
    expect(wrong).toEqual([]);
  });

  test("[I3h] an example of each body is taken by the server", async () => {
    for (const { path, method, operation } of operations()) {
      const examples = operation.requestBody?.content["application/json"]?.examples ?? {};
      for (const { summary, value } of Object.values<Json>(examples)) {
        const url = path
          .replace("{service}", "examples")
          .replace("{key}", "4fZk2Qm0aB")
          .replace("{account}", "acc_7Yw2Lr9sKd");
        const { status, body } = await api.call(method.toUpperCase(), url, {
          ...value,
          ...(value.waitMs === undefined ? {} : { waitMs: 0 }),
        });
        expect(body.error?.code, `${path}: ${summary}`).not.toBe("INVALID");
        expect(status, `${path}: ${summary}`).not.toBe(500);
      }
    }
  });

  test("[A1z] it and its page need no key, and show none", async () => {
    for (const path of ["/openapi.json", "/docs"]) {
      const answer = await api.get(path, { key: null });
      expect(answer.status).toBe(200);
      expect(JSON.stringify(answer.body)).not.toContain(server.rootKey);
    }
  });

  test("[I3i] every address tells which methods it knows", async () => {
    for (const [path, methods] of Object.entries<Json>(document.paths)) {
      const at = path
        .replace("{service}", "reports")
        .replace("{name}", "disk")
        .replace("{session}", "s1234567")
        .replace("{delivery}", "msg_1");
      for (const method of ["PATCH", "OPTIONS", "PUT", "DELETE", "POST", "GET"]) {
        if (methods[method.toLowerCase()] !== undefined) continue;
        const answer = await ask(server, { method, path: at, key: null, body: method === "GET" ? "" : "{}" });
        expect(answer!.status, `${method} ${path}`).toBe(
          method === "OPTIONS" && path !== "/lock" && path !== "/unlock" && path !== "/check" ? 204 : 405,
        );
        for (const known of Object.keys(methods))
          expect(answer!.headers.allow).toContain(known.toUpperCase());
      }
    }
  });

  test("[I3j] HEAD is GET without its body", async () => {
    for (const path of [
      "/livez",
      "/openapi.json",
      "/docs",
      "/v1/services",
      "/v1/services/reports/locks/disk",
    ]) {
      const [head, get] = await Promise.all([
        ask(server, { method: "HEAD", path }),
        ask(server, { method: "GET", path }),
      ]);
      expect(head).toMatchObject({ status: 200, body: "" });
      expect(head!.headers["content-length"]).toBe(get!.headers["content-length"]);
    }
  });
});

describe("the page /docs", () => {
  test("[I3k] has every operation and error, no script, and nothing from another host", async () => {
    const { body: html, headers } = await api.get("/docs", { key: null });
    for (const { operation } of operations()) expect(html).toContain(`id="${operation.operationId}"`);
    for (const code of Object.keys(ERRORS).filter(
      (each) => ERRORS[each as keyof typeof ERRORS].status !== null,
    ))
      expect(html).toContain(code);
    expect(html).not.toMatch(/<script|<link|<img|<iframe|javascript:|\son\w+=/i);
    expect([...html.matchAll(/(?:href|src)="([^"#][^"]*)"/g)].map(([, target]) => target)).toEqual([
      "/openapi.json",
    ]);
    expect(headers.get("content-security-policy")).toMatch(/^default-src 'none'; style-src 'sha256-[^']+'; /);
    expect(headers.get("x-content-type-options")).toBe("nosniff");
  });

  test("[I3m] its examples for curl have no braces in their addresses: curl would take them for a list", async () => {
    const { body: html } = await api.get("/docs", { key: null });
    const addresses = [...html.matchAll(/\$LOCKDB_SERVER_URL(\S*) /g)].map(([, address]) => address);
    expect(addresses).toContain("/v1/keys/4fZk2Qm0aB/rotate");
    expect(addresses.filter((address) => /[{}]/.test(address))).toEqual([]);
  });

  test("[I3l] every link on it leads to a place on it", async () => {
    const { body: html } = await api.get("/docs", { key: null });
    const ids = new Set([...html.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id));
    const targets = [...html.matchAll(/href="#([^"]+)"/g)].map(([, id]) => id);
    expect(targets.filter((id) => !ids.has(id))).toEqual([]);
  });
});
