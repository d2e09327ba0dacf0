/** Servers that pass requests on to each other, as the tests say who serves what. Each has a store, and so locks and accounts, of its own. */
import type { ClusterStatus } from "lockdb/protocol";
import { type HttpCluster, NO_CLUSTER, type OtherMember } from "../../src/http/cluster.js";
import type { Placement } from "../../src/loop/index.js";
import { openMemoryStore } from "../../src/store/index.js";
import { type PartsOptions, startParts } from "./server.js";

type Parts = Awaited<ReturnType<typeof startParts>>;

export interface Member extends Parts {
  readonly id: string;
  readonly cluster: TestCluster;
}

/** Where something is: with one of the members, by its number; at an address; or nowhere. */
type Where = number | "nowhere" | { readonly url: string };

/** What all members know. A test changes it as it likes. */
export class Members {
  readonly all: Member[] = [];
  /** Where services are that have no place of their own below. */
  where: Where = 0;
  keeper: Where = 0;
  readonly places = new Map<string, Where>();
  /** Members that are gone, for the others. */
  readonly gone = new Set<number>();

  /** @param options `isPlaced`: their loops know of places too */
  static async start(
    count = 2,
    options: Partial<PartsOptions> & { isPlaced?: boolean; meter?: object } = {},
  ): Promise<Members> {
    const members = new Members();
    for (let at = 0; at < count; at++) {
      const cluster = new TestCluster(members, at);
      Object.assign(cluster, { meter: options.meter });
      const placed = options.isPlaced ? { placement: cluster } : {};
      const parts = await startParts({ ...options, store: openMemoryStore(), cluster, ...placed });
      members.all.push({ ...parts, id: `member-${at}`, cluster });
    }
    return members;
  }

  /** Tells all members that something may have changed. */
  changed(): void {
    for (const { cluster } of this.all) cluster.changed();
  }

  move(service: string, where: Where): void {
    this.places.set(service, where);
    this.changed();
  }

  async close(): Promise<void> {
    await Promise.all(this.all.map((member) => member.close()));
  }
}

/** The view that one member has of it. */
export class TestCluster implements HttpCluster, Placement {
  readonly selfId: string;
  readonly secret: string;
  problem: string | null = null;
  caughtUp = () => Promise.resolve();
  state: ClusterStatus = NO_CLUSTER;
  records?: HttpCluster["records"];
  readonly ca?: string;
  readonly shown?: { readonly cert: string; readonly key: string };
  patienceMs = 1_000;
  /** In place of what all know: a view that is behind. */
  stale: Where | null = null;
  readonly #members: Members;
  readonly #at: number;
  readonly #watchers = new Set<() => void>();

  constructor(members: Members, at: number) {
    this.#members = members;
    this.#at = at;
    this.selfId = `member-${at}`;
    this.secret = `secret-of-member-${at}-that-nobody-else-knows`;
  }

  get watcherCount(): number {
    return this.#watchers.size;
  }

  placeOf({ id }: { readonly id: string }) {
    return this.#place(this.stale ?? this.#members.places.get(id) ?? this.#members.where);
  }

  keeper() {
    return this.#place(this.stale ?? this.#members.keeper);
  }

  others(): readonly OtherMember[] {
    return this.#members.all
      .map(({ id, url, cluster }, at) => ({ id, url, secret: cluster.secret, at }))
      .filter(({ at }) => at !== this.#at && !this.#members.gone.has(at));
  }

  get memberId(): string {
    return this.selfId;
  }

  get url(): string {
    return this.#members.all[this.#at]?.url ?? "";
  }

  get memberUrls(): readonly string[] {
    return this.#members.all.map(({ url }) => url);
  }

  epochOf(): number | null {
    return null;
  }

  offsetMsOf(): number {
    return 0;
  }

  isTrusted(): boolean {
    return true;
  }

  watch(changed: () => void): () => void {
    this.#watchers.add(changed);
    return () => void this.#watchers.delete(changed);
  }

  changed(): void {
    for (const watcher of this.#watchers) watcher();
  }

  async status(): Promise<ClusterStatus> {
    return this.state;
  }

  #place(where: Where) {
    if (where === "nowhere") return where;
    if (typeof where === "object") return where;
    return where === this.#at ? "here" : { url: this.#members.all[where]!.url };
  }
}
