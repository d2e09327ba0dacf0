import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { inProcess, servedCli } from "./cli.js";

const on = servedCli();

/** What a server of a cluster would answer. */
let answer: object = {};
const server = createServer((_request, response) => {
  response.setHeader("content-type", "application/json").end(JSON.stringify(answer));
});

beforeAll(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve)));
afterAll(() => void server.close());

function status(...args: string[]) {
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return inProcess(["cluster", "status", ...args], { LOCKDB_SERVER_URL: url, LOCKDB_API_KEY: "key" });
}

const member = (at: number, more: object = {}) => ({
  id: `m${at}`,
  url: `https://lockdb-${at}:5625`,
  isReady: true,
  isLeaving: false,
  isSelf: at === 1,
  partitions: 2,
  lastSeenMs: 300,
  ...more,
});
const etcd = (at: number, more: object = {}) => ({
  endpoint: `https://etcd-${at}:2379`,
  healthy: true,
  isLeader: at === 1,
  version: "3.5.17",
  dbSizeBytes: 3_145_728,
  error: null,
  ...more,
});
const served = [0, 1, 2, 3].map((id) => ({ id, owner: `m${1 + (id % 2)}`, epoch: 1, state: "served" }));
const WELL = {
  cluster: "shop",
  members: [member(1), member(2)],
  partitions: served,
  etcd: [etcd(1), etcd(2)],
};

test("[I4zca] cluster status shows who serves what and how etcd is, and exits 0 when all is well", async () => {
  answer = WELL;
  const { code, stdout } = await status();
  expect(code ?? 0).toBe(0);
  expect(stdout.split("\n")).toEqual([
    "MEMBER\tURL\tSTATE\tSERVES\tSEEN",
    "m1\thttps://lockdb-1:5625\tready\t2\titself",
    "m2\thttps://lockdb-2:5625\tready\t2\t300 ms ago",
    "",
    "ETCD\tSTATE\tLEADER\tVERSION\tSIZE",
    "https://etcd-1:2379\thealthy\tleader\t3.5.17\t3.0 MiB",
    "https://etcd-2:2379\thealthy\t-\t3.5.17\t3.0 MiB",
    "",
    "All is well: 2 members serve all 4 partitions of shop.",
    "",
  ]);
  expect(JSON.parse((await status("--json")).stdout)).toEqual({ ...WELL, problems: [] });
});

test.each([
  [
    "a member that is not ready",
    { members: [member(1), member(2, { isReady: false })] },
    "lockdb-2:5625 is not ready",
  ],
  [
    "services that nobody serves",
    { partitions: [...served, { id: 4, owner: null, epoch: 7, state: "unowned" }] },
    "1 of 5 partitions are not served: 4 (unowned).",
  ],
  [
    "a member of etcd that is gone",
    { etcd: [etcd(1), etcd(2, { healthy: false, error: "gone" })] },
    "etcd-2:2379: gone",
  ],
  ["no leader", { etcd: [etcd(2)] }, "etcd has no leader"],
  ["nobody", { members: [] }, "There is no member"],
])("[I4zcb] cluster status exits 1 for %s, and says so", async (_what, wrong, said) => {
  answer = { ...WELL, ...wrong };
  const { code, stdout, stderr } = await status();
  expect([code, stderr]).toEqual([1, ""]);
  expect(stdout).toMatch(/^WRONG: /m);
  expect(stdout).toContain(said);
  const json = await status("--json");
  expect(json.code).toBe(1);
  expect(JSON.parse(json.stdout).problems.join()).toContain(said);
});

test("[I4zcc] what comes from a server steers no terminal", async () => {
  answer = { ...WELL, cluster: "\u001b[2Jshop", members: [member(1, { url: "\u001b[2J" })] };
  expect((await status()).stdout).not.toContain("\u001b");
});

test("[I4zcd] a server by itself says that it is in no cluster", async () => {
  const { code, stdout } = await inProcess(["cluster", "status"], {
    LOCKDB_SERVER_URL: on.env.LOCKDB_SERVER_URL!,
    LOCKDB_API_KEY: on.env.LOCKDB_API_KEY!,
  });
  expect(code ?? 0).toBe(0);
  expect(stdout).toContain("This server is in no cluster.");
});
