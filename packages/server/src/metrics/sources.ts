import type { Access } from "../access/index.js";
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
}

/** The sources, with what takes a walk looked at once for all metrics of a scrape. */
export interface Scrape extends Sources {
  readonly census: ReturnType<Loop["services"]["census"]>;
  readonly deliveries: ReturnType<Webhooks["census"]>;
}
