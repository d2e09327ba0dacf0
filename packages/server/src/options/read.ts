import { readFileSync } from "node:fs";
import { CLIENT_VARIABLES, fileVariable, secretFrom, secretInFile, TOKEN_VARIABLE } from "lockdb/protocol";
import { isEtcdUrl } from "../store/index.js";
import { type ConfigFile, readConfigFile } from "./config-file.js";
import { CONFIG_OPTION, OPTIONS, type OptionRow, type ServeOptions } from "./table.js";

/** Where the value of an option is from. */
export interface OptionSource {
  readonly from: "flag" | "environment" | "file" | "default";
  /** Such as `--port`, `LOCKDB_PORT` or `/etc/lockdb.toml`; empty for a default. */
  readonly name: string;
  /** The file that a secret was read from; null for everything else. */
  readonly secretPath: string | null;
}

export interface ReadOptions {
  readonly options: ServeOptions;
  readonly sources: { readonly [K in keyof ServeOptions]: OptionSource };
  /** The configuration file that was read; null: none. */
  readonly configPath: string | null;
  /** Things that look like mistakes and do no harm. */
  readonly warnings: readonly string[];
}

/** What Kubernetes sets for a service called `lockdb`: `LOCKDB_PORT=tcp://…`, `LOCKDB_SERVICE_HOST` and the like. */
const ENV_OF_KUBERNETES = /^LOCKDB_(PORT_\d|SERVICE_(HOST|PORT))/;

const BY_DEFAULT: OptionSource = { from: "default", name: "", secretPath: null };

/**
 * Options from flags, then the environment, then the configuration file that one of these names, then defaults.
 * @param flags texts by option name, as the command line gave them; `config` too
 * @throws Error for a bad value, with its name and what would be right
 */
export function readOptions(flags: Readonly<Record<string, string>>, env: NodeJS.ProcessEnv): ReadOptions {
  const warnings: string[] = [];
  const variables = withoutKubernetes(env, warnings);
  const file = configFile(flags, variables);
  const given: Record<string, unknown> = {};
  const sources: Record<string, OptionSource> = {};
  for (const [name, row] of rows()) {
    const found =
      row.kind === "secret"
        ? secretOf(name, row, variables, file)
        : textOf(name, row, flags, variables, file);
    sources[name] = found?.source ?? BY_DEFAULT;
    if (found === null) continue;
    given[name] = parsed(row, found.text, placeOf(row, found.source));
  }
  warnings.push(...unknownVariables(env));
  return {
    options: withDefaults(given),
    sources: sources as ReadOptions["sources"],
    configPath: file?.path ?? null,
    warnings,
  };
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

interface Found {
  readonly text: string;
  readonly source: OptionSource;
}

function textOf(
  name: string,
  { flag, env }: OptionRow,
  flags: Readonly<Record<string, string>>,
  variables: NodeJS.ProcessEnv,
  file: ConfigFile | null,
): Found | null {
  const [byFlag, byVariable, byFile] = [flags[name], variables[env], file?.texts.get(name)];
  if (byFlag !== undefined)
    return { text: byFlag, source: { ...BY_DEFAULT, from: "flag", name: wordOf(flag!) } };
  if (byVariable !== undefined)
    return { text: byVariable, source: { ...BY_DEFAULT, from: "environment", name: env } };
  if (byFile !== undefined)
    return { text: byFile, source: { ...BY_DEFAULT, from: "file", name: file!.path } };
  return null;
}

function secretOf(
  name: string,
  { env, key }: OptionRow,
  variables: NodeJS.ProcessEnv,
  file: ConfigFile | null,
): Found | null {
  const found = secretFrom(env, variables, readText);
  if (found !== null) {
    const source = { from: "environment", name: found.variable, secretPath: found.path } as const;
    return { text: found.text, source };
  }
  const secretPath = file?.texts.get(name);
  if (secretPath === undefined) return null;
  const text = secretInFile(secretPath, `${file!.path}: ${key}`, readText);
  return { text, source: { from: "file", name: file!.path, secretPath } };
}

function readText(path: string): string {
  return readFileSync(path, "utf8");
}

/** What to begin a message about a value with. */
function placeOf({ key }: OptionRow, { from, name }: OptionSource): string {
  return from === "file" ? `${name}: ${key}` : name;
}

function parsed<T>(row: OptionRow<T>, text: string, place: string): T {
  try {
    return row.parse(text);
  } catch (error) {
    throw new Error(`${place}: ${(error as Error).message}`);
  }
}

function configFile(
  flags: Readonly<Record<string, string>>,
  variables: NodeJS.ProcessEnv,
): ConfigFile | null {
  const found = textOf("config", CONFIG_OPTION, flags, variables, null);
  if (found === null) return null;
  const { name } = found.source;
  return readConfigFile(parsed(CONFIG_OPTION, found.text, name)!, name);
}

function rows(): [string, OptionRow][] {
  return Object.entries(OPTIONS) as [string, OptionRow][];
}

/** `--port` of `--port <number>`. */
function wordOf(flag: string): string {
  return flag.split(" ")[0]!;
}

function withoutKubernetes(env: NodeJS.ProcessEnv, warnings: string[]): NodeJS.ProcessEnv {
  if (!/^[a-z]+:\/\//.test(env.LOCKDB_PORT ?? "")) return env;
  warnings.push(
    `LOCKDB_PORT=${env.LOCKDB_PORT} is what Kubernetes sets for a service called lockdb; it is ignored.`,
  );
  const { LOCKDB_PORT, ...others } = env;
  return others;
}

function unknownVariables(env: NodeJS.ProcessEnv): readonly string[] {
  const known = new Set<string>([
    CONFIG_OPTION.env,
    TOKEN_VARIABLE,
    ...CLIENT_VARIABLES.map(({ name }) => name),
  ]);
  for (const [, row] of rows()) {
    known.add(row.env);
    if (row.kind === "secret") known.add(fileVariable(row.env));
  }
  return Object.keys(env)
    .filter((name) => name.startsWith("LOCKDB_") && !known.has(name) && !ENV_OF_KUBERNETES.test(name))
    .map((name) => `${name} is not an option and does nothing.`);
}

/** What only all of them together tell. */
function checkTogether(options: ServeOptions): void {
  checkCluster(options);
  const { host, allowPlainText, tlsCert, tlsKey, tlsClientCa } = options;
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

function checkCluster({ store, advertise, port, etcdCa, etcdCert, etcdKey, ...options }: ServeOptions): void {
  if ((etcdCert === null) !== (etcdKey === null))
    throw new Error("--etcd-cert and --etcd-key go together: a certificate and its key.");
  if ((options.clusterCert === null) !== (options.clusterKey === null))
    throw new Error("--cluster-cert and --cluster-key go together: a certificate and its key.");
  if (etcdCert !== null && etcdCa === null)
    throw new Error("--etcd-cert needs --etcd-ca: without TLS nobody shows a certificate.");
  if ((options.etcdUser === null) !== (options.etcdPassword === null))
    throw new Error("--etcd-user and LOCKDB_ETCD_PASSWORD go together: a user of etcd and its password.");
  if (!isEtcdUrl(store) && advertise !== null)
    throw new Error("--advertise is for members of a cluster: say --store etcd://… beside it.");
  if (isEtcdUrl(store) && advertise === null && port === 0)
    throw new Error("--port 0 needs --advertise in a cluster: the others must know where this server is.");
}

function checked(name: keyof ServeOptions, value: unknown): void {
  const row: OptionRow = OPTIONS[name];
  if (value === null && row.default === null) return;
  const sample = row.default ?? "";
  if (typeof value !== typeof sample) throw new Error(`"${name}" must be a ${typeof sample}.`);
  parsed(row, String(value), `"${name}"`);
}

export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}
