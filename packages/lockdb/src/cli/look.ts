import type { Command } from "commander";
import type { LockEvent, LockInfo } from "../index.js";
import { addServerFlags, oneName, type ServerFlags, withClient } from "./args.js";
import { headRow, holderText, jsonLine, modeWords, printable, row, spanText } from "./words.js";

/** Holders and waiters that `show` names. */
const SHOWN_MAX = 10;

/** `ls`, `show` and `watch`: what is held, by whom, and what happens. */
export function addLookCommands(program: Command): void {
  const ls = program
    .command("ls")
    .usage("[prefix] [options]")
    .summary("list the locks that are held or waited for")
    .description("Lists the locks that are held or waited for, those that came to be so first come first.")
    .argument("[prefix]", "only names that begin with it");
  addServerFlags(ls)
    .addHelpText("after", LS_HELP)
    .action((prefix = "", flags: ServerFlags) =>
      withClient(flags, async (client, print) => {
        const widths = process.stdout.isTTY ? [40, 10, 24, 10, 12, 8] : null;
        if (!flags.json)
          await print(headRow(["NAME", "MODE", "HOLDER", "TOKEN", "HELD FOR", "WAITING"], widths));
        for await (const info of client.list({ prefix })) {
          await print(flags.json ? jsonLine(info) : row(cellsOf(info), widths));
        }
      }),
    );

  const show = program
    .command("show")
    .usage("<name> [options]")
    .summary("show who holds a lock and who waits for it")
    .description("Shows who holds a lock, since when and with which token, and who waits for it, in order.")
    .argument("<name>", "lock name");
  addServerFlags(show).action((name: string, flags: ServerFlags) =>
    withClient(flags, async (client, print) => {
      const info = await client.inspect(oneName("show", name));
      await print(flags.json ? jsonLine(info) : infoText(info));
    }),
  );

  const watch = program
    .command("watch")
    .usage("[prefix] [options]")
    .summary("tell what happens to locks, as it happens")
    .description("Tells what happens to locks from now on, in order, until it is interrupted.")
    .argument("[prefix]", "only names that begin with it");
  addServerFlags(watch)
    .addHelpText("after", WATCH_HELP)
    .action((prefix = "", flags: ServerFlags) =>
      withClient(flags, async (client, print) => {
        for await (const event of client.watch({ prefix })) {
          await print(flags.json ? jsonLine(event) : eventText(event));
        }
      }),
    );
}

const LS_HELP = `
In a pipe the columns are separated by tabs. With several holders the newest is
shown, and how many there are. --json prints one lock a line, with its first ten
holders and waiters.

Examples:
  lockdb ls
  lockdb ls invoice/ --json | jq .name`;

const WATCH_HELP = `
A line that says "gap" means that events may be missing there: after a restart of
the server, or when this command was too slow. Times are the server's.

Examples:
  lockdb watch
  lockdb watch invoice/ --json`;

function cellsOf({ name, holders, holderCount, queueLength }: LockInfo): readonly string[] {
  const [holder] = holders;
  if (holder === undefined) return [name, "", "free", "", "", String(queueLength)];
  const { owner, mode, permits, weight, state, token, heldForMs } = holder;
  const kind = mode === "semaphore" ? `${weight}/${permits}` : mode;
  const who = state === "closed" ? `${owner}, closed after it` : owner;
  const more = holderCount > 1 ? ` and ${holderCount - 1} more` : "";
  return [name, kind, `${who}${more}`, String(token), spanText(heldForMs), String(queueLength)];
}

function eventText(event: LockEvent): string {
  if (event.type === "gap") return "gap: events may be missing here";
  const { at, type, names, owner, token, ticket, leads, reason, closedForMs, cycle } = event;
  const facts = [
    ...(token === undefined ? [] : [`token ${token}`]),
    ...(ticket === undefined ? [] : [`ticket ${ticket}`]),
    ...(leads === true ? ["leads"] : []),
    ...(reason === undefined ? [] : [reason]),
    ...(closedForMs === undefined ? [] : [`closed for another ${spanText(closedForMs)}`]),
  ];
  const steps = (cycle ?? []).map((step) => `\n    ${step}`).join("");
  return printable(`${at} ${type.padEnd(8)} ${names.join(", ")}  ${owner} (${facts.join(", ")})${steps}`);
}

function infoText({ name, holders, holderCount, queue, queueLength, ...info }: LockInfo): string {
  const { previous, recovering } = info;
  const lines = [
    `${name}: ${holders.length === 0 ? "free" : holders.slice(0, SHOWN_MAX).map(holderText).join("\n  ")}`,
  ];
  if (holderCount > SHOWN_MAX) lines.push(`  and ${holderCount - SHOWN_MAX} more holders`);
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
  for (const waiter of queue.slice(0, SHOWN_MAX)) {
    const { ticket, owner, waitingForMs, away } = waiter;
    const note = away ? ["its connection is down"] : [];
    const facts = [`ticket ${ticket}`, ...modeWords(waiter), ...note].join(", ");
    lines.push(`    ${owner} for ${spanText(waitingForMs)} (${facts})`);
  }
  if (queueLength > SHOWN_MAX) lines.push(`    and ${queueLength - SHOWN_MAX} more`);
  if (recovering)
    lines.push("  The server is waiting for its clients to return: a holder may be unknown yet.");
  return printable(lines.join("\n"));
}
