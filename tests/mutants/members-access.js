/** Bugs in what members of a cluster know of each other's accounts and keys. */

const SOURCES = "packages/server/src";
const TESTS = "packages/server/test";
const SHARES = `${SOURCES}/access/shares.ts`;
const MEMBER = `${SOURCES}/cluster/member.ts`;
const STEPS = `${SOURCES}/cluster/steps.ts`;
const SHARES_TEST = `${TESTS}/access/shares.test.ts`;
const SHARING_TEST = `${TESTS}/cluster/sharing.test.ts`;
const COUNTS_TEST = `${TESTS}/http/member-counts.test.ts`;

/** @type {readonly import("./mutants.js").Mutant[]} */
export const MEMBERS_ACCESS = [
  {
    id: "use-of-others-not-counted",
    rule: "A5",
    file: SHARES,
    find: "return limit === null ? null : Math.max(0, limit - used);",
    put: "return limit === null || used < 0 ? null : limit;",
    wrong: "What an account has at other members does not count against its limits.",
    killedBy: { test: SHARES_TEST, name: "[A5ya]" },
  },
  {
    id: "waiters-of-others-not-counted",
    rule: "A5",
    file: SHARES,
    find: "holds: less(limits.holds, others.holds + others.waiters),",
    put: "holds: less(limits.holds, others.holds),",
    wrong: "Who waits at another member will hold the lock, and is not counted.",
    killedBy: { test: SHARES_TEST, name: "[A5ya]" },
  },
  {
    id: "rate-of-others-not-counted",
    rule: "A5",
    file: SHARES,
    find: "if (requests === 0) return 1;",
    put: "if (requests >= 0) return 1;",
    wrong: "An account may make its requests a second at each member.",
    killedBy: { test: SHARES_TEST, name: "[A5yc]" },
  },
  {
    id: "others-take-all-of-a-rate",
    rule: "A5",
    file: SHARES,
    find: "return Math.max(1 / this.#members, 1 - requests / ratePerS);",
    put: "return Math.max(0 / this.#members, 1 - requests / ratePerS);",
    wrong: "A member lets nothing through while others use the whole rate of an account.",
    killedBy: { test: SHARES_TEST, name: "[A5yc]" },
  },
  {
    id: "acts-of-others-twice",
    rule: "A5",
    file: `${SOURCES}/loop/audit-log.ts`,
    find: "if ((counts.get(member) ?? 0) < count) counts.set(member, count);",
    put: "counts.set(member, (counts.get(member) ?? 0) + count);",
    wrong: "Entries of the audit log that another member has made count again with each of its beats.",
    killedBy: { test: SHARES_TEST, name: "[A5yf]" },
  },
  {
    id: "share-not-written-again",
    rule: "A5",
    file: MEMBER,
    find: 'self.share = outcome.kind === "applied" ? share.bytes : undefined;',
    put: "self.share = share.bytes;",
    wrong:
      "What a member shares is not told again after a beat of which nobody knows whether it came through.",
    killedBy: { test: SHARING_TEST, name: "[A5yh]" },
  },
  {
    id: "share-of-the-fenced-stays",
    rule: "A5",
    file: STEPS,
    find: "ops: [memberKey(id), fenceKey(id), shareKey(id)].map((key) => words.delete(key)),",
    put: "ops: [memberKey(id), fenceKey(id), shareKey(self.id)].map((key) => words.delete(key)),",
    wrong: "What a member has shared stays in etcd when it is fenced.",
    killedBy: { test: SHARING_TEST, name: "[A5yh]" },
  },
  {
    id: "revoked-key-stays-at-others",
    rule: "A2",
    file: STEPS,
    find: "return commonVersion !== null && isSame(commonVersion, newCommonVersion);",
    put: "return commonVersion !== null && isSame(newCommonVersion, newCommonVersion);",
    wrong: "A key that was revoked goes on to work at members that have read the keys before.",
    killedBy: { test: SHARING_TEST, name: "[A2yb]" },
  },
  {
    id: "caught-up-with-an-old-look",
    rule: "A2",
    file: MEMBER,
    find: "self!.appliedBeat > beat &&",
    put: "self!.appliedBeat >= beat &&",
    wrong: "Who has made a key is told so when his member has looked before that.",
    killedBy: { test: SHARING_TEST, name: "[A2ya]" },
  },
  {
    id: "told-before-caught-up",
    rule: "A2",
    file: `${SOURCES}/http/passing-on.ts`,
    find: "void this.#caughtUp().then(pass);",
    put: "void this.#caughtUp().finally(() => {}), pass();",
    wrong: "Who has made a key through another member is told so before that one knows it.",
    killedBy: { test: COUNTS_TEST, name: "[A2yd]" },
  },
  {
    id: "ready-out-of-the-cluster",
    rule: "I6",
    file: `${SOURCES}/http/api/server.ts`,
    find: "if (loop.ready && problem === null) return",
    put: "if (loop.ready) return",
    wrong: "A member says that it is ready while it is out of its cluster.",
    killedBy: { test: COUNTS_TEST, name: "[I6yg]" },
  },
];
