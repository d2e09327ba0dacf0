import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type Command, InvalidArgumentError, Option } from "commander";
import { UnauthorizedError } from "../client/errors.js";
import type { LockDB, TlsOptions } from "../index.js";
import {
  durationMs,
  lockNameProblem,
  PORT_DEFAULT,
  secretFrom,
  serviceIdProblem,
} from "../protocol/index.js";
import { ExitError, UsageError } from "./exit.js";
import { EXIT } from "./exit-codes.js";
import { unlessInterrupted } from "./signals.js";

/** Flags that every command which talks to a server has. */
export interface ServerFlags {
  readonly serviceId?: string;
  readonly apiKey?: string;
  readonly serverUrl?: string;
  readonly json?: boolean;
}

export const SERVER_URL_DEFAULT = `http://127.0.0.1:${PORT_DEFAULT}`;

/**
 * Makes `-i=reports` what commander reads as `-i reports`. Only up to the first `--`: what follows belongs to others.
 */
export function readableArgv(argv: readonly string[]): string[] {
  const end = argv.indexOf("--");
  return argv.map((arg, at) => (end >= 0 && at >= end ? arg : arg.replace(/^-([iaswul])=(.*)$/s, "-$1$2")));
}

/** Whether `--json` is asked for, before anything is parsed: also a wrong flag is reported in that form. */
export function wantsJson(argv: readonly string[]): boolean {
  const end = argv.indexOf("--");
  return argv.slice(0, end >= 0 ? end : argv.length).includes("--json");
}

/** Adds `-i`, `-a`, `-s` and `--json`. */
export function addServerFlags(command: Command): Command {
  return addKeyFlags(
    command.addOption(
      withEnv("-i, --service-id <id>", "service that the locks belong to", "LOCKDB_SERVICE_ID"),
    ),
  );
}

/** Adds `-a`, `-s` and `--json`: for what is about no service. */
export function addKeyFlags(command: Command): Command {
  const key = "API key; others can see command lines, so better set a variable";
  return (
    command
      // Not read by commander: its variable may not be set beside that of its file.
      .addOption(
        new Option("-a, --api-key <key>", described(key, { env: ["LOCKDB_API_KEY", "LOCKDB_API_KEY_FILE"] })),
      )
      .addOption(
        withEnv(
          "-s, --server-url <url>",
          "server, or several with commas",
          "LOCKDB_SERVER_URL",
          SERVER_URL_DEFAULT,
        ),
      )
      .option("--json", "print one JSON object a line, errors too")
  );
}

/** What an option does, with its default and the variables that stand for it: the one form that help has for these. */
export function described(
  doc: string,
  { byDefault, env }: { readonly byDefault?: unknown; readonly env: readonly string[] },
): string {
  return `${doc} (${byDefault === undefined ? "" : `default: ${byDefault}, `}env: ${env.join(", ")})`;
}

function withEnv(flag: string, doc: string, env: string, byDefault?: string): Option {
  return new Option(flag, described(doc, { byDefault, env: [env] })).env(env);
}

/** The service, which every command but `ping` needs. An empty variable is an unset one. */
export function serviceIdOf({ serviceId }: ServerFlags, otherwise?: string): string {
  const id = serviceId || otherwise;
  if (id === undefined) throw new UsageError("No service id. Say -i <id>, or set LOCKDB_SERVICE_ID.");
  const problem = serviceIdProblem(id);
  if (problem !== null) throw new UsageError(`-i: ${problem}`);
  return id;
}

/** `NAME[,NAME…]`. */
export function namesOf(text: string): readonly string[] {
  const names = text.split(",");
  for (const name of names) {
    const problem = lockNameProblem(name);
    if (problem !== null) throw new UsageError(problem);
  }
  return names;
}

/** `-w`: milliseconds, or a duration with its unit. */
export function waitMs(text: string): number {
  return durationOf(
    /^\d+$/.test(text) ? Number(text) : text,
    'Say milliseconds, or a duration such as "30s".',
  );
}

/** `-w` where one may wait for ever. */
export function waitMsOrForever(text: string): number | "forever" {
  if (text === "forever") return text;
  return durationOf(
    /^\d+$/.test(text) ? Number(text) : text,
    'Say milliseconds, a duration such as "30s", or "forever".',
  );
}

/** `-l`: seconds, or a duration with its unit. */
export function expirationSeconds(text: string): number {
  const hint = 'Say seconds, or a duration such as "5m".';
  const ms = durationOf(/^\d+$/.test(text) ? Number(text) * 1_000 : text, hint);
  if (ms === 0) throw new InvalidArgumentError("It must be more than 0.");
  return ms / 1_000;
}

/** A whole number from 1. */
export function count(text: string): number {
  const number = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(number) || number < 1)
    throw new InvalidArgumentError("Say a whole number from 1.");
  return number;
}

/** A duration that says its unit. */
export function duration(text: string): number {
  return durationOf(text, 'Say a duration with its unit, such as "30s" or "5m".');
}

/** The key that every command but `serve` needs: a flag goes before the variables. An empty variable is an unset one. */
export function apiKeyOf({ apiKey }: ServerFlags, env: NodeJS.ProcessEnv = process.env): string {
  const key = apiKey ?? apiKeyFrom(env);
  if (!key)
    throw new UnauthorizedError("No API key. Set LOCKDB_API_KEY or LOCKDB_API_KEY_FILE, or say -a <key>.");
  return key;
}

export function hasApiKey({ apiKey }: ServerFlags, env: NodeJS.ProcessEnv = process.env): boolean {
  return Boolean(apiKey ?? apiKeyFrom(env));
}

function apiKeyFrom(env: NodeJS.ProcessEnv): string | undefined {
  const set = Object.fromEntries(Object.entries(env).filter(([, text]) => text !== ""));
  try {
    return secretFrom("LOCKDB_API_KEY", set, (path) => readFileSync(path, "utf8"))?.text;
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

/** A client, which connects at its first request. Loaded here: help and usage errors do without. */
export async function openClient(
  flags: ServerFlags & { readonly lease?: number },
  service = serviceIdOf(flags),
) {
  const { LockDB } = await import("../index.js");
  const tls = tlsOptions(process.env);
  return new LockDB(service, {
    apiKey: apiKeyOf(flags),
    ...(tls === null ? {} : { tls }),
    ...(flags.serverUrl ? { serverUrl: flags.serverUrl } : {}),
    ...(flags.lease === undefined ? {} : { lease: flags.lease }),
  });
}

const TLS_FILES = { ca: "LOCKDB_CA_FILE", cert: "LOCKDB_CERT_FILE", key: "LOCKDB_KEY_FILE" } as const;

/** What the files hold that the environment names; null when it names none. An empty variable is an unset one. */
export function tlsOptions(env: NodeJS.ProcessEnv): TlsOptions | null {
  const named = Object.entries(TLS_FILES).filter(([, variable]) => env[variable]);
  const read = named.map(([option, variable]) => {
    try {
      return [option, readFileSync(env[variable]!)] as const;
    } catch (error) {
      throw new UsageError(`${variable}: the file cannot be read: ${(error as Error).message}.`);
    }
  });
  return read.length === 0 ? null : Object.fromEntries(read);
}

/** Prints a line, and waits while the reader is slow. Rejects when the reader has gone: there is no use going on. */
export type Print = (line: string) => Promise<void>;

/** Runs a command with a client, until it ends or a signal ends it. */
export async function withClient(
  flags: ServerFlags,
  work: (client: LockDB, print: Print) => Promise<void>,
  service?: string,
): Promise<void> {
  const client = await openClient(flags, service);
  try {
    await unlessInterrupted(work(client, print));
  } finally {
    await client.close();
  }
}

/** The name of a command that takes one. */
export function oneName(command: string, text: string): string {
  const names = namesOf(text);
  if (names.length > 1) throw new UsageError(`\`${command}\` takes one lock name.`);
  return names[0]!;
}

export async function print(line: string): Promise<void> {
  const { stdout } = process;
  if (stdout.write(`${line}\n`)) return;
  await once(stdout, "drain").catch(() => {
    throw new ExitError(EXIT.ok);
  });
}

function durationOf(value: string | number, hint: string): number {
  try {
    return durationMs(value);
  } catch {
    throw new InvalidArgumentError(hint);
  }
}
