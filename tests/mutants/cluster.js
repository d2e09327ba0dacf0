/** Bugs in what a member of a cluster does about the others, partitions and etcd. */

const CLUSTER_ROOM = "packages/server/src/cluster";
const MEMBER = `${CLUSTER_ROOM}/member.ts`;
const STEPS = `${CLUSTER_ROOM}/steps.ts`;
const MEMBERSHIP = `${CLUSTER_ROOM}/membership.ts`;
const PART = `${CLUSTER_ROOM}/part.ts`;
const LOOP = "packages/server/src/loop";
const TESTS = "packages/server/test/cluster";
const LOOP_TESTS = "packages/server/test/loop";

/** @type {readonly import("./mutants.js").Mutant[]} */
export const CLUSTER = [
  // --- who lives ---
  {
    id: "trust-from-the-answer",
    rule: "R7",
    file: MEMBER,
    find: "      self.appliedBeat = beat;\n      this.#trust(self, sentMs, sentWallMs);",
    put: "      self.appliedBeat = beat;\n      this.#trust(self, Math.max(sentMs, runtime.monotonicMs()), Math.max(sentWallMs, runtime.wallMs()));",
    wrong: "A member's trust counts from when the answer to its beat came.",
    killedBy: { test: `${TESTS}/member.test.ts`, name: "[R7qe]" },
  },
  {
    id: "silence-to-the-answer",
    rule: "R7",
    file: MEMBERSHIP,
    find: "this.#look.sentMs - known.sinceMs",
    put: "this.#look.receivedMs - known.sinceMs",
    wrong: "Silence is measured to when the answer of a look came, and not to when it was sent.",
    killedBy: { test: `${TESTS}/membership.test.ts`, name: "[R7qa]" },
  },
  {
    id: "silence-from-the-look",
    rule: "R7",
    file: MEMBERSHIP,
    find: "{ bytes, sinceMs: look.receivedMs }",
    put: "{ bytes, sinceMs: look.sentMs }",
    wrong: "Silence is measured from when the look was sent that shows a beat first.",
    killedBy: { test: `${TESTS}/membership.test.ts`, name: "[R7qa]" },
  },
  {
    id: "lease-of-the-watcher",
    rule: "R7",
    file: MEMBERSHIP,
    find: "this.silentMs(id) >= record.leaseMs",
    put: "this.silentMs(id) >= members.get(self)!.record.leaseMs + 0 * record.leaseMs",
    wrong: "Whoever watches a member waits for its own lease, and not for that of the other.",
    killedBy: { test: `${TESTS}/membership.test.ts`, name: "[R7qb]" },
  },
  {
    id: "fence-whatever-it-says",
    rule: "R7",
    file: STEPS,
    find: "compare: [this.words.isThere(self.id), this.words.is(memberKey(id), bytes)],",
    put: "compare: [this.words.isThere(self.id), this.words.is(fenceKey(self.id), bytes)].slice(0, 1),",
    wrong: "A member is fenced that has beaten since it was looked at.",
    killedBy: { test: `${TESTS}/member.test.ts`, name: "[R7qg]" },
  },
  {
    id: "beat-over-any",
    rule: "R7",
    file: MEMBER,
    find: "compare: [this.#words.isThere(self.id), this.#words.is(memberKey(self.id), self.bytes)],",
    put: "compare: [this.#words.isThere(self.id)],",
    wrong: "A beat that was under way for long brings an old number back.",
    killedBy: { test: `${TESTS}/member.test.ts`, name: "[R7qf]" },
  },
  // --- who may write ---
  {
    id: "claim-before-the-fence",
    rule: "R7",
    file: STEPS,
    find: "...formers.map((former) => this.words.absent(fenceKey(former))),",
    put: "...formers.slice(formers.length).map((former) => this.words.absent(fenceKey(former))),",
    wrong: "A partition is claimed without the condition that its former owner is fenced.",
    killedBy: { test: `${TESTS}/member.test.ts`, name: "[R7qj]" },
  },
  {
    id: "commit-unfenced",
    rule: "R7",
    file: MEMBER,
    find: `const guards = [{ key: \`\${at}\${fence.key}\`, value: fence.value }];`,
    put: `const guards = [{ key: \`\${at}\${fence.key}\`, value: fence.value }].slice(1);`,
    wrong: "Commits do not have the condition that their member is not fenced.",
    killedBy: { test: `${TESTS}/member.test.ts`, name: "[R7qh]" },
  },
  {
    id: "former-self-lives",
    rule: "R7",
    file: MEMBER,
    find: "...gone.map((key) => this.#words.delete(key)),\n",
    put: "...gone.slice(gone.length).map((key) => this.#words.delete(key)),\n",
    wrong: "Who joins anew leaves what it was before with the right to write.",
    killedBy: { test: `${TESTS}/member.test.ts`, name: "[R7qi]" },
  },
  {
    id: "redo-whoever-owns",
    rule: "R1",
    file: PART,
    find: `compare: [{ key: \`\${at}\${fence.key}\`, value: fence.value }, owner],`,
    put: `compare: [{ key: \`\${at}\${fence.key}\`, value: fence.value }, owner].slice(0, 1),`,
    wrong: "A batch of a fenced member is brought to its end in a partition that is served by now.",
    killedBy: { test: `${TESTS}/part.test.ts`, name: "[R1qc]" },
  },
  {
    id: "redo-without-the-common",
    rule: "R1",
    file: PART,
    find: "partition === KEEPERS_PARTITION ? [COMMON] : [];",
    put: "partition < KEEPERS_PARTITION ? [COMMON] : [];",
    wrong: "Half of what a fenced keeper has written for all members stays away.",
    killedBy: { test: `${TESTS}/part.test.ts`, name: "[R1qb]" },
  },
  {
    id: "read-past-the-log",
    rule: "R7",
    file: PART,
    find: `ops: [{ put: \`\${at}\${readKey(id)}\`, value: fence.value }, ...ops],`,
    put: `ops: [{ put: \`\${at}\${readKey(id)}\`, value: fence.value }, ...ops].slice(1),`,
    wrong: "A partition is read by a transaction that does not go through etcd's log.",
    killedBy: { test: `${TESTS}/member.test.ts`, name: "[R7qk]" },
  },
  {
    id: "common-as-the-store-has-it",
    rule: "A4",
    file: STEPS,
    find: "return commonVersion !== null && isSame(commonVersion, newCommonVersion);",
    put: "return commonVersion === null || isSame(commonVersion, newCommonVersion);",
    wrong: "What a bare range has shown of keys and accounts is believed.",
    killedBy: { test: `${TESTS}/member.test.ts`, name: "[A4qa]" },
  },
  {
    id: "owners-in-any-slice",
    rule: "R3",
    file: "packages/server/src/store/etcd.ts",
    find: "return slicesOf([...changes].reverse(), sizeOf, A_TXN).reverse();",
    put: "return slicesOf(changes, sizeOf, A_TXN);",
    wrong: "The next owner of a partition is told before all of the last batch is in its place.",
    killedBy: { test: `${TESTS}/part.test.ts`, name: "[R3qi]" },
  },
  {
    id: "hint-believed",
    rule: "R7",
    file: `${CLUSTER_ROOM}/take-ups.ts`,
    find: "if (owner === null || !isOurs(self, partition, owner)) continue;",
    put: "if (owner === null || owner.record.epoch < 0) continue;",
    wrong: "What a hint says to be on its way here is taken up, whatever its owner record says.",
    killedBy: { test: `${TESTS}/member.test.ts`, name: "[R3qk]" },
  },
  // --- lease time ---
  {
    id: "step-of-before",
    rule: "L3",
    file: `${LOOP}/loop.ts`,
    find: "  get leaseMs(): number {\n    return this.#time.read();",
    put: "  get leaseMs(): number {\n    return this.#time.lastMs;",
    wrong: "A partition's lease clock begins with a step that was due at its new owner before.",
    killedBy: { test: `${LOOP_TESTS}/take-up.test.ts`, name: "[R6kq]" },
  },
  {
    id: "clock-later",
    rule: "R6",
    file: `${LOOP}/loop.ts`,
    find: "if (this.#time.lastMs > this.#writing.clockMs) this.#writing.addClock(this.#time.lastMs);",
    put: "if (this.#time.lastMs < 0) this.#writing.addClock(this.#time.lastMs);",
    wrong: "The lease clock is not written with what is taken up: at the next owner it goes back.",
    killedBy: { test: `${LOOP_TESTS}/take-up.test.ts`, name: "[R6kq]" },
  },
  // --- who comes back ---
  {
    id: "hello-of-before",
    rule: "R3",
    file: `${LOOP}/services.ts`,
    find: "if ((service?.reading ?? 0) <= readings) return false;",
    put: "if ((service?.reading ?? 0) <= readings + 1_000) return false;",
    wrong: "What a client said before a service was taken up counts, and it may have been elsewhere since.",
    killedBy: { test: `${LOOP_TESTS}/placed-connection.test.ts`, name: "[R3ke]" },
  },
  {
    id: "hello-of-an-older-change",
    rule: "R3",
    file: `${LOOP}/services.ts`,
    find: "return service!.isReadAnew || epoch === null || epoch !== this.#options.placement?.epochOf(key);",
    put: "return service!.isReadAnew || epoch === null || epoch > this.#options.placement!.epochOf(key)!;",
    wrong: "Whoever was led here by an older change of owners is believed, and may have been elsewhere since.",
    killedBy: { test: `${LOOP_TESTS}/placed-connection.test.ts`, name: "[R3kf]" },
  },
];
