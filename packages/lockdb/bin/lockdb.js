#!/usr/bin/env node
// Committed and executable: npm links no bin that is missing at `npm ci`, and the compiler sets no execute bit.
import { existsSync } from "node:fs";

const main = new URL("../dist/cli/main.js", import.meta.url);
if (existsSync(main)) {
  const { run } = await import(main.href);
  await run(process.argv.slice(2));
} else {
  console.error("lockdb is not built yet. In a clone of the repository, run: npm run build");
  process.exitCode = 1;
}
