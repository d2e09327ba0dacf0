import { request } from "node:https";
import { createServer } from "node:net";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { partitionOf } from "../../src/cluster/index.js";
import { type Server, serve } from "../../src/index.js";
import { CANARY_KEY } from "../canary.js";
import { type EtcdCluster, hasEtcd, startEtcd } from "../etcd.js";
import { certFile, keyFile, showing, TLS } from "../tls/files.js";

interface Status {
  readonly members: readonly { readonly id: string; readonly isSelf: boolean; readonly partitions: number }[];
  readonly partitions: readonly { readonly owner: string | null; readonly state: string }[];
}

interface Answer {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: whatever the API answers.
  readonly body: any;
}

async function ask(
  server: Server,
  method: string,
  path: string,
  body?: object,
  key = CANARY_KEY,
): Promise<Answer> {
  const answer = await fetch(`${server.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${key}` },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  return { status: answer.status, body: text.startsWith("{") ? JSON.parse(text) : text };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  for (const endMs = performance.now() + 15_000; !(await isSo()); await setTimeout(50))
    if (performance.now() > endMs) throw new Error("it does not come to be so");
}

describe.skipIf(!hasEtcd)("accounts at two members", () => {
  let etcd: EtcdCluster;
  let servers: Server[];
  /** Services of an account, some that each member serves. */
  let served: (account: string) => Promise<readonly (readonly string[])[]>;

  beforeAll(async () => {
    etcd = await startEtcd();
    const member = async () =>
      serve({ port: await freePort(), store: etcd.url as "memory", logLevel: "silent", rootKey: CANARY_KEY });
    servers = [await member(), await member()];
    const states = () =>
      Promise.all(servers.map(async (server) => (await ask(server, "GET", "/v1/cluster")).body as Status));
    await until(async () =>
      (await states()).every(
        ({ members, partitions }) =>
          members.length === 2 &&
          members.every((each) => each.partitions > 0) &&
          partitions.every(({ state }) => state === "served"),
      ),
    );
    served = async (account) => {
      const all = await states();
      const ids = all.map(({ members }) => members.find(({ isSelf }) => isSelf)!.id);
      const names = Array.from({ length: 40 }, (_, at) => `service${at}`);
      return ids.map((id) =>
        names.filter((name) => all[0]!.partitions[partitionOf(account, name)]!.owner === id),
      );
    };
  });

  afterAll(async () => {
    // Without an etcd they would wait for it.
    await etcd?.members[0]?.restart();
    await Promise.all((servers ?? []).map((server) => server.close()));
    await etcd?.stop();
  });

  async function account(limits: object): Promise<{ readonly id: string; readonly key: string }> {
    const { body } = await ask(servers[0]!, "POST", "/v1/accounts", { email: "dev@example.com" });
    const { id } = body.account;
    expect((await ask(servers[0]!, "PATCH", `/v1/accounts/${id}`, { limits })).status).toBe(200);
    // Both know it: what the keeper says is not asked.
    for (const server of servers)
      await until(async () => {
        const { body: self } = await ask(server, "GET", "/v1/self", undefined, body.apiKey);
        return self.account?.limits.holds === 4;
      });
    return { id, key: body.apiKey };
  }

  const acquire = (key: string, service: string, name: string) =>
    ask(
      servers[0]!,
      "POST",
      `/v1/services/${service}/acquire`,
      { names: name, waitMs: 0, leaseMs: 60_000 },
      key,
    );

  const release = (key: string, service: string, token: number) =>
    ask(servers[1]!, "POST", `/v1/services/${service}/release`, { token }, key);

  test("[A5yi] the holds of an account are counted over both members, and what is given back at one there is room for at the other", async () => {
    const { id, key } = await account({ holds: 4 });
    const [[here], [there]] = (await served(id)) as [[string], [string]];
    const tokens: number[] = [];
    for (const name of ["a", "b", "c", "d"]) tokens.push((await acquire(key, here, name)).body.token);
    // The other one has heard of them within a beat of each.
    await until(async () => {
      const { status, body } = await acquire(key, there, "e");
      if (status === 200) await release(key, there, body.token);
      else expect([status, body.error.code]).toEqual([429, "LIMIT_EXCEEDED"]);
      return status === 429;
    });
    expect((await release(key, here, tokens[0]!)).body).toEqual({ released: true });
    await until(async () => (await acquire(key, there, "e")).status === 200);
    expect((await acquire(key, there, "f")).status).toBe(429);
    expect((await ask(servers[1]!, "GET", `/v1/accounts/${id}`)).body.use).toMatchObject({ holds: 4 });
  });

  test("[A2yc] a key works at the member where it was made as soon as that answers, and no more as soon as it was revoked there", async () => {
    for (let round = 0; round < 6; round++) {
      // One of them keeps the keys, and the other passes this on.
      const server = servers[round % 2]!;
      const made = await ask(server, "POST", "/v1/keys", { name: "new", scopes: ["lock"] });
      expect(made.status).toBe(201);
      const self = () => ask(server, "GET", "/v1/self", undefined, made.body.apiKey);
      expect((await self()).status).toBe(200);
      expect((await ask(server, "DELETE", `/v1/keys/${made.body.key.id}`)).status).toBe(200);
      expect((await self()).status).toBe(401);
    }
  });

  test("[I6ye] the metrics of a member tell of etcd and of the cluster", async () => {
    const { status, body } = await ask(servers[0]!, "GET", "/metrics");
    expect(status).toBe(200);
    expect(body).toMatch(/^lockdb_etcd_members\{state="up"\} 1$/m);
    expect(body).toMatch(/^lockdb_etcd_members\{state="down"\} 0$/m);
    expect(body).toMatch(/^lockdb_cluster_members 2$/m);
    expect(body).toMatch(/^lockdb_cluster_beat_seconds_count [1-9]/m);
    expect(body).toMatch(/^lockdb_cluster_beat_age_seconds [0-4]/m);
    const passed = await Promise.all(servers.map((server) => ask(server, "GET", "/metrics")));
    expect(passed.some(({ body }) => /passed_on_total\{how="answered"\} [1-9]/.test(body))).toBe(true);
  });

  test("[A6ya] members show each other the certificate that is for that, where those of servers are not for clients", async () => {
    const member = async () => {
      const port = await freePort();
      return serve({
        ...{ port, store: etcd.url as "memory", cluster: "secure", logLevel: "silent", rootKey: CANARY_KEY },
        ...{ ...TLS, tlsClientCa: certFile("ca"), advertise: `https://localhost:${port}` },
        ...{ clusterCa: certFile("ca"), clusterCert: certFile("client"), clusterKey: keyFile("client") },
      });
    };
    const secure = [await member(), await member()];
    const get = (server: Server, path: string) =>
      new Promise<Answer>((resolve, reject) => {
        const headers = { authorization: `Bearer ${CANARY_KEY}` };
        const asked = request(`${server.url}${path}`, { ...showing("client"), headers, agent: false });
        asked.once("error", reject).once("response", async (answer) => {
          let text = "";
          for await (const chunk of answer.setEncoding("utf8")) text += chunk;
          resolve({ status: answer.statusCode!, body: JSON.parse(text) });
        });
        asked.end();
      });
    await until(async () => {
      const { members } = (await get(secure[0]!, "/v1/cluster")).body as Status;
      return members.length === 2 && members.every(({ partitions }) => partitions > 0);
    });
    // Each of them passes some on.
    for (let at = 0; at < 8; at++)
      for (const server of secure)
        expect((await get(server, `/v1/services/service${at}/locks/x`)).status).toBe(200);
    await Promise.all(secure.map((server) => server.close()));
    await expect(
      serve({
        store: etcd.url as "memory",
        clusterCert: certFile("client"),
        clusterKey: keyFile("stranger"),
      }),
    ).rejects.toThrow(/--cluster-cert .*client\.pem, --cluster-key .*stranger\.key/);
    await expect(serve({ store: "memory", clusterCert: certFile("client") })).rejects.toThrow(/go together/);
  });

  // Last: nothing works from here on.
  test("[I6yf] a member without etcd says that it is not ready, and why; the process lives on", async () => {
    const health = async (path: string) => (await ask(servers[0]!, "GET", path)).body as string;
    expect(await health("/readyz")).toBe("ok\n");
    await etcd.members[0]!.kill();
    await until(async () => (await health("/readyz")) !== "ok\n");
    expect(await ask(servers[0]!, "GET", "/readyz")).toMatchObject({
      status: 503,
      body: expect.stringMatching(/^not ready: this member is out of its cluster: \S.*\n$/),
    });
    expect(await health("/livez")).toBe("ok\n");
  });
});
