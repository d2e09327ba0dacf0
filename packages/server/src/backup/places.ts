import { statSync } from "node:fs";
import { resolve } from "node:path";
import { ClusterAtRest } from "../cluster/index.js";
import {
  type Entry,
  type EtcdOptions,
  etcdPlace,
  type FolderMark,
  isEtcdUrl,
  type MarkKind,
  markFolder,
  markOf,
  OfflineStore,
  openEtcdClient,
  refuseMarked,
  StoreUnusableError,
  unmarkFolder,
} from "../store/index.js";
import { assertEmpty, Filling } from "./filling.js";

/** What etcd asks for. */
export type WayToEtcd = Pick<EtcdOptions, "tls" | "user">;

interface Reading {
  load(): AsyncIterable<Entry>;
  close(): Promise<void>;
}

/** Where a store is, of a server that does not run, or of a cluster in which no member lives. */
export interface Place {
  readonly name: string;
  markOf(kind: MarkKind): FolderMark | null;
  /** @throws StoreUnusableError when nobody may start with it */
  refuseMarked(): void;
  /** From now on nobody starts with it. */
  markMoved(mark: FolderMark): Promise<void>;
  /** Certainly it is not marked as moved, and will not be. @param error what marking it came to */
  isUnmarked(error: unknown): boolean;
  /** What was filled is a store from now on. */
  unmarkUnfinished(): Promise<void>;
  /** Nobody else uses it until it is closed. */
  read(): Promise<Reading>;
  /** The same of what has the mark of a move that stood still. */
  readUnfinished(): Promise<Reading>;
  /** Before anything else is done, where that can be told at once. @throws StoreUnusableError that names what is in it */
  assertEmpty(): void;
  /** From then on it has the mark `unfinished`. @throws StoreUnusableError when something is in it */
  fill(from: string, id?: string): Promise<Filling>;
  close(): Promise<void>;
}

/** A folder, or `etcd://host1:2379,host2:2379/cluster`. @throws StoreUnusableError for what is none of them */
export async function placeOf(text: string, way: WayToEtcd = {}): Promise<Place> {
  return isEtcdUrl(text) ? inEtcd(await openAtRest(text, way)) : new Folder(pathOf(text));
}

/** @throws StoreUnusableError, EtcdError and StoreFailedError when etcd does not answer */
export async function openAtRest(url: string, way: WayToEtcd): Promise<ClusterAtRest> {
  let place: ReturnType<typeof etcdPlace>;
  try {
    place = etcdPlace(url);
  } catch (error) {
    throw new StoreUnusableError(`A store in etcd ${(error as Error).message}`);
  }
  const { endpoints, at } = place;
  const etcd = await openEtcdClient({ endpoints, ...way });
  try {
    return await ClusterAtRest.open({ etcd, at, name: `etcd://${endpoints.join(",")}${at.slice(0, -1)}` });
  } catch (error) {
    etcd.close();
    throw error;
  }
}

export function inEtcd(cluster: ClusterAtRest): Place {
  return new InEtcd(cluster);
}

/** @throws StoreUnusableError for a store of another kind */
function pathOf(text: string): string {
  const scheme = /^([a-z][a-z0-9+.-]+):\/\//.exec(text)?.[1];
  if (scheme !== undefined)
    throw new StoreUnusableError(
      `"${text}": this LockDB copies between folders and etcd, and from both into a file. It knows no store "${scheme}".`,
    );
  return resolve(text);
}

class Folder implements Place {
  readonly name: string;

  constructor(path: string) {
    this.name = path;
  }

  markOf(kind: MarkKind): FolderMark | null {
    return markOf(this.name, kind);
  }

  refuseMarked(): void {
    refuseMarked(this.name);
  }

  async markMoved(mark: FolderMark): Promise<void> {
    markFolder(this.name, "moved", mark);
  }

  /** Where it has a mark, even half a one, it starts no more. */
  isUnmarked(): boolean {
    return this.markOf("moved") === null;
  }

  async unmarkUnfinished(): Promise<void> {
    unmarkFolder(this.name, "unfinished");
  }

  async read(): Promise<OfflineStore> {
    const found = statSync(this.name, { throwIfNoEntry: false });
    if (found === undefined) throw new StoreUnusableError(`There is nothing at "${this.name}".`);
    return OfflineStore.open(this.name);
  }

  readUnfinished(): Promise<OfflineStore> {
    return this.read();
  }

  assertEmpty(): void {
    assertEmpty(this.name);
  }

  fill(from: string, id?: string): Promise<Filling> {
    return Filling.begin(this.name, from, id);
  }

  async close(): Promise<void> {}
}

class InEtcd implements Place {
  readonly #cluster: ClusterAtRest;

  constructor(cluster: ClusterAtRest) {
    this.#cluster = cluster;
  }

  get name(): string {
    return this.#cluster.name;
  }

  markOf(kind: MarkKind): FolderMark | null {
    return this.#cluster.markOf(kind);
  }

  refuseMarked(): void {
    this.#cluster.refuseMarked();
  }

  markMoved(mark: FolderMark): Promise<void> {
    return this.#cluster.markMoved(mark);
  }

  /** Refused is not marked; of an answer that was lost nobody knows. */
  isUnmarked(error: unknown): boolean {
    return (error as Error).name === "StoreInUseError";
  }

  unmarkUnfinished(): Promise<void> {
    return this.#cluster.unmark();
  }

  async read() {
    const snapshot = await this.#cluster.read();
    return { load: () => snapshot.entries(), close: async () => {} };
  }

  async readUnfinished() {
    const snapshot = await this.#cluster.look();
    return { load: () => snapshot.entries(), close: async () => {} };
  }

  /** It is told by the transaction that begins to fill it. */
  assertEmpty(): void {
    this.refuseMarked();
  }

  fill(from: string, id?: string): Promise<Filling> {
    return Filling.beginInEtcd(this.#cluster, from, id);
  }

  close(): Promise<void> {
    return this.#cluster.close();
  }
}
