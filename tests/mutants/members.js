/** Bugs in what a loop does as a member of a cluster: services that come and go, and the end of its trust. */

const SOURCES = "packages/server/src";
const LOOP = `${SOURCES}/loop/loop.ts`;
const BATCHES = `${SOURCES}/loop/batches.ts`;
const TESTS = "packages/server/test";
const HAND_OVER_TEST = `${TESTS}/loop/hand-over.test.ts`;
const TAKE_UP_TEST = `${TESTS}/loop/take-up.test.ts`;
const TRUST_TEST = `${TESTS}/loop/trust.test.ts`;
const PLACED_TEST = `${TESTS}/loop/placed-connection.test.ts`;

/** @type {readonly import("./mutants.js").Mutant[]} */
export const MEMBERS = [
  {
    id: "done-and-not-told",
    rule: "R5",
    file: LOOP,
    find: "    this.#services.remove(service);\n    this.#timed.delete(service);",
    put: "    this.#services.remove(service);\n    this.#timed.delete(service), this.#held.forget(service);",
    wrong:
      "What was done just before a hand-over is told to nobody, and so is asked for again, and done twice.",
    killedBy: { test: HAND_OVER_TEST, name: "[R5kb]" },
  },
  {
    id: "handed-over-comes-to-be",
    rule: "R5",
    file: LOOP,
    find: 'return !this.#handOvers.has(key) && placement.placeOf(key) === "here";',
    put: 'return placement.placeOf(key) === "here";',
    wrong: "A service comes to be anew while it is handed over.",
    killedBy: { test: HAND_OVER_TEST, name: "[R5kb]" },
  },
  {
    id: "hand-over-with-others",
    rule: "R5",
    file: LOOP,
    find: "this.#batches.seal();\n    for (const service of [...this.#services.all()]) {",
    put: "\n    for (const service of [...this.#services.all()]) {",
    wrong: "What others write goes along in the batch of a hand-over.",
    killedBy: { seed: 923, steps: 3_000, cluster: true },
  },
  {
    id: "hand-over-lost",
    rule: "R7",
    file: BATCHES,
    find: "this.#committing = null;\n    this.#sealed = [];",
    put: "this.#committing = null;\n",
    wrong: "A hand-over that waited when a commit failed is written after the store was opened anew.",
    killedBy: { test: HAND_OVER_TEST, name: "[R7kh]" },
  },
  {
    id: "owed-after-hand-over",
    rule: "C5",
    file: `${SOURCES}/loop/outbox.ts`,
    find: "service === undefined || !isIn(service));",
    put: "service === undefined || service !== null);",
    wrong: "A webhook is sent by the member that has handed its service over.",
    killedBy: { test: HAND_OVER_TEST, name: "[C5kc]" },
  },
  {
    id: "outcome-after-hand-over",
    rule: "C5",
    file: `${SOURCES}/webhooks/deliverer.ts`,
    find: "if (!delivery.isElsewhere) {",
    put: "if (delivery.isElsewhere !== null) {",
    wrong: "What comes of an attempt is written by the member that has handed its service over.",
    killedBy: { test: `${TESTS}/webhooks/members.test.ts`, name: "[C5ka]" },
  },
  {
    id: "list-not-deleted-at-take-up",
    rule: "R5",
    file: LOOP,
    find: "for (const service of taken) this.#collect(service);",
    put: "for (const service of taken) this.#timed.set(service, service.nextDeadlineMs);",
    wrong: "The next member leaves a clean stop's list where it is.",
    killedBy: { test: TAKE_UP_TEST, name: "[R5ka]" },
  },
  {
    id: "taken-up-too-soon",
    rule: "R5",
    file: LOOP,
    find: "if (!this.#batches.isEmpty) await this.#outside.kept(this.#batches.number);",
    put: "if (this.#batches.number < 0) await this.#outside.kept(this.#batches.number);",
    wrong: "A partition counts as taken up before that is flushed.",
    killedBy: { test: TAKE_UP_TEST, name: "[R5ka]" },
  },
  {
    id: "offset-not-in-deadlines",
    rule: "R6",
    file: `${SOURCES}/loop/service.ts`,
    find: "return this.engine.nextDeadlineMs - this.offsetMs;",
    put: "return this.engine.nextDeadlineMs;",
    wrong: "What ends at a member whose clock is behind is looked at too late.",
    killedBy: { test: TAKE_UP_TEST, name: "[R6ka]" },
  },
  {
    id: "offset-not-in-rules",
    rule: "R6",
    file: LOOP,
    find: "const serviceMs = nowMs + service.offsetMs;",
    put: "const serviceMs = nowMs;",
    wrong: "The rules of a service that was taken up are on the member's own clock.",
    killedBy: { seed: 923, steps: 3_000, cluster: true },
  },
  {
    id: "offset-not-of-partition",
    rule: "R6",
    file: `${SOURCES}/loop/services.ts`,
    find: "this.#options.placement?.offsetMsOf(key) ?? 0",
    put: "0 * (this.#options.placement?.offsetMsOf(key) ?? 0)",
    wrong: "A service that comes to be is not on the lease clock of its partition.",
    killedBy: { test: TAKE_UP_TEST, name: "[R6kb]" },
  },
  {
    id: "trust-not-looked-at-again",
    rule: "R7",
    file: LOOP,
    find: "// However long that took: what is told leaves at once.\n    if (!this.#isTrusted) return this.distrust(new TrustLostError());",
    put: "// However long that took: what is told leaves at once.\n",
    wrong: "A member answers although its trust has run out while it was at work.",
    killedBy: { test: TRUST_TEST, name: "[R7kc]" },
  },
  {
    id: "trust-not-looked-at-flush",
    rule: "R7",
    file: LOOP,
    find: "#flushed(batch: number): void {\n    if (!this.#isTrusted) return this.distrust(new TrustLostError());",
    put: "#flushed(batch: number): void {\n",
    wrong: "A member tells what was flushed although its trust has run out meanwhile.",
    killedBy: { test: TRUST_TEST, name: "[R7ke]" },
  },
  {
    id: "old-commit-counts",
    rule: "R7",
    file: BATCHES,
    find: "if (life === this.#life) this.#flushed(batch.number);",
    put: "this.#flushed(batch.number);",
    wrong:
      "After the end of an old commit, a second one begins while the first of the member's next life is in flight.",
    killedBy: { test: TRUST_TEST, name: "[R7ki]" },
  },
  {
    id: "hello-elsewhere-taken",
    rule: "R3",
    file: `${SOURCES}/loop/whereabouts.ts`,
    find: 'else if (place !== "nowhere") this.#say(',
    put: 'else if (place !== "nowhere" && place.url === "") this.#say(',
    wrong: "A client that came to the wrong member is not told where its service is.",
    killedBy: { test: PLACED_TEST, name: "[R3ka]" },
  },
];
