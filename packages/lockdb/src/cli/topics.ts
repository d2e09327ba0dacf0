import type { Command } from "commander";
import { print } from "./args.js";
import { allExitCodes, EXIT_ROWS, type ExitRow } from "./exit-codes.js";

/** `exit-codes`, as a rule asked for by `lockdb help exit-codes`. */
export function addTopics(program: Command): void {
  program
    .command("exit-codes", { hidden: true })
    .summary("tell what exit codes say")
    .description("What the exit code of a command says.")
    .option("--json", "print one JSON object a line")
    .addHelpText("after", () => `\n${allExitCodes()}`)
    .action(async ({ json }: { readonly json?: boolean }) => {
      if (json !== true) return print(allExitCodes());
      for (const [name, row] of Object.entries<ExitRow>(EXIT_ROWS))
        await print(JSON.stringify({ name, ...row }));
    });
}
