import { measureScale } from "./cluster/scale.js";
import { simulateCluster } from "./cluster/simulate-cluster.js";
import { type RunResult, simulate } from "./simulate.js";

const STEPS_DEFAULT = 10_000;

const NUMBERS: Readonly<
  Record<string, "seeds" | "seed" | "steps" | "stopAfter" | "members" | "share" | undefined>
> = {
  "--seeds": "seeds",
  "--seed": "seed",
  "--steps": "steps",
  "--stop-after": "stopAfter",
  "--members": "members",
  "--share": "share",
};

const options = optionsOf(process.argv.slice(2));
if (options.members > 0) process.exit(await tellScale());
const startedMs = performance.now();
let [steps, violations, seeds, grants, unjudged, takeovers, handOvers, keyChecks] = [0, 0, 0, 0, 0, 0, 0, 0];
for (let seed = options.seed; seed < options.seed + options.seeds; seed++) {
  const run = { seed, steps: options.steps, wildClocks: options.wild };
  const result = await (options.cluster ? simulateCluster(run) : simulate(run));
  takeovers += result.takeovers ?? 0;
  handOvers += result.handOvers ?? 0;
  keyChecks += result.keyChecks ?? 0;
  seeds++;
  steps += result.steps;
  grants += result.grants;
  unjudged += result.unjudged;
  if (options.verbose)
    console.log(`seed ${seed}: ${result.steps} steps, ${result.grants} grants, digest ${result.digest}`);
  if (result.violations.length === 0) continue;
  violations++;
  tell(result);
  if (violations >= options.stopAfter) break;
}
const perSecond = Math.round(steps / ((performance.now() - startedMs) / 1_000));
console.log(`${grants} grants`);
if (options.cluster)
  console.log(
    `partitions: ${takeovers} taken after a fence, ${handOvers} handed over; members asked ${keyChecks} times what they know of keys`,
  );
if (unjudged > 0) console.log(`${unjudged} lock histories were too large to be judged`);
console.log(`seeds ${seeds}, steps ${steps}, violations ${violations}, steps/s ${perSecond}`);
process.exit(violations === 0 ? 0 : 1);

/** What so many members ask of etcd, in a table. */
async function tellScale(): Promise<number> {
  const round = (value: number) => Math.round(value).toLocaleString("en");
  console.log(`${options.members} members, each shares ${options.share} bytes`);
  console.log("what | took ms | transactions | a second | KB a second in, out | peak a second | peak KB out");
  await measureScale({ members: options.members, shareBytes: options.share }, (seen) => {
    const { what, ms, txns, looks, bytesIn, bytesOut, txnsPeak, bytesOutPeak } = seen;
    const { awayMsMax, awayMsMean } = seen;
    const away =
      awayMsMax === 0
        ? ""
        : `; nobody served a partition for ${round(awayMsMean)} ms, ${round(awayMsMax)} at most`;
    const rate = (count: number) => round(count / (ms / 1_000));
    console.log(
      `${what} | ${round(ms)} | ${round(txns)}, ${round(looks)} looks | ${rate(txns)} | ${rate(bytesIn / 1e3)}, ${rate(bytesOut / 1e3)} | ${round(txnsPeak)} | ${round(bytesOutPeak / 1e3)}${away}`,
    );
  });
  return 0;
}

function tell({ seed, violations, story }: RunResult): void {
  console.log(`\n--- seed ${seed}`);
  for (const line of story) console.log(line);
  for (const { rule, text } of violations) console.log(`VIOLATION [${rule}] ${text}`);
  const more = `${options.cluster ? " --cluster" : ""}${options.wild ? " --wild" : ""}${options.steps === STEPS_DEFAULT ? "" : ` --steps ${options.steps}`}`;
  console.log(`LOCKDB_SEED=${seed}   again: npm run sim -- --seed ${seed}${more}\n`);
}

function optionsOf(given: readonly string[]) {
  const values = {
    seeds: 1,
    seed: Number(process.env.LOCKDB_SEED ?? 1),
    steps: STEPS_DEFAULT,
    stopAfter: 1,
    /** More than 0: how much so many members ask of etcd is measured, and nothing else. */
    members: 0,
    share: 0,
    wild: false,
    cluster: false,
    verbose: false,
  };
  for (let at = 0; at < given.length; at++) {
    const flag = given[at];
    if (flag === "--wild") values.wild = true;
    else if (flag === "--cluster") values.cluster = true;
    else if (flag === "--verbose") values.verbose = true;
    else {
      const name = NUMBERS[flag!];
      const value = Number(given[++at]);
      if (name === undefined || !Number.isSafeInteger(value) || value < 0) usage(flag!);
      values[name] = value;
    }
  }
  return values;
}

function usage(flag: string): never {
  console.error(`Unknown or bad option ${flag}.`);
  console.error(
    "npm run sim -- [--seeds COUNT] [--seed FIRST] [--steps N] [--stop-after VIOLATIONS] [--cluster] [--wild] [--verbose]",
  );
  console.error("npm run sim -- --members COUNT [--share BYTES]");
  process.exit(64);
}
