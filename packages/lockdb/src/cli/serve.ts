import { type Command, Option } from "commander";
import { SERVER_URL_DEFAULT } from "./args.js";
import { EXIT, ExitError, UsageError, type Voice, warn } from "./exit.js";
import { ENDING, onSignals, signalExitCode } from "./signals.js";

/** A stop that takes longer is cut off, so that all is over within five seconds. */
const STOP_MS = 4_500;

const VOICE: Voice = { command: "serve", json: false };

// A variable, so that the compiler does not look for a package that is built after this one.
const SERVER_PACKAGE: string = "@lockdb/server";

/** What is used of `@lockdb/server`: an optional peer, which most clients do without. */
export interface ServerPackage {
  readonly OPTIONS: Readonly<Record<string, OptionRow>>;
  readOptions(
    flags: Readonly<Record<string, string>>,
    env: NodeJS.ProcessEnv,
  ): { readonly options: ServeOptions; readonly warnings: readonly string[] };
  serve(options: ServeOptions): Promise<Server>;
  // Of `lockdb store`.
  checkBackup(path: string): Promise<{ readonly at: string; readonly records: number }>;
  writeBackup(
    path: string,
    pieces: AsyncIterable<Uint8Array>,
    check?: (path: string) => Promise<void>,
  ): Promise<void>;
  restoreBackup(
    file: string,
    directory: string,
    options: { readonly keepHolds?: boolean; readonly tokensAbove?: number },
  ): Promise<Restored>;
  inspectStore(path: string): Promise<StoreSummary>;
  copyStore(
    from: string,
    to: string,
  ): Promise<{ readonly kind: string; readonly from: string; readonly to: string; readonly records: number }>;
}

export interface Restored {
  readonly directory: string;
  readonly backupAt: string;
  readonly records: number;
  readonly leftOut: { readonly sessions: number; readonly holds: number };
  readonly tokensFrom: number;
}

/** What `lockdb store inspect` shows. */
export interface StoreSummary {
  readonly path: string;
  readonly kind: string;
  readonly backup: {
    readonly at: string;
    readonly lockdb: string;
    readonly from: string;
    readonly format: number;
  } | null;
  readonly journal: { readonly stoppedInOrder: boolean; readonly batches: number } | null;
  readonly movedTo: string | null;
  readonly records: number;
  readonly bytes: number;
  readonly recordFormats: Readonly<Record<string, number>>;
  readonly kinds: Readonly<Record<string, number>>;
  readonly tokensFrom: number | null;
  readonly accounts: readonly string[];
  readonly services: readonly {
    readonly account: string;
    readonly service: string;
    readonly sessions: number;
    readonly holds: number;
    readonly tokens: number;
    readonly tickets: number;
  }[];
  readonly damage: readonly string[];
  readonly damageCount: number;
}

interface OptionRow {
  readonly flag: string | null;
  readonly env: string;
  readonly default: unknown;
  readonly doc: string;
}

interface ServeOptions {
  readonly store: string;
  readonly dataDir: string;
  readonly signup: boolean;
}

interface Server {
  readonly url: string;
  readonly rootKey: string;
  readonly rootKeyIsNew: boolean;
  readonly failed: Promise<Error>;
  reload(): Promise<void>;
  close(): Promise<void>;
}

/** Loads the server, or gives null when it is not installed. */
export async function loadServer(): Promise<ServerPackage | null> {
  try {
    return await import(SERVER_PACKAGE);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ERR_MODULE_NOT_FOUND" && message.includes(`'${SERVER_PACKAGE}'`)) return null;
    throw error;
  }
}

/** `serve`: the server, in this very process. Flags and help come from the server's option table (I6). */
export function addServeCommand(program: Command, server: ServerPackage | null): void {
  const command = program
    .command("serve")
    .summary("start a LockDB server")
    .description(
      "Starts a LockDB server in this process. It runs until Ctrl-C or SIGTERM, and needs no configuration: " +
        "the first start makes a data folder, and an API key that it prints once.",
    );
  if (server === null) {
    command.allowUnknownOption().allowExcessArguments();
    command.addHelpText("after", `\n${HOW_TO_INSTALL}`);
    command.action(() => {
      throw new ExitError(EXIT.unreachable, HOW_TO_INSTALL);
    });
    return;
  }
  const nameByFlag = new Map<string, string>();
  const withoutFlag: OptionRow[] = [];
  for (const [name, row] of Object.entries(server.OPTIONS)) {
    if (row.flag === null) {
      withoutFlag.push(row);
      continue;
    }
    const isOff = row.default === false || row.default === null || row.default === "";
    const shown = isOff ? "" : `default: ${row.default}, `;
    const option = new Option(row.flag, `${row.doc} (${shown}env: ${row.env})`);
    nameByFlag.set(option.attributeName(), name);
    command.addOption(option);
  }
  command
    .addHelpText("after", serveHelp(withoutFlag))
    .action(async (flags: Readonly<Record<string, string | true>>) => {
      const texts: Record<string, string> = {};
      for (const [flag, value] of Object.entries(flags)) texts[nameByFlag.get(flag)!] = String(value);
      await start(server, texts);
    });
}

export const HOW_TO_INSTALL = `The server is a package of its own. Install it beside this one:

  npm install lockdb @lockdb/server
  npx lockdb serve`;

function serveHelp(withoutFlag: readonly OptionRow[]): string {
  const rows = withoutFlag.map(({ env, doc }) => `  ${env}\n    ${doc.replace(/(.{40,74}) /g, "$1\n    ")}`);
  return `
Only in the environment:
${rows.join("\n")}

A flag wins over its variable. Logs are JSON lines on standard error. SIGTERM or
Ctrl-C stops in order, within 5 s; a second one stops at once. SIGHUP, where
there is no terminal, reads the TLS files now.

Exit codes:
  0   stopped in order
  1   could not start, or not stop in order
  64  a wrong flag or value
  69  @lockdb/server is not installed

Examples:
  lockdb serve
  lockdb serve --port 7000 --data-dir /var/lib/lockdb
  LOCKDB_ROOT_KEY_FILE=/run/secrets/lockdb lockdb serve`;
}

async function start(server: ServerPackage, flags: Readonly<Record<string, string>>): Promise<void> {
  const { options, warnings } = readOptions(server, flags);
  for (const warning of warnings) warn(`warning: ${warning}`, VOICE);
  let running: Server;
  try {
    running = await server.serve(options);
  } catch (error) {
    throw new ExitError(EXIT.failed, (error as Error).message);
  }
  const stopped = untilStopped(running);
  // Not before a signal would stop it in order: whoever reads this may send one.
  process.stdout.write(process.stdout.isTTY ? banner(running, options) : plainLines(running, options));
  await stopped;
}

function readOptions(server: ServerPackage, flags: Readonly<Record<string, string>>) {
  try {
    return server.readOptions(flags, process.env);
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

/** Ends the process by itself. */
function untilStopped(server: Server): Promise<never> {
  let isStopping = false;
  const stop = (exitCode: number) => {
    isStopping = true;
    setTimeout(() => {
      warn("did not stop in time: exiting all the same", VOICE);
      process.exit(EXIT.failed);
    }, STOP_MS).unref();
    server.close().then(
      () => process.exit(exitCode),
      (error: Error) => {
        warn(`could not stop in order: ${error.message}`, VOICE);
        process.exit(EXIT.failed);
      },
    );
  };
  // At a terminal it says that the terminal is gone.
  const reloads = !process.stdin.isTTY && !process.stdout.isTTY;
  onSignals(reloads ? ENDING.filter((signal) => signal !== "SIGHUP") : ENDING, (signal) => {
    if (isStopping) process.exit(signalExitCode(signal));
    stop(EXIT.ok);
  });
  if (reloads) {
    onSignals(["SIGHUP"], () => {
      server.reload().catch((error: Error) => warn(`could not reload: ${error.message}`, VOICE));
    });
  }
  void server.failed.then((error) => {
    warn(`stopping: ${error.message}`, VOICE);
    if (!isStopping) stop(EXIT.failed);
  });
  return new Promise(() => {});
}

/** For logs and scripts. */
function plainLines({ url, rootKey, rootKeyIsNew }: Server, { signup }: ServeOptions): string {
  const keyLine = rootKeyIsNew ? `root key (shown once): ${rootKey}\n` : "";
  return `LockDB listens on ${url}\n${keyLine}${signup ? `trials begin at ${url}/signup\n` : ""}`;
}

/** For people at a terminal. */
function banner(server: Server, { store, dataDir, signup }: ServeOptions): string {
  const data = store === "memory" ? "memory, gone when the server stops" : dataDir;
  const address = server.url === SERVER_URL_DEFAULT ? "" : `  export LOCKDB_SERVER_URL=${server.url}\n`;
  return `
LockDB listens on ${server.url}
Data: ${data}
${signup ? `Trials: anyone may start one at ${server.url}/signup\n` : ""}${keyLines(server)}
In another terminal:

${server.rootKeyIsNew ? `  export LOCKDB_API_KEY=${server.rootKey}\n` : "  export LOCKDB_API_KEY=<the root key>\n"}  export LOCKDB_SERVICE_ID=demo
${address}
  npx lockdb lock teapot
  npx lockdb check teapot
  npx lockdb unlock teapot
  npx lockdb run teapot -- echo "only one at a time"

Ctrl-C stops the server.

`;
}

function keyLines({ rootKey, rootKeyIsNew }: Server): string {
  if (rootKeyIsNew) return "The root key below is shown only now. Keep it.\n";
  if (rootKey !== "") return "The root key is the one that LOCKDB_ROOT_KEY or LOCKDB_ROOT_KEY_FILE gives.\n";
  return "The root key was shown at the first start; only its hash is stored. To set a new one:\nLOCKDB_ROOT_KEY=<16 characters or more> lockdb serve\n";
}
