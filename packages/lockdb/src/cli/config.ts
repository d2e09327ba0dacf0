import type { Command } from "commander";
import { print } from "./args.js";
import { warn } from "./exit.js";
import { addServeOptions, flagTexts, readServeOptions, sayHowToInstall } from "./serve-options.js";
import type { ServerPackage } from "./server-package.js";
import { jsonLine, printable } from "./words.js";

/** `config print`: what `serve` would be started with, and where each option is from. */
export function addConfigCommands(program: Command, server: ServerPackage | null): void {
  const config = program
    .command("config")
    .usage("<command> [options]")
    .summary("show the options that a server would have")
    .description("What `lockdb serve` would be started with.")
    .addHelpText("after", "\nExample:\n  lockdb config print --config /etc/lockdb/lockdb.toml");
  const command = config
    .command("print")
    .summary("print every option and where it is from")
    .description(
      "Prints every option of `lockdb serve` as flags, environment and configuration file make it, and where it is from, as a " +
        "configuration file that gives the same. Secrets are not shown. It takes the flags of `lockdb serve`, starts nothing, and " +
        "exits 64 where `serve` would: so it checks a file, too.",
    );
  if (server === null) return sayHowToInstall(command);
  addServeOptions(command, server, true);
  command.options.find((option) => option.long === "--config")!.hideHelp(false);
  command
    .option("--json", "print one JSON object, errors too")
    .addHelpText("after", PRINT_HELP)
    .action(async ({ json, ...flags }: { readonly json?: boolean; readonly [flag: string]: unknown }) => {
      const read = readServeOptions(server, flagTexts(flags, server));
      for (const warning of read.warnings)
        warn(`warning: ${warning}`, { command: "config print", json: json === true });
      await print(json ? jsonLine(server.configObject(read)) : printable(server.configText(read).trimEnd()));
    });
}

const PRINT_HELP = `
Examples:
  lockdb config print
  lockdb config print --config lockdb.toml --log-level debug
  lockdb config print --json | jq -r '.options | to_entries[] | select(.value.from != "default") | .key'
  lockdb config print > lockdb.toml`;
