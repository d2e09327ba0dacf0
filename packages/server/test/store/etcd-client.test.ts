import {
  loadPackageDefinition,
  Server,
  ServerCredentials,
  type ServiceClientConstructor,
  status,
} from "@grpc/grpc-js";
import { fromJSON } from "@grpc/proto-loader";
import { afterEach, expect, test } from "vitest";
import type { Txn } from "../../src/store/etcd-api.js";
import { openEtcdClient } from "../../src/store/etcd-client.js";
import { ETCD_PROTO } from "../../src/store/etcd-messages.js";

/** What a member does with a transaction: an answer, an error, or nothing at all. */
type Behaviour = (done: (error: object | null, answer: object | null) => void) => void;

const TXN: Txn = { compare: [], ops: [{ put: "/x", value: Buffer.from("x") }] };
const APPLIED: Behaviour = (done) =>
  done(null, { header: { revision: "7" }, succeeded: true, responses: [] });
const failing =
  (code: number, details: string): Behaviour =>
  (done) =>
    done({ code, details }, null);

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.forceShutdown();
});

test("[R7ci] a transaction that may have been done is not sent to another member; one that certainly was not is", async () => {
  const cases: [string, Behaviour, string][] = [
    ["says nothing", () => {}, "unknown"],
    ["ran out of time", failing(status.UNAVAILABLE, "etcdserver: request timed out"), "unknown"],
    ["changed its leader", failing(status.UNAVAILABLE, "etcdserver: leader changed"), "unknown"],
    ["broke", failing(status.INTERNAL, "something"), "unknown"],
    [
      "has no words of etcd's",
      failing(status.RESOURCE_EXHAUSTED, "Received message larger than max"),
      "unknown",
    ],
    ["has no leader", failing(status.UNAVAILABLE, "etcdserver: no leader"), "applied"],
    ["has too much to do", failing(status.RESOURCE_EXHAUSTED, "etcdserver: too many requests"), "applied"],
    [
      "has no room",
      failing(status.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded"),
      "not-applied",
    ],
    [
      "refuses",
      failing(status.INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request"),
      "not-applied",
    ],
  ];
  for (const [name, behaviour, kind] of cases) {
    const [first, second] = [await member(behaviour), await member(APPLIED)];
    const etcd = await openEtcdClient({ endpoints: [first.endpoint, second.endpoint] });
    const outcome = await etcd.txn(TXN, { timeoutMs: 500 });
    expect(`${name}: ${outcome.kind}`).toBe(`${name}: ${kind}`);
    expect(`${name}: ${second.txns}`).toBe(`${name}: ${kind === "applied" ? 1 : 0}`);
    if (kind !== "not-applied" && name !== "broke" && !name.startsWith("has no words")) {
      // The next one goes to somebody else.
      expect(await etcd.txn(TXN, { timeoutMs: 500 })).toMatchObject({ kind: "applied", revision: 7 });
    }
    expect(first.txns).toBe(1);
    etcd.close();
    expect((await etcd.txn(TXN)).kind).toBe("not-applied");
  }
});

/** Something that speaks etcd's words. */
async function member(behaviour: Behaviour): Promise<{ readonly endpoint: string; readonly txns: number }> {
  const definition = fromJSON(ETCD_PROTO as Parameters<typeof fromJSON>[0], {
    keepCase: true,
    longs: String,
    defaults: true,
    oneofs: true,
  });
  const { KV } = loadPackageDefinition(definition).etcdserverpb as unknown as Record<
    string,
    ServiceClientConstructor
  >;
  const server = new Server();
  servers.push(server);
  const seen = { endpoint: "", txns: 0 };
  server.addService(KV!.service, {
    Range: () => {},
    Txn: (_: object, done: Parameters<Behaviour>[0]) => {
      seen.txns++;
      behaviour(done);
    },
  });
  const port = await new Promise<number>((resolve, reject) => {
    const bound = (error: Error | null, port: number) => (error === null ? resolve(port) : reject(error));
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), bound);
  });
  seen.endpoint = `127.0.0.1:${port}`;
  return seen;
}
