/** Bugs in backups and restores: tokens that come again, files that are believed though they are not whole. */

const TESTS = "packages/server/test/backup/";

/** @type {readonly import("./mutants.js").Mutant[]} */
export const BACKUP = [
  {
    id: "restore-jumps-by-a-fixed-number",
    rule: "F3",
    file: "packages/server/src/backup/floor.ts",
    find: "const floor = line + raised + DAYS_RISE;",
    put: "const floor = highest + 2 ** 40;",
    wrong: "The same backup restored twice gives out the same tokens twice.",
    killedBy: { test: `${TESTS}floor.test.ts`, name: "[F3i]" },
  },
  {
    id: "restore-adds-to-what-was-restored",
    rule: "F3",
    file: "packages/server/src/backup/floor.ts",
    find: "const raised = Math.max(raisedBy, excess > BLOCKS ? raisedBy + excess + BLOCKS : 0, (above ?? 0) - line);",
    put: "const raised = Math.max(raisedBy, excess > -BLOCKS ? raisedBy + excess + 2 * BLOCKS : 0, (above ?? 0) - line);",
    wrong: "A history of many restores is above the next restore of an old backup.",
    killedBy: { test: `${TESTS}floor.test.ts`, name: "[F3i]" },
  },
  {
    id: "restore-forgets-new-services",
    rule: "F3",
    file: "packages/server/src/loop/services.ts",
    find: "    service.engine.startAbove(this.floor.tokens, this.floor.tickets);",
    put: "",
    wrong: "A service that the backup does not know begins at 1 again.",
    killedBy: { test: `${TESTS}restore.test.ts`, name: "[F3s]" },
  },
  {
    id: "restore-keeps-session-holds",
    rule: "F3",
    file: "packages/server/src/backup/kept.ts",
    find: "if (hold.remainder || (hold.session === undefined && this.#keepsHolds))",
    put: "if (hold.remainder || this.#keepsHolds)",
    wrong: "Holds of sessions that are void are taken over.",
    killedBy: { test: `${TESTS}restore.test.ts`, name: "[F3o]" },
  },
  {
    id: "backup-spliced-from-two",
    rule: "F3",
    file: "packages/server/src/store/backup-file.ts",
    find: "if (trailer.records !== count || trailer.sha256 !== sha256)",
    put: "if (trailer.records !== count)",
    wrong: "A backup with a record of another one in it is taken for whole.",
    killedBy: { test: `${TESTS}backup-file.test.ts`, name: "[F3e]" },
  },
  {
    id: "half-a-restore-starts",
    rule: "F3",
    file: "packages/server/src/store/lmdb.ts",
    find: "    if (!isBeingMade) refuseMarked(path);",
    put: "    if (!isBeingMade) void refuseMarked;",
    wrong: "A server starts with a folder in which a restore was killed.",
    killedBy: { test: `${TESTS}restore.test.ts`, name: "[F3x]" },
  },
  {
    id: "moved-store-starts-again",
    rule: "F1",
    file: "packages/server/src/backup/copy.ts",
    find: "await from.markMoved({ id, other: to.name, at: new Date().toISOString() });",
    put: "from.refuseMarked();",
    wrong: "A folder starts although its history goes on elsewhere.",
    killedBy: { test: `${TESTS}copy.test.ts`, name: "[F1ua]" },
  },
];
