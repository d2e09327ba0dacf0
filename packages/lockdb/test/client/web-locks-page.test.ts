import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { realServer } from "./real.js";

const real = realServer();
const run = promisify(execFile);
const ROOT = fileURLToPath(new URL("../../../..", import.meta.url));

test("[I1wea] the program of docs/web-locks.md prints what the page says", async () => {
  const page = readFileSync(`${ROOT}/docs/web-locks.md`, "utf8");
  const programs = [...page.matchAll(/^```js\n([\s\S]*?)^```$/gm)].map((match) => match[1]!);
  expect(programs).toHaveLength(1);
  const said = /^It prints (.*?)\. Tests/m.exec(page)![1]!;
  const lines = [...said.matchAll(/`([^`]*)`/g)].map((match) => match[1]!);
  const env = { ...process.env, LOCKDB_API_KEY: real.server.rootKey, LOCKDB_SERVER_URL: real.server.url };
  const { stdout } = await run(process.execPath, ["--input-type=module", "--eval", programs[0]!], {
    cwd: ROOT,
    env,
  });
  expect(stdout.trim().split("\n")).toEqual(lines);
});

test("[I1web] TypeScript that was written for navigator.locks compiles with locker.locks", async () => {
  const tsc = fileURLToPath(import.meta.resolve("typescript/package.json")).replace(
    "package.json",
    "bin/tsc",
  );
  const checked = run(process.execPath, [tsc, "-p", "packages/lockdb/test/dom"], { cwd: ROOT });
  expect(await checked.then(() => "no errors").catch(({ stdout }: { stdout: string }) => stdout)).toBe(
    "no errors",
  );
});
