import type { Store } from "../store/index.js";
import type { Keeper, Outbox } from "./outbox.js";
import type { LoopRuntime } from "./runtime.js";
import type { ServerTotals } from "./server-totals.js";
import type { ServicesOptions } from "./services.js";

/** What a loop is made of. */
export interface LoopOptions extends ServicesOptions {
  /** In a cluster it resolves once this member has joined, under an id that no member ever had; the store then has nothing of services. */
  readonly openStore: () => Promise<Store>;
  /** What happens is counted there. Absent: in one of its own. */
  readonly totals?: ServerTotals;
  readonly runtime: LoopRuntime;
  /** Who sees to the webhooks (C5). Absent: their records are written, and nothing comes of them. */
  readonly outbox?: Outbox;
  /** Others with records outside services. */
  readonly keepers?: readonly Keeper[];
  readonly log: { warn(facts: object, text: string): void; error(facts: object, text: string): void };
  /** Records that a clean stop may write of what is handed over together. Services with more are handed over without, as after a crash (R4). Absent: 20,000. */
  readonly listMax?: number;
  /** Services fail again and again: the server has to stop. */
  readonly onFatal?: (error: Error) => void;
}
