import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { durationMs, PORT_DEFAULT } from "lockdb/protocol";
import { ROOT_KEY_LENGTH_MIN } from "./access/index.js";
import { originList } from "./http/headers.js";
import { networkList } from "./webhooks/index.js";

/** Options of a server. Each has a row in `OPTIONS`, which its flag, environment name, help and check come from. */
export interface ServeOptions {
  readonly host: string;
  readonly port: number;
  readonly store: "lmdb" | "memory";
  readonly dataDir: string;
  readonly durability: (typeof DURABILITIES)[number];
  readonly rootKey: string | null;
  readonly allowPlainText: boolean;
  readonly signup: boolean;
  readonly accountsMax: number;
  readonly tlsCert: string | null;
  readonly tlsKey: string | null;
  readonly tlsClientCa: string | null;
  readonly trustedProxies: string;
  readonly allowOrigins: string;
  readonly waitersMax: number;
  readonly holdsMax: number;
  readonly sessionsMax: number;
  readonly servicesMax: number;
  readonly webhookAllowPrivate: boolean;
  readonly webhookAllow: string;
  readonly webhooksPendingMax: number;
  readonly logLevel: (typeof LOG_LEVELS)[number];
  readonly slowWait: string;
}

/** One option: a bad value stops the start and says how to mend it. */
export interface OptionRow<T> {
  /** As on the command line, such as `--port <number>`; null for what must not stand there. */
  readonly flag: string | null;
  readonly env: string;
  readonly default: T;
  /** What it does, and what too high and too low cost. */
  readonly doc: string;
  /** Reads the text of a flag or variable. @throws Error that says what would be right */
  readonly parse: (text: string) => T;
}

const DURABILITIES = ["standard", "strict"] as const;
const LOG_LEVELS = ["fatal", "error", "warn", "info", "debug", "silent"] as const;

export const OPTIONS: { readonly [K in keyof ServeOptions]: OptionRow<ServeOptions[K]> } = {
  host: {
    flag: "--host <address>",
    env: "LOCKDB_HOST",
    default: "127.0.0.1",
    doc: "Address to listen on. Anything but loopback also needs --tls-cert, or --allow-plain-text.",
    parse: nonEmpty,
  },
  port: {
    flag: "--port <number>",
    env: "LOCKDB_PORT",
    default: PORT_DEFAULT,
    doc: "Port to listen on; 0 takes any free one.",
    parse: (text) => wholeNumber(text, 0, 65_535),
  },
  dataDir: {
    flag: "--data-dir <path>",
    env: "LOCKDB_DATA_DIR",
    default: "./lockdb-data",
    doc: "Folder of the durable data. One server at a time; made when it is not there.",
    parse: path,
  },
  store: {
    flag: "--store <kind>",
    env: "LOCKDB_STORE",
    default: "lmdb",
    doc: "Where durable data goes: lmdb (the data folder), or memory (gone when the server stops; for tests).",
    parse: (text) => oneOf(text, ["lmdb", "memory"] as const),
  },
  durability: {
    flag: "--durability <mode>",
    env: "LOCKDB_DURABILITY",
    default: "standard",
    doc:
      "What is written of a session's holds. standard: nothing; after a crash the server waits for its clients to say " +
      "what they hold. strict: each before it is granted; a lock costs a disk flush, and a crash leaves nothing to wait for.",
    parse: (text) => oneOf(text, DURABILITIES),
  },
  rootKey: {
    flag: null,
    env: "LOCKDB_ROOT_KEY",
    default: null,
    doc: "Sets the root key, 16 characters or more, and replaces a stored one. LOCKDB_ROOT_KEY_FILE names a file with it.",
    parse: rootKey,
  },
  allowPlainText: {
    flag: "--allow-plain-text",
    env: "LOCKDB_ALLOW_PLAIN_TEXT",
    default: false,
    doc: "Lets the server listen beyond loopback without TLS. API keys are then readable on the network.",
    parse: (text) => oneOf(text, ["true", "false"] as const) === "true",
  },
  signup: {
    flag: "--signup",
    env: "LOCKDB_SIGNUP",
    default: false,
    doc: "Lets anyone start a free trial of 30 days, at /signup or POST /v1/signup: an account with small limits and a key.",
    parse: (text) => oneOf(text, ["true", "false"] as const) === "true",
  },
  accountsMax: {
    flag: "--accounts-max <count>",
    env: "LOCKDB_ACCOUNTS_MAX",
    default: 10_000,
    doc: "Accounts in all. Higher: more memory. Lower: those who sign up are refused sooner.",
    parse: (text) => wholeNumber(text, 1, 10_000_000),
  },
  tlsCert: {
    flag: "--tls-cert <file>",
    env: "LOCKDB_TLS_CERT",
    default: null,
    doc:
      "Certificate, in PEM form, the server's own first and then what leads to its root. The server then speaks TLS only, 1.2 or newer. " +
      "Read again within seconds of a change, together with the key.",
    parse: path,
  },
  tlsKey: {
    flag: "--tls-key <file>",
    env: "LOCKDB_TLS_KEY",
    default: null,
    doc: "Private key of that certificate, in PEM form, without a passphrase.",
    parse: path,
  },
  tlsClientCa: {
    flag: "--tls-client-ca <file>",
    env: "LOCKDB_TLS_CLIENT_CA",
    default: null,
    doc: "Certificates, in PEM form, one of which must have signed a client's own; connections without such a certificate are refused.",
    parse: path,
  },
  trustedProxies: {
    flag: "--trusted-proxies <networks>",
    env: "LOCKDB_TRUSTED_PROXIES",
    default: "",
    doc:
      "Networks and addresses of proxies whose X-Forwarded-For is believed, such as 10.1.0.0/16,192.168.7.20. Too wide: whoever is in there " +
      "may say that they are somebody else. Too narrow: everybody behind a proxy is taken for one.",
    parse: networks,
  },
  allowOrigins: {
    flag: "--allow-origins <origins>",
    env: "LOCKDB_ALLOW_ORIGINS",
    default: "",
    doc: "Origins of web pages that may call this server from a browser, such as https://app.example.com,https://ops.example.com.",
    parse: origins,
  },
  waitersMax: {
    flag: "--waiters-max <count>",
    env: "LOCKDB_WAITERS_MAX",
    default: 100_000,
    doc: "Waiters a lock. Higher: a hot lock may take more memory. Lower: callers meet QUEUE_FULL sooner.",
    parse: (text) => wholeNumber(text, 1, 10_000_000),
  },
  holdsMax: {
    flag: "--holds-max <count>",
    env: "LOCKDB_HOLDS_MAX",
    default: 1_000_000,
    doc: "Holds a session, and detached holds a service. Higher: one client may take more memory. Lower: LIMIT_EXCEEDED sooner.",
    parse: (text) => wholeNumber(text, 1, 100_000_000),
  },
  sessionsMax: {
    flag: "--sessions-max <count>",
    env: "LOCKDB_SESSIONS_MAX",
    default: 100_000,
    doc: "Sessions a service. Higher: more memory. Lower: new clients are refused sooner.",
    parse: (text) => wholeNumber(text, 1, 10_000_000),
  },
  servicesMax: {
    flag: "--services-max <count>",
    env: "LOCKDB_SERVICES_MAX",
    default: 100_000,
    doc: "Services in all; a service comes to be on first use. Higher: more memory. Lower: LIMIT_EXCEEDED sooner.",
    parse: (text) => wholeNumber(text, 1, 10_000_000),
  },
  webhookAllowPrivate: {
    flag: "--webhook-allow-private",
    env: "LOCKDB_WEBHOOK_ALLOW_PRIVATE",
    default: false,
    doc:
      "Lets webhooks go to loopback and private networks. Whoever may lock can then have this server send requests " +
      "to what only it can reach.",
    parse: (text) => oneOf(text, ["true", "false"] as const) === "true",
  },
  webhookAllow: {
    flag: "--webhook-allow <networks>",
    env: "LOCKDB_WEBHOOK_ALLOW",
    default: "",
    doc: "Networks and addresses that webhooks may go to although they are not public, such as 10.1.0.0/16,192.168.7.20.",
    parse: networks,
  },
  webhooksPendingMax: {
    flag: "--webhooks-pending-max <count>",
    env: "LOCKDB_WEBHOOKS_PENDING_MAX",
    default: 100_000,
    doc:
      "Webhook deliveries an account that are still to be made. Higher: a dead receiver takes more memory and disk. " +
      "Lower: locks with a webhook meet LIMIT_EXCEEDED sooner.",
    parse: (text) => wholeNumber(text, 1, 10_000_000),
  },
  logLevel: {
    flag: "--log-level <level>",
    env: "LOCKDB_LOG_LEVEL",
    default: "info",
    doc: `How much is logged, as JSON lines on standard error: ${LOG_LEVELS.join(", ")}.`,
    parse: (text) => oneOf(text, LOG_LEVELS),
  },
  slowWait: {
    flag: "--slow-wait <duration>",
    env: "LOCKDB_SLOW_WAIT",
    default: "30s",
    doc:
      "From when on a request that waits for a lock is told in the log, with who has the lock, such as 30s; 0s: never. " +
      "Shorter: more lines, 20 a minute at most.",
    parse: duration,
  },
};

/** Variables of the client and the command line, which may well stand in a server's environment. */
const ENV_OF_OTHERS = new Set([
  "LOCKDB_SERVICE_ID",
  "LOCKDB_API_KEY",
  "LOCKDB_SERVER_URL",
  "LOCKDB_CA_FILE",
  "LOCKDB_CERT_FILE",
  "LOCKDB_KEY_FILE",
  "LOCKDB_TOKEN",
]);
const ENV_FILE = "LOCKDB_ROOT_KEY_FILE";

/** What Kubernetes sets for a service called `lockdb`: `LOCKDB_PORT=tcp://…`, `LOCKDB_SERVICE_HOST` and the like. */
const ENV_OF_KUBERNETES = /^LOCKDB_(PORT_\d|SERVICE_(HOST|PORT))/;

export interface ReadOptions {
  readonly options: ServeOptions;
  /** Things that look like mistakes and do no harm. */
  readonly warnings: readonly string[];
}

/**
 * Options from flags, then environment, then defaults.
 * @param flags texts by option name, as the command line gave them
 * @throws Error for a bad value, with its name and what would be right
 */
export function readOptions(flags: Readonly<Record<string, string>>, env: NodeJS.ProcessEnv): ReadOptions {
  const warnings: string[] = [];
  const given: Record<string, unknown> = {};
  for (const [name, row] of Object.entries(OPTIONS) as [string, OptionRow<unknown>][]) {
    const variable = name === "rootKey" && env[row.env] === undefined ? ENV_FILE : row.env;
    const source = flags[name] === undefined ? variable : row.flag!.split(" ")[0]!;
    try {
      const fromEnv = environmentText(variable, env, warnings);
      const text = flags[name] ?? fromEnv;
      if (text === undefined) continue;
      given[name] = row.parse(text);
    } catch (error) {
      throw new Error(`${source}: ${(error as Error).message}`);
    }
  }
  const known = new Set([...Object.values(OPTIONS).map((row) => row.env), ENV_FILE, ...ENV_OF_OTHERS]);
  for (const name of Object.keys(env)) {
    if (!name.startsWith("LOCKDB_") || known.has(name) || ENV_OF_KUBERNETES.test(name)) continue;
    warnings.push(`${name} is not an option and does nothing.`);
  }
  return { options: withDefaults(given), warnings };
}

/**
 * Options of an embedded server, checked and completed.
 * @throws Error for an unknown option or a bad value
 */
export function withDefaults(given: Partial<Record<string, unknown>>): ServeOptions {
  const options: Record<string, unknown> = {};
  for (const [name, row] of Object.entries(OPTIONS)) options[name] = row.default;
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(OPTIONS, name)) throw new Error(`"${name}" is no option of the server.`);
    if (value === undefined) continue;
    checked(name as keyof ServeOptions, value);
    options[name] = value;
  }
  checkTogether(options as unknown as ServeOptions);
  return options as unknown as ServeOptions;
}

/** What only all of them together tell. */
function checkTogether({ host, allowPlainText, tlsCert, tlsKey, tlsClientCa }: ServeOptions): void {
  if ((tlsCert === null) !== (tlsKey === null)) {
    const [given, absent] = tlsCert === null ? ["--tls-key", "--tls-cert"] : ["--tls-cert", "--tls-key"];
    throw new Error(`${given} needs ${absent} beside it: TLS takes a certificate and its key.`);
  }
  if (tlsClientCa !== null && tlsCert === null)
    throw new Error(
      "--tls-client-ca needs --tls-cert and --tls-key: without TLS nobody shows a certificate.",
    );
  if (!isLoopback(host) && !allowPlainText && tlsCert === null) {
    throw new Error(
      `--host ${host} would send API keys in plain text. Say --tls-cert and --tls-key; or put TLS in front and say ` +
        "--allow-plain-text; or use 127.0.0.1.",
    );
  }
}

function checked(name: keyof ServeOptions, value: unknown): void {
  const row = OPTIONS[name];
  if (value === null && row.default === null) return;
  const sample = row.default ?? "";
  if (typeof value !== typeof sample) throw new Error(`"${name}" must be a ${typeof sample}.`);
  try {
    row.parse(String(value));
  } catch (error) {
    throw new Error(`"${name}": ${(error as Error).message}`);
  }
}

function environmentText(name: string, env: NodeJS.ProcessEnv, warnings: string[]): string | undefined {
  if (name === ENV_FILE && env[name] !== undefined) return readFileSync(env[name], "utf8").trimEnd();
  if (name === "LOCKDB_PORT" && /^[a-z]+:\/\//.test(env[name] ?? "")) {
    warnings.push(
      `LOCKDB_PORT=${env[name]} is what Kubernetes sets for a service called lockdb; it is ignored.`,
    );
    return undefined;
  }
  return env[name];
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}

/** As it was written; `durationMs` reads it. */
function duration(text: string): string {
  try {
    durationMs(text);
  } catch {
    throw new Error(`must be a time span such as 500ms, 30s or 5m, not ${JSON.stringify(text)}.`);
  }
  return text;
}

function nonEmpty(text: string): string {
  if (text === "") throw new Error("must not be empty.");
  return text;
}

function path(text: string): string {
  return resolve(nonEmpty(text));
}

function networks(text: string): string {
  networkList(text);
  return text;
}

function origins(text: string): string {
  originList(text);
  return text;
}

function wholeNumber(text: string, min: number, max: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max)) {
    throw new Error(`must be a whole number from ${min} to ${max}, not ${JSON.stringify(text)}.`);
  }
  return value;
}

function oneOf<T extends string>(text: string, allowed: readonly T[]): T {
  const found = allowed.find((value) => value === text);
  if (found === undefined)
    throw new Error(`must be one of ${allowed.join(", ")}, not ${JSON.stringify(text)}.`);
  return found;
}

function rootKey(text: string): string {
  if (text.length < ROOT_KEY_LENGTH_MIN)
    throw new Error(`must have ${ROOT_KEY_LENGTH_MIN} characters or more.`);
  if (!/^[\x21-\x7e]{1,512}$/.test(text))
    throw new Error("must be printable ASCII without spaces, at most 512 characters.");
  return text;
}
