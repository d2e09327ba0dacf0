/** Bugs in the journal before the store: what is durable, and what counts after a crash. */

const JOURNAL = "packages/server/src/store/journal.ts";
const JOURNALED = "packages/server/src/store/journaled.ts";
const TEST = "packages/server/test/store/journaled.test.ts";

/** @type {readonly import("./mutants.js").Mutant[]} */
export const STORE = [
  {
    id: "journal-gap-is-the-end",
    rule: "R9",
    file: JOURNAL,
    find: "if (frame.sequence !== sequence + 1 + at)",
    put: "if (frame.sequence < sequence)",
    wrong: "A damaged batch of the journal is left out, and those behind it count.",
    killedBy: { test: TEST, name: "[R9aa]" },
  },
  {
    id: "journal-any-epoch",
    rule: "R9",
    file: JOURNAL,
    find: "if (bytes.compare(epoch, 0, EPOCH_BYTES, 24, 24 + EPOCH_BYTES) !== 0) return null;",
    put: "if (epoch.length === 0) return null;",
    wrong: "What an earlier server left in the journal counts again.",
    killedBy: { test: TEST, name: "[R9ah]" },
  },
  {
    id: "journal-end-is-lost",
    rule: "R9",
    file: JOURNAL,
    find: "if (brokenCount > 1)",
    put: "if (brokenCount > 9)",
    wrong: "Several damaged batches at the end of the journal are taken for one that was half written.",
    killedBy: { test: TEST, name: "[R9ag]" },
  },
  {
    id: "journal-no-checksum",
    rule: "R9",
    file: JOURNAL,
    find: "if (bytes.readUInt32LE(8) !== checksum(bytes, length)) return null;",
    put: "",
    wrong: "A batch that is half written counts.",
    killedBy: { test: TEST, name: "[R9ab]" },
  },
  {
    id: "journal-is-not-missed",
    rule: "R9",
    file: JOURNAL,
    find: "if (isNeeded && size < 2 * HALF_BYTES)",
    put: "if (isNeeded && size < 0)",
    wrong: "A journal that is gone is made anew, and what it held is forgotten.",
    killedBy: { test: TEST, name: "[R9ac]" },
  },
  {
    id: "journal-half-reused",
    rule: "R1",
    file: JOURNALED,
    find: "await this.#copying;\n    if (this.#changes.size === 0",
    put: "void this.#copying;\n    if (this.#changes.size === 0",
    wrong: "A half of the journal is written again before it is copied.",
    killedBy: { test: TEST, name: "[R1ac]" },
  },
  {
    id: "journal-is-not-read",
    rule: "R1",
    file: JOURNALED,
    find: "for (const frame of frames) for (const { key, value } of frame.changes) changes.set(key, value);",
    put: "",
    wrong: "A start does not take over what only the journal has.",
    killedBy: { test: TEST, name: "[R1aa]" },
  },
  {
    id: "journal-mark-ahead",
    rule: "R1",
    file: JOURNALED,
    find: "const batch = [...batchOf(this.#changes), markAt(this.#sequence, this.#epoch, true)];",
    put: "const batch = [...batchOf(this.#changes), markAt(this.#sequence + 1, this.#epoch, true)];",
    wrong: "The first batch behind a copied half is taken for one that is copied.",
    killedBy: { test: TEST, name: "[R1af]" },
  },
  {
    id: "journal-goes-on-after-a-failed-flush",
    rule: "R7",
    file: JOURNALED,
    find: "        this.#failure ??= { cause: error };\n      }\n      this.#assertNotFailed();",
    put: "        throw error;\n      }\n      this.#assertNotFailed();",
    wrong: "After a flush that failed the next one is tried.",
    killedBy: { test: TEST, name: "[R7aa]" },
  },
  {
    id: "journal-is-not-copied-at-a-stop",
    rule: "R1",
    file: JOURNALED,
    find: "if (this.#failure === null) await this.#copyAll().catch(() => {});",
    put: "",
    wrong: "A stop in order says that the journal is not needed, though it is.",
    killedBy: { test: TEST, name: "[R9ad]" },
  },
];
