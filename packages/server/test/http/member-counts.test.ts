/** What a member says of itself: readiness, what it counts, and when it tells of changes. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { ClusterTotals } from "../../src/cluster/index.js";
import { Api } from "./api.js";
import { Members } from "./members.js";
import { helloOf, NativeClient } from "./server.js";

let members: Members;
let api: Api;

beforeEach(async () => {
  members = await Members.start(2, { isPlaced: true });
  api = new Api(members.all[1]!);
});

afterEach(() => members.close());

test("[I6yb] requests that are passed on, and clients that are led elsewhere, are counted where they came; etcd is asked at each scrape", async () => {
  const etcdMembers = { up: 2, down: 1 };
  const seen = { members: [], partitions: [{ id: 0, owner: null, epoch: 0, state: "unowned" }] };
  const meter = {
    totals: new ClusterTotals(),
    beatAgeMs: 250,
    seen: () => seen,
    etcdMembers: async () => etcdMembers,
  };
  await members.close();
  members = await Members.start(2, { isPlaced: true, meter });
  api = new Api(members.all[1]!);
  const numbers = async () => {
    const text = (await api.get("/metrics")).body as string;
    return Object.fromEntries(
      [
        ...text.matchAll(/^lockdb_((?:requests_passed|clients_moved|etcd_members|cluster_p)\S*) (\d+)$/gm),
      ].map(([, name, value]) => [name, Number(value)]),
    );
  };
  const before = await numbers();
  expect(before).toMatchObject({
    'requests_passed_on_total{how="answered"}': 0,
    'requests_passed_on_total{how="unsent"}': 0,
    clients_moved_total: 0,
    'etcd_members{state="up"}': 2,
    'etcd_members{state="down"}': 1,
    'cluster_partitions{state="unowned"}': 1,
    'cluster_partitions{state="served"}': 0,
  });
  expect((await api.acquire("disk")).status).toBe(200);
  const client = await NativeClient.open(members.all[1]!);
  client.send(helloOf(), ["sync"]);
  await client.next("moved");
  expect(await numbers()).toMatchObject({
    'requests_passed_on_total{how="answered"}': 1,
    clients_moved_total: 1,
  });
  members.all[1]!.cluster.patienceMs = 100;
  await members.all[0]!.close();
  expect((await api.get("/locks/disk")).status).toBe(503);
  expect((await numbers())['requests_passed_on_total{how="unsent"}']).toBeGreaterThan(0);
  members.all.shift();
});

test("[I6yg] a member that is out of its cluster is not ready, and says why; it lives on", async () => {
  const { cluster } = members.all[1]!;
  const states = async () => {
    const [ready, live] = await Promise.all([api.get("/readyz"), api.get("/livez")]);
    return [ready.status, ready.body, live.status];
  };
  expect(await states()).toEqual([200, "ok\n", 200]);
  cluster.problem = "a test wants it so";
  expect(await states()).toEqual([
    503,
    "not ready: this member is out of its cluster: a test wants it so\n",
    200,
  ]);
});

test("[A2yd] whoever changes keys through another member is answered when that one knows it, or after a second; whoever looks, at once", async () => {
  const { cluster } = members.all[1]!;
  let asked = 0;
  let caughtUp = () => {};
  cluster.caughtUp = () => {
    asked++;
    return new Promise((resolve) => {
      caughtUp = resolve;
    });
  };
  expect((await api.get("/v1/keys")).status).toBe(200);
  expect((await api.acquire("disk")).status).toBe(200);
  expect((await api.post("/v1/keys", { scopes: ["nothing"] })).status).toBe(400);
  expect(asked).toBe(0);
  let isAnswered = false;
  const answer = api.post("/v1/keys", { scopes: ["lock"] }).then((each) => {
    isAnswered = true;
    return each;
  });
  while (asked === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(isAnswered).toBe(false);
  caughtUp();
  expect((await answer).status).toBe(201);
  // Nobody says that it has caught up.
  expect((await api.post("/v1/keys", { scopes: ["lock"] })).status).toBe(201);
  expect(asked).toBe(2);
});
