import { type Command, InvalidArgumentError } from "commander";
import {
  addAccountFlag,
  keyId,
  printNewKey,
  scopeList,
  serviceList,
  timeAhead,
  withApi,
} from "./access-args.js";
import { KEY_COLUMNS, keyCells, keyText } from "./access-words.js";
import { keyForm, keysForm, newKeyForm } from "./answers.js";
import { addKeyFlags, duration, type ServerFlags } from "./args.js";
import { UsageError } from "./exit.js";
import { headRow, jsonLine, row } from "./words.js";

interface KeyFlags extends ServerFlags {
  readonly account?: string;
}

interface MightFlags extends KeyFlags {
  readonly name?: string;
  readonly scopes?: readonly string[];
  readonly services?: readonly string[];
  readonly expires?: string;
}

interface RotateFlags extends KeyFlags {
  readonly keepOld?: number;
}

/** `keys`: who may call, and what. */
export function addKeyCommands(program: Command): void {
  const keys = program
    .command("keys")
    .usage("<command> [options]")
    .summary("list, make, narrow, rotate and revoke API keys")
    .description(
      "API keys of an account. All of this needs a key with the scope admin. A key gives only what it has: no scope, " +
        "service or end beyond its own.",
    )
    .addHelpText("after", KEYS_HELP);
  addLooks(keys);
  addMaking(keys);
  addEnding(keys);
}

const KEYS_HELP = `
Scopes:
  lock   ask for locks, and give them back
  read   look at what is held, and who waits
  force  take a lock from somebody else
  admin  keys, the account, settings

Examples:
  KEY=$(lockdb keys create --scopes lock,read --services billing)
  lockdb keys ls
  lockdb keys create --help`;

const ID_DOC = "id of the key: what stands between ldb_ and the next _";

function addLooks(keys: Command): void {
  const ls = keys
    .command("ls")
    .summary("list the keys of the account")
    .description(
      "Lists the keys of the account, the oldest first. Revoked ones are gone: see `lockdb audit`.",
    );
  addKeyFlags(addAccountFlag(ls))
    .addHelpText(
      "after",
      `
In a pipe the columns are separated by tabs. --json prints one key a line.
LAST USED is to the minute.

Examples:
  lockdb keys ls
  lockdb keys ls --json | jq -r 'select(.expiresAt == null) | .id'`,
    )
    .action((flags: KeyFlags) =>
      withApi(flags, async (api, print) => {
        const { keys: all } = await api.ask("/v1/keys", { query: accountOf(flags), read: keysForm });
        const rows = [KEY_COLUMNS, ...all.map(keyCells)];
        const widths = KEY_COLUMNS.map((_, at) => Math.max(...rows.map((cells) => cells[at]!.length)) + 2);
        const texts = flags.json
          ? all.map(jsonLine)
          : rows.map((cells, at) => (at === 0 ? headRow : row)(cells, process.stdout.isTTY ? widths : null));
        for (const text of texts) await print(text);
      }),
    );

  const show = keys
    .command("show")
    .usage("<id> [options]")
    .summary("show what a key may, and when it was used last")
    .description(
      "Shows what a key may, since when and until when, and when it was used last. Never the key itself.",
    )
    .argument("<id>", ID_DOC, keyId);
  addKeyFlags(addAccountFlag(show))
    .addHelpText("after", "\nExample:\n  lockdb keys show 4fZk2Qm0aB")
    .action((id: string, flags: KeyFlags) =>
      withApi(flags, async (api, print) => {
        const key = await api.ask(`/v1/keys/${id}`, { query: accountOf(flags), read: keyForm });
        await print(flags.json ? jsonLine(key) : keyText(key));
      }),
    );
}

function addMaking(keys: Command): void {
  const create = keys
    .command("create")
    .usage("--scopes <list> [options]")
    .summary("make a key, and print it this once")
    .description(
      "Makes a key and prints it. This is the only time: the server stores a hash of it. In a pipe nothing but the " +
        "key is on standard output.",
    )
    .requiredOption("--scopes <list>", "what it may: of lock, read, force, admin, with commas", scopeList)
    .option("--name <text>", 'what it is for, for whoever looks (default: "unnamed")', keyName)
    .option("--services <list>", "limit it to these services (default: all, also later ones)", serviceList)
    .option("--expires <when>", "when it ends: in such as 30d, or at a time (default: never)", timeAhead);
  addKeyFlags(addAccountFlag(create))
    .addHelpText(
      "after",
      `
Times are such as 2027-01-31 or 2027-01-31T12:00:00Z, in UTC. What each scope is
for: lockdb keys --help.

Examples:
  KEY=$(lockdb keys create --name billing --scopes lock,read)
  lockdb keys create --scopes read --expires 30d > /run/secrets/lockdb
  lockdb keys create --scopes lock --json | jq -r .apiKey`,
    )
    .action((flags: MightFlags) => {
      const { scopes, expires } = flags;
      if (expires !== undefined && Date.parse(expires) <= Date.now())
        throw new UsageError("--expires: that time is past. Such a key would never work.");
      return withApi(flags, async (api) => {
        const answer = await api.ask("/v1/keys", {
          method: "POST",
          query: accountOf(flags),
          body: { scopes, ...mightOf(flags) },
          read: newKeyForm,
        });
        const { key, apiKey } = answer;
        const otherwise = `Revoke it: lockdb keys revoke ${key.id}${accountWords(flags)}`;
        await printNewKey(
          "keys create",
          { apiKey, key: key.id, text: keyText(key), answer, otherwise },
          flags,
        );
      });
    });

  const rotate = keys
    .command("rotate")
    .usage("<id> [options]")
    .summary("give a key another secret, and print it this once")
    .description(
      "Gives a key another secret, and prints the whole key, as `keys create` does. The old one works beside it for " +
        "a while, so that its users can change over; the one before that works no more.",
    )
    .argument("<id>", ID_DOC, keyId)
    .option(
      "--keep-old <duration>",
      "how long the old one works; 0s ends it at once (default: 24h)",
      duration,
    );
  addKeyFlags(addAccountFlag(rotate))
    .addHelpText(
      "after",
      `
The root key is not rotated: start the server with another LOCKDB_ROOT_KEY.

Examples:
  lockdb keys rotate 4fZk2Qm0aB --keep-old 2h > /run/secrets/lockdb
  lockdb keys rotate 4fZk2Qm0aB --keep-old 0s     # it has leaked`,
    )
    .action((id: string, flags: RotateFlags) =>
      withApi(flags, async (api) => {
        const answer = await api.ask(`/v1/keys/${id}/rotate`, {
          method: "POST",
          query: accountOf(flags),
          body: flags.keepOld === undefined ? {} : { oldKeptMs: flags.keepOld },
          read: newKeyForm,
        });
        const { key, apiKey } = answer;
        const otherwise = `Rotate it once more: lockdb keys rotate ${id}${accountWords(flags)}`;
        await printNewKey("keys rotate", { apiKey, key: id, text: keyText(key), answer, otherwise }, flags);
      }),
    );
}

function addEnding(keys: Command): void {
  const narrow = keys
    .command("narrow")
    .usage("<id> [options]")
    .summary("take scopes or services from a key, or let it end sooner")
    .description(
      "Takes scopes or services from a key, lets it end sooner, or renames it. It never gets more: make a new one for " +
        "that. What is open under it hears of it within a second.",
    )
    .argument("<id>", ID_DOC, keyId)
    .option("--name <text>", "its new name", keyName)
    .option("--scopes <list>", "the scopes that it keeps", scopeList)
    .option("--services <list>", "the services that it keeps", serviceList)
    .option("--expires <when>", "when it ends: in such as 30d, or at a time in UTC", timeAhead);
  addKeyFlags(addAccountFlag(narrow))
    .addHelpText(
      "after",
      `
Examples:
  lockdb keys narrow 4fZk2Qm0aB --scopes read
  lockdb keys narrow 4fZk2Qm0aB --expires 7d`,
    )
    .action((id: string, flags: MightFlags) => {
      const body = { ...mightOf(flags), ...(flags.scopes === undefined ? {} : { scopes: flags.scopes }) };
      if (Object.keys(body).length === 0)
        throw new UsageError("Say what changes: --scopes, --services, --expires or --name.");
      return withApi(flags, async (api, print) => {
        const asked = { method: "PATCH", query: accountOf(flags), body, read: keyForm } as const;
        const key = await api.ask(`/v1/keys/${id}`, asked);
        await print(flags.json ? jsonLine(key) : keyText(key));
      });
    });

  const revoke = keys
    .command("revoke")
    .usage("<id> [options]")
    .summary("end a key at once")
    .description(
      "Ends a key at once. Connections under it are closed within a second. Locks that are held under it are freed when " +
        "their leases run out, because until then their holders may be at work.",
    )
    .argument("<id>", `${ID_DOC}; of a whole key its id is taken`, keyId);
  addKeyFlags(addAccountFlag(revoke))
    .addHelpText(
      "after",
      `
It cannot be taken back. To free a lock sooner, see \`lockdb force-release\`.

Example:
  lockdb keys revoke 4fZk2Qm0aB`,
    )
    .action((id: string, flags: KeyFlags) =>
      withApi(flags, async (api, print) => {
        const asked = { method: "DELETE", query: accountOf(flags), read: keyForm } as const;
        const key = await api.ask(`/v1/keys/${id}`, asked);
        await print(flags.json ? jsonLine(key) : `revoked: ${keyText(key)}`);
      }),
    );
}

function accountOf({ account }: KeyFlags): { readonly account: string | undefined } {
  return { account };
}

/** For a command line that somebody may copy. */
function accountWords({ account }: KeyFlags): string {
  return account === undefined ? "" : ` --account ${account}`;
}

function mightOf({ name, services, expires }: MightFlags): object {
  return {
    ...(name === undefined ? {} : { name }),
    ...(services === undefined ? {} : { services }),
    ...(expires === undefined ? {} : { expiresAt: expires }),
  };
}

function keyName(text: string): string {
  if (text === "" || /[\u0000-\u001f\u007f]/.test(text))
    throw new InvalidArgumentError("A name is one line of text, and not empty.");
  return text;
}
