import { type Command, InvalidArgumentError } from "commander";
import { accountId, printNewKey, timeAhead, withApi } from "./access-args.js";
import { ACCOUNT_COLUMNS, accountCells, accountText, trialText } from "./access-words.js";
import { accountForm, accountsForm, newAccountForm, selfForm } from "./answers.js";
import { addKeyFlags, type ServerFlags } from "./args.js";
import { UsageError } from "./exit.js";
import type { HttpApi } from "./http.js";
import { headRow, jsonLine, row } from "./words.js";

/** What an account may have, each with its flag (N3). */
const LIMITS = {
  requestsPerSecond: "requests a second that ask for something",
  holds: "holds, and those who wait for one",
  sessions: "sessions",
  waiters: "those who wait",
  services: "services",
  keys: "API keys",
  connections: "native connections, and streams of events",
  deliveries: "webhook deliveries that are still to be made",
  acts: "entries in the audit log",
} as const;

type LimitFlags = ServerFlags & { readonly [K in keyof typeof LIMITS]?: number | "usual" };

/** `accounts`: who keys and services belong to. */
export function addAccountCommands(program: Command): void {
  const accounts = program
    .command("accounts")
    .usage("<command> [options]")
    .summary("list, make and change accounts: trials, limits")
    .description(
      "Accounts, which keys and services belong to. All but `show` without an id needs a key with the scope admin; to make " +
        'and change accounts, one of the account "default" that is for all services.',
    )
    .addHelpText("after", ACCOUNTS_HELP);
  addLooks(accounts);
  addMaking(accounts);
  addChanges(accounts);
}

const ACCOUNTS_HELP = `
Examples:
  lockdb accounts ls
  lockdb accounts create --email dev@example.com --trial
  lockdb accounts extend acc_7Yw2Lr9sKd --until 30d`;

const ID_DOC = "id of the account, such as acc_7Yw2Lr9sKd";
const WIDTHS = [20, 32, 16, 10, 10, 10];

function addLooks(accounts: Command): void {
  const ls = accounts
    .command("ls")
    .summary("list the accounts, and how long their trials last")
    .description('Lists the accounts, sorted by id. A key of another account than "default" sees its own.');
  addKeyFlags(ls)
    .addHelpText(
      "after",
      `
In a pipe the columns are separated by tabs. --json prints one account a line,
with its limits.

Examples:
  lockdb accounts ls
  lockdb accounts ls --json | jq -r 'select(.daysLeft == 0) | .id'`,
    )
    .action((flags: ServerFlags) =>
      withApi(flags, async (api, print) => {
        const widths = process.stdout.isTTY ? WIDTHS : null;
        // Printed with the first row: a refusal leaves standard output empty.
        let head = flags.json ? null : headRow(ACCOUNT_COLUMNS, widths);
        const read = (value: unknown) => {
          const { accounts: items, next } = accountsForm(value);
          return { items, next };
        };
        for await (const account of api.pages("/v1/accounts", { read })) {
          if (head !== null) await print(head);
          head = null;
          await print(flags.json ? jsonLine(account) : row(accountCells(account), widths));
        }
      }),
    );

  const show = accounts
    .command("show")
    .usage("[id] [options]")
    .summary("show an account: its trial, its limits, what it has")
    .description(
      "Shows an account: what is left of its trial, what it may have, and what it has. Every key may ask for its own.",
    )
    .argument("[id]", `${ID_DOC} (default: the key's own)`, accountId);
  addKeyFlags(show)
    .addHelpText("after", "\nExamples:\n  lockdb accounts show\n  lockdb accounts show acc_7Yw2Lr9sKd")
    .action((id: string | undefined, flags: ServerFlags) =>
      withApi(flags, async (api, print) => {
        const account =
          id === undefined
            ? (await api.ask("/v1/self", { read: selfForm })).account
            : await api.ask(`/v1/accounts/${id}`, { read: accountForm });
        await print(flags.json ? jsonLine(account) : accountText(account));
      }),
    );
}

function addMaking(accounts: Command): void {
  const create = accounts
    .command("create")
    .summary("make an account, and print its first key this once")
    .description(
      "Makes an account, and prints its first key, which has every scope. This is the only time: the server stores a " +
        "hash of it. In a pipe nothing but the key is on standard output.",
    )
    .option("--email <address>", "whom to ask about it; nothing is sent there")
    .option("--trial", "it ends after 30 days, and has the small limits of a trial");
  addKeyFlags(create)
    .addHelpText(
      "after",
      `
Examples:
  lockdb accounts create --email team@example.com > team.key
  lockdb accounts create --email dev@example.com --trial --json`,
    )
    .action((flags: ServerFlags & { readonly email?: string; readonly trial?: boolean }) =>
      withApi(flags, async (api) => {
        const { email, trial } = flags;
        const body = { ...(email === undefined ? {} : { email }), ...(trial === true ? { trial } : {}) };
        const answer = await api.ask("/v1/accounts", { method: "POST", body, read: newAccountForm });
        const { account, apiKey } = answer;
        const otherwise = `Make another: lockdb keys create --scopes lock,read,force,admin --account ${account.id}`;
        const key = `${apiKey.split("_")[1]}, and its account's ${account.id}`;
        await printNewKey(
          "accounts create",
          { apiKey, key, text: accountText(account), answer, otherwise },
          flags,
        );
      }),
    );
}

function addChanges(accounts: Command): void {
  const extend = accounts
    .command("extend")
    .usage("<id> --until <when> [options]")
    .summary("let a trial last longer")
    .description(
      "Sets when a trial ends, counted from now. One that has ended goes on. An earlier time ends it sooner: new locks " +
        "are refused from then on, and what is held can be released.",
    )
    .argument("<id>", ID_DOC, accountId)
    .requiredOption("--until <when>", "in such as 30d, or at a time such as 2027-01-31, in UTC", timeAhead);
  addKeyFlags(extend)
    .addHelpText(
      "after",
      `
Examples:
  lockdb accounts extend acc_7Yw2Lr9sKd --until 30d
  lockdb accounts extend acc_7Yw2Lr9sKd --until 2027-01-31T12:00:00Z
  lockdb accounts extend acc_7Yw2Lr9sKd --until 0s     # end it now`,
    )
    .action((id: string, flags: ServerFlags & { readonly until: string }) =>
      withApi(flags, async (api, print) => {
        // Else an account that is no trial would become one, and end.
        const before = await api.ask(`/v1/accounts/${id}`, { read: accountForm });
        if (before.trialEndsAt === null)
          throw new UsageError(`The account ${id} is no trial: it has no end that could be moved.`);
        const account = await change(api, id, { trialEndsAt: flags.until });
        const text = `the trial of ${id}: ${trialText(account)} (before: ${before.trialEndsAt})`;
        await print(flags.json ? jsonLine(account) : text);
      }),
    );

  const convert = accounts
    .command("convert")
    .usage("<id> [options]")
    .summary("make a trial an account without an end")
    .description(
      "Ends a trial and keeps the account: it has no end any more, and not the small limits of a trial. Limits that " +
        "were set with `accounts limit` stay.",
    )
    .argument("<id>", ID_DOC, accountId);
  addKeyFlags(convert)
    .addHelpText("after", "\nExample:\n  lockdb accounts convert acc_7Yw2Lr9sKd")
    .action((id: string, flags: ServerFlags) =>
      withApi(flags, async (api, print) => {
        const account = await change(api, id, { trialEndsAt: null });
        await print(flags.json ? jsonLine(account) : accountText(account));
      }),
    );

  const limit = accounts
    .command("limit")
    .usage("<id> [options]")
    .summary("set what an account may have")
    .description(
      "Sets what an account may have. A number is the most; usual gives back what accounts of its kind have. What is " +
        "not named stays as it is.",
    )
    .argument("<id>", ID_DOC, accountId);
  for (const [name, doc] of Object.entries(LIMITS)) limit.option(`${flagOf(name)} <n>`, doc, limitOf);
  addKeyFlags(limit)
    .addHelpText(
      "after",
      `
What is there already stays when a limit is set below it.

Examples:
  lockdb accounts limit acc_7Yw2Lr9sKd --requests-per-second 200 --holds 5000
  lockdb accounts limit acc_7Yw2Lr9sKd --holds usual`,
    )
    .action((id: string, flags: LimitFlags) => {
      const names = Object.keys(LIMITS) as (keyof typeof LIMITS)[];
      const limits = names
        .filter((name) => flags[name] !== undefined)
        .map((name) => [name, flags[name] === "usual" ? null : flags[name]]);
      if (limits.length === 0) throw new UsageError("Say which limit, such as --holds 5000.");
      return withApi(flags, async (api, print) => {
        const account = await change(api, id, { limits: Object.fromEntries(limits) });
        await print(flags.json ? jsonLine(account) : accountText(account));
      });
    });
}

function change(api: HttpApi, id: string, body: object) {
  return api.ask(`/v1/accounts/${id}`, { method: "PATCH", body, read: accountForm });
}

/** `--requests-per-second`. */
function flagOf(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

function limitOf(text: string): number | "usual" {
  if (text === "usual") return text;
  const number = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(number)) throw new InvalidArgumentError('Say a whole number, or "usual".');
  return number;
}
