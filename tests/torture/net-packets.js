// The same as net-faults, done to packets: the server and both halves of the clients each have a host of their own.
import { setTimeout } from "node:timers/promises";
import { Hosts } from "./lib/namespaces.js";
import { judgedNetRounds, LEASE_MS, netRounds } from "./lib/net-rounds.js";

export const about =
  "packets of half of the clients are dropped both ways, one way and by chance, and answered with resets, in network namespaces";
export const needs = ["namespaces"];

const RESETS_MS = 300;
/** Kernels send a lost packet again after 0.2 s, 0.4 s and so on: beyond that a lease may run out. */
const LOSS_PERCENT = 20;

export async function run(stage) {
  const hosts = new Hosts(stage);
  const server = await stage.single({
    args: ["--host", "0.0.0.0", "--allow-plain-text"],
    under: hosts.underServer,
  });
  const urlFor = (/** @type {string} */ address) => `http://${address}:${server.port}`;
  server.url = urlFor(hosts.servers[2]);
  const clients = [0, 1].map((at) => ({ urls: [urlFor(hosts.servers[at])], under: hosts.under(at) }));
  const faults = FAULTS.map(({ name, forMs, hurt }) => ({
    name,
    forMs,
    hurt: (round) => hurt({ hosts, at: round % 2, server }),
  }));
  const heal = async () => hosts.heal();
  return judgedNetRounds(
    await netRounds(stage, { server, clients, faults, heal, rounds: stage.count(4, 170) }),
  );
}

const lossy = (/** @type {number} */ percent) => `numgen random mod 100 < ${percent} drop`;

const FAULTS = [
  {
    name: "all packets dropped",
    hurt: async ({ hosts, at }) => {
      hosts.toServer(at, "drop");
      hosts.toClient(at, "drop");
    },
  },
  { name: "what goes to the server dropped", hurt: async ({ hosts, at }) => hosts.toServer(at, "drop") },
  { name: "what comes from the server dropped", hurt: async ({ hosts, at }) => hosts.toClient(at, "drop") },
  {
    name: "connections reset",
    hurt: async ({ hosts, at, server }) => {
      // Not all the time: nobody would have a connection.
      let isOn = false;
      const timer = setInterval(() => {
        isOn = !isOn;
        if (isOn) hosts.toServer(at, `tcp dport ${server.port} reject with tcp reset`);
        else hosts.heal();
      }, RESETS_MS);
      return () => clearInterval(timer);
    },
  },
  {
    name: `${LOSS_PERCENT} % of the packets dropped, both ways`,
    hurt: async ({ hosts, at }) => {
      hosts.toServer(at, lossy(LOSS_PERCENT));
      hosts.toClient(at, lossy(LOSS_PERCENT));
    },
  },
  {
    name: "all packets dropped, and the server is another one meanwhile: half open",
    hurt: async ({ hosts, at, server }) => {
      hosts.toServer(at, "drop");
      await setTimeout(LEASE_MS / 2);
      await server.restart({ under: hosts.underServer });
    },
  },
];
