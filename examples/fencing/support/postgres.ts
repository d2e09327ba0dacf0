import { type ChildProcess, type ChildProcessByStdio, fork, spawn } from "node:child_process";
import { existsSync, readdirSync, realpathSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const SERVER = fileURLToPath(new URL("private-postgres.js", import.meta.url));
const PROGRAMS = ["initdb", "postgres", "psql"];
const [FIELD, RECORD] = ["\x1f", "\x1e"];
const WAITS_MS_MAX = 5_000;

/** What a test waits for in the database at most, in milliseconds. Over it the statement fails. */
const STATEMENT_MS_MAX = 8_000;

/** The folder of PostgreSQL's programs, or null and a warning. */
export function findPostgres(): string | null {
  if (process.platform !== "win32") {
    for (const folder of likelyFolders()) {
      if (PROGRAMS.every((program) => existsSync(join(folder, program)))) return folder;
    }
  }
  console.warn(
    "SKIPPED: the fencing statements were not tested, since there is no PostgreSQL here (Debian: postgresql).",
  );
  return null;
}

function likelyFolders(): string[] {
  // On Debian only the client is on the PATH.
  const versions = "/usr/lib/postgresql";
  const debian = existsSync(versions)
    ? readdirSync(versions)
        .sort((a, b) => Number(b) - Number(a))
        .map((version) => join(versions, version, "bin"))
    : [];
  const onPath = (process.env.PATH ?? "")
    .split(delimiter)
    .map((folder) => join(folder, "initdb"))
    .filter((path) => existsSync(path))
    .map((path) => dirname(realpathSync(path)));
  return [...onPath, ...debian];
}

/** A server of its own for one test file. */
export class PrivatePostgres {
  readonly #programs: string;
  readonly #server: ChildProcess;
  readonly #folder: string;
  readonly #connections: Connection[] = [];

  private constructor(programs: string, server: ChildProcess, folder: string) {
    this.#programs = programs;
    this.#server = server;
    this.#folder = folder;
  }

  static async start(programs: string): Promise<PrivatePostgres> {
    const server = fork(SERVER, [programs], { execArgv: [], stdio: ["ignore", "ignore", "pipe", "ipc"] });
    let stderr = "";
    server.stderr!.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    const folder = await new Promise<string>((resolve, reject) => {
      server.once("message", (message) => resolve((message as { folder: string }).folder));
      server.once("exit", () => reject(new Error(`PostgreSQL did not start.\n${stderr}`)));
    });
    return new PrivatePostgres(programs, server, folder);
  }

  connect(): Connection {
    const connection = new Connection(join(this.#programs, "psql"), this.#folder);
    this.#connections.push(connection);
    return connection;
  }

  /** Their open transactions are rolled back. */
  async closeConnections(): Promise<void> {
    await Promise.all(this.#connections.splice(0).map((connection) => connection.close()));
  }

  async stop(): Promise<void> {
    await this.closeConnections();
    const exited = new Promise((resolve) => this.#server.once("exit", resolve));
    this.#server.disconnect();
    await exited;
  }
}

interface Result {
  readonly rows: readonly Readonly<Record<string, string>>[];
  readonly rowCount: number;
}

interface Waiting {
  resolve(result: Result): void;
  reject(error: Error): void;
}

/** One `psql`, which is one connection, with the `query` of a usual client. Every value of a row is a string. */
export class Connection {
  readonly #psql: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #exited: Promise<void>;
  readonly #waiting: Waiting[] = [];
  #output = "";
  #errors = "";
  #queryCount = 0;

  constructor(psql: string, folder: string) {
    const format = ["-P", "footer=off", "-F", FIELD, "-R", RECORD];
    this.#psql = spawn(psql, ["-X", "-q", "-A", ...format, "-h", folder, "-U", "tester", "-d", "postgres"], {
      env: { PGOPTIONS: `-c statement_timeout=${STATEMENT_MS_MAX} -c client_min_messages=warning` },
      stdio: ["pipe", "pipe", "pipe"],
    });
    this.#psql.stdout.setEncoding("utf8").on("data", (text: string) => this.#read(text));
    this.#psql.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#errors += text;
    });
    this.#psql.stdin.on("error", () => {}); // It ended; those who wait are told below.
    this.#exited = new Promise((resolve) => {
      this.#psql.once("close", () => {
        for (const { reject } of this.#waiting.splice(0)) reject(new Error(`psql ended.\n${this.#errors}`));
        resolve();
      });
    });
  }

  /** The statement is prepared as it stands and then executed, as clients with `$1` do. Errors have their SQLSTATE. */
  query(text: string, values: readonly (string | number)[] = []): Promise<Result> {
    const name = `query_${++this.#queryCount}`;
    const given = values.map((value) => `'${String(value).replaceAll("'", "''")}'`).join(", ");
    const statement = text.trimEnd().replace(/;$/, "");
    const script =
      values.length === 0
        ? `${statement};`
        : `PREPARE ${name} AS ${statement};\n\\if :ERROR\n\\else\nEXECUTE ${name}(${given});\n\\endif`;
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#psql.stdin.write(
        `${script}\n\\echo ${RECORD}done :SQLSTATE :ROW_COUNT :LAST_ERROR_MESSAGE ${RECORD}\n`,
      );
    });
  }

  async close(): Promise<void> {
    this.#psql.stdin.end();
    await this.#exited;
  }

  #read(text: string): void {
    this.#output += text;
    for (;;) {
      const end = new RegExp(`${RECORD}done (\\w{5}) (\\d+) ([^]*?) ${RECORD}\n`).exec(this.#output);
      if (end === null) return;
      const [line, state, rowCount, message] = end;
      const table = this.#output.slice(0, end.index).replace(/\n$/, "");
      this.#output = this.#output.slice(end.index + line.length);
      const waiting = this.#waiting.shift()!;
      if (state === "00000") waiting.resolve({ rows: rowsOf(table), rowCount: Number(rowCount) });
      else waiting.reject(Object.assign(new Error(message), { code: state }));
    }
  }
}

function rowsOf(table: string): Record<string, string>[] {
  if (table === "") return [];
  const [names, ...records] = table.split(RECORD).map((record) => record.split(FIELD));
  return records.map((record) => Object.fromEntries(names!.map((name, at) => [name, record[at]!])));
}

/** Resolves when any connection waits for the transaction of another. */
export async function untilOneWaits(observer: Connection): Promise<void> {
  const deadline = performance.now() + WAITS_MS_MAX;
  while (performance.now() < deadline) {
    const { rowCount } = await observer.query(
      "SELECT FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0",
    );
    if (rowCount > 0) return;
    await sleep(10);
  }
  throw new Error("Nobody waits.");
}
