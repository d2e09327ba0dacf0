import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const DEMO = fileURLToPath(new URL("demo.js", import.meta.url));

test("[Q1d] the demo's locked run never oversells and its table says so", { timeout: 15_000 }, async () => {
  const { exitCode, stdout, stderr } = await run(DEMO);
  expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });

  const withLock = Object.fromEntries(
    [...stdout.matchAll(/^ {2}(\S.*?) {2,}(\d+) {2,}(\d+)$/gm)].map(([, name, , value]) => [
      name,
      Number(value),
    ]),
  );
  expect(withLock).toEqual({
    "in stock at start": 20,
    "orders taken": 60,
    sold: 20,
    "in stock at the end": 0,
    oversold: 0,
    "lost updates": 0,
  });
  expect(stdout.trimEnd().split("\n").at(-1)).toMatch(/with LockDB, nobody did\.$/);
});

function run(path: string): Promise<{ exitCode: number | null; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [path], (_error, stdout, stderr) => {
      resolve({ exitCode: child.exitCode, stdout, stderr });
    });
  });
}
