import { statSync, watchFile } from "node:fs";
import type { Command } from "commander";
import { SERVER_URL_DEFAULT } from "./args.js";
import { ExitError, type Voice, warn } from "./exit.js";
import { EXIT, exitHelp } from "./exit-codes.js";
import {
  addServeOptions,
  type FlagTexts,
  flagTexts,
  readServeOptions,
  sayHowToInstall,
  secretsHelp,
} from "./serve-options.js";
import type { ServeOptions, Server, ServerPackage } from "./server-package.js";
import { ENDING, onSignals, signalExitCode } from "./signals.js";

/** A stop that takes longer is cut off, so that all is over within five seconds. */
const STOP_MS = 4_500;

/** How often it is looked whether the configuration file has changed. */
const LOOK_MS = 1_000;

/** `serve`: the server, in this very process. Flags and help come from the server's option table (I6). */
export function addServeCommand(program: Command, server: ServerPackage | null): void {
  const command = program
    .command("serve")
    .summary("start a LockDB server")
    .description(
      "Starts a LockDB server in this process. It runs until Ctrl-C or SIGTERM, and needs no configuration: " +
        "the first start makes a data folder, and an API key that it prints once.",
    );
  if (server === null) return sayHowToInstall(command);
  addServeOptions(command, server)
    .option("--json", "print the address, and a new root key, as one JSON object; errors too")
    .addHelpText("after", serveHelp(server))
    .action(({ json, ...flags }: { readonly json?: boolean; readonly [flag: string]: unknown }) =>
      start(server, flagTexts(flags, server), { command: "serve", json: json === true }),
    );
}

function serveHelp(server: ServerPackage): string {
  return `
Only in the environment, or named in the configuration file:
${secretsHelp(server)}

A flag wins over its variable, a variable over the configuration file. What a
variable or the file turns on, --no- before its name turns off, as --no-signup.
\`lockdb config print\` shows what comes of it.

Logs are JSON lines on standard error. SIGTERM or Ctrl-C stops in order, within
5 s; a second one stops at once. SIGHUP, where there is no terminal, reads the
TLS files and the log level in the configuration file now; a change of either
file is seen within seconds anyway.

${exitHelp("serve")}

Examples:
  lockdb serve
  lockdb serve --port 7000 --data-dir /var/lib/lockdb
  lockdb serve --config /etc/lockdb/lockdb.toml
  LOCKDB_ROOT_KEY_FILE=/run/secrets/lockdb lockdb serve`;
}

async function start(server: ServerPackage, flags: FlagTexts, voice: Voice): Promise<void> {
  const { options, configPath, warnings } = readServeOptions(server, flags);
  for (const warning of warnings) warn(`warning: ${warning}`, voice);
  const changedMs = changedMsOf(configPath);
  let running: Server;
  try {
    running = await server.serve(options);
  } catch (error) {
    throw new ExitError(EXIT.failed, (error as Error).message);
  }
  const reloadNow = reloader(configPath, changedMs, () => reload(server, running, flags, voice));
  const stopped = untilStopped(running, reloadNow, voice);
  // Not before a signal would stop it in order: whoever reads this may send one.
  process.stdout.write(readyText(running, options, voice));
  await stopped;
}

/** Reads everything anew. What is wrong is said, and what was in use stays; the TLS files are looked at all the same. */
async function reload(server: ServerPackage, running: Server, flags: FlagTexts, voice: Voice): Promise<void> {
  let wanted: ServeOptions | undefined;
  try {
    wanted = readServeOptions(server, flags).options;
  } catch (error) {
    warn(`options are not read anew, those in use stay: ${(error as Error).message}`, voice);
  }
  try {
    await running.reload(wanted);
  } catch (error) {
    warn(`could not reload: ${(error as Error).message}`, voice);
  }
}

/** Ends the process by itself. */
function untilStopped(server: Server, reload: () => void, voice: Voice): Promise<never> {
  let isStopping = false;
  const stop = (exitCode: number) => {
    isStopping = true;
    setTimeout(() => {
      warn("did not stop in time: exiting all the same", voice);
      process.exit(EXIT.failed);
    }, STOP_MS).unref();
    server.close().then(
      () => process.exit(exitCode),
      (error: Error) => {
        warn(`could not stop in order: ${error.message}`, voice);
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
  if (reloads) onSignals(["SIGHUP"], reload);
  void server.failed.then((error) => {
    warn(`stopping: ${error.message}`, voice);
    if (!isStopping) stop(EXIT.failed);
  });
  return new Promise(() => {});
}

/**
 * What to call at SIGHUP. It is called by itself when the configuration file has changed since it was read: looked at now and then,
 * which sees a file that is put in the place of another, too. Keeps no process alive.
 * @param changedMs when the file had changed last as it was read for the start
 */
function reloader(path: string | null, changedMs: number, reload: () => Promise<void>): () => void {
  if (path === null) return () => void reload();
  let readMs = changedMs;
  const reloadNow = () => {
    readMs = changedMsOf(path);
    void reload();
  };
  watchFile(path, { interval: LOOK_MS, persistent: false }, ({ mtimeMs }) => {
    if (mtimeMs !== readMs) reloadNow();
  });
  return reloadNow;
}

/** 0, as for whoever watches, when it is gone or nobody may look: reading it then says why. */
function changedMsOf(path: string | null): number {
  try {
    return path === null ? 0 : statSync(path).mtimeMs;
  } catch {
    return 0;
  }
}

function readyText(server: Server, options: ServeOptions, { json }: Voice): string {
  if (!json) return process.stdout.isTTY ? banner(server, options) : plainLines(server, options);
  const { url, rootKey, rootKeyIsNew } = server;
  return `${JSON.stringify({ url, ...(rootKeyIsNew ? { rootKey } : {}) })}\n`;
}

/** For logs and scripts. */
function plainLines({ url, rootKey, rootKeyIsNew }: Server, { signup }: ServeOptions): string {
  const keyLine = rootKeyIsNew ? `root key (shown once): ${rootKey}\n` : "";
  return `LockDB listens on ${url}\n${keyLine}${signup ? `trials begin at ${url}/signup\n` : ""}`;
}

/** For people at a terminal. */
function banner(server: Server, { signup }: ServeOptions): string {
  const address = server.url === SERVER_URL_DEFAULT ? "" : `  export LOCKDB_SERVER_URL=${server.url}\n`;
  return `
LockDB listens on ${server.url}
Data: ${server.storage}
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
