import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { WebSocketServer } from "ws";
import { realServer } from "./real.js";

const ROOT = fileURLToPath(new URL("../../../..", import.meta.url));

const real = realServer();

/** Runs a program with the package as it is built and installed. */
async function run(program: string, options: { readonly cjs?: boolean; readonly url?: string } = {}) {
  const type = options.cjs === true ? "commonjs" : "module";
  const others = Object.entries(process.env).filter(([variable]) => !variable.startsWith("LOCKDB_"));
  const env = {
    ...Object.fromEntries(others),
    LOCKDB_SERVICE_ID: "reports",
    LOCKDB_API_KEY: real.server.rootKey,
    LOCKDB_SERVER_URL: options.url ?? real.server.url,
    LOCK: real.name,
  };
  const child = spawn(process.execPath, [`--input-type=${type}`, "-e", program], {
    cwd: ROOT,
    env,
    timeout: 15_000,
  });
  let [stdout, stderr] = ["", ""];
  let printedAtMs = 0;
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
    printedAtMs = performance.now();
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const [code] = await once(child, "close");
  expect(stderr).toBe("");
  expect(code).toBe(0);
  /** How long it went on after its last word. */
  return { stdout, lingeredMs: performance.now() - printedAtMs };
}

const START = `import LockDB from "lockdb"; const locker = new LockDB(); const { LOCK } = process.env;`;
const SOON_MS = 3_000;

describe("a process", () => {
  test.concurrent.each([
    ["acquire and release", `const lease = await locker.acquire(LOCK); await lease.release();`],
    ["withLock", `await locker.withLock(LOCK + " 2", () => {});`],
    ["lock: the lock outlives it", `await locker.lock(LOCK + " 3");`],
    ["check and inspect", `await locker.check(LOCK); await locker.inspect(LOCK);`],
    ["close", `await locker.acquire(LOCK + " 4"); await locker.close();`],
    [
      "a time-out",
      `await locker.lock(LOCK + " 5"); await locker.acquire(LOCK + " 5", { wait: 20 }).catch(() => {});`,
    ],
    [
      "an abort",
      `await locker.lock(LOCK + " 6"); const signal = AbortSignal.timeout(20);
       await locker.acquire(LOCK + " 6", { signal, wait: "forever" }).catch(() => {});`,
    ],
    ["a client that was never used", ``],
  ])("[I1bg] ends by itself after %s", async (_what, program) => {
    const { stdout, lingeredMs } = await run(`${START} ${program} console.log("done");`);
    expect(stdout).toBe("done\n");
    expect(lingeredMs).toBeLessThan(SOON_MS);
  });

  test.concurrent("[I1bh] does not end while a lock is held, or waited for", async () => {
    // Its own timers keep no process alive, so only the client can.
    const { stdout } = await run(`${START}
      const lease = await locker.acquire(LOCK);
      setTimeout(async () => { console.log("released", await lease.release()); }, 300).unref();
      const next = await locker.acquire(LOCK);
      console.log("granted");
      setTimeout(async () => { console.log("released", await next.release()); }, 300).unref();`);
    expect(stdout.split("\n").sort()).toEqual(["", "granted", "released true", "released true"]);
  });

  test.concurrent("[I1bi] ends soon after a close that its server does not answer", async () => {
    const deaf = new WebSocketServer({ port: 0, host: "127.0.0.1", handleProtocols: ([first]) => first! });
    // It reads nothing from its sockets, so that it does not answer a close either.
    deaf.on("connection", (_socket, request) => request.socket.pause());
    await once(deaf, "listening");
    const { port } = deaf.address() as { port: number };
    const { lingeredMs } = await run(
      `${START}
       const waiting = locker.acquire(LOCK).catch(({ code }) => code);
       setTimeout(async () => { await locker.close(); console.log(await waiting); }, 200);`,
      { url: `http://127.0.0.1:${port}` },
    );
    // Its close has a second to be answered, and so has its bye.
    expect(lingeredMs).toBeLessThan(1_000 + SOON_MS);
    for (const socket of deaf.clients) socket.terminate();
    deaf.close();
  });

  test.concurrent("[I1bj] ends when its server was never there, with a ConnectionError that says where it looked", async () => {
    const gone = createServer().listen(0, "127.0.0.1");
    await once(gone, "listening");
    const { port } = gone.address() as { port: number };
    gone.close();
    const { stdout, lingeredMs } = await run(
      `${START} await locker.acquire(LOCK).catch((error) => console.log(error.name, error.message));`,
      { url: `http://127.0.0.1:${port}` },
    );
    expect(stdout).toMatch(new RegExp(`^ConnectionError .*127\\.0\\.0\\.1:${port}`));
    expect(lingeredMs).toBeLessThan(SOON_MS);
  });
});

describe("the package", () => {
  test.concurrent("[I1bk] require and import give the same class, with the error classes as statics", async () => {
    const { stdout } = await run(
      `const LockDB = require("lockdb");
       const { LockTimeoutError } = LockDB;
       import("lockdb").then(async (module) => {
         const names = ["LockDB", "LockDBError", "LockTimeoutError", "LockLostError", "DeadlockError",
           "UnauthorizedError", "ConnectionError"];
         const locker = new LockDB();
         await locker.lock(process.env.LOCK + " 7");
         const error = await locker.acquire(process.env.LOCK + " 7", { wait: 0 }).catch((error) => error);
         console.log(JSON.stringify([
           typeof LockDB, module.default === LockDB, names.map((name) => LockDB[name] === module[name]),
           error instanceof LockTimeoutError, error.name,
         ]));
       });`,
      { cjs: true },
    );
    expect(JSON.parse(stdout)).toEqual(["function", true, Array(7).fill(true), true, "TimeoutError"]);
  });

  test.concurrent("[I1bl] nothing happens on loading it, and the protocol can be had by itself", async () => {
    const { stdout } = await run(
      `await import("lockdb"); const { ERRORS } = await import("lockdb/protocol");
       const active = process.getActiveResourcesInfo().filter((kind) => /TCP|TLS|Timeout|Immediate/.test(kind));
       console.log(active.length, ERRORS.LOCK_TIMEOUT.status);`,
    );
    expect(stdout).toBe("0 423\n");
  });
});
