// In plain JavaScript: tests/torture uses it without a build.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";

const START_MS = 15_000;
const RESTART_MS = 5_000;

export const hasEtcd = spawnSync("etcd", ["--version"]).status === 0;
if (!hasEtcd)
  console.warn(
    "SKIPPED: tests of the etcd store and of the cluster. There is no `etcd` on the PATH; install Debian's etcd-server.",
  );

export async function startEtcd({ members: count = 1, flags = [], tls, peerPort } = {}) {
  const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "lockdb-etcd-"));
  const ports = await freePorts(3 * count);
  const listens = Array.from({ length: count }, (_, at) => ports[3 * at + 1]);
  const peers = await Promise.all(listens.map((port, at) => peerPort?.(at, port) ?? port));
  const cluster = peers.map((port, at) => `m${at}=http://127.0.0.1:${port}`).join(",");
  const members = peers.map((peer, at) => {
    const [client, listen, metrics] = ports.slice(3 * at, 3 * at + 3);
    return new Member({ at, client, listen, peer, metrics, folder, cluster, flags, tls });
  });
  const killAll = () => {
    for (const member of members) member.end();
    rmSync(folder, { recursive: true, force: true });
  };
  process.once("exit", killAll);
  for (const member of members) member.start();
  await Promise.all(members.map((member) => member.healthy(START_MS)));
  const endpoints = members.map(({ endpoint }) => endpoint);
  return {
    members,
    endpoints,
    url: `etcd://${endpoints.join(",")}`,
    stop: async () => {
      process.off("exit", killAll);
      await Promise.all(members.map((member) => member.kill()));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

class Member {
  endpoint;
  metricsUrl;
  #args;
  #child = null;
  /** The last of it. */
  #said = "";

  constructor({ at, client, listen, peer, metrics, folder, cluster, flags, tls }) {
    this.endpoint = `${tls === undefined ? "127.0.0.1" : "localhost"}:${client}`;
    this.metricsUrl = `http://127.0.0.1:${metrics}`;
    const url = `${tls === undefined ? "http" : "https"}://127.0.0.1:${client}`;
    this.#args = [
      ...["--name", `m${at}`, "--data-dir", join(folder, `m${at}`)],
      ...["--listen-client-urls", url, "--advertise-client-urls", url],
      ...["--listen-peer-urls", `http://127.0.0.1:${listen}`],
      ...["--initial-advertise-peer-urls", `http://127.0.0.1:${peer}`],
      ...["--initial-cluster", cluster, "--initial-cluster-token", folder],
      ...["--listen-metrics-urls", this.metricsUrl],
      ...["--heartbeat-interval", "100", "--election-timeout", "1000"],
      ...["--logger", "zap", "--log-level", "fatal"],
    ];
    if (tls !== undefined)
      this.#args.push(
        ...["--cert-file", tls.cert, "--key-file", tls.key],
        ...["--trusted-ca-file", tls.ca, "--client-cert-auth"],
      );
    this.#args.push(...flags);
  }

  get pid() {
    return this.#child.pid;
  }

  start() {
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("ETCD_")));
    this.#child = spawn("etcd", this.#args, { env, stdio: ["ignore", "ignore", "pipe"] });
    this.#child.stderr.on("data", (text) => {
      this.#said = `${this.#said}${text}`.slice(-2_000);
    });
  }

  pause() {
    return stopped(this.#child);
  }

  resume() {
    this.#child.kill("SIGCONT");
  }

  end() {
    this.#child?.kill("SIGKILL");
  }

  async kill() {
    const child = this.#child;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
  }

  async restart() {
    await this.kill();
    this.start();
    await this.healthy(RESTART_MS).catch(() => {});
  }

  async healthy(forMs) {
    for (const endMs = performance.now() + forMs; performance.now() < endMs; await setTimeout(20)) {
      if (this.#child.exitCode !== null) break;
      const answer = await fetch(`${this.metricsUrl}/health`).catch(() => null);
      if (answer?.ok === true) return;
      await answer?.body?.cancel();
    }
    throw new Error(`etcd at ${this.endpoint} does not answer: ${this.#said}`);
  }
}

/** Stops a process. A signal takes its time on a busy machine, and until then the process works on. */
export async function stopped(child) {
  child.kill("SIGSTOP");
  while (
    existsSync(`/proc/${child.pid}/stat`) &&
    !/\) T/.test(readFileSync(`/proc/${child.pid}/stat`, "utf8"))
  )
    await setTimeout(1);
}

const PORTS_FROM = 18_000;
const PORTS = 13_000;

export async function freePorts(count) {
  const servers = [];
  while (servers.length < count) {
    const server = await listening(PORTS_FROM + Math.floor(Math.random() * PORTS));
    if (server !== null) servers.push(server);
  }
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

function listening(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(null));
    server.listen(port, "127.0.0.1", () => resolve(server));
  });
}
