// All processes and folders of a part. `end` leaves nothing behind.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { isAbsolute, join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { partitionOf } from "../../../packages/server/dist/cluster/index.js";
import { freePorts, startEtcd } from "../../../packages/server/test/etcd.js";
import { Child } from "./child.js";
import { Net } from "./net.js";
import { Single } from "./single.js";

const path = (/** @type {string} */ name) => fileURLToPath(new URL(name, import.meta.url));
const CLI = path("../../../packages/lockdb/bin/lockdb.js");
const START_MS = 60_000;

export const ROOT_KEY = "root-key-of-the-torture";
/** How long a member may be silent (decision 023). */
export const LEASE_MS = 5_000;

/** Milliseconds on the monotonic clock that all processes of this machine share. */
export function clockMs() {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** @typedef {import("./child.js").ChildOptions} ChildOptions */

export class Stage {
  isQuick;
  #rounds;
  /** @type {{ end: () => unknown, atExit: () => void }[]} */
  #ends = [];
  #atExit = () => {
    for (const { atExit } of [...this.#ends].reverse()) {
      try {
        atExit();
      } catch (error) {
        console.error(error);
      }
    }
  };

  /** @param {{ isQuick: boolean, rounds?: number | null }} options rounds: in place of all counts; null: as the parts say */
  constructor({ isQuick, rounds = null }) {
    this.isQuick = isQuick;
    this.#rounds = rounds;
    process.once("exit", this.#atExit);
  }

  /** How often a part does what it does. */
  count(quick, full) {
    return this.#rounds ?? (this.isQuick ? quick : full);
  }

  /**
   * A figure that is judged in the full run alone: how fast something is, since CI's machine may have other things to do; what is left once all is quiet, since a quick
   * run does not wait for that.
   */
  inFull({ what, seen, bound, isKept }) {
    if (!this.isQuick) return { what, seen, bound, isKept };
    return { what, seen, bound: `${bound}${isKept ? "" : ": not so, and not judged"}` };
  }

  /** A time with a bound. */
  within(what, valueMs, boundMs) {
    return this.inFull({
      what,
      seen: ms(valueMs),
      bound: `at most ${ms(boundMs)}`,
      isKept: valueMs <= boundMs,
    });
  }

  /**
   * Calls `end` when the part is over, the last first. Should this process end before, by a signal too, it calls `atExit` instead, which cannot wait:
   * for what would outlive it, such as processes, folders, mounts and namespaces.
   * @returns what makes it do neither
   */
  onEnd(end, atExit = () => {}) {
    const one = { end, atExit };
    this.#ends.push(one);
    return () => {
      const at = this.#ends.indexOf(one);
      if (at >= 0) this.#ends.splice(at, 1);
    };
  }

  folder() {
    const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "lockdb-torture-"));
    const remove = () => rmSync(folder, { recursive: true, force: true });
    this.onEnd(remove, remove);
    return folder;
  }

  /**
   * A script of `lib`, or of another place, with what it is given as its one argument.
   * @param {ChildOptions} [options]
   */
  script(name, given, options) {
    return this.child(isAbsolute(name) ? name : path(name), [JSON.stringify(given)], options);
  }

  /**
   * `lockdb serve`, which is ready when `listening` resolves.
   * @param {ChildOptions & { cli?: string }} [options] cli: of another build
   */
  serve(args, { env, cli = CLI, ...options } = {}) {
    return this.child(cli, ["serve", "--log-level", process.env.LOCKDB_LOG_LEVEL ?? "error", ...args], {
      env: { LOCKDB_ROOT_KEY: ROOT_KEY, ...env },
      ...options,
    });
  }

  /** A Node.js program. @param {ChildOptions} [options] */
  child(script, args, options = {}) {
    const child = new Child(script, args, options);
    // By itself it would end with this process, unless it is stopped.
    const forget = this.onEnd(
      () => child.kill(),
      () => child.signal("SIGKILL"),
    );
    void child.ended.then(forget);
    return child;
  }

  /**
   * One server, which is ready when this resolves. It can be killed, and started again on its folder and its port.
   * @param {import("./single.js").SingleOptions} [options]
   */
  async single(options = {}) {
    const { store = "lmdb", dataDir = this.folder(), args: more = [], ...start } = options;
    const [port] = await freePorts(1);
    const args = ["--port", `${port}`, "--store", store, "--data-dir", dataDir, ...more];
    const single = new Single({ stage: this, args, port, dataDir });
    await single.start(start);
    return single;
  }

  /**
   * Members of a cluster and of an etcd.
   * @param {{ members?: number, etcd?: number, throughNet?: boolean }} [options] throughNet: all ways lead through `net`, and can be cut
   */
  async cluster({ members: count = 3, etcd: etcdCount = 3, throughNet = false } = {}) {
    const net = new Net();
    this.onEnd(() => net.end());
    /** By etcd's id of each. */
    const etcdNames = new Map();
    const identify = (/** @type {Buffer} */ first) =>
      etcdNames.get(/X-Server-From: (\w+)/i.exec(first.toString("latin1"))?.[1] ?? "") ?? "?";
    const peerPort = async (/** @type {number} */ at, /** @type {number} */ target) => {
      const [port] = await freePorts(1);
      await net.proxy({ to: `e${at}`, target, port, identify });
      return port;
    };
    const etcd = await startEtcd({ members: etcdCount, ...(throughNet ? { peerPort } : {}) });
    this.onEnd(() => etcd.stop());
    for (const [id, name] of await etcdIds(etcd.endpoints[0])) etcdNames.set(id, name);
    const members = [];
    for (let at = 0; at < count; at++) {
      const [port, shown, ...ways] = await freePorts(2 + etcdCount);
      const endpoints = throughNet ? ways.map((way) => `127.0.0.1:${way}`) : etcd.endpoints;
      if (throughNet) {
        await net.proxy({ to: `m${at}`, from: "callers", target: port, port: shown });
        for (const [to, way] of ways.entries()) {
          const target = Number(etcd.endpoints[to].split(":")[1]);
          await net.proxy({ to: `e${to}`, from: `m${at}`, target, port: way });
        }
      }
      const url = `http://127.0.0.1:${throughNet ? shown : port}`;
      const args = ["--port", `${port}`, "--store", `etcd://${endpoints.join(",")}`, "--advertise", url];
      members.push(
        new Member({
          name: `m${at}`,
          url,
          ownUrl: `http://127.0.0.1:${port}`,
          start: () => this.serve(args),
        }),
      );
    }
    await Promise.all(members.map((member) => member.listening()));
    const cluster = new Cluster({ net, etcd, members });
    await cluster.settled();
    return cluster;
  }

  async end() {
    for (let last = this.#ends.at(-1); last !== undefined; last = this.#ends.at(-1)) {
      await Promise.resolve()
        .then(last.end)
        .catch((error) => console.error(error));
      // Not before: this process may be ended meanwhile.
      const at = this.#ends.indexOf(last);
      if (at >= 0) this.#ends.splice(at, 1);
    }
    process.off("exit", this.#atExit);
  }
}

class Cluster {
  net;
  etcd;
  /** @type {readonly Member[]} */
  members;

  constructor({ net, etcd, members }) {
    this.net = net;
    this.etcd = etcd;
    this.members = members;
  }

  get urls() {
    return this.members.map(({ url }) => url);
  }

  /** As a member sees it; null when it does not answer. */
  async seen(by = 0) {
    return asked(`${this.members[by].ownUrl}/v1/cluster`).catch(() => null);
  }

  /** Resolves when all members are there, and each partition is where it belongs. */
  async settled(withinMs = START_MS) {
    const isSettled = (seen) =>
      seen?.members.length === this.members.length &&
      seen.members.every(({ isReady, partitions }) => isReady && partitions > 20) &&
      seen.partitions.every(({ state }) => state === "served");
    for (const endMs = clockMs() + withinMs; ; await setTimeout(100)) {
      const all = await Promise.all(this.members.map((_, at) => this.seen(at)));
      if (all.every(isSettled)) return;
      if (clockMs() > endMs)
        throw new Error(`the cluster does not settle: ${JSON.stringify(all.map(shortly))}`);
    }
  }

  /** The member that serves a service, as the others see it; null: none. */
  async ownerOf(service) {
    const partition = partitionOf("default", service);
    for (const at of this.members.keys()) {
      const seen = await this.seen(at);
      const owner = seen?.partitions[partition]?.owner;
      const url = seen?.members.find(({ id }) => id === owner)?.url;
      const member = this.members.find((each) => each.url === url);
      if (member !== undefined) return member;
    }
    return null;
  }

  /** Names of services that a member serves. */
  async servicesOf(member, count, prefix) {
    const found = [];
    for (let number = 0; found.length < count; number++) {
      const service = `${prefix}${number}`;
      if ((await this.ownerOf(service)) === member) found.push(service);
    }
    return found;
  }

  async etcdLeader() {
    for (const [at, { endpoint }] of this.etcd.members.entries()) {
      const status = await etcdAsked(endpoint, "maintenance/status").catch(() => null);
      if (status !== null && status.leader === status.header.member_id) return at;
    }
    return 0;
  }
}

class Member {
  name;
  /** As others are told. */
  url;
  /** Past all proxies. */
  ownUrl;
  child;
  #start;

  constructor({ name, url, ownUrl, start }) {
    this.name = name;
    this.url = url;
    this.ownUrl = ownUrl;
    this.#start = start;
    this.child = start();
  }

  listening() {
    return this.child.listening();
  }

  async restart() {
    await this.child.kill();
    this.child = this.#start();
    await this.listening();
  }
}

/** The answer of the HTTP API. @throws Error with `status` and `code` */
export async function asked(url, { method = "GET", body, key = ROOT_KEY, withinMs = 10_000 } = {}) {
  const answer = await fetched(url, {
    method,
    headers: { authorization: `Bearer ${key}` },
    signal: AbortSignal.timeout(withinMs),
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  const read = text === "" ? null : JSON.parse(text);
  if (answer.ok) return read;
  const { code, retryable } = read?.error ?? {};
  throw Object.assign(new Error(`${method} ${url}: ${answer.status} ${text}`), {
    status: answer.status,
    code,
    retryable,
  });
}

async function fetched(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    // What it says by itself is that it failed.
    throw Object.assign(
      new Error(`${url}: ${error.cause?.code ?? ""} ${error.cause?.message ?? error.message}`),
      {
        name: error.name,
      },
    );
  }
}

/** The answer of etcd's HTTP gateway. */
export async function etcdAsked(endpoint, what, body = {}) {
  const answer = await fetch(`http://${endpoint}/v3/${what}`, {
    method: "POST",
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(2_000),
  });
  return answer.json();
}

/** Ids of etcd's members, in hexadecimal digits, with the names that the net has for them. */
async function etcdIds(endpoint) {
  const { members } = await etcdAsked(endpoint, "cluster/member/list");
  return members.map(({ ID, name }) => [BigInt(ID).toString(16), name.replace("m", "e")]);
}

function shortly(seen) {
  if (seen === null) return null;
  const states = {};
  for (const { state } of seen.partitions) states[state] = (states[state] ?? 0) + 1;
  const members = seen.members.map(
    ({ url, isReady, partitions, lastSeenMs }) => `${url} ${isReady} ${partitions} ${lastSeenMs}`,
  );
  return { members, states };
}

export function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

export const ms = (value) => `${value.toFixed(0)} ms`;

/** A figure with a bound. */
export function atMost(what, value, bound) {
  return { what, seen: `${value}`, bound: `at most ${bound}`, isKept: value <= bound };
}
