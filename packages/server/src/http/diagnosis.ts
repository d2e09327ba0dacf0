/** How the server is, for `lockdb doctor`. */
import { statfs } from "node:fs/promises";
import { ACCOUNT_DEFAULT } from "../access/index.js";
import type { ContentionLooks, Loop } from "../loop/index.js";
import type { Sources } from "../metrics/index.js";

/** What the server was started with, as far as it is told. */
export interface Facts {
  readonly host: string;
  readonly isLoopback: boolean;
  /** Null: its store is in memory. */
  readonly dataDir: string | null;
  readonly waitersMax: number;
}

/** What a client compares its own clocks and version with. */
export function serverNow(loop: Loop, version: string) {
  const { runtime } = loop;
  return { version, wallMs: runtime.wallMs(), monotonicMs: runtime.monotonicMs() };
}

export async function diagnosis(sources: Sources, facts: Facts, looks: ContentionLooks): Promise<object> {
  const { loop, webhooks, process: meter, version } = sources;
  const { totals } = loop;
  const crowd = await looks.of("*", () => loop.services.seen(null));
  const disk = facts.dataDir === null ? null : await statfs(facts.dataDir).catch(() => null);
  const [first] = crowd.hottest;
  const { pending, pausedTargets } = webhooks?.census() ?? { pending: 0, pausedTargets: 0 };
  const endsAtMs = sources.tlsEndsAtMs();
  return {
    // Last, and so as late as can be: it is compared with the moment of its arrival.
    upMs: meter.upMs,
    ready: loop.ready,
    listening: {
      host: facts.host,
      isLoopback: facts.isLoopback,
      isTls: endsAtMs !== null,
      certificateEndsAt: endsAtMs === null ? null : new Date(endsAtMs).toISOString(),
    },
    store: {
      kind: facts.dataDir === null ? "memory" : "disk",
      directory: facts.dataDir,
      freeBytes: disk === null ? null : disk.bavail * disk.bsize,
      totalBytes: disk === null ? null : disk.blocks * disk.bsize,
      failures: totals.storeFailures,
    },
    recovering: { count: crowd.recovering, first: crowd.recoveringNow.slice(0, 10) },
    queues: {
      waitersMax: facts.waitersMax,
      refused: totals.refused.QUEUE_FULL ?? 0,
      longest:
        first === undefined
          ? null
          : {
              account: first.account,
              service: first.service,
              name: first.account === ACCOUNT_DEFAULT ? first.name : null,
              length: first.queueLength,
            },
    },
    files: { open: meter.openFds, max: meter.maxFds },
    webhooks: { pending, pausedTargets },
    serviceFailures: totals.serviceFailures,
    server: serverNow(loop, version),
  };
}
