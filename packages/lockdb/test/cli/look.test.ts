import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";
import { BIN, cli, envOf, inProcess, Running, servedCli } from "./cli.js";

const on = servedCli();

test("[I4u] ls lists what is held or waited for, a line each, by prefix", async () => {
  const leases = [
    await on.holder.acquire("ls/one"),
    await on.holder.acquire(["ls/two", { name: "ls/pool", permits: 3, weight: 2 }], { mode: "shared" }),
    await on.holder.acquire("ls/two", { mode: "shared" }),
    await on.holder.acquire("other"),
  ];
  const waiting = on.holder.acquire("ls/one");
  while ((await on.holder.inspect("ls/one")).queueLength === 0);
  const { code, stdout, stderr } = await inProcess(["ls", "ls/"], on.env);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const rows = stdout
    .trimEnd()
    .split("\n")
    .map((line) => line.split("\t"));
  expect(rows.map((cells) => cells.filter((_, at) => at !== 4))).toEqual([
    ["NAME", "MODE", "HOLDER", "TOKEN", "WAITING"],
    ["ls/one", "exclusive", "host db3", String(leases[0]!.token), "1"],
    ["ls/two", "shared", "host db3 and 1 more", String(leases[2]!.token), "0"],
    ["ls/pool", "2/3", "host db3", String(leases[1]!.token), "0"],
  ]);
  const json = (await inProcess(["ls", "--json"], on.env)).stdout.trimEnd().split("\n");
  expect(json.map((line) => JSON.parse(line).name)).toEqual(["ls/one", "ls/two", "ls/pool", "other"]);
  const shown = (await inProcess(["show", "ls/two"], on.env)).stdout;
  expect(shown).toMatch(
    /\(token \d+, shared\)\.\n.*\(token \d+, shared, together with the rest of "ls\/two", "ls\/pool"\)/,
  );
  expect((await inProcess(["show", "ls/pool"], on.env)).stdout).toMatch(/2 of 3 permits, together/);
  for (const lease of leases) await lease.release();
  await (await waiting).release();
  expect((await inProcess(["ls", "ls/"], on.env)).stdout.trimEnd().split("\n")).toHaveLength(1);
});

test("[I4v] what others have named steers no terminal", async () => {
  const lease = await on.holder.acquire("odd/\u202e\u0085name");
  expect((await inProcess(["ls", "odd/"], on.env)).stdout).toContain("odd/\\u202e\\u0085name\t");
  for (const args of [
    ["ls", "odd/"],
    ["show", "odd/\u202e\u0085name"],
  ]) {
    const { stdout } = await inProcess([...args, "--json"], on.env);
    expect(stdout).toContain("odd/\\u202e\\u0085name");
    expect(JSON.parse(stdout).name).toBe("odd/\u202e\u0085name");
  }
  await lease.release();
});

test("[I4w] watch tells what happens, until it is interrupted", async () => {
  const watch = new Running(["watch", "w/"], on.env);
  const json = new Running(["watch", "w/", "--json"], on.env);
  // It says nothing before something happens: so this happens until it was seen.
  const happening = setInterval(() => void on.holder.withLock("w/1", () => {}).catch(() => {}), 50);
  await Promise.all([watch.until(/granted .*\n.*released /), json.until(/"released".*\n/)]);
  clearInterval(happening);
  expect(watch.stdout).toMatch(/^20\S+Z granted {2}w\/1 {2}host db3 \(token \d+\)$/m);
  const [first] = json.stdout.split("\n");
  expect(JSON.parse(first!)).toMatchObject({ names: ["w/1"], owner: "host db3", at: expect.any(String) });
  for (const each of [watch, json]) each.child.kill("SIGINT");
  expect((await watch.ended).code).toBe(130);
  expect((await json.ended).code).toBe(130);
});

test("[I4x] a reader that goes ends ls and watch, without a word", async () => {
  const child = spawn(process.execPath, [BIN, "watch"], {
    env: envOf(on.env),
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stderr = "";
  child.stderr.on("data", (text) => (stderr += text));
  const happening = setInterval(() => void on.holder.withLock("gone", () => {}).catch(() => {}), 20);
  await once(child.stdout, "data");
  child.stdout.destroy();
  const [code] = await once(child, "exit");
  clearInterval(happening);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
});

test("[I4za] run takes several names at once, and shares them or takes permits", async () => {
  const script = "process.exit(Number(process.env.LOCKDB_TOKEN) > 0 ? 0 : 1)";
  expect((await cli(["run", "r/a,r/b", "--", process.execPath, "-e", script], on.env)).code).toBe(0);
  const shared = await on.holder.acquire("r/a", { mode: "shared" });
  const args = (...flags: string[]) => [
    "run",
    "r/a",
    "-w",
    "0",
    ...flags,
    "--",
    process.execPath,
    "-e",
    script,
  ];
  expect((await cli(args("--shared"), on.env)).code).toBe(0);
  expect((await cli(args(), on.env)).code).toBe(75);
  const mismatch = await cli(args("--permits", "2", "--weight", "2"), on.env);
  expect(mismatch.code).toBe(1);
  expect(mismatch.stderr).toMatch(/PERMITS_MISMATCH/);
  await shared.release();
  expect((await cli(args("--permits", "2", "--weight", "2"), on.env)).code).toBe(0);
  expect((await cli(args("--shared", "--permits", "2"), on.env)).code).toBe(64);
});

test.each([
  [["ls", "a", "b"], /too many arguments/],
  [["watch", "a", "b"], /too many arguments/],
  [["run", "a", "--permits", "0", "--", "true"], /whole number from 1/],
  [["run", "a", "--weight", "x", "--", "true"], /whole number from 1/],
])("[I4zb] wrong use exits 64 and says what would be right: %j", async (args, message) => {
  const { code, stderr } = await inProcess(args, on.env);
  expect(code).toBe(64);
  expect(stderr).toMatch(message);
});
