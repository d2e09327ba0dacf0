import { connect, type Socket } from "node:net";
import { clockMs } from "./processes.js";

const UPGRADE =
  "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n" +
  "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-protocol: lockdb.v1\r\n";

export interface WaitOptions {
  readonly method: string;
  readonly path: string;
  readonly apiKey: string;
  readonly body?: object;
  /** It asks for the native protocol. */
  readonly upgrades?: boolean;
}

/** One HTTP request on a connection of its own, of which it is seen when something of the answer comes, and when the connection ends. */
export class HttpWait {
  /** The first bytes of its answer. */
  answeredMs: number | null = null;
  closedMs: number | null = null;
  /** All that was read, headers too. */
  text = "";
  readonly #socket: Socket;
  readonly #wakers = new Set<() => void>();

  constructor(url: string, { method, path, apiKey, body, upgrades = false }: WaitOptions) {
    const { hostname: host, port } = new URL(url);
    const socket = connect({ host, port: Number(port), noDelay: true });
    this.#socket = socket;
    const content = body === undefined ? "" : JSON.stringify(body);
    socket.once("connect", () =>
      socket.write(
        `${method} ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${apiKey}\r\n${upgrades ? UPGRADE : "connection: close\r\n"}` +
          `content-length: ${Buffer.byteLength(content)}\r\n\r\n${content}`,
      ),
    );
    socket.setEncoding("utf8").on("data", (text) => {
      this.answeredMs ??= clockMs();
      this.text += text;
      this.#wake();
    });
    socket.on("error", () => {});
    socket.once("close", () => {
      this.closedMs = clockMs();
      this.#wake();
    });
  }

  get status(): number {
    return Number(/^HTTP\/1\.1 (\d+)/.exec(this.text)?.[1] ?? 0);
  }

  /** Until something of it is so. */
  async until(isSo: (wait: HttpWait) => boolean): Promise<this> {
    while (!isSo(this)) await new Promise<void>((resolve) => this.#wakers.add(resolve));
    return this;
  }

  close(): void {
    this.#socket.destroy();
  }

  #wake(): void {
    const wakers = [...this.#wakers];
    this.#wakers.clear();
    for (const waker of wakers) waker();
  }
}
