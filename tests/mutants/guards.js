/** Bugs in the fences of `lockdb/guards`: a late holder gets in, or one that is none is kept out. */

const GUARDS = "packages/lockdb/src/guards";
const HTTP_TEST = "packages/lockdb/test/guards/http.test.ts";
const REDIS_TEST = "packages/lockdb/test/guards/redis.test.ts";
const SQL_TEST = "examples/fencing/sql.test.ts";

/** @type {readonly import("./mutants.js").Mutant[]} */
export const GUARDS_ROOM = [
  {
    id: "sql-fence-equal-is-late",
    rule: "F5",
    file: `${GUARDS}/postgres.ts`,
    find: "WHERE fence.token <= excluded.token",
    put: "WHERE fence.token < excluded.token",
    wrong: "A holder can enter the fence in PostgreSQL only once.",
    killedBy: { test: SQL_TEST, name: "[F5a]" },
  },
  {
    id: "sql-fence-of-all-services",
    rule: "F5",
    file: `${GUARDS}/postgres.ts`,
    find: "values: [service, lock, numberOf(token)]",
    put: 'values: ["", lock, numberOf(token)]',
    wrong: "Locks of one name in two services share a fence.",
    killedBy: { test: SQL_TEST, name: "[F5c]" },
  },
  {
    id: "sql-fence-without-transaction",
    rule: "F5",
    file: `${GUARDS}/postgres.ts`,
    find: "await needTransaction(client, table);",
    put: "void needTransaction;",
    wrong: "A fence is raised outside of a transaction, and guards nothing that follows.",
    killedBy: { test: SQL_TEST, name: "[F5b]" },
  },
  {
    id: "redis-fence-compares-texts",
    rule: "F5",
    file: `${GUARDS}/redis.ts`,
    find: "if highest > tonumber(ARGV[1]) then",
    put: "if seen > ARGV[1] then",
    wrong: "The fence in Redis compares tokens as texts.",
    killedBy: { test: REDIS_TEST, name: "[F5e]" },
  },
  {
    id: "redis-fence-writes-first",
    rule: "F5",
    file: `${GUARDS}/redis.ts`,
    find: 'redis.call("GET", KEYS[1])',
    put: 'redis.call("SET", KEYS[1], ARGV[1], "GET")',
    wrong: "A late holder lowers the fence in Redis: its next write passes.",
    killedBy: { test: REDIS_TEST, name: "[F5e]" },
  },
  {
    id: "header-of-any-lock",
    rule: "F5",
    file: `${GUARDS}/http.ts`,
    find: "found.service === service && found.lock === lock",
    put: "found.service === service",
    wrong: "Another lock's token in the header counts as one of the lock that guards.",
    killedBy: { test: HTTP_TEST, name: "[F5j]" },
  },
  {
    id: "silent-store-lets-in",
    rule: "F5",
    file: `${GUARDS}/http.ts`,
    find: "if (!(seen <= token)) throw",
    put: "if (seen > token) throw",
    wrong: "A store of fences that gives no number lets everybody in.",
    killedBy: { test: HTTP_TEST, name: "[F5m]" },
  },
  {
    id: "any-number-is-a-token",
    rule: "F5",
    file: `${GUARDS}/fence.ts`,
    find: "  return Number.isSafeInteger(number) && (number as number) >= 1;",
    put: '  return typeof number === "number";',
    wrong: "NaN and 0 are taken for tokens.",
    killedBy: { test: HTTP_TEST, name: "[F5n]" },
  },
];
