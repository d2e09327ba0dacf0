// What stands around the blocks of the docs: names that a page uses and does not make.
declare const locker: import("lockdb").LockDB;
declare const error: Error & { readonly details: import("lockdb").ErrorDetails };
declare const lease: import("lockdb").Lease;
declare const apiKey: string;
declare const [url, serverUrl]: readonly string[];
declare const [ca, cert, key]: readonly string[];

declare const invoice: { readonly id: number; readonly amount: number };
declare function charge(what: unknown, options?: { readonly signal?: AbortSignal }): Promise<void>;
declare function settle(options: { readonly token: number }): Promise<number>;
declare function nightly(signal?: AbortSignal): Promise<void>;
declare function read(): Promise<number>;
declare function print(): Promise<void>;
declare function encode(by?: unknown): Promise<void>;
declare function transfer(): Promise<void>;
declare const job: { finishSoon(reason: string): void; run(signal: AbortSignal): Promise<void> };

declare const secret: string;
declare const body: Buffer;
declare const headers: Record<string, string>;

declare const client: {
  query(text: string, values?: (string | number)[]): Promise<{ readonly rows: unknown[] }>;
};
declare const db: {
  get(key: string): number | undefined;
  putSync(key: string, value: unknown): void;
  transaction(work: () => void): Promise<void>;
};
declare const order: number;
declare function readStock(): number;

// Examples in the texts of the packages. Names that the packages export are known there without an import.
declare const server: import("@lockdb/server").Server;
declare const id: string;
declare const request: Request;
declare function transaction(work: (connection: typeof client) => Promise<void>): Promise<void>;

// The guides.
declare function writeStock(left: number, token: number): Promise<void>;
declare function write(): Promise<void>;
declare function send(words?: unknown): Promise<void>;
declare function sendBoth(): Promise<void>;
declare const plan: (lease: import("lockdb").Lease) => Promise<void>;
declare function schedule(
  locker: import("lockdb").LockDB,
  options: { readonly signal: AbortSignal; readonly plan: typeof plan; readonly everyMs: number },
): Promise<void>;
declare const store: object;
declare function raiseFence(
  from: object,
  key: string,
  token: number,
): Promise<{ cents: number; receipt?: string }>;
declare function update<T>(to: object, key: string, token: number, change: (value: object) => T): Promise<T>;
declare function chargeOrder(
  cents: number,
  options: { readonly idempotencyKey: string; readonly signal: AbortSignal },
): Promise<string>;
declare function underLock(
  name: string,
  options: { readonly leftMs: number; readonly waitMs?: number },
  work: (token: number) => unknown,
): Promise<unknown>;
declare function load(file: string, token: number): Promise<string>;
declare function settleInvoice(options: {
  readonly signal: AbortSignal;
  readonly token?: number;
}): Promise<void>;
declare function makeReport(signal?: AbortSignal): Promise<void>;
declare function importAll(signal?: AbortSignal): Promise<void>;

// Packages of others that the guides speak of, as far as they do. Compared by hand with ioredis 5, redlock 5, redis-semaphore 5, pg 8, express 5.
declare module "ioredis" {
  export class Redis {
    set(key: string, value: string, px: "PX", ms: number, nx: "NX"): Promise<"OK" | null>;
    eval(script: string, keyCount: number, ...args: string[]): Promise<unknown>;
  }
}
declare module "redlock" {
  interface LockSignal extends AbortSignal {
    error?: Error;
  }
  export default class Redlock {
    constructor(
      clients: Iterable<import("ioredis").Redis>,
      settings?: { retryCount?: number; retryDelay?: number },
    );
    using<T>(resources: string[], ms: number, routine: (signal: LockSignal) => Promise<T>): Promise<T>;
  }
}
declare module "redis-semaphore" {
  interface Options {
    lockTimeout?: number;
    acquireTimeout?: number;
  }
  export class Mutex {
    constructor(client: import("ioredis").Redis, key: string, options?: Options);
    acquire(): Promise<void>;
    release(): Promise<void>;
  }
  export class Semaphore {
    constructor(client: import("ioredis").Redis, key: string, limit: number, options?: Options);
    acquire(): Promise<void>;
    release(): Promise<void>;
  }
}
declare module "pg" {
  interface Result {
    readonly rows: readonly Record<string, unknown>[];
    readonly rowCount: number | null;
  }
  class Client {
    connect(): Promise<unknown>;
    query(text: string, values?: readonly unknown[]): Promise<Result>;
  }
  class Pool {
    query(text: string, values?: readonly unknown[]): Promise<Result>;
    end(): Promise<void>;
  }
  const pg: { readonly Client: typeof Client; readonly Pool: typeof Pool };
  export default pg;
}
declare module "express" {
  interface App {
    post(
      path: string,
      route: (request: never, response: never, next: (error?: unknown) => void) => unknown,
    ): void;
    listen(port: number): { close(callback: () => unknown): void };
  }
  export default function express(): App;
}
declare module "*/payments.js" {
  export function payRoute(
    locker: import("lockdb").LockDB,
    db: { query(text: string, values?: readonly unknown[]): Promise<unknown> },
    charge: (cents: number, options: { idempotencyKey: string; signal: AbortSignal }) => Promise<string>,
  ): (request: never, response: never, next: (error?: unknown) => void) => Promise<void>;
}
