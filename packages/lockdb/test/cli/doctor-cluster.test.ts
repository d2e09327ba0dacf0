import { createServer } from "node:net";
import { type Server, serve } from "@lockdb/server";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type EtcdCluster, hasEtcd, startEtcd } from "../../../server/test/etcd.js";
import type { ClusterInfo } from "../../src/cli/answers.js";
import { clusterFindings } from "../../src/cli/doctor/cluster.js";
import type { Finding } from "../../src/cli/doctor/finding.js";
import { inProcess } from "./cli.js";

const KEY = "a-root-key-of-this-test";

const member = (at: number, more: object = {}) => ({
  ...{ id: `m${at}`, url: `http://lockdb-${at}:5625`, isReady: true, isLeaving: false },
  ...{ isSelf: at === 1, partitions: 128, lastSeenMs: 300, ...more },
});
const etcd = (at: number, more: object = {}) => ({
  ...{ endpoint: `etcd-${at}:2379`, healthy: true, isLeader: at === 1, version: "3.5.17" },
  ...{ dbSizeBytes: 1, error: null, ...more },
});
const partitions = (state: string, count: number) =>
  Array.from({ length: 256 }, (_, id) => ({
    id,
    owner: "m1",
    epoch: 1,
    state: id < count ? state : "served",
  }));
const WELL: ClusterInfo = {
  cluster: "shop",
  members: [member(1), member(2), member(3)],
  partitions: partitions("served", 256),
  etcd: [etcd(1), etcd(2), etcd(3)],
};

/** Status and text of each finding; what is wrong comes with what to do. */
function found(planted: Partial<ClusterInfo>): Readonly<Record<string, string>> {
  const findings = clusterFindings({ ...WELL, ...planted });
  for (const { status, mend } of findings)
    if (status === "warn" || status === "fail") expect(mend).toMatch(/^.{30,}\.$/);
  return Object.fromEntries(findings.map(({ check, status, found: text }) => [check, `${status} ${text}`]));
}

test("[I4ya] doctor finds nothing in a cluster where nothing is wrong, and skips it where there is none", () => {
  expect(found({})).toEqual({
    cluster: "ok 3 members serve all 256 partitions",
    etcd: "ok all 3 members of etcd work",
  });
  expect(found({ cluster: null })).toEqual({ cluster: "skipped the server is in none" });
});

test("[I4yb] doctor tells of a silent member, of partitions that nobody serves, and of a server that is out of its cluster", () => {
  const silent = { members: [member(1), member(2, { lastSeenMs: 3_500 }), member(3)] };
  expect(found(silent).cluster).toBe("warn no sign of life from http://lockdb-2:5625 (3 s)");
  expect(found({ ...silent, partitions: partitions("unowned", 80) }).cluster).toBe(
    "fail nobody serves 80 of 256 partitions; silent: http://lockdb-2:5625 (3 s)",
  );
  expect(found({ partitions: partitions("unowned", 1) }).cluster).toBe(
    "fail nobody serves 1 of 256 partitions",
  );
  expect(found({ members: [], partitions: [] }).cluster).toBe(
    "fail the server that was asked is out of its cluster",
  );
  expect(found({ members: [member(1), member(2, { isReady: false })] }).cluster).toBe(
    "warn not ready: http://lockdb-2:5625",
  );
  expect(found({ partitions: partitions("claiming", 3) }).cluster).toBe(
    "warn 3 of 256 partitions change hands",
  );
  expect(found({ members: [member(1)] }).cluster).toMatch(/^warn .*is the only member/);
});

test("[I4yc] doctor tells of an etcd without a leader, and of one with members that do not work", () => {
  const down = etcd(2, { healthy: false, error: "no connection" });
  expect(found({ etcd: [etcd(1), down, etcd(3)] }).etcd).toBe(
    "warn 1 of 3 members of etcd do not work: etcd-2:2379 (no connection)",
  );
  expect(found({ etcd: [etcd(1, { isLeader: false }), down] }).etcd).toBe(
    "fail etcd has no leader: etcd-2:2379 (no connection)",
  );
});

describe.skipIf(!hasEtcd)("lockdb doctor at a member of a cluster", () => {
  let store: EtcdCluster;
  let server: Server;

  beforeAll(async () => {
    store = await startEtcd({ members: 3 });
    const free = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => free.once("listening", resolve));
    const { port } = free.address() as { port: number };
    await new Promise((resolve) => free.close(resolve));
    server = await serve({ port, store: store.url as "memory", logLevel: "silent", rootKey: KEY });
  });

  afterAll(async () => {
    await server?.close();
    await store?.stop();
  });

  async function doctor(): Promise<Readonly<Record<string, Finding>>> {
    const args = ["doctor", "--json", "--measure", "0s"];
    const { stdout } = await inProcess(args, { LOCKDB_SERVER_URL: server.url, LOCKDB_API_KEY: KEY });
    const findings = stdout.trimEnd().split("\n");
    return Object.fromEntries(findings.map((line) => JSON.parse(line)).map((each) => [each.check, each]));
  }

  test("[I4yd] says that all members of etcd work, and which one does not when one was killed", async () => {
    let well = await doctor();
    // It takes its partitions up one after the other.
    for (const endMs = performance.now() + 10_000; performance.now() < endMs; well = await doctor()) {
      if (!/change hands/.test(well.cluster!.found)) break;
    }
    expect(well.etcd).toMatchObject({ status: "ok", found: "all 3 members of etcd work" });
    expect(well.cluster).toMatchObject({ status: "warn", found: expect.stringMatching(/the only member/) });
    expect(well.disk).toMatchObject({ status: "skipped" });
    const { endpoint } = store.members[1]!;
    await store.members[1]!.kill();
    // Where it was the leader, another one is, soon.
    for (const endMs = performance.now() + 10_000; performance.now() < endMs; ) {
      if (!/no leader/.test((await doctor()).etcd!.found)) break;
    }
    const { etcd: after } = await doctor();
    expect(after).toMatchObject({ status: "warn", mend: expect.stringMatching(/Bring it back/) });
    expect(after!.found).toContain(`1 of 3 members of etcd do not work: ${endpoint} (`);
  });
});
