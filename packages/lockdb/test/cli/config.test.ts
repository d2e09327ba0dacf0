import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as server from "@lockdb/server";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { ServerPackage } from "../../src/cli/server-package.js";
import { type Env, inProcess, Running } from "./cli.js";

const URL_LINE = /LockDB listens on (http:\S+)\n/;
const KEY = "canary-of-the-root-key";

let folder: string;
let file: string;
const running: Running[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "lockdb-config-"));
  file = join(folder, "lockdb.toml");
});

afterEach(async () => {
  for (const { child, ended } of running.splice(0)) {
    child.kill("SIGKILL");
    await ended;
  }
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
});

test("[I4zzn] what the command line takes @lockdb/server for is what that is", () => {
  // The compiler compares the two when the tests are type-checked.
  const used: ServerPackage = server;
  expect(Object.values(used.OPTIONS).every(({ env }) => env.startsWith("LOCKDB_"))).toBe(true);
});

test("[I4zzo] config print tells what serve would take, and where it is from", async () => {
  await writeFile(file, 'port = 7000\nsignup = true\nlog-level = "warn"\n');
  const args = ["config", "print", "--config", file, "--port", "7001", "--no-signup"];
  const { code, stdout, stderr } = await inProcess(args, { LOCKDB_STORE: "memory", LOCKDB_ROOT_KEY: KEY });
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toMatch(/^port = 7001 +# --port$/m);
  expect(stdout).toMatch(/^signup = false +# --signup$/m);
  expect(stdout).toMatch(/^store = "memory" +# LOCKDB_STORE$/m);
  expect(stdout).toContain(`log-level = "warn"  # ${file}\n`);
  expect(stdout).not.toContain(KEY);
  const json = await inProcess(["config", "print", "--json"], { LOCKDB_CONFIG: file, LOCKDB_ROOT_KEY: KEY });
  expect(json.stdout).not.toContain(KEY);
  expect(json.stdout.trimEnd().split("\n")).toHaveLength(1);
  expect(JSON.parse(json.stdout)).toMatchObject({
    config: file,
    options: { port: { value: 7_000, from: "file", source: file }, "root-key-file": { isSet: true } },
  });
});

test("[I4zzo] it exits 64 where serve would, in the form that is asked for", async () => {
  await writeFile(file, "prot = 7000\n");
  const said = `${file}: prot: there is no such option. Did you mean port?`;
  for (const command of [["config", "print"], ["serve"]]) {
    const { code, stdout, stderr } = await inProcess([...command, "--config", file]);
    expect({ code, stdout }).toEqual({ code: 64, stdout: "" });
    expect(stderr).toContain(said);
    const json = await inProcess([...command, "--json"], { LOCKDB_CONFIG: file });
    expect([json.code, JSON.parse(json.stderr).error.message]).toEqual([64, expect.stringContaining(said)]);
  }
});

test("[I6zv] SIGHUP takes the log level of the configuration file, and says what needs a new start", async () => {
  await writeFile(file, 'port = 0\nstore = "memory"\nlog-level = "warn"\n');
  const serving = start(["serve", "--config", file], { LOCKDB_ROOT_KEY: KEY });
  const url = (await serving.until(URL_LINE))[1]!;
  await fetch(`${url}/livez`);
  await put('port = 0\nstore = "memory"\nlog-level = "debug"\nholds-max = 5\n');
  serving.child.kill("SIGHUP");
  await serving.until(/"options":\["holds-max"\].*need a new start/);
  await untilLogged(serving, url);
  await put("port = 0\nlog-levle = 'warn'\n");
  serving.child.kill("SIGHUP");
  await serving.until(
    /options are not read anew, those in use stay: \S+lockdb.toml: log-levle: .*Did you mean log-level/,
  );
  // Still at debug.
  expect((await fetch(`${url}/livez`)).status).toBe(200);
  await serving.until(/"route":"\/livez"[\s\S]*not read anew[\s\S]*"route":"\/livez"/);
  expect(serving.stderr).not.toMatch(/"level":\d+.*"route":"\/livez"[\s\S]*"options":\["holds-max"\]/);
  await rm(file);
  serving.child.kill("SIGHUP");
  await serving.until(/those in use stay: --config: the file \S+ cannot be read: ENOENT/);
  expect((await fetch(`${url}/livez`)).status).toBe(200);
  expect(serving.stderr).not.toContain(KEY);
  serving.child.kill("SIGTERM");
  expect((await serving.ended).code).toBe(0);
});

test("[I6zv] a changed file is seen without a signal, and a flag goes before it still", async () => {
  await writeFile(file, 'port = 0\nstore = "memory"\nlog-level = "warn"\n');
  const serving = start(["serve", "--config", file, "--log-level", "fatal", "--json"], {
    LOCKDB_ROOT_KEY: KEY,
  });
  const { url } = JSON.parse((await serving.until(/^(\{"url":.*\})\n/))[1]!);
  await put('port = 0\nstore = "memory"\nlog-level = "debug"\nlog-levle = 1\n');
  const said = (await serving.until(/^(\{"warning":.*not read anew.*\})\n/m))[1]!;
  expect(JSON.parse(said).warning).toContain("log-levle");
  await put('port = 0\nstore = "memory"\nlog-level = "debug"\n');
  expect((await fetch(`${url}/livez`)).status).toBe(200);
  serving.child.kill("SIGTERM");
  expect((await serving.ended).stderr).not.toContain("/livez");
});

test("[I4zzp] serve --json prints address and new root key as one object", async () => {
  const serving = start(["serve", "--json", "--port", "0", "--store", "memory"]);
  const said = JSON.parse((await serving.until(/^(.*)\n/))[1]!);
  expect(said).toEqual({ url: expect.stringMatching(/^http:/), rootKey: expect.stringMatching(/^ldb_/) });
  const { code } = await inProcess(["ping"], { LOCKDB_API_KEY: said.rootKey, LOCKDB_SERVER_URL: said.url });
  expect(code).toBe(0);
});

test("[I6zw] a server that cannot go on by itself ends with 1, and says why", async () => {
  // What the rules of one service throw is a mistake of ours, which no request makes: planted in the running process.
  const plant = `
    import { Engine } from ${JSON.stringify(new URL("../../../server/dist/engine/index.js", import.meta.url).href)};
    const apply = Engine.prototype.apply;
    Engine.prototype.apply = function (command, ...rest) {
      if (JSON.stringify(command).includes("planted-mistake")) throw new Error("planted");
      return apply.call(this, command, ...rest);
    };`;
  const serving = start(["serve", "--port", "0", "--store", "memory"], {
    LOCKDB_ROOT_KEY: KEY,
    NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(plant)}`,
  });
  const url = (await serving.until(URL_LINE))[1]!;
  let isOver = false;
  void serving.ended.then(() => {
    isOver = true;
  });
  while (!isOver) {
    const body = JSON.stringify({
      serviceId: "reports",
      eventName: "lock",
      lockName: "planted-mistake",
      waitForLockInMs: 500,
    });
    await fetch(`${url}/lock`, { method: "POST", headers: { authorization: `Bearer ${KEY}` }, body }).catch(
      () => {},
    );
  }
  const { code, stderr } = await serving.ended;
  expect(stderr).toMatch(/^lockdb serve: stopping: Services failed 4 times in 60 seconds, .*planted$/m);
  expect(code).toBe(1);
});

/** In its place at once, as editors and Kubernetes do. */
async function put(text: string): Promise<void> {
  await writeFile(`${file}.new`, text);
  await rename(`${file}.new`, file);
}

/** Asks until a request leaves a line: the new level is in use a moment after its signal. */
async function untilLogged(serving: Running, url: string): Promise<void> {
  while (!serving.stderr.includes('"route":"/livez"')) await fetch(`${url}/livez`);
}

function start(args: readonly string[], env: Env = {}): Running {
  const serving = new Running(args, env, { cwd: folder });
  running.push(serving);
  return serving;
}
