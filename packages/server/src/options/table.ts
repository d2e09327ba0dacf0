import { PORT_DEFAULT } from "lockdb/protocol";
import { ROOT_KEY_LENGTH_MIN } from "../access/index.js";
import { originList } from "../http/headers.js";
import { CLUSTER_DEFAULT, clusterName, etcdPlace, isEtcdUrl } from "../store/index.js";
import { networkList } from "../webhooks/index.js";
import {
  choice,
  count,
  file,
  folder,
  form,
  list,
  nonEmpty,
  type Spec,
  secret,
  span,
  text,
  toggle,
} from "./kinds.js";

const LOG_LEVELS = ["fatal", "error", "warn", "info", "debug", "silent"] as const;

/**
 * Every option of a server, in the sections of the docs. A row is all there is to adding one: its flag, variable, key in a
 * configuration file, help, check, completion and docs are made of it.
 */
const SECTIONS = {
  "Where it listens": {
    host: text("127.0.0.1", {
      placeholder: "address",
      doc: "Address to listen on. Anything but loopback also needs --tls-cert, or --allow-plain-text.",
    }),
    port: count(0, PORT_DEFAULT, 65_535, {
      placeholder: "number",
      unit: "port",
      doc: "Port to listen on; 0 takes any free one.",
    }),
    allowPlainText: toggle({
      doc: "Lets the server listen beyond loopback without TLS. API keys are then readable on the network.",
    }),
    tlsCert: file({
      example: "/etc/lockdb/tls.crt",
      doc:
        "Certificate, in PEM form, the server's own first and then what leads to its root. The server then speaks TLS only, 1.2 or newer. " +
        "Read again within seconds of a change, together with the key.",
    }),
    tlsKey: file({
      example: "/etc/lockdb/tls.key",
      doc: "Private key of that certificate, in PEM form, without a passphrase.",
    }),
    tlsClientCa: file({
      example: "/etc/lockdb/clients-ca.pem",
      doc: "Certificates, in PEM form, one of which must have signed a client's own; connections without such a certificate are refused.",
    }),
    trustedProxies: list(
      {
        placeholder: "networks",
        doc:
          "Networks and addresses of proxies whose X-Forwarded-For is believed, such as 10.1.0.0/16,192.168.7.20. Too wide: whoever is in there " +
          "may say that they are somebody else. Too narrow: everybody behind a proxy is taken for one.",
      },
      networkList,
    ),
    allowOrigins: list(
      {
        placeholder: "origins",
        doc: "Origins of web pages that may call this server from a browser, such as https://app.example.com,https://ops.example.com.",
      },
      originList,
    ),
  },
  Data: {
    dataDir: folder("./lockdb-data", {
      doc: "Folder of the durable data. One server at a time; made when it is not there.",
    }),
    store: form<StoreKind>("lmdb", {
      placeholder: "kind",
      unit: "lmdb, memory, or etcd://host:port,host:port,…",
      doc:
        "Where durable data goes: lmdb (the data folder), memory (gone when the server stops; for tests), or an etcd of 3.4 or newer, such as " +
        "etcd://etcd1:2379,etcd2:2379,etcd3:2379. With etcd the server is a member of a cluster, and writes nothing to its own disk.",
      parse: storeKind,
    }),
    durability: choice(["standard", "strict"], {
      placeholder: "mode",
      doc:
        "What is written of a session's holds. standard: nothing; after a crash the server waits for its clients to say " +
        "what they hold. strict: each before it is granted; a lock costs a disk flush, and a crash leaves nothing to wait for.",
    }),
  },
  Cluster: {
    cluster: form(CLUSTER_DEFAULT, {
      placeholder: "name",
      doc: "With etcd: the cluster that this server is a member of. Its keys in etcd begin with its name between two slashes.",
      parse: clusterName,
    }),
    advertise: form<string | null>(null, {
      placeholder: "url",
      example: "http://lockdb1.internal:5625",
      doc:
        "With etcd: where clients and the other members reach this server. Without it: the address that it listens on, which must then be one that " +
        "all of them reach.",
      parse: advertised,
    }),
    clusterCa: file({
      example: "/etc/lockdb/cluster-ca.pem",
      doc: "Certificate, in PEM form, that has signed those of the other members; without it, those that this machine trusts.",
    }),
    clusterCert: file({
      example: "/etc/lockdb/cluster.crt",
      doc:
        "Certificate, in PEM form, that is shown to the other members; without it, the server's own, which must then be for clients, too, where " +
        "--tls-client-ca asks for certificates.",
    }),
    clusterKey: file({
      example: "/etc/lockdb/cluster.key",
      doc: "Private key of that certificate, in PEM form, without a passphrase.",
    }),
    etcdCa: file({
      example: "/etc/lockdb/etcd-ca.pem",
      doc: "Certificate, in PEM form, that has signed those of etcd's members. The way to etcd is then TLS; without it, plain text.",
    }),
    etcdCert: file({
      example: "/etc/lockdb/etcd-client.crt",
      doc: "Certificate, in PEM form, that is shown to etcd.",
    }),
    etcdKey: file({
      example: "/etc/lockdb/etcd-client.key",
      doc: "Private key of that certificate, in PEM form.",
    }),
    etcdUser: form<string | null>(null, {
      placeholder: "name",
      example: "lockdb",
      doc: "User of etcd, where etcd asks for one.",
      parse: (given) => nonEmpty(given),
    }),
    etcdPassword: secret({ example: "/etc/lockdb/etcd-password", doc: "Password of etcd's user." }, nonEmpty),
  },
  "Who may call": {
    rootKey: secret(
      {
        example: "/etc/lockdb/root-key",
        doc: `Sets the root key, ${ROOT_KEY_LENGTH_MIN} characters or more, and replaces a stored one.`,
      },
      checkRootKey,
    ),
    signup: toggle({
      doc: "Lets anyone start a free trial of 30 days, at /signup or POST /v1/signup: an account with small limits and a key.",
    }),
    accountsMax: count(1, 10_000, 10_000_000, {
      unit: "accounts",
      doc: "Accounts in all. Higher: more memory. Lower: those who sign up are refused sooner.",
    }),
  },
  Limits: {
    waitersMax: count(1, 100_000, 10_000_000, {
      unit: "waiters a lock",
      doc: "Waiters a lock. Higher: a hot lock may take more memory. Lower: callers meet QUEUE_FULL sooner.",
    }),
    holdsMax: count(1, 1_000_000, 100_000_000, {
      unit: "holds",
      doc: "Holds a session, and detached holds a service. Higher: one client may take more memory. Lower: LIMIT_EXCEEDED sooner.",
    }),
    sessionsMax: count(1, 100_000, 10_000_000, {
      unit: "sessions a service",
      doc: "Sessions a service. Higher: more memory. Lower: new clients are refused sooner.",
    }),
    servicesMax: count(1, 100_000, 10_000_000, {
      unit: "services",
      doc: "Services in all; a service comes to be on first use. Higher: more memory. Lower: LIMIT_EXCEEDED sooner.",
    }),
  },
  Speed: {
    busyPoll: count(0, 150, 10_000, {
      unit: "microseconds",
      doc:
        "How long the server stays awake for nothing after it has done something, as long as that pays: it is then not woken for what comes next, which takes longer " +
        "than to do it. Higher: more of a processor where much comes, but not quite at once. 0: it sleeps at once.",
    }),
  },
  Webhooks: {
    webhookAllow: list(
      {
        placeholder: "networks",
        doc: "Networks and addresses that webhooks may go to although they are not public, such as 10.1.0.0/16,192.168.7.20.",
      },
      networkList,
    ),
    webhookAllowPrivate: toggle({
      doc:
        "Lets webhooks go to loopback and private networks. Whoever may lock can then have this server send requests " +
        "to what only it can reach.",
    }),
    webhooksPendingMax: count(1, 100_000, 10_000_000, {
      unit: "deliveries an account",
      doc:
        "Webhook deliveries an account that are still to be made. Higher: a dead receiver takes more memory and disk. " +
        "Lower: locks with a webhook meet LIMIT_EXCEEDED sooner.",
    }),
  },
  Logs: {
    logLevel: choice(
      LOG_LEVELS,
      {
        placeholder: "level",
        isLive: true,
        doc: `How much is logged, as JSON lines on standard error: ${LOG_LEVELS.join(", ")}.`,
      },
      "info",
    ),
    slowWait: span("30s", {
      doc:
        "From when on a request that waits for a lock is told in the log, with who has the lock, such as 30s; 0s: never. " +
        "Shorter: more lines, 20 a minute at most.",
    }),
  },
};

/** `lmdb`, `memory`, or where an etcd is. */
export type StoreKind = "lmdb" | "memory" | `etcd://${string}`;

function storeKind(given: string): StoreKind {
  if (given === "lmdb" || given === "memory") return given;
  if (!isEtcdUrl(given))
    throw new Error(`must be lmdb, memory, or such as etcd://etcd1:2379, not ${JSON.stringify(given)}.`);
  etcdPlace(given);
  return given;
}

function advertised(given: string): string {
  if (!URL.canParse(given) || !/^https?:\/\/[^?#]+$/.test(given))
    throw new Error(`must be a URL such as http://lockdb1.internal:5625, not ${JSON.stringify(given)}.`);
  return given.replace(/\/+$/, "");
}

type Sections = typeof SECTIONS;
type Specs = UnionToIntersection<Sections[keyof Sections]>;
type UnionToIntersection<U> = (U extends unknown ? (each: U) => void : never) extends (all: infer I) => void
  ? I
  : never;

/**
 * Options of a server, under the names of their flags without the dashes: `--data-dir` is `dataDir`. docs/configuration.md has what each
 * does, its unit and its default; durations are texts such as `"30s"`.
 *
 * @example
 * const options: Partial<ServeOptions> = { port: 8000, dataDir: "/var/lib/lockdb", durability: "strict" };
 */
export type ServeOptions = {
  readonly [K in keyof Specs]: Specs[K] extends Spec<infer T> ? T : never;
};

/** One option: a bad value stops the start and says how to mend it. */
export interface OptionRow<T = unknown> extends Spec<T> {
  readonly section: string;
  /** As on the command line, such as `--port <number>`; null for a secret, which must not stand there. */
  readonly flag: string | null;
  /** Its variable; a secret may also come from the file that `…_FILE` names. */
  readonly env: string;
  /** Its key in a configuration file, the flag without its dashes. Of a secret: the one that names its file. */
  readonly key: string;
}

export const OPTIONS = Object.fromEntries(
  Object.entries(SECTIONS).flatMap(([section, specs]) =>
    Object.entries<Spec<unknown>>(specs).map(([name, spec]) => [name, rowOf(name, section, spec)]),
  ),
) as { readonly [K in keyof ServeOptions]: OptionRow<ServeOptions[K]> };

/** Where the configuration file is: no option of a server itself, but read as one. */
export const CONFIG_OPTION: OptionRow<string | null> = rowOf(
  "config",
  "Configuration file",
  file({
    example: "/etc/lockdb/lockdb.toml",
    doc: "File to read options from that neither a flag nor a variable gives, in TOML. `lockdb config print` shows what comes of it.",
  }),
);

function rowOf<T>(name: string, section: string, spec: Spec<T>): OptionRow<T> {
  const words = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  const isSecret = spec.kind === "secret";
  return {
    ...spec,
    section,
    flag: isSecret ? null : `--${words}${spec.placeholder === null ? "" : ` <${spec.placeholder}>`}`,
    env: `LOCKDB_${words.toUpperCase().replaceAll("-", "_")}`,
    key: isSecret ? `${words}-file` : words,
  };
}

function checkRootKey(given: string): void {
  if (given.length < ROOT_KEY_LENGTH_MIN)
    throw new Error(`must have ${ROOT_KEY_LENGTH_MIN} characters or more.`);
  if (!/^[\x21-\x7e]{1,512}$/.test(given))
    throw new Error("must be printable ASCII without spaces, at most 512 characters.");
}
