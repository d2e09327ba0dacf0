import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { CLIENT_VARIABLES } from "../protocol/index.js";
import { addAccountCommands } from "./accounts.js";
import { readableArgv, wantsJson } from "./args.js";
import { addAuditCommand } from "./audit.js";
import { addClusterCommands } from "./cluster.js";
import { addCompletionCommand } from "./completion.js";
import { addConfigCommands } from "./config.js";
import { addDoctorCommand } from "./doctor.js";
import { fail, UsageError, type Voice } from "./exit.js";
import { EXIT, exitHelp } from "./exit-codes.js";
import { addKeyCommands } from "./keys.js";
import { addLockCommands } from "./lock.js";
import { addLookCommands } from "./look.js";
import { addOperatorCommands } from "./operate.js";
import { addPingCommand } from "./ping.js";
import { addRunCommand } from "./run.js";
import { addServeCommand } from "./serve.js";
import { loadServer } from "./server-package.js";
import { addStoreCommands } from "./store.js";
import { addTopCommand } from "./top.js";
import { addTopics } from "./topics.js";
import { addWhoamiCommand } from "./whoami.js";
import { wrapped } from "./words.js";

/** What may still keep the process alive when all is done, such as a connection that the other side does not close. */
const LINGER_MS = 100;

/**
 * Runs the command line, and ends the process when it is done.
 * @param argv the arguments after `lockdb`
 */
export async function run(argv: readonly string[]): Promise<void> {
  // Whoever read our output may have gone (`| head`). That is no reason to drop a lock.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
  await execute(argv);
  setTimeout(() => process.exit(), LINGER_MS).unref();
}

/** Runs the command line. Sets the exit code, and does not reject. */
export async function execute(given: readonly string[]): Promise<void> {
  const argv = readableArgv(given);
  let voice: Voice = { command: null, json: wantsJson(argv) };
  try {
    const { program, args } = await programFor(argv);
    voice = { ...voice, command: commandIn(program, args) };
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === EXIT.ok) return;
    fail(error instanceof CommanderError ? usageError(error, voice, argv) : error, voice);
  }
}

/** The commands, and the arguments that are theirs: what `run` is to run is cut off. */
export async function programFor(
  argv: readonly string[],
): Promise<{ program: Command; args: readonly string[] }> {
  const end = argv[0] === "run" ? argv.indexOf("--") : -1;
  const args = end >= 0 ? argv.slice(0, end) : argv[0] === "help" ? [...argv.slice(1, 3), "--help"] : argv;
  const program = new Command("lockdb")
    .description("Named locks for services, scripts and cron jobs.")
    .usage("<command> [options]")
    .version(versionText(), "-V, --version", "print the version")
    .helpOption("-h, --help", "show help; also: lockdb <command> --help")
    .helpCommand(false)
    .configureHelp({
      optionDescription: (option) => option.description,
      argumentDescription: (argument) => argument.description,
      subcommandTerm: (command) => `${command.name()} ${command.usage().replace(/ ?\[options\]/, "")}`,
    })
    .configureOutput({ outputError: () => {} })
    .exitOverride()
    .addHelpText("after", MAIN_HELP);
  // The server is big: loaded only for commands that its options are part of.
  const server = OF_THE_SERVER.has(args[0] ?? "") ? await loadServer() : null;
  addServeCommand(program, server);
  addRunCommand(program, end >= 0 ? argv.slice(end + 1) : []);
  addLockCommands(program);
  addLookCommands(program);
  addOperatorCommands(program);
  addWhoamiCommand(program);
  addKeyCommands(program);
  addAccountCommands(program);
  addAuditCommand(program);
  addStoreCommands(program);
  addClusterCommands(program);
  addPingCommand(program);
  addConfigCommands(program, server);
  addCompletionCommand(program);
  addTopics(program);
  addTopCommand(program);
  addDoctorCommand(program);
  for (const command of program.commands) {
    for (const each of [command, ...command.commands])
      each.helpCommand(false).helpOption("-h, --help", "show this help");
  }
  return { program, args };
}

/** The command that is meant, such as `lock` or `keys ls`; null: none that there is. */
function commandIn(program: Command, args: readonly string[]): string | null {
  const command = program.commands.find((known) => known.name() === args[0]);
  const part = command?.commands.find((known) => known.name() === args[1]);
  return part === undefined ? (command?.name() ?? null) : `${command!.name()} ${part.name()}`;
}

/** Commands that are a word before others. */
const GROUPS: ReadonlySet<string> = new Set(["keys", "accounts", "store", "config", "cluster"]);

/** Commands that have the flags of the server. */
const OF_THE_SERVER: ReadonlySet<string> = new Set(["serve", "config", "completion"]);

const MAIN_HELP = `
Environment:
${CLIENT_VARIABLES.map(({ name, doc }) => variableLine(name, doc)).join("\n")}
${variableLine("NO_COLOR", "set to anything: no colours; they are for terminals alone anyway")}

${exitHelp()}

More: lockdb help <command>, lockdb help exit-codes

Examples:
  lockdb serve
  lockdb run nightly-report -- ./make-report --all
  lockdb lock report -l 5m
  lockdb check report`;

function variableLine(name: string, doc: string): string {
  return `  ${name.padEnd(19)} ${wrapped(doc, 22)}`;
}

/** Commander's message in our form, with the way on. */
function usageError(
  { code, message }: CommanderError,
  { command, json }: Voice,
  argv: readonly string[],
): UsageError {
  // Commander has printed the help already.
  if (code === "commander.help") return new UsageError("which command?");
  const said = message
    .replace(/^error: /, "")
    .replace(/\n/g, " ")
    .replace(/\.?$/, ".");
  const see = json ? "" : `\nSee: lockdb ${command === null ? "" : `${command} `}--help`;
  const isUnknown = code === "commander.unknownOption" || code === "commander.excessArguments";
  if ((command === null || GROUPS.has(command)) && isUnknown)
    return new UsageError(`${said} Options stand after the command.${see}`);
  if (command === "run" && isUnknown && !argv.includes("--")) {
    return new UsageError(`${said} Put -- before the command to run.${see}`);
  }
  return new UsageError(said + see);
}

function versionText(): string {
  return JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")).version;
}
