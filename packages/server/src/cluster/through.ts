import {
  CODE,
  type Compare,
  type Etcd,
  type EtcdEntry,
  EtcdError,
  type Op,
  type Revision,
} from "../store/etcd-api.js";
import { StoreFailedError } from "../store/index.js";

const PATIENCE_MS = 30_000;
const AGAIN_MS = 200;

/** Waits, and knows how long. */
export interface Pause {
  monotonicMs(): number;
  wait(ms: number): Promise<void>;
}

export const SYSTEM_PAUSE: Pause = {
  monotonicMs: () => performance.now(),
  wait: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
};

export interface RepeatedTxn {
  readonly compare: readonly Compare[];
  readonly ops: readonly Op[];
  readonly otherwise?: readonly Op[];
  /** For each attempt, in milliseconds. Default: 5,000. */
  readonly timeoutMs?: number;
  /** How long it is tried for, in milliseconds. Default: 30,000. */
  readonly patienceMs?: number;
}

export interface TxnSaid {
  readonly isApplied: boolean;
  readonly revision: Revision;
  readonly gets: readonly (readonly EtcdEntry[])[];
}

/**
 * A transaction that may be applied more than once, sent until etcd says what came of it. Whoever sends it reads a refusal with care: an earlier attempt
 * may have been applied.
 * @throws EtcdError that no second attempt mends; StoreFailedError when etcd does not answer
 */
export async function repeated(
  etcd: Etcd,
  { compare, ops, otherwise = [], timeoutMs = 5_000, patienceMs = PATIENCE_MS }: RepeatedTxn,
  pause: Pause = SYSTEM_PAUSE,
): Promise<TxnSaid> {
  const untilMs = pause.monotonicMs() + patienceMs;
  for (;;) {
    const outcome = await etcd.txn({ compare, ops, otherwise }, { timeoutMs });
    if (outcome.kind === "applied" || outcome.kind === "refused")
      return { isApplied: outcome.kind === "applied", revision: outcome.revision, gets: outcome.gets };
    if (!outcome.error.isTransient) throw outcome.error;
    if (pause.monotonicMs() >= untilMs)
      throw new StoreFailedError(
        `etcd did not answer (${outcome.error.message}). Is the address right, and has it its quorum?`,
        { cause: outcome.error },
      );
    await pause.wait(AGAIN_MS);
  }
}

/** An answer would be too large: fewer at once, then. */
export function isLarge(error: unknown): boolean {
  return error instanceof EtcdError && error.code === CODE.RESOURCE_EXHAUSTED;
}
