import type { EngineEvent } from "../../packages/server/dist/engine/commands.js";
import type { Locks, View } from "./view.js";
import type { World } from "./world.js";

/** What somebody knows of a service who has heard all its events. */
interface Known {
  /** Holds by token: `held` or `closed`. */
  readonly holds: Map<number, string>;
  /** Tickets. */
  readonly waiters: Set<number>;
}

/** Events tell of every hold and every waiter: whoever hears them all knows what `inspect` says (F4). */
export class EventRules {
  readonly #world: World;
  readonly #known = new WeakMap<View, Known>();

  constructor(world: World) {
    this.#world = world;
  }

  restored(view: View, locks: Locks): void {
    this.#known.set(view, knownFrom(locks));
  }

  applied(view: View, locks: Locks, events: readonly EngineEvent[]): void {
    const known = this.#known.get(view)!;
    for (const event of events) apply(known, event);
    const seen = knownFrom(locks);
    this.#compare("hold", known.holds, seen.holds);
    this.#compare("waiter", asMap(known.waiters), asMap(seen.waiters));
  }

  #compare(what: string, told: ReadonlyMap<number, string>, seen: ReadonlyMap<number, string>): void {
    for (const number of new Set([...told.keys(), ...seen.keys()])) {
      const [before, after] = [told.get(number) ?? "gone", seen.get(number) ?? "gone"];
      if (before === after) continue;
      this.#world.violate("F4", `the events say that ${what} ${number} is ${before}, and it is ${after}`);
    }
  }
}

function apply({ holds, waiters }: Known, { type, token = 0, ticket = 0, closedForMs }: EngineEvent): void {
  switch (type) {
    case "queued":
      waiters.add(ticket);
      return;
    case "left":
    case "deadlock":
      waiters.delete(ticket);
      return;
    case "granted":
    case "restored":
      waiters.delete(ticket);
      holds.set(token, "held");
      return;
    case "released":
    case "expired":
    case "forced":
    case "opened":
      if (closedForMs === undefined) holds.delete(token);
      else holds.set(token, "closed");
  }
}

function knownFrom(locks: Locks): Known {
  const known: Known = { holds: new Map(), waiters: new Set() };
  for (const { holders, queue } of locks.values()) {
    for (const { token, state } of holders) known.holds.set(token, state);
    for (const { ticket } of queue) known.waiters.add(ticket);
  }
  return known;
}

function asMap(numbers: ReadonlySet<number>): ReadonlyMap<number, string> {
  return new Map([...numbers].map((number) => [number, "there"]));
}
