// Hosts of our own: network namespaces with wires between them, and rules for the packets that arrive.
import { spawnSync } from "node:child_process";

/** @param {string} command @param {readonly string[]} args @param {string} [input] @throws when it fails */
function done(command, args, input) {
  const { status, stderr, error } = spawnSync(command, args, { input, encoding: "utf8" });
  if (status !== 0) throw error ?? new Error(`${command} ${args.join(" ")}: ${stderr}`);
}

/** A host for a server, with a wire to each of two others and one to this one. None of it is there any more when the part is over. */
export class Hosts {
  /** The server's address as each of the others has it; the last is for this host. */
  servers;
  /** Addresses of the others. */
  clients;
  #hub;
  #names;

  /** @param {import("./stage.js").Stage} stage */
  constructor(stage) {
    const id = process.pid % 100_000;
    this.#hub = `lockdb-${id}-s`;
    this.#names = [`lockdb-${id}-0`, `lockdb-${id}-1`];
    const net = (/** @type {number} */ at) => `10.${100 + (id % 100)}.${at}`;
    this.servers = [0, 1, 2].map((at) => `${net(at)}.1`);
    this.clients = [0, 1].map((at) => `${net(at)}.2`);
    // With a namespace its ends of wires go, and with these the other ends.
    const remove = () => {
      for (const name of [this.#hub, ...this.#names]) spawnSync("ip", ["netns", "delete", name]);
    };
    stage.onEnd(remove, remove);
    for (const name of [this.#hub, ...this.#names]) {
      done("ip", ["netns", "add", name]);
      done("ip", ["-n", name, "link", "set", "lo", "up"]);
    }
    for (const [at, other] of [...this.#names, null].entries()) {
      const [inner, outer] = [`ldb${id}s${at}`, `ldb${id}c${at}`];
      const there = other === null ? [] : ["-n", other];
      done("ip", ["link", "add", inner, "netns", this.#hub, "type", "veth", "peer", "name", outer]);
      if (other !== null) done("ip", ["link", "set", outer, "netns", other]);
      done("ip", ["-n", this.#hub, "addr", "add", `${this.servers[at]}/24`, "dev", inner]);
      done("ip", ["-n", this.#hub, "link", "set", inner, "up"]);
      done("ip", [...there, "addr", "add", `${net(at)}.2/24`, "dev", outer]);
      done("ip", [...there, "link", "set", outer, "up"]);
    }
  }

  /** What runs a program at the server's host. */
  get underServer() {
    return ["ip", "netns", "exec", this.#hub];
  }

  /** What runs a program at one of the others. @param {number} at */
  under(at) {
    return ["ip", "netns", "exec", /** @type {string} */ (this.#names[at])];
  }

  /** What becomes of packets from one of the others that arrive at the server's host. @param {number} at @param {string} verdict of nftables */
  toServer(at, verdict) {
    this.#rules(this.#hub, `ip saddr ${this.clients[at]} ${verdict}`);
  }

  /** What becomes of packets from the server that arrive at one of the others. */
  toClient(at, verdict) {
    this.#rules(/** @type {string} */ (this.#names[at]), `ip saddr ${this.servers[at]} ${verdict}`);
  }

  heal() {
    for (const name of [this.#hub, ...this.#names]) this.#rules(name, "");
  }

  /** Where packets arrive, and not where they leave: who is kept from sending is told so. */
  #rules(name, rule) {
    const text = `flush ruleset\ntable inet torture {\n chain in {\n type filter hook input priority 0; policy accept;\n ${rule}\n }\n}\n`;
    done("ip", ["netns", "exec", name, "nft", "-f", "-"], text);
  }
}
