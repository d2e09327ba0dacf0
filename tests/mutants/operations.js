/** Bugs in what is counted and told, and in what becomes of a service that fails. */

const SOURCES = "packages/server/src";
const TESTS = "packages/server/test";
const BROKEN = `${TESTS}/loop/broken-service.test.ts`;
const TOTALS = `${TESTS}/engine/totals.test.ts`;

/** @type {readonly import("./mutants.js").Mutant[]} */
export const OPERATIONS = [
  {
    id: "broken-not-flushed",
    rule: "R7",
    file: `${SOURCES}/loop/broken-services.ts`,
    find: "await this.#host.flushed();",
    put: "await Promise.resolve();",
    wrong: "A service that failed is read before what it has written is flushed.",
    killedBy: { test: BROKEN, name: "[R7w] what was not flushed" },
  },
  {
    id: "broken-half-applied",
    rule: "R7",
    file: `${SOURCES}/loop/loop.ts`,
    find: "for (const service of touched) if (!service.isOver) this.#collect(service);",
    put: "for (const service of touched) this.#collect(service);",
    wrong: "What a service did before it failed in the same turn is told and written all the same.",
    killedBy: { test: BROKEN, name: "[R7w] a mistake in the rules" },
  },
  {
    id: "broken-for-ever",
    rule: "R7",
    file: `${SOURCES}/loop/broken-services.ts`,
    find: "if (this.#failedAtMs.length <= FAILURES_MAX) return void this.#recover(key);",
    put: "if (this.#failedAtMs.length <= 10 * FAILURES_MAX) return void this.#recover(key);",
    wrong: "A service that fails again and again is read anew for ever.",
    killedBy: { test: BROKEN, name: "[R7x]" },
  },
  {
    id: "remainder-counted",
    rule: "I6",
    file: `${SOURCES}/engine/grants.ts`,
    find: "if (!hold.remainder) this.table.totals.holdEnded(how, nowMs - hold.grantedAtMs);",
    put: "this.table.totals.holdEnded(how, nowMs - hold.grantedAtMs);",
    wrong: "What remains of a hold is counted as one more that ended.",
    killedBy: { test: TOTALS, name: "[I6zc] what remains" },
  },
  {
    id: "slow-wait-lost",
    rule: "I6",
    file: `${SOURCES}/engine/arrivals.ts`,
    find: "if (this.#next === waiter) this.#next = cameBefore;",
    put: "if (this.#next === waiter) this.#next = null;",
    wrong: "When the oldest waiter leaves, those who came after it are never told of as slow.",
    killedBy: { test: TOTALS, name: "[I6zd]" },
  },
  {
    id: "metrics-for-all",
    rule: "A1",
    file: `${SOURCES}/http/api/server.ts`,
    find: 'if (caller.account !== ACCOUNT_DEFAULT) throw new Refusal("FORBIDDEN", NOT_THE_OPERATORS);',
    put: 'if (caller.account > ACCOUNT_DEFAULT) throw new Refusal("FORBIDDEN", NOT_THE_OPERATORS);',
    wrong: "Keys of every account read the metrics of the whole server.",
    killedBy: { test: `${TESTS}/http/metrics.test.ts`, name: "[A1zc]" },
  },
];
