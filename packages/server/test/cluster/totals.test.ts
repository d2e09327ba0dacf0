import { expect, test } from "vitest";
import { fenceKey, memberKey } from "../../src/cluster/records.js";
import { ClusterTotals, counted } from "../../src/cluster/totals.js";
import { METRICS } from "../../src/metrics/index.js";
import { CODE, type Etcd, EtcdError } from "../../src/store/etcd-api.js";
import { encodeRecord } from "../../src/store/index.js";
import { AT, Common, type TestMember, World } from "./world.js";

/** Those that http/cluster-metrics.test.ts sees move. */
const OVER_HTTP = ["lockdb_requests_passed_on_total", "lockdb_clients_moved_total", "lockdb_etcd_members"];

/** All metrics of a member's cluster, by their names. */
function readings({ member }: TestMember): Readonly<Record<string, unknown>> {
  const scrape = {
    cluster: member,
    seen: member.seen(),
    loop: { totals: { passedOn: {} } },
    etcdMembers: null,
  };
  const rows = METRICS.filter(({ part, name }) => part === "The cluster" && !OVER_HTTP.includes(name));
  return Object.fromEntries(rows.map(({ name, read }) => [name, structuredClone(read(scrape as never))]));
}

test("[I6ya] what a member does in its cluster moves its metrics", async () => {
  const world = new World();
  const [one, two] = [world.member("http://one", new Common()), world.member("http://two")];
  const id = await one.join();
  one.start();
  await world.pass(700);
  expect(readings(one)).toMatchObject({
    lockdb_cluster_members: 1,
    lockdb_cluster_partitions: { served: 256, unowned: 0 },
    lockdb_cluster_partitions_served: 256,
    lockdb_cluster_claims_total: 256,
    lockdb_cluster_take_ups_total: 256,
    lockdb_cluster_hand_overs_total: 0,
    lockdb_cluster_fences_total: 0,
    lockdb_cluster_losses_total: { fenced: 0, silent: 0, failed: 0 },
  });
  const { sum, counts } = readings(one).lockdb_cluster_beat_seconds as { sum: number; counts: number[] };
  expect([sum, counts.some((count) => count > 0)]).toEqual([0, true]);
  expect(readings(one)).toMatchObject({ lockdb_cluster_key_reads_total: { whole: 0, changes: 0 } });
  for (const is of [1, 2]) {
    const key = "default/key/k";
    await one.store.commit([{ key, value: encodeRecord(key, { is }) }]);
    await world.pass(700);
  }
  expect(readings(one)).toMatchObject({ lockdb_cluster_key_reads_total: { whole: 1, changes: 1 } });
  await two.join();
  two.start();
  await world.pass(3_000);
  const handedOver = readings(one).lockdb_cluster_hand_overs_total;
  expect(handedOver).toBe(two.serves);
  expect(readings(two)).toMatchObject({
    lockdb_cluster_members: 2,
    lockdb_cluster_partitions_served: handedOver,
    lockdb_cluster_take_ups_total: handedOver,
  });
  // The first one's beats come to nothing from here on.
  world.etcd.fate = ({ ops }) =>
    ops.some((op) => "put" in op && op.put === `${AT}${memberKey(id)}`) ? "never" : "answered";
  const errorsOf = () => (readings(one).lockdb_etcd_errors_total as { late: number }).late;
  const before = errorsOf();
  await world.pass(7_000);
  expect(readings(one)).toMatchObject({ lockdb_cluster_losses_total: { fenced: 0, silent: 1, failed: 0 } });
  expect(readings(one).lockdb_cluster_beat_age_seconds).toBeGreaterThan(6);
  expect(errorsOf()).toBeGreaterThan(before);
  expect(readings(two)).toMatchObject({
    lockdb_cluster_members: 1,
    lockdb_cluster_fences_total: 1,
    lockdb_cluster_partitions_served: 256,
  });
  world.etcd.fate = () => "answered";
  const other = two.member.memberId;
  await world.delete(fenceKey(other), memberKey(other));
  await world.pass(700);
  expect(readings(two)).toMatchObject({ lockdb_cluster_losses_total: { fenced: 1, silent: 0, failed: 0 } });
  await two.join();
  await two.join();
  expect(readings(two)).toMatchObject({ lockdb_cluster_losses_total: { fenced: 1, silent: 0, failed: 1 } });
});

test("[I6yd] requests to etcd that fail are counted by what was wrong", async () => {
  const totals = new ClusterTotals();
  let code: number = CODE.UNAVAILABLE;
  const failing = {
    txn: async () => ({ kind: "unknown", error: new EtcdError(code, "planted", "e1") }),
    range: () => Promise.reject(new EtcdError(code, "planted", "e1")),
  };
  const etcd = counted(failing as unknown as Etcd, totals);
  for (const each of [CODE.UNAVAILABLE, CODE.DEADLINE_EXCEEDED, CODE.PERMISSION_DENIED, 2]) {
    code = each;
    await etcd.txn({ compare: [], ops: [] });
    await expect(etcd.range({ key: "a" })).rejects.toThrow("planted");
  }
  expect(totals.etcdErrors).toEqual({ unavailable: 2, late: 2, refused: 2, other: 2 });
});
