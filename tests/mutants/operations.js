/** Bugs in what is counted and told, and in what becomes of a service that fails. */

const SOURCES = "packages/server/src";
const TESTS = "packages/server/test";
const BROKEN = `${TESTS}/loop/broken-service.test.ts`;
const TOTALS = `${TESTS}/engine/totals.test.ts`;
const CONFIG = `${TESTS}/config-file.test.ts`;

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
  {
    id: "file-before-variable",
    rule: "I6",
    file: `${SOURCES}/options/read.ts`,
    find: "const [byFlag, byVariable, byFile] = [flags[name], variables[env], file?.texts.get(name)];",
    put: "const [byFlag, byFile, byVariable] = [flags[name], variables[env], file?.texts.get(name)];",
    wrong: "The configuration file goes before the environment.",
    killedBy: { test: CONFIG, name: "[I6zr] may have" },
  },
  {
    id: "secret-printed",
    rule: "I6",
    file: `${SOURCES}/options/print.ts`,
    find: "value: isSecret ? null : tomlValue(row, options[name]),",
    put: "value: tomlValue(row, options[name]),",
    wrong: "`config print --json` shows the root key.",
    killedBy: { test: CONFIG, name: "[I6zt] is printed for" },
  },
  {
    id: "lines-shown",
    rule: "A1",
    file: `${SOURCES}/options/config-file.ts`,
    find: 'const said = message.split("\\n")[0]!',
    put: "const said = message",
    wrong: "A message about a line that is no TOML shows the line, with a key that somebody put there.",
    killedBy: { test: CONFIG, name: "[I6zs] so is what is no" },
  },
  {
    id: "reload-to-the-start",
    rule: "I6",
    file: `${SOURCES}/serve.ts`,
    find: "...options, logLevel: logger.level,",
    put: "...options,",
    wrong: "A reload that finds a bad file takes the log level of the start.",
    killedBy: { test: "packages/lockdb/test/cli/config.test.ts", name: "[I6zv] SIGHUP" },
  },
  {
    id: "diagnosis-for-all",
    rule: "A1",
    file: `${SOURCES}/http/api/contention.ts`,
    find: 'if (caller.account !== ACCOUNT_DEFAULT) throw new Refusal("FORBIDDEN", NOT_THE_OPERATORS);',
    put: 'if (caller.account > ACCOUNT_DEFAULT) throw new Refusal("FORBIDDEN", NOT_THE_OPERATORS);',
    wrong: "Keys of every account are told where the server's data is, and which services of others recover.",
    killedBy: { test: `${TESTS}/http/contention.test.ts`, name: "[I6wc]" },
  },
  {
    id: "crowds-of-all-accounts",
    rule: "A3",
    file: `${SOURCES}/http/api/contention.ts`,
    find: "shown(await looks.of(account, () => loop.services.seen(account)), query),",
    put: "shown(await looks.of(account, () => loop.services.seen(null)), query),",
    wrong: "Who looks where it is crowded sees the locks of other accounts.",
    killedBy: { test: `${TESTS}/http/contention.test.ts`, name: "[Q9wc]" },
  },
  {
    id: "crowds-shared-across-accounts",
    rule: "A3",
    file: `${SOURCES}/http/api/contention.ts`,
    find: "return shown(await looks.of(service.prefix, of), query);",
    put: "return shown(await looks.of(service.id, of), query);",
    wrong:
      "Who looks at a service soon after another account did at its own of that name gets that one's answer.",
    killedBy: { test: `${TESTS}/http/contention.test.ts`, name: "[A3w]" },
  },
];
