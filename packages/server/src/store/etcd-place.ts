/** Where a store in etcd is. */
export interface EtcdPlace {
  readonly endpoints: readonly string[];
  /** What all of its keys begin with. */
  readonly at: string;
}

export const CLUSTER_DEFAULT = "lockdb";

/**
 * Reads `etcd://host1:2379,host2:2379/cluster`. The port may be left out, and the cluster.
 * @throws Error that says what would be right
 */
export function etcdPlace(url: string, cluster?: string): EtcdPlace {
  const [, hosts, path] = /^etcd:\/\/([^/]*)(?:\/([^/]*))?$/.exec(url) ?? [];
  const endpoints = hosts?.split(",").map((host) => (/:\d+$/.test(host) ? host : `${host}:${PORT}`));
  if (endpoints?.every((endpoint) => ENDPOINT.test(endpoint)) !== true)
    throw new Error(`must be such as etcd://etcd1:2379,etcd2:2379,etcd3:2379, not ${JSON.stringify(url)}.`);
  const name = path || cluster || CLUSTER_DEFAULT;
  if (!CLUSTER.test(name))
    throw new Error(
      `the cluster's name must be letters, digits, ".", "_" and "-", not ${JSON.stringify(name)}.`,
    );
  return { endpoints, at: `/${name}/` };
}

export function isEtcdUrl(text: string): text is `etcd://${string}` {
  return text.startsWith("etcd://");
}

/** @throws Error for what is no name of a cluster */
export function clusterName(text: string): string {
  if (!CLUSTER.test(text))
    throw new Error(`must be letters, digits, ".", "_" and "-", at most 64, not ${JSON.stringify(text)}.`);
  return text;
}

const PORT = 2_379;
const ENDPOINT = /^([A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\]):\d{1,5}$/;
const CLUSTER = /^[A-Za-z0-9._-]{1,64}$/;
