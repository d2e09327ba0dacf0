// One service through the cluster beside one server by itself, in turns; and three services on three members.
import { availableParallelism } from "node:os";
import { quantile, ROOT_KEY } from "./lib/stage.js";

export const about = "locks and unlocks a second: through the cluster, and at one server by itself";
export const needs = ["etcd"];

const TURNS = 7;
const TURNS_QUICK = 1;
const TURN_MS = 2_500;
const SHARE_MIN = 0.8;

export async function run(stage) {
  const cluster = await stage.cluster();
  const single = await stage.single();
  const services = [];
  for (const member of cluster.members) services.push((await cluster.servicesOf(member, 1, "rate"))[0]);
  const load = (service, urls) => stage.script("rate.js", { service, urls, apiKey: ROOT_KEY });
  const alone = load(services[0], [single.url]);
  const through = services.map((service) => load(service, cluster.urls));
  const rates = { alone: [], through: [], three: [] };
  // The first turn is for the compiler.
  for (let turn = -1; turn < stage.count(TURNS_QUICK, TURNS); turn++) {
    const one = {
      alone: () => alone.call("rate", { forMs: TURN_MS }),
      through: () => through[0].call("rate", { forMs: TURN_MS }),
    };
    // Each is first as often as the other.
    const order = turn % 2 === 0 ? ["alone", "through"] : ["through", "alone"];
    const at = {};
    for (const which of order) at[which] = await one[which]();
    const [atAlone, atOne] = [at.alone, at.through];
    const atThree = await Promise.all(through.map((each) => each.call("rate", { forMs: TURN_MS })));
    if (turn < 0) continue;
    rates.alone.push(atAlone);
    rates.through.push(atOne);
    rates.three.push(atThree.reduce((sum, each) => sum + each, 0));
    console.log(
      `  turn ${turn + 1}: alone ${word(atAlone)}, cluster ${word(atOne)}, three services ${word(rates.three.at(-1))}`,
    );
  }
  const median = (values) => quantile(values, 0.5);
  // Turn by turn: what else the machine does changes.
  const share = median(rates.through.map((rate, at) => rate / rates.alone[at]));
  return [
    { what: "one server by itself, median", seen: `${word(median(rates.alone))} a second` },
    { what: "one service through the cluster", seen: `${word(median(rates.through))} a second` },
    stage.inFull({
      what: "its share of the single server's",
      seen: share.toFixed(2),
      bound: `at least ${SHARE_MIN}`,
      isKept: share >= SHARE_MIN,
    }),
    {
      what: `three services on three members, on ${availableParallelism()} cores for all of it`,
      seen: `${word(median(rates.three))} a second`,
    },
  ];
}

const word = (rate) => Math.round(rate).toLocaleString("en-US");
