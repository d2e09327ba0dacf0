import { beforeEach, expect, test } from "vitest";
import { layoutOf } from "../../src/cluster/layout.js";
import {
  type Fenced,
  fencedBy,
  type Part,
  readParts,
  readThrough,
  redoPart,
} from "../../src/cluster/part.js";
import { partitionOf } from "../../src/cluster/partitions.js";
import { fenceKey, ownerKey, written } from "../../src/cluster/records.js";
import { Words } from "../../src/cluster/words.js";
import { openEtcdStore } from "../../src/store/etcd.js";
import { CODE, type Etcd, EtcdError, type Op, type Txn } from "../../src/store/etcd-api.js";
import { type Change, encodeRecord } from "../../src/store/index.js";
import { DamagedRecordError } from "../../src/store/records.js";
import { MemoryEtcd } from "../store/memory-etcd.js";
import { AT, turns } from "./world.js";

const words = new Words(AT);
const KEEPERS = serviceIn(0);
const OTHER = serviceIn(9);

let etcd: MemoryEtcd;
let next: Fenced;
beforeEach(async () => {
  etcd = new MemoryEtcd();
  await apply(...["former", "next"].map((id) => words.put(written(fenceKey(id), { member: id }))));
  next = fencedBy(etcd.client(), words, "next");
});

const apply = (...ops: Op[]) => etcd.client().txn({ compare: [], ops });
const record = (key: string, value = "x"): Change => ({ key, value: encodeRecord(key, { value }) });
const sessionOf = (service: string, at: number) =>
  record(`default/service/${service}/session/${String(at).padStart(3, "0")}`);
const isHead = ({ ops }: Txn) => ops.some((op) => "put" in op && op.put === `${AT}head/former`);

/** A service of that partition. */
function serviceIn(partition: number): string {
  for (let at = 0; ; at++) if (partitionOf("default", `s${at}`) === partition) return `s${at}`;
}

async function stored() {
  const client = etcd.client();
  const guards = [
    { key: `${AT}${fenceKey("former")}`, value: written(fenceKey("former"), { member: "former" }).value },
  ];
  return { client, store: await openEtcdStore({ etcd: client, at: AT, guards, layout: layoutOf("former") }) };
}

/** Two owners, and what belongs to them and to all: more than one transaction takes. Its member dies when the batch counts. */
async function diedInBatch(changes: readonly Change[]): Promise<void> {
  const { client, store } = await stored();
  let heads = 0;
  etcd.fate = (txn) => {
    if (!isHead(txn) || ++heads > 1) return "answered";
    client.die();
    return "lost";
  };
  void store.commit(changes);
  for (let at = 0; heads === 0 && at < 50; at++) await turns();
  expect(heads).toBe(1);
  etcd.fate = () => "answered";
  await apply(words.delete(fenceKey("former")));
}

const sessions = (service: string) => Array.from({ length: 150 }, (_, at) => sessionOf(service, at));

async function countOf(service: string): Promise<number> {
  const name = partitionOf("default", service).toString(16).padStart(2, "0");
  const [part] = await readParts(next, [`data/${name}/`]);
  return (part as Part).services[0]?.records.length ?? 0;
}

const ownerOf = async (partition: number, epoch: number) => {
  const owner = written(ownerKey(partition), { member: "next", epoch, leaseMs: 0, redo: ["former"] });
  await apply(words.put(owner));
  return words.is(owner.key, owner.value);
};

test("[R1qa] whoever takes a partition brings its part of a batch to its end that counts, and nothing of others", async () => {
  await diedInBatch([...sessions(OTHER), ...sessions(KEEPERS)]);
  expect([await countOf(OTHER), await countOf(KEEPERS)]).toEqual([0, 0]);
  const owner = await ownerOf(9, 3);
  await redoPart(next, { former: "former", partition: 9, owner, name: "redo" });
  expect([await countOf(OTHER), await countOf(KEEPERS)]).toEqual([150, 0]);
});

test("[R1qb] whoever comes to keep what all members share brings that to its end, and others read it anew", async () => {
  const keys = Array.from({ length: 5 }, (_, at) => record(`default/key/${at}`));
  await diedInBatch([...keys, ...sessions(OTHER)]);
  await redoPart(next, { former: "former", partition: 9, owner: await ownerOf(9, 3), name: "redo" });
  const common = async () => ((await readParts(next, ["data/common/"]))[0] as Part).outside.length;
  expect(await common()).toBe(0);
  await redoPart(next, { former: "former", partition: 0, owner: await ownerOf(0, 3), name: "redo" });
  expect(await common()).toBe(5);
  const { entries } = await etcd.client().range({ key: `${AT}version/common` });
  expect(entries[0]?.value.toString()).toBe("redo/0");
});

test("[R1qc] nothing of it comes to a partition that is served by now, however late", async () => {
  await diedInBatch(sessions(OTHER));
  const owner = await ownerOf(9, 3);
  await ownerOf(9, 4);
  await expect(redoPart(next, { former: "former", partition: 9, owner, name: "redo" })).rejects.toThrow();
  expect(await countOf(OTHER)).toBe(0);
});

test("[R3qi] a hand-over in pieces says last who serves a partition, in one transaction with the end of the batch", async () => {
  const { store } = await stored();
  const owners = Array.from({ length: 48 }, (_, at) =>
    record(`default/owner/${at.toString(16).padStart(2, "0")}`),
  );
  for (const count of [100, 130, 300]) {
    const first = etcd.txns.length;
    await store.commit([...Array.from({ length: count }, (_, at) => sessionOf(OTHER, at)), ...owners]);
    const isOwner = ({ ops }: Txn) =>
      ops.some((op) => "put" in op && String(op.put).startsWith(`${AT}owner/`));
    const txns = etcd.txns.slice(first);
    expect(txns.filter(isOwner)).toEqual([txns.at(-1)]);
    expect(isHead(txns.at(-1)!)).toBe(true);
  }
});

test("[R1qd] whoever takes a partition brings what was written of it in the audit log to its end, too (A7)", async () => {
  const acts = Array.from({ length: 3 }, (_, at) => record(`default/audit/2026-01-01T00:00:00.00${at}Z`));
  await diedInBatch([...sessions(OTHER), ...acts]);
  await redoPart(next, { former: "former", partition: 9, owner: await ownerOf(9, 3), name: "redo" });
  expect(((await readParts(next, ["data/audit/"]))[0] as Part).outside.length).toBe(3);
});

test("[R9qa] a damaged record is told of its own partition, and of no other", async () => {
  await apply({ put: `${AT}data/09/default/service/x/session/1`, value: Buffer.from("damaged") });
  const [damaged, other] = await readParts(next, ["data/09/", "data/0a/"]);
  expect(damaged).toBeInstanceOf(DamagedRecordError);
  expect((other as Part).size).toBe(0);
});

test("[R3qj] what is behind the first page may be too large for an answer, and is read in smaller pages", async () => {
  for (let at = 0; at < 40; at++)
    await apply({ put: `${AT}data/0b/${String(at).padStart(2, "0")}`, value: Buffer.from("x") });
  const limited: Etcd = {
    ...etcd.client(),
    txn: async (txn) => {
      const wants = txn.ops.flatMap((op) => ("get" in op ? [op.limit ?? 0] : []));
      const isFirst = txn.ops.some((op) => "get" in op && String(op.get).endsWith("data/0b/"));
      if (!isFirst && wants.some((limit) => limit > 2))
        return { kind: "not-applied", error: new EtcdError(CODE.RESOURCE_EXHAUSTED, "too large", "here") };
      return etcd.client().txn(txn);
    },
  };
  const [part] = await readThrough({ ...next, etcd: limited }, ["data/0b/"], 20);
  expect(part!.length).toBe(40);
});
