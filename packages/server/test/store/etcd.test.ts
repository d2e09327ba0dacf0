import { afterAll, beforeAll, describe } from "vitest";
import { type Guard, openEtcdStore } from "../../src/store/etcd.js";
import type { Etcd } from "../../src/store/etcd-api.js";
import { openEtcdClient } from "../../src/store/etcd-client.js";
import { type EtcdCluster, hasEtcd, startEtcd } from "../etcd.js";
import { storeContract } from "./contract.js";

describe.skipIf(!hasEtcd)("on one member", () => {
  let cluster: EtcdCluster;
  let etcd: Etcd;
  let stores = 0;
  beforeAll(async () => {
    cluster = await startEtcd();
    etcd = await openEtcdClient({ endpoints: cluster.endpoints });
  });
  afterAll(async () => {
    etcd.close();
    await cluster.stop();
  });

  async function guardAt(key: string): Promise<Guard> {
    const value = Buffer.from("owner");
    const outcome = await etcd.txn({ compare: [], ops: [{ put: key, value }] });
    if (outcome.kind !== "applied") throw new Error(outcome.kind);
    return { key, value };
  }

  storeContract("etcd", async () => {
    const at = `/test/${stores++}/`;
    return openEtcdStore({ etcd, at, guards: [await guardAt(`${at}owner`)] });
  });
});
