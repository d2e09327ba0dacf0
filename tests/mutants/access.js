/** Bugs in who may what: keys, accounts, trials, limits, and the audit log. */

const SOURCES = "packages/server/src";
const ACCESS = `${SOURCES}/access/access.ts`;
const CALLER = `${SOURCES}/access/key-caller.ts`;
const KEY = `${SOURCES}/access/key.ts`;
const CONNECTION = `${SOURCES}/loop/connection.ts`;
const LOOP = `${SOURCES}/loop/loop.ts`;

const TESTS = "packages/server/test";
const ACCOUNTS_TEST = `${TESTS}/access/accounts.test.ts`;
const DURABLE_TEST = `${TESTS}/access/durable.test.ts`;
const KEYS_TEST = `${TESTS}/access/keys.test.ts`;
const NEVER_MORE_TEST = `${TESTS}/access/never-more.test.ts`;
const LIMITS_TEST = `${TESTS}/http/access-limits.test.ts`;
const SESSIONS_TEST = `${TESTS}/http/access-sessions.test.ts`;
const OPEN_TEST = `${TESTS}/http/access-open.test.ts`;
const TRIAL_TEST = `${TESTS}/http/access-trial.test.ts`;

/** @type {readonly import("./mutants.js").Mutant[]} */
export const ACCESS_ROOM = [
  // --- keys ---
  {
    id: "scopes-within-inverted",
    rule: "A2",
    file: KEY,
    find: "less.scopes.every((scope) => more.scopes.includes(scope))",
    put: "more.scopes.every((scope) => less.scopes.includes(scope))",
    wrong: "A key gives scopes that it has not.",
    killedBy: { test: KEYS_TEST, name: "[A2l]" },
  },
  {
    id: "all-services-within-some",
    rule: "A2",
    file: KEY,
    find: "services?.every((each) => of.includes(each)) === true",
    put: "services?.every((each) => of.includes(each)) !== false",
    wrong: "A key for some services makes one for all of them.",
    killedBy: { test: NEVER_MORE_TEST, name: "[A2w]" },
  },
  {
    id: "old-secret-gives-for-ever",
    rule: "A2",
    file: CALLER,
    find: "isWithin(other, this.record) && timeOf(other.expiresAt) <= this.#endsMs",
    put: "isWithin(other, this.record) && timeOf(other.expiresAt) !== this.#endsMs - 0.5",
    wrong: "Whoever has an old secret makes a key that outlives it.",
    killedBy: { test: NEVER_MORE_TEST, name: "[A2w]" },
  },
  {
    id: "service-not-looked-at",
    rule: "A2",
    file: CALLER,
    find: "(service === null ? need.isOverall === true : !services.includes(service))",
    put: "service === null && need.isOverall === true",
    wrong: "A key for one service may the same in all others.",
    killedBy: { test: KEYS_TEST, name: "[A2a]" },
  },
  {
    id: "version-not-looked-at",
    rule: "A2",
    file: CALLER,
    find: "if (this.#version !== key.version) {",
    put: "if (this.#version < 0) {",
    wrong: "Whoever has a key open with a secret that has been replaced goes on.",
    killedBy: { test: KEYS_TEST, name: "[A2f]" },
  },
  {
    id: "old-secret-never-ends",
    rule: "A2",
    file: ACCESS,
    find: "{ hash: before.secrets[0]!.hash, endsAt: isoTime(endsMs) }",
    put: "{ hash: before.secrets[0]!.hash, endsAt: endsMs > 0 ? null : isoTime(endsMs) }",
    wrong: "The secret before a rotation works for ever.",
    killedBy: { test: KEYS_TEST, name: "[A2e]" },
  },
  {
    id: "admin-looked-at-once",
    rule: "A2",
    file: ACCESS,
    find: "if (code !== null) throw new Refusal(code);",
    put: 'if (code === "UNAUTHORIZED") throw new Refusal(code);',
    wrong: "A key whose `admin` is taken away still does what it had asked for before.",
    killedBy: { test: KEYS_TEST, name: "[A2k]" },
  },
  {
    id: "change-shows-too-soon",
    rule: "A2",
    file: ACCESS,
    find: "await this.#write([keyChange(account.id, id, record)], acts);\n    key.record = record;",
    put: "void this.#write([keyChange(account.id, id, record)], acts);\n    key.record = record;",
    wrong: "A key is shown, and used, as it is not yet in the store.",
    killedBy: { test: DURABLE_TEST, name: "[A2q]" },
  },
  {
    id: "changes-side-by-side",
    rule: "A2",
    file: ACCESS,
    find: "const done = this.#last.then(work);",
    put: "const done = Promise.race([this.#last, null]).then(work);",
    wrong: "Of two changes of a key at once, one is lost.",
    killedBy: { test: DURABLE_TEST, name: "[A2r]" },
  },

  // --- what is open ---
  {
    id: "change-untold",
    rule: "A2",
    file: KEY,
    find: "this.version++;\n    this.changed();",
    put: "this.version++;\n",
    wrong: "What is open and silent does not hear that its key was revoked.",
    killedBy: { test: KEYS_TEST, name: "[A2m]" },
  },
  {
    id: "end-untold",
    rule: "A2",
    file: ACCESS,
    find: "endMs > this.#sweptMs && endMs <= nowMs))\n        key.changed();",
    put: "endMs > this.#sweptMs && endMs <= nowMs))\n        continue;",
    wrong: "What is open and silent does not hear that its key has come to its end.",
    killedBy: { test: KEYS_TEST, name: "[A2n]" },
  },
  {
    id: "locks-of-a-narrowed-key",
    rule: "A2",
    file: CONNECTION,
    find: "if (mayHold) this.#need = TO_HOLD;",
    put: "if (!mayHold) this.#need = TO_HOLD;",
    wrong: "A connection whose key may lock no more keeps its locks for as long as it likes.",
    killedBy: { test: OPEN_TEST, name: "[A2af]" },
  },
  {
    id: "watches-go-on",
    rule: "A2",
    file: CONNECTION,
    find: "if (this.#mayStay() && this.#watches.size > 0) this.#endWatches();",
    put: "if (this.#mayStay() && this.#watches.size < 0) this.#endWatches();",
    wrong: "A connection whose key may look no more is told of all that happens.",
    killedBy: { test: OPEN_TEST, name: "[A2ag]" },
  },

  // --- accounts ---
  {
    id: "every-account-reached",
    rule: "A3",
    file: ACCESS,
    find: "if (account === undefined || !(isOwn || isOperator(caller)))",
    put: "if (account === undefined || !(isOwn || isOperator(caller) || id !== undefined))",
    wrong: "A key reaches every account that it can name.",
    killedBy: { test: ACCOUNTS_TEST, name: "[A2v]" },
  },
  {
    id: "foreign-key-found",
    rule: "A3",
    file: ACCESS,
    find: "if (key === undefined || key.account !== account)",
    put: 'if (key === undefined || account.id === "")',
    wrong: "A key of another account is looked at, and changed, by its id.",
    killedBy: { test: ACCOUNTS_TEST, name: "[A3a]" },
  },
  {
    id: "native-trial-without-end",
    rule: "A4",
    file: `${SOURCES}/loop/connection.ts`,
    find: "trialIsOver: this.#caller.trialIsOver,",
    put: "trialIsOver: false,",
    wrong: "A trial that has ended goes on over native connections.",
    killedBy: { test: TRIAL_TEST, name: "[A4d]" },
  },
  {
    id: "sign-ups-uncounted",
    rule: "A4",
    file: `${SOURCES}/http/api/signup.ts`,
    find: "if (waitMs > 0) {",
    put: "if (waitMs < 0) {",
    wrong: "One address begins as many trials as it likes.",
    killedBy: { test: TRIAL_TEST, name: "[A4k]" },
  },
  {
    id: "account-not-asked",
    rule: "A5",
    file: `${SOURCES}/engine/acquire.ts`,
    find: 'if (this.#options.isFull?.("holds") === true) return "LIMIT_EXCEEDED";',
    put: "",
    wrong: "A trial holds as much as it likes, in one service or in many.",
    killedBy: { test: LIMITS_TEST, name: "[A5j]" },
  },
  {
    id: "reader-gives-back-others-holds",
    rule: "L9",
    file: `${SOURCES}/loop/caller.ts`,
    find: "  release: TO_HOLD,",
    put: "  release: TO_CONNECT,",
    wrong: "Whoever may only look ends holds by the tokens that he sees.",
    killedBy: { test: SESSIONS_TEST, name: "[L9zr]" },
  },
  {
    id: "claims-counted",
    rule: "A5",
    file: CONNECTION,
    find: "need.isWayOut === true || this.#caller.take(need)",
    put: "this.#caller.take(need)",
    wrong: "A client that comes back with many holds loses those that are too many a second.",
    killedBy: { test: SESSIONS_TEST, name: "[A5zu]" },
  },
  {
    id: "narrowed-session-goes-on",
    rule: "A2",
    file: `${SOURCES}/engine/sessions.ts`,
    find: "} else if (session.reads !== (command.reads === true)) {",
    put: "} else if (session.reads && command.reads !== true) {",
    wrong: "A key that may lock no more keeps its session and its locks by coming back again and again.",
    killedBy: { test: SESSIONS_TEST, name: "[A2zs]" },
  },
  {
    id: "ways-out-counted-alike",
    rule: "A5",
    file: CALLER,
    find: "if (need.isWayOut === true) return this.key.waysOut(rate.ratePerS).take(nowMs);",
    put: "if (need.isAct === true) return this.key.waysOut(rate.ratePerS).take(nowMs);",
    wrong: "Whoever has asked for too much cannot give back what he has.",
    killedBy: { test: LIMITS_TEST, name: "[A5h]" },
  },
  {
    id: "trials-fill-the-past",
    rule: "N3",
    file: `${SOURCES}/loop/event-logs.ts`,
    find: "isLimited ? this.#budgetOfLimited : this.#budget",
    put: "isLimited && service.dueMs < 0 ? this.#budgetOfLimited : this.#budget",
    wrong: "Trials make so many events that others' past is forgotten.",
    killedBy: { test: `${TESTS}/loop/event-logs.test.ts`, name: "[N3ze]" },
  },

  // --- the audit log ---
  {
    id: "act-without-entry",
    rule: "A7",
    file: `${SOURCES}/loop/writing.ts`,
    find: "for (const act of acts) this.#addAct(act);",
    put: "if (changes.length > 9) for (const act of acts) this.#addAct(act);",
    wrong: "Keys are made and revoked, and nobody will know by whom.",
    killedBy: { test: ACCOUNTS_TEST, name: "[A7a]" },
  },
  {
    id: "acts-without-limit",
    rule: "A7",
    file: LOOP,
    find: "return acts === null || this.audit.countOf(account) < acts;",
    put: "return acts === null || this.audit.countOf(account) >= 0;",
    wrong: "A trial fills the disk with its audit log.",
    killedBy: { test: LIMITS_TEST, name: "[A5q]" },
  },
];
