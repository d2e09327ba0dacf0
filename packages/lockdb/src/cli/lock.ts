import { type Command, Option } from "commander";
import type { LockDB } from "../index.js";
import { addServerFlags, expirationSeconds, namesOf, type ServerFlags, waitMs, withClient } from "./args.js";

interface LockFlags extends ServerFlags {
  readonly waitTimeoutInMs?: number;
  readonly unlockWebhookUrl?: string;
  readonly lockExpirationInS?: number;
}

const NAMES_DOC = "lock name, or several with commas between";

/** `lock`, `unlock` and `check`: the commands of the original (C6). */
export function addLockCommands(program: Command): void {
  const lock = program
    .command("lock")
    .usage("<names> [options]")
    .summary("lock a name until it is unlocked or expires")
    .description(
      "Locks a name and prints true. The lock outlives this command: it is held until anyone in the service " +
        "unlocks it, or until it expires. To hold a lock while a command runs, see `lockdb run`.",
    )
    .argument("<names>", NAMES_DOC)
    .option(
      "-w, --wait-timeout-in-ms <time>",
      "how long to wait: in ms, or such as 30s (default: 30s)",
      waitMs,
    )
    .option(
      "-l, --lock-expiration-in-s <time>",
      "how long to hold it: in seconds, or such as 5m (default: 300)",
      expirationSeconds,
    )
    .option("-u, --unlock-webhook-url <url>", "URL that gets a POST when it is unlocked or expires");
  addServerFlags(lock)
    .addHelpText(
      "after",
      `
When it is not free in time, it exits 1: TimeoutError, and who holds it, are on
standard error.

Examples:
  lockdb lock report -l 2m && { make-report; lockdb unlock report; }
  lockdb lock seat/12,seat/13 -w 0`,
    )
    .action((names: string, flags: LockFlags) =>
      print("lock", names, flags, (client, list) =>
        client.lock(list, {
          ...waitOf(flags),
          ...(flags.lockExpirationInS === undefined
            ? {}
            : { lockExpirationInSeconds: flags.lockExpirationInS }),
          ...(flags.unlockWebhookUrl === undefined ? {} : { unlockWebhookUrl: flags.unlockWebhookUrl }),
        }),
      ),
    );

  const unlock = program
    .command("unlock")
    .usage("<names> [options]")
    .summary("unlock a name")
    .description(
      "Unlocks a name that `lockdb lock` locked, from anywhere. Prints true, or false if it was not locked.",
    )
    .argument("<names>", NAMES_DOC)
    .option("-w, --wait-timeout-in-ms <time>", "how long to try: in ms, or such as 5s (default: 5s)", waitMs);
  addServerFlags(withoutUse(unlock))
    .addHelpText("after", "\nOf several names: true if any was locked. It exits 0 whatever it prints.")
    .action((names: string, flags: LockFlags) =>
      print("unlock", names, flags, (client, list) => client.unlock(list, waitOf(flags))),
    );

  const check = program
    .command("check")
    .usage("<names> [options]")
    .summary("tell whether a name is locked")
    .description(
      "Prints true if somebody holds the lock, and else false. The answer may be old when you read it.",
    )
    .argument("<names>", NAMES_DOC)
    .option("-w, --wait-timeout-in-ms <time>", "how long to try: in ms, or such as 5s (default: 5s)", waitMs);
  addServerFlags(withoutUse(check))
    .addHelpText("after", "\nOf several names: true if any is locked. It exits 0 whatever it prints.")
    .action((names: string, flags: LockFlags) =>
      print("check", names, flags, (client, list) => client.check(list, waitOf(flags))),
    );
}

/** The original takes its flags with every command, also where they mean nothing. */
function withoutUse(command: Command): Command {
  return command
    .addOption(new Option("-l, --lock-expiration-in-s <time>").argParser(expirationSeconds).hideHelp())
    .addOption(new Option("-u, --unlock-webhook-url <url>").hideHelp());
}

function waitOf({ waitTimeoutInMs }: LockFlags): { waitTimeoutInMs?: number } {
  return waitTimeoutInMs === undefined ? {} : { waitTimeoutInMs };
}

async function print(
  command: "lock" | "unlock" | "check",
  text: string,
  flags: LockFlags,
  call: (client: LockDB, names: readonly string[]) => Promise<boolean>,
): Promise<void> {
  const names = namesOf(text);
  await withClient(flags, async (client, print) => {
    const value = await call(client, names);
    await print(flags.json ? JSON.stringify({ [command]: value, names }) : String(value));
  });
}
