/** Bugs in the store in etcd, and in the way there. */

const STORE_FILE = "packages/server/src/store/etcd.ts";
const ETCD_CLIENT = "packages/server/src/store/etcd-client.ts";
const CRASH_TEST = "packages/server/test/store/etcd-crash.test.ts";
const CLIENT_TEST = "packages/server/test/store/etcd-client.test.ts";

/** @type {readonly import("./mutants.js").Mutant[]} */
export const ETCD = [
  {
    id: "etcd-unknown-is-sent-on",
    rule: "R7",
    file: ETCD_CLIENT,
    find: `if (!isNotApplied(error)) return { kind: "unknown", error };`,
    put: "if (!isNotApplied(error)) continue;",
    wrong: "A transaction that may have been done is sent to the next member, as if it had not.",
    killedBy: { test: CLIENT_TEST, name: "[R7ci]" },
  },
  {
    id: "etcd-all-never-left",
    rule: "R7",
    file: ETCD_CLIENT,
    find: `return NEVER_LEFT.test(details) || details === "etcdserver: no leader";`,
    put: "return NEVER_LEFT.test(details) || details.length > 0;",
    wrong: "A member that ran out of time is believed not to have done what it was sent.",
    killedBy: { test: CLIENT_TEST, name: "[R7ci]" },
  },
  {
    id: "etcd-no-guard",
    rule: "R8",
    file: STORE_FILE,
    find: "compare: [...this.#guards, this.#headCompare(), ...",
    put: "compare: [...this.#guards.slice(9), this.#headCompare(), ...",
    wrong: "A server that was deposed writes on.",
    killedBy: { test: CRASH_TEST, name: "[R8ed]" },
  },
  {
    id: "etcd-no-head",
    rule: "R7",
    file: STORE_FILE,
    find: "compare: [...this.#guards, this.#headCompare(), ...",
    put: "compare: [...this.#guards, ...[this.#headCompare()].slice(1), ...",
    wrong: "A transaction that arrives late undoes what came after it.",
    killedBy: { test: CRASH_TEST, name: "[R7ba]" },
  },
  {
    id: "etcd-bare-read",
    rule: "R1",
    file: STORE_FILE,
    find: "const atRevision = this.#revision;",
    put: "const atRevision = 0 * this.#revision;",
    wrong: "What is loaded may be older than the transaction that opened the store.",
    killedBy: { test: CRASH_TEST, name: "[R1yd]" },
  },
  {
    id: "etcd-staged-is-forgotten",
    rule: "R1",
    file: STORE_FILE,
    find: "if (staged > 0) await this.#copy(await this.#stagedChanges(staged), staged);",
    put: "if (staged > 99) await this.#copy(await this.#stagedChanges(staged), staged);",
    wrong: "A large batch that counts is not brought to its end after a crash.",
    killedBy: { test: CRASH_TEST, name: "[R1yb]" },
  },
  {
    id: "etcd-staged-once",
    rule: "R1",
    file: STORE_FILE,
    find: "const head = this.#newHead(staged);",
    put: "const head = this.#newHead(0 * staged);",
    wrong: "A second crash, while a batch is brought to its end, tears it.",
    killedBy: { test: CRASH_TEST, name: "[R1yb]" },
  },
];
