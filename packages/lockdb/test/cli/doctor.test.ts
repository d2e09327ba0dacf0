import { spawn, spawnSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { networkInterfaces, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type Server, serve } from "@lockdb/server";
import LockDB from "lockdb";
import { afterAll, afterEach, describe, expect, test, vi } from "vitest";
import { certFile, TLS } from "../../../server/test/tls/files.js";
import { rateFinding, type Sample, skewFinding } from "../../src/cli/doctor/clocks.js";
import type { Finding } from "../../src/cli/doctor/finding.js";
import { versionFinding } from "../../src/cli/doctor/key.js";
import { BIN, type Env, envOf, inProcess, type Outcome, Running } from "./cli.js";

const KEY = "a-root-key-of-this-test";
const QUIET = { port: 0, logLevel: "silent", rootKey: KEY } as const;
/** How full the disks of this machine are is no part of most tests. */
const FAST = ["--json", "--measure", "0s", "--skip", "disk,data-disk"];

const scratch = mkdtempSync(join(tmpdir(), "lockdb-doctor-"));
const open: Server[] = [];
/** Mounts of one's own, which nobody else sees and which are gone with the process. */
const UNSHARE = ["unshare", "-rm"] as const;
const MOUNTS = spawnSync(UNSHARE[0], [UNSHARE[1], "sh", "-c", `mount -t tmpfs none ${scratch}`]).status === 0;
if (!MOUNTS)
  console.warn("SKIPPED: a small disk needs `unshare -rm` (util-linux), which this machine does not allow");
let folders = 0;

afterEach(async () => {
  vi.useRealTimers();
  await Promise.all(open.splice(0).map((server) => server.close()));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const newFolder = () => join(scratch, String(++folders));

async function started(options: Parameters<typeof serve>[0] = {}): Promise<Server> {
  const server = await serve({ ...QUIET, store: "memory", ...options });
  open.push(server);
  return server;
}

const envFor = (url: string, more: Env = {}): Env => ({
  LOCKDB_SERVER_URL: url,
  LOCKDB_API_KEY: KEY,
  ...more,
});

/** Findings by their checks. */
function findingsOf({ stdout, stderr }: Outcome): Readonly<Record<string, Finding>> {
  expect(stderr).toBe("");
  const findings = stdout
    .trimEnd()
    .split("\n")
    .map((line): Finding => JSON.parse(line));
  return Object.fromEntries(findings.map((finding) => [finding.check, finding]));
}

async function doctor(env: Env, ...args: readonly string[]) {
  const outcome = await inProcess(["doctor", ...FAST, ...args], env);
  const findings = findingsOf(outcome);
  const wrong = Object.values(findings).filter(({ status }) => status === "warn" || status === "fail");
  // Whatever is wrong comes with what to do, and makes the command fail.
  for (const { found, mend } of wrong) expect(mend, found).toMatch(/^.{10,}$/);
  expect(outcome.code).toBe(wrong.length === 0 ? 0 : 1);
  return { findings, wrong: wrong.map(({ check, status }) => `${status} ${check}`) };
}

describe("lockdb doctor", () => {
  test("[I4wa] finds nothing where nothing is wrong, and says what it has looked at", async () => {
    const dataDir = newFolder();
    const server = await started({ store: "lmdb", dataDir });
    const args = ["-i", "billing", "--data-dir", dataDir];
    const { findings, wrong } = await doctor(envFor(server.url), ...args);
    expect(wrong).toEqual([]);
    expect(findings["data-folder"]!.found).toMatch(/is in use by process \d+, as it should be/);
    expect(findings.connect!.found).toMatch(/the native protocol answers/);
    const plain = await inProcess(
      ["doctor", "--measure", "0s", "--skip", "disk,data-disk", ...args],
      envFor(server.url),
    );
    expect(plain.code).toBe(0);
    const lines = plain.stdout.trimEnd().split("\n");
    expect(lines[0]).toMatch(/^ok {4}reach {8}http:\/\/127/);
    expect(lines.at(-1)).toMatch(/^\d+ ok, 0 warnings, 0 faults, 3 skipped$/);
    expect(plain.stdout).not.toContain("\x1b");
  });

  test("[I4wb] the wrong key, none, and one that may not", async () => {
    const server = await started();
    const { findings, wrong } = await doctor(envFor(server.url, { LOCKDB_API_KEY: "wrong" }));
    expect(wrong).toEqual(["fail key"]);
    expect(findings.key!.mend).toMatch(/LOCKDB_API_KEY.*lockdb keys create/);
    expect((await doctor({ LOCKDB_SERVER_URL: server.url })).wrong).toEqual(["fail key"]);
    const make = ["keys", "create", "--name", "k", "--json", "--scopes", "lock", "--services", "billing"];
    const made = await inProcess([...make, "--expires", "3d"], envFor(server.url));
    const limited = envFor(server.url, { LOCKDB_API_KEY: JSON.parse(made.stdout).apiKey });
    const other = await doctor(limited, "-i", "reports");
    expect(other.wrong).toEqual(["warn key", "fail scopes"]);
    expect(other.findings.scopes!.found).toBe("the key is for billing, and not for reports");
    expect(other.findings.key!.found).toMatch(/ends in 2 days/);
    expect(other.findings.server).toMatchObject({
      status: "skipped",
      mend: expect.stringMatching(/operator/),
    });
    expect((await doctor(limited, "-i", "billing")).findings.connect!.status).toBe("ok");
  });

  test("[I4wc] a server that is not there, has no such name, or is none", async () => {
    const web = createServer((_request, response) => response.end("hello")).listen(0, "127.0.0.1");
    await once(web, "listening");
    const other = `http://127.0.0.1:${(web.address() as AddressInfo).port}`;
    const none = await doctor(envFor(other));
    expect(none.findings.reach).toMatchObject({
      status: "fail",
      found: `${other} answers (200), but not as LockDB`,
    });
    web.closeAllConnections();
    web.close();
    await once(web, "close");
    const gone = await doctor(envFor(other));
    expect(gone.findings.reach).toMatchObject({
      status: "fail",
      mend: expect.stringMatching(/lockdb serve/),
    });
    expect(gone.findings.key!.status).toBe("skipped");
    expect((await doctor(envFor("http://nobody.invalid:5625"))).wrong).toEqual(["fail address"]);
    // Where another one answers, it is no more than a warning.
    const server = await started();
    const both = await inProcess(
      ["doctor", ...FAST, "--skip", "store,disk"],
      envFor(`${other},${server.url}`),
    );
    expect(both.stdout).toMatch(/"reach","status":"warn".*another of the servers answers/);
    expect(both.stdout).toMatch(/"key","status":"ok"/);
  });

  test("[I4wd] a certificate that is about to end, over, or not trusted", async () => {
    const server = await started(TLS);
    const env = envFor(server.url, { LOCKDB_CA_FILE: certFile("ca") });
    const notAfter = endOf(certFile("server"));
    expect((await doctor(env, "--skip", "store")).wrong).toEqual([]);
    for (const [daysBefore, status] of [
      [13, "warn"],
      [1, "fail"],
      [-1, "fail"],
    ] as const) {
      vi.useFakeTimers({ toFake: ["Date"], now: notAfter - daysBefore * 86_400_000 });
      const { wrong, findings } = await doctor(env, "--skip", "store,clock");
      expect(wrong).toContain(`${status} tls`);
      expect(findings.tls!.mend).toMatch(/Renew it/);
      if (status === "warn") expect(wrong).toEqual(["warn tls", "warn certificate"]);
    }
    vi.useRealTimers();
    const stranger = await doctor(envFor(server.url));
    expect(stranger.wrong).toEqual(["fail tls"]);
    expect(stranger.findings.tls!.mend).toMatch(/LOCKDB_CA_FILE/);
    expect((await doctor(envFor(server.url.replace("https", "http")))).wrong).toContain("fail reach");
    const plain = await started();
    expect((await doctor(envFor(plain.url.replace("http", "https")))).findings.tls!.found).toMatch(
      /plain text/,
    );
    const files = await doctor(envFor(plain.url, { LOCKDB_CERT_FILE: certFile("server") }));
    expect(files.wrong).toEqual(["fail tls"]);
  });

  test("[I4we] plain text on an address that others reach", async () => {
    const server = await started({ host: "0.0.0.0", allowPlainText: true });
    const { port } = new URL(server.url);
    const { wrong, findings } = await doctor(envFor(`http://127.0.0.1:${port}`), "--skip", "store");
    expect(wrong).toEqual(["warn listening"]);
    expect(findings.listening!.mend).toMatch(/--tls-cert/);
    const outside = Object.values(networkInterfaces())
      .flat()
      .find((each) => each?.family === "IPv4" && !each.internal);
    if (outside === undefined) return console.warn("SKIPPED: this machine has no address but loopback");
    const there = await doctor(envFor(`http://${outside.address}:${port}`), "--skip", "store,listening");
    expect(there.wrong).toEqual(["fail plain-text"]);
    expect(there.findings["plain-text"]!.mend).toMatch(/https/);
  });

  test("[I4wf] a full queue, and one that was", async () => {
    const server = await started({ waitersMax: 2 });
    const locker = new LockDB("billing", { serverUrl: server.url, apiKey: KEY });
    const name = "hot\u202e";
    const lease = await locker.acquire(name);
    const waiting = [locker.acquire(name), locker.acquire(name)];
    await expect(locker.acquire(name)).rejects.toMatchObject({ code: "QUEUE_FULL" });
    const skip = ["--skip", "store"] as const;
    const { wrong, findings } = await doctor(envFor(server.url), ...skip);
    expect(wrong).toEqual(["fail queues"]);
    expect(findings.queues!.found).toBe(
      `the queue of "${name}" in billing is full (2): who asks gets QUEUE_FULL`,
    );
    expect(findings.queues!.mend).toMatch(/lockdb show NAME -i billing.*--waiters-max/);
    const raw = await inProcess(["doctor", ...FAST], envFor(server.url));
    expect(raw.stdout).toContain("hot\\u202e");
    await lease.release();
    for (const each of waiting) await (await each).release();
    await locker.close();
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect((await doctor(envFor(server.url), ...skip)).wrong).toEqual(["warn queues"]);
  });

  test("[I4wg] a service that recovers", { timeout: 30_000 }, async () => {
    const args = ["serve", "--port", "0", "--data-dir", newFolder()];
    const env = { LOCKDB_ROOT_KEY: KEY };
    const first = new Running(args, env);
    const url = (await first.until(/http:\/\/\S+/))[0];
    const locker = new LockDB("billing", { serverUrl: url, apiKey: KEY, lease: "1m" });
    await locker.acquire("a");
    first.child.kill("SIGKILL");
    await first.ended;
    await locker.close();
    const second = new Running(args, env);
    const { wrong, findings } = await doctor(envFor((await second.until(/http:\/\/\S+/))[0]));
    second.child.kill("SIGTERM");
    await second.ended;
    expect(wrong).toEqual(["warn recovery"]);
    expect(findings.recovery!.found).toMatch(/^billing is recovering after an unclean start/);
    expect(findings.recovery!.mend).toMatch(/lease/);
  });

  test("[I4wh] an old client", { timeout: 30_000 }, async () => {
    const server = await started();
    const home = newFolder();
    const own = dirname(dirname(BIN));
    for (const part of ["bin", "dist"]) cpSync(join(own, part), join(home, part), { recursive: true });
    const manifest = JSON.parse(readFileSync(join(own, "package.json"), "utf8"));
    writeFileSync(join(home, "package.json"), JSON.stringify({ ...manifest, version: "0.0.9" }));
    symlinkSync(join(own, "../../node_modules"), join(home, "node_modules"));
    const args = [join(home, "bin/lockdb.js"), "doctor", ...FAST];
    const env = envOf(envFor(server.url));
    const old = spawn(process.execPath, args, { env, stdio: ["ignore", "pipe", "pipe"] });
    let stdout = "";
    old.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    const [code] = await once(old, "close");
    const { version } = findingsOf({ code, stdout, stderr: "" });
    expect(code).toBe(1);
    expect(version).toMatchObject({
      status: "warn",
      found: `this client is 0.0.9, older than the server, which is ${manifest.version}`,
      mend: expect.stringContaining(`npm install lockdb@${manifest.version}`),
    });
    expect(versionFinding("0.10.0", "0.9.9")).toMatchObject({
      status: "warn",
      mend: expect.stringMatching(/server/),
    });
    expect(versionFinding("1.2.3", "1.2.3-rc.1").status).toBe("ok");
  });

  test("[I4wi] a clock whose rate is off, and one that was set wrong", { timeout: 30_000 }, async () => {
    const server = await started();
    // Time goes faster there by half, for whatever reads it.
    const preload = join(scratch, "fast-clock.mjs");
    writeFileSync(
      preload,
      `const [now, date] = [performance.now.bind(performance), Date.now];
      const start = [now(), date()];
      performance.now = () => start[0] + 1.5 * (now() - start[0]);
      Date.now = () => Math.round(start[1] + 3_600_000 + 1.5 * (date() - start[1]));`,
    );
    const env = envFor(server.url, { NODE_OPTIONS: `--import ${preload}` });
    const running = new Running(["doctor", "--json", "--measure", "500ms"], env);
    const { clock, "clock-rate": rate } = findingsOf(await running.ended);
    expect(rate).toMatchObject({ status: "fail", mend: expect.stringMatching(/time service/) });
    const [, faster, doubt] = /run ([\d.]+) % faster than the server's \(± ([\d.]+) %/.exec(rate!.found)!;
    // However busy this machine is, it is right about how far it may be wrong.
    expect(Math.abs(Number(faster) - 50)).toBeLessThanOrEqual(Number(doubt) + 0.5);
    expect(clock).toMatchObject({
      status: "warn",
      found: expect.stringMatching(/^time of day here is 60 min ahead/),
    });
  });

  describe("a disk that is nearly full", () => {
    test.skipIf(!MOUNTS)("[I4wj] of the server, and of a folder here", { timeout: 30_000 }, async () => {
      const folder = newFolder();
      mkdirSync(folder);
      const script = `mount -t tmpfs -o size=20m none ${folder} && ${process.execPath} ${BIN} doctor --json --data-dir ${folder};
        exec ${process.execPath} ${BIN} serve --port 0 --data-dir ${folder}`;
      const child = spawn(UNSHARE[0], [UNSHARE[1], "sh", "-c", script], {
        env: envOf({ LOCKDB_ROOT_KEY: KEY }),
        stdio: ["ignore", "pipe", "inherit"],
      });
      let stdout = "";
      child.stdout.setEncoding("utf8").on("data", (text: string) => {
        stdout += text;
      });
      while (!/http:\S+/.test(stdout)) await once(child.stdout, "data");
      const local = findingsOf({
        code: 1,
        stdout: stdout
          .split("\n")
          .filter((line) => line.startsWith("{"))
          .join("\n"),
        stderr: "",
      });
      const [url] = /http:\S+/.exec(stdout)!;
      const outcome = await inProcess(["doctor", "--json", "--measure", "0s"], envFor(url!));
      child.kill("SIGTERM");
      await once(child, "exit");
      for (const disk of [local["data-disk"], findingsOf(outcome).disk]) {
        expect(disk).toMatchObject({ status: "fail", mend: expect.stringMatching(/Make room/) });
        expect(disk!.found).toMatch(/ MiB of 20 MiB are free/);
      }
      expect(local["data-folder"]!.found).toMatch(/is empty/);
      expect(outcome.code).toBe(1);
    });
  });
});

describe("a data folder that is not ours", () => {
  const look = (path: string) => doctor({}, "--data-dir", path);

  test("[I4wk] another program's, none, a file, and one that was moved", async () => {
    const other = newFolder();
    mkdirSync(other);
    writeFileSync(join(other, "PG_VERSION"), "17\n", { mode: 0o600 });
    const { wrong, findings } = await look(other);
    expect(wrong).toEqual(["fail data-folder"]);
    expect(findings["data-folder"]!.found).toMatch(
      /holds no LockDB store, but PG_VERSION: it is another program's/,
    );
    writeFileSync(join(other, "store.mdb"), "of somebody else", { mode: 0o600 });
    expect((await look(other)).findings["data-folder"]!.found).toMatch(/is not a LockDB store/);
    expect((await look(newFolder())).findings["data-folder"]!.found).toMatch(/^there is nothing/);
    expect((await look(join(other, "PG_VERSION"))).findings["data-folder"]!.found).toMatch(/is no folder/);
    const [from, to] = [newFolder(), newFolder()];
    await (await serve({ ...QUIET, store: "lmdb", dataDir: from })).close();
    expect((await look(from)).wrong).toEqual([]);
    await inProcess(["store", "copy", from, to]);
    expect((await look(from)).findings["data-folder"]!.found).toMatch(/was moved to/);
  });

  test("[I4wl] in use by somebody else than the server that is asked", async () => {
    const dataDir = newFolder();
    await started({ store: "lmdb", dataDir });
    expect((await look(dataDir)).findings["data-folder"]).toMatchObject({
      status: "fail",
      found: expect.stringMatching(/is in use by process \d+/),
      mend: expect.stringMatching(/folder of its own/),
    });
    const another = await started();
    const { wrong } = await doctor(envFor(another.url), "--data-dir", dataDir, "--skip", "store");
    expect(wrong).toEqual(["fail data-folder"]);
  });

  test("[I4wm] one that this user may not write, or that others may read", async () => {
    const dataDir = newFolder();
    await (await serve({ ...QUIET, store: "lmdb", dataDir })).close();
    chmodSync(scratch, 0o755);
    chmodSync(dataDir, 0o755);
    chmodSync(join(dataDir, "store.mdb"), 0o644);
    expect((await look(dataDir)).findings["data-rights"]).toMatchObject({
      status: "warn",
      mend: expect.stringMatching(/chmod/),
    });
    chmodSync(join(dataDir, "store.mdb"), 0o600);
    expect((await look(dataDir)).wrong).toEqual([]);
    // Root may write anywhere but on a disk that is mounted to be read.
    const isRoot = process.getuid?.() === 0;
    if (isRoot && !MOUNTS) return console.warn("SKIPPED: root may write everywhere here");
    if (!isRoot) chmodSync(dataDir, 0o500);
    const command = `${process.execPath} ${BIN} doctor --json --skip data-disk --data-dir ${dataDir}`;
    const readOnly = `mount --bind ${dataDir} ${dataDir} && mount -o remount,ro,bind ${dataDir} && ${command}`;
    const [file, ...args] = isRoot ? [...UNSHARE, "sh", "-c", readOnly] : ["sh", "-c", command];
    const { stdout, stderr, status } = spawnSync(file!, args, { env: envOf({}), encoding: "utf8" });
    chmodSync(dataDir, 0o700);
    expect(status).toBe(1);
    expect(findingsOf({ code: 1, stdout, stderr })).toEqual({
      "data-rights": expect.objectContaining({ status: "fail", mend: expect.stringMatching(/chown/) }),
    });
  });
});

describe("clocks", () => {
  const sample = (serverMs: number, ownMs: number, tripMs = 2, wallAheadMs = 0): Sample => ({
    server: { wallMs: serverMs, monotonicMs: serverMs },
    own: { wallMs: ownMs + wallAheadMs, monotonicMs: ownMs },
    tripMs,
  });

  test.each([
    [10_000, 10_000, "ok", /run alike/],
    [10_000, 10_050, "ok", /run alike/],
    [10_000, 10_100, "warn", /1.0 % faster/],
    [10_000, 9_600, "fail", /4.0 % slower/],
    [10_000, 10_205, "fail", /2.0 % faster/],
  ] as const)("[I4wn] that go %i ms there and %i ms here are %s", (serverMs, ownMs, status, found) => {
    const finding = rateFinding(sample(0, 0), sample(serverMs, ownMs));
    expect(finding).toMatchObject({ check: "clock-rate", status });
    expect(finding.found).toMatch(found);
  });

  test("[I4wo] what cannot be told is not told, and a clock that was set meanwhile is", () => {
    expect(rateFinding(sample(0, 0, 300), sample(3_000, 3_100, 300)).status).toBe("skipped");
    expect(rateFinding(sample(9_000, 0), sample(100, 3_000)).status).toBe("skipped");
    expect(rateFinding(sample(0, 0), sample(3_000, 3_000, 2, 5_000))).toMatchObject({
      status: "warn",
      found: expect.stringMatching(/^time of day here moved by 5.0 s/),
    });
    expect(skewFinding(sample(0, 1_900)).status).toBe("ok");
    expect(skewFinding(sample(0, -9_000))).toMatchObject({
      status: "warn",
      found: expect.stringMatching(/9.0 s behind/),
    });
  });
});

test("[I4wp] leaves out what it is told to, and knows its own checks", async () => {
  const server = await started();
  const skip = await inProcess(
    ["doctor", "--json", "--measure", "0s", "--skip", "store,disk,queues"],
    envFor(server.url),
  );
  expect(skip.code).toBe(0);
  expect(skip.stdout).not.toMatch(/"check":"(store|disk|queues)"/);
  const wrong = await inProcess(["doctor", "--skip", "weather"], envFor(server.url));
  expect(wrong).toMatchObject({ code: 64, stdout: "", stderr: expect.stringMatching(/no check "weather"/) });
});

/** When a certificate ends. */
function endOf(file: string): number {
  return Date.parse(new X509Certificate(readFileSync(file)).validTo);
}
