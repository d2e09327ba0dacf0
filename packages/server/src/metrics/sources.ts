import type { Access } from "../access/index.js";
import type { ClusterSeen, ClusterTotals } from "../cluster/index.js";
import type { Loop } from "../loop/index.js";
import type { Webhooks } from "../webhooks/index.js";
import type { ProcessMeter } from "./process-meter.js";

/** Where the numbers come from. Nothing is counted for metrics alone while nobody asks for them. */
export interface Sources {
  readonly loop: Loop;
  readonly access: Access;
  readonly webhooks: Webhooks | undefined;
  readonly process: ProcessMeter;
  readonly version: string;
  /** Who reads events over HTTP. */
  readonly events: {
    readonly readerCount: number;
    readonly cutCount: number;
    readonly backlog: { readonly bytes: number };
  };
  /** When the TLS certificate ends, wall clock; null: plain text. */
  tlsEndsAtMs(): number | null;
  /** Null: this server is in none. */
  readonly cluster: ClusterMeter | null;
}

/** A cluster, as one of its members sees it. */
export interface ClusterMeter {
  readonly totals: ClusterTotals;
  /** Null: no beat ever came through. */
  readonly beatAgeMs: number | null;
  seen(): ClusterSeen;
  /** How many members of etcd work, and how many do not. They are asked, each for a second at most. */
  etcdMembers(): Promise<EtcdMembers>;
}

export interface EtcdMembers {
  readonly up: number;
  readonly down: number;
}

/** The sources, with what takes a walk looked at once for all metrics of a scrape. */
export interface Scrape extends Sources {
  readonly census: ReturnType<Loop["services"]["census"]>;
  readonly deliveries: ReturnType<Webhooks["census"]>;
  /** Null: there is no cluster. */
  readonly seen: ClusterSeen | null;
  readonly etcdMembers: EtcdMembers | null;
}
