/** Bugs in what a start leaves as it was stored. */

const ENGINE = "packages/server/src/engine";
const PACKED = `${ENGINE}/packed-holds.ts`;
const RECORD = `${ENGINE}/packed-record.ts`;
const TEST = "packages/server/test/engine/packed-holds.test.ts";

/** @type {readonly import("./mutants.js").Mutant[]} */
export const ENGINE_PACKED = [
  {
    id: "packed-lock-given-away",
    rule: "R5",
    file: `${ENGINE}/locks.ts`,
    find: "return this.packed.unpackByName(name) ? this.#byName.get(name) : undefined;",
    put: "return undefined;",
    wrong: "A lock whose hold was in the store is granted again after a restart.",
    killedBy: { test: TEST, name: "[R5n]" },
  },
  {
    id: "packed-never-ends",
    rule: "L9",
    file: `${ENGINE}/lock-table.ts`,
    find: "return this.#packed === null ? nextMs : Math.min(nextMs, this.#packed.nextMs);",
    put: "return nextMs;",
    wrong: "Nobody looks when holds from before a restart end.",
    killedBy: { test: TEST, name: "[R5n]" },
  },
  {
    id: "packed-ends-out-of-order",
    rule: "L9",
    file: PACKED,
    find: "if (childAt + 1 < this.#heapSize && dueMs[heap[childAt + 1]!]! < dueMs[heap[childAt]!]!) childAt++;",
    put: "",
    wrong: "Holds from before a restart end late, behind others.",
    killedBy: { test: TEST, name: "[R5m]" },
  },
  {
    id: "packed-not-by-token",
    rule: "R5",
    file: `${ENGINE}/holds.ts`,
    find: "return this.packed.unpackByToken(token) ? this.#byToken.get(token) : undefined;",
    put: "return undefined;",
    wrong: "A hold from before a restart is not found by its token: its holder cannot give it back.",
    killedBy: { test: TEST, name: "[R5n]" },
  },
  {
    id: "packed-not-by-request",
    rule: "Q6",
    file: `${ENGINE}/lock-table.ts`,
    find: "return this.#packed.unpackByRequest(request) ? this.#requests.get(request) : undefined;",
    put: "return undefined;",
    wrong: "A request that is sent again after a restart waits for its own hold.",
    killedBy: { test: TEST, name: "[R5m]" },
  },
  {
    id: "packed-beside-another",
    rule: "Q1",
    file: `${ENGINE}/restore.ts`,
    find: "for (let lock = table.locks.oldest; lock !== null; lock = lock.newer) packed.unpackByName(lock.name);",
    put: "",
    wrong: "Of two holds of one lock a restart hides one: the lock is free when the other ends.",
    killedBy: { test: TEST, name: "[R5o]" },
  },
  {
    id: "packed-escape-taken",
    rule: "R9",
    file: RECORD,
    find: "byte >= 0x20 && byte < 0x7f && byte !== 0x22 && byte !== 0x5c ? 1 : 0,",
    put: "byte >= 0x20 && byte < 0x7f && byte !== 0x22 ? 1 : 0,",
    wrong: "A name with an escape is found under its bytes, and not under itself.",
    killedBy: { test: TEST, name: "[R9u]" },
  },
  {
    id: "packed-listed-twice",
    rule: "Q9",
    file: `${ENGINE}/listings.ts`,
    find: "if (!lock.name.startsWith(listing.prefix) || listing.unpacked.has(lock)) continue;",
    put: "if (!lock.name.startsWith(listing.prefix)) continue;",
    wrong: "A list tells what was stored before the start a second time.",
    killedBy: { test: TEST, name: "[Q9ia]" },
  },
  {
    id: "packed-walk-ends-early",
    rule: "Q9",
    file: `${ENGINE}/contention.ts`,
    find: "if (this.#packedAt !== null) return 0;",
    put: "",
    wrong: "A walk over all locks ends with its first step.",
    killedBy: { test: TEST, name: "[Q9wg]" },
  },
  {
    id: "packed-unchecked",
    rule: "R9",
    file: `${ENGINE}/restore.ts`,
    find: "records.check(index);",
    put: "",
    wrong: "A start believes holds whose records are damaged.",
    killedBy: { test: "packages/server/test/loop/load.test.ts", name: "[R9s]" },
  },
  {
    id: "packed-block-gone",
    rule: "R5",
    file: "packages/server/src/loop/stored.ts",
    find: "if (part.left === 0) part.block = null;",
    put: "if (part.left <= (part.to - part.from) >> 1) part.block = null;",
    wrong: "The memory of stored holds is given up while somebody may still ask for them.",
    killedBy: { test: "packages/server/test/loop/load.test.ts", name: "[R5r]" },
  },
];
