import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { LockDBError } from "../client/errors.js";
import { serverUrls } from "../client/server-urls.js";
import { type SecureOptions, secureOptions } from "../runtime/secure.js";
import { withApi } from "./access-args.js";
import { clusterForm, type Diagnosis, diagnosisForm, doctorSelfForm } from "./answers.js";
import {
  addServerFlags,
  duration,
  hasApiKey,
  openClient,
  type Print,
  type ServerFlags,
  serviceIdOf,
  tlsOptions,
} from "./args.js";
import { painter } from "./colour.js";
import { rateFinding, type Sample, sampleOf, skewFinding } from "./doctor/clocks.js";
import { clusterFindings } from "./doctor/cluster.js";
import { CHECKS, type CheckName, type Finding, fail, skipped } from "./doctor/finding.js";
import { folderFindings } from "./doctor/folder.js";
import { connectFinding, keyFindings, keyRefused, versionFinding } from "./doctor/key.js";
import { covered, reachFindings, unreached } from "./doctor/reach.js";
import { serverFindings } from "./doctor/server.js";
import { ExitError } from "./exit.js";
import { EXIT } from "./exit-codes.js";
import type { HttpApi } from "./http.js";
import { loadServer } from "./server-package.js";
import { jsonLine, oneLine } from "./words.js";

const MEASURE_MS = 3_000;
/** Where what was found begins on its line. */
const INDENT = 19;

interface DoctorFlags extends ServerFlags {
  readonly dataDir?: string;
  readonly measure?: number;
  readonly skip?: ReadonlySet<CheckName>;
}

/** `doctor`: what is wrong, and what to do. */
export function addDoctorCommand(program: Command): void {
  const doctor = program
    .command("doctor")
    .summary("tell what is wrong, and what to do about it")
    .description(
      "Looks at the way to the server, at the key, the clocks and the versions; with an operator's key at what the server sees of itself, such as its " +
        "disk; and with --data-dir at a data folder on this machine. It changes nothing.",
    );
  addServerFlags(doctor)
    .option("--data-dir <folder>", "a server's data folder on this machine, to be looked at too")
    .option(
      "--measure <duration>",
      "how long the rates of clocks are compared (default: 3s; 0s: not at all)",
      duration,
    )
    .option(
      "--skip <checks>",
      "findings to leave out, with commas between: what you know and live with",
      checkList,
    )
    .addHelpText("after", DOCTOR_HELP)
    .action((flags: DoctorFlags) => examine(flags));
}

const DOCTOR_HELP = `
A line for each check: ok, warn, FAIL, or skip where it could not be made; below
a warning or a fault what to do. --json prints one finding a line.
Without -s, -a and their variables, and with --data-dir, no server is asked.

Checks: ${CHECKS.join(" ")
  .replace(/(.{1,70})( |$)/g, "\n  $1")
  .trim()}

Exit codes:
  0   nothing is wrong, as far as could be seen
  1   there is a warning or a fault
  64  wrong use of the command line

Examples:
  lockdb doctor
  lockdb doctor -i billing --data-dir /var/lib/lockdb
  lockdb doctor --skip listening --json | jq 'select(.status == "fail")'`;

/** What needs an answer of the server. */
const ASKED: readonly CheckName[] = ["key", "scopes", "version", "connect", "clock", "clock-rate", "server"];

/** Tells findings as they come. Something is wrong when a warning or a fault was among them. */
class Report {
  isWrong = false;
  readonly #flags: DoctorFlags;
  readonly #print: Print;
  readonly #counts = { ok: 0, warn: 0, fail: 0, skipped: 0 };

  constructor(flags: DoctorFlags, print: Print) {
    this.#flags = flags;
    this.#print = print;
  }

  async tell(...findings: readonly Finding[]): Promise<void> {
    for (const finding of findings) {
      const { check, status, found, mend } = finding;
      if (this.#flags.skip?.has(check)) continue;
      this.#counts[status]++;
      if (status === "warn" || status === "fail") this.isWrong = true;
      if (this.#flags.json) await this.#print(jsonLine(finding));
      else {
        await this.#print(`${this.#statusText(status)}  ${check.padEnd(12)} ${wrapped(oneLine(found))}`);
        if (mend !== undefined && status !== "ok")
          await this.#print(`${" ".repeat(INDENT - 3)}-> ${wrapped(oneLine(mend))}`);
      }
    }
  }

  async end(): Promise<void> {
    const { ok: fine, warn, fail: faults, skipped: left } = this.#counts;
    const text = `${fine} ok, ${warn} ${warn === 1 ? "warning" : "warnings"}, ${faults} ${faults === 1 ? "fault" : "faults"}, ${left} skipped`;
    if (!this.#flags.json) await this.#print(`\n${text}`);
  }

  #statusText(status: Finding["status"]): string {
    const text = { ok: "ok  ", warn: "warn", fail: "FAIL", skipped: "skip" }[status];
    const colour = { ok: "green", warn: "yellow", fail: "red", skipped: "gray" } as const;
    return painter(process.stdout)(colour[status], text);
  }
}

/** Lines as long as the terminal is wide, below each other; in a pipe one line. */
function wrapped(text: string): string {
  const { isTTY, columns } = process.stdout;
  const width = (columns ?? 0) - INDENT;
  if (!isTTY || width < 20) return text;
  const lines = text.match(new RegExp(`.{1,${width}}(?= |$)|\\S{${width},}`, "gu")) ?? [text];
  return lines.map((line) => line.trim()).join(`\n${" ".repeat(INDENT)}`);
}

async function examine(flags: DoctorFlags): Promise<void> {
  const { print } = await import("./args.js");
  const report = new Report(flags, print);
  const { dataDir } = flags;
  const isAboutServer = dataDir === undefined || Boolean(flags.serverUrl) || hasApiKey(flags);
  if (isAboutServer && flags.serviceId) serviceIdOf(flags);
  const usedBy = isAboutServer ? await examineServer(flags, report) : null;
  if (dataDir !== undefined)
    await report.tell(...(await folderFindings(dataDir, await loadServer(), usedBy)));
  await report.end();
  if (report.isWrong) throw new ExitError(EXIT.failed);
}

/** @returns the data folder of the server that answers, if it is told */
async function examineServer(
  flags: DoctorFlags,
  report: Report,
): Promise<{ readonly directory: string; readonly url: string } | null> {
  const urls = serverUrls(flags.serverUrl || undefined).map((url) => url.replace(/\/+$/, ""));
  let secure: SecureOptions = {};
  try {
    secure = secureOptions(tlsOptions(process.env) ?? {});
  } catch (error) {
    await report.tell(
      fail(
        "tls",
        `certificates of this client cannot be used: ${(error as Error).message}`,
        "Mend the files that LOCKDB_CA_FILE, LOCKDB_CERT_FILE and LOCKDB_KEY_FILE name, or unset these.",
      ),
    );
    return null;
  }
  const ways = await Promise.all(urls.map((url) => reachFindings(url, secure)));
  const at = ways.findIndex(({ isReached }) => isReached);
  for (const { findings } of ways) await report.tell(...(at < 0 ? findings : findings.map(covered)));
  if (at < 0) {
    await report.tell(...unreached(ASKED));
    return null;
  }
  if (!hasApiKey(flags)) {
    await report.tell(
      fail("key", "there is no API key", "Set LOCKDB_API_KEY, or say -a <key>."),
      ...unreached(ASKED.slice(1)).map((each) => ({ ...each, found: "it needs a key" })),
    );
    return null;
  }
  let diagnosis: Diagnosis | null = null;
  await withApi({ ...flags, serverUrl: urls[at]! }, async (api) => {
    diagnosis = await examineAnswers(api, flags, report);
  });
  const directory = (diagnosis as Diagnosis | null)?.store.directory ?? null;
  return directory === null ? null : { directory: resolve(directory), url: urls[at]! };
}

async function examineAnswers(api: HttpApi, flags: DoctorFlags, report: Report): Promise<Diagnosis | null> {
  const askSelf = () => api.ask("/v1/self", { read: doctorSelfForm });
  let self: Awaited<ReturnType<typeof askSelf>>;
  try {
    self = await askSelf();
  } catch (error) {
    if (!(error instanceof LockDBError)) throw error;
    const rest = unreached(ASKED.slice(1)).map((each) => ({ ...each, found: "the key was refused" }));
    await report.tell(keyRefused(error), ...rest);
    return null;
  }
  const service = flags.serviceId || undefined;
  await report.tell(
    ...keyFindings(self, service),
    versionFinding(versionText(), self.server?.version ?? null),
  );
  await report.tell(await connectFinding(service, () => inspected(flags)));
  await report.tell(
    ...(await clockFindings(flags, self.server === undefined ? null : async () => (await askSelf()).server!)),
  );
  try {
    const diagnosis = await api.ask("/v1/diagnosis", { read: diagnosisForm });
    await report.tell(...serverFindings(diagnosis));
    await report.tell(...(await clusterFindingsOf(api)));
    return diagnosis;
  } catch (error) {
    if (!(error instanceof LockDBError)) throw error;
    const { code, message } = error;
    if (code === "FORBIDDEN")
      await report.tell(
        skipped(
          "server",
          "what only the server sees was not asked: this key may not",
          "An operator asks with a key of the account default that has the scope read, for all services.",
        ),
      );
    else if (code === "NOT_FOUND")
      await report.tell(skipped("server", "the server is older than this client, and cannot tell"));
    else
      await report.tell(
        fail("server", `the server does not say how it is: ${message}`, "Look at its log, and ask again."),
      );
    return null;
  }
}

async function clusterFindingsOf(api: HttpApi): Promise<readonly Finding[]> {
  try {
    return clusterFindings(await api.ask("/v1/cluster", { read: clusterForm }));
  } catch (error) {
    if (!(error instanceof LockDBError)) throw error;
    if (error.code === "NOT_FOUND")
      return [skipped("cluster", "the server is older than this client, and cannot tell")];
    return [
      fail(
        "cluster",
        `the server does not say how its cluster is: ${error.message}`,
        "Look at its log, and ask again.",
      ),
    ];
  }
}

async function inspected(flags: ServerFlags): Promise<void> {
  const client = await openClient(flags);
  try {
    await client.inspect("lockdb-doctor");
  } finally {
    await client.close();
  }
}

async function clockFindings(
  { measure = MEASURE_MS }: DoctorFlags,
  ask: (() => Promise<Sample["server"]>) | null,
): Promise<readonly Finding[]> {
  if (ask === null)
    return [skipped("clock", "the server is older than this client, and does not tell its clocks")];
  const first = await sampleOf(ask);
  if (measure === 0) return [skewFinding(first), skipped("clock-rate", "it was not measured")];
  await new Promise((resolve) => setTimeout(resolve, measure));
  return [skewFinding(first), rateFinding(first, await sampleOf(ask))];
}

function checkList(text: string): ReadonlySet<CheckName> {
  const names = text.split(",");
  const unknown = names.find((name) => !(CHECKS as readonly string[]).includes(name));
  if (unknown !== undefined)
    throw new InvalidArgumentError(`There is no check "${unknown}". There are ${CHECKS.join(", ")}.`);
  return new Set(names as CheckName[]);
}

function versionText(): string {
  return JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")).version;
}
