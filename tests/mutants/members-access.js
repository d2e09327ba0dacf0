/** Bugs in what members of a cluster know of each other's accounts and keys. */

const SOURCES = "packages/server/src";
const TESTS = "packages/server/test";
const SHARES = `${SOURCES}/access/shares.ts`;
const MEMBER = `${SOURCES}/cluster/member.ts`;
const STEPS = `${SOURCES}/cluster/steps.ts`;
const SHARES_TEST = `${TESTS}/access/shares.test.ts`;
const SHARING_TEST = `${TESTS}/cluster/sharing.test.ts`;
const COMMON = `${SOURCES}/cluster/common.ts`;
const BOOK = `${SOURCES}/access/book.ts`;
const ETCD_STORE = `${SOURCES}/store/etcd.ts`;
const ETCD_MARK = `${SOURCES}/store/etcd-mark.ts`;
const COMMON_TEST = `${TESTS}/cluster/common.test.ts`;
const CHANGES_TEST = `${TESTS}/access/changes.test.ts`;
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
  // --- what has changed of keys (decision 028) ---
  {
    id: "change-skipped",
    rule: "A2",
    file: COMMON,
    find: "const from = isOfChain ? first.at + 1 : 1;",
    put: "const from = isOfChain ? Math.min(first.at + 2, last.at) : 1;",
    wrong: "Of two changes since its last look a member reads the later one.",
    killedBy: { test: COMMON_TEST, name: "[A2ca]" },
  },
  {
    id: "note-of-another-change",
    rule: "A2",
    file: COMMON,
    find: "if (note === null || note.chain !== chain || note.at !== at) return null;",
    put: "if (note === null || note.chain.length + chain.length + at < 0) return null;",
    wrong: "A note is believed that stands in its place and is of another change.",
    killedBy: { test: COMMON_TEST, name: "[A2ci]" },
  },
  {
    id: "note-that-is-gone",
    rule: "A2",
    file: COMMON,
    find: "note.at !== at) return null;",
    put: "note.at !== at) continue;",
    wrong: "A gap among the notes is taken for a change of nothing.",
    killedBy: { test: COMMON_TEST, name: "[A2ci]" },
  },
  {
    id: "link-to-any-mark",
    rule: "A2",
    file: COMMON,
    find: "last.after !== nameOf(COMMON_VERSION, before)",
    put: "nameOf(COMMON_VERSION, before) === null",
    wrong: "Who has not seen what the former keeper did last goes on with the next keeper's changes.",
    killedBy: { test: COMMON_TEST, name: "[A2cd]" },
  },
  {
    id: "mark-over-any",
    rule: "A2",
    file: ETCD_STORE,
    find: "...(marked === null ? [] : [marked.compare])]",
    put: "...(marked === null ? [] : [marked.compare].slice(1))]",
    wrong: "The keeper goes on with its chain of marks whatever somebody else has written between.",
    killedBy: { test: COMMON_TEST, name: "[A2ce]" },
  },
  {
    id: "chain-goes-on",
    rule: "A2",
    file: ETCD_MARK,
    find: "    this.#last = null;",
    put: "    void this.#last;",
    wrong: "Behind another's mark the keeper goes on with its chain.",
    killedBy: { test: COMMON_TEST, name: "[A2ce]" },
  },
  {
    id: "pieces-without-a-mark",
    rule: "A2",
    file: ETCD_STORE,
    find: "this.#opsOf(slice), this.#marked(slice));",
    put: "this.#opsOf(slice), this.#marked(slice.slice(slice.length)));",
    wrong: "What a large batch changes of keys is told to nobody.",
    killedBy: { test: COMMON_TEST, name: "[A2cf]" },
  },
  {
    id: "mark-of-before-unknown",
    rule: "A2",
    file: ETCD_STORE,
    find: "if (head !== null && this.#isHead(head)) this.#marking!.wrote(marked);",
    put: "if (head === null) this.#marking!.wrote(marked);",
    wrong: "After an answer that was lost the keeper does not know its own mark: all members read all.",
    killedBy: { test: COMMON_TEST, name: "[A2cg]" },
  },
  {
    id: "deletion-is-no-change",
    rule: "A2",
    file: BOOK,
    find: 'if (kind === "key" && this.#keys.get(id!)?.account.id === account) this.forgetKey(id!);',
    put: 'if (kind === "key" && this.#keys.get(id!)?.account.id !== account) continue;',
    wrong: "A key that another member has revoked goes on to work.",
    killedBy: { test: CHANGES_TEST, name: "[A2da]" },
  },
  {
    id: "stray-key-is-forgotten",
    rule: "A2",
    file: BOOK,
    find: "if (strays > 0) throw",
    put: "if (strays < 0) throw",
    wrong: "A key that comes before its account is never known.",
    killedBy: { test: CHANGES_TEST, name: "[A2dc]" },
  },
  {
    id: "refused-changes-are-over",
    rule: "A2",
    file: STEPS,
    find: "if (isWhole) throw err;",
    put: "if (isWhole || before !== null) throw err;",
    wrong: "Changes that do not go with what a member knows are tried again for ever.",
    killedBy: { test: COMMON_TEST, name: "[A2cj]" },
  },
  {
    id: "old-store-behind-new-keys",
    rule: "A2",
    file: STEPS,
    find: " || isCommonRead(self) || !this.#host.isOpen()) return false;",
    put: " || isCommonRead(self)) return false;",
    wrong:
      "What a store has shown as it was opened, which may be old, comes behind what is read by a transaction.",
    killedBy: { test: COMMON_TEST, name: "[A2cm]" },
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
