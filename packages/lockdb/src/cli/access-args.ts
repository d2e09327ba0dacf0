import { type Command, InvalidArgumentError } from "commander";
import { durationMs, SCOPES, serviceIdProblem } from "../protocol/index.js";
import { type Print, print, type ServerFlags } from "./args.js";
import { ExitError, warn } from "./exit.js";
import { EXIT } from "./exit-codes.js";
import type { HttpApi } from "./http.js";
import { unlessInterrupted } from "./signals.js";
import { jsonLine } from "./words.js";

const TIME_HINT =
  'Say a duration such as "30d", a day such as 2027-01-31, or a time such as 2027-01-31T12:00:00Z.';
const TIME = /^(\d{4}-\d\d-\d\d)(T\d\d:\d\d(:\d\d(\.\d{1,3})?)?Z)?$/;

/** Runs a command that asks the HTTP API, until it ends or a signal ends it. Loaded here: help and usage errors do without. */
export async function withApi(
  flags: ServerFlags,
  work: (api: HttpApi, print: Print) => Promise<void>,
): Promise<void> {
  const { HttpApi } = await import("./http.js");
  await unlessInterrupted(work(new HttpApi(flags), print));
}

/** Adds `--account`. */
export function addAccountFlag(command: Command): Command {
  return command.option("--account <id>", "another account than the key's own", accountId);
}

/** The id of a key. Of a whole key its id is taken: only that may go into an address. */
export function keyId(text: string): string {
  const id = /^ldb_([0-9A-Za-z]{1,32})_/.exec(text)?.[1] ?? text;
  if (!/^[0-9A-Za-z]{1,32}$/.test(id))
    throw new InvalidArgumentError("The id of a key is letters and digits, as `lockdb keys ls` lists it.");
  return id;
}

export function accountId(text: string): string {
  if (!/^(default|acc_[0-9A-Za-z]{1,32})$/.test(text))
    throw new InvalidArgumentError(
      'An account is "default", or begins with acc_, as `lockdb accounts ls` lists it.',
    );
  return text;
}

/** `lock,read`. */
export function scopeList(text: string): readonly string[] {
  const scopes = [...new Set(text.split(","))];
  if (!scopes.every((scope) => (SCOPES as readonly string[]).includes(scope)))
    throw new InvalidArgumentError(`Scopes are ${SCOPES.join(", ")}, with commas between.`);
  return scopes;
}

/** `billing,reports`. */
export function serviceList(text: string): readonly string[] {
  const services = [...new Set(text.split(","))];
  for (const service of services) {
    const problem = serviceIdProblem(service);
    if (problem !== null) throw new InvalidArgumentError(problem);
  }
  return services;
}

/** A time to come: how long from now, or when. */
export function timeAhead(text: string): string {
  return timeOf(text, 1);
}

/** A time that was: how long ago, or when. */
export function timePast(text: string): string {
  return timeOf(text, -1);
}

/** Where a command shows a new key. */
export interface NewKey {
  readonly apiKey: string;
  /** Its id. */
  readonly key: string;
  /** For people at a terminal. */
  readonly text: string;
  /** The server's whole answer. */
  readonly answer: object;
  /** What is to be done when it could not be written: it is not shown again. */
  readonly otherwise: string;
}

/** Prints a new key: nothing but the key where it goes into a variable or a file. */
export async function printNewKey(
  command: string,
  { apiKey, key, text, answer, otherwise }: NewKey,
  { json }: ServerFlags,
): Promise<void> {
  const before = process.stdout.isTTY ? `${text}\n\n` : "";
  const whole = json ? jsonLine(answer) : before + apiKey;
  await new Promise<void>((resolve, reject) => {
    process.stdout.write(`${whole}\n`, (error) => {
      if (error == null) return resolve();
      reject(new ExitError(EXIT.failed, `The new key could not be written (${error.message}). ${otherwise}`));
    });
  });
  if (json) return;
  warn(`this key is shown this once, so keep it now; its id is ${key}`, { command, json: false });
}

function timeOf(text: string, sign: 1 | -1): string {
  const [, day, clock = "T00:00Z"] = TIME.exec(text) ?? [];
  const ms = day === undefined ? Date.now() + sign * spanOf(text) : Date.parse(day + clock);
  const iso = Number.isNaN(ms) ? "" : new Date(ms).toISOString();
  // The 31st of February would be taken for a day in March.
  if (day !== undefined && !iso.startsWith(day)) throw new InvalidArgumentError("There is no such time.");
  if (!/^\d{4}-/.test(iso)) throw new InvalidArgumentError(TIME_HINT);
  return iso;
}

function spanOf(text: string): number {
  try {
    return durationMs(text);
  } catch {
    throw new InvalidArgumentError(TIME_HINT);
  }
}
