// Reads what nobody should write, from a process of its own: it may end by it. An input is made of a seed and its number alone.
import { openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { completionTree } from "../../../../packages/lockdb/dist/cli/completion-tree.js";
import { programFor } from "../../../../packages/lockdb/dist/cli/main.js";
import { checkBackup, inspectStore, OPTIONS, readOptions } from "../../../../packages/server/dist/index.js";
import { given, serveCalls } from "../../../processes/mailbox.mjs";
import { argv, backupBytes, configText, flagsAndVariables, spoilFolder } from "./local.js";
import { Random } from "./random.js";
import { HANG_MS } from "./wire.js";

const { seed, folder, backup, data } = given;
/** Which input is being read, for whoever finds this process gone. */
const progress = openSync(join(folder, "progress"), "w");
const rightBackup = backup === undefined ? null : readFileSync(backup);
const { program } = await programFor([]);
const nodes = completionTree(program);
const configPath = join(folder, "config.toml");

/** What our own words for a refusal are; any other class of error is a mistake of ours. */
const REFUSALS = [
  "Error",
  "UsageError",
  "CommanderError",
  "InvalidArgumentError",
  "StoreUnusableError",
  "StoreInUseError",
  "BackupUnusableError",
];

const EATERS = {
  config(random) {
    writeFileSync(configPath, configText(random, OPTIONS));
    readOptions({ config: configPath }, {});
  },
  options(random) {
    const { flags, variables } = flagsAndVariables(random, OPTIONS);
    readOptions(flags, variables);
  },
  async cli(random) {
    const words = argv(random, nodes);
    const { program, args } = await programFor(words);
    program.configureOutput({ writeOut: () => {}, writeErr: () => {}, outputError: () => {} });
    for (const command of program.commands)
      for (const each of [command, ...command.commands]) {
        each.configureOutput({ writeOut: () => {}, writeErr: () => {}, outputError: () => {} });
        // What it would do is for real processes.
        each.action(() => {});
      }
    await program.parseAsync(args, { from: "user" });
  },
  async backup(random) {
    const bytes = backupBytes(random, rightBackup);
    const path = join(folder, "backup");
    writeFileSync(path, bytes);
    await (random.is(0.5) ? checkBackup(path) : inspected(path));
    if (!bytes.equals(rightBackup)) throw new TypeError("a backup that was changed is taken for a right one");
  },
  async store(random) {
    const path = join(folder, "store");
    spoilFolder(random, data, path);
    await inspectStore(path);
  },
};

async function inspected(path) {
  const { damageCount, damage } = await inspectStore(path);
  if (damageCount > 0) throw new Error(damage[0]);
}

serveCalls({
  eat: async ({ kind, from, count }) => {
    const finds = [];
    let refused = 0;
    for (let number = from; number < from + count; number++) {
      writeSync(progress, `${kind} ${number}`.padEnd(40), 0);
      const startedMs = performance.now();
      const cpuBefore = process.cpuUsage();
      try {
        await EATERS[kind](new Random(seed, number));
      } catch (error) {
        refused++;
        if (!REFUSALS.includes(error.constructor.name) && error.code === undefined)
          finds.push({ kind, number, problem: `${error.stack ?? error}` });
      }
      // Time that this process itself took: the machine has others.
      const { user, system } = process.cpuUsage(cpuBefore);
      if ((user + system) / 1_000 > HANG_MS)
        finds.push({ kind, number, problem: `took ${(performance.now() - startedMs).toFixed(0)} ms` });
    }
    return { sent: count, refused, finds };
  },
  /** Of an input: what it was, for whoever looks into it. */
  made: ({ kind, number }) => {
    const random = new Random(seed, number);
    if (kind === "config") return configText(random, OPTIONS).toString();
    if (kind === "options") return flagsAndVariables(random, OPTIONS);
    if (kind === "cli") return argv(random, nodes);
    if (kind === "store") return spoilFolder(random, data, join(folder, "store"));
    return "a backup";
  },
  /** Command lines for real processes. */
  argvs: ({ from, count }) =>
    Array.from({ length: count }, (_, at) => argv(new Random(seed, from + at), nodes, { plain: true })),
});
