/** Connections to other members, for requests that are passed on. */
import { Agent, type ClientRequest, type RequestOptions, request as sendRequest } from "node:http";
import { connect, isIP, type Socket } from "node:net";
import { connect as secureConnect, type TLSSocket } from "node:tls";

/** A member that takes no connection by then is not there. */
const CONNECT_MS = 2_000;
/** How long a member may take to close its side, after we have closed ours. */
const CLOSING_MS = 5_000;

/** How other members are told from others who may listen at their addresses, and who we say we are. All PEM. */
export interface MemberTls {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

/**
 * One connection to a member for one connection that came here: what happens at the end of that one happens to this one too, so that a member
 * knows of callers that are not its own whether they have hung up, and whether they have read what they were granted (Q7).
 */
export class Upstream {
  readonly #url: URL;
  readonly #agent: OneConnection;
  /** Requests on it follow each other. */
  #turn: Promise<void> = Promise.resolve();

  constructor(url: string, tls: MemberTls) {
    this.#url = new URL(url);
    this.#agent = new OneConnection(this.#url, tls);
  }

  /** True until it has an end. */
  get isOpen(): boolean {
    return this.#agent.isOpen;
  }

  /** Waits until all that was asked on it before is over. @returns what says that this one is over */
  async turn(): Promise<() => void> {
    const before = this.#turn;
    let over = () => {};
    this.#turn = new Promise<void>((resolve) => {
      over = resolve;
    });
    await before;
    return over;
  }

  /** @param path with the query. @throws Error for what cannot be a request */
  request(options: Pick<RequestOptions, "method" | "path" | "headers">): ClientRequest {
    const { hostname: host, port, pathname } = this.#url;
    const path = pathname.replace(/\/+$/, "") + options.path;
    return sendRequest({ ...options, path, host, port, agent: this.#agent });
  }

  /** True when a connection to the member came to be. */
  get wasConnected(): boolean {
    return this.#agent.wasConnected;
  }

  /** Its caller has hung up, or has not read what was granted: the member is told so by a reset. */
  reset(): void {
    this.#agent.reset();
  }

  /** Its caller is gone, and has read all that there was. */
  end(): void {
    this.#agent.end();
  }
}

/** Keeps one connection alive, and ends it as it is told. */
class OneConnection extends Agent {
  readonly #url: URL;
  readonly #tls: MemberTls;
  /** Below TLS, where there is some: only that can be reset. */
  #raw: Socket | null = null;
  #socket: Socket | null = null;
  isOpen = true;
  wasConnected = false;

  constructor(url: URL, tls: MemberTls) {
    super({ keepAlive: true, maxSockets: 1, maxFreeSockets: 1 });
    this.#url = url;
    this.#tls = tls;
  }

  override createConnection(): Socket {
    const { hostname, protocol, port } = this.#url;
    const isSecure = protocol === "https:";
    const host = hostname.replace(/^\[|\]$/g, "");
    const raw = connect({ host, port: Number(port || (isSecure ? 443 : 80)), noDelay: true });
    const servername = isIP(host) === 0 ? host : "";
    const socket = isSecure ? secureConnect({ ...this.#tls, socket: raw, host, servername }) : raw;
    this.wasConnected = false;
    const timer = setTimeout(() => socket.destroy(new Error("no connection in time")), CONNECT_MS);
    socket.once(isSecure ? "secureConnect" : "connect", () => {
      this.wasConnected = true;
    });
    for (const event of ["connect", "secureConnect", "close"]) {
      if (!isSecure || event !== "connect") socket.once(event, () => clearTimeout(timer));
    }
    socket.on("error", () => {});
    if (isSecure) raw.on("error", (error) => (socket as TLSSocket).destroy(error));
    // What comes while nothing is asked is nothing; unread, it would make a reset of a good end.
    socket.on("data", () => {});
    this.#raw = raw;
    this.#socket = socket;
    return socket;
  }

  reset(): void {
    this.isOpen = false;
    this.#raw?.resetAndDestroy();
    this.#socket?.destroy();
  }

  end(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    const socket = this.#socket;
    if (socket === null || socket.destroyed) return;
    // Its other side is still read: the member makes sure with a byte or two that nobody has reset this, and must not be told so.
    socket.end();
    const timer = setTimeout(() => socket.destroy(), CLOSING_MS);
    timer.unref();
    socket.once("close", () => clearTimeout(timer));
  }
}

/** All of them, by the connections that they are for. */
export class Upstreams {
  readonly #tls: () => MemberTls;
  readonly #bySocket = new WeakMap<Socket, Map<string, Upstream>>();

  constructor(tls: () => MemberTls) {
    this.#tls = tls;
  }

  of(socket: Socket, url: string): Upstream {
    const all = this.#bySocket.get(socket) ?? this.#begin(socket);
    const known = all.get(url);
    if (known?.isOpen) return known;
    const upstream = new Upstream(url, this.#tls());
    all.set(url, upstream);
    return upstream;
  }

  #begin(socket: Socket): Map<string, Upstream> {
    const all = new Map<string, Upstream>();
    this.#bySocket.set(socket, all);
    socket.once("close", () => {
      // When all who look at this end have said what it means: some are reset then.
      queueMicrotask(() => {
        for (const upstream of all.values()) upstream.end();
      });
    });
    return all;
  }
}
