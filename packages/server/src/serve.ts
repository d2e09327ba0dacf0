import { durationMs } from "lockdb/protocol";
import { type Logger, pino } from "pino";
import { Access } from "./access/index.js";
import { httpServer } from "./http/app.js";
import { TlsWatch } from "./http/tls.js";
import { Loop, measured, nodeRuntime, ServerTotals } from "./loop/index.js";
import { OPTIONS, type ServeOptions, withDefaults } from "./options.js";
import { SlowWaitLog } from "./slow-wait-log.js";
import { openDiskStore, openMemoryStore, type Store } from "./store/index.js";
import { Webhooks } from "./webhooks/index.js";

/** A running server. */
export interface Server {
  /** Where it listens, such as `http://127.0.0.1:5625`; it begins with `https` when it speaks TLS. */
  readonly url: string;
  /** The root key, when this start made it or was given it. Empty otherwise: only its hash is stored. */
  readonly rootKey: string;
  /** True when this start made the root key; it is never shown again. */
  readonly rootKeyIsNew: boolean;
  /** Resolves with the reason when the server cannot go on by itself: services fail again and again. Close it then. */
  readonly failed: Promise<Error>;
  /** Looks at its TLS files now, and takes the log level that is given. What else has changed needs a new start. */
  reload(options?: Pick<Partial<ServeOptions>, "logLevel">): Promise<void>;
  /** Stops: everybody is told, session holds are written down for the next start, connections are closed. */
  close(): Promise<void>;
}

/**
 * Starts a server in this process, as `lockdb serve` does and as tests of other projects may.
 * @example const server = await serve({ port: 0, store: "memory", logLevel: "silent" });
 * @throws Error when an option is bad, a TLS file cannot be used, the data folder is in use (R8) or damaged (R9), or the
 *   port is taken
 */
export async function serve(given: Partial<ServeOptions> = {}): Promise<Server> {
  const options = withDefaults(given);
  const logger = pino({ level: options.logLevel, base: null }, standardError());
  const tls = await openTls(options, logger);
  const totals = new ServerTotals();
  const openStore = storeOpener(options);
  let onFatal: (error: Error) => void = () => {};
  const failed = new Promise<Error>((resolve) => {
    onFatal = resolve;
  });
  const access = new Access({ runtime: nodeRuntime, accountsMax: options.accountsMax });
  const webhooks = new Webhooks({
    addresses: { allowPrivate: options.webhookAllowPrivate, allowed: options.webhookAllow },
    pendingMax: options.webhooksPendingMax,
    pendingMaxOf: (account) => access.limitsOf(account)?.deliveries ?? null,
    runtime: nodeRuntime,
    log: logger,
  });
  const loop = await Loop.start({
    openStore: async () => measured(await openStore(), totals, nodeRuntime.monotonicMs),
    totals,
    onFatal,
    keepers: [access],
    limitsOf: (account) => access.limitsOf(account),
    outbox: webhooks,
    service: { ...options, writesSessionHolds: options.durability === "strict" },
    servicesMax: options.servicesMax,
    runtime: nodeRuntime,
    log: logger,
  });
  const slowWaits = new SlowWaitLog(loop, durationMs(options.slowWait), logger);
  const stop = async () => {
    tls?.stop();
    slowWaits.stop();
    await webhooks.stop();
    await access.stop();
    await loop.stop();
  };
  const { rootKey, isNew } = await access.start(loop, options.rootKey).catch(async (error) => {
    await stop();
    throw error;
  });
  webhooks.start(loop);
  const { signup, trustedProxies, allowOrigins } = options;
  const log = logger as Logger & typeof logger;
  const http = await httpServer({
    access,
    loop,
    webhooks,
    signup,
    logger: log,
    tls,
    trustedProxies,
    allowOrigins,
  });
  try {
    await http.listen(options);
    tls?.start();
    slowWaits.start();
  } catch (error) {
    await stop();
    throw portError(error, options);
  }
  let closing: Promise<void> | null = null;
  return {
    url: urlOf(http.app.server.address(), options),
    rootKey: rootKey ?? "",
    rootKeyIsNew: isNew,
    failed,
    reload: async ({ logLevel } = {}) => {
      if (logLevel !== undefined) http.setLogLevel(OPTIONS.logLevel.parse(logLevel));
      await tls?.reload();
    },
    close: () => {
      closing ??= stop().finally(() => http.close());
      return closing;
    },
  };
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
  const memory = openMemoryStore();
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
