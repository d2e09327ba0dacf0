import type { Command } from "../../packages/server/dist/engine/commands.js";
import type { DurableRecord } from "../../packages/server/dist/engine/packed-holds.js";
import type { Change } from "../../packages/server/dist/store/store.js";
import { wantsOf } from "./modes.js";
import type { DiskPlan } from "./plan.js";
import { serviceOf } from "./view.js";

/** Where all that is durable is. */
export interface Durable {
  readonly records: ReadonlyMap<string, Uint8Array>;
  readonly plan: Pick<DiskPlan, "commitMsMax" | "slowChance" | "slowMsMax">;
  onApply: (batch: readonly Change[]) => void;
  onOpen: () => void;
}

/** Of several servers, the one that serves a service. */
export interface Servers {
  /** What happens now happens at that one. */
  isAtOwner(service: string): boolean;
  /** The owner has read a service. */
  restored(service: string, records: readonly DurableRecord[], nowMs: number): void;
  /** It has a command for it. */
  read(service: string, nowMs: number): void;
}

/** Whose records these are; empty: they do not say. */
export function serviceIn(records: readonly DurableRecord[]): string {
  for (const { type, id } of records) {
    if (type === "answer" || type === "previous" || type === "session") return serviceOf(id);
  }
  return "";
}

/** Which service a command is for; empty: it does not say. */
export function serviceFor(command: Command): string {
  if ("session" in command && command.session !== null) return serviceOf(command.session);
  if ("name" in command && command.name !== null) return serviceOf(command.name);
  return "names" in command ? serviceOf(wantsOf(command.names)[0]!.lock) : "";
}
