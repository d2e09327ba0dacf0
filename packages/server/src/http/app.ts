import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  fastify,
  LogController,
} from "fastify";
import {
  CONNECT_PATH,
  ERRORS,
  type ErrorCode,
  KEY_SUBPROTOCOL,
  SUBPROTOCOL,
  WIRE_LIMITS,
} from "lockdb/protocol";
import type { Access, KeyCaller } from "../access/index.js";
import { Connection, type Loop, TO_CONNECT } from "../loop/index.js";
import { metricsText, ProcessMeter } from "../metrics/index.js";
import type { Webhooks } from "../webhooks/index.js";
import { requestIdOf } from "./addresses.js";
import { httpApi } from "./api/index.js";
import { type HttpCluster, NO_CLUSTER } from "./cluster.js";
import type { Facts } from "./diagnosis.js";
import { errorBody, errorHeaders, refuseTyped } from "./errors.js";
import { EventHub } from "./event-hub.js";
import { Gate } from "./gate.js";
import { noteRequest } from "./hand-over.js";
import { AnswerHeaders, type Headers } from "./headers.js";
import { Listener } from "./listener.js";
import { mayBeOriginal, originalRoutes } from "./original-routes.js";
import { OtherMembers } from "./other-members.js";
import { PassingOn } from "./passing-on.js";
import { noteRefusal, watchAnswers } from "./request-log.js";
import type { TlsWatch } from "./tls.js";
import type { MemberTls } from "./upstreams.js";
import { version } from "./version.js";
import { handshakeProblem, protocolsIn, ServerWebSocket, VERSION_HEADER } from "./web-socket.js";

/** To a call of the original routes that comes with `Upgrade`, as HTTP/2 clients send it: it is not JSON (C2). */
const UPGRADE_REFUSED = "INVALID: Leave out the Upgrade header.";

interface UpgradeParts {
  readonly gate: Gate;
  readonly loop: Loop;
  readonly headers: AnswerHeaders;
  readonly logger: FastifyBaseLogger;
}

/** How long clients have to close their side when the server stops, or refuses to speak with them. */
const CLOSING_MS = 1_000;

export interface HttpParts {
  readonly access: Access;
  readonly loop: Loop;
  /** Absent: nothing of webhooks is shown. */
  readonly webhooks?: Webhooks;
  /** Anyone may start a trial (A4). */
  readonly signup?: boolean;
  readonly logger: FastifyBaseLogger;
  /** Absent: plain text. */
  readonly tls?: TlsWatch | undefined;
  /** As the options of these names say it; default: none. */
  readonly trustedProxies?: string;
  readonly allowOrigins?: string;
  /** Absent: this server is by itself. */
  readonly cluster?: HttpCluster | undefined;
  readonly facts?: Facts;
}

const NO_FACTS: Facts = { host: "127.0.0.1", isLoopback: true, dataDir: null, waitersMax: 100_000 };

export interface HttpServer {
  readonly app: FastifyInstance;
  /** @throws Error of the operating system when that address or port cannot be had */
  listen(where: { readonly host: string; readonly port: number }): Promise<void>;
  /** Ends every connection: politely, then after a second by force. */
  close(): Promise<void>;
  /** How much is logged from now on, by requests that begin then. */
  setLogLevel(level: string): void;
}

/** The one port: health, the original routes, and the native protocol's upgrade. */
export async function httpServer(parts: HttpParts): Promise<HttpServer> {
  const { access, loop, webhooks, signup = false, logger } = parts;
  const { tls = null, trustedProxies = "", allowOrigins = "", cluster, facts = NO_FACTS } = parts;
  const gate = new Gate(access, loop, logger);
  const headers = new AnswerHeaders({ isTls: tls !== null, allowOrigins });
  const memberSecret = cluster === undefined ? null : () => cluster.secret;
  const listener = new Listener({ headers, trustedProxies, memberSecret, tls, log: logger });
  const memberTls = () => ({
    ...(cluster?.shown ?? shownOf(tls)),
    ...(cluster?.ca === undefined ? {} : { ca: cluster.ca }),
  });
  const passing = cluster === undefined ? null : new PassingOn(cluster, memberTls, loop.totals);
  const others = cluster === undefined ? null : new OtherMembers(cluster, memberTls);
  const meter = new ProcessMeter();
  meter.start();
  const requestLogger = logger.child({}, { level: requestLevel(logger.level) });
  const app = fastify({
    serverFactory: (handler) => listener.create(handler),
    loggerInstance: requestLogger,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: "requestId" }),
    genReqId: requestIdOf,
    bodyLimit: WIRE_LIMITS.messageBytesMax,
    forceCloseConnections: false,
    // Its answer would be JSON, which the original client takes for success (C2); ours says the same in plain text.
    return503OnClosing: false,
    clientErrorHandler: (error, socket) => refuseBroken(error, socket, headers.of(undefined)),
    // A path that cannot be decoded.
    frameworkErrors: (_error, request, reply) => void refuse(request, reply, "INVALID"),
    schemaController: { compilersFactory: { buildValidator: noSchemas, buildSerializer: noSchemas } },
    routerOptions: { maxParamLength: 2_048, ignoreDuplicateSlashes: true, ignoreTrailingSlash: true },
  });
  app.removeContentTypeParser("text/plain");
  app.setNotFoundHandler((request, reply) => refuse(request, reply, "NOT_FOUND"));
  app.setErrorHandler<Error & { statusCode?: number }>((error, request, reply) => {
    const status = error.statusCode ?? 500;
    const code: ErrorCode = status === 413 ? "TOO_LARGE" : status < 500 ? "INVALID" : "INTERNAL";
    if (code === "INTERNAL") request.log.error({ err: error }, "a request failed");
    return refuse(request, reply, code);
  });

  app.addHook("onRequest", (request, reply, done) => {
    noteRequest(request.raw.socket);
    if (!headers.isPreflight(request.raw)) return done();
    reply.code(204).send();
  });
  watchAnswers(app, loop.totals);
  const hub = new EventHub(loop);
  const tlsEndsAtMs = () => tls?.material.endsAtMs ?? null;
  const sources = {
    ...{ loop, access, webhooks, process: meter, version: version(), events: hub, tlsEndsAtMs },
    cluster: cluster?.meter ?? null,
  };
  await app.register(originalRoutes, { gate, loop, passing });
  await app.register(httpApi, {
    ...{ access, gate, loop, hub, webhooks, signup, passing, others },
    records: () => cluster?.records?.() ?? null,
    cluster: async () => (cluster === undefined ? NO_CLUSTER : cluster.status()),
    metrics: () => metricsText(sources),
    problem: () => cluster?.problem ?? null,
    ...{ sources, facts },
  });

  const sockets = upgrades(app, { gate, loop, headers, logger });
  await app.ready();
  const listen = async ({ host, port }: { readonly host: string; readonly port: number }) => {
    await app.listen({ host, port });
    await listener.listenToo(host);
  };
  const close = () => {
    meter.stop();
    passing?.close();
    others?.close();
    return closeAll(app, listener, sockets);
  };
  const setLogLevel = (level: string) => {
    logger.level = level;
    requestLogger.level = requestLevel(level);
  };
  return { app, listen, close, setLogLevel };
}

/** What this server shows to others as who it is. */
function shownOf(tls: TlsWatch | null): MemberTls {
  if (tls === null) return {};
  const { cert, key } = tls.material.context;
  return { cert, key };
}

/** The framework's own notes, such as where it listens, are not for the log of every start. */
function requestLevel(level: string): string {
  return level === "info" ? "warn" : level;
}

/** No route has a schema of Fastify's kind. What compiles them would be the greater part of Fastify to load. */
function noSchemas(): never {
  throw new Error("Schemas are checked beside Fastify.");
}

function endOnError(socket: Duplex): void {
  socket.on("error", () => socket.destroy());
}

/** Serves the native protocol (I2). Authentication comes before anything else. */
function upgrades(
  app: FastifyInstance,
  { gate, loop, headers, logger }: UpgradeParts,
): ReadonlySet<ServerWebSocket> {
  const sockets = new Set<ServerWebSocket>();
  // With a scope of its own: what is kept for as long as a connection must not keep its request too.
  const accepted = (client: ServerWebSocket, socket: Duplex, caller: KeyCaller, requestId: string) => {
    sockets.add(client);
    const facts = { requestId, account: caller.account, key: caller.label };
    logger.debug(facts, "a connection is open");
    loop.totals.connectionsOpened++;
    loop.totals.connectionsOpen++;
    socket.once("close", () => {
      sockets.delete(client);
      loop.totals.connectionsOpen--;
      logger.debug({ ...facts, status: client.status }, "a connection has ended");
    });
    new Connection(client, loop, caller, (error) =>
      logger.error({ ...facts, err: error }, "a connection failed"),
    );
  };
  app.server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    endOnError(socket);
    noteRequest(socket as Socket);
    const said = headers.of(request);
    const refuse = (code: ErrorCode, message?: string, more: Headers = {}) => {
      loop.totals.refusedWith(code);
      refuseUpgrade(socket, { ...said, ...more }, code, message);
    };
    if (mayBeOriginal(request.method, request.url)) {
      loop.totals.refusedWith("INVALID");
      return endWith(socket, "400 INVALID", { ...said, ...PLAIN }, UPGRADE_REFUSED);
    }
    const offered = protocolsIn(request);
    const caller = gate.admit(request, request.headers.authorization ?? authorizationIn(offered ?? []));
    if (request.url?.split("?")[0] !== CONNECT_PATH) return refuse("NOT_FOUND");
    if (typeof caller === "string") return refuse(caller);
    const originProblem = headers.originProblem(request);
    if (originProblem !== null) return refuse("FORBIDDEN", originProblem);
    const code = caller.take(TO_CONNECT) ? caller.refusal(TO_CONNECT, null) : "RATE_LIMITED";
    if (code !== null) return refuse(code);
    if (offered?.includes(SUBPROTOCOL) !== true)
      return refuse("INVALID", `Offer the subprotocol ${SUBPROTOCOL}.`);
    const problem = handshakeProblem(request);
    if (problem !== null) return refuse("INVALID", problem, VERSION_HEADER);
    if (!loop.ready) return refuse("UNAVAILABLE");
    const leave = gate.enter(caller);
    if (leave === null) return refuse("LIMIT_EXCEEDED");
    socket.once("close", leave);
    // It has gone meanwhile.
    if (!socket.readable || !socket.writable) return socket.destroy();
    // In one piece: Node makes a UUID of forty, and a connection would keep them all.
    const requestId = Buffer.from(requestIdOf(request), "latin1").toString("latin1");
    const client = new ServerWebSocket(request, socket as Socket, head, {
      protocol: SUBPROTOCOL,
      headers: linesOf(said),
      messageBytesMax: WIRE_LIMITS.frameBytesMax,
    });
    accepted(client, socket, caller, requestId);
  });
  return sockets;
}

/** The key that a browser offers as a subprotocol, since it cannot set headers, as the header it would have set. */
function authorizationIn(offered: readonly string[]): string | undefined {
  const key = offered.find((name) => name.startsWith(KEY_SUBPROTOCOL))?.slice(KEY_SUBPROTOCOL.length);
  return key === undefined ? undefined : `Bearer ${Buffer.from(key, "base64url").toString("latin1")}`;
}

/**
 * A refusal outside the original routes: in the one shape (E), unless the original client may have come here by a wrong
 * base address. It must not take the refusal for a lock (C2).
 */
function refuse(request: FastifyRequest, reply: FastifyReply, code: ErrorCode): FastifyReply {
  if (!mayBeOriginal(request.method, request.url)) return refuseTyped(reply, code);
  const { status, message } = ERRORS[code];
  noteRefusal(reply.raw, code);
  return reply.code(status!).type("text/plain; charset=utf-8").send(`${code}: ${message}`);
}

/** Bytes that are no HTTP request: a short refusal, then the end of that connection. */
function refuseBroken(error: Error & { code?: string }, socket: Socket, headers: Headers): void {
  // Anything else is no fault of what was said: the connection broke, or TLS never came to be on it.
  const isSaid = /^(HPE|ERR_HTTP)_/.test(error.code ?? "");
  if (!socket.writable || !isSaid) return void socket.destroy();
  const isLarge = error.code === "HPE_HEADER_OVERFLOW";
  const isLate = error.code === "ERR_HTTP_REQUEST_TIMEOUT";
  const status = isLarge ? "431 Too Large" : isLate ? "408 Request Timeout" : "400 Bad Request";
  endWith(socket, status, { ...headers, ...PLAIN }, "");
}

const PLAIN = { "content-type": "text/plain; charset=utf-8" };

function refuseUpgrade(socket: Duplex, headers: Headers, code: ErrorCode, message?: string): void {
  const body = JSON.stringify(errorBody(code, message));
  const type = { "content-type": "application/json; charset=utf-8" };
  endWith(socket, `${ERRORS[code].status} ${code}`, { ...headers, ...type, ...errorHeaders(code) }, body);
}

/**
 * Last words, then the end of the connection, whether the other side closes too or not. A request that still waits on it
 * is over with it: its caller has had an answer, and would not look for another (Q7).
 */
function endWith(socket: Duplex, status: string, headers: Headers, body: string): void {
  socket.once("finish", () => socket.destroy());
  // Answers before it may never be read.
  const tooLate = setTimeout(() => socket.destroy(), CLOSING_MS);
  socket.once("close", () => clearTimeout(tooLate));
  const all = { ...headers, "content-length": String(Buffer.byteLength(body)), connection: "close" };
  socket.end(`HTTP/1.1 ${status}\r\n${linesOf(all).join("\r\n")}\r\n\r\n${body}`);
}

function linesOf(headers: Headers): string[] {
  return Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
}

async function closeAll(
  app: FastifyInstance,
  listener: Listener,
  sockets: ReadonlySet<ServerWebSocket>,
): Promise<void> {
  const closed = app.close();
  for (const socket of sockets) socket.close(1001);
  listener.close(false);
  const force = setTimeout(() => {
    for (const socket of sockets) socket.terminate();
    listener.close(true);
  }, CLOSING_MS);
  await closed;
  clearTimeout(force);
}
