import type { Command } from "commander";
import { withApi } from "./access-args.js";
import { accountText, keyText } from "./access-words.js";
import { selfForm } from "./answers.js";
import { addKeyFlags, type ServerFlags } from "./args.js";
import { jsonLine } from "./words.js";

/** `whoami`: what the key in use is and may. */
export function addWhoamiCommand(program: Command): void {
  const whoami = program
    .command("whoami")
    .summary("tell which key is in use, and what it may")
    .description(
      "Tells which key is in use, what it may and until when, and its account: how many days are left of a trial, " +
        "what it may have, and what it has. Every key may ask this.",
    );
  addKeyFlags(whoami)
    .addHelpText(
      "after",
      `
The key itself is not printed.

Examples:
  lockdb whoami
  lockdb whoami --json | jq .account.daysLeft`,
    )
    .action((flags: ServerFlags) =>
      withApi(flags, async (api, print) => {
        const self = await api.ask("/v1/self", { read: selfForm });
        await print(flags.json ? jsonLine(self) : `${keyText(self.key)}\n${accountText(self.account)}`);
      }),
    );
}
