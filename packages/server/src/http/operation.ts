import { setImmediate } from "node:timers/promises";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { type ErrorCode, lockNameProblem, serviceIdProblem } from "lockdb/protocol";
import type { Validator } from "typebox/schema";
import type { KeyCaller } from "../access/index.js";
import { type Loop, type Need, refusalFor, ServiceKey } from "../loop/index.js";
import { AccountId, KeyId } from "./access-schemas.js";
import { isPassedOn } from "./addresses.js";
import { answerFailure, errorBody, Moved, Refusal, refuseTyped } from "./errors.js";
import { type Gate, tellQuota } from "./gate.js";
import { parseJson } from "./json.js";
import { mayBeOriginal } from "./original-routes.js";
import type { OtherMembers } from "./other-members.js";
import { FILE_NAME } from "./page-files.js";
import type { PassingOn, Target } from "./passing-on.js";
import { parseQuery, type Query } from "./query.js";
import { noteRefusal } from "./request-log.js";
import { DeliveryId, LockName, ServiceId, SessionId } from "./schemas.js";
import { type TObject, type TSchema, Type } from "./type.js";

export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

/** An answer of an operation other than a refusal. */
export interface GoodAnswer {
  readonly description: string;
  /** Of a JSON body. */
  readonly schema?: TSchema;
  /** Of any other body. */
  readonly type?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly example?: unknown;
}

/** One row of the table that routes, checks, types and the document are made from. */
export interface Operation {
  readonly id: string;
  readonly method: Method;
  /** Parameters in braces: those of `PARAMS`. */
  readonly path: string;
  readonly tag:
    | "Locks"
    | "Sessions"
    | "Looking"
    | "Operating"
    | "Webhooks"
    | "Access"
    | "The original client"
    | "The server";
  readonly summary: string;
  readonly description: string;
  /** What its caller must be allowed (A2). Null: it needs no key. */
  readonly need: Need | null;
  /** In a cluster only this member serves it. What has a service in its path goes to the one that serves that; all else is served where it comes. */
  readonly goesTo?: "keeper";
  readonly query?: TObject;
  /** Header that it reads, beside the key. */
  readonly headers?: Readonly<Record<string, { readonly schema: TSchema; readonly description: string }>>;
  readonly body?: TObject;
  /** Nothing at all is as good as an object without fields. */
  readonly isBodyOptional?: true;
  /** Several things to send, by what they show. */
  readonly examples?: Readonly<Record<string, object>>;
  readonly answers: Readonly<Record<number, GoodAnswer>>;
  /** All codes that it may be refused with, beside those of every operation. */
  readonly errors: readonly ErrorCode[];
  /** Undefined: `asked.reply` was taken over, or is sent already. */
  readonly handle?: (asked: Asked) => Promise<Good | undefined> | Good | undefined;
}

/** A request that has passed its checks. */
export interface Asked {
  readonly loop: Loop;
  /** Of an operation that needs a key. */
  readonly caller: KeyCaller;
  readonly service: ServiceKey;
  readonly params: Readonly<Record<string, string>>;
  readonly query: Query;
  readonly body: unknown;
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
  /** The other members of the cluster; null: there is none. */
  readonly others: OtherMembers | null;
  /** Passes the request on: what it is about has moved meanwhile. Whoever calls this has given no answer, and gives none any more but by `refuse`. */
  readonly passOn: (refuse: () => void) => void;
}

/** What is sent when all went well. */
export interface Good {
  readonly status: number;
  readonly body: object | string;
  readonly type?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export const PARAMS: Readonly<Record<string, TSchema>> = {
  service: ServiceId,
  name: LockName,
  session: SessionId,
  delivery: DeliveryId,
  key: KeyId,
  account: AccountId,
  file: Type.String({
    pattern: FILE_NAME,
    description: "As the page names it.",
    examples: ["index-AbC123.js"],
  }),
};

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] as const;
const NO_QUERY = Type.Object({});
/** Of operations without a service, which look at none. */
const NO_SERVICE = new ServiceKey("", "");

/** Checks are made so long after the server began to listen, unless they are asked for before: it has better things to do then. */
const CHECKS_MADE_AFTER_MS = 1_000;

/** Codes that an operation may be refused with because of what it is, and not of what it does. */
export function commonErrors({ need, body, path, query }: Operation): readonly ErrorCode[] {
  const takesInput = path.includes("{") || query !== undefined || body !== undefined;
  return [
    "INVALID",
    ...(need === null ? [] : (["UNAUTHORIZED", "RATE_LIMITED", "UNAVAILABLE"] as const)),
    ...(need !== null && need.scopes.length > 0 ? (["FORBIDDEN"] as const) : []),
    ...(need?.isNewLock ? (["TRIAL_ENDED"] as const) : []),
    ...(need?.isAct ? (["LIMIT_EXCEEDED"] as const) : []),
    ...(takesInput && body !== undefined ? (["TOO_LARGE"] as const) : []),
    ...(path.includes("{service}") ? (["LIMIT_EXCEEDED"] as const) : []),
    "INTERNAL",
  ];
}

export interface OperationParts {
  readonly gate: Gate;
  readonly loop: Loop;
  /** Null: there is no cluster. */
  readonly passing: PassingOn | null;
  readonly others: OtherMembers | null;
}

/** Adds the routes of operations, and for each of their paths what other methods are told. */
export function addOperations(
  app: FastifyInstance,
  operations: readonly Operation[],
  { gate, loop, passing, others }: OperationParts,
): void {
  app.removeAllContentTypeParsers();
  // Whatever its type is called, a body is JSON: `curl -d` says that it is a form.
  app.addContentTypeParser("*", { parseAs: "buffer" }, (_request, bytes, done) => done(null, bytes));
  app.setErrorHandler<Error & { statusCode?: number }>((error, request, reply) => {
    if (error instanceof Refusal) return refuseTyped(reply, error.code, error.message, error.details);
    const status = error.statusCode ?? 500;
    if (status === 413) return refuseTyped(reply, "TOO_LARGE");
    if (status < 500) return refuseTyped(reply, "INVALID", `${error.message}.`);
    request.log.error({ err: error }, "a request failed");
    return refuseTyped(reply, "INTERNAL");
  });
  const served = operations.filter(({ handle }) => handle !== undefined);
  const makers: (() => Promise<Check>)[] = [];
  for (const operation of served) {
    // Made when it is first asked for: all of them together would be half of a start.
    let check: Check | null = null;
    const makeCheck = async () => {
      check ??= await checkOf(operation);
      return check;
    };
    makers.push(makeCheck);
    app.route({
      method: operation.method,
      url: operation.path.replace(/\{(\w+)\}/g, ":$1"),
      exposeHeadRoute: operation.method === "GET" && !streams(operation),
      // Before the body is read.
      onRequest: (request, reply, done) => {
        const { need } = operation;
        if (need === null) return done();
        const caller = gate.admit(request.raw);
        if (typeof caller === "string") return void refuseTyped(reply, caller);
        // One that was passed on was counted where it came in.
        const isTaken = isPassedOn(request.raw) || caller.take(need);
        const code = isTaken ? refusalFor(caller, need, serviceIn(request), loop) : "RATE_LIMITED";
        tellQuota(caller, reply.raw);
        if (code !== null) return void refuseTyped(reply, code);
        done();
      },
      handler: async (request, reply) => {
        // Of an operation that needs none, nobody asks for it.
        const caller = gate.callerOf(request.raw);
        const target = passing === null ? null : targetOf(operation, caller, request);
        const refuse = () => void refuseTyped(reply, "UNAVAILABLE");
        if (target !== null && !(await passing!.isHere(target, request, reply, refuse))) return reply;
        const valid = check ?? (await makeCheck());
        // Its key may have become less while the body came, which may take its time (A2).
        const code = operation.need === null ? null : caller.refusal(operation.need, serviceIn(request));
        if (code !== null) return refuseTyped(reply, code);
        const checked = valid(caller?.account ?? "", request);
        const passOn = (refuse: () => void) => {
          if (target === null) refuse();
          else void passing!.after(target, request, reply, refuse);
        };
        const good = await handled(operation, { loop, caller, request, reply, others, passOn, ...checked });
        if (good === undefined) return reply;
        if (!loop.ready) reply.header("connection", "close");
        if (good.type !== undefined) reply.type(good.type);
        return reply
          .code(good.status)
          .headers(good.headers ?? {})
          .send(good.body);
      },
    });
  }
  for (const path of new Set(served.map((each) => each.path))) refuseOthers(app, path, operations);
  callLater(app, makers);
}

/** Calls all of them once the server has been listening for a while, one in each turn of the event loop. */
function callLater(app: FastifyInstance, makers: readonly (() => Promise<Check>)[]): void {
  let timer: NodeJS.Timeout | undefined;
  const callAll = async () => {
    for (const make of makers) {
      // What does not work is told to whoever asks for it.
      await make().catch(() => {});
      await setImmediate();
    }
  };
  app.addHook("onListen", (done) => {
    timer = setTimeout(callAll, CHECKS_MADE_AFTER_MS).unref();
    done();
  });
  app.addHook("onClose", (_app, done) => {
    clearTimeout(timer);
    done();
  });
}

/** Which member has to serve it; null: any. What is no service id is refused by any. */
function targetOf({ goesTo }: Operation, caller: KeyCaller, request: FastifyRequest): Target | null {
  const service = serviceIn(request);
  if (service === null) return goesTo ?? null;
  return serviceIdProblem(service) === null ? new ServiceKey(caller.account, service) : null;
}

/** Which service it is about; null: none. */
function serviceIn(request: FastifyRequest): string | null {
  return (request.params as { readonly service?: string }).service ?? null;
}

async function handled({ handle }: Operation, asked: Asked): Promise<Good | undefined> {
  try {
    return await handle!(asked);
  } catch (error) {
    if (error instanceof Moved) {
      asked.passOn(() => void refuseTyped(asked.reply, "UNAVAILABLE"));
      return undefined;
    }
    if (!asked.reply.sent) throw error;
    answerFailure(asked.request, asked.reply, error);
    return undefined;
  }
}

function refuseOthers(app: FastifyInstance, path: string, operations: readonly Operation[]): void {
  const own = operations.filter((each) => each.path === path);
  const used = new Set<string>(own.map(({ method }) => method));
  if (own.some((each) => each.method === "GET" && !streams(each))) used.add("HEAD");
  const allow = [...used, "OPTIONS"].join(", ");
  app.route({
    method: METHODS.filter((method) => !used.has(method)),
    url: path.replace(/\{(\w+)\}/g, ":$1"),
    onRequest: (request, reply, _done) => {
      reply.header("allow", allow);
      if (request.method === "OPTIONS") return void reply.code(204).send();
      const text = `This address knows ${allow}. Use one of them.`;
      noteRefusal(reply.raw, "INVALID");
      // The original client, at a wrong base address, would take JSON for a lock (C2).
      if (!mayBeOriginal(request.method, request.url))
        return void reply.code(405).send(errorBody("INVALID", text));
      reply.code(405).type("text/plain; charset=utf-8").send(`INVALID: ${text}`);
    },
    handler: () => {},
  });
}

function streams({ answers }: Operation): boolean {
  const types = Object.values(answers).map(({ type }) => type);
  return types.includes("text/event-stream") || types.includes("application/octet-stream");
}

/** Checks all that comes from outside. Throws the refusal. */
type Check = (
  account: string,
  request: FastifyRequest,
) => Pick<Asked, "service" | "params" | "query" | "body">;

async function checkOf(operation: Operation): Promise<Check> {
  const names = [...operation.path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]!);
  const paramsSchema = Type.Object(Object.fromEntries(names.map((name) => [name, PARAMS[name]!])));
  const params = names.length === 0 ? null : await validatorOf(paramsSchema);
  const query = operation.query === undefined ? null : await validatorOf(operation.query);
  const body = operation.body === undefined ? null : await validatorOf(operation.body);
  return (account, request) => {
    const given = request.params as Record<string, string>;
    // The protocol's own words, where it has some.
    const problem =
      (given.service === undefined ? null : serviceIdProblem(given.service)) ??
      (given.name === undefined ? null : lockNameProblem(given.name)) ??
      (params === null ? null : problemOf(params, given, ""));
    if (problem !== null) throw new Refusal("INVALID", problem);
    const asked = parseQuery(request.raw.url ?? "", operation.query ?? NO_QUERY);
    const queryProblem = typeof asked === "string" ? asked : queryProblemOf(query, asked);
    if (queryProblem !== null) throw new Refusal("INVALID", queryProblem);
    return {
      service: given.service === undefined ? NO_SERVICE : new ServiceKey(account, given.service),
      params: given,
      query: asked as Query,
      body: bodyOf(body, request.body as Buffer | undefined, operation.isBodyOptional),
    };
  };
}

function bodyOf(validator: Validator | null, bytes: Buffer = Buffer.alloc(0), isOptional = false): unknown {
  if (validator === null) {
    if (bytes.length > 0) throw new Refusal("INVALID", "This takes no body. Leave it out.");
    return undefined;
  }
  if (isOptional && bytes.length === 0) return {};
  const parsed = parseJson(bytes);
  if ("problem" in parsed) throw new Refusal("INVALID", parsed.problem);
  const problem = problemOf(validator, parsed.value, "body");
  if (problem !== null) throw new Refusal("INVALID", problem);
  return parsed.value;
}

/** The part of typebox that knows values is loaded when the first of them is to be checked. */
async function validatorOf(schema: TSchema): Promise<Validator> {
  const { Compile } = await import("typebox/schema");
  return Compile(schema);
}

function queryProblemOf(validator: Validator | null, query: Query): string | null {
  if (validator !== null) return problemOf(validator, query, "query");
  const [field] = Object.keys(query);
  return field === undefined ? null : unknownField(field);
}

/** What is wrong with a value, in one sentence; null when nothing is. */
function problemOf(validator: Validator, value: unknown, where: string): string | null {
  if (validator.Check(value)) return null;
  const [, errors] = validator.Errors(value);
  const unknown = errors.find(({ keyword }) => keyword === "additionalProperties");
  if (unknown !== undefined) {
    const [field = ""] = (unknown.params as { additionalProperties: string[] }).additionalProperties;
    return unknownField(field);
  }
  const error = errors[0];
  if (error === undefined) return `The ${where} is not valid.`;
  if (error.keyword === "required") {
    const [field = ""] = (error.params as { requiredProperties: string[] }).requiredProperties;
    return `Field ${JSON.stringify(field)} is missing.`;
  }
  const path = error.instancePath.slice(1).replaceAll("/", ".").slice(0, 80);
  const subject = path === "" ? `The ${where}` : `${JSON.stringify(path)}`;
  // It fits none of several forms: what is wrong with the first of them tells little.
  const isChoice = errors.some(({ keyword }) => keyword === "anyOf");
  return isChoice ? `${subject} has none of the forms that it may have.` : `${subject} ${error.message}.`;
}

function unknownField(field: string): string {
  return `Unknown field ${JSON.stringify(field.slice(0, 64))}.`;
}
