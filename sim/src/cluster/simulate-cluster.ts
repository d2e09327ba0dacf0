import { clusterKeyOf } from "../../../packages/server/dist/cluster/keys.js";
import { PARTITIONS } from "../../../packages/server/dist/cluster/partitions.js";
import { encodeRecord } from "../../../packages/server/dist/store/records.js";
import { Beliefs } from "../beliefs.js";
import { ClientHost, type Life } from "../client-host.js";
import { Course } from "../course.js";
import { EngineWatch } from "../engine-watch.js";
import { Faults } from "../faults.js";
import { HttpCaller } from "../http-caller.js";
import { Network } from "../network.js";
import { Random } from "../random.js";
import { Recorder } from "../recorder.js";
import { Registers } from "../register.js";
import { Shared } from "../shared.js";
import { play, type RunOptions, type RunResult } from "../simulate.js";
import { work } from "../worker.js";
import { World } from "../world.js";
import { AnyMember, ClusterFaults } from "./cluster-faults.js";
import { type ClusterPlan, clusterPlanOf } from "./cluster-plan.js";
import { SimEtcd } from "./etcd.js";
import { Keys } from "./keys.js";
import { MemberHost } from "./member-host.js";
import { AT, ClusterRules } from "./rules.js";

/** How long after the last fault each partition must be served. */
const HEALED_MS_MAX = 60_000;

/** One seed of so many has keys that change, from this one on. */
const KEYS_EVERY = 4;
const KEYS_FIRST = 2;

/** One seed of a cluster. A run with a violation is told again in words: it is the same run. */
export async function simulateCluster(options: RunOptions): Promise<RunResult> {
  const result = await run(options, false);
  return result.violations.length === 0 ? result : run(options, true);
}

async function run(options: RunOptions, tells: boolean): Promise<RunResult> {
  const simulation = new ClusterSimulation(options, tells);
  const result = await play(simulation, options);
  const { takeovers, handOvers, keys } = simulation.rules;
  return { ...result, takeovers, handOvers, keyChecks: keys?.checks ?? 0 };
}

class ClusterSimulation {
  readonly world: World;
  readonly watch: EngineWatch;
  readonly course: Course;
  readonly rules: ClusterRules;

  constructor({ seed, wildClocks = false }: RunOptions, tells: boolean) {
    const plan = clusterPlanOf(new Random(seed * 2 + 1), wildClocks);
    const world = new World(seed, tells);
    this.world = world;
    const etcd = new SimEtcd(world, plan.etcd);
    const rules = new ClusterRules(world, plan.services, etcd.state);
    this.rules = rules;
    const keys = seed % KEYS_EVERY === KEYS_FIRST ? new Keys(world, new Random(seed * 2 + 7)) : null;
    rules.keys = keys;
    setUp(plan, etcd);
    const watch = new EngineWatch(world, plan, rules, rules);
    this.watch = watch;
    rules.watch = watch;
    const hosts = Array.from({ length: plan.members }, (_, at) => {
      const name = `m${at + 1}`;
      return new MemberHost(
        { world, plan, etcd, watch, rules, keys },
        name,
        `http://${name}-${world.random.int(1e9)}`,
      );
    });
    rules.hosts = hosts;
    const shared = sharedOf(world, plan, watch, wildClocks);
    const { random } = world;
    const network = new Network(world, plan.network, (url) => {
      // Others than the native clients know nobody better than any other.
      return hosts.find((host) => host.url === url) ?? random.pick(hosts);
    });
    for (const host of hosts) host.network = network;
    const users = (life: Life) => {
      for (let count = 0; count < plan.work.workers; count++) void work(life, shared);
    };
    const urls = () => {
      const first = random.pick(hosts).url;
      const others = hosts.map(({ url }) => url).filter((url) => url !== first);
      return random.chance(0.5) ? [first] : [first, ...others];
    };
    const clients = Array.from(
      { length: plan.clients },
      (_, at) => new ClientHost(world, plan, network, `c${at + 1}`, users, urls),
    );
    const between = new ClusterFaults(world, plan, { etcd, network, hosts });
    const server = new AnyMember(world, hosts);
    const faults = new Faults(world, plan, { network, disk: between, server, clients });
    between.start();
    for (const host of hosts) host.start();
    for (const client of clients) client.start();
    for (let at = 1; at <= plan.httpCallers; at++) new HttpCaller(shared, network, `http${at}`);
    faults.start();
    let healedMs = Number.POSITIVE_INFINITY;
    this.course = new Course({
      ...{ world, shared, watch, clients, faults, records: rules.records, wildClocks },
      afterStep: () => {
        if (!world.calm) return;
        if (healedMs === Number.POSITIVE_INFINITY) healedMs = world.nowMs + HEALED_MS_MAX;
        if (world.nowMs < healedMs) return;
        healedMs = Number.POSITIVE_INFINITY;
        rules.checkHealed(PARTITIONS);
      },
      healed: () => rules.checkHealed(PARTITIONS),
    });
  }
}

function sharedOf(world: World, plan: ClusterPlan, watch: EngineWatch, wildClocks: boolean): Shared {
  const wallsRise = plan.suspends || plan.faultsPerMinute.wallJump === 0;
  const beliefs = new Beliefs(world, !wildClocks, wallsRise, plan.lockDelayMs);
  return new Shared({
    ...{ world, plan, watch, beliefs },
    recorder: new Recorder(world),
    registers: new Registers(world),
  });
}

/** Set before the first start: from then on it holds for everybody. */
function setUp(plan: ClusterPlan, { state }: SimEtcd): void {
  for (const service of plan.lockDelayMs === 0 ? [] : plan.services) {
    const key = `default/service/${service}/settings/`;
    const value = encodeRecord(key, { lockDelayMs: plan.lockDelayMs });
    state.apply({ compare: [], ops: [{ put: `${AT}${clusterKeyOf(key, "nobody")}`, value }] });
  }
}
