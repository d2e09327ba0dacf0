import { spawn } from "node:child_process";
import { closeSync, existsSync, openSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { freePort, ROOT_KEY, until } from "./processes.js";

const CLI = fileURLToPath(new URL("../../packages/lockdb/bin/lockdb.js", import.meta.url));
/** Whatever is written there meets a full disk. */
const FULL = "/dev/full";
/** Wrong keys from one address until that is logged, and some. */
const WRONG_KEYS = 100;

const children: ReturnType<typeof spawn>[] = [];
afterAll(() => {
  for (const child of children) child.kill("SIGKILL");
});

test.skipIf(!existsSync(FULL))(
  "[I6zc] a log that cannot be written ends nothing",
  { timeout: 30_000 },
  async () => {
    const port = await freePort();
    const full = openSync(FULL, "w");
    const child = spawn(
      process.execPath,
      [CLI, "serve", "--port", String(port), "--store", "memory", "--log-level", "debug"],
      {
        env: { PATH: process.env.PATH, LOCKDB_ROOT_KEY: ROOT_KEY },
        stdio: ["ignore", "ignore", full],
      },
    );
    children.push(child);
    closeSync(full);
    const url = `http://127.0.0.1:${port}`;
    const status = (path: string, key: string) =>
      fetch(url + path, { headers: { authorization: `Bearer ${key}` } }).then(
        (answer) => answer.status,
        () => 0,
      );
    await until(
      "it listens, or is gone",
      async () => child.exitCode !== null || (await status("/readyz", "")) === 200,
    );
    for (let at = 0; at < WRONG_KEYS; at++) await status("/v1/self", `wrong ${at}`);
    expect(await status("/v1/self", ROOT_KEY)).toBe(200);
  },
);
