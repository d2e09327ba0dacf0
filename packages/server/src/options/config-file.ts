import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { parse, TomlError } from "smol-toml";
import { CONFIG_OPTION, OPTIONS, type OptionRow } from "./table.js";

/** What a configuration file has. */
export interface ConfigFile {
  readonly path: string;
  /** The texts of its values, by option name, as a flag would have them. Of a secret: the file that it is in. */
  readonly texts: ReadonlyMap<string, string>;
}

/**
 * Reads a configuration file: TOML, one `key = value` a line, keys as flags without their dashes. Paths in it are meant from its
 * own folder.
 * @param source the flag or variable that names it, to begin a message with
 * @throws Error that names the file, the line or key, and what would be right
 */
export function readConfigFile(path: string, source: string): ConfigFile {
  const texts = new Map<string, string>();
  for (const [key, value] of Object.entries(parsed(path, source))) {
    const [name, row] = rowOf(key, value, path);
    try {
      const text = textOf(row, value, dirname(path));
      // Looked at even where a flag or variable goes before it: a file is right as a whole.
      if (row.kind !== "secret") row.parse(text);
      texts.set(name, text);
    } catch (error) {
      throw new Error(`${path}: ${key}: ${(error as Error).message}`);
    }
  }
  return { path, texts };
}

function parsed(path: string, source: string): Readonly<Record<string, unknown>> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new Error(`${source}: the file ${path} cannot be read: ${(error as Error).message}.`);
  }
  try {
    // As BigInt, so that 1.0 is told from 1.
    return parse(text, { integersAsBigInt: true });
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    throw new Error(`${path}:${error.line}: ${problemOf(error, text)}`);
  }
}

/** Without the lines that the parser shows: a key may stand in them that nobody should read in a log. */
function problemOf({ message, line }: TomlError, text: string): string {
  const key = /^\s*["']?([\w-]+)["']?\s*=/.exec(text.split("\n")[line - 1] ?? "")?.[1];
  const said = message.split("\n")[0]!.replace(/^Invalid TOML document: /, "");
  if (said.includes("redefine")) return `${key ?? "a key"} is set twice. Keep one of them.`;
  const at = key === undefined ? "" : ` in the line of ${key}`;
  return `this is no TOML${at}: ${said}. A line is such as port = 5625 or host = "127.0.0.1".`;
}

function rowOf(key: string, value: unknown, path: string): readonly [name: string, row: OptionRow] {
  const rows = Object.entries(OPTIONS) as [string, OptionRow][];
  const found = rows.find(([, row]) => row.key === key);
  if (found !== undefined) return found;
  const secret = rows.find(([, row]) => row.kind === "secret" && row.key === `${key}-file`)?.[1];
  if (secret !== undefined) {
    throw new Error(
      `${path}: ${key}: a secret stands in no configuration file. Say ${secret.key} = "<file with it>", or set ${secret.env}.`,
    );
  }
  if (key === CONFIG_OPTION.key)
    throw new Error(`${path}: ${key}: a configuration file names no other. Put all of it into one.`);
  if (isTable(value))
    throw new Error(`${path}: ${key}: there are no sections. Take [${key}] and its keys' prefixes away.`);
  const near = nearest(key);
  throw new Error(
    `${path}: ${key}: there is no such option.${near === null ? "" : ` Did you mean ${near}?`} See \`lockdb serve --help\`.`,
  );
}

/** The value as a flag would have it. @throws Error for one of another type */
function textOf({ kind, choices }: OptionRow, value: unknown, folder: string): string {
  switch (kind) {
    case "switch":
      return wanted(typeof value === "boolean", value, "true or false, without quotes");
    case "count":
      return wanted(typeof value === "bigint", value, "a whole number, without quotes or a point");
    case "list":
      return wanted(
        Array.isArray(value) && value.every((each) => typeof each === "string"),
        value,
        'a list of texts, such as ["a", "b"]',
      );
    case "secret":
      return resolve(
        folder,
        wanted(typeof value === "string" && value !== "", value, "the path of a file, in quotes"),
      );
    case "path":
      return resolve(folder, wanted(typeof value === "string" && value !== "", value, "a path, in quotes"));
    case "choice":
      return wanted(typeof value === "string", value, `one of "${choices!.join('", "')}"`);
    case "duration":
      return wanted(typeof value === "string", value, 'a time span in quotes, such as "30s"');
    case "text":
      return wanted(typeof value === "string", value, "a text in quotes");
  }
}

function wanted(isRight: boolean, value: unknown, form: string): string {
  if (isRight) return String(value);
  throw new Error(`must be ${form}, and is ${typeName(value)}.`);
}

function typeName(value: unknown): string {
  if (value === "") return "an empty text";
  if (typeof value === "string") return "a text";
  if (typeof value === "boolean") return "true or false";
  if (typeof value === "bigint" || typeof value === "number") return "a number";
  if (Array.isArray(value)) return "a list";
  return isTable(value) ? "a section" : "a date";
}

function isTable(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.getPrototypeOf(value) === null;
}

const WRONG_MAX = 2;

/** The key that was probably meant: one written as in another place, or with two letters wrong. */
function nearest(key: string): string | null {
  const plain = (text: string) =>
    text
      .toLowerCase()
      .replace(/^(lockdb[_-]|--)/, "")
      .replace(/[^a-z]/g, "");
  const given = plain(key);
  const near = Object.values(OPTIONS)
    .map((row) => ({ key: row.key, text: plain(row.key) }))
    // What is longer or shorter by more is not compared: a key may have a million letters.
    .filter(({ text }) => Math.abs(text.length - given.length) <= WRONG_MAX)
    .map((row) => ({ key: row.key, distance: distanceOf(row.text, given) }))
    .sort((a, b) => a.distance - b.distance)[0];
  const isNear = near !== undefined && near.distance <= Math.min(WRONG_MAX, key.length / 2);
  return isNear ? near.key : null;
}

/** Letters to put in, take away or change (Levenshtein). */
function distanceOf(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
