import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { type Server, serve } from "@lockdb/server";
import LockDB from "lockdb";
import { afterAll, beforeAll, vi } from "vitest";
import { execute } from "../../src/cli/main.js";

/** The command line as it is installed. */
export const BIN = fileURLToPath(new URL("../../bin/lockdb.js", import.meta.url));

export type Env = Readonly<Record<string, string>>;

/** Our environment without what LockDB reads, and with what a test gives. */
export function envOf(env: Env): Record<string, string | undefined> {
  const others = Object.entries(process.env).filter(([name]) => !name.startsWith("LOCKDB_"));
  return { ...Object.fromEntries(others), ...env };
}

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command line that runs. */
export class Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Outcome>;
  stdout = "";
  stderr = "";

  constructor(args: readonly string[], env: Env = {}, options: { readonly cwd?: string } = {}) {
    this.child = spawn(process.execPath, [BIN, ...args], {
      env: envOf(env),
      stdio: ["ignore", "pipe", "pipe"],
      ...options,
    });
    this.child.stdout!.setEncoding("utf8").on("data", (text: string) => {
      this.stdout += text;
    });
    this.child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text;
    });
    // Not "close": what a command leaves behind may hold on to its output.
    this.ended = once(this.child, "exit").then(async ([code]) => {
      await Promise.all([this.child.stdout!, this.child.stderr!].map((stream) => drained(stream)));
      return { code, stdout: this.stdout, stderr: this.stderr };
    });
  }

  /** Waits until the output matches. @throws Error when it ended without */
  async until(pattern: RegExp): Promise<RegExpExecArray> {
    let isOver = false;
    const over = this.ended.then(() => {
      isOver = true;
    });
    for (;;) {
      const match = pattern.exec(this.stdout) ?? pattern.exec(this.stderr);
      if (match !== null) return match;
      if (isOver) throw new Error(`It ended without ${pattern}: ${this.stdout}${this.stderr}`);
      await Promise.race([once(this.child.stdout!, "data"), once(this.child.stderr!, "data"), over]);
    }
  }
}

/** Runs a command line to its end. */
export function cli(args: readonly string[], env: Env = {}): Promise<Outcome> {
  return new Running(args, env).ended;
}

/** Runs a command line in this process, from the sources: a hundred times quicker. One at a time. */
export async function inProcess(args: readonly string[], env: Env = {}): Promise<Outcome> {
  const written = { stdout: "", stderr: "" };
  for (const name of Object.keys(process.env)) if (name.startsWith("LOCKDB_")) vi.stubEnv(name, undefined);
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
  const spies = (["stdout", "stderr"] as const).map((stream) => {
    return vi.spyOn(process[stream], "write").mockImplementation((text, done) => {
      written[stream] += text;
      if (typeof done === "function") (done as () => void)();
      return true;
    });
  });
  const exitCode = process.exitCode;
  process.exitCode = undefined;
  try {
    await execute(args);
    return { code: Number(process.exitCode ?? 0), ...written };
  } finally {
    process.exitCode = exitCode;
    for (const spy of spies) spy.mockRestore();
    vi.unstubAllEnvs();
  }
}

/** A real server for the tests of a file, a client of it that others see as "host db3", and what commands need to reach it. */
export function servedCli() {
  const served = {} as { server: Server; holder: LockDB; env: Env };
  beforeAll(async () => {
    const server = await serve({ port: 0, store: "memory", logLevel: "silent" });
    const { url: serverUrl, rootKey: apiKey } = server;
    const env = { LOCKDB_SERVER_URL: serverUrl, LOCKDB_API_KEY: apiKey, LOCKDB_SERVICE_ID: "reports" };
    Object.assign(served, { server, env });
    served.holder = new LockDB("reports", { serverUrl, apiKey, owner: "host db3" });
  });
  afterAll(async () => {
    await served.holder.close();
    await served.server.close();
  });
  return served;
}

/** What was written before the process ended may still be in the pipe. */
async function drained(stream: NodeJS.ReadableStream & { readonly readableEnded?: boolean }): Promise<void> {
  if (stream.readableEnded) return;
  const isDone = once(stream, "end");
  const isHeldOpen = new Promise((resolve) => setTimeout(resolve, 250).unref());
  await Promise.race([isDone, isHeldOpen]);
}
