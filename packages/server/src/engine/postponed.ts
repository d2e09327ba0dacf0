import type { Effects, NamedCommand } from "./commands.js";
import type { Deadlines } from "./deadlines.js";
import { refuse } from "./replies.js";
import type { Ending, Pending } from "./state.js";

/** Calls of `check` and `unlock` that wait for the end of recovery: the holder may not be back yet (R4). */
export class Postponed {
  readonly #deadlines: Deadlines<Ending>;
  readonly #max: number;
  /** In the order they came. */
  readonly #all = new Set<Pending>();
  /** By session, or by address for a caller without one, then by request id. */
  readonly #byCaller = new Map<string, Map<number, Pending>>();

  constructor(deadlines: Deadlines<Ending>, max: number) {
    this.#deadlines = deadlines;
    this.#max = max;
  }

  add(command: NamedCommand, nowMs: number, out: Effects): void {
    if (command.waitMs === 0) return refuse(command, "RECOVERING", out);
    if (this.#all.size >= this.#max) return refuse(command, "QUEUE_FULL", out);
    const pending: Pending = { kind: "pending", command, dueMs: 0, heapIndex: -1 };
    this.dropOne(command);
    this.#all.add(pending);
    const caller = callerOf(command);
    const ofCaller = this.#byCaller.get(caller) ?? new Map<number, Pending>();
    this.#byCaller.set(caller, ofCaller.set(command.id, pending));
    if (command.waitMs !== Number.POSITIVE_INFINITY) this.#deadlines.set(pending, nowMs + command.waitMs);
  }

  /** True when this very request waits here already. */
  has(command: NamedCommand): boolean {
    return this.#byCaller.get(callerOf(command))?.has(command.id) === true;
  }

  /** Recovery was not over in time. */
  expire(pending: Pending, out: Effects): void {
    this.#drop(pending);
    refuse(pending.command, "RECOVERING", out);
  }

  /** Forgets what a session asked; it asks again when it returns. */
  dropOf(session: string): void {
    for (const pending of [...(this.#byCaller.get(session)?.values() ?? [])]) this.#drop(pending);
  }

  /** Forgets one request, which was given up. */
  dropOne(command: { readonly session: string | null; readonly address: string; readonly id: number }): void {
    const pending = this.#byCaller.get(callerOf(command))?.get(command.id);
    if (pending !== undefined) this.#drop(pending);
  }

  /** Takes all out, in the order they came. */
  takeAll(): readonly NamedCommand[] {
    const commands = [...this.#all].map((pending) => pending.command);
    for (const pending of [...this.#all]) this.#drop(pending);
    return commands;
  }

  #drop(pending: Pending): void {
    const { command } = pending;
    this.#all.delete(pending);
    this.#deadlines.delete(pending);
    const caller = callerOf(command);
    const ofCaller = this.#byCaller.get(caller)!;
    ofCaller.delete(command.id);
    if (ofCaller.size === 0) this.#byCaller.delete(caller);
  }
}

function callerOf({
  session,
  address,
}: {
  readonly session: string | null;
  readonly address: string;
}): string {
  return session ?? address;
}
