import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const source = (path: string) => fileURLToPath(new URL(path, import.meta.url));

// Tests import the sources; the processes that tests start run the build, which `npm test` makes first.
export default defineConfig({
  resolve: {
    alias: [
      {
        // The simulator's build imports the packages' builds; in tests it is made of sources like all else.
        find: /^(?:\.\.\/)+packages\/(lockdb|server)\/dist\/(.*)\.js$/,
        replacement: source("packages/$1/src/$2.ts"),
      },
      { find: /^lockdb$/, replacement: source("packages/lockdb/src/index.ts") },
      { find: /^lockdb\/protocol$/, replacement: source("packages/lockdb/src/protocol/index.ts") },
      { find: /^@lockdb\/server$/, replacement: source("packages/server/src/index.ts") },
      { find: /^#runtime$/, replacement: source("packages/lockdb/src/runtime/node.ts") },
    ],
  },
  test: {
    include: ["packages/*/test/**/*.test.ts", "tests/**/*.test.ts", "examples/**/*.test.ts"],
    testTimeout: 20_000,
    hookTimeout: 20_000,
    maxWorkers: 2,
    reporters: ["default", source("tests/closing-line.ts")],
  },
});
