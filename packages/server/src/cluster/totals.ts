import { Histogram } from "../engine/index.js";
import { CODE, type Etcd, EtcdError } from "../store/etcd-api.js";

/** Milliseconds of real time: one transaction. */
const BEAT_SPANS_MS = [1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000];

/** Why etcd, or the way to it, did not do what it was asked. */
type EtcdTrouble = "unavailable" | "late" | "refused" | "other";

/** What this member has done in its cluster since its process began (I6). */
export class ClusterTotals {
  readonly beatMs = new Histogram(BEAT_SPANS_MS);
  claims = 0;
  takeUps = 0;
  handOvers = 0;
  /** Other members that this one has fenced. */
  fences = 0;
  /** How often this member was out of its cluster: fenced by another one, without an answer of etcd for most of its lease, or after a commit that failed. */
  readonly lost = { fenced: 0, silent: 0, failed: 0 };
  /** How often it has read what other members have changed of keys and accounts: all of them, or those that had changed. */
  readonly commonReads = { whole: 0, changes: 0 };
  readonly etcdErrors: Readonly<Record<EtcdTrouble, number>> = {
    ...{ unavailable: 0, late: 0, refused: 0, other: 0 },
  };

  countError(error: unknown): void {
    (this.etcdErrors as Record<EtcdTrouble, number>)[troubleOf(error)]++;
  }
}

/** The same etcd. What it does not do is counted. */
export function counted(etcd: Etcd, totals: ClusterTotals): Etcd {
  return {
    txn: async (txn, options) => {
      const outcome = await etcd.txn(txn, options);
      if (outcome.kind === "not-applied" || outcome.kind === "unknown") totals.countError(outcome.error);
      return outcome;
    },
    range: (query, options) =>
      etcd.range(query, options).catch((error: unknown) => {
        totals.countError(error);
        throw error;
      }),
    status: (options) => etcd.status(options),
    watch: (prefix, onHint) => etcd.watch(prefix, onHint),
    close: () => etcd.close(),
  };
}

function troubleOf(error: unknown): EtcdTrouble {
  if (!(error instanceof EtcdError)) return "other";
  if (error.code === CODE.UNAVAILABLE) return "unavailable";
  if (error.code === CODE.DEADLINE_EXCEEDED || error.code === CODE.CANCELLED) return "late";
  return REFUSALS.has(error.code) ? "refused" : "other";
}

const REFUSALS: ReadonlySet<number> = new Set([
  ...[CODE.INVALID_ARGUMENT, CODE.PERMISSION_DENIED, CODE.RESOURCE_EXHAUSTED, CODE.UNAUTHENTICATED],
]);
