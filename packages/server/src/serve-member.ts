import { readFileSync } from "node:fs";
import type { EtcdStatus } from "lockdb/protocol";
import type { Logger } from "pino";
import { type Access, type AccountShares, actsIn, type Share } from "./access/index.js";
import { Member, type MemberOptions } from "./cluster/index.js";
import type { HttpCluster } from "./http/cluster.js";
import { version } from "./http/version.js";
import { type Loop, nodeRuntime } from "./loop/index.js";
import type { ServeOptions } from "./options/index.js";
import { ShownCertificate } from "./shown-certificate.js";
import { type EtcdMemberStatus, etcdPlace, openEtcdClient } from "./store/index.js";
import { wayToEtcd } from "./way-to-etcd.js";
import type { Webhooks } from "./webhooks/index.js";

/** What makes a server a member of a cluster (decision 023). */
export interface MemberPart {
  readonly member: Member;
  readonly view: HttpCluster;
  /** What other members change of accounts, keys and secrets is taken from now on. */
  follow(access: Access, webhooks: Webhooks): void;
  /** What accounts with limits have here is told to the other members from now on, and what they have there is heard. */
  share(shares: AccountShares, access: Access, webhooks: Webhooks, loop: Loop): void;
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
  let onCommon: MemberOptions["onCommon"] = async () => {};
  let share: () => object | null = () => null;
  let onShares: NonNullable<MemberOptions["onShares"]> = () => {};
  const member = new Member({
    etcd,
    at,
    url: options.advertise ?? ownUrl(options),
    version: version(),
    runtime: nodeRuntime,
    log,
    onCommon: (read) => onCommon!(read),
    share: () => share(),
    onShares: (others, members) => onShares(others, members),
  });
  const { clusterCert: cert, clusterKey: key } = options;
  const certificate = cert === null || key === null ? null : new ShownCertificate({ cert, key }, log);
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
    get problem() {
      return member.problem;
    },
    caughtUp: () => member.caughtUp(),
    get shown() {
      return certificate?.shown;
    },
    meter: {
      totals: member.totals,
      get beatAgeMs() {
        return member.beatAgeMs;
      },
      seen: () => member.seen(),
      etcdMembers: async () => {
        const states = await etcd.status();
        const up = states.filter(({ problem }) => problem === null).length;
        return { up, down: states.length - up };
      },
    },
    status: async () => ({ cluster, ...member.seen(), etcd: (await etcd.status()).map(etcdStatus) }),
    ...ca,
  };
  return {
    member,
    view,
    follow: (access, webhooks) => {
      onCommon = (read) => access.readAnew(async () => webhooks.readSecrets(await read()));
    },
    share: (shares, access, webhooks, loop) => {
      share = () =>
        shares.told(access.limited(), (account) => ({
          ...loop.useOf(account.id),
          acts: loop.audit.ownOf(account.id),
          deliveries: webhooks.pendingOf(account.id),
          connections: account.connections,
          requests: account.recent.count(nodeRuntime.monotonicMs()),
        }));
      onShares = (others, members) => {
        shares.hear([...others.values()] as Share[], members);
        for (const [id, told] of others)
          for (const [account, count] of actsIn(told as Share)) loop.audit.heard(id, account, count);
      };
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
