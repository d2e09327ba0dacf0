import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, mkdtemp, realpath, rm, symlink } from "node:fs/promises";
import { createRequire } from "node:module";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import LockDB from "lockdb";
import { afterEach, beforeEach, expect, test } from "vitest";
import { BIN, type Env, envOf, inProcess, Running } from "./cli.js";

const GIVEN_KEY = "a root key/of:the=operator's".replaceAll(" ", "_");
const IN_MEMORY = ["serve", "--port", "0", "--store=memory", "--log-level", "fatal"];
const URL_LINE = /LockDB listens on (http:\/\/127\.0\.0\.1:\d+)\n/;
const KEY_LINE = /root key \(shown once\): (ldb_\w+)\n/;

let folder: string;
const running: Running[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "lockdb-cli-"));
});

afterEach(async () => {
  for (const { child, ended } of running.splice(0)) {
    child.kill("SIGKILL");
    await ended;
  }
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
});

test("[A1f] a new data folder gets a root key, shown at that start only; it goes on to work", async () => {
  const args = ["serve", "--port=0", "--log-level=fatal"];
  const first = start(args, {}, folder);
  const url = (await first.until(URL_LINE))[1]!;
  const key = (await first.until(KEY_LINE))[1]!;
  expect(first.stdout).toBe(`LockDB listens on ${url}\nroot key (shown once): ${key}\n`);
  expect(await isLocked(url, key)).toBe(false);
  first.child.kill("SIGTERM");
  expect(await first.ended).toMatchObject({ code: 0, stderr: "" });

  const second = start(args, {}, folder);
  const urlAgain = (await second.until(URL_LINE))[1]!;
  expect(await isLocked(urlAgain, key)).toBe(false);
  expect(second.stdout).toBe(`LockDB listens on ${urlAgain}\n`);
});

test("[A1g] a root key that is given works and is never shown", async () => {
  const server = start([...IN_MEMORY, "--log-level", "debug"], { LOCKDB_ROOT_KEY: GIVEN_KEY });
  const url = (await server.until(URL_LINE))[1]!;
  expect(await isLocked(url, GIVEN_KEY)).toBe(false);
  server.child.kill("SIGTERM");
  const { stdout, stderr } = await server.ended;
  expect(stdout).toBe(`LockDB listens on ${url}\n`);
  expect(stderr).not.toContain(GIVEN_KEY);
});

test("[A4ua] with --signup it says where trials begin, and there they do", async () => {
  const server = start([...IN_MEMORY, "--signup"], { LOCKDB_ROOT_KEY: GIVEN_KEY });
  const page = (await server.until(/^trials begin at (\S+)\n/m))[1]!;
  const answer = await fetch(page);
  expect([answer.status, await answer.text()]).toEqual([200, expect.stringContaining('<div id="app">')]);
  const { headers } = await fetch(page, { redirect: "manual" });
  expect(headers.get("location")).toBe("./#/signup");
});

test.each(["SIGTERM", "SIGINT"] as const)(
  "[I6e] %s stops it in order within 5 s, whoever is connected",
  async (signal) => {
    const server = start(IN_MEMORY);
    const [url, key] = [(await server.until(URL_LINE))[1]!, (await server.until(KEY_LINE))[1]!];
    const locker = new LockDB("demo", { serverUrl: url, apiKey: key });
    await locker.acquire("held");
    const socket = await silentClient(url, key);
    const startMs = performance.now();
    server.child.kill(signal);
    expect(await server.ended).toMatchObject({ code: 0, stderr: "" });
    expect(performance.now() - startMs).toBeLessThan(5_000);
    socket.destroy();
    await locker.close();
  },
);

test("[I6e] a second signal ends it at once", async () => {
  const server = start(IN_MEMORY);
  const socket = await silentClient((await server.until(URL_LINE))[1]!, (await server.until(KEY_LINE))[1]!);
  server.child.kill("SIGTERM");
  // The server is closing: it has said so, and waits for our answer.
  await once(socket, "data");
  server.child.kill("SIGINT");
  expect((await server.ended).code).toBe(130);
  socket.destroy();
});

test("[I6zo] SIGHUP ends nothing: it reads the TLS files now", async () => {
  const certs = fileURLToPath(new URL("../../../server/test/tls/", import.meta.url));
  const [cert, key] = [join(folder, "tls.crt"), join(folder, "tls.key")];
  const put = async (name: string) => {
    await cp(`${certs}${name}.pem`, cert);
    await cp(`${certs}${name}.key`, key);
  };
  await put("server");
  const server = start(["serve", "--port=0", "--store=memory", "--tls-cert", cert, "--tls-key", key]);
  await server.until(/LockDB listens on https:/);
  server.child.kill("SIGHUP");
  await server.until(/new TLS files are in use/);
  await put("server-new");
  server.child.kill("SIGHUP");
  await server.until(/in use[\s\S]*new TLS files are in use/);
  server.child.kill("SIGTERM");
  expect((await server.ended).code).toBe(0);
});

test("[I6f] the process is the server itself", async () => {
  const server = start(IN_MEMORY);
  await server.until(URL_LINE);
  const parents = execFileSync("ps", ["-A", "-o", "ppid="], { encoding: "utf8" }).split(/\s+/);
  expect(parents).not.toContain(String(server.child.pid));
});

test.each([
  [["--port", "http"], {}, "--port: must be a whole number"],
  [[], { LOCKDB_STORE: "paper" }, "LOCKDB_STORE: must be lmdb, memory, or"],
  [["--prot", "1"], {}, "'--prot' (Did you mean --port?)"],
  [["7000"], {}, "too many arguments"],
  [["--host", "0.0.0.0"], {}, "--allow-plain-text"],
  [[], { LOCKDB_ROOT_KEY: "short" }, "LOCKDB_ROOT_KEY"],
])("[I6g] a wrong option stops the start with 64 and says how to mend it: %j %j", async (args, env, says) => {
  const { code, stdout, stderr } = await inProcess(["serve", ...args], env);
  expect({ code, stdout }).toEqual({ code: 64, stdout: "" });
  expect(stderr).toContain(says);
});

test("[I6h] flags come before variables, and an unknown variable only warns", async () => {
  const server = start(IN_MEMORY, {
    LOCKDB_PORT: "1",
    LOCKDB_STORE: "lmdb",
    LOCKDB_PROT: "1",
    LOCKDB_TOKEN: "7",
  });
  await server.until(URL_LINE);
  expect(server.stderr).toBe("lockdb serve: warning: LOCKDB_PROT is not an option and does nothing.\n");
});

test("[I6i] a port or data folder in use: 1, and why", async () => {
  const args = ["serve", "--log-level=fatal", "--port=0"];
  const first = start(args, {}, folder);
  const { port } = new URL((await first.until(URL_LINE))[1]!);
  const [samePort, sameFolder] = await Promise.all([
    start(["serve", "--store=memory", "--log-level=fatal", `--port=${port}`]).ended,
    start(args, {}, folder).ended,
  ]);
  expect(samePort).toMatchObject({ code: 1, stdout: "" });
  expect(samePort.stderr).toContain(`Port ${port} is taken`);
  expect(sameFolder).toMatchObject({ code: 1, stdout: "" });
  expect(sameFolder.stderr).toMatch(/^lockdb serve: .*lockdb-data/);
});

test("[I6j] its help has every option with variable and default", async () => {
  const { code, stdout } = await inProcess(["serve", "--help"]);
  expect(code).toBe(0);
  const text = stdout.replace(/\s+/g, " ");
  expect(text).toMatch(/--port <number> [^(]*\(default: 5625, env: LOCKDB_PORT\)/);
  expect(text).toContain("env: LOCKDB_ALLOW_PLAIN_TEXT)");
  expect(text).toContain("LOCKDB_ROOT_KEY_FILE");
});

test("[I4o] without the server's package it says how to add it, and exits 69", async () => {
  const modules = join(await realpath(folder), "node_modules");
  const source = fileURLToPath(new URL("../../", import.meta.url));
  await mkdir(join(modules, "lockdb"), { recursive: true });
  for (const part of ["bin", "dist", "package.json"]) {
    await cp(join(source, part), join(modules, "lockdb", part), { recursive: true });
  }
  const { resolve } = createRequire(import.meta.url);
  for (const name of ["commander", "ws"]) await symlink(dirname(resolve(name)), join(modules, name), "dir");
  const bin = join(modules, "lockdb/bin/lockdb.js");
  const outcomes = [];
  for (const args of [
    ["serve", "--port", "0"],
    ["serve", "--help"],
  ]) {
    const child = spawn(process.execPath, [bin, ...args], { env: envOf({}) });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (output += text));
    const [code] = await once(child, "close");
    outcomes.push({ code, output });
  }
  expect(outcomes.map(({ code }) => code)).toEqual([69, 0]);
  for (const { output } of outcomes) expect(output).toContain("npm install lockdb @lockdb/server");
});

const hasTerminal = isUtilLinuxScript();
if (!hasTerminal)
  console.warn("SKIPPED: the banner tests need `script` of util-linux, for a pseudo terminal.");

test.skipIf(!hasTerminal)(
  "[A1h] at a terminal: address, data, key and what to try; Ctrl-C stops it",
  async () => {
    const first = await banner(["--port", "0"]);
    expect(first).toMatch(/LockDB listens on (http:\/\/127\.0\.0\.1:\d+)\n/);
    expect(first).toMatch(/^Data: .*lockdb-data$/m);
    expect(first).toMatch(/^ {2}export LOCKDB_API_KEY=ldb_\w+$/m);
    expect(first).toMatch(/^ {2}export LOCKDB_SERVICE_ID=demo$/m);
    expect(first).toMatch(/^ {2}export LOCKDB_SERVER_URL=http:\/\/127\.0\.0\.1:\d+$/m);
    for (const command of ["lock teapot", "check teapot", 'run teapot -- echo "only one at a time"']) {
      expect(first).toContain(`  npx lockdb ${command}\n`);
    }

    const second = await banner(["--port", "0"]);
    expect(second).not.toContain("ldb_");
    expect(second).toContain("LOCKDB_ROOT_KEY=<16 characters or more> lockdb serve");

    const given = await banner(["--port", "0", "--store", "memory"], { LOCKDB_ROOT_KEY: GIVEN_KEY });
    expect(given).not.toContain(GIVEN_KEY);
    expect(given).toContain("Data: memory, gone when the server stops");
  },
);

function start(args: readonly string[], env: Env = {}, cwd = folder): Running {
  const server = new Running(args, env, { cwd });
  running.push(server);
  return server;
}

async function isLocked(serverUrl: string, apiKey: string): Promise<boolean> {
  const locker = new LockDB("demo", { serverUrl, apiKey });
  try {
    return await locker.check("teapot");
  } finally {
    await locker.close();
  }
}

/** A connection of the native protocol that never says anything, not even that it closes. */
async function silentClient(url: string, key: string) {
  const { port, host } = new URL(url);
  const socket = connect(Number(port), "127.0.0.1");
  socket.on("error", () => {});
  socket.write(
    `GET /v1/connect HTTP/1.1\r\nhost: ${host}\r\nauthorization: Bearer ${key}\r\nconnection: upgrade\r\nupgrade: websocket\r\n` +
      "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-protocol: lockdb.v1\r\n\r\n",
  );
  const [answer] = await once(socket, "data");
  expect(String(answer)).toContain(" 101 ");
  return socket;
}

function isUtilLinuxScript(): boolean {
  try {
    return execFileSync("script", ["--version"], { encoding: "utf8", stdio: "pipe" }).includes("util-linux");
  } catch {
    return false;
  }
}

/** What `serve` writes on a pseudo terminal, until Ctrl-C ends it. */
async function banner(args: readonly string[], env: Env = {}): Promise<string> {
  const words = [process.execPath, BIN, "serve", "--log-level", "fatal", ...args];
  // `exec`: a shell in between, which some keep, would be ended by the Ctrl-C itself, whatever the server does.
  const command = `exec ${words.map((word) => `'${word}'`).join(" ")}`;
  const child = spawn("script", ["-qec", command, "/dev/null"], { cwd: folder, env: envOf(env) });
  let text = "";
  let isReady = false;
  child.stdout.on("data", (data) => {
    text += data;
    if (isReady || !text.includes("Ctrl-C stops")) return;
    isReady = true;
    child.stdin.write("\u0003");
  });
  const [code] = await once(child, "close");
  expect({ code, text }).toMatchObject({ code: 0 });
  return text.replaceAll("\r\n", "\n");
}
