/** Bugs in webhooks: what is owed, when and to whom it is sent. */

const SOURCES = "packages/server/src";
const GRANTS = `${SOURCES}/engine/grants.ts`;
const OUTBOX = `${SOURCES}/loop/outbox.ts`;
const ADDRESSES = `${SOURCES}/webhooks/addresses.ts`;
const POST = `${SOURCES}/webhooks/post.ts`;
const DELIVERER = `${SOURCES}/webhooks/deliverer.ts`;
const BREAKER = `${SOURCES}/webhooks/breaker.ts`;
const SECRETS = `${SOURCES}/webhooks/secrets.ts`;
const TESTS = "packages/server/test";
const ENGINE_TEST = `${TESTS}/engine/webhooks.test.ts`;
const POST_TEST = `${TESTS}/webhooks/post.test.ts`;
const ADDRESSES_TEST = `${TESTS}/webhooks/addresses.test.ts`;
const DELIVERER_TEST = `${TESTS}/webhooks/deliverer.test.ts`;
const ROOM_TEST = `${TESTS}/webhooks/webhooks.test.ts`;
const DURABLE_TEST = `${TESTS}/http/webhooks-durable.test.ts`;

/** @type {readonly import("./mutants.js").Mutant[]} */
export const WEBHOOKS = [
  // --- what is owed ---
  {
    id: "force-owes-nothing",
    rule: "C5",
    file: GRANTS,
    find: 'this.#oweDeliveries(hold, "force", out);',
    put: "",
    wrong: "A hold that is freed by force tells its webhook nothing.",
    killedBy: { seed: 5, steps: 10_000 },
  },
  {
    id: "taken-back-is-told",
    rule: "C5",
    file: GRANTS,
    find: 'noteHold(out, hold.remainder ? "opened" : "released", hold);',
    put: 'noteHold(out, hold.remainder ? "opened" : "released", hold), this.#oweDeliveries(hold, "release", out);',
    wrong: "A grant that nobody received tells its webhook that it was unlocked.",
    killedBy: { seed: 4, steps: 10_000 },
  },
  {
    id: "set-told-once",
    rule: "C5",
    file: GRANTS,
    find: "for (const [at, { lock }] of hold.grips.entries()) {",
    put: "for (const [at, { lock }] of hold.grips.slice(0, 1).entries()) {",
    wrong: "Of a set only the first name is told.",
    killedBy: { test: ENGINE_TEST, name: "[C5c]" },
  },
  {
    id: "remainder-keeps-its-webhook",
    rule: "C5",
    file: GRANTS,
    find: "// What remains of it is told of no more.\n    this.table.webhooks.delete(hold);",
    put: "// What remains of it is told of no more.\n",
    wrong: "What remains of a hold that is over is told of again.",
    killedBy: { seed: 10, steps: 10_000 },
  },
  {
    id: "webhook-not-written",
    rule: "C5",
    file: `${SOURCES}/engine/lock-table.ts`,
    find: "{ ...holdRecord(hold), webhookUrl }",
    put: "holdRecord(hold)",
    wrong: "A webhook is not written down with its hold: a crash loses it.",
    killedBy: { seed: 4, steps: 10_000 },
  },
  {
    id: "webhook-not-restored",
    rule: "C5",
    file: `${SOURCES}/engine/restore.ts`,
    find: "if (record.webhookUrl !== undefined) table.webhooks.set(hold, record.webhookUrl);",
    put: "",
    wrong: "A start does not take up the webhooks of the holds in the store.",
    killedBy: { test: ENGINE_TEST, name: "[C5f]" },
  },
  {
    id: "outbox-without-end",
    rule: "N3",
    file: `${SOURCES}/engine/acquire.ts`,
    find: 'if (outboxIsFull === true) return "LIMIT_EXCEEDED";',
    put: 'if (outboxIsFull === true && waitMs < 0) return "LIMIT_EXCEEDED";',
    wrong: "New webhooks are taken though too many deliveries are pending.",
    killedBy: { test: ENGINE_TEST, name: "[C5h]" },
  },
  {
    id: "told-before-flush",
    rule: "R1",
    file: OUTBOX,
    find: "this.#waiting.push({ batch, settle });\n    return { key, value: delivery };",
    put: "if (batch > 0) settle(null);\n    return { key, value: delivery };",
    wrong: "A webhook is sent before the end of its hold is flushed.",
    killedBy: { test: DURABLE_TEST, name: "[C5bw]" },
  },
  {
    id: "outcome-not-written",
    rule: "C5",
    file: `${SOURCES}/webhooks/webhooks.ts`,
    find: "this.#written(delivery).catch(() => {});",
    put: "",
    wrong: "What came of an attempt is not written down: each start sends it again.",
    killedBy: { test: DURABLE_TEST, name: "[C5bz]" },
  },

  // --- where it may go ---
  {
    id: "address-unchecked",
    rule: "C5",
    file: POST,
    find: "if (problem !== undefined) return failure(null, problem);",
    put: 'if (problem === "") return failure(null, problem);',
    wrong: "A webhook goes wherever a name or an address leads.",
    killedBy: { test: POST_TEST, name: "[C5ag]" },
  },
  {
    id: "one-address-checked",
    rule: "C5",
    file: POST,
    find: "const problem = addresses.map(",
    put: "const problem = addresses.slice(0, 1).map(",
    wrong: "Of several addresses of a name only the first is looked at.",
    killedBy: { test: POST_TEST, name: "[C5ah]" },
  },
  {
    id: "asked-again-at-connect",
    rule: "C5",
    file: POST,
    find: "if (options.all === true) done(null, all);",
    put: "if (options.all === true) done(null, [{ address: '127.0.0.1', family: 4 }]);",
    wrong: "The connection is made to another address than the one that was checked.",
    killedBy: { test: POST_TEST, name: "[C5ai]" },
  },
  {
    id: "mapped-is-public",
    rule: "C5",
    file: ADDRESSES,
    find: 'const GLOBAL_6 = networkList("2000::/3");',
    put: 'const GLOBAL_6 = networkList("2000::/3, ::ffff:0:0/96");',
    wrong: "An IPv4 address inside an IPv6 address is not seen through.",
    killedBy: { test: ADDRESSES_TEST, name: "[C5m]" },
  },
  {
    id: "link-local-is-private",
    rule: "C5",
    file: ADDRESSES,
    find: 'networkList("127.0.0.0/8, 10.0.0.0/8, 172.16.0.0/12,',
    put: 'networkList("127.0.0.0/8, 169.254.0.0/16, 10.0.0.0/8, 172.16.0.0/12,',
    wrong: "With --webhook-allow-private a cloud's credentials are within reach.",
    killedBy: { test: ADDRESSES_TEST, name: "[C5m]" },
  },
  {
    id: "literal-unchecked",
    rule: "C5",
    file: ADDRESSES,
    find: "if (isIP(host) !== 0) return this.problem(host);",
    put: "",
    wrong: "An address in a URL is not looked at when the lock is asked for.",
    killedBy: { test: ADDRESSES_TEST, name: "[C5p]" },
  },
  {
    id: "any-certificate",
    rule: "C5",
    file: POST,
    find: "rejectUnauthorized: true,",
    put: "rejectUnauthorized: false,",
    wrong: "Whoever sits in between is taken for the receiver.",
    killedBy: { test: POST_TEST, name: "[C5an]" },
  },
  {
    id: "body-is-waited-for",
    rule: "C5",
    file: POST,
    find: "      outgoing.destroy();\n    });\n    // Also after",
    put: "\n    });\n    // Also after",
    wrong: "The answer's body is taken in, however long it is.",
    killedBy: { test: POST_TEST, name: "[C5z]" },
  },

  // --- how it is signed ---
  {
    id: "key-as-text",
    rule: "C5",
    file: `${SOURCES}/webhooks/signature.ts`,
    find: 'const key = Buffer.from(secret.slice(PREFIX.length), "base64");',
    put: 'const key = Buffer.from(secret, "utf8");',
    wrong: "The secret's text is taken for its bytes: nobody can verify the signature.",
    killedBy: { test: `${TESTS}/webhooks/signature.test.ts`, name: "[C5q]" },
  },
  {
    id: "old-secret-for-ever",
    rule: "C5",
    file: SECRETS,
    find: "if (old === undefined || old.untilMs <= this.#wallMs())",
    put: "if (old === undefined || old.untilMs <= 0 * this.#wallMs())",
    wrong: "A secret that was changed signs for ever.",
    killedBy: { test: ROOM_TEST, name: "[C5cm]" },
  },
  {
    id: "secret-not-kept",
    rule: "C5",
    file: SECRETS,
    find: "if (!this.#byAccount.has(account)) await this.#change(account, { secret: newSecret() });",
    put: "if (!this.#byAccount.has(account)) this.#byAccount.set(account, { secret: newSecret() });",
    wrong: "A secret is told that the next start does not know.",
    killedBy: { test: ROOM_TEST, name: "[C5cn]" },
  },

  // --- when it is sent ---
  {
    id: "tried-for-ever",
    rule: "C5",
    file: `${SOURCES}/webhooks/backoff.ts`,
    find: "if (ageMs >= TRIED_MS) return null;",
    put: "if (ageMs >= TRIED_MS) return LONGEST_MS;",
    wrong: "A delivery that nobody takes is tried for ever.",
    killedBy: { test: DELIVERER_TEST, name: "[C5aq]" },
  },
  {
    id: "day-begins-anew",
    rule: "C5",
    file: `${SOURCES}/webhooks/delivery.ts`,
    find: "return (this.record.ageMs ?? 0) + nowMs - this.#agedAtMs;",
    put: "return nowMs - this.#agedAtMs;",
    wrong: "The day that a delivery is tried begins anew with each attempt and each start.",
    killedBy: { test: DELIVERER_TEST, name: "[C5au]" },
  },
  {
    id: "untried-pends-for-ever",
    rule: "C5",
    file: DELIVERER,
    find: "this.#giveUpOld(due, nowMs);",
    put: "if (nowMs < 0) this.#giveUpOld(due, nowMs);",
    wrong: "What waits behind a dead target is never given up.",
    killedBy: { test: DELIVERER_TEST, name: "[C5be]" },
  },
  {
    id: "origin-floods",
    rule: "N3",
    file: DELIVERER,
    find: "origin.activeCount >= ATTEMPTS_MAX_ORIGIN",
    put: "origin.activeCount >= ATTEMPTS_MAX_ORIGIN * ATTEMPTS_MAX",
    wrong: "One slow target takes all attempts that there may be.",
    killedBy: { test: DELIVERER_TEST, name: "[C5aw]" },
  },
  {
    id: "breaker-never-opens",
    rule: "C5",
    file: BREAKER,
    find: "const FAILURES_MAX = 5;",
    put: "const FAILURES_MAX = 5_000_000;",
    wrong: "A target that is down is tried by everything that waits for it.",
    killedBy: { test: DELIVERER_TEST, name: "[C5az]" },
  },
  {
    id: "many-probes",
    rule: "C5",
    file: BREAKER,
    find: "return !this.isOpen || (!this.#isProbing && nowMs >= this.#untilMs);",
    put: "return !this.isOpen || nowMs >= this.#untilMs;",
    wrong: "A target that is down gets several probes at once.",
    killedBy: { test: DELIVERER_TEST, name: "[C5az]" },
  },
  {
    id: "cut-off-counts",
    rule: "C5",
    file: DELIVERER,
    find: "if (!this.#controller.signal.aborted) this.#settle(origin, delivery, outcome);",
    put: "this.#settle(origin, delivery, outcome);",
    wrong: "An attempt that the server's own stop has cut off counts as a failure of its target.",
    killedBy: { test: DELIVERER_TEST, name: "[C5bg]" },
  },
];
