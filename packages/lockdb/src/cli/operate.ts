import type { Command } from "commander";
import { reasonProblem } from "../protocol/index.js";
import { addServerFlags, count, oneName, type ServerFlags, withClient } from "./args.js";
import { UsageError } from "./exit.js";

interface ForceFlags extends ServerFlags {
  readonly token: number;
  readonly reason: string;
}

/** `force-release`: what an operator does when a lock does not come back. */
export function addOperatorCommands(program: Command): void {
  const force = program
    .command("force-release")
    .usage("<name> [options]")
    .summary("take a lock away from whoever holds it")
    .description(
      "Ends a hold of somebody else, and the next in the queue has the lock. Its holder is told, now or when it comes " +
        "back. The server records who did it, and why.",
    )
    .argument("<name>", "lock name")
    .requiredOption("--token <n>", "the hold's token, as `lockdb show` tells it", count)
    .requiredOption("--reason <text>", "why, for the audit log; at most 256 bytes");
  addServerFlags(force)
    .addHelpText(
      "after",
      `
Whoever held the lock may be at work still when the next one has it. Only a
place that checks tokens is safe from that. If the lock has no hold with this
token any more, nothing happens, and it exits 1.

Example:
  lockdb force-release nightly --token 4711 --reason "host db3 hangs"`,
    )
    .action((name: string, flags: ForceFlags) =>
      withClient(flags, async (client, print) => {
        const { token, reason, json } = flags;
        const problem = reasonProblem(reason);
        if (problem !== null) throw new UsageError(`--reason: ${problem}`);
        await client.forceRelease(oneName("force-release", name), token, reason);
        await print(json ? JSON.stringify({ released: true, name, token }) : "true");
      }),
    );
}
