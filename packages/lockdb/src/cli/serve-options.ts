import { type Command, Option } from "commander";
import { fileVariable } from "../protocol/index.js";
import { described } from "./args.js";
import { ExitError, UsageError } from "./exit.js";
import { EXIT } from "./exit-codes.js";
import { HOW_TO_INSTALL, type OptionRow, type ReadOptions, type ServerPackage } from "./server-package.js";
import { wrapped } from "./words.js";

/** Texts by option name, as the server reads them. */
export type FlagTexts = Readonly<Record<string, string>>;

/** Adds the flags of the server's option table (I6). Beside each switch stands its `--no-`, which help tells of in a sentence. */
export function addServeOptions(command: Command, server: ServerPackage, isHidden = false): Command {
  for (const [name, row] of rowsOf(server)) {
    const { flag, choices, kind, doc } = row;
    if (flag === null) continue;
    const option = new Option(flag, described(doc, { byDefault: defaultOf(row), env: [row.env] }));
    // Only for completion: the server checks values, and says the same wherever they are from.
    if (choices !== null) option.argChoices = [...choices];
    // Under this name the text comes back.
    if (option.attributeName() !== name) throw new Error(`${flag} is no flag for ${name}.`);
    command.addOption(option.hideHelp(isHidden));
    if (kind === "switch") command.addOption(new Option(`--no-${flag.slice(2)}`).hideHelp());
  }
  return command;
}

/** What a command does that needs the server where that is not installed. */
export function sayHowToInstall(command: Command): void {
  command.allowUnknownOption().allowExcessArguments().addHelpText("after", `\n${HOW_TO_INSTALL}`);
  command.action(() => {
    throw new ExitError(EXIT.unreachable, HOW_TO_INSTALL);
  });
}

/** Of commander's values those that are options of the server. */
export function flagTexts(flags: Readonly<Record<string, unknown>>, server: ServerPackage): FlagTexts {
  const given = rowsOf(server).filter(([name]) => flags[name] !== undefined);
  return Object.fromEntries(given.map(([name]) => [name, String(flags[name])]));
}

/** What they come to, with environment and file. */
export function readServeOptions(server: ServerPackage, flags: FlagTexts): ReadOptions {
  try {
    return server.readOptions(flags, process.env);
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

/** What must stand on no command line, for the end of help texts. */
export function secretsHelp(server: ServerPackage): string {
  const rows = rowsOf(server).filter(([, { flag }]) => flag === null);
  return rows
    .map(([, { env, doc }]) => `  ${env}, or ${fileVariable(env)} for a file with it\n    ${wrapped(doc, 4)}`)
    .join("\n");
}

function rowsOf({ CONFIG_OPTION, OPTIONS }: ServerPackage): readonly [name: string, row: OptionRow][] {
  return [["config", CONFIG_OPTION], ...Object.entries(OPTIONS)];
}

function defaultOf({ default: value }: OptionRow): unknown {
  return value === false || value === null || value === "" ? undefined : value;
}
