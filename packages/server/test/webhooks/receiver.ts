import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";

export interface Received {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** Nothing that is waited for here takes longer. */
const PATIENCE_MS = 15_000;

/** Somebody who gets webhooks: what came, and an answer as the test likes. */
export class Receiver {
  readonly port: number;
  readonly received: Received[] = [];
  connectionCount = 0;
  /** What it answers; by default 200 and nothing. */
  answer: (request: Received, response: ServerResponse) => void = (_request, response) => response.end();
  readonly #server: ReturnType<typeof createServer>;
  readonly #sockets = new Set<Socket>();
  readonly #wakers = new Set<() => void>();

  private constructor(server: ReturnType<typeof createServer>) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
    server.on("connection", (socket: Socket) => {
      this.connectionCount++;
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.once("close", () => this.#sockets.delete(socket));
    });
    server.on("request", (request, response) => void this.#read(request, response));
  }

  static async open({ port = 0, host = "127.0.0.1" } = {}): Promise<Receiver> {
    const server = createServer({ noDelay: true });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject).listen(port, host, resolve);
    });
    return new Receiver(server);
  }

  url(path = "/hook", host = "127.0.0.1"): string {
    return `http://${host}:${this.port}${path}`;
  }

  /** Resolves when so many have come, in all. */
  async count(wanted: number): Promise<readonly Received[]> {
    const endMs = performance.now() + PATIENCE_MS;
    while (this.received.length < wanted) {
      const leftMs = endMs - performance.now();
      if (leftMs <= 0) throw new Error(`${this.received.length} came, and not ${wanted}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#wakers.add(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
    return this.received;
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  async #read(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = "";
    request.setEncoding("utf8");
    for await (const part of request) body += part;
    const { method = "", url = "", headers } = request;
    const received = { method, path: url, headers, body };
    this.received.push(received);
    this.answer(received, response);
    for (const waker of this.#wakers) waker();
    this.#wakers.clear();
  }
}
