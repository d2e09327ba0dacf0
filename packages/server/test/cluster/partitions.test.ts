import { expect, test } from "vitest";
import { PARTITIONS, partitionOf, sharesOf } from "../../src/cluster/partitions.js";

const members = (count: number) =>
  Array.from({ length: count }, (_, at) => ({ id: `id${at}`, url: `http://10.0.0.${at + 1}:5625` }));

test("[R3qa] members have about as many partitions each", () => {
  for (const count of [1, 2, 3, 5, 8]) {
    const shares = sharesOf(members(count));
    expect(shares).toHaveLength(PARTITIONS);
    const mean = PARTITIONS / count;
    for (const { id } of members(count)) {
      const own = shares.filter((share) => share === id).length;
      expect(own).toBeGreaterThan(0.5 * mean);
      expect(own).toBeLessThan(1.6 * mean);
    }
  }
});

test("[R3qb] a member that goes moves only what it had, and one that comes only what it gets", () => {
  const before = sharesOf(members(5));
  const gone = members(5).filter(({ id }) => id !== "id2");
  for (const [partition, share] of sharesOf(gone).entries())
    if (before[partition] !== "id2") expect(share).toBe(before[partition]);
  for (const [partition, share] of sharesOf(members(6)).entries())
    if (share !== "id5") expect(share).toBe(before[partition]);
});

test("[R3ql] of many members none has much more than the others, and hardly more is moved for that", () => {
  for (const count of [16, 64]) {
    const before = sharesOf(members(count));
    const counts = members(count).map(({ id }) => before.filter((share) => share === id).length);
    expect(Math.max(...counts)).toBeLessThanOrEqual((1.5 * PARTITIONS) / count);
    const after = sharesOf(members(count).slice(1));
    const besides = before.filter((share, at) => share !== "id0" && share !== after[at]);
    expect(besides.length).toBeLessThan(PARTITIONS / 16);
  }
});

test("[R3qc] a share is of the address, so that whoever comes back gets what it had; all members agree, in whatever order they know each other", () => {
  const before = sharesOf(members(3));
  const renamed = members(3).map(({ id, url }) => ({ id: `z${id}`, url }));
  expect(sharesOf(renamed.reverse())).toEqual(before.map((share) => `z${share}`));
  expect(sharesOf([])).toEqual(new Array(PARTITIONS).fill(null));
});

test("[R3qd] a service is in one partition for ever", () => {
  expect(partitionOf("default", "orders")).toBe(partitionOf("default", "orders"));
  expect(
    new Set(Array.from({ length: 2_000 }, (_, at) => partitionOf("default", `service-${at}`))).size,
  ).toBeGreaterThan(250);
  expect(["orders", "reports", "x"].map((id) => partitionOf("default", id))).toMatchInlineSnapshot(`
    [
      150,
      144,
      18,
    ]
  `);
});
