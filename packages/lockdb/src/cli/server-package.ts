// A variable, so that the compiler does not look for a package that is built after this one. A test compares the two.
const SERVER_PACKAGE: string = "@lockdb/server";

/** What is used of `@lockdb/server`: an optional peer, which most clients do without. */
export interface ServerPackage {
  readonly OPTIONS: Readonly<Record<string, OptionRow>>;
  readonly CONFIG_OPTION: OptionRow;
  readOptions(flags: Readonly<Record<string, string>>, env: NodeJS.ProcessEnv): ReadOptions;
  configText(read: ReadOptions): string;
  configObject(read: ReadOptions): object;
  serve(options: ServeOptions): Promise<Server>;
  // Of `lockdb store`.
  checkBackup(path: string): Promise<{ readonly at: string; readonly records: number }>;
  writeBackup(
    path: string,
    pieces: AsyncIterable<Uint8Array>,
    check?: (path: string) => Promise<void>,
  ): Promise<void>;
  wayToEtcdFrom(env: NodeJS.ProcessEnv): WayToEtcd;
  restoreBackup(
    file: string,
    target: string,
    options: { readonly keepHolds?: boolean; readonly tokensAbove?: number; readonly way?: WayToEtcd },
  ): Promise<Restored>;
  inspectStore(path: string, way?: WayToEtcd): Promise<StoreSummary>;
  copyStore(
    from: string,
    to: string,
    way?: WayToEtcd,
  ): Promise<{ readonly kind: string; readonly from: string; readonly to: string; readonly records: number }>;
}

/** Certificates and a user for etcd: the server's matter. */
export type WayToEtcd = object;

/** What the command line has to know of an option; the server's table has the rest. */
export interface OptionRow {
  readonly kind: string;
  readonly flag: string | null;
  readonly env: string;
  readonly choices: readonly string[] | null;
  readonly default: unknown;
  readonly doc: string;
}

export interface ReadOptions {
  readonly options: ServeOptions;
  readonly configPath: string | null;
  readonly warnings: readonly string[];
}

/** All but this one goes from the table to the server as it is. */
export interface ServeOptions {
  readonly signup: boolean;
}

export interface Server {
  readonly url: string;
  readonly storage: string;
  readonly rootKey: string;
  readonly rootKeyIsNew: boolean;
  readonly failed: Promise<Error>;
  reload(options?: ServeOptions): Promise<void>;
  close(): Promise<void>;
}

export interface Restored {
  readonly directory: string;
  readonly backupAt: string;
  readonly records: number;
  readonly leftOut: { readonly sessions: number; readonly holds: number };
  readonly tokensFrom: number;
}

/** What `lockdb store inspect` shows. */
export interface StoreSummary {
  readonly path: string;
  readonly kind: string;
  readonly backup: {
    readonly at: string;
    readonly lockdb: string;
    readonly from: string;
    readonly format: number;
  } | null;
  readonly journal: { readonly stoppedInOrder: boolean; readonly batches: number } | null;
  readonly members: number | null;
  readonly movedTo: string | null;
  readonly records: number;
  readonly bytes: number;
  readonly recordFormats: Readonly<Record<string, number>>;
  readonly kinds: Readonly<Record<string, number>>;
  readonly tokensFrom: number | null;
  readonly accounts: readonly string[];
  readonly services: readonly {
    readonly account: string;
    readonly service: string;
    readonly sessions: number;
    readonly holds: number;
    readonly tokens: number;
    readonly tickets: number;
  }[];
  readonly damage: readonly string[];
  readonly damageCount: number;
}

export const HOW_TO_INSTALL = `The server is a package of its own. Install it beside this one:

  npm install lockdb @lockdb/server
  npx lockdb serve`;

/** Loads the server, or gives null when it is not installed. */
export async function loadServer(): Promise<ServerPackage | null> {
  try {
    return await import(SERVER_PACKAGE);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ERR_MODULE_NOT_FOUND" && message.includes(`'${SERVER_PACKAGE}'`)) return null;
    throw error;
  }
}
