/** Whether there is an etcd to test with: Debian's package etcd-server. `describe.skipIf(!hasEtcd)` what needs one. */
export const hasEtcd: boolean;

export interface EtcdMember {
  /** Such as `127.0.0.1:2379`. */
  readonly endpoint: string;
  /** Where its metrics and its health are told. */
  readonly metricsUrl: string;
  readonly pid: number;
  /** Stops it in the middle of whatever it does, with its connections open. Resolves when it stands still. */
  pause(): Promise<void>;
  resume(): void;
  /** Ends it at once, and resolves when it has. */
  kill(): Promise<void>;
  /** Starts it again with what it has on its disk. Resolves when it answers, or after five seconds if there is no quorum. */
  restart(): Promise<void>;
}

export interface EtcdCluster {
  readonly members: readonly EtcdMember[];
  readonly endpoints: readonly string[];
  /** Such as `etcd://127.0.0.1:2379,127.0.0.1:2380`. */
  readonly url: string;
  /** Ends all members and removes what they wrote. */
  stop(): Promise<void>;
}

export interface EtcdClusterOptions {
  /** How many. Default: 1. */
  readonly members?: number;
  /** Other flags of each, such as `--quota-backend-bytes=16777216`. */
  readonly flags?: readonly string[];
  /** In PEM form: its members then speak TLS to clients, and ask for certificates of that CA. */
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string };
  /** Another port through which its peers reach a member, given the one that it listens on. */
  readonly peerPort?: (at: number, port: number) => Promise<number>;
}

/** Starts an etcd of so many members on loopback, for as long as the test needs it. What they write goes to memory, where there is such a folder. */
export function startEtcd(options?: EtcdClusterOptions): Promise<EtcdCluster>;

/** Ports that nobody listens on, below those that the system gives to connections: who is started again finds its own free. */
export function freePorts(count: number): Promise<number[]>;

/** Stops a process with SIGSTOP, and resolves when it stands still. */
export function stopped(child: { readonly pid?: number; kill(signal: "SIGSTOP"): boolean }): Promise<void>;
