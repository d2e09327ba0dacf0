import { type Server, serve } from "@lockdb/server";
import LockDB from "lockdb";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Receiver } from "../../../server/test/webhooks/receiver.js";
import { cli, type Env, inProcess, Running } from "./cli.js";

const NOWHERE = "http://127.0.0.1:1";

let server: Server;
let locker: LockDB;
let env: Env;

beforeAll(async () => {
  server = await serve({ port: 0, store: "memory", logLevel: "silent" });
  env = { LOCKDB_SERVER_URL: server.url, LOCKDB_API_KEY: server.rootKey, LOCKDB_SERVICE_ID: "reports" };
  locker = new LockDB("reports", { serverUrl: server.url, apiKey: server.rootKey });
});

afterAll(async () => {
  await locker.close();
  await server.close();
});

test("[C6a] lock, check and unlock print true or false and exit 0", async () => {
  expect(await cli(["check", "teapot"], env)).toEqual(printed("false"));
  expect(await cli(["unlock", "teapot"], env)).toEqual(printed("false"));
  expect(await cli(["lock", "teapot"], env)).toEqual(printed("true"));
  expect(await cli(["check", "teapot"], env)).toEqual(printed("true"));
  expect(await cli(["unlock", "teapot"], env)).toEqual(printed("true"));
  expect(await cli(["check", "teapot"], env)).toEqual(printed("false"));
});

test("[C6x] -u names who is told when it is unlocked, and a URL that may not be told is refused", async () => {
  const receiver = await Receiver.open();
  const open = await serve({ port: 0, store: "memory", logLevel: "silent", webhookAllowPrivate: true });
  const opened = { ...env, LOCKDB_SERVER_URL: open.url, LOCKDB_API_KEY: open.rootKey };
  expect(await cli(["lock", "a,b", "-u", receiver.url()], opened)).toEqual(printed("true"));
  expect(await cli(["unlock", "a"], opened)).toEqual(printed("true"));
  expect((await receiver.count(1))[0]!.body).toBe('{"serviceId":"reports","lockName":"a"}');
  expect(await cli(["lock", "c", `-u=${receiver.url()}`], env)).toMatchObject({
    code: 64,
    stderr: expect.stringMatching(/no public address/),
  });
  await open.close();
  await receiver.close();
});

describe("[C6b] every spelling of a flag", () => {
  beforeAll(() => locker.lock("spelt"));

  // In another service the same name is free: true says that the flag was read.
  test.each([
    [["check", "spelt", "-i", "reports"]],
    [["check", "-ireports", "spelt"]],
    [["check", "spelt", "-i=reports"]],
    [["check", "--service-id", "reports", "spelt"]],
    [["check", "spelt", "--service-id=reports"]],
    [["check", "-l=5", "-u=http://x/", "-w=900", "--", "spelt"], "reports"],
  ])("%j", async (args, service = "other") => {
    expect(await inProcess(args, { ...env, LOCKDB_SERVICE_ID: service })).toEqual(printed("true"));
  });

  test.each([
    [["-w", "10"]],
    [["-w10"]],
    [["-w=10"]],
    [["--wait-timeout-in-ms", "10"]],
    [["--wait-timeout-in-ms=10ms"]],
  ])("%j", async (wait) => {
    expect(await inProcess(["lock", ...wait, "spelt"], env)).toMatchObject({ code: 1, stdout: "" });
  });

  test("[C6g] key and address are read from flags and environment", async () => {
    const { LOCKDB_API_KEY: key, LOCKDB_SERVER_URL: url } = env as {
      LOCKDB_API_KEY: string;
      LOCKDB_SERVER_URL: string;
    };
    const others = { LOCKDB_API_KEY: "not the key", LOCKDB_SERVER_URL: NOWHERE };
    const long = [`--api-key=${key}`, `--server-url=${url}/`, "--service-id", "reports"];
    for (const flags of [
      ["-i=reports", `-a=${key}`, `-s=${url}`],
      [`-a${key}`, "-s", url, "-i", "reports"],
      long,
    ]) {
      expect(await inProcess(["check", "spelt", ...flags])).toEqual(printed("true"));
      expect(await inProcess(["check", ...flags, "spelt"], others)).toEqual(printed("true"));
    }
  });
});

test("[C6c] commas separate names", async () => {
  expect(await inProcess(["lock", "a,b c"], env)).toEqual(printed("true"));
  expect(await locker.check("a")).toBe(true);
  expect(await locker.check("b c")).toBe(true);
  expect(await inProcess(["check", "free,a"], env)).toEqual(printed("true"));
  expect(await inProcess(["unlock", "a,b c,free"], env)).toEqual(printed("true"));
  expect(await locker.check(["a", "b c"])).toBe(false);
});

test.each([
  [[], 300_000],
  [["-l", "20"], 20_000],
  [["-l=2m"], 120_000],
])("[C6d] lock %j lasts %d ms", async (flags, lastsMs) => {
  const name = `lasting ${lastsMs}`;
  expect(await inProcess(["lock", name, ...flags], env)).toEqual(printed("true"));
  const { expiresInMs, detached } = (await locker.inspect(name)).holders[0]!;
  expect(detached).toBe(true);
  expect(expiresInMs).toBeLessThanOrEqual(lastsMs);
  expect(expiresInMs).toBeGreaterThan(lastsMs - 15_000);
});

test("[C6e] a lock that is not free in time exits 1 and names TimeoutError and the holder", async () => {
  await locker.lock("taken");
  const { token, owner } = (await locker.inspect("taken")).holders[0]!;
  const { code, stdout, stderr } = await cli(["lock", "taken", "-w", "100"], env);
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  expect(stderr).toMatch(/^lockdb lock: TimeoutError: /);
  expect(stderr).toContain(`${owner} locked it`);
  expect(stderr).toContain(`(token ${token})`);
});

test("[C6f] lock waits until the lock is free", async () => {
  await locker.lock("soon free");
  const waiting = new Running(["lock", "soon free", "-w", "15s"], env);
  await queued(locker, "soon free");
  await locker.unlock("soon free");
  expect(await waiting.ended).toEqual(printed("true"));
});

test("[I4g] --json prints one object a line, errors too", async () => {
  expect(await inProcess(["lock", "j1,j2", "--json"], env)).toEqual(
    printed('{"lock":true,"names":["j1","j2"]}'),
  );
  expect(await inProcess(["check", "--json", "j1"], env)).toEqual(printed('{"check":true,"names":["j1"]}'));
  const refused = await inProcess(["check", "j1", "--json"], { ...env, LOCKDB_API_KEY: "ldb_wrong" });
  const wrong = await inProcess(["check", "--json", "--oops"], env);
  const busy = await inProcess(["run", "j1", "-w", "0", "--json", "--", "true"], env);
  expect(onlyLine(refused)).toEqual({
    error: { code: "UNAUTHORIZED", message: "Unauthorized", retryable: false, details: {} },
  });
  expect(onlyLine(wrong)).toMatchObject({ error: { code: "INVALID", retryable: false } });
  expect(onlyLine(busy)).toMatchObject({
    error: { code: "LOCK_TIMEOUT", retryable: true, details: { holder: { token: expect.any(Number) } } },
  });
  expect(await inProcess(["unlock", "j1,j2", "--json"], env)).toEqual(
    printed('{"unlock":true,"names":["j1","j2"]}'),
  );
});

describe("[I4f] exit code 64", () => {
  test.each([
    [[], "which command"],
    [["lokc", "x"], "Did you mean lock"],
    [["-i", "reports", "lock", "x"], "after the command"],
    [["lock"], "names"],
    [["lock", "x", "--oops"], "--oops"],
    [["lock", "x", "y"], "too many"],
    [["lock", "x,"], "empty"],
    [["lock", "x", "-w", "soon"], "30s"],
    [["lock", "x", "-l", "0"], "more than 0"],
    [["lock", "x", "-i", "no/slash"], "service id"],
    [["lock", "x", "-s", "ftp://x"], "http://"],
    [["run", "x"], "after --"],
    [["run", "x", "ls"], "Put --"],
    [["run", "--", "ls"], "name"],
    [["run", "x", "--max-hold", "5", "--", "ls"], "unit"],
    [["run", "x", "--lease", "1ms", "--", "ls"], "lease"],
  ])("lockdb %j", async (args, says) => {
    const { code, stdout, stderr } = await inProcess(args, env);
    expect({ code, stdout }).toEqual({ code: 64, stdout: "" });
    expect(stderr).toContain(says);
  });

  test("[I4q] no service id is a wrong use", async () => {
    const { code, stderr } = await inProcess(["check", "x"], { ...env, LOCKDB_SERVICE_ID: "" });
    expect(code).toBe(64);
    expect(stderr).toBe("lockdb check: No service id. Say -i <id>, or set LOCKDB_SERVICE_ID.\n");
  });

  test("[I4r] an unknown flag is a wrong use of the process, too", async () => {
    expect(await cli(["check", "x", "--oops"])).toMatchObject({ code: 64, stdout: "" });
  });
});

describe.concurrent("[I4f] exit code", () => {
  test("[I4s] 69: nobody listens", async () => {
    const there = { ...env, LOCKDB_SERVER_URL: NOWHERE };
    const all = await Promise.all([
      cli(["check", "x"], there),
      cli(["run", "x", "--", "true"], there),
      cli(["ping"], there),
    ]);
    for (const { code, stdout, stderr } of all) {
      expect({ code, stdout }).toEqual({ code: 69, stdout: "" });
      expect(stderr).toContain("ConnectionError");
    }
  });

  test("[I4t] 77: a wrong key, or none", async () => {
    const wrong = { ...env, LOCKDB_API_KEY: "ldb_wrong" };
    const none = { ...env, LOCKDB_API_KEY: "" };
    const all = await Promise.all([
      cli(["lock", "x"], wrong),
      cli(["run", "x", "--", "true"], wrong),
      cli(["ping"], none),
    ]);
    expect(all.map(({ code }) => code)).toEqual([77, 77, 77]);
    expect(all[0].stderr).toBe("lockdb lock: UnauthorizedError: Unauthorized\n");
    expect(all[2].stderr).toContain("LOCKDB_API_KEY");
  });
});

test("[I4f] Ctrl-C while waiting exits 130, and the place in the queue is given up", async () => {
  await locker.lock("interrupted");
  const waiting = new Running(["lock", "interrupted"], env);
  await queued(locker, "interrupted");
  waiting.child.kill("SIGINT");
  expect(await waiting.ended).toEqual({ code: 130, stdout: "", stderr: "" });
  expect((await locker.inspect("interrupted")).queueLength).toBe(0);
});

test("[I4i] ping tells which server answered how fast, and needs no service id", async () => {
  const { LOCKDB_SERVICE_ID: _, ...withoutService } = env;
  const text = await cli(["ping"], withoutService);
  const json = await inProcess(["ping", "--json"], env);
  expect(text).toMatchObject({ code: 0, stderr: "" });
  expect(text.stdout).toMatch(
    new RegExp(`^${server.url} answered in \\d+(\\.\\d+)? ms \\(median of 5\\)\n$`),
  );
  expect(JSON.parse(json.stdout)).toEqual({ url: server.url, medianMs: expect.any(Number), count: 5 });
});

test("[I4j] help names each flag's variable, and --version the version", async () => {
  expect((await cli(["--version"])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  for (const args of [
    ["--help"],
    ["lock", "-h"],
    ["help", "unlock"],
    ["check", "-h"],
    ["run", "-h"],
    ["ping", "-h"],
  ]) {
    const { code, stdout, stderr } = await inProcess(args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    for (const name of ["LOCKDB_SERVICE_ID", "LOCKDB_API_KEY", "LOCKDB_SERVER_URL"])
      expect(stdout).toContain(name);
    for (const line of stdout.split("\n")) expect(line.length).toBeLessThanOrEqual(81);
  }
});

function printed(line: string) {
  return { code: 0, stdout: `${line}\n`, stderr: "" };
}

/** The error that stands alone on standard error. */
function onlyLine({ stdout, stderr }: { stdout: string; stderr: string }): unknown {
  expect(stdout).toBe("");
  expect(stderr).toMatch(/^[^\n]+\n$/);
  return JSON.parse(stderr);
}

/** Until somebody stands in the lock's queue. */
async function queued(locker: LockDB, name: string): Promise<void> {
  await expect
    .poll(async () => (await locker.inspect(name)).queueLength, { timeout: 10_000, interval: 20 })
    .toBe(1);
}
