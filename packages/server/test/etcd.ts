import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";

/** Whether there is an etcd to test with: Debian's package etcd-server. `describe.skipIf(!hasEtcd)` what needs one. */
export const hasEtcd = spawnSync("etcd", ["--version"]).status === 0;
if (!hasEtcd)
  console.warn(
    "SKIPPED: tests of the etcd store. There is no `etcd` on the PATH; install Debian's etcd-server.",
  );

export interface EtcdMember {
  /** Such as `127.0.0.1:2379`. */
  readonly endpoint: string;
  readonly pid: number;
  /** Stops it in the middle of whatever it does, with its connections open. */
  pause(): void;
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
}

/** Starts an etcd of so many members on loopback, for as long as the test needs it. What they write goes to memory, where there is such a folder. */
export async function startEtcd({
  members: count = 1,
  flags = [],
  tls,
}: EtcdClusterOptions = {}): Promise<EtcdCluster> {
  const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "lockdb-etcd-"));
  const ports = await freePorts(3 * count);
  const peers = Array.from({ length: count }, (_, at) => `m${at}=http://127.0.0.1:${ports[3 * at + 1]}`);
  const members = peers.map(
    (_, at) => new Member(at, ports.slice(3 * at, 3 * at + 3), folder, peers.join(","), flags, tls),
  );
  const killAll = () => {
    for (const member of members) member.end();
  };
  process.once("exit", killAll);
  for (const member of members) member.start();
  await Promise.all(members.map((member) => member.healthy(START_MS)));
  return {
    members,
    endpoints: members.map(({ endpoint }) => endpoint),
    url: `etcd://${members.map(({ endpoint }) => endpoint).join(",")}`,
    stop: async () => {
      process.off("exit", killAll);
      await Promise.all(members.map((member) => member.kill()));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

const START_MS = 15_000;
const RESTART_MS = 5_000;

class Member implements EtcdMember {
  readonly endpoint: string;
  readonly #healthUrl: string;
  readonly #args: readonly string[];
  #child: ChildProcess | null = null;
  /** The last of it. */
  #said = "";

  constructor(
    at: number,
    [client, peer, metrics]: readonly number[],
    folder: string,
    cluster: string,
    flags: readonly string[],
    tls: EtcdClusterOptions["tls"],
  ) {
    this.endpoint = `${tls === undefined ? "127.0.0.1" : "localhost"}:${client}`;
    this.#healthUrl = `http://127.0.0.1:${metrics}/health`;
    const url = `${tls === undefined ? "http" : "https"}://127.0.0.1:${client}`;
    this.#args = [
      ...["--name", `m${at}`, "--data-dir", join(folder, `m${at}`)],
      ...["--listen-client-urls", url, "--advertise-client-urls", url],
      ...["--listen-peer-urls", `http://127.0.0.1:${peer}`],
      ...["--initial-advertise-peer-urls", `http://127.0.0.1:${peer}`],
      ...["--initial-cluster", cluster, "--initial-cluster-token", folder],
      ...["--listen-metrics-urls", `http://127.0.0.1:${metrics}`],
      ...["--heartbeat-interval", "100", "--election-timeout", "1000"],
      ...["--logger", "zap", "--log-level", "fatal"],
      ...(tls === undefined
        ? []
        : [
            "--cert-file",
            tls.cert,
            "--key-file",
            tls.key,
            "--trusted-ca-file",
            tls.ca,
            "--client-cert-auth",
          ]),
      ...flags,
    ];
  }

  get pid(): number {
    return this.#child!.pid!;
  }

  start(): void {
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("ETCD_")));
    this.#child = spawn("etcd", this.#args, { env, stdio: ["ignore", "ignore", "pipe"] });
    this.#child.stderr!.on("data", (text) => {
      this.#said = `${this.#said}${text}`.slice(-2_000);
    });
  }

  pause(): void {
    this.#child!.kill("SIGSTOP");
  }

  resume(): void {
    this.#child!.kill("SIGCONT");
  }

  end(): void {
    this.#child?.kill("SIGKILL");
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
  }

  async restart(): Promise<void> {
    await this.kill();
    this.start();
    await this.healthy(RESTART_MS).catch(() => {});
  }

  async healthy(forMs: number): Promise<void> {
    for (const endMs = performance.now() + forMs; performance.now() < endMs; await setTimeout(20)) {
      if (this.#child!.exitCode !== null) break;
      const answer = await fetch(this.#healthUrl).catch(() => null);
      if (answer?.ok === true) return;
      await answer?.body?.cancel();
    }
    throw new Error(`etcd at ${this.endpoint} does not answer: ${this.#said}`);
  }
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<ReturnType<typeof createServer>>((resolve) => {
          const server = createServer().listen(0, "127.0.0.1", () => resolve(server));
        }),
    ),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
