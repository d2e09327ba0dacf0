import { resolve } from "node:path";
import { stringify } from "smol-toml";
import type { OptionSource, ReadOptions } from "./read.js";
import { OPTIONS, type OptionRow } from "./table.js";

/** One option as `lockdb config print --json` has it. */
export interface PrintedOption {
  /** Null: not set. Of a secret always null. */
  readonly value: unknown;
  readonly from: OptionSource["from"];
  /** The flag, variable or file that gave it; null for a default. */
  readonly source: string | null;
  /** Only of a secret: whether there is one, and the file that it is in. */
  readonly isSet?: boolean;
  readonly file?: string | null;
}

/** What a server would be started with, as a configuration file that gives the same, each line with where it is from. */
export function configText(read: ReadOptions): string {
  const lines = sections().map(([section, rows]) => {
    const printed = rows.map(([name, row]) => ({ row, ...lineOf(name, row, read) }));
    const width = Math.max(...printed.map(({ line }) => line.length));
    return [`# ${section}`, ...printed.map(({ line, from }) => `${line.padEnd(width)}  # ${from}`)].join(
      "\n",
    );
  });
  const from =
    read.configPath === null ? "no configuration file" : `the configuration file ${read.configPath}`;
  return `# Options of \`lockdb serve\`, with ${from}.\n\n${lines.join("\n\n")}\n`;
}

/** The same for programs, by keys as in a configuration file. */
export function configObject({ options, sources, configPath }: ReadOptions): object {
  const printed = (Object.entries(OPTIONS) as [keyof typeof OPTIONS, OptionRow][]).map(([name, row]) => {
    const { from, name: source, secretPath: file } = sources[name];
    const isSecret = row.kind === "secret";
    const option: PrintedOption = {
      value: isSecret ? null : tomlValue(row, options[name]),
      from,
      source: from === "default" ? null : source,
      ...(isSecret ? { isSet: options[name] !== null, file } : {}),
    };
    return [row.key, option];
  });
  return { config: configPath, options: Object.fromEntries(printed) };
}

/** The rows by section, in the order of the table. */
export function sections(): readonly (readonly [section: string, rows: readonly [string, OptionRow][]])[] {
  const found = new Map<string, [string, OptionRow][]>();
  for (const [name, row] of Object.entries(OPTIONS) as [string, OptionRow][]) {
    found.set(row.section, [...(found.get(row.section) ?? []), [name, row]]);
  }
  return [...found];
}

/** `port = 5625`, as TOML has it. */
export function tomlLine(row: OptionRow, value: unknown): string {
  return stringify({ [row.key]: tomlValue(row, value) }).trimEnd();
}

function lineOf(
  name: string,
  row: OptionRow,
  { options, sources }: ReadOptions,
): { line: string; from: string } {
  const source = sources[name as keyof typeof sources];
  const from = source.from === "default" ? "default" : source.name;
  const value = options[name as keyof typeof options];
  if (value === null) return { line: `# ${row.key} is not set`, from };
  if (row.kind !== "secret") return { line: tomlLine(row, value), from };
  if (source.secretPath === null)
    return { line: `# ${row.key}: the secret itself is set, and not shown`, from };
  return { line: tomlLine(row, resolve(source.secretPath)), from };
}

/** As it stands in a configuration file, wherever that is. */
function tomlValue({ kind }: OptionRow, value: unknown): unknown {
  if (value === null) return null;
  if (kind === "path") return resolve(String(value));
  if (kind !== "list") return value;
  return String(value)
    .split(",")
    .map((each) => each.trim())
    .filter((each) => each !== "");
}
