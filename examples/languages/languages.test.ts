import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { type Server, serve } from "@lockdb/server";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const PROGRAMS = [
  { name: "bash and curl", file: "count-up.sh", needs: ["bash", "curl"] },
  { name: "Python", file: "count_up.py", needs: ["python3"] },
  { name: "Perl", file: "count-up.pl", needs: ["perl"] },
];
const here = (file: string) => fileURLToPath(new URL(file, import.meta.url));
const isThere = (tool: string) => spawnSync(tool, ["--version"]).status === 0;
const missing = PROGRAMS.flatMap(({ needs }) => needs.filter((tool) => !isThere(tool)));
const present = PROGRAMS.filter(({ needs }) => needs.every(isThere));
if (missing.length > 0)
  console.warn(`SKIPPED, not installed: ${missing.join(", ")}. Install them to run these examples.`);

const LONG_MS = 60_000;
let server: Server;
let folder: string;

beforeAll(async () => {
  server = await serve({ port: 0, store: "memory", logLevel: "silent" });
  folder = mkdtempSync(join(tmpdir(), "lockdb-languages-"));
});

afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

function counter(name: string): string {
  const path = join(folder, name);
  writeFileSync(path, "0 0\n");
  return path;
}

function numbersIn(path: string): readonly number[] {
  return readFileSync(path, "utf8").trim().split(" ").map(Number);
}

function environment(service: string, more: Record<string, string>) {
  const { PATH, HOME } = process.env;
  return {
    PATH,
    HOME,
    LOCKDB_SERVER_URL: server.url,
    LOCKDB_API_KEY: server.rootKey,
    LOCKDB_SERVICE_ID: service,
    ...more,
  };
}

function run(file: string, path: string, times: number, service: string, more: Record<string, string> = {}) {
  return promisify(execFile)(here(file), [path, String(times)], { env: environment(service, more) });
}

/** What the API says of the lock. */
async function holderOf(service: string): Promise<{ token: number; expiresInMs: number } | undefined> {
  const answer = await fetch(`${server.url}/v1/services/${service}/locks/counter`, {
    headers: { authorization: `Bearer ${server.rootKey}` },
  });
  return ((await answer.json()) as { holders: { token: number; expiresInMs: number }[] }).holders[0];
}

function exitOf(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => child.once("close", resolve));
}

describe("programs in other languages", { timeout: LONG_MS }, () => {
  for (const { name, file, needs } of PROGRAMS) {
    const isRunnable = needs.every(isThere);

    test.skipIf(!isRunnable)(
      `[I3m] ${name}: works longer than its lease, and gives the lock back`,
      async () => {
        const service = file.replace(/\W/g, "-");
        const path = counter(service);
        await run(file, path, 2, service, { LEASE_MS: "1500", WORK_MS: "2500" });
        expect(numbersIn(path)).toEqual([2, 2]);
        expect(await holderOf(service)).toBeUndefined();
      },
    );

    test.skipIf(!isRunnable)(
      `[I3n] ${name}: stops, and writes nothing, when the lock is taken from it`,
      async () => {
        const service = `forced-${file.replace(/\W/g, "-")}`;
        const path = counter(service);
        const env = environment(service, { LEASE_MS: "1500", WORK_MS: "20000" });
        const child = spawn(here(file), [path, "1"], { env, stdio: "ignore" });
        const exit = exitOf(child);
        let holder = await holderOf(service);
        while (holder === undefined) holder = await holderOf(service);
        const { status } = await fetch(
          `${server.url}/v1/services/${service}/locks/counter?token=${holder.token}&reason=test`,
          { method: "DELETE", headers: { authorization: `Bearer ${server.rootKey}` } },
        );
        expect(status).toBe(200);
        expect(await exit).toBe(70);
        expect(numbersIn(path)).toEqual([0, 0]);
      },
    );
  }

  test.skipIf(present.length < 2)("[I3o] all of them together count every step once", async () => {
    const path = counter("together");
    const each = 8;
    await Promise.all(present.map(({ file }) => run(file, path, each, "together")));
    const [count, fence] = numbersIn(path);
    expect(count).toBe(each * present.length);
    expect(fence).toBe(each * present.length);
  });
});
