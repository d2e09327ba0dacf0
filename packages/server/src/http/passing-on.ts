/** Requests about what another member of the cluster serves. */
import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders } from "node:http";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { Place, ServerTotals, ServiceKey } from "../loop/index.js";
import { CALLER_HEADERS, callerHeaders, isPassedOn } from "./addresses.js";
import {
  asksForPart,
  FORWARDED_BY,
  FORWARDED_SECRET,
  type HttpCluster,
  NOT_HERE,
  ONLY_HERE,
  type OtherMember,
  pathOf,
  saysForwarded,
} from "./cluster.js";
import { answerFailure } from "./errors.js";
import { watchHandOver } from "./hand-over.js";
import { type MemberTls, type Upstream, Upstreams } from "./upstreams.js";

const PATIENCE_MS_DEFAULT = 5_000;
/** What a caller has changed is known where he has asked before he is told. If that takes longer, he is told anyway. */
const CAUGHT_UP_MS = 1_000;
/** How soon a member is tried again that could not be reached, or has said that it is not the one, while nothing else is known. */
const RETRY_MS = 500;
/** A line in the log so often at most: each request would make one. */
const WARNED_MS = 10_000;
/** So many may wait so. */
const WAITING_MAX = 1_000;

/** What a request is about: a service, or what the keeper alone may change. */
export type Target = ServiceKey | "keeper";

/** Headers of one connection, which mean nothing on the next, and those that are said anew for it. */
const NOT_PASSED_ON: ReadonlySet<string> = new Set([
  ...["connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization"],
  ...["te", "trailer", "transfer-encoding", "upgrade", "expect", "content-length"],
  ...[...CALLER_HEADERS, FORWARDED_BY, FORWARDED_SECRET, ONLY_HERE],
]);
const NOT_PASSED_BACK: ReadonlySet<string> = new Set([
  ...["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"],
  // It was counted where it came.
  ...["ratelimit", "ratelimit-policy"],
]);

/**
 * What became of a try. `unsent`: there was no connection. `not here`: the member has looked at nothing of it, though it may have waited for the
 * service. `moved`: it served it until the service moved, and nothing of it is left. `failed`: there was no answer, and nobody knows what was done.
 */
export type Outcome = "answered" | "unsent" | "not here" | "moved" | "failed";

/** Passes requests on, each to the member that serves what it is about, and its answer back as it is. */
export class PassingOn {
  readonly #cluster: HttpCluster;
  readonly #upstreams: Upstreams;
  readonly #unwatch: () => void;
  /** Each looks whether it waits any longer. */
  readonly #waiting = new Set<() => void>();
  readonly #totals: Pick<ServerTotals, "passedOn">;
  #isClosed = false;
  #warnedAtMs = Number.NEGATIVE_INFINITY;

  /** @param totals where it is counted what becomes of them */
  constructor(cluster: HttpCluster, tls: () => MemberTls, totals: Pick<ServerTotals, "passedOn">) {
    this.#cluster = cluster;
    this.#totals = totals;
    this.#upstreams = new Upstreams(tls);
    this.#unwatch = cluster.watch(() => {
      for (const look of [...this.#waiting]) look();
    });
  }

  close(): void {
    this.#unwatch();
    this.#isClosed = true;
    for (const look of [...this.#waiting]) look();
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
    const { patienceMs = PATIENCE_MS_DEFAULT } = this.#cluster;
    const { socket } = request.raw;
    let endMs = performance.now() + patienceMs;
    const { raw } = reply;
    // It may have its answer, of which nobody knows yet whether it was read: that is all that there is to it.
    for (let isFirst = true; !socket.destroyed && !raw.headersSent; ) {
      const place = this.#placeOf(target);
      // Only a member may ask what is known here of the keeper's: it puts it together with what all others know.
      const isPart = asksForPart(request.raw) && isPassedOn(request.raw);
      if (place === "here" || (target === "keeper" && isSafe(request.raw) && isPart)) return true;
      const isElsewhere = place !== "nowhere";
      if (isElsewhere && saysForwarded(request.raw)) break;
      const member = isElsewhere ? this.#cluster.others().find(({ url }) => url === place.url) : undefined;
      if (member !== undefined) {
        const isChange = target === "keeper" && !isSafe(request.raw);
        const outcome = await this.#try(member, request, reply, isChange);
        if (outcome === "answered") return false;
        if (outcome === "failed" && !isSafe(request.raw)) break;
        // It may have waited there for long, for its lock. One that was not served there has waited for that, and does not again.
        if (outcome === "moved") endMs = performance.now() + patienceMs;
        // A connection that was kept may have been closed meanwhile: that tells nothing about the member.
        const isOld = outcome === "failed" && isFirst;
        isFirst = false;
        if (isOld) continue;
      }
      const restMs = endMs - performance.now();
      const isOther = () => !isSamePlace(this.#placeOf(target), place);
      // A member that could not be reached may be back at the same address.
      const waitMs = member === undefined ? restMs : Math.min(restMs, RETRY_MS);
      if (restMs <= 0 || !(await this.#until(isOther, waitMs, socket))) break;
    }
    if (raw.headersSent) return false;
    // Whoever passed it on may send it elsewhere.
    if (saysForwarded(request.raw) && !socket.destroyed) reply.raw.setHeader(NOT_HERE, "not here");
    refuse();
    return false;
  }

  /** The same for one that was served here until its service moved. */
  async after(
    target: Target,
    request: FastifyRequest,
    reply: FastifyReply,
    refuse: () => void,
  ): Promise<void> {
    try {
      // Whoever passed it on knows as well as this one where it is now, and waits if it is nowhere.
      if (saysForwarded(request.raw)) {
        if (reply.raw.headersSent) return;
        if (!request.raw.socket.destroyed) reply.raw.setHeader(NOT_HERE, "moved");
        refuse();
      } else if (await this.isHere(target, request, reply, refuse)) refuse();
    } catch (error) {
      answerFailure(request, reply, error);
    }
  }

  #placeOf(target: Target): Place {
    return target === "keeper" ? this.#cluster.keeper() : this.#cluster.placeOf(target);
  }

  /** @returns false when too many wait. Else when it is so, this time is over, or nobody waits any more */
  #until(isSo: () => boolean, ms: number, socket: IncomingMessage["socket"]): Promise<boolean> | boolean {
    if (this.#isClosed || this.#waiting.size >= WAITING_MAX) return false;
    if (isSo()) return true;
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.#waiting.delete(look);
        socket.off("close", end);
        resolve(!this.#isClosed);
      };
      const look = () => {
        if (this.#isClosed || isSo()) end();
      };
      const timer = setTimeout(end, ms);
      this.#waiting.add(look);
      socket.once("close", end);
    });
  }

  async #try(
    member: OtherMember,
    request: FastifyRequest,
    reply: FastifyReply,
    isChange: boolean,
  ): Promise<Outcome> {
    const { socket } = request.raw;
    const upstream = this.#upstreams.of(socket, member.url);
    const over = await upstream.turn();
    const outcome = socket.destroyed
      ? "unsent"
      : await this.#exchange(upstream, member, request, reply, isChange, over);
    this.#totals.passedOn[outcome === "moved" ? "not here" : outcome]++;
    if (outcome !== "answered") over();
    return outcome;
  }

  /** @param isChange of accounts, keys or secrets @param over to be called when nothing more comes of it, where it is answered */
  #exchange(
    upstream: Upstream,
    member: OtherMember,
    request: FastifyRequest,
    reply: FastifyReply,
    isChange: boolean,
    over: () => void,
  ): Promise<Outcome> {
    const { raw } = reply;
    const body = request.body as Buffer | undefined;
    return new Promise((resolve) => {
      const asked = upstream.request({
        method: request.raw.method,
        path: pathOf(request.raw),
        headers: this.#headersFor(member, request.raw, body),
      });
      // Nobody waits for its answer: the member is to know, or it would grant to somebody who is gone.
      const hungUp = () => upstream.reset();
      raw.once("close", hungUp);
      const end = (outcome: Outcome) => {
        raw.off("close", hungUp);
        resolve(outcome);
      };
      asked.once("error", (error) => {
        if (!raw.destroyed) this.#warn(member, request, error);
        end(upstream.wasConnected ? "failed" : "unsent");
      });
      asked.once("response", (answer) => {
        // From here on its end is told by the answer.
        asked.on("error", () => {});
        const notHere = answer.headers[NOT_HERE];
        if (answer.statusCode === 503 && notHere !== undefined) {
          const outcome = notHere === "moved" ? "moved" : "not here";
          answer.once("error", () => end(outcome)).once("end", () => end(outcome));
          answer.resume();
          return;
        }
        const pass = () => {
          end("answered");
          // Somebody else has answered meanwhile, such as the end of its key.
          if (raw.headersSent) {
            upstream.reset();
            return over();
          }
          passBack(answer, request, reply, upstream, over);
        };
        if (!isChange || (answer.statusCode ?? 0) >= 400) return pass();
        void this.#caughtUp().then(pass);
      });
      asked.end(body);
    });
  }

  /** A key that was just made works here, and one that was revoked does not. */
  async #caughtUp(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, CAUGHT_UP_MS);
    });
    await Promise.race([this.#cluster.caughtUp?.().catch(() => {}), late]);
    clearTimeout(timer);
  }

  #warn({ id, url }: OtherMember, { log }: FastifyRequest, err: Error): void {
    const nowMs = performance.now();
    if (nowMs - this.#warnedAtMs < WARNED_MS) return;
    this.#warnedAtMs = nowMs;
    log.warn({ err, member: id, url }, "a request could not be passed on to another member");
  }

  #headersFor(member: OtherMember, raw: IncomingMessage, body: Buffer | undefined): OutgoingHttpHeaders {
    const isBodyless = body === undefined && isSafe(raw);
    return {
      ...passed(raw.headers, NOT_PASSED_ON),
      ...(isBodyless ? {} : { "content-length": body?.length ?? 0 }),
      ...callerHeaders(raw),
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

function isSamePlace(one: Place, other: Place): boolean {
  if (typeof one === "string" || typeof other === "string") return one === other;
  return one.url === other.url;
}

/** Asked twice it does the same as once, and grants nothing. */
function isSafe({ method }: IncomingMessage): boolean {
  return method === "GET" || method === "HEAD";
}
