// A server is killed and started again; all its clients come back at the same time.
import { setTimeout } from "node:timers/promises";
import { atMost, clockMs, ms, ROOT_KEY } from "./lib/stage.js";

export const about =
  "thousands of clients with leases of 30 s come back at once after a crash of the server: all of them, and no hold is lost";

const CLIENTS = 10_000;
const CLIENTS_QUICK = 2_000;
const A_PROCESS = 2_500;
const LEASE_MS = 30_000;
/** The clients try again and again meanwhile, ever less often. */
const AWAY_MS = 2_000;
const BACK_MS = 10_000;
const HEARD_MS = 300_000;
const SERVICE = "storm";

export async function run(stage) {
  const clients = stage.count(CLIENTS_QUICK, CLIENTS);
  const server = await stage.single();
  const processes = [];
  for (let first = 0; first < clients; first += A_PROCESS) {
    const count = Math.min(A_PROCESS, clients - first);
    const terms = { service: SERVICE, url: server.url, apiKey: ROOT_KEY, lease: `${LEASE_MS}ms` };
    processes.push(stage.script("returning.js", { ...terms, count, first }));
  }
  const all = (op) => Promise.all(processes.map((each) => each.call(op)));
  while (!(await all("ready")).every((is) => is)) await setTimeout(50);
  const figures = [];
  for (const [how, signal] of [
    ["a crash", "SIGKILL"],
    ["a stop in order", "SIGTERM"],
  ]) {
    await server.child.kill(signal);
    await setTimeout(AWAY_MS);
    const startedMs = clockMs();
    await server.start();
    const listensMs = clockMs();
    await all("ask");
    let heard = await all("heard");
    for (
      const endMs = clockMs() + HEARD_MS;
      heard.includes(null) && clockMs() < endMs;
      heard = await all("heard")
    )
      await setTimeout(20);
    if (heard.includes(null)) throw new Error(`after ${how} not all of them are back within ${HEARD_MS} ms`);
    const backMs = Math.max(...heard.map(({ atMs }) => atMs)) - listensMs;
    figures.push(
      { what: `start after ${how}`, seen: ms(listensMs - startedMs) },
      atMost(
        `of ${clients} clients, those without their lock after ${how}`,
        heard.reduce((sum, { not }) => sum + not, 0),
        0,
      ),
      stage.within(`all of them back after ${how}`, backMs, BACK_MS),
    );
  }
  const lost = (await all("lost")).reduce((sum, count) => sum + count, 0);
  return [
    ...figures,
    atMost("holds lost, as their holders saw it", lost, 0),
    atMost("errors in the server's log", server.child.end.trim() === "" ? 0 : 1, 0),
  ];
}
