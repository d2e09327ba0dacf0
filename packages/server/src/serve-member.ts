import { readFileSync } from "node:fs";
import type { Logger } from "pino";
import type { Access } from "./access/index.js";
import { Member } from "./cluster/index.js";
import type { EtcdStatus, HttpCluster } from "./http/cluster.js";
import { version } from "./http/version.js";
import { nodeRuntime } from "./loop/index.js";
import type { ServeOptions } from "./options/index.js";
import { type EtcdMemberStatus, etcdPlace, openEtcdClient } from "./store/index.js";
import { wayToEtcd } from "./way-to-etcd.js";
import type { Webhooks } from "./webhooks/index.js";

/** What makes a server a member of a cluster (decision 023). */
export interface MemberPart {
  readonly member: Member;
  readonly view: HttpCluster;
  /** What other members change of accounts, keys and secrets is taken from now on. */
  follow(access: Access, webhooks: Webhooks): void;
  /** Resolves when this member knows the root key, or is the one that has to make it. */
  known(access: Access): Promise<void>;
  /** Whenever this member comes to keep the keys. */
  keepRootKey(access: Access, givenKey: string | null): void;
}

/** @throws Error when a file for the way to etcd cannot be read */
export async function openMember(options: ServeOptions, log: Logger): Promise<MemberPart> {
  const { store, cluster, clusterCa } = options;
  const { endpoints, at } = etcdPlace(store, cluster);
  const etcd = await openEtcdClient({ endpoints, ...wayToEtcd(options) });
  let onCommon: ConstructorParameters<typeof Member>[0]["onCommon"] = async () => {};
  const member = new Member({
    etcd,
    at,
    url: options.advertise ?? ownUrl(options),
    version: version(),
    runtime: nodeRuntime,
    log,
    onCommon: (read) => onCommon!(read),
  });
  const ca = clusterCa === null ? {} : { ca: readFileSync(clusterCa, "utf8") };
  const view: HttpCluster = {
    get selfId() {
      return member.memberId;
    },
    secret: member.secret,
    placeOf: (key) => member.placeOf(key),
    keeper: () => member.keeper,
    others: () => member.others(),
    watch: (changed) => member.watch(changed),
    records: () => member.records(),
    status: async () => ({ cluster, ...member.seen(), etcd: (await etcd.status()).map(etcdStatus) }),
    ...ca,
  };
  return {
    member,
    view,
    follow: (access, webhooks) => {
      onCommon = (read) => access.readAnew(async () => webhooks.readSecrets(await read()));
    },
    known: (access) =>
      new Promise((resolve) => {
        const isKnown = () => access.hasRootKey || member.keeper === "here";
        if (isKnown()) return resolve();
        const unwatch = member.watch(() => {
          if (!isKnown()) return;
          unwatch();
          resolve();
        });
      }),
    keepRootKey: (access, givenKey) => {
      let wasKeeper = member.keeper === "here";
      member.watch(() => {
        const isKeeper = member.keeper === "here";
        if (isKeeper && !wasKeeper)
          void access
            .takeRootKey(givenKey)
            .catch((error) => log.warn({ err: error }, "the root key was not taken"));
        wasKeeper = isKeeper;
      });
    },
  };
}

function ownUrl({ host, port, tlsCert }: ServeOptions): string {
  return `http${tlsCert === null ? "" : "s"}://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

function etcdStatus({ endpoint, problem, version: running, isLeader, bytes }: EtcdMemberStatus): EtcdStatus {
  const dbSizeBytes = running === null ? null : bytes;
  return { endpoint, healthy: problem === null, isLeader, version: running, dbSizeBytes, error: problem };
}
