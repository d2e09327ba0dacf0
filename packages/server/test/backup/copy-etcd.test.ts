import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { moveStore } from "../../src/backup/copy.js";
import { inEtcd, type Place, placeOf } from "../../src/backup/places.js";
import { ClusterAtRest } from "../../src/cluster/index.js";
import type { Etcd, Txn } from "../../src/store/etcd-api.js";
import { openDiskStore } from "../../src/store/index.js";
import { AT, change, Data, holdUntil, keyOf, recordsOf, serviceIn } from "../cluster/data.js";
import { turns, World } from "../cluster/world.js";
import { newFolder } from "../store/folders.js";
import type { MemoryEtcd } from "../store/memory-etcd.js";
import { entriesOf, RECORDS, recordsIn } from "./backups.js";

const OTHER = "/other/";
const SERVICE = serviceIn(9);

let world: World;
let etcd: MemoryEtcd;
let data: Data;
let nowMs: number;
let onWait: () => Promise<void>;
beforeEach(() => {
  world = new World();
  etcd = world.etcd;
  data = new Data(etcd);
  nowMs = 0;
  onWait = async () => {};
});

const pause = {
  monotonicMs: () => nowMs,
  wait: async (ms: number) => {
    nowMs += ms;
    await onWait();
  },
};

async function atRest(at = AT, client: Etcd = etcd.client()): Promise<ClusterAtRest> {
  return ClusterAtRest.open({ etcd: client, at, name: `etcd://memory${at.slice(0, -1)}`, pause });
}

const place = async (at = AT, client?: Etcd): Promise<Place> => inEtcd(await atRest(at, client));

/** A cluster with a service on a clock of its own, and a token that nobody may get again. */
async function filled(): Promise<void> {
  const ceiling = change(keyOf(SERVICE, "ceiling/"), { tokens: 100_008, tickets: 4 });
  await data.wrote("m1", 700, [
    holdUntil(SERVICE, 7, 31_000),
    ceiling,
    change("default/key/x", { hash: "x" }),
  ]);
  await data.owner(9, { member: "m1", epoch: 3, offsetMs: 300 });
}

/** Whether a member can join. */
async function starts(at: string): Promise<boolean> {
  const { member } = world.member("http://new", { at });
  try {
    await (await member.openStore()).close();
    return true;
  } catch (error) {
    expect((error as Error).message).toMatch(/was moved to|is not whole/);
    return false;
  } finally {
    await member.close();
  }
}

const folderWith = async (): Promise<string> => {
  const folder = newFolder();
  const store = await openDiskStore(folder);
  await store.commit(entriesOf(RECORDS));
  await store.close();
  return folder;
};

describe("a store that is moved into etcd", () => {
  test("[F3wd] and back has all of its records, and only the newest one starts", async () => {
    const from = await folderWith();
    const back = join(newFolder(), "back");
    const [first, last] = [await placeOf(from), await placeOf(back)];
    expect(await moveStore(first, await place())).toMatchObject({ kind: "moved", from, records: 22 });
    await expect(openDiskStore(from)).rejects.toThrow(/was moved to "etcd:\/\/memory\/test"/);
    expect(await world.keys("mark/")).toEqual([]);
    expect(await world.keys("owner/")).toHaveLength(256);
    expect(await moveStore(await place(), last)).toMatchObject({ kind: "moved", to: back, records: 22 });
    expect(await recordsIn(back)).toEqual(RECORDS);
    expect(await starts(AT)).toBe(false);
    await expect(moveStore(await place(), await place(OTHER))).rejects.toThrow(
      `The cluster "test" was moved to "${back}"`,
    );
  });

  test("[R6we] goes on from its lease time, in each partition, and its first member serves all of them", async () => {
    await moveStore(await placeOf(await folderWith()), await place());
    const one = world.member("http://one");
    one.leaseMs = 40;
    await one.join();
    one.start();
    await world.pass(3_000);
    expect(one.serves).toBe(256);
    expect(new Set(one.taken.map(({ offsetMs }) => offsetMs))).toEqual(new Set([5_000 - 40]));
    expect(await world.keys("version/")).toEqual(["version/common"]);
  });

  test("[F3we] begins nothing where something is", async () => {
    await filled();
    const from = await folderWith();
    await expect(moveStore(await placeOf(from), await place())).rejects.toThrow(
      /The cluster "test" is not empty: "clock\/m1" is in it\..*etcdctl del --prefix \/test\//,
    );
    expect(await recordsIn(from)).toEqual(RECORDS);
    expect(await starts(AT)).toBe(true);
  });
});

describe("a cluster that is moved", () => {
  test("[F3wf] is refused while a member lives there, which is named, and both stay as they are", async () => {
    await filled();
    const one = world.member("http://one");
    await one.join();
    one.start();
    onWait = () => world.pass(600);
    await expect(moveStore(await place(), await place(OTHER))).rejects.toThrow(
      "is in use by its member http://one. Stop all of its members first",
    );
    expect(await world.keys("mark/")).toEqual(["mark/joined"]);
    expect(await world.keys("member/")).toHaveLength(1);
    expect(await starts(OTHER)).toBe(true);
  });

  test("[F3wg] waits for the lease of members that were killed, and fences them as others would", async () => {
    await filled();
    await data.joined("killed");
    const startMs = nowMs;
    await moveStore(await place(), await place(OTHER));
    expect(nowMs - startMs).toBeGreaterThanOrEqual(5_500);
    expect([...(await world.keys("fence/")), ...(await world.keys("member/"))]).toEqual([]);
  });

  test("[F3wh] comes to nothing when a member joins in the middle of it, though it has left again by then", async () => {
    await filled();
    const source = await atRest();
    const snapshot = await source.read();
    expect(await recordsOf(snapshot)).toMatchObject({ [keyOf(SERVICE, "hold/7")]: { expiresAtMs: 31_000 } });
    expect(await starts(AT)).toBe(true);
    const mark = { id: "x", other: "y", at: "2027" };
    await expect(source.markMoved(mark)).rejects.toThrow(/A member has joined the cluster/);
    await expect(recordsOf(snapshot)).rejects.toThrow(/A member has joined/);
    // A member that comes as it is read: the target is empty again, and may be used.
    const target = await place(OTHER);
    let joins = 0;
    etcd.fate = ({ ops }) => {
      if (ops.some((op) => "put" in op && op.put === `${OTHER}owner/00`) && joins++ === 0) void starts(AT);
      return "answered";
    };
    await expect(moveStore(await place(), target)).rejects.toThrow(/A member has joined/);
    etcd.fate = () => "answered";
    const { entries } = await etcd.client().range({ key: OTHER, end: "/other0" });
    expect(entries).toEqual([]);
    await turns();
    expect(await starts(AT)).toBe(true);
    expect(await moveStore(await place(), await place(OTHER))).toMatchObject({ records: 4 });
  });

  test("[F3wo] comes to nothing when a member joins between the look for members and the beginning of the copy", async () => {
    await filled();
    const isLook = ({ ops }: Txn) => ops.some((op) => "get" in op && op.get === `${AT}mark/joined`);
    etcd.fate = (txn) => {
      if (isLook(txn)) void data.joined("late");
      return "answered";
    };
    await expect(moveStore(await place(), await place(OTHER))).rejects.toThrow(/A member has joined/);
    expect(await world.keys("mark/")).toEqual([]);
    expect(await starts(OTHER)).toBe(true);
  });

  test("[F3wi] two copies at once: one of them comes to its end", async () => {
    await filled();
    const sources = [await place(), await place()];
    const targets = [await place(OTHER), await place("/third/")];
    const both = await Promise.allSettled(sources.map((source, at) => moveStore(source, targets[at]!)));
    expect(both.filter(({ status }) => status === "fulfilled").length).toBeLessThan(2);
    const starting = [AT, OTHER, "/third/"];
    let count = 0;
    for (const at of starting) if (await hasData(at)) count += (await starts(at)) ? 1 : 0;
    expect(count).toBe(1);
  });

  test("[F3wj] however it ends, at each of its transactions, at most one of the two starts, and all that was there is there; the same command ends it or says what to do", async () => {
    const outcomes = new Set<string>();
    // One that never comes is one that comes very late.
    for (const fate of ["lost", "late"] as const) {
      for (let crashAt = 1; ; crashAt++) {
        world = new World();
        etcd = world.etcd;
        data = new Data(etcd);
        await filled();
        const clients = [etcd.client(), etcd.client()];
        const first = etcd.txns.length;
        let hasCrashed = false;
        etcd.fate = () => {
          if (hasCrashed || etcd.txns.length - first < crashAt) return "answered";
          hasCrashed = true;
          for (const client of clients) client.die();
          return fate;
        };
        const moving = (async () => moveStore(await place(AT, clients[0]), await place(OTHER, clients[1])))();
        const isOver = await Promise.race([
          moving.then(() => true),
          until(() => hasCrashed).then(() => false),
        ]);
        etcd.fate = () => "answered";
        if (isOver) break;
        const before = await whatStarts();
        const again = await moveStore(await place(), await place(OTHER)).then(
          () => "ended",
          (error: Error) =>
            /was moved to|is not empty|is not whole/.exec(error.message)?.[0] ?? error.message,
        );
        etcd.applyLate();
        const after = await whatStarts();
        outcomes.add(`${before} ${again} ${after}`);
      }
    }
    expect([...outcomes].sort()).toEqual([
      "/other/ was moved to /other/",
      "/test/ ended /other/",
      "/test/ is not empty /test/",
      "none ended /other/",
    ]);
  });

  test("[F3wk] a transaction that comes late, of a copy that was given up, marks nothing", async () => {
    await filled();
    const source = await atRest();
    await source.read();
    etcd.fate = ({ ops }) =>
      ops.some((op) => "put" in op && op.put === `${AT}mark/moved`) ? "late" : "answered";
    await expect(source.markMoved({ id: "1", other: "x", at: "2027" })).rejects.toThrow(/did not answer/);
    etcd.fate = () => "answered";
    const second = await atRest();
    const snapshot = await second.read();
    etcd.applyLate();
    expect(await recordsOf(snapshot)).toHaveProperty(["default/key/x"]);
    await second.markMoved({ id: "2", other: "y", at: "2027" });
    expect(await world.value("mark/moved")).toMatch(/"id":"2"/);
  });
});

async function hasData(at: string): Promise<boolean> {
  const { entries } = await etcd.client().range({ key: `${at}data/`, end: `${at}data0` });
  return entries.length > 0;
}

/** Which of the two has the records, whole, and lets a member in. */
async function whatStarts(): Promise<string> {
  const found: string[] = [];
  for (const at of [AT, OTHER]) {
    if (!(await hasData(at)) || !(await starts(at))) continue;
    found.push(at);
    const records = await recordsOf(await (await atRest(at)).look());
    expect(records).toMatchObject({
      "default/clock": { nowMs: 1_000 },
      "default/key/x": { hash: "x" },
      [keyOf(SERVICE, "ceiling/")]: { tokens: 100_008 },
      [keyOf(SERVICE, "hold/7")]: { expiresAtMs: 31_000 },
    });
  }
  expect(found.length).toBeLessThan(2);
  return found[0] ?? "none";
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await turns();
}
