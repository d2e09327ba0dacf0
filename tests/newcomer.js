// A newcomer's path: from nothing to the first lock, with what stands in README.md and nothing else, in an empty home. Twice: in a clean
// clone, and with the packed packages. `npm run newcomer` prints steps and minutes; it ends with 1 when a step fails.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { blocksOf, pack, ROOT, run, startServer, strangerEnv } from "./packed/packed.js";

const README = readFileSync(join(ROOT, "README.md"), "utf8");

/** The program of the page that takes the first lock: its first one. What it works on is not the page's matter. */
const FIRST_LOCK = `const [invoice, charge] = [42, async () => console.log("charged")];\n${blocksOf(README, "js")[0]}await locker.close();\n`;

const folder = mkdtempSync(join(tmpdir(), "lockdb-newcomer-"));
const table = [];
let hasFailed = false;
try {
  table.push(await walk("a clean clone", inClone));
  table.push(await walk("packed packages", inEmptyFolder));
} finally {
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}
console.log("\n| from | steps | time | what takes it |\n| --- | --- | --- | --- |");
for (const { from, steps } of table) {
  const all = steps.reduce((sum, { ms }) => sum + ms, 0);
  const parts = steps.map(({ step, ms }) => `${step} ${seconds(ms)}`).join(", ");
  console.log(`| ${from} | ${steps.length} | ${minutes(all)} | ${parts} |`);
}
process.exitCode = hasFailed ? 1 : 0;

/** Takes a way step by step, and counts them. */
async function walk(from, way) {
  const steps = [];
  const step = async (name, work) => {
    console.log(`${from}: ${name}`);
    const startMs = performance.now();
    const result = await work();
    steps.push({ step: `\`${name}\``, ms: performance.now() - startMs });
    return result;
  };
  try {
    await way(step);
  } catch (error) {
    hasFailed = true;
    console.error(`${from}: after ${steps.length} steps: ${error.message}`);
  }
  return { from, steps };
}

/** `npm ci && npm start` in a clone, with whatever was committed. */
async function inClone(step) {
  const [cwd, env] = [join(folder, "clone"), strangerEnv(join(folder, "home-1"))];
  const [, install, start] =
    /^(npm ci) && (npm start)/m.exec(blocksOf(README, "sh").join("")) ?? fail("no `npm ci && npm start`");
  await step("git clone", () => sure("git", ["clone", "-q", ROOT, cwd], { cwd: folder, env }));
  await step(install, () => sure("sh", ["-c", install], { cwd, env }));
  // Where it listens is the one thing that is not the page's: something else may be on this machine.
  const server = await step(start, () => startServer("sh", ["-c", `${start} -- --port 0`], { cwd, env }));
  await firstLock(step, { cwd, env, server });
}

/** The same with the packages, as their own page says. */
async function inEmptyFolder(step) {
  const [cwd, env] = [mkdtempSync(join(folder, "app-")), strangerEnv(join(folder, "home-2"))];
  const { client, server: serverPackage } = await pack(join(folder, "packed"));
  const page = readFileSync(join(ROOT, "packages/lockdb/README.md"), "utf8");
  const [install, serve] = blocksOf(page, "sh")[0].split("\n");
  if (install !== "npm install lockdb @lockdb/server") fail("another install line");
  await step(install, () => sure("npm", ["install", client, serverPackage], { cwd, env }));
  const start = serve.replace(/ *#.*/, "");
  const server = await step(start, () => startServer("sh", ["-c", `exec ${start} --port 0`], { cwd, env }));
  await firstLock(step, { cwd, env, server });
}

async function firstLock(step, { cwd, env, server }) {
  const mine = { ...env, LOCKDB_API_KEY: server.key, LOCKDB_SERVER_URL: server.url };
  try {
    writeFileSync(join(cwd, "first-lock.mjs"), FIRST_LOCK);
    const said = await step("node first-lock.mjs", () =>
      sure("node", ["first-lock.mjs"], { cwd, env: mine }),
    );
    if (said !== "charged\n") fail(`the first lock said ${JSON.stringify(said)}`);
  } finally {
    await server.stop();
  }
}

async function sure(command, args, options) {
  const { code, stdout, stderr } = await run(command, args, options);
  if (code !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${code}.\n${stdout}${stderr}`);
  return stdout;
}

function fail(what) {
  throw new Error(`What README.md says has changed: ${what}.`);
}

function seconds(ms) {
  return `${(ms / 1000).toFixed(1)} s`;
}

function minutes(ms) {
  return `${(ms / 60_000).toFixed(1)} min`;
}
