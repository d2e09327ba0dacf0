import type { Effects, NamedCommand } from "./commands.js";
import type { Deadlines } from "./deadlines.js";
import { refuse } from "./replies.js";
import type { Ending, Pending } from "./state.js";

/** Calls of `check` and `unlock` that wait for the end of recovery: the holder may not be back yet (R4). */
export class Postponed {
  readonly #deadlines: Deadlines<Ending>;
  readonly #max: number;
  readonly #all = new Set<Pending>();

  constructor(deadlines: Deadlines<Ending>, max: number) {
    this.#deadlines = deadlines;
    this.#max = max;
  }

  add(command: NamedCommand, nowMs: number, out: Effects): void {
    if (command.waitMs === 0) return refuse(command, "RECOVERING", out);
    if (this.#all.size >= this.#max) return refuse(command, "QUEUE_FULL", out);
    const pending: Pending = { kind: "pending", command, dueMs: 0, heapIndex: -1 };
    this.#all.add(pending);
    if (command.waitMs !== Number.POSITIVE_INFINITY) this.#deadlines.set(pending, nowMs + command.waitMs);
  }

  /** True when this very request waits here already. */
  has({ session, id }: NamedCommand): boolean {
    for (const { command } of this.#all) {
      if (command.session === session && command.id === id) return true;
    }
    return false;
  }

  /** Recovery was not over in time. */
  expire(pending: Pending, out: Effects): void {
    this.#drop(pending);
    refuse(pending.command, "RECOVERING", out);
  }

  /** Forgets what a session asked; it asks again when it returns. */
  dropOf(session: string): void {
    for (const pending of this.#all) {
      if (pending.command.session === session) this.#drop(pending);
    }
  }

  /** Forgets one request, which was given up. */
  dropOne(address: string, id: number): void {
    for (const pending of this.#all) {
      if (pending.command.address === address && pending.command.id === id) this.#drop(pending);
    }
  }

  /** Takes all out, in the order they came. */
  takeAll(): readonly NamedCommand[] {
    const commands = [...this.#all].map((pending) => pending.command);
    for (const pending of this.#all) this.#drop(pending);
    return commands;
  }

  #drop(pending: Pending): void {
    this.#all.delete(pending);
    this.#deadlines.delete(pending);
  }
}
