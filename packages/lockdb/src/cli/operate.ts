import { type Command, InvalidArgumentError } from "commander";
import type { LockDB } from "../index.js";
import { type LockInfo, reasonProblem } from "../protocol/index.js";
import { addServerFlags, namesOf, openClient, type ServerFlags } from "./args.js";
import { UsageError } from "./exit.js";
import { unlessInterrupted } from "./signals.js";
import { holderText, printable, spanText } from "./words.js";

interface ForceFlags extends ServerFlags {
  readonly token: number;
  readonly reason: string;
}

const WAITERS_SHOWN = 10;

/** `show` and `force-release`: what an operator looks at, and does, when a lock does not come back. */
export function addOperatorCommands(program: Command): void {
  const show = program
    .command("show")
    .usage("<name> [options]")
    .summary("show who holds a lock and who waits for it")
    .description("Shows who holds a lock, since when and with which token, and who waits for it, in order.")
    .argument("<name>", "lock name");
  addServerFlags(show).action((name: string, flags: ServerFlags) =>
    withClient(flags, async (client) => {
      const info = await client.inspect(oneName("show", name));
      return flags.json ? JSON.stringify(info) : infoText(info);
    }),
  );

  const force = program
    .command("force-release")
    .usage("<name> [options]")
    .summary("take a lock away from whoever holds it")
    .description(
      "Ends a hold of somebody else, and the next in the queue has the lock. Its holder is told, now or when it comes " +
        "back. The server records who did it, and why.",
    )
    .argument("<name>", "lock name")
    .requiredOption("--token <n>", "the hold's token, as `lockdb show` tells it", tokenOf)
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
      withClient(flags, async (client) => {
        const { token, reason, json } = flags;
        const problem = reasonProblem(reason);
        if (problem !== null) throw new UsageError(`--reason: ${problem}`);
        await client.forceRelease(oneName("force-release", name), token, reason);
        return json ? JSON.stringify({ released: true, name, token }) : "true";
      }),
    );
}

async function withClient(flags: ServerFlags, call: (client: LockDB) => Promise<string>): Promise<void> {
  const client = await openClient(flags);
  try {
    process.stdout.write(`${await unlessInterrupted(call(client))}\n`);
  } finally {
    await client.close();
  }
}

function oneName(command: string, text: string): string {
  const names = namesOf(text);
  if (names.length > 1) throw new UsageError(`\`${command}\` takes one lock name.`);
  return names[0]!;
}

function tokenOf(text: string): number {
  const token = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(token) || token < 1)
    throw new InvalidArgumentError("A token is an integer from 1.");
  return token;
}

function infoText({ name, holders, queue, queueLength, previous, recovering }: LockInfo): string {
  const lines = [`${name}: ${holders.length === 0 ? "free" : holders.map(holderText).join(" ")}`];
  for (const { metadata } of holders) {
    if (Object.keys(metadata).length > 0) lines.push(`  metadata: ${JSON.stringify(metadata)}`);
  }
  if (previous !== undefined) {
    const { owner, token, endedBy } = previous;
    const how = endedBy === "force" ? "was taken from it by force" : "expired";
    lines.push(
      `  The hold of ${owner} before (token ${token}) ${how}, and nobody has given the lock back since.`,
    );
  }
  if (queueLength > 0) lines.push(`  ${queueLength} waiting:`);
  for (const { ticket, owner, waitingForMs, away } of queue.slice(0, WAITERS_SHOWN)) {
    const note = away ? ", its connection is down" : "";
    lines.push(`    ${owner} for ${spanText(waitingForMs)} (ticket ${ticket}${note})`);
  }
  if (queueLength > WAITERS_SHOWN) lines.push(`    and ${queueLength - WAITERS_SHOWN} more`);
  if (recovering)
    lines.push("  The server is waiting for its clients to return: a holder may be unknown yet.");
  return printable(lines.join("\n"));
}
