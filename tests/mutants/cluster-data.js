/** Bugs in what is copied of a cluster's data, and where to: clocks, moments, marks, members that live. */

const CLUSTER_FOLDER = "packages/server/src/cluster";
const SNAPSHOT = `${CLUSTER_FOLDER}/snapshot.ts`;
const AT_REST = `${CLUSTER_FOLDER}/at-rest.ts`;
const SNAPSHOT_TEST = "packages/server/test/cluster/snapshot.test.ts";
const COPY_TEST = "packages/server/test/backup/copy-etcd.test.ts";

/** @type {readonly import("./mutants.js").Mutant[]} */
export const CLUSTER_DATA = [
  {
    id: "copy-on-its-own-clock",
    rule: "R6",
    file: SNAPSHOT,
    find: "const moved = onOtherClock(type, record, aheadMs);",
    put: "const moved = onOtherClock(type, record, 0 * aheadMs);",
    wrong: "Leases that were written on the clock of one partition are read by that of another.",
    killedBy: { test: SNAPSHOT_TEST, name: "[R6wc]" },
  },
  {
    id: "copy-shifted-twice",
    rule: "R6",
    file: SNAPSHOT,
    find: "const moved = onOtherClock(type, record, aheadMs);",
    put: "const moved = onOtherClock(type, onOtherClock(type, record, aheadMs), aheadMs);",
    wrong: "Leases last longer by what a partition's clock was behind.",
    killedBy: { test: SNAPSHOT_TEST, name: "[R6wc]" },
  },
  {
    id: "awaited-for-a-span",
    rule: "R6",
    file: "packages/server/src/engine/lease-times.ts",
    find: 'awaitedUntilMs: "moment"',
    put: 'awaitedUntilMs: "span"',
    wrong: "A session that is waited for is given up at a moment of another clock.",
    killedBy: { test: "packages/server/test/engine/lease-times.test.ts", name: "[R6wa]" },
  },
  {
    id: "copy-of-half-a-batch",
    rule: "R1",
    file: SNAPSHOT,
    find: "if (staged > 0) await this.#readBatch(",
    put: "if (staged > 99) await this.#readBatch(",
    wrong: "Of a batch that counts, and that its member had not put in its place, a copy has a part.",
    killedBy: { test: SNAPSHOT_TEST, name: "[R1wa]" },
  },
  {
    id: "copy-of-what-does-not-count",
    rule: "R1",
    file: SNAPSHOT,
    find: "const { staged } = head;",
    put: "const staged = Math.max(1, head.staged);",
    wrong: "Pieces of a batch that never came to count are taken for one that does.",
    killedBy: { test: SNAPSHOT_TEST, name: "[R1wc]" },
  },
  {
    id: "copy-undoes-what-came-behind",
    rule: "R1",
    file: SNAPSHOT,
    find: "return owner?.member === id || owner?.redo?.includes(id) === true;",
    put: "return owner?.member === id || owner?.redo?.includes(id) !== null;",
    wrong:
      "A batch that was brought to its end long ago is put over what its partition's next owner has written.",
    killedBy: { test: SNAPSHOT_TEST, name: "[R1wb]" },
  },
  {
    id: "backup-of-two-histories",
    rule: "F3",
    file: SNAPSHOT,
    find: "if (first?.revision !== atRevision || Buffer.compare(first.value, value) !== 0)",
    put: "if (first?.revision === 0 * atRevision)",
    wrong: "What is read when etcd's revisions have gone back is taken for the same moment.",
    killedBy: { test: SNAPSHOT_TEST, name: "[F3wb]" },
  },
  {
    id: "copy-while-a-member-lives",
    rule: "F3",
    file: AT_REST,
    find: "if (known === undefined || !isSame(known.bytes, bytes))",
    put: "if (known === undefined || isSame(known.bytes, bytes) === null)",
    wrong: "A cluster is copied, and its member fenced, though it beats.",
    killedBy: { test: COPY_TEST, name: "[F3wf]" },
  },
  {
    id: "copy-begun-beside-a-member",
    rule: "F3",
    file: AT_REST,
    find: "return areas.map((key) => ({ key, end: endOf(key), revision: 0 }));",
    put: "return areas.slice(2).map((key) => ({ key, end: endOf(key), revision: 0 }));",
    wrong: "A member that joins just before the copy begins is not seen.",
    killedBy: { test: COPY_TEST, name: "[F3wo]" },
  },
  {
    id: "copy-behind-a-member",
    rule: "F3",
    file: AT_REST,
    find: "return [...this.#nobody(), this.#joined!, this.#isCopying()];",
    put: "return [...this.#nobody(), ...[this.#joined!].slice(1), this.#isCopying()];",
    wrong: "What a member has written that came and went while the cluster was copied is lost.",
    killedBy: { test: COPY_TEST, name: "[F3wh]" },
  },
  {
    id: "copy-of-before-marks",
    rule: "F3",
    file: AT_REST,
    find: "return [...this.#nobody(), this.#joined!, this.#isCopying()];",
    put: "return [...this.#nobody(), this.#joined!];",
    wrong: "A copy that was given up marks the cluster as moved, later.",
    killedBy: { test: COPY_TEST, name: "[F3wk]" },
  },
  {
    id: "join-where-it-was-moved",
    rule: "F3",
    file: `${CLUSTER_FOLDER}/member.ts`,
    find: "compare: [this.#words.absent(fenceKey(id)), this.#words.absent(memberKey(id)), ...unmarked(at)],",
    put: "compare: [this.#words.absent(fenceKey(id)), this.#words.absent(memberKey(id)), ...unmarked(at).slice(2)],",
    wrong: "A member joins a cluster whose history goes on elsewhere, or that is not whole.",
    killedBy: { test: COPY_TEST, name: "[F3wd]" },
  },
  {
    id: "floor-of-the-store-alone",
    rule: "F3",
    file: "packages/server/src/loop/services.ts",
    find: "    if (common !== null) service.engine.startAbove(common.tokens, common.tickets);",
    put: "    if (common !== null && common.tokens < 0) service.engine.startAbove(1, 1);",
    wrong: "A member whose store has shown an old state begins new services below the floor of a restore.",
    killedBy: { test: "packages/server/test/loop/take-up.test.ts", name: "[F3wp]" },
  },
];
