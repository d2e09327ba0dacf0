import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { type OutputChunk, rolldown } from "rolldown";
import { expect, test } from "vitest";

const CLIENT = fileURLToPath(new URL("../../dist/index.js", import.meta.url));
/** What is promised of a page's client (docs/benchmarks.md, which measures it with another bundler). */
const BYTES_MAX = 14 * 1_024;

test("[I1wg] what a page loads of it at first is one file of at most 14 KiB, minified and gzipped", async () => {
  const bundle = await rolldown({
    input: CLIENT,
    platform: "browser",
    resolve: { conditionNames: ["browser", "import", "default"] },
  });
  const { output } = await bundle.generate({ format: "esm", minify: true });
  await bundle.close();
  const entry = output.find((file): file is OutputChunk => file.type === "chunk" && file.isEntry)!;
  expect(entry.imports).toEqual([]);
  expect(entry.dynamicImports.length).toBe(3);
  expect(gzipSync(entry.code, { level: 9 }).length).toBeLessThanOrEqual(BYTES_MAX);
});
