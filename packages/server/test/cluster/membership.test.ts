import { beforeEach, expect, test } from "vitest";
import { Membership } from "../../src/cluster/membership.js";
import { PARTITIONS, sharesOf } from "../../src/cluster/partitions.js";
import type { MemberRecord, OwnerRecord, Seen } from "../../src/cluster/records.js";

const LEASE_MS = 5_000;
const urlOf = (id: string) => `http://${id}:5625`;

/** What one look shows: beats by member, and owners by partition. */
interface Shown {
  readonly beats: Readonly<Record<string, number | Partial<MemberRecord>>>;
  readonly owners?: ReadonlyMap<number, OwnerRecord>;
}

let membership: Membership;
beforeEach(() => {
  membership = new Membership();
});

function seen<T extends object>(record: T): Seen<T> {
  return { record, bytes: Buffer.from(JSON.stringify(record)) };
}

function saw(sentMs: number, receivedMs: number, { beats, owners = new Map() }: Shown): void {
  const members = new Map(
    Object.entries(beats).map(([id, said]) => {
      const more = typeof said === "number" ? { beat: said } : said;
      const record = {
        url: urlOf(id),
        secret: "",
        beat: 0,
        leaseMs: LEASE_MS,
        isReady: true,
        isLeaving: false,
      };
      return [id, seen({ ...record, version: "1", ...more })];
    }),
  );
  const all = Array.from({ length: PARTITIONS }, (_, partition) => {
    const record = owners.get(partition);
    return record === undefined ? null : seen(record);
  });
  membership.saw({ members, owners: all, unknown: new Set(), sentMs, receivedMs });
}

const planned = (serves: (partition: number) => boolean = () => true) => membership.plan("a", true, serves);
const fenced = () => planned().fence.map(({ id }) => id);

/** Partitions that are a member's share when these live. */
function shareOf(id: string, all: readonly string[]): number[] {
  const shares = sharesOf(all.map((each) => ({ id: each, url: urlOf(each) })));
  return [...shares.keys()].filter((partition) => shares[partition] === id);
}

const owned = (partitions: readonly number[], record: OwnerRecord) =>
  new Map(partitions.map((partition) => [partition, record]));

test("[R7qa] a member is silent from when its beat was first heard to when a look was sent that shows it again", () => {
  saw(1_000, 1_900, { beats: { a: 1, b: 7 } });
  expect(membership.silentMs("b")).toBe(0);
  // Its answer came long after it was sent: what it shows was so when it was sent, at the latest.
  saw(2_000, 9_000, { beats: { a: 2, b: 7 } });
  expect(membership.silentMs("b")).toBe(100);
  saw(6_899, 6_950, { beats: { a: 3, b: 7 } });
  expect(fenced()).toEqual([]);
  saw(6_900, 6_950, { beats: { a: 4, b: 7 } });
  expect(fenced()).toEqual(["b"]);
  saw(7_000, 7_050, { beats: { a: 4, b: 8 } });
  expect(fenced()).toEqual([]);
});

test("[R7qb] a member's own lease counts, and nobody fences himself", () => {
  for (const sentMs of [0, 6_000]) saw(sentMs, sentMs, { beats: { a: 1, b: { leaseMs: 10_000 }, c: 1 } });
  expect(fenced()).toEqual(["c"]);
});

test("[R7qc] whoever was away and is seen anew is not silent since before", () => {
  saw(0, 0, { beats: { a: 1, b: 1 } });
  saw(3_000, 3_000, { beats: { a: 2 } });
  saw(6_000, 6_000, { beats: { a: 3, b: 1 } });
  expect(fenced()).toEqual([]);
});

test("[R7qd] nothing is claimed of a member that lives, however silent: not before it is fenced", () => {
  const owners = owned(shareOf("a", ["a"]), { member: "b", epoch: 4, offsetMs: 0 });
  saw(0, 0, { beats: { a: 1, b: 1 }, owners });
  saw(60_000, 60_000, { beats: { a: 2, b: 1 }, owners });
  expect(planned().claim).toEqual([]);
  saw(60_100, 60_100, { beats: { a: 3 }, owners });
  expect(planned().claim).toHaveLength(PARTITIONS);
});

test("[R3qe] a member claims its share of what nobody has, and of what members had that are gone", () => {
  const own = shareOf("a", ["a", "b"]);
  saw(0, 0, {
    beats: { a: 1, b: 1 },
    owners: owned(own.slice(3), { member: "gone", epoch: 4, offsetMs: 0 }),
  });
  const { claim, takeUp, handOver } = planned();
  expect(claim.map(({ partition }) => partition)).toEqual(own);
  expect(claim.filter(({ before }) => before === null)).toHaveLength(3);
  expect([takeUp, handOver.size]).toEqual([[], 0]);
  expect(membership.plan("a", false, () => false).claim).toEqual([]);
});

test("[R3qf] what is on its way to a member it takes up, wanted or not", () => {
  const others = shareOf("b", ["a", "b"]).slice(0, 2);
  saw(0, 0, { beats: { a: 1, b: 1 }, owners: owned(others, { member: "a", epoch: 2, leaseMs: 70 }) });
  expect(membership.plan("a", false, () => false).takeUp).toEqual(others);
});

test("[R3qg] it gives away what it serves and others shall have, and all when it leaves; to nobody who is silent, leaves, or is not ready", () => {
  const owners = owned(shareOf("a", ["a"]), { member: "a", epoch: 2, offsetMs: 0 });
  const given = () => [...planned().handOver].map(([to, partitions]) => [to, partitions.length]);
  saw(0, 0, { beats: { a: 1, b: 1 }, owners });
  expect(given()).toEqual([["b", shareOf("b", ["a", "b"]).length]]);
  expect(planned(() => false).handOver.size).toBe(0);
  saw(100, 100, { beats: { a: { isLeaving: true }, b: 2 }, owners });
  expect(given()).toEqual([["b", PARTITIONS]]);
  for (const not of [{ isReady: false }, { isLeaving: true }]) {
    saw(200, 200, { beats: { a: { isLeaving: true }, b: not }, owners });
    expect(given()).toEqual([]);
  }
  saw(300, 300, { beats: { a: 1, b: 9 }, owners });
  saw(5_300, 5_300, { beats: { a: 1, b: 9 }, owners });
  expect(given()).toEqual([]);
});

test("[N3qa] the more members there are, the farther looks are apart that follow hints: each change is hinted to all, and each reads all", () => {
  saw(0, 0, { beats: { a: 1, b: 1, c: 1 } });
  expect(membership.hintMs).toBe(20);
  const many = Object.fromEntries(Array.from({ length: 64 }, (_, at) => [`m${at}`, 1]));
  saw(0, 0, { beats: many });
  expect(membership.hintMs).toBe(320);
});
