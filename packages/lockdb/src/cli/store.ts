import { type Command, InvalidArgumentError } from "commander";
import { withApi } from "./access-args.js";
import { addKeyFlags, print, type ServerFlags } from "./args.js";
import { ExitError } from "./exit.js";
import { EXIT, exitHelp } from "./exit-codes.js";
import { HOW_TO_INSTALL, loadServer, type ServerPackage, type StoreSummary } from "./server-package.js";
import { jsonLine, oneLine } from "./words.js";

interface JsonFlag {
  readonly json?: boolean;
}

interface RestoreFlags extends JsonFlag {
  readonly dataDir?: string;
  readonly dropHolds?: true;
  readonly tokensAbove?: number;
}

/** Services that `inspect` shows to people; --json has all. */
const SERVICES_SHOWN_MAX = 20;

/** `store`: backups, and a look at what is on the disk. */
export function addStoreCommands(program: Command): void {
  const store = program
    .command("store")
    .usage("<command> [options]")
    .summary("back up, restore, inspect and move a server's or a cluster's data")
    .description(
      "What a server has on its disk, or a cluster in etcd. `backup` asks a running server; `inspect` also looks at a cluster that runs; all others work on what " +
        "nobody uses. They need @lockdb/server, as `serve` does.",
    )
    .addHelpText("after", STORE_HELP);
  addBackup(store);
  addRestore(store);
  addInspect(store);
  addCopy(store);
}

const ETCD_HELP = `Where etcd asks for certificates or a password, the variables LOCKDB_ETCD_CA,
LOCKDB_ETCD_CERT, LOCKDB_ETCD_KEY, LOCKDB_ETCD_USER and LOCKDB_ETCD_PASSWORD (or
LOCKDB_ETCD_PASSWORD_FILE) say them, as they do for serve.`;

const STORE_HELP = `
A backup holds secrets, so its file is for its owner alone. Restored, it is an
older state: what happened after it is lost. Read docs/backup.md before you need
it.

Examples:
  lockdb store backup lockdb.backup
  lockdb store restore lockdb.backup --data-dir /var/lib/lockdb
  lockdb store inspect /var/lib/lockdb`;

function addBackup(store: Command): void {
  const backup = store
    .command("backup")
    .usage("<file> [options]")
    .summary("back up a running server")
    .description(
      "Writes all that a running server has made durable, as of one moment, into a file. The server goes on meanwhile. The file takes " +
        "its name, and the place of one that was there, when all of it was looked at. It needs a key of the account default " +
        "with the scope admin, for all services.",
    )
    .argument("<file>", "where to write it");
  addKeyFlags(backup)
    .addHelpText(
      "after",
      `
The file holds hashes of API keys, and the secrets that sign webhooks in clear:
it can be read by its owner alone (0600). Keep it as you keep keys.

Examples:
  lockdb store backup lockdb.backup
  lockdb store backup "/backups/lockdb-$(date -u +%FT%H%M).backup" --json`,
    )
    .action((file: string, flags: ServerFlags) =>
      withServer(async (server) => {
        await withApi(flags, async (api) => {
          let records = 0;
          let at = "";
          const check = async (path: string) => {
            ({ records, at } = await server.checkBackup(path));
          };
          await api.ask("/v1/backup", {
            read: () => {},
            take: (pieces) => server.writeBackup(file, pieces, check),
          });
          const text = `${records} records as of ${at} are in ${file}. It holds secrets: keep it as you keep keys.`;
          await print(flags.json ? jsonLine({ file, at, records }) : text);
        });
      }),
    );
}

function addRestore(store: Command): void {
  store
    .command("restore")
    .usage("<file> <folder or etcd://…> [options]")
    .summary("make a data folder or a cluster of a backup")
    .description(
      "Makes a data folder of a backup, for a server to start with, or a cluster in etcd, for its members. All of the file is looked at before anything is written. Tokens begin above " +
        "all that the lost server can have given out, in all services. Sessions are void.",
    )
    .argument("<file>", "the backup")
    .argument("[to]", "folder that is empty or not there yet, or an etcd with nothing of that cluster")
    .option("--data-dir <folder>", "the same, of a folder")
    .option(
      "--drop-holds",
      "let go of detached and leased holds, too (default: they are kept until their end)",
    )
    .option(
      "--tokens-above <token>",
      "begin above this token too, such as the highest that a database has seen",
      wholeToken,
    )
    .option("--json", "print one JSON object, errors too")
    .addHelpText(
      "after",
      `
Before you start a server with it: see that the old one never runs again, and
wait until the longest lease is over. What was locked after the backup is not
known: only tokens keep its holders out.

Examples:
  lockdb store restore lockdb.backup --data-dir /var/lib/lockdb
  lockdb store restore lockdb.backup ./data --drop-holds --json
  lockdb store restore lockdb.backup etcd://etcd1:2379,etcd2:2379/lockdb

${ETCD_HELP}`,
    )
    .action((file: string, to: string | undefined, { dataDir, dropHolds, tokensAbove, json }: RestoreFlags) =>
      withServer(async (server) => {
        const target = to ?? dataDir;
        if (target === undefined || (to !== undefined && dataDir !== undefined))
          throw new ExitError(EXIT.usage, "Say where to: one folder, or one etcd://host:2379/cluster.");
        const restored = await server.restoreBackup(file, target, {
          way: server.wayToEtcdFrom(process.env),
          keepHolds: dropHolds !== true,
          ...(tokensAbove === undefined ? {} : { tokensAbove }),
        });
        const { directory, backupAt, leftOut, tokensFrom } = restored;
        const text = [
          `Restored ${directory} from a backup of ${backupAt}: what happened after that is lost.`,
          `  tokens    begin at ${tokensFrom} in all services`,
          `  sessions  ${leftOut.sessions} are void, and ${leftOut.holds} holds are over`,
          "Before you start it: the old server must never run again. API keys that were revoked since the backup work again.",
        ];
        await print(json ? jsonLine(restored) : text.map(oneLine).join("\n"));
      }),
    );
}

function addInspect(store: Command): void {
  store
    .command("inspect")
    .usage("<folder, file or etcd://…> [options]")
    .summary("look at a data folder, a backup or a cluster")
    .description(
      "Tells what is in the data folder of a server that does not run, in a backup, or in a cluster, also while it runs, and whether all of it is whole. It changes " +
        "nothing, and shows no secret.",
    )
    .argument("<path>", "data folder, backup, or etcd://host1:2379,host2:2379/cluster")
    .option("--json", "print one JSON object, errors too")
    .addHelpText(
      "after",
      `
${exitHelp("inspect")}

Examples:
  lockdb store inspect /var/lib/lockdb
  lockdb store inspect lockdb.backup --json | jq .kinds
  lockdb store inspect etcd://etcd1:2379/lockdb

${ETCD_HELP}`,
    )
    .action((path: string, { json }: JsonFlag) =>
      withServer(async (server) => {
        const summary = await server.inspectStore(path, server.wayToEtcdFrom(process.env));
        await print(json ? jsonLine(summary) : summaryText(summary));
        if (summary.damageCount > 0) throw new ExitError(EXIT.failed);
      }),
    );
}

function addCopy(store: Command): void {
  store
    .command("copy")
    .usage("<from> <to> [options]")
    .summary("move a stopped server's data to another folder or into etcd, or back; or back it up")
    .description(
      "Copies the data of a server that does not run, or of a cluster without members, from a folder or an etcd. Into another folder or etcd it is a move: everything is taken " +
        "over, sessions and tokens too, and no server starts with the old one any more. Into a file, whose name ends in .backup, it is a backup.",
    )
    .argument("<from>", "data folder, or etcd://host1:2379,host2:2379/cluster")
    .argument(
      "<to>",
      "folder that is empty or not there yet; an etcd with nothing of that cluster; or a file such as lockdb.backup",
    )
    .option("--json", "print one JSON object, errors too")
    .addHelpText(
      "after",
      `
A move that was interrupted is brought to its end by the same command, or says
what to do. Members that were killed are waited for, as other members would.
${ETCD_HELP}

Examples:
  lockdb store copy /var/lib/lockdb /mnt/new/lockdb
  lockdb store copy /var/lib/lockdb lockdb.backup
  lockdb store copy /var/lib/lockdb etcd://etcd1:2379,etcd2:2379/lockdb`,
    )
    .action((from: string, to: string, { json }: JsonFlag) =>
      withServer(async (server) => {
        const copied = await server.copyStore(from, to, server.wayToEtcdFrom(process.env));
        const { kind, records } = copied;
        const moved = `Moved ${records} records to ${copied.to}. ${copied.from} starts no more: start the server with the new one.`;
        const backed = `${records} records are in ${copied.to}. It holds secrets: keep it as you keep keys.`;
        await print(json ? jsonLine(copied) : oneLine(kind === "moved" ? moved : backed));
      }),
    );
}

/** What goes wrong with files is said in a sentence; nothing of it is a bug of ours. */
async function withServer(work: (server: ServerPackage) => Promise<void>): Promise<void> {
  const server = await loadServer();
  if (server === null) throw new ExitError(EXIT.unreachable, HOW_TO_INSTALL);
  try {
    await work(server);
  } catch (error) {
    const { name, message, code } = error as NodeJS.ErrnoException;
    const isFile = typeof code === "string" && /^E[A-Z]+$/.test(code);
    if (!FILE_ERRORS.has(name) && !isFile) throw error;
    throw new ExitError(EXIT.failed, message);
  }
}

const FILE_ERRORS: ReadonlySet<string> = new Set([
  "BackupUnusableError",
  "DamagedRecordError",
  "EtcdError",
  "FloorError",
  "NewerFormatError",
  "StoreFailedError",
  "StoreInUseError",
  "StoreUnusableError",
]);

function wholeToken(text: string): number {
  const token = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(token)) throw new InvalidArgumentError("Say a token: a whole number.");
  return token;
}

function summaryText(summary: StoreSummary): string {
  const { path, kind, backup, journal, members, movedTo, records, bytes, kinds, tokensFrom, damageCount } =
    summary;
  const { accounts, services, recordFormats, damage } = summary;
  const formats = Object.entries(recordFormats).map(([format, count]) => `${count} of format ${format}`);
  const lines = [
    `${kind} ${path}`,
    ...(backup === null
      ? []
      : [
          `  backup    format ${backup.format}, of ${backup.at}, by LockDB ${backup.lockdb}, of a ${backup.from} server`,
        ]),
    ...(movedTo === null ? [] : [`  moved     to ${movedTo}: no server starts with it any more`]),
    ...(members === null ? [] : [`  members   ${members}`]),
    ...(journal === null ? [] : [`  journal   ${journalText(journal)}`]),
    `  records   ${records} (${formats.join(", ") || "none"}), ${bytes} bytes`,
    `  kinds     ${Object.entries(kinds)
      .map(([name, count]) => `${name} ${count}`)
      .join(", ")}`,
    `  accounts  ${accounts.length}`,
    `  services  ${services.length}`,
    ...services
      .slice(0, SERVICES_SHOWN_MAX)
      .map(
        ({ account, service, sessions, holds, tokens }) =>
          `    ${account}/${service}: ${sessions} sessions, ${holds} holds, all tokens below ${tokens}`,
      ),
    ...(services.length > SERVICES_SHOWN_MAX
      ? [`    and ${services.length - SERVICES_SHOWN_MAX} more: --json has all`]
      : []),
    ...(tokensFrom === null ? [] : [`  restored  tokens begin at ${tokensFrom}`]),
    damageCount === 0 ? "  damage    none" : `  damage    ${damageCount} found`,
    ...damage.map((problem) => `    ${problem}`),
  ];
  return lines.map(oneLine).join("\n");
}

function journalText({ stoppedInOrder, batches }: NonNullable<StoreSummary["journal"]>): string {
  if (stoppedInOrder) return "the last server stopped in order";
  return `the last server did not stop in order; ${batches} batches are in the journal alone`;
}
