import { durationMs } from "lockdb/protocol";
import { type Logger, pino } from "pino";
import { Access, AccountShares } from "./access/index.js";
import { httpServer } from "./http/app.js";
import { TlsWatch } from "./http/tls.js";
import { busyPolling, Loop, measured, nodeRuntime, ServerTotals } from "./loop/index.js";
import { isLoopback, OPTIONS, type ServeOptions, withDefaults } from "./options/index.js";
import { openMember } from "./serve-member.js";
import { SlowWaitLog } from "./slow-wait-log.js";
import { isEtcdUrl, openDiskStore, openMemoryStore, type Store } from "./store/index.js";
import { Webhooks } from "./webhooks/index.js";

/**
 * A running server.
 *
 * @example
 * const server: Server = await serve({ port: 0, store: "memory" });
 * const here = new LockDB("test", { serverUrl: server.url, apiKey: server.rootKey });
 * await here.close();
 * await server.close();
 */
export interface Server {
  /** Where it listens, such as `http://127.0.0.1:5625`; it begins with `https` when it speaks TLS. */
  readonly url: string;
  /** Where its durable data is, for people, such as the path of its folder. */
  readonly storage: string;
  /** The root key, when this start made it or was given it. Empty otherwise: only its hash is stored. */
  readonly rootKey: string;
  /** True when this start made the root key; it is never shown again. */
  readonly rootKeyIsNew: boolean;
  /** Resolves with the reason when the server cannot go on by itself: services fail again and again. Close it then. */
  readonly failed: Promise<Error>;
  /**
   * Looks at its TLS files now, and takes what may change while it runs: the log level. Of other options that are given, and
   * are not as at the start, it says in the log that they need a new start.
   * @throws Error when an option is bad; nothing has changed then
   *
   * @example
   * await server.reload({ logLevel: "debug" });
   */
  reload(options?: Partial<ServeOptions>): Promise<void>;
  /**
   * Stops: everybody is told, session holds are written down for the next start, connections are closed.
   * @throws Error when what has to be written could not be
   *
   * @example
   * process.once("SIGTERM", () => server.close());
   */
  close(): Promise<void>;
}

/**
 * Starts a server in this process, as `lockdb serve` does and as tests of other projects may. It reads no variables and no file: what is not
 * given has its default, and the data is in `./lockdb-data` unless `store` or `dataDir` says otherwise.
 * @throws Error when an option is bad, a TLS file cannot be used, the data folder is in use (R8) or damaged (R9), or the
 *   port is taken
 *
 * @example
 * const server = await serve({ port: 0, store: "memory", logLevel: "silent" });
 */
export async function serve(given: Partial<ServeOptions> = {}): Promise<Server> {
  const options = withDefaults(given);
  const logger = pino({ level: options.logLevel, base: null }, standardError());
  const tls = await openTls(options, logger);
  const totals = new ServerTotals();
  const part = isEtcdUrl(options.store) ? await openMember(options, logger) : null;
  const openStore = part === null ? storeOpener(options) : () => part.member.openStore();
  let onFatal: (error: Error) => void = () => {};
  const failed = new Promise<Error>((resolve) => {
    onFatal = resolve;
  });
  const isKeeper = part === null ? {} : { isKeeper: () => part.member.keeper === "here" };
  const shares = new AccountShares();
  const access = new Access({ runtime: nodeRuntime, accountsMax: options.accountsMax, shares, ...isKeeper });
  const webhooks = new Webhooks({
    addresses: { allowPrivate: options.webhookAllowPrivate, allowed: options.webhookAllow },
    pendingMax: options.webhooksPendingMax,
    pendingMaxOf: (account) => access.leftOf(account)?.deliveries ?? null,
    ...(part === null ? {} : { putIfAbsent: (key, value) => part.member.putIfAbsent(key, value) }),
    runtime: nodeRuntime,
    log: logger,
  });
  part?.follow(access, webhooks);
  const loop = await Loop.start({
    openStore: async () => measured(await openStore(), totals, nodeRuntime.monotonicMs),
    totals,
    onFatal,
    // A member's keys are not read with its store, but by what others say that they have changed.
    keepers: part === null ? [access] : [],
    limitsOf: (account) => access.leftOf(account),
    outbox: webhooks,
    service: { ...options, writesSessionHolds: options.durability === "strict" },
    servicesMax: options.servicesMax,
    runtime: busyPolling(nodeRuntime, options.busyPoll / 1_000, totals),
    log: logger,
    ...(part === null ? {} : { placement: part.member }),
  });
  part?.share(shares, access, webhooks, loop);
  const slowWaits = new SlowWaitLog(loop, durationMs(options.slowWait), logger);
  const stop = async () => {
    // While everything works yet: what is here goes to the other members.
    await part?.member.leave();
    tls?.stop();
    slowWaits.stop();
    await webhooks.stop();
    await access.stop();
    await loop.stop();
    await part?.member.close();
  };
  const { signup, trustedProxies, allowOrigins } = options;
  const log = logger as Logger & typeof logger;
  const http = await httpServer({
    ...{ access, loop, webhooks, signup, logger: log, tls, trustedProxies, allowOrigins },
    cluster: part?.view,
    facts: {
      host: options.host,
      isLoopback: isLoopback(options.host),
      dataDir: options.store === "lmdb" ? options.dataDir : null,
      waitersMax: options.waitersMax,
    },
  });
  // A member may be given what it serves once it can be reached, and only then is there perhaps a root key.
  const open = async () => {
    await http.listen(options);
    part?.member.start(loop);
    await part?.known(access);
  };
  const start = async () => {
    if (part !== null) await open();
    const root = await access.start(loop, options.rootKey);
    part?.keepRootKey(access, options.rootKey);
    webhooks.start(loop);
    if (part === null) await open();
    tls?.start();
    slowWaits.start();
    return root;
  };
  const { rootKey, isNew } = await start().catch(async (error) => {
    await stop();
    await http.close();
    throw portError(error, options);
  });
  let closing: Promise<void> | null = null;
  return {
    url: urlOf(http.app.server.address(), options),
    storage: storageOf(options),
    rootKey: rootKey ?? "",
    rootKeyIsNew: isNew,
    failed,
    reload: async (given = {}) => {
      const set = Object.entries(given).filter(([, value]) => value !== undefined);
      const wanted = withDefaults({ ...options, logLevel: logger.level, ...Object.fromEntries(set) });
      tellOfNewStart(options, wanted, logger);
      if (wanted.logLevel !== logger.level) {
        http.setLogLevel(wanted.logLevel);
        log.info({ logLevel: wanted.logLevel }, "the log level is another one now");
      }
      await tls?.reload();
    },
    close: () => {
      closing ??= stop().finally(() => http.close());
      return closing;
    },
  };
}

/** Options that have changed, and cannot while the server runs. Never their values: one of them is the root key. */
function tellOfNewStart(options: ServeOptions, wanted: ServeOptions, log: Pick<Logger, "warn">): void {
  const changed = (Object.keys(OPTIONS) as (keyof ServeOptions)[])
    .filter((name) => !OPTIONS[name].isLive && wanted[name] !== options[name])
    .map((name) => OPTIONS[name].key);
  if (changed.length > 0) log.warn({ options: changed }, "these options have changed, and need a new start");
}

function storageOf({ store, dataDir, cluster }: ServeOptions): string {
  if (store === "lmdb") return dataDir;
  return store === "memory" ? "memory, gone when the server stops" : `cluster ${cluster} on ${store}`;
}

/** Where the log goes. One that cannot be written, as on a full disk, ends nothing: its lines wait until it can. */
function standardError(): ReturnType<typeof pino.destination> {
  const destination = pino.destination({ fd: 2, sync: true });
  destination.on("error", () => {});
  return destination;
}

/** Opens the same store each time: in memory there is one for the life of the server. */
function storeOpener({ store, dataDir }: ServeOptions): () => Promise<Store> {
  if (store === "lmdb") return () => openDiskStore(dataDir);
  const memory = openMemoryStore({ looks: false });
  return async () => ({
    load: (prefix, after) => memory.load(prefix, after),
    commit: (batch) => memory.commit(batch),
    close: async () => {},
  });
}

async function openTls(options: ServeOptions, log: Logger): Promise<TlsWatch | undefined> {
  const { tlsCert: cert, tlsKey: key, tlsClientCa: clientCa } = options;
  if (cert === null || key === null) return undefined;
  return TlsWatch.open({ cert, key, clientCa }, { log, wallMs: nodeRuntime.wallMs });
}

function urlOf(
  address: ReturnType<import("node:net").Server["address"]>,
  { host, tlsCert }: ServeOptions,
): string {
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return `http${tlsCert === null ? "" : "s"}://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

function portError(error: unknown, { host, port }: ServeOptions): Error {
  const { code } = error as NodeJS.ErrnoException;
  if (code === "EADDRINUSE")
    return new Error(`Port ${port} is taken. Stop what runs there, or choose another: --port 0.`);
  if (code === "EACCES")
    return new Error(`Port ${port} may not be used by this user. Choose one from 1024: --port 5625.`);
  if (code === "EADDRNOTAVAIL" || code === "ENOTFOUND") {
    return new Error(`${host} is no address of this machine. Use one that is: --host 127.0.0.1.`);
  }
  return error as Error;
}
