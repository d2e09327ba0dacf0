import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { StoreFailedError } from "../../src/store/errors.js";
import { openEtcdStore } from "../../src/store/etcd.js";
import { type Etcd, EtcdError, type Txn } from "../../src/store/etcd-api.js";
import { openEtcdClient } from "../../src/store/etcd-client.js";
import type { Store } from "../../src/store/store.js";
import { type EtcdCluster, type EtcdMember, hasEtcd, startEtcd } from "../etcd.js";
import { certFile, keyFile } from "../tls/files.js";
import { put, textByKey } from "./contract.js";

describe.skipIf(!hasEtcd)("three members", () => {
  let cluster: EtcdCluster;
  let etcd: Etcd;
  let folders = 0;
  beforeAll(async () => {
    cluster = await startEtcd({ members: 3 });
    etcd = await openEtcdClient({ endpoints: cluster.endpoints });
  });
  afterAll(async () => {
    etcd.close();
    await cluster.stop();
  });

  async function leader(): Promise<EtcdMember> {
    const at = (await etcd.status()).findIndex(({ isLeader }) => isLeader);
    return cluster.members[at]!;
  }

  async function opened(at: string): Promise<Store> {
    const key = `${at}owner`;
    const value = Buffer.from("owner");
    await txnUntilKnown(etcd, { compare: [], ops: [{ put: key, value }] });
    return openEtcdStore({ etcd, at, guards: [{ key, value }] });
  }

  for (const [name, hurt, heal] of [
    ["killed", (member: EtcdMember) => member.kill(), (member: EtcdMember) => member.restart()],
    ["stopped", (member: EtcdMember) => member.pause(), async (member: EtcdMember) => member.resume()],
  ] as const)
    test(`[R7cf] the leader is ${name} in the midst of commits: each resolves, and is there once`, async () => {
      const at = `/test/${folders++}/`;
      const store = await opened(at);
      const member = await leader();
      let hurting: Promise<void> | null = null;
      for (let number = 0; number < 40; number++) {
        const size = number % 10 === 9 ? 200 : 2;
        const commit = store.commit(
          Array.from({ length: size }, (_, index) => put(`${number}/${index}`, `${number}`)),
        );
        if (number === 15) hurting = hurt(member);
        await commit;
      }
      await hurting;
      expect((await textByKey(store, "")).length).toBe(36 * 2 + 4 * 200);
      await heal(member);
      expect((await textByKey(await opened(at), "")).length).toBe(36 * 2 + 4 * 200);
      await store.close();
    });

  test("[R7cq] without a quorum commits and openings reject in time, and what was acknowledged is there when it is back", async () => {
    const at = `/test/${folders++}/`;
    const store = await opened(at);
    await store.commit([put("a", "acknowledged")]);
    const key = `${at}owner`;
    const [owner] = (await etcd.range({ key })).entries;
    const guards = [{ key, value: owner!.value }];
    const impatient = await openEtcdStore({ etcd, at, guards, patienceMs: 500 });
    const two = cluster.members.slice(0, 2);
    await Promise.all(two.map((member) => member.pause()));
    const failure = await impatient.commit([put("b", "in doubt")]).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(StoreFailedError);
    expect(String(failure)).toContain("unknown until the store is opened anew");
    await expect(openEtcdStore({ etcd, at, guards, patienceMs: 0 })).rejects.toThrow("etcd at ");
    const problems = (await etcd.status({ timeoutMs: 300 })).filter(({ problem }) => problem !== null);
    expect(problems.length).toBeGreaterThanOrEqual(2);
    for (const member of two) member.resume();
    const again = await opened(at);
    const found = await textByKey(again, "");
    expect(found[0]).toEqual(["a", "acknowledged"]);
    expect(found.slice(1)).toEqual(found.length > 1 ? [["b", "in doubt"]] : []);
    await again.commit([put("b", "sure")]);
    expect(await textByKey(again, "b")).toEqual([["b", "sure"]]);
  });

  test("[R7cu] what is sent to a member that is stopped is unknown; what cannot be sent was not applied", async () => {
    const txn: Txn = { compare: [], ops: [{ put: "/test/x", value: Buffer.from("x") }] };
    const [first] = cluster.members;
    const one = await openEtcdClient({ endpoints: [first!.endpoint] });
    await txnUntilKnown(one, txn);
    await first!.pause();
    const outcome = await one.txn(txn, { timeoutMs: 200 });
    expect(outcome.kind).toBe("unknown");
    // Another connection to it cannot even be made.
    const cold = await openEtcdClient({ endpoints: [first!.endpoint] });
    expect((await cold.txn(txn, { timeoutMs: 200 })).kind).toBe("not-applied");
    first!.resume();
    cold.close();
    one.close();
    const nobody = await openEtcdClient({ endpoints: ["127.0.0.1:1", "no-such-host.invalid:2379"] });
    expect((await nobody.txn(txn)).kind).toBe("not-applied");
    await expect(nobody.range({ key: "/test/x" })).rejects.toThrow(EtcdError);
    nobody.close();
    const beside = await openEtcdClient({ endpoints: ["127.0.0.1:1", ...cluster.endpoints] });
    expect(["applied", "unknown"]).toContain((await beside.txn(txn)).kind);
    beside.close();
  });

  test("[R7cr] what etcd refuses was not applied, and another try does not help", async () => {
    const twice = { put: "/test/x", value: Buffer.from("x") };
    const large = { put: "/test/x", value: Buffer.alloc(1_800_000) };
    for (const ops of [
      [twice, twice],
      [large],
      Array.from({ length: 129 }, (_, index) => ({ ...twice, put: `/test/${index}` })),
    ]) {
      const outcome = await etcd.txn({ compare: [], ops });
      expect(outcome.kind).toBe("not-applied");
      expect("error" in outcome && outcome.error.isTransient).toBe(false);
    }
  });

  test("[R7ch] a watch tells of changes, and again when its member is gone", async () => {
    let hints = 0;
    let onHint = () => {};
    const next = () =>
      new Promise<void>((resolve) => {
        const before = hints;
        onHint = () => hints > before && resolve();
      });
    const first = next();
    const end = etcd.watch("/test/watched/", () => {
      hints++;
      onHint();
    });
    await first;
    const changed = next();
    await txnUntilKnown(etcd, { compare: [], ops: [{ put: "/test/watched/x", value: Buffer.from("x") }] });
    await changed;
    const anew = next();
    const member = cluster.members[0]!;
    const others = cluster.members.slice(1);
    for (const each of cluster.members) await each.kill();
    await Promise.all([member, ...others].map((each) => each.restart()));
    await anew;
    end();
  });
});

describe.skipIf(!hasEtcd)("the way to etcd", () => {
  test("[R7cs] over TLS, with a certificate of its own", async () => {
    const tls = { ca: certFile("ca"), cert: certFile("server"), key: keyFile("server") };
    const cluster = await startEtcd({ tls });
    const own = { ca: certFile("ca"), cert: certFile("client"), key: keyFile("client") };
    const { endpoints } = cluster;
    const etcd = await openEtcdClient({ endpoints, tls: own });
    const txn: Txn = { compare: [], ops: [{ put: "/x", value: Buffer.from("x") }] };
    expect((await etcd.txn(txn)).kind).toBe("applied");
    expect((await etcd.status())[0]).toMatchObject({ problem: null, isLeader: true });
    etcd.close();
    for (const bad of [undefined, { ...own, ca: certFile("other-ca") }]) {
      const refused = await openEtcdClient({ endpoints, ...(bad && { tls: bad }) });
      expect((await refused.txn(txn, { timeoutMs: 500 })).kind).not.toBe("applied");
      refused.close();
    }
    await cluster.stop();
  });

  test("[R7ct] with a password: its token is fetched anew when etcd has forgotten it", async () => {
    const cluster = await startEtcd();
    const ask = async (path: string, body: object) => {
      const answer = await fetch(`http://${cluster.endpoints[0]}/v3/auth/${path}`, {
        method: "POST",
        body: JSON.stringify(body),
      });
      expect(`${path} ${answer.status}`).toBe(`${path} 200`);
    };
    await ask("user/add", { name: "root", password: "secret" });
    await ask("role/add", { name: "root" });
    await ask("user/grant", { user: "root", role: "root" });
    await ask("enable", {});
    const { endpoints } = cluster;
    const txn: Txn = { compare: [], ops: [{ put: "/x", value: Buffer.from("x") }] };
    const etcd = await openEtcdClient({ endpoints, user: { name: "root", password: "secret" } });
    expect((await etcd.txn(txn)).kind).toBe("applied");
    await cluster.members[0]!.restart();
    await txnUntilKnown(etcd, txn);
    expect((await etcd.range({ key: "/x" })).entries.length).toBe(1);
    etcd.close();
    for (const user of [undefined, { name: "root", password: "wrong" }]) {
      const stranger = await openEtcdClient({ endpoints, ...(user && { user }) });
      const outcome = await stranger.txn(txn);
      expect(outcome.kind).toBe("not-applied");
      await expect(stranger.range({ key: "/x" })).rejects.toThrow(EtcdError);
      stranger.close();
    }
    await cluster.stop();
  });
});

async function txnUntilKnown(etcd: Etcd, txn: Txn): Promise<number> {
  for (;;) {
    const outcome = await etcd.txn(txn);
    if (outcome.kind === "applied") return outcome.revision;
  }
}
