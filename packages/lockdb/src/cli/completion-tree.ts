import type { Argument, Command, Option } from "commander";

/** What may stand in a place: one of some words, a path, or what nobody can guess. */
export type Wanted =
  | { readonly kind: "words"; readonly words: readonly string[] }
  | { readonly kind: "file" | "folder" | "text" };

export interface FlagNode {
  /** Such as `-i` and `--service-id`. */
  readonly names: readonly string[];
  readonly doc: string;
  /** Its value; null: it takes none. */
  readonly value: (Wanted & { readonly name: string }) | null;
}

/** A command, or the command line before one. */
export interface CommandNode {
  /** Such as `keys ls`; empty for the command line itself. */
  readonly path: string;
  readonly commands: readonly { readonly name: string; readonly doc: string }[];
  readonly flags: readonly FlagNode[];
  readonly args: readonly (Wanted & { readonly name: string })[];
  /** True where a command of somebody else's follows `--`. */
  readonly runsOthers: boolean;
}

/** Everything that can stand on the command line, as commander knows it: nothing is listed a second time. */
export function completionTree(program: Command): readonly CommandNode[] {
  const nodes = nodesOf(program, "");
  const [root, ...others] = nodes as [CommandNode, ...CommandNode[]];
  const topics = program.commands.map((command) => ({ name: command.name(), doc: summaryOf(command) }));
  const help = { path: "help", commands: topics, flags: [], args: [], runsOthers: false };
  const commands = [...root.commands, { name: "help", doc: "show the help of a command" }];
  return [{ ...root, commands }, help, ...others];
}

function nodesOf(command: Command, path: string): readonly CommandNode[] {
  const help = command.createHelp();
  const shown = help.visibleCommands(command);
  const node = {
    path,
    commands: shown.map((each) => ({ name: each.name(), doc: summaryOf(each) })),
    flags: help.visibleOptions(command).map(flagOf),
    args: command.registeredArguments.map(argOf),
    runsOthers: command.usage().includes(" -- "),
  };
  return [node, ...shown.flatMap((each) => nodesOf(each, `${path} ${each.name()}`.trim()))];
}

function flagOf({ short, long, flags, description, argChoices, required, optional }: Option): FlagNode {
  const names = [short, long].filter((name) => name !== undefined);
  const name = /[<[]([^>\]]+)/.exec(flags)?.[1] ?? "";
  const value = required || optional ? { name, ...wantedBy(name, argChoices) } : null;
  return { names, doc: firstSentence(description), value };
}

function argOf(argument: Argument): Wanted & { readonly name: string } {
  const name = argument.name();
  return { name, ...wantedBy(name, argument.argChoices) };
}

const FILES: ReadonlySet<string> = new Set(["file", "path", "from", "to"]);

function wantedBy(name: string, choices: readonly string[] | undefined): Wanted {
  if (choices !== undefined) return { kind: "words", words: choices };
  if (FILES.has(name)) return { kind: "file" };
  return { kind: name === "folder" ? "folder" : "text" };
}

function summaryOf(command: Command): string {
  return command.summary() || firstSentence(command.description());
}

/** Shells show one line, beside others. */
function firstSentence(text: string): string {
  return text
    .replace(/ \((?:default|env): .*$/, "")
    .split(/[.;:](?: |$)/)[0]!
    .slice(0, 78);
}
