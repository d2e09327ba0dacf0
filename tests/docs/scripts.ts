import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { readableArgv } from "../../packages/lockdb/src/cli/args.js";
import { programFor } from "../../packages/lockdb/src/cli/main.js";
import type { ApiDocument } from "./api-document.js";
import { type Block, ROOT, read, withoutCode } from "./pages.js";
import { commandsOf } from "./shell.js";

/** Programs of others, and words of the shell, of which nothing can be known here. */
const OTHERS =
  /^(\.|date|export|set|echo|cat|wait|cd|mkdir|rm|chmod|while|do|done|sleep|apt-get|bash|openssl|systemctl|kubectl|docker|etcdctl|psql|createdb|git|apply-the-upgrade|\.\/[\w-]+(\.sh)?|\/[\w/.-]+)$/;

const SCRIPTS: Readonly<Record<string, string>> = JSON.parse(read("package.json")).scripts;

/** When a line of a crontab is due. */
const CRONTAB = /^([\d*]\S* +){5}/gm;

/** Whether a block is a script, or lines of a crontab. */
export function isScript({ language, code }: Block): boolean {
  return language === "sh" || (language === "" && code.search(CRONTAB) === 0);
}

/** What is wrong in a script of the docs: flags that a command does not know, requests that the API does not take, files that are not there. */
export async function scriptProblems({ at, code }: Block, document: ApiDocument): Promise<string[]> {
  const problems: string[] = [];
  const script = code.replaceAll(CRONTAB, "");
  for (const command of commandsOf(script)) {
    const problem = await commandProblem(command, document);
    if (problem !== null) problems.push(`${at}: ${command.join(" ")}: ${problem}`);
  }
  return problems;
}

async function commandProblem(command: readonly string[], document: ApiDocument): Promise<string | null> {
  const [program = "", ...args] = command;
  switch (program) {
    case "npx":
      return args[0] === "lockdb" ? cliProblem(args.slice(1)) : null;
    case "lockdb":
      // `docs/http.md` has a function of that name, which is `curl`.
      return args[0]?.startsWith("/") ? requestProblem(args, document) : cliProblem(args);
    case "curl":
      return requestProblem(args, document);
    case "npm":
      return npmProblem(args);
    case "node":
      return args[0]!.includes("/") && !existsSync(join(ROOT, args[0]!)) ? "there is no such file" : null;
    default:
      if (program === "lockdb()" || program === "}") return null;
      if (program.startsWith("examples/"))
        return existsSync(join(ROOT, program)) ? null : "there is no such file";
      return OTHERS.test(program) ? null : "nobody knows this command";
  }
}

/** Of the bench, the torture, npm, curl, Redis and etcd; and what a yes-or-no option begins with. */
const OTHER_FLAGS =
  "--only --quick --rounds --global --cacert --cert --key --save --appendonly --auto-compaction-retention --ignore-scripts --unsafe-no-fsync --no-".split(
    " ",
  );

/** Names of spans, which look like commands. */
const SPANS: ReadonlySet<string> = new Set(["lockdb wait", "lockdb hold"]);

/**
 * Commands and requests in the middle of a sentence: they may leave out what has to be said, but name no flag, and no address, that there
 * is not.
 */
export async function sentenceProblems(page: string, document: ApiDocument): Promise<string[]> {
  const problems: string[] = [];
  const text = withoutCode(read(page));
  for (const [, method, address] of text.matchAll(/`(GET|POST|PUT|PATCH|DELETE) (\/v1\/[^`\s…]*)`/g)) {
    const problem = document.problemOf(method!, address!, null);
    if (problem !== null && !problem.endsWith("needs a body")) problems.push(`${page}: ${problem}`);
  }
  const flags = await allFlags();
  for (const [, flag] of text.matchAll(/`(--[a-z][a-z-]*)[^`]*`/g))
    if (!flags.has(flag!)) problems.push(`${page}: no command has ${flag}`);
  for (const [, command] of text.matchAll(/`(lockdb [a-z][^`]*)`/g)) {
    if (SPANS.has(command!)) continue;
    const [words] = commandsOf(command!.replaceAll("…", "X"));
    const problem = await cliProblem(words!.slice(1), /^commander\.(unknown|excess)/);
    if (problem !== null) problems.push(`${page}: ${command}: ${problem}`);
  }
  return problems;
}

/** Those of all commands, and some of other programs that the docs name. */
async function allFlags(): Promise<ReadonlySet<string>> {
  const { program } = await programFor(["serve"]);
  const all = program.commands.flatMap((command) => [command, ...command.commands]);
  return new Set([...OTHER_FLAGS, ...all.flatMap(({ options }) => options.map(({ long }) => long ?? ""))]);
}

/** As the command line would say it. Nothing is run. */
async function cliProblem(argv: readonly string[], codes = /./): Promise<string | null> {
  const { program, args } = await programFor(readableArgv(argv));
  silence(program);
  try {
    await program.parseAsync([...args], { from: "user" });
    return null;
  } catch (error) {
    const { code, message } = error as { readonly code?: string; readonly message: string };
    const isHelp = code === "commander.helpDisplayed" || code === "commander.version";
    return isHelp || !codes.test(code ?? "") ? null : message;
  }
}

function silence(command: Command): void {
  command.configureOutput({ outputError: () => {}, writeOut: () => {}, writeErr: () => {} });
  if (command.commands.length === 0) command.action(() => {});
  for (const each of command.commands) {
    each.exitOverride();
    silence(each);
  }
}

async function npmProblem(args: readonly string[]): Promise<string | null> {
  const [verb, name] = args;
  if (verb === "run")
    return name !== undefined && Object.hasOwn(SCRIPTS, name) ? null : "there is no such script";
  if (verb === "start") return cliProblem(["serve", ...args.slice(2)]);
  return ["ci", "test", "install"].includes(verb ?? "") ? null : "nobody knows this command";
}

/** What follows a flag of curl that takes a value. */
const WITH_VALUE = new Set(["-H", "--cacert", "--cert", "--key", "-o", "-w", "--max-time"]);

function requestProblem(args: readonly string[], document: ApiDocument): string | null {
  let method: string | null = null;
  let address: string | null = null;
  let body: string | null = null;
  for (let at = 0; at < args.length; at++) {
    const arg = args[at]!;
    if (arg === "-X") method = args[++at]!;
    else if (arg === "-d") body = args[++at]!;
    else if (WITH_VALUE.has(arg)) at++;
    else if (!arg.startsWith("-")) address = arg;
  }
  if (address === null) return "it asks nobody";
  // What the function of `docs/http.md` passes on.
  if (address.includes("$1")) return null;
  const local = address.replace(/^(https?:\/\/[^/]+|\$\{?LOCKDB_SERVER_URL\}?)/, "");
  if (/^https?:/.test(address) && !/^https?:\/\/(127\.0\.0\.1|localhost|locks\.)/.test(address)) return null;
  const isShort = local.startsWith("/") && local === address;
  const path = isShort ? `/v1/services/billing${local}` : local;
  return document.problemOf(method ?? (body === null ? "GET" : "POST"), path, body);
}
