import { lookup } from "node:dns/promises";
import { createServer, type RequestListener, type Server } from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { FastifyBaseLogger } from "fastify";
import { requestClass, TrustedProxies } from "./addresses.js";
import type { AnswerHeaders } from "./headers.js";
import type { TlsWatch } from "./tls.js";

/** A request whose headers and body have not arrived by then is cut off. Waiting for an answer has no such limit. */
const REQUEST_MS = 30_000;
const HANDSHAKE_MS = 10_000;
/** Longer than most proxies keep an idle connection: it is for them to end it. */
const KEEP_ALIVE_MS = 72_000;

export interface ListenerParts {
  readonly headers: AnswerHeaders;
  /** As `--trusted-proxies` says it. */
  readonly trustedProxies: string;
  /** What other members of the cluster show; null: there is none. */
  readonly memberSecret: (() => string) | null;
  /** Null: plain text. */
  readonly tls: TlsWatch | null;
  readonly log: FastifyBaseLogger;
}

/** The sockets that the server listens on. For `localhost` there may be two: one of IPv4 and one of IPv6. */
export class Listener {
  readonly #parts: ListenerParts;
  readonly #servers: Server[] = [];
  #handler: RequestListener = () => {};

  constructor(parts: ListenerParts) {
    this.#parts = parts;
  }

  /** Makes the first of them, for the framework. */
  create(handler: RequestListener): Server {
    this.#handler = handler;
    return this.#add();
  }

  /** Listens, once the first one does, on the other addresses of `localhost`. One of them that is not there is no harm. */
  async listenToo(host: string): Promise<void> {
    if (host !== "localhost") return;
    const [first] = this.#servers;
    const { address: own, port } = first!.address() as AddressInfo;
    const others = await lookup(host, { all: true }).catch(() => []);
    for (const { address } of others.filter((other) => other.address !== own)) {
      const server = this.#add();
      for (const event of ["upgrade", "clientError"])
        server.on(event, (...args) => void first!.emit(event, ...args));
      await new Promise<void>((resolve) => {
        server.once("error", () => resolve()).listen(port, address, resolve);
      });
    }
  }

  /** Takes no more connections, and ends those that wait for no answer; with `force` all of them. */
  close(force: boolean): void {
    for (const server of this.#servers) {
      if (force) server.closeAllConnections();
      else server.closeIdleConnections();
    }
    // The first one is the framework's to close.
    for (const server of this.#servers.slice(1)) if (server.listening) server.close();
  }

  #add(): Server {
    const { headers, trustedProxies, memberSecret, tls, log } = this.#parts;
    const options = {
      IncomingMessage: requestClass(new TrustedProxies(trustedProxies), memberSecret),
      ServerResponse: headers.responseClass(),
      requestTimeout: REQUEST_MS,
      keepAliveTimeout: KEEP_ALIVE_MS,
    };
    if (tls === null) {
      const server = createServer(options, this.#handler);
      this.#servers.push(server);
      return server;
    }
    const server = createSecureServer(
      {
        ...options,
        ...tls.material.context,
        handshakeTimeout: HANDSHAKE_MS,
        requestCert: tls.asksClients,
        rejectUnauthorized: tls.asksClients,
      },
      this.#handler,
    );
    server.on("tlsClientError", ({ message }, { remoteAddress }) =>
      log.debug({ reason: message, from: remoteAddress }, "a TLS handshake failed"),
    );
    tls.serve(server);
    this.#servers.push(server as Server);
    return server as Server;
  }
}
