import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test, vi } from "vitest";
import { execute } from "../../src/cli/main.js";
import { BIN, envOf, inProcess, servedCli } from "./cli.js";

const on = servedCli();

function env(apiKey = on.env.LOCKDB_API_KEY!) {
  return { LOCKDB_SERVER_URL: on.env.LOCKDB_SERVER_URL!, LOCKDB_API_KEY: apiKey };
}

async function lines(...args: string[]): Promise<string[]> {
  const { code, stdout, stderr } = await inProcess(["audit", ...args], env());
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return stdout.split("\n").slice(0, -1);
}

/** An act, and so an entry of the log. */
async function act(lockDelayMs: number): Promise<void> {
  const { LOCKDB_SERVER_URL: url, LOCKDB_API_KEY: key } = env();
  const answer = await fetch(`${url}/v1/services/acts/settings`, {
    method: "PUT",
    headers: { authorization: `Bearer ${key}` },
    body: JSON.stringify({ lockDelayMs }),
  });
  expect(answer.status).toBe(200);
  await answer.text();
}

test("[I4zs] audit tells who did what, when, where and why, a line each; --json the whole entries", async () => {
  const lease = await on.holder.acquire("hung");
  const force = ["force-release", "hung", "--token", String(lease.token), "--reason", "host db3 hangs"];
  expect(await inProcess(force, on.env)).toMatchObject({ code: 0 });
  await inProcess(["keys", "create", "--scopes", "lock", "--name", "\u202ename"], env());
  const [release, made] = (await lines()).slice(-2);
  expect(release).toMatch(
    /^20\S+Z force release in reports {2}root key, as \S+ \(.*name "hung".*reason "host db3 hangs".*\)$/,
  );
  expect(made).toMatch(/^20\S+Z key made {2}root key from \S+ \(key "\w{10}", name "\\u202ename", /);
  const entries = (await lines("--json")).slice(-2).map((line) => JSON.parse(line));
  expect(entries).toMatchObject([
    { what: "force release", service: "reports", details: { token: lease.token, reason: "host db3 hangs" } },
    { what: "key made", details: { name: "\u202ename", scopes: ["lock"] } },
  ]);
});

test("[I4zt] --since begins at a time, or so long ago", async () => {
  await act(1);
  const all = (await lines("--json")).map((line) => JSON.parse(line));
  const { at } = all.at(-1);
  while (Date.now() <= Date.parse(at));
  await act(2);
  const later = (await lines("--json")).map((line) => JSON.parse(line)).at(-1);
  const from = (since: string) => lines("--json", "--since", since);
  expect((await from(later.at)).map((line) => JSON.parse(line))).toEqual([later]);
  expect(await from(at)).toHaveLength((await from("10m")).length - all.findIndex((each) => each.at === at));
  expect(await from("10m")).toHaveLength(all.length + 1);
  expect(await from("2037-01-01")).toEqual([]);
  const second = `${later.at.slice(0, 19)}Z`;
  expect((await from(second)).length).toBeGreaterThanOrEqual(1);
});

test("[I4zu] the export goes through all pages, in order, without a gap", async () => {
  const asked: string[] = [];
  // In front of the server, so that a page is three entries.
  const front = createServer(async (request, response) => {
    asked.push(request.url!);
    const url = env().LOCKDB_SERVER_URL + request.url!.replace("limit=1000", "limit=3");
    const answer = await fetch(url, { headers: { authorization: request.headers.authorization! } });
    response.writeHead(answer.status).end(await answer.text());
  }).listen(0, "127.0.0.1");
  await once(front, "listening");
  const before = (await lines("--json")).length;
  for (let delay = 1; delay <= 9; delay++) await act(delay);
  const LOCKDB_SERVER_URL = `http://127.0.0.1:${(front.address() as AddressInfo).port}`;
  const { code, stdout } = await inProcess(["audit", "--json"], { ...env(), LOCKDB_SERVER_URL });
  front.close();
  expect(code).toBe(0);
  expect(asked).toHaveLength(Math.ceil((before + 9) / 3));
  const delays = stdout
    .trimEnd()
    .split("\n")
    .slice(before)
    .map((line) => JSON.parse(line).details.lockDelayMs);
  expect(delays).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test("[I4zv] it waits while its reader is slow", async () => {
  await act(1);
  await act(2);
  for (const [name, value] of Object.entries(envOf(env()))) vi.stubEnv(name, value);
  const written: string[] = [];
  let told = () => {};
  const write = vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    written.push(String(text));
    told();
    return false;
  });
  const next = () => new Promise<void>((resolve) => (told = resolve));
  try {
    const begun = next();
    const over = execute(["audit", "--since", "10m", "--json"]);
    await begun;
    for (let count = 1; count < 3; count++) {
      // Whatever is ready by now would have been written.
      await new Promise((resolve) => setImmediate(resolve));
      expect(written).toHaveLength(count);
      const more = next();
      process.stdout.emit("drain");
      await more;
    }
    const draining = setInterval(() => process.stdout.emit("drain"), 0);
    await over;
    clearInterval(draining);
  } finally {
    write.mockRestore();
    vi.unstubAllEnvs();
  }
});

test("[I4zw] a reader that goes ends the export, without a word", async () => {
  const child = spawn(process.execPath, [BIN, "audit", "--json"], {
    env: envOf(env()),
    stdio: ["ignore", "pipe", "pipe"],
  });
  child.stdout.destroy();
  let stderr = "";
  child.stderr.on("data", (text) => (stderr += text));
  const [code] = await once(child, "close");
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
});
