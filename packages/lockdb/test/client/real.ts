import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { type Server, serve } from "@lockdb/server";
import LockDB, { type LockDBError } from "lockdb";
import { afterAll, afterEach, beforeAll, beforeEach, expect, vi } from "vitest";

export type Options = NonNullable<ConstructorParameters<typeof LockDB>[1]>;

export interface Real {
  readonly server: Server;
  /** A lock name of this test's own. */
  readonly name: string;
  /** A client of the server, closed after the test. */
  client(options?: Options): LockDB;
  /** Closes this one too after the test. */
  closing<T extends LockDB>(locker: T): T;
}

/** A real server for the tests of a file, which see nothing of the environment that LockDB reads. */
export function realServer(): Real {
  let server: Server;
  let number = 0;
  const open: LockDB[] = [];
  beforeAll(async () => {
    for (const variable of Object.keys(process.env)) {
      if (variable.startsWith("LOCKDB_")) vi.stubEnv(variable, undefined);
    }
    server = await serve({ port: 0, store: "memory", logLevel: "silent" });
  });
  beforeEach(() => {
    number++;
  });
  afterEach(async () => {
    await Promise.all(open.splice(0).map((locker) => locker.close()));
  });
  afterAll(() => server.close());
  const closing = <T extends LockDB>(locker: T): T => {
    open.push(locker);
    return locker;
  };
  const client = (options: Options = {}) =>
    closing(new LockDB("reports", { apiKey: server.rootKey, serverUrl: server.url, ...options }));
  return {
    get server() {
      return server;
    },
    get name() {
      return `lock ${number}`;
    },
    client,
    closing,
  };
}

/** A way to a server that can be cut. */
export async function wireTo(url: string) {
  const sockets = new Set<Socket>();
  const proxy = createServer((near) => {
    const far = connect(Number(new URL(url).port), "127.0.0.1");
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on("error", () => {}).on("close", () => sockets.delete(socket));
    }
    near.pipe(far).pipe(near);
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  const { port } = proxy.address() as { port: number };
  const cut = () => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  const close = () => {
    cut();
    proxy.close();
  };
  return { url: `http://127.0.0.1:${port}`, cut, close };
}

export async function errorOf(promise: Promise<unknown>): Promise<LockDBError> {
  return promise.then(
    () => expect.unreachable("It did not reject."),
    (error) => error,
  );
}
