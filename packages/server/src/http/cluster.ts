/** What the port must know of the cluster that its server is a member of. It is told from outside, and absent on a server by itself. */
import type { IncomingMessage } from "node:http";
import type { ClusterStatus } from "lockdb/protocol";
import type { Place, ServiceKey } from "../loop/index.js";
import type { ClusterMeter } from "../metrics/index.js";
import type { Entry } from "../store/index.js";

/** On a request that another member has passed on: that one's id. Whoever sets it by himself has his request passed on by nobody. */
export const FORWARDED_BY = "lockdb-forwarded-by";
/**
 * On such a request too: the secret of the member that it is sent to, which stands in that one's record. With it the address and the id of the
 * request are believed (A6), and it is not counted a second time (A5).
 */
export const FORWARDED_SECRET = "lockdb-forwarded-secret";
/** On a refusal: what the request is about is `not here`, or was and has `moved`. Nothing of it is done, and it may be sent elsewhere. */
export const NOT_HERE = "lockdb-not-here";

/** On what a member asks all others for: only the part that is there, whoever the keeper is. */
export const ONLY_HERE = "lockdb-only-here";

/** Another member that lives, as it says of itself. */
export interface OtherMember {
  readonly id: string;
  readonly url: string;
  readonly secret: string;
}

/** The cluster, as the port of one member sees it. All of this may be another at the next look. */
export interface HttpCluster {
  /** This member's own id. */
  readonly selfId: string;
  /** What others show that pass requests on to this one: at least 32 random characters, made anew at each start. */
  readonly secret: string;
  /** Where a service is served. */
  placeOf(key: ServiceKey): Place;
  /** Where accounts, keys and secrets are changed: by the owner of partition 0. */
  keeper(): Place;
  /** All others that live. */
  others(): readonly OtherMember[];
  /** Calls whenever places or members may have changed. @returns stops that */
  watch(changed: () => void): () => void;
  /** What is known of the whole. May ask etcd, and must not take longer than a few seconds. */
  status(): Promise<ClusterStatus>;
  /** All that any member has made durable, as of one moment, in the order of their keys. Absent: what the store of this server has is all. */
  readonly records?: (() => AsyncIterable<Entry>) | undefined;
  /** What is counted of it. Absent: nothing is. */
  readonly meter?: ClusterMeter;
  /** Why this member is out of its cluster now, for people; null: it is in. */
  readonly problem?: string | null;
  /** Resolves when this member knows all accounts, keys and secrets as they were written before this call. */
  caughtUp?(): Promise<void>;
  /** How long a request waits for what it is about to be served somewhere, in milliseconds; default: 5,000. */
  readonly patienceMs?: number;
  /** Certificates (PEM) that sign those of other members, in place of the system's. */
  readonly ca?: string;
  /** What is shown to members that want certificates of their callers (PEM); default: the server's own, which must be for clients too then. */
  readonly shown?: { readonly cert: string; readonly key: string } | undefined;
}

/** Of a server that is in no cluster. */
export const NO_CLUSTER: ClusterStatus = { cluster: null, members: [], partitions: [], etcd: [] };

/** True for a request that says that it was passed on, whoever says so. */
export function saysForwarded({ headers }: IncomingMessage): boolean {
  return headers[FORWARDED_BY] !== undefined;
}

/** The path and query that a request is about, also where it names the server with them (RFC 9112, 3.2.2). */
export function pathOf({ url = "/" }: IncomingMessage): string {
  if (url.startsWith("/")) return url;
  if (!URL.canParse(url)) return "/";
  const { pathname, search } = new URL(url);
  return `${pathname}${search}`;
}

/** True when somebody puts an answer together, and asks for what is here of it. It reads, so it may be anybody. */
export function asksForPart({ headers }: IncomingMessage): boolean {
  return headers[ONLY_HERE] !== undefined;
}
