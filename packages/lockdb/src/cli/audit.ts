import type { Command } from "commander";
import { addAccountFlag, timePast, withApi } from "./access-args.js";
import { entryText } from "./access-words.js";
import { auditForm } from "./answers.js";
import { addKeyFlags, type ServerFlags } from "./args.js";
import { jsonLine } from "./words.js";

interface AuditFlags extends ServerFlags {
  readonly account?: string;
  readonly since?: string;
}

/** `audit`: who did what, when and why (A7). */
export function addAuditCommand(program: Command): void {
  const audit = program
    .command("audit")
    .summary("read the audit log: who did what, when and why")
    .description(
      "Prints every administrative act and every forced release of the account, the oldest first. It needs a key with " +
        "the scope admin.",
    )
    .option("--since <when>", "for the last 24h, say, or from a time in UTC on (default: all)", timePast);
  addKeyFlags(addAccountFlag(audit))
    .addHelpText(
      "after",
      `
--json prints one entry a line, which is what to keep elsewhere. Times are the
server's, such as 2027-01-31 or 2027-01-31T12:00:00Z.

Examples:
  lockdb audit --since 24h
  lockdb audit --json > audit.jsonl
  lockdb audit --json | jq 'select(.what == "force release")'`,
    )
    .action((flags: AuditFlags) =>
      withApi(flags, async (api, print) => {
        const read = (value: unknown) => {
          const { entries: items, next } = auditForm(value);
          return { items, next };
        };
        const query = { account: flags.account, after: flags.since };
        for await (const entry of api.pages("/v1/audit", { query, read })) {
          await print(flags.json ? jsonLine(entry) : entryText(entry));
        }
      }),
    );
}
