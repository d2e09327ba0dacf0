import { readOptions, type ServeOptions } from "./options/index.js";
import type { EtcdOptions } from "./store/index.js";

/** What etcd asks for: certificates, a user. */
export type WayToEtcd = Pick<EtcdOptions, "tls" | "user">;

export function wayToEtcd(options: ServeOptions): WayToEtcd {
  const { etcdCa: ca, etcdCert: cert, etcdKey: key, etcdUser: name, etcdPassword: password } = options;
  return {
    ...(ca === null ? {} : { tls: { ca, cert, key } }),
    ...(name === null || password === null ? {} : { user: { name, password } }),
  };
}

/** From the variables `LOCKDB_ETCD_…`, as `lockdb serve` reads them. @throws Error when one is bad */
export function wayToEtcdFrom(env: NodeJS.ProcessEnv): WayToEtcd {
  const ours = Object.entries(env).filter(([name]) => name.startsWith("LOCKDB_ETCD_"));
  return wayToEtcd(readOptions({}, Object.fromEntries(ours)).options);
}
