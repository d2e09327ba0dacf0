// One server, and a net in between that does what nets do: to half of the clients, while the other half want the same locks.
import { setTimeout } from "node:timers/promises";
import { freePorts } from "../../packages/server/test/etcd.js";
import { Net } from "./lib/net.js";
import { judgedNetRounds, LEASE_MS, netRounds } from "./lib/net-rounds.js";

export const about =
  "connections are cut off, heard in one direction only, reset, half open and slow, for half of the clients";

const RESETS_MS = 150;

export async function run(stage) {
  const net = new Net();
  stage.onEnd(() => net.end());
  const server = await stage.single();
  const ports = await freePorts(2);
  for (const [at, port] of ports.entries())
    await net.proxy({ from: `c${at}`, to: "server", target: server.port, port });
  const clients = ports.map((port) => ({ urls: [`http://127.0.0.1:${port}`] }));
  const seen = await netRounds(stage, {
    ...{
      server,
      clients,
      faults: FAULTS.map(({ name, forMs, hurt }) => ({
        name,
        forMs,
        hurt: (round) => hurt(net, `c${round % 2}`),
      })),
    },
    heal: async () => net.heal(),
    rounds: stage.count(6, 330),
  });
  return judgedNetRounds(seen);
}

/** Whether bytes go from one to the other. */
const outOf = (name) => (from) => from === name;
const into = (name) => (_from, to) => to === name;
const of = (name) => (from, to) => from === name || to === name;

/** Each hurts the way of some clients, for longer than a lease unless it says otherwise, and gives what is to be done when its time is over. */
const FAULTS = [
  { name: "cut off", hurt: async (net, name) => net.cut(of(name)) },
  {
    name: "cut off for less than a lease",
    forMs: LEASE_MS / 2,
    hurt: async (net, name) => net.cut(of(name)),
  },
  { name: "not heard by the server", hurt: async (net, name) => net.cut(outOf(name)) },
  { name: "heard, and told nothing", hurt: async (net, name) => net.cut(into(name)) },
  {
    name: "reset, again and again",
    hurt: async (net, name) => {
      const timer = setInterval(() => net.reset(of(name)), RESETS_MS);
      return () => clearInterval(timer);
    },
  },
  {
    name: "half open: the server thinks that they are gone",
    forMs: LEASE_MS,
    hurt: async (net, name) => net.halve(of(name), "near"),
  },
  {
    name: "half open: the server thinks that they are there",
    forMs: LEASE_MS / 2,
    hurt: async (net, name) => net.halve(of(name), "far"),
  },
  { name: "byte by byte, in both directions", hurt: async (net, name) => net.slice(of(name)) },
  {
    name: "cut off, and then reset",
    hurt: async (net, name) => {
      net.cut(of(name));
      return () => net.reset(of(name));
    },
  },
  {
    name: "all cut off, in one direction each, byte by byte after it",
    hurt: async (net) => {
      net.cut((from, to) => from === "c0" || to === "c1");
      await setTimeout(LEASE_MS * 1.2);
      net.heal();
      net.slice(() => true);
    },
  },
];
