import { spawn } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** What a copy needs. `dist` is built in it; what starts real processes is no killer. */
const COPIED = [
  "packages",
  "sim",
  "tests",
  "examples",
  "package.json",
  "tsconfig.json",
  "tsconfig.base.json",
  "vitest.config.ts",
];
const LEFT_OUT = new Set(["dist", "node_modules", "processes"]);

const BUILD_MS = 120_000;
const KILLER_MS = 120_000;
/** On top of that, for each test. */
const TEST_MS = 5_000;
const SEARCH_MS = 3_600_000;

/** @type {Set<import("node:child_process").ChildProcess>} */
const children = new Set();

/** A folder for copies, which goes with this process, however that ends. */
export function temporaryFolder() {
  const folder = mkdtempSync(join(tmpdir(), "lockdb-mutants-"));
  process.once("exit", () => {
    for (const child of children) killGroup(child);
    rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  });
  process.once("SIGINT", () => process.exit(130));
  process.once("SIGTERM", () => process.exit(143));
  process.once("SIGHUP", () => process.exit(129));
  return folder;
}

/** A private copy of the repository, in which bugs are planted one at a time. */
export class Sandbox {
  /** @param {string} folder made here */
  constructor(folder) {
    this.folder = folder;
    for (const name of COPIED) {
      cpSync(join(ROOT, name), join(folder, name), {
        recursive: true,
        filter: (path) => !LEFT_OUT.has(basename(path)),
      });
    }
    const modules = join(folder, "node_modules");
    mkdirSync(join(modules, "@lockdb"), { recursive: true });
    for (const name of readdirSync(join(ROOT, "node_modules"))) {
      const isOurs = name === "lockdb" || name === "@lockdb";
      if (!isOurs && !name.startsWith(".")) link(join(ROOT, "node_modules", name), join(modules, name));
    }
    // These two must be the copy's own, or the bug would be somewhere else.
    link(join(folder, "packages/lockdb"), join(modules, "lockdb"));
    link(join(folder, "packages/server"), join(modules, "@lockdb/server"));
  }

  /**
   * Plants a bug while `run` goes on.
   * @template T
   * @param {import("./mutants.js").Mutant} mutant
   * @param {() => Promise<T>} run
   */
  async with({ file, find, put }, run) {
    const path = join(this.folder, file);
    const text = readFileSync(path, "utf8");
    writeFileSync(
      path,
      text.replace(find, () => put),
    );
    try {
      return await run();
    } finally {
      writeFileSync(path, text);
    }
  }

  /** @returns what the compiler says; empty when it is content */
  async build() {
    const { code, output } = await this.#node(["node_modules/typescript/bin/tsc", "-b"], BUILD_MS);
    return code === 0 ? "" : output.trim() || `tsc ended with ${code}`;
  }

  /**
   * The simulator of this copy, in this process. Only for the healthy code: a module is read once.
   * @param {boolean} cluster
   * @returns {Promise<typeof import("../../sim/src/simulate.js").simulate>}
   */
  async simulator(cluster) {
    const load = (/** @type {string} */ file) =>
      import(pathToFileURL(join(this.folder, "sim/dist", file)).href);
    if (cluster) return (await load("cluster/simulate-cluster.js")).simulateCluster;
    return (await load("simulate.js")).simulate;
  }

  /**
   * The first of some seeds that finds something.
   * @param {import("./mutants.js").SeedKiller} killer
   * @param {number} seeds
   * @returns {Promise<{ seed: number, rule: string } | string>} or why none did
   */
  async simulate({ seed, steps, wild, cluster }, seeds = 1) {
    const args = ["sim/dist/main.js", "--seed", seed, "--seeds", seeds, "--steps", steps];
    const ms = seeds === 1 ? KILLER_MS : SEARCH_MS;
    const flags = [...(wild ? ["--wild"] : []), ...(cluster ? ["--cluster"] : [])];
    const { code, output } = await this.#node([...args.map(String), ...flags], ms);
    const rule = /^VIOLATION \[(\w+)\]/m.exec(output)?.[1];
    const found = /^--- seed (\d+)$/m.exec(output)?.[1];
    if (code === 1 && rule !== undefined && found !== undefined) return { seed: Number(found), rule };
    return code === 0 ? "no violation" : `the simulator ended with ${code}: ${lastLine(output)}`;
  }

  /**
   * Runs the tests of these names, and no others.
   * @param {readonly import("./mutants.js").TestKiller[]} wanted
   * @returns {Promise<readonly { test: string, name: string, isThere: boolean, failed: boolean }[] | string>}
   */
  async test(wanted) {
    if (wanted.length === 0) return [];
    const report = join(this.folder, "report.json");
    rmSync(report, { force: true });
    const files = [...new Set(wanted.map(({ test }) => test))];
    const names = [...new Set(wanted.map(({ name }) => name))];
    const pattern = names.map((name) => name.replace(/[[\]]/g, "\\$&")).join("|");
    const args = [
      "node_modules/vitest/vitest.mjs",
      "run",
      "--project",
      "rules",
      "--project",
      "http",
      "--reporter=json",
    ];
    const { output } = await this.#node(
      [...args, `--outputFile=${report}`, "-t", pattern, ...files],
      KILLER_MS + wanted.length * TEST_MS,
    );
    let results;
    try {
      results = JSON.parse(readFileSync(report, "utf8")).testResults;
    } catch {
      return `vitest made no report: ${lastLine(output)}`;
    }
    return wanted.map(({ test, name }) => {
      const of = results.find((/** @type {{ name: string }} */ result) => result.name.endsWith(`/${test}`));
      const states = (of?.assertionResults ?? [])
        .filter((/** @type {{ title: string }} */ { title }) => title.startsWith(`${name} `))
        .map((/** @type {{ status: string }} */ { status }) => status);
      const isThere = states.length > 0 && !states.includes("skipped") && !states.includes("pending");
      return { test, name, isThere, failed: states.includes("failed") };
    });
  }

  /**
   * @param {readonly string[]} args
   * @param {number} timeoutMs
   * @returns {Promise<{ code: number | string, output: string }>}
   */
  #node(args, timeoutMs) {
    return new Promise((resolve) => {
      const child = spawn(process.execPath, args, {
        cwd: this.folder,
        stdio: ["ignore", "pipe", "pipe"],
        // A group of its own: a worker that goes round and round hears of nothing else.
        detached: true,
      });
      children.add(child);
      let output = "";
      let isLate = false;
      const timer = setTimeout(() => {
        isLate = true;
        killGroup(child);
      }, timeoutMs);
      for (const stream of [child.stdout, child.stderr]) {
        stream.setEncoding("utf8").on("data", (text) => {
          output += text;
        });
      }
      child.once("close", (code, signal) => {
        clearTimeout(timer);
        children.delete(child);
        resolve({ code: isLate ? `no end after ${timeoutMs / 1_000} s` : (code ?? `${signal}`), output });
      });
    });
  }
}

/** @param {import("node:child_process").ChildProcess} child */
function killGroup(child) {
  try {
    process.kill(-(/** @type {number} */ (child.pid)), "SIGKILL");
  } catch {
    child.kill("SIGKILL");
  }
}

/** @param {string} target @param {string} path */
function link(target, path) {
  symlinkSync(target, path, "junction");
}

/** @param {string} output */
function lastLine(output) {
  return output.trim().split("\n").at(-1) ?? "";
}
