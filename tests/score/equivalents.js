/**
 * Mutants that behave like the healthy code, so that no test can find them. They are told apart from survivors, and counted both ways.
 * A row is for all mutants of its line (by its text) that put `to` for `from`; without these two, for all of its line.
 * @type {readonly { file: string, line: string, from?: string, to?: string, why: string }[]}
 */
export const EQUIVALENTS = [
  {
    file: "packages/server/src/engine/deadlines.ts",
    line: "if (child.dueMs >= item.dueMs) break;",
    from: "child.dueMs >= item.dueMs",
    to: "child.dueMs > item.dueMs",
    why: "Of two that are due at once either may come first.",
  },
  {
    file: "packages/server/src/engine/deadlines.ts",
    line: "if (right !== undefined && right.dueMs < this.#heap[childAt]!.dueMs) childAt++;",
    from: "right.dueMs < this.#heap[childAt].dueMs",
    to: "right.dueMs <= this.#heap[childAt].dueMs",
    why: "Of two that are due at once either may come first.",
  },
  {
    file: "packages/server/src/engine/queue.ts",
    line: "if (place.waiter.nextOfWaiter !== null) this.setCount++;",
    from: "place.waiter.nextOfWaiter !== null",
    to: "true",
    why: "The count spares deadlock detection a look; when it is too high, that looks and finds the same.",
  },
  {
    file: "packages/server/src/engine/state.ts",
    line: "if (endedBy !== this.endedBy) this.#facts.endedBy = endedBy;",
    from: "endedBy !== this.endedBy",
    to: "true",
    why: "It spares most holds the memory of rare facts; what is read is the same.",
  },
  {
    file: "packages/server/src/engine/state.ts",
    line: "if (remainder !== this.remainder) this.#facts.remainder = remainder;",
    from: "remainder !== this.remainder",
    to: "true",
    why: "It spares most holds the memory of rare facts; what is read is the same.",
  },
  {
    file: "packages/server/src/engine/state.ts",
    line: "if (isByRequest !== this.isByRequest) this.#facts.isByRequest = isByRequest;",
    from: "isByRequest !== this.isByRequest",
    to: "true",
    why: "It spares most holds the memory of rare facts; what is read is the same.",
  },
  {
    file: "packages/server/src/engine/sessions.ts",
    line: "if (!this.recovering) return;",
    from: "!this.recovering",
    to: "false",
    why: "While nobody is waited for, the loop below finds nobody whose end would move.",
  },
  {
    file: "packages/server/src/engine/sessions.ts",
    line: "if (!this.recovering) return;",
    from: "return;",
    to: ";",
    why: "While nobody is waited for, the loop below finds nobody whose end would move.",
  },
  {
    file: "packages/server/src/engine/sessions.ts",
    line: 'const over: EndedSession = { kind: "ended", id: session.id, dueMs: 0, heapIndex: -1 };',
    from: "0",
    to: "(0 + 1)",
    why: "The heap sets it before anybody reads it.",
  },
  {
    file: "packages/server/src/engine/sessions.ts",
    line: 'const over: EndedSession = { kind: "ended", id: session.id, dueMs: 0, heapIndex: -1 };',
    from: "0",
    to: "(0 - 1)",
    why: "The heap sets it before anybody reads it.",
  },
  {
    file: "packages/lockdb/src/client/trust.ts",
    line: "#isOver = false;",
    from: "false",
    to: "true",
    why: "Nothing is over before the first renewal, which sets it.",
  },
  {
    file: "packages/lockdb/src/client/trust.ts",
    line: "#warned = false;",
    from: "false",
    to: "true",
    why: "Nobody is warned before the first renewal, which sets it.",
  },
  {
    file: "packages/lockdb/src/client/request.ts",
    line: 'signal.addEventListener("abort", this.#onAbort, { once: true });',
    from: "true",
    to: "false",
    why: "A signal aborts once.",
  },
  {
    file: "packages/lockdb/src/client/request.ts",
    line: 'if (this.#onAbort !== undefined) this.#signal?.removeEventListener("abort", this.#onAbort);',
    from: "this.#signal?.removeEventListener",
    to: "this.#signal.removeEventListener",
    why: "There is a listener only where there is a signal.",
  },
  {
    file: "packages/lockdb/src/client/cancels.ts",
    line: "cancel.unanswered = 1;",
    from: "1",
    to: "(1 - 1)",
    why: "One answer ends it as well: none or fewer are left.",
  },
  {
    file: "packages/lockdb/src/client/inner-lease.ts",
    line: "if (outer.previous !== undefined) this.previous = outer.previous;",
    from: "outer.previous !== void 0",
    to: "true",
    why: "Undefined is what it has anyway.",
  },
  {
    file: "packages/lockdb/src/client/heartbeats.ts",
    line: "if (request.beatMs >= this.#leaseMs / 3 || this.#shortWaits.has(request)) return;",
    from: "request.beatMs >= this.#leaseMs / 3",
    to: "request.beatMs > this.#leaseMs / 3",
    why: "The shorter of two equal times is the same.",
  },
  {
    file: "packages/lockdb/src/client/heartbeats.ts",
    line: "return this.#arm(beatMs);",
    from: "return this.#arm(beatMs);",
    to: ";",
    why: "Nothing has passed since it was sent: below the timer is set to the same time.",
  },
  {
    file: "packages/lockdb/src/client/session.ts",
    line: "#isRefused = false;",
    from: "false",
    to: "true",
    why: "It is looked at after a welcome only, which sets it.",
  },
  {
    file: "packages/server/src/engine/locks.ts",
    line: "lock.newer = null;",
    from: "lock.newer = null;",
    to: ";",
    why: "It is for the collector: nobody comes to a lock that is forgotten.",
  },
  {
    file: "packages/server/src/engine/locks.ts",
    line: "lock.older = null;",
    from: "lock.older = null;",
    to: ";",
    why: "It is for the collector: nobody comes to a lock that is forgotten.",
  },
  {
    file: "packages/server/src/engine/listings.ts",
    line: "this.#at?.listings?.delete(this);",
    from: "this.#at?.listings?.delete",
    to: "this.#at?.listings.delete",
    why: "Where it stands it is in that lock's set.",
  },
  {
    file: "packages/server/src/engine/contention.ts",
    line: "this.#at?.listings?.delete(this);",
    from: "this.#at?.listings?.delete",
    to: "this.#at?.listings.delete",
    why: "Where it stands it is in that lock's set.",
  },
  {
    file: "packages/server/src/engine/session-list.ts",
    line: "if (holds.length === NAMES_SHOWN_MAX) break;",
    from: "break;",
    to: ";",
    why: "It spares a walk in which nothing is added any more.",
  },
  {
    file: "packages/server/src/engine/session-list.ts",
    line: "if (waitsFor.length === NAMES_SHOWN_MAX) break;",
    from: "break;",
    to: ";",
    why: "It spares a walk in which nothing is added any more.",
  },
  {
    file: "packages/server/src/engine/listings.ts",
    line: "dueMs = 0;",
    from: "0",
    to: "(0 + 1)",
    why: "The heap sets it before anybody reads it.",
  },
  {
    file: "packages/server/src/engine/listings.ts",
    line: "dueMs = 0;",
    from: "0",
    to: "(0 - 1)",
    why: "The heap sets it before anybody reads it.",
  },
  {
    file: "packages/server/src/engine/state.ts",
    line: "dueMs = 0;",
    from: "0",
    to: "(0 + 1)",
    why: "The heap sets it before anybody reads it.",
  },
  {
    file: "packages/server/src/engine/state.ts",
    line: "dueMs = 0;",
    from: "0",
    to: "(0 - 1)",
    why: "The heap sets it before anybody reads it.",
  },
  {
    file: "packages/server/src/engine/contention.ts",
    line: "if (found.length === this.#max && size <= found.at(-1)!.size) return;",
    from: "found.length === this.#max && size <= found.at(-1).size",
    to: "false",
    why: "It spares most of them a look: below, they would be put at the end and taken off again.",
  },
  {
    file: "packages/server/src/engine/contention.ts",
    line: "if (found.length === this.#max && size <= found.at(-1)!.size) return;",
    from: "size <= found.at(-1).size",
    to: "size < found.at(-1).size",
    why: "It spares most of them a look: below, they would be put at the end and taken off again.",
  },
  {
    file: "packages/server/src/engine/contention.ts",
    line: "if (found.length === this.#max && size <= found.at(-1)!.size) return;",
    from: "return;",
    to: ";",
    why: "It spares most of them a look: below, they would be put at the end and taken off again.",
  },
  {
    file: "packages/server/src/engine/contention.ts",
    line: "found.splice(at, 0, { item, size });",
    from: "0",
    to: "(0 - 1)",
    why: "Fewer than none is none.",
  },
];

/** @param {{ file: string, from: string, put: string }} mutant @param {string} line the text of its line in the source */
export function equivalentOf(mutant, line) {
  return EQUIVALENTS.find(
    (row) =>
      row.file === mutant.file &&
      row.line === line.trim() &&
      (row.from === undefined || row.from === mutant.from.replace(/\s+/g, " ")) &&
      (row.to === undefined || row.to === mutant.put.replace(/\s+/g, " ")),
  );
}
