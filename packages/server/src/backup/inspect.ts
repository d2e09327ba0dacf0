import { statSync } from "node:fs";
import { resolve } from "node:path";
import { CLOCK_KEY, FLOOR_KEY, partsIn, partsOf, ServiceKey } from "../loop/index.js";
import {
  BackupFile,
  type BackupHeader,
  BackupUnusableError,
  decodeRecord,
  type Entry,
  isEtcdUrl,
  type JournalState,
  markOf,
  OfflineStore,
  StoreUnusableError,
} from "../store/index.js";
import { openAtRest, type WayToEtcd } from "./places.js";

/** More damage than this is counted, and not named. */
const DAMAGE_SHOWN_MAX = 100;

export interface ServiceSummary {
  readonly account: string;
  readonly service: string;
  sessions: number;
  holds: number;
  /** No token and no ticket from these on was ever given out. */
  tokens: number;
  tickets: number;
}

/** What is in a data directory, a backup, or a cluster in etcd. Nothing of it is secret. */
export interface StoreSummary {
  readonly path: string;
  readonly kind: "data directory" | "backup" | "cluster";
  /** Of a backup. */
  readonly backup: (BackupHeader & { readonly format: number }) | null;
  /** Of a data directory. */
  readonly journal: JournalState | null;
  /** Of a cluster: members that have joined and not left. */
  readonly members: number | null;
  /** Where its history goes on, of a data directory or a cluster that starts no more. */
  readonly movedTo: string | null;
  readonly records: number;
  readonly bytes: number;
  /** How many records there are of each format. */
  readonly recordFormats: Readonly<Record<string, number>>;
  /** How many there are of each kind. */
  readonly kinds: Readonly<Record<string, number>>;
  readonly leaseClockMs: number | null;
  /** Where a restore has made all tokens begin; null: there was none. */
  readonly tokensFrom: number | null;
  readonly accounts: readonly string[];
  readonly services: readonly ServiceSummary[];
  /** What is wrong, the first hundred; and how much is. */
  readonly damage: readonly string[];
  readonly damageCount: number;
}

/**
 * Looks at all of a data directory that no server uses, of a backup, or of a cluster, which may be in use: as of one moment. It changes nothing. Damage is in the
 * summary, as far as one can get past it.
 * @param way to etcd
 * @throws StoreInUseError, and StoreUnusableError or BackupUnusableError when it is no store at all
 */
export async function inspectStore(given: string, way: WayToEtcd = {}): Promise<StoreSummary> {
  if (isEtcdUrl(given)) return ofCluster(given, way);
  const path = resolve(given);
  const isFolder = statSync(path, { throwIfNoEntry: false })?.isDirectory();
  if (isFolder === undefined) throw new StoreUnusableError(`There is nothing at "${path}".`);
  return isFolder ? ofFolder(path) : ofBackup(path);
}

async function ofFolder(path: string): Promise<StoreSummary> {
  const look = new Look();
  const movedTo = markOf(path, "moved")?.other ?? null;
  const unfinished = markOf(path, "unfinished");
  if (unfinished !== null)
    look.damaged(`It is not whole: what was begun at ${unfinished.at} did not come to its end.`);
  let journal: JournalState | null = null;
  try {
    const store = await OfflineStore.open(path);
    try {
      journal = store.journal;
      for await (const entry of store.load()) look.at(entry);
    } finally {
      await store.close();
    }
  } catch (error) {
    if (!(error instanceof StoreUnusableError) || !isDamage(error)) throw error;
    look.damaged(error.message);
  }
  return { path, kind: "data directory", backup: null, journal, movedTo, members: null, ...look.summary() };
}

async function ofCluster(url: string, way: WayToEtcd): Promise<StoreSummary> {
  const look = new Look();
  const cluster = await openAtRest(url, way);
  try {
    const movedTo = cluster.markOf("moved")?.other ?? null;
    const unfinished = cluster.markOf("unfinished");
    if (unfinished !== null)
      look.damaged(`It is not whole: what was begun at ${unfinished.at} did not come to its end.`);
    const snapshot = await cluster.look();
    if (!snapshot.isThere) throw new StoreUnusableError(`There is no cluster at "${cluster.name}".`);
    for await (const entry of snapshot.stored()) look.at(entry);
    const members = await cluster.memberCount();
    return {
      path: cluster.name,
      kind: "cluster",
      backup: null,
      journal: null,
      movedTo,
      members,
      ...look.summary(),
    };
  } finally {
    await cluster.close();
  }
}

async function ofBackup(path: string): Promise<StoreSummary> {
  const look = new Look();
  const file = BackupFile.open(path);
  try {
    for await (const entry of file.entries()) look.at(entry);
  } catch (error) {
    if (!(error instanceof BackupUnusableError)) throw error;
    look.damaged(error.message);
  } finally {
    file.close();
  }
  const backup = { ...file.header, format: file.format };
  return { path, kind: "backup", backup, journal: null, movedTo: null, members: null, ...look.summary() };
}

/** It is a store, and something is wrong with it. */
function isDamage({ message }: Error): boolean {
  return !/ is not a LockDB store|^There is no/.test(message);
}

class Look {
  #records = 0;
  #bytes = 0;
  readonly #formats = new Map<string, number>();
  readonly #kinds = new Map<string, number>();
  #clockMs: number | null = null;
  #tokensFrom: number | null = null;
  readonly #accounts = new Set(["default"]);
  readonly #services: ServiceSummary[] = [];
  readonly #damage: string[] = [];
  #damageCount = 0;

  at(entry: Entry): void {
    const { account, kind, service: serviceId } = partsOf(entry.key);
    this.#records++;
    this.#bytes += entry.key.length + entry.value.length;
    count(this.#formats, String(entry.value[0] ?? "none"));
    this.#accounts.add(account);
    let value: unknown;
    try {
      value = decodeRecord(entry);
    } catch (error) {
      this.damaged((error as Error).message);
    }
    if (kind !== "service") {
      count(this.#kinds, kind === "webhook" ? "webhook secret" : kind);
      if (entry.key === CLOCK_KEY) this.#clockMs = numberIn(value, "nowMs");
      if (entry.key === FLOOR_KEY) this.#tokensFrom = numberIn(value, "tokens");
      return;
    }
    const service = this.#serviceOf(account, serviceId!);
    const { type } = partsIn(new ServiceKey(account, serviceId!).prefix, entry.key);
    count(this.#kinds, type);
    if (type === "session") service.sessions++;
    if (type === "hold") service.holds++;
    if (type === "ceiling") {
      service.tokens = numberIn(value, "tokens") ?? 0;
      service.tickets = numberIn(value, "tickets") ?? 0;
    }
  }

  damaged(problem: string): void {
    this.#damageCount++;
    if (this.#damage.length < DAMAGE_SHOWN_MAX) this.#damage.push(problem);
  }

  summary() {
    return {
      records: this.#records,
      bytes: this.#bytes,
      recordFormats: Object.fromEntries(this.#formats),
      kinds: Object.fromEntries([...this.#kinds].sort()),
      leaseClockMs: this.#clockMs,
      tokensFrom: this.#tokensFrom,
      accounts: [...this.#accounts].sort(),
      services: this.#services,
      damage: this.#damage,
      damageCount: this.#damageCount,
    };
  }

  /** Its records come one after the other. */
  #serviceOf(account: string, service: string): ServiceSummary {
    const last = this.#services.at(-1);
    if (last?.account === account && last.service === service) return last;
    const next = { account, service, sessions: 0, holds: 0, tokens: 1, tickets: 1 };
    this.#services.push(next);
    return next;
  }
}

function count(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}

function numberIn(value: unknown, name: string): number | null {
  const number = (value as Readonly<Record<string, unknown>> | undefined)?.[name];
  return typeof number === "number" ? number : null;
}
