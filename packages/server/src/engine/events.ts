import type { ServiceEvent } from "lockdb/protocol";
import type { Effects, EngineEvent } from "./commands.js";
import type { Lock } from "./lock.js";
import type { Hold, Waiter } from "./state.js";

type Type = ServiceEvent["type"];
type More = Partial<Pick<ServiceEvent, "ticket" | "reason" | "closedForMs" | "cycle" | "round">>;

/** Notes what happened to a hold, if anybody watches the service. */
export function noteHold(out: Effects, type: Type, hold: Hold, more?: More): void {
  if (out.events === undefined) return;
  const { grips, owner, token, leads } = hold;
  out.events.push({ type, names: namesOf(grips), owner, token, ...(leads ? { leads } : {}), ...more });
}

/** Notes what happened to a request that waits or waited. */
export function noteWaiter(out: Effects, type: Type, waiter: Waiter, more?: More): void {
  if (out.events === undefined) return;
  const { places, owner, ticket, terms } = waiter;
  const leads = terms.leads ? { leads: true as const } : {};
  const event: EngineEvent = { type, names: namesOf(places), owner, ticket, ...leads, ...more };
  out.events.push(event);
}

function namesOf(parts: readonly { readonly lock: Lock }[]): readonly string[] {
  return parts.map(({ lock }) => lock.name);
}
