import { type ChildProcess, fork } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ServerMessage } from "lockdb/protocol";
import { CANARY_KEY } from "../../packages/server/test/canary.js";

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const CLI = path("../../packages/lockdb/bin/lockdb.js");

/** Nothing that is waited for here takes longer. */
const ANSWER_MS = 30_000;

export const ROOT_KEY = CANARY_KEY;

/** Milliseconds on the monotonic clock that all processes of this machine share. */
export function clockMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** What a child tells by itself. */
export interface Notice {
  readonly kind: string;
  readonly [field: string]: unknown;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** When this process heard of it: the end itself was a little earlier. */
  readonly atMs: number;
}

/** A process of its own, with a mailbox. It ends with this one, whatever happens. */
export class Child {
  readonly pid: number;
  readonly exited: Promise<Exit>;
  stdout = "";
  stderr = "";
  readonly #process: ChildProcess;
  readonly #calls = new Map<number, { resolve(value: never): void; reject(error: Error): void }>();
  #notices: Notice[] = [];
  readonly #watchers = new Set<() => void>();
  #callCount = 0;
  #exit: Exit | null = null;

  constructor(script: string, args: readonly string[], env: NodeJS.ProcessEnv = {}, execArgv: string[] = []) {
    const { PATH, TMPDIR } = process.env;
    this.#process = fork(script, args, {
      execArgv: ["--import", path("leave-with-parent.mjs"), ...execArgv],
      env: { PATH, TMPDIR, ...env },
      stdio: ["ignore", "pipe", "pipe", "ipc"],
    });
    this.pid = this.#process.pid!;
    this.#process.stdout!.setEncoding("utf8").on("data", (text: string) => {
      this.stdout += text;
      this.#changed();
    });
    this.#process.stderr!.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text;
    });
    this.#process.on("message", (message) => this.#read(message as Record<string, unknown>));
    this.exited = new Promise((resolve) => {
      // 'close' comes when its output is read to the end, too.
      this.#process.once("close", (code, signal) => {
        this.#exit = { code, signal, atMs: clockMs() };
        this.#changed();
        for (const { reject } of this.#calls.values()) reject(this.#gone());
        resolve(this.#exit);
      });
    });
  }

  /** Has the child do something, and gives its result. */
  call<T>(op: string, given: object = {}): Promise<T> {
    if (this.#exit !== null) return Promise.reject(this.#gone());
    const id = ++this.#callCount;
    const result = new Promise<T>((resolve, reject) => {
      this.#calls.set(id, { resolve, reject });
      this.#process.send({ id, op, ...given }, () => {});
    });
    // Whoever awaits it later gets the error then; until that it is nobody's.
    result.catch(() => {});
    return result;
  }

  /** The first notice of a kind that was not taken yet. */
  async next<T extends Notice>(
    kind: string,
    fits: (notice: T) => boolean = () => true,
    withinMs = ANSWER_MS,
  ): Promise<T> {
    const isIt = (notice: Notice) => notice.kind === kind && fits(notice as T);
    await this.#until(() => this.#notices.some(isIt), `a notice "${kind}"`, withinMs);
    return this.#notices.splice(this.#notices.findIndex(isIt), 1)[0] as T;
  }

  /** Forgets the notices of a kind that nobody has taken. */
  forget(kind: string): void {
    this.#notices = this.#notices.filter((notice) => notice.kind !== kind);
  }

  /** The first line of its output that fits. */
  async line(pattern: RegExp): Promise<RegExpExecArray> {
    await this.#until(() => pattern.test(this.stdout), `output like ${pattern}`);
    return pattern.exec(this.stdout)!;
  }

  kill(signal: NodeJS.Signals): Promise<Exit> {
    this.signal(signal);
    return this.exited;
  }

  signal(signal: NodeJS.Signals): void {
    if (this.#exit === null) this.#process.kill(signal);
  }

  #read(message: Record<string, unknown>): void {
    if (typeof message.kind === "string") {
      this.#notices.push(message as Notice);
      return this.#changed();
    }
    const call = this.#calls.get(message.id as number);
    this.#calls.delete(message.id as number);
    if (message.error === undefined) return call?.resolve(message.value as never);
    const { name, code, message: text } = message.error as Record<string, string>;
    call?.reject(Object.assign(new Error(text), { name, code }));
  }

  #until(isThere: () => boolean, what: string, withinMs = ANSWER_MS): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = (error?: Error) => {
        clearTimeout(timer);
        this.#watchers.delete(look);
        if (error === undefined) resolve();
        else reject(error);
      };
      const look = () => {
        if (isThere()) done();
        else if (this.#exit !== null) done(this.#gone());
      };
      const timer = setTimeout(() => done(new Error(`${what} did not come. ${this.stderr}`)), withinMs);
      this.#watchers.add(look);
      look();
    });
  }

  #changed(): void {
    for (const look of [...this.#watchers]) look();
  }

  #gone(): Error {
    return new Error(`the process ended: ${JSON.stringify(this.#exit)} ${this.stderr}`);
  }
}

export interface ServerOptions {
  readonly port: number;
  readonly dataDir: string;
  readonly store: "lmdb" | "memory";
  /** More flags. */
  readonly flags?: readonly string[];
}

/** `lockdb serve` in a process of its own, on one folder and port: it can be ended and started again. */
export class ServerProcess {
  readonly url: string;
  readonly port: number;
  readonly dataDir: string;
  child: Child;
  /** When this process read that the server listens. */
  readyMs = 0;
  /** Before this moment the present server process did not exist. */
  startedMs = 0;
  readonly #start: () => Child;

  constructor(start: () => Child, { port, dataDir }: ServerOptions) {
    this.port = port;
    this.dataDir = dataDir;
    this.url = `http://127.0.0.1:${port}`;
    this.#start = start;
    this.child = this.#spawn();
  }

  async ready(): Promise<void> {
    await this.child.line(/listens on/);
    this.readyMs = clockMs();
  }

  /** Starts it again, after it has ended. */
  async restart(): Promise<void> {
    this.child = this.#spawn();
    await this.ready();
  }

  #spawn(): Child {
    this.startedMs = clockMs();
    return this.#start();
  }
}

/** What the commanded client says of a lock it got. */
export interface Granted {
  readonly token: number;
  readonly ticket: number | null;
  readonly askedMs: number;
  readonly atMs: number;
}

/** What the raw client says of a message from the server. */
export interface RawNotice extends Notice {
  readonly message: ServerMessage;
  readonly atMs: number;
}

/** All processes and folders of a test file. `end` leaves nothing behind. */
export class Processes {
  readonly #children = new Set<Child>();
  readonly #folders: string[] = [];

  folder(): string {
    const folder = mkdtempSync(join(tmpdir(), "lockdb-processes-"));
    this.#folders.push(folder);
    return folder;
  }

  async server(options: Partial<ServerOptions> = {}): Promise<ServerProcess> {
    const { port = await freePort(), dataDir = this.folder(), store = "lmdb", flags = [] } = options;
    const all = { port, dataDir, store, flags };
    const server = new ServerProcess(() => this.serve(all), all);
    await server.ready();
    return server;
  }

  /** Starts `lockdb serve`, without waiting for it. */
  serve({ port, dataDir, store, flags = [] }: ServerOptions): Child {
    const args = ["--port", String(port), "--data-dir", dataDir, "--store", store, "--log-level", "warn"];
    return this.#add(new Child(CLI, ["serve", ...args, ...flags], { LOCKDB_ROOT_KEY: ROOT_KEY }));
  }

  /** Any other command, to its end. */
  async cli(
    args: readonly string[],
    env: NodeJS.ProcessEnv = {},
  ): Promise<Child & { readonly code: number | null }> {
    const child = this.#add(new Child(CLI, args, env));
    const { code } = await child.exited;
    return Object.assign(child, { code });
  }

  /** A script of this folder, with little memory. `given` is its one argument. */
  script(name: string, given: object): Child {
    return this.#add(new Child(path(name), [JSON.stringify(given)], {}, ["--max-old-space-size=64"]));
  }

  /** A process with a client that does what it is told. */
  async client(server: ServerProcess, options: object = {}): Promise<Child> {
    const child = this.script("client.mjs", {
      service: "processes",
      serverUrl: server.url,
      apiKey: ROOT_KEY,
      ...options,
    });
    await child.next("ready");
    return child;
  }

  /** A process that speaks the native protocol by itself, and sends no heartbeats. */
  async raw(server: ServerProcess, options: { leaseMs: number }): Promise<Child> {
    const child = this.script("raw-client.mjs", {
      service: "processes",
      ...options,
      serverUrl: server.url,
      apiKey: ROOT_KEY,
    });
    await child.next<RawNotice>("message", ({ message }) => message[0] === "welcome");
    return child;
  }

  async end(): Promise<void> {
    await Promise.all([...this.#children].map((child) => child.kill("SIGKILL")));
    for (const folder of this.#folders) rmSync(folder, { recursive: true, force: true });
  }

  #add(child: Child): Child {
    this.#children.add(child);
    return child;
  }
}

/** Until a condition holds that no event tells of. */
export async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const endMs = clockMs() + ANSWER_MS;
  while (!(await isSo())) {
    if (clockMs() > endMs) throw new Error(`not so in time: ${what}`);
  }
}

/** Resident memory of a process. */
export function memoryMib({ pid }: Child): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)![1]) / 1_024;
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/**
 * A port below those that systems give to outgoing connections: while a server is down, none of its clients can get
 * its port as their own, and so connect to themselves.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 15_000 + Math.floor(Math.random() * 15_000);
    const probe = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      probe.once("error", () => resolve(false));
      probe.listen(port, "127.0.0.1", () => resolve(true));
    });
    await new Promise((resolve) => probe.close(resolve));
    if (isFree) return port;
  }
}
