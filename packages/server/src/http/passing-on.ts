/** Requests about what another member of the cluster serves. */
import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders } from "node:http";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { Place, ServiceKey } from "../loop/index.js";
import { callerTold, isPassedOn, requestIdOf } from "./addresses.js";
import {
  FORWARDED_BY,
  FORWARDED_SECRET,
  type HttpCluster,
  NOT_HERE,
  ONLY_HERE,
  type OtherMember,
  saysForwarded,
} from "./cluster.js";
import { watchHandOver } from "./hand-over.js";
import { type MemberTls, type Upstream, Upstreams } from "./upstreams.js";

/** How long a request waits for what it is about to be served somewhere. */
const PATIENCE_MS = 5_000;
/** So many may wait so. */
const WAITING_MAX = 1_000;

/** What a request is about: a service, or what the keeper alone may change. */
export type Target = ServiceKey | "keeper";

/** Headers of one connection, which mean nothing on the next, and those that are said anew for it. */
const NOT_PASSED_ON: ReadonlySet<string> = new Set([
  ...["connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization"],
  ...["te", "trailer", "transfer-encoding", "upgrade", "expect", "content-length"],
  ...["forwarded", "x-forwarded-for", "x-request-id", FORWARDED_BY, FORWARDED_SECRET, ONLY_HERE],
]);
const NOT_PASSED_BACK: ReadonlySet<string> = new Set([
  ...["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"],
]);

/**
 * What became of a try. `unsent`: there was no connection. `not here`: the member has looked at nothing of it. `failed`: there was no answer, and
 * nobody knows what was done.
 */
type Outcome = "answered" | "unsent" | "not here" | "failed";

/** Passes requests on, each to the member that serves what it is about, and its answer back as it is. */
export class PassingOn {
  readonly #cluster: HttpCluster;
  readonly #upstreams: Upstreams;
  readonly #unwatch: () => void;
  readonly #waiting = new Set<() => void>();
  /** How often places may have changed. */
  #changes = 0;

  constructor(cluster: HttpCluster, tls: () => MemberTls) {
    this.#cluster = cluster;
    this.#upstreams = new Upstreams(tls);
    this.#unwatch = cluster.watch(() => {
      this.#changes++;
      for (const wake of [...this.#waiting]) wake();
    });
  }

  close(): void {
    this.#unwatch();
    for (const wake of [...this.#waiting]) wake();
  }

  /**
   * True when the request is to be served here. Else it is answered, or has been refused: it is over for whoever asks. Its body was read.
   * @param refuse says `UNAVAILABLE`, in the form that the caller takes for a refusal
   */
  async isHere(
    target: Target,
    request: FastifyRequest,
    reply: FastifyReply,
    refuse: () => void,
  ): Promise<boolean> {
    const endMs = performance.now() + PATIENCE_MS;
    const { socket } = request.raw;
    for (let reused = 0; ; ) {
      const seen = this.#changes;
      const place = this.#placeOf(target);
      if (place === "here" || (target === "keeper" && asksForPart(request.raw))) return true;
      if (socket.destroyed) break;
      const isElsewhere = place !== "nowhere";
      if (isElsewhere && saysForwarded(request.raw)) break;
      const member = isElsewhere ? this.#cluster.others().find(({ url }) => url === place.url) : undefined;
      if (member !== undefined) {
        const upstream = this.#upstreams.of(socket, member.url);
        const over = await upstream.turn();
        const outcome = socket.destroyed
          ? "unsent"
          : await this.#exchange(upstream, member, request, reply, over);
        if (outcome === "answered") return false;
        over();
        const mayRepeat = outcome !== "failed" || isSafe(request.raw);
        if (!mayRepeat || socket.destroyed) break;
        // A connection that was kept may have been closed meanwhile: that tells nothing about the member.
        if (outcome === "failed" && reused++ === 0) continue;
      }
      if (!(await this.#change(seen, endMs - performance.now(), socket))) break;
    }
    // Whoever passed it on may send it elsewhere.
    if (saysForwarded(request.raw)) reply.header(NOT_HERE, this.#cluster.selfId);
    refuse();
    return false;
  }

  #placeOf(target: Target): Place {
    return target === "keeper" ? this.#cluster.keeper() : this.#cluster.placeOf(target);
  }

  /** Waits until places may have changed since. @returns false when they have not in this time, or nobody waits any more */
  #change(seen: number, ms: number, socket: IncomingMessage["socket"]): Promise<boolean> | boolean {
    if (this.#changes !== seen) return ms > 0;
    if (ms <= 0 || this.#waiting.size >= WAITING_MAX) return false;
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        this.#waiting.delete(wake);
        socket.off("close", wake);
        resolve(this.#changes !== seen);
      };
      const timer = setTimeout(wake, ms);
      this.#waiting.add(wake);
      socket.once("close", wake);
    });
  }

  /** @param over to be called when nothing more comes of it, where it is answered */
  #exchange(
    upstream: Upstream,
    member: OtherMember,
    request: FastifyRequest,
    reply: FastifyReply,
    over: () => void,
  ): Promise<Outcome> {
    const { raw } = reply;
    const body = request.body as Buffer | undefined;
    return new Promise((resolve) => {
      const asked = upstream.request({
        method: request.raw.method,
        path: request.raw.url,
        headers: this.#headersFor(member, request.raw, body),
      });
      // Nobody waits for its answer: the member is to know, or it would grant to somebody who is gone.
      const hungUp = () => upstream.reset();
      raw.once("close", hungUp);
      const end = (outcome: Outcome) => {
        raw.off("close", hungUp);
        resolve(outcome);
      };
      asked.once("error", () => end(upstream.wasConnected ? "failed" : "unsent"));
      asked.once("response", (answer) => {
        // From here on its end is told by the answer.
        asked.on("error", () => {});
        if (answer.statusCode === 503 && answer.headers[NOT_HERE] !== undefined) {
          answer.once("error", () => end("not here")).once("end", () => end("not here"));
          answer.resume();
          return;
        }
        end("answered");
        passBack(answer, request, reply, upstream, over);
      });
      asked.end(body);
    });
  }

  #headersFor(member: OtherMember, raw: IncomingMessage, body: Buffer | undefined): OutgoingHttpHeaders {
    const isBodyless = body === undefined && isSafe(raw);
    return {
      ...passed(raw.headers, NOT_PASSED_ON),
      ...(isBodyless ? {} : { "content-length": body?.length ?? 0 }),
      "x-forwarded-for": callerTold(raw),
      "x-request-id": requestIdOf(raw),
      [FORWARDED_BY]: this.#cluster.selfId,
      [FORWARDED_SECRET]: member.secret,
    };
  }
}

/** Writes a member's answer as it is. What it says of itself comes first: what this server says of every answer is said once. */
function passBack(
  answer: IncomingMessage,
  request: FastifyRequest,
  reply: FastifyReply,
  upstream: Upstream,
  over: () => void,
): void {
  const { raw } = reply.hijack();
  const { socket } = request.raw;
  const isEndless =
    answer.headers["content-length"] === undefined && answer.headers["transfer-encoding"] === undefined;
  if (raw.destroyed || socket.destroyed) {
    upstream.reset();
    return over();
  }
  if (isSafe(request.raw)) {
    raw.once("close", () => {
      if (!raw.writableFinished) upstream.reset();
      over();
    });
  } else {
    // What it has granted is taken back there when nobody has read it here (Q7).
    watchHandOver(socket, raw, (wasRead) => {
      if (!wasRead) upstream.reset();
      over();
    });
  }
  answer.once("error", () => raw.destroy());
  const hasBody = raw.req.method !== "HEAD" && answer.statusCode !== 204 && answer.statusCode !== 304;
  // The end of the connection is the end of a stream.
  if (isEndless && hasBody) raw.removeHeader("transfer-encoding");
  raw.writeHead(answer.statusCode!, {
    ...passed(answer.headers, NOT_PASSED_BACK),
    ...(isEndless && hasBody ? { connection: "close" } : {}),
  });
  if (isEndless) raw.flushHeaders();
  answer.pipe(raw);
}

/** Without those that are in this list, and those that the header `connection` names. */
function passed(headers: IncomingHttpHeaders, not: ReadonlySet<string>): OutgoingHttpHeaders {
  const named = new Set((headers.connection ?? "").split(",").map((name) => name.trim().toLowerCase()));
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !not.has(name) && !named.has(name)));
}

/** True when another member puts an answer together, and asks for what is here of it. */
function asksForPart(request: IncomingMessage): boolean {
  return request.headers[ONLY_HERE] !== undefined && isSafe(request) && isPassedOn(request);
}

/** Asked twice it does the same as once, and grants nothing. */
function isSafe({ method }: IncomingMessage): boolean {
  return method === "GET" || method === "HEAD";
}
