import { ERRORS, type ErrorCode } from "lockdb/protocol";
import { errorBody, retryAfterS } from "./errors.js";
import { LOOKING } from "./looking-schemas.js";
import { commonErrors, type GoodAnswer, type Operation, PARAMS } from "./operation.js";
import { COMPONENTS } from "./schemas.js";
import type { TSchema } from "./type.js";

type Json = Readonly<Record<string, unknown>>;

const ABOUT = `Locks for microservices. Everything that the TypeScript client can do, but for its speed.

Every request needs \`Authorization: Bearer\` and an API key, unless it says otherwise. Bodies are JSON in UTF-8, at most 64 KiB, whatever
their \`Content-Type\` says; unknown fields, and fields that are there twice, are refused. Times are whole milliseconds.

Every refusal has one shape, with a stable \`code\`; 429 and 503 say in \`Retry-After\` when to try again. Of the original client's three
routes, refusals are plain text. An address that exists answers 405 with \`Allow\` to other methods. What is no HTTP request is answered 400,
408, 417 or 431 without a body, and the connection closed.

A lease counts from when the server has processed what you sent. So count it from before you sent it, take off 3 % for clocks that differ and a
margin for your own work, and stop when it is over: then nobody else is inside yet.`;

/** The OpenAPI document of these operations. */
export function openApiDocument(operations: readonly Operation[], version: string): Json {
  const paths: Record<string, Record<string, Json>> = {};
  for (const operation of operations) {
    paths[operation.path] ??= {};
    paths[operation.path]![operation.method.toLowerCase()] = describe(operation);
  }
  const tags = [...new Set(operations.map(({ tag }) => tag))].map((name) => ({ name }));
  return {
    openapi: "3.1.0",
    info: {
      title: "LockDB",
      version,
      description: ABOUT,
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: "/" }],
    security: [{ key: [] }],
    tags,
    paths,
    components: {
      securitySchemes: { key: { type: "http", scheme: "bearer", description: "An API key." } },
      schemas: Object.fromEntries(
        Object.entries(NAMED).map(([name, schema]) => [name, plain(schema, schema)]),
      ),
    },
  };
}

function describe(operation: Operation): Json {
  const { id, tag, summary, description, need, answers } = operation;
  return {
    operationId: id,
    tags: [tag],
    summary,
    description,
    ...(need === null ? { security: [] } : {}),
    parameters: parametersOf(operation),
    ...requestBody(operation),
    responses: {
      ...Object.fromEntries(Object.entries(answers).map(([status, answer]) => [status, goodAnswer(answer)])),
      ...refusals(operation),
    },
  };
}

function parametersOf({ path, query, headers = {} }: Operation): readonly Json[] {
  const names = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]!);
  const required = (query?.required ?? []) as readonly string[];
  return [
    ...names.map((name) => parameter(name, "path", PARAMS[name]!, true)),
    ...Object.entries((query?.properties ?? {}) as Record<string, TSchema>).map(([name, schema]) =>
      parameter(name, "query", schema, required.includes(name)),
    ),
    ...Object.entries(headers).map(([name, { schema, description }]) => ({
      ...parameter(name, "header", schema, false),
      description,
    })),
  ];
}

function parameter(name: string, where: string, schema: TSchema, required: boolean): Json {
  return { name, in: where, required, schema: plain(schema) };
}

function requestBody({ body, isBodyOptional, examples = {}, tag }: Operation): Json {
  if (body === undefined) return {};
  const shown = Object.fromEntries(
    Object.entries(examples).map(([summary, value], at) => [`example${at + 1}`, { summary, value }]),
  );
  // That client says that its JSON is text.
  const type = tag === "The original client" ? "text/plain" : "application/json";
  const content = { [type]: { schema: plain(body), examples: shown } };
  return { requestBody: { required: isBodyOptional !== true, content } };
}

function goodAnswer({ description, schema, type, headers = {}, example }: GoodAnswer): Json {
  const content: Record<string, Json> = {};
  if (type !== undefined) content[type] = { schema: { type: "string" } };
  if (schema !== undefined)
    content["application/json"] = { schema: plain(schema), ...(example === undefined ? {} : { example }) };
  const shown = Object.entries(headers).map(([name, text]) => [
    name,
    { description: text, schema: { type: "string" } },
  ]);
  return { description, ...(shown.length === 0 ? {} : { headers: Object.fromEntries(shown) }), content };
}

/** The codes that an operation may be refused with, by their statuses. */
export function errorsByStatus(operation: Operation): ReadonlyMap<number, readonly ErrorCode[]> {
  const codes = [...new Set([...commonErrors(operation), ...operation.errors])];
  const statuses = [...new Set(codes.map((code) => ERRORS[code].status!))].sort();
  return new Map(statuses.map((status) => [status, codes.filter((code) => ERRORS[code].status === status)]));
}

function refusals(operation: Operation): Json {
  const isPlain = operation.tag === "The original client";
  return Object.fromEntries(
    [...errorsByStatus(operation)].map(([status, codes]) => [
      status,
      {
        description: codes.join(", "),
        ...(retryAfterS(codes[0]!) === null ? {} : { headers: RETRY_AFTER }),
        content: isPlain ? plainRefusal(codes) : jsonRefusal(codes),
      },
    ]),
  );
}

const RETRY_AFTER = {
  "retry-after": {
    description: "Seconds until it is worth trying again.",
    schema: { type: "string", pattern: "^\\d+$" },
  },
};

function jsonRefusal(codes: readonly ErrorCode[]): Json {
  const only = { properties: { error: { properties: { code: { enum: codes } } } } };
  const examples = Object.fromEntries(codes.map((code) => [code, { summary: code, value: errorBody(code) }]));
  return {
    "application/json": { schema: { allOf: [{ $ref: "#/components/schemas/Error" }, only] }, examples },
  };
}

function plainRefusal(codes: readonly ErrorCode[]): Json {
  const examples = Object.fromEntries(
    codes.map((code) => {
      const { message } = ERRORS[code];
      return [code, { summary: code, value: code === "UNAUTHORIZED" ? message : `${code}: ${message}` }];
    }),
  );
  const pattern = codes.includes("UNAUTHORIZED") ? "^Unauthorized$" : `^(${codes.join("|")}): `;
  return { "text/plain": { schema: { type: "string", pattern }, examples } };
}

const NAMED = { ...COMPONENTS, ...LOOKING };
const NAMES = new Map<unknown, string>(Object.entries(NAMED).map(([name, schema]) => [schema, name]));

/** A schema as the document has it: those with a name of their own are referred to. */
function plain(schema: unknown, whole?: unknown): unknown {
  const name = NAMES.get(schema);
  if (name !== undefined && schema !== whole) return { $ref: `#/components/schemas/${name}` };
  if (Array.isArray(schema)) return schema.map((each) => plain(each));
  if (typeof schema !== "object" || schema === null) return schema;
  return Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, plain(value)]));
}
