import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Server as NetServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Server, serve } from "@lockdb/server";
import LockDB from "lockdb";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cli, type Env, Running } from "./cli.js";

/** Says "ready", ends with 0 at SIGUSR1, and tells each SIGTERM without ending. Does not outlive its parent. */
const PATIENT =
  'trap "echo got TERM" TERM; trap "exit 0" USR1; echo ready $$; while kill -0 $PPID; do sleep 0.02; done';

let server: Server;
let locker: LockDB;
let env: Env;

beforeAll(async () => {
  server = await serve({ port: 0, store: "memory", logLevel: "silent" });
  env = { LOCKDB_SERVER_URL: server.url, LOCKDB_API_KEY: server.rootKey, LOCKDB_SERVICE_ID: "jobs" };
  locker = new LockDB("jobs", { serverUrl: server.url, apiKey: server.rootKey });
});

afterAll(async () => {
  await locker.close();
  await server.close();
});

test.each([
  ["exit 0", 0],
  ["exit 7", 7],
  ["kill -TERM $$", 143],
  ["kill -KILL $$", 137],
])("[I4a] the exit code of `%s` is %d, and the lock is free afterwards", async (script, code) => {
  const outcome = await cli(["run", `exit ${code}`, "--", "sh", "-c", script], env);
  expect(outcome).toEqual({ code, stdout: "", stderr: "" });
  expect(await locker.check(`exit ${code}`)).toBe(false);
});

test("[I4b] the command is run as it is, without a shell", async () => {
  const args = ["$HOME", "*;echo", "-i=b", "--", "--json", ""];
  const { code, stdout } = await cli(["run", "as it is", "--", "printf", "%s|", ...args], env);
  expect({ code, stdout }).toEqual({ code: 0, stdout: `${args.join("|")}|` });
});

test("[I4c] LOCKDB_TOKEN is the hold's token, and the next holder's is greater", async () => {
  const job = new Running(["run", "token", "--", "sh", "-c", 'echo "token $LOCKDB_TOKEN"; sleep 30'], env);
  const token = Number((await job.until(/token (\d+)\n/))[1]);
  expect((await locker.inspect("token")).holders).toMatchObject([{ token, detached: false }]);
  const next = locker.acquire("token");
  job.child.kill("SIGTERM");
  expect((await job.ended).code).toBe(143);
  const lease = await next;
  expect(lease.token).toBeGreaterThan(token);
  await lease.release();
});

test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)(
  "[I4d] %s goes on to the command's whole group",
  async (signal) => {
    const name = signal.slice(3);
    const script = `trap "echo parent ${name}; exit 5" ${name}; ${inner(name)}; sleep 1`;
    const job = new Running(["run", signal, "--", "sh", "-c", script], env);
    await job.until(/ready\n/);
    job.child.kill(signal);
    const { code, stdout } = await job.ended;
    expect(code).toBe(5);
    expect(stdout).toContain(`parent ${name}`);
    expect(stdout).toContain(`inner ${name}`);
    expect(await locker.check(signal)).toBe(false);
  },
);

test("[I4d] Ctrl-Z does not suspend the holder of a lock", async () => {
  const job = new Running(["run", "suspended", "--", "sh", "-c", PATIENT], env);
  await job.until(/ready/);
  job.child.kill("SIGTSTP");
  await job.until(/not suspended/);
  job.child.kill("SIGUSR1");
  expect(await job.ended).toMatchObject({ code: 0 });
});

test("[I4e] not acquired in time: 75, TimeoutError and the holder; the command is not run", async () => {
  const lease = await locker.acquire("busy");
  const { owner } = (await locker.inspect("busy")).holders[0]!;
  const once = await cli(["run", "busy", "-w", "0", "--", "echo", "ran"], env);
  const soon = await cli(["run", "-w=100ms", "busy", "--", "echo", "ran"], env);
  for (const { code, stdout, stderr } of [once, soon]) {
    expect({ code, stdout }).toEqual({ code: 75, stdout: "" });
    expect(stderr).toMatch(/^lockdb run: TimeoutError: /);
    expect(stderr).toContain(`${owner} has held it for`);
    expect(stderr).toContain(`(token ${lease.token})`);
  }
  await lease.release();
});

test("[I4e] a signal while waiting ends the wait; the command is not run", async () => {
  const lease = await locker.acquire("awaited");
  const job = new Running(["run", "awaited", "-w", "forever", "--", "echo", "ran"], env);
  await expect
    .poll(async () => (await locker.inspect("awaited")).queueLength, { timeout: 10_000, interval: 20 })
    .toBe(1);
  job.child.kill("SIGTERM");
  expect(await job.ended).toEqual({ code: 143, stdout: "", stderr: "" });
  expect((await locker.inspect("awaited")).queueLength).toBe(0);
  await lease.release();
});

test("[I4k] 127 for a command that is not there, 126 for one that cannot run; the lock is free afterwards", async () => {
  const folder = await mkdtemp(join(tmpdir(), "lockdb-cli-"));
  const file = join(folder, "plain");
  await writeFile(file, "", { mode: 0o600 });
  const [missing, forbidden] = await Promise.all([
    cli(["run", "missing", "--", "no-such-command"], env),
    cli(["run", "forbidden", "--", file], env),
  ]);
  expect(missing).toEqual({
    code: 127,
    stdout: "",
    stderr: "lockdb run: no-such-command: command not found\n",
  });
  expect(forbidden).toEqual({ code: 126, stdout: "", stderr: `lockdb run: ${file}: not executable\n` });
  expect(await locker.check(["missing", "forbidden"])).toBe(false);
  await rm(folder, { recursive: true });
});

test("[I4l] what the command leaves behind is left alone", async () => {
  const { code, stdout } = await cli(
    ["run", "leaves", "--", "sh", "-c", "sleep 30 >/dev/null 2>&1 & echo $!"],
    env,
  );
  expect(code).toBe(0);
  expect(isAlive(Number(stdout))).toBe(true);
  process.kill(Number(stdout));
});

test("[I4n] --min-hold keeps the lock after the command has ended", async () => {
  expect(await cli(["run", "kept", "--min-hold", "1m", "--", "true"], env)).toMatchObject({ code: 0 });
  expect(await locker.tryAcquire("kept")).toBeNull();
});

describe.concurrent("when the lock is lost", () => {
  test("[I4p] --max-hold stops the command before the lock ends", async () => {
    const job = new Running(["run", "too long", "--max-hold", "2s", "--", "sh", "-c", PATIENT], env);
    const pid = Number((await job.until(/ready (\d+)/))[1]);
    await locker.acquire("too long");
    expect(isAlive(pid)).toBe(false);
    const { code, stdout, stderr } = await job.ended;
    expect(code).toBe(70);
    expect(stdout).toContain("got TERM");
    expect(stderr).toContain("LockLostError");
  });

  test("[I4m] SIGTERM, then SIGKILL to the whole group before anybody else gets it", async () => {
    const path = await Path.to(server.url);
    // Neither ends at SIGTERM.
    const script = `sh -c 'trap "" TERM; echo inner $$; sleep 60' & ${PATIENT}`;
    const job = new Running(["run", "lost", "--lease", "1s", "--", "sh", "-c", script], {
      ...env,
      LOCKDB_SERVER_URL: path.url,
    });
    const inner = Number((await job.until(/inner (\d+)/))[1]);
    const outer = Number((await job.until(/ready (\d+)/))[1]);
    const next = locker.acquire("lost");
    path.hold();
    const lease = await next;
    expect([isAlive(outer), isAlive(inner)]).toEqual([false, false]);
    await lease.release();
    const { code, stdout, stderr } = await job.ended;
    expect(code).toBe(70);
    expect(stdout).toContain("got TERM");
    expect(stderr).toMatch(/stopping the command with SIGTERM\n.*LockLostError: The lock "lost"/s);
    path.close();
  });

  test("[I4m] nothing happens when the server is back in time", async () => {
    const path = await Path.to(server.url);
    const job = new Running(["run", "back", "--lease", "4s", "--", "sh", "-c", PATIENT], {
      ...env,
      LOCKDB_SERVER_URL: path.url,
    });
    await job.until(/ready/);
    path.hold();
    await job.until(/the server does not answer/);
    path.letGo();
    // The server hears from it again: more than what was left of the lease is granted anew.
    const renewed = async () => (await locker.inspect("back")).holders[0]!.expiresInMs > 3_000;
    while (!(await renewed())) await new Promise((resolve) => setTimeout(resolve, 20));
    job.child.kill("SIGUSR1");
    const { code, stdout, stderr } = await job.ended;
    expect(code).toBe(0);
    expect(stdout).not.toContain("TERM");
    expect(stderr).not.toContain("SIGTERM");
    path.close();
  });

  test("[I4m] a lock that cannot be given back is no failure of a command that has ended", async () => {
    const path = await Path.to(server.url);
    const job = new Running(["run", "unreturned", "--lease", "1m", "--", "sh", "-c", `${PATIENT}`], {
      ...env,
      LOCKDB_SERVER_URL: path.url,
    });
    await job.until(/ready/);
    path.hold();
    job.child.kill("SIGUSR1");
    const { code, stderr } = await job.ended;
    expect(code).toBe(0);
    expect(stderr).toContain("ends with its lease");
    path.close();
  });
});

/** A script that says "ready" and then what signal it got. */
function inner(signal: string): string {
  return `sh -c 'trap "echo inner ${signal}; exit 0" ${signal}; echo ready; while kill -0 $PPID; do sleep 0.02; done'`;
}

/** False also for a process that has ended and that nobody has asked about yet. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !execFileSync("ps", ["-o", "stat=", "-p", String(pid)], { encoding: "utf8" }).startsWith("Z");
  } catch {
    return false;
  }
}

/** A network path to a server that can be held up: nothing gets through, and nothing is lost. */
class Path {
  readonly url: string;
  readonly #server: NetServer;
  readonly #sockets: Socket[] = [];
  #isHeld = false;

  private constructor(server: NetServer, port: number) {
    this.#server = server;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.on("connection", (near: Socket) => {
      const far = connect(port, "127.0.0.1");
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.push(from);
        from.on("data", (data) => to.write(data));
        from.on("close", () => to.destroy());
        from.on("error", () => to.destroy());
        if (this.#isHeld) from.pause();
      }
    });
  }

  static async to(url: string): Promise<Path> {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    return new Path(server, Number(new URL(url).port));
  }

  hold(): void {
    this.#isHeld = true;
    for (const socket of this.#sockets) socket.pause();
  }

  letGo(): void {
    this.#isHeld = false;
    for (const socket of this.#sockets) socket.resume();
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}
