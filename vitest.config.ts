import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const source = (path: string) => fileURLToPath(new URL(path, import.meta.url));

// Tests import the sources; the processes that tests start run the build, which `npm test` makes first.
const alias = [
  { find: /^lockdb$/, replacement: source("packages/lockdb/src/index.ts") },
  { find: /^lockdb\/protocol$/, replacement: source("packages/lockdb/src/protocol/index.ts") },
  { find: /^lockdb\/guards$/, replacement: source("packages/lockdb/src/guards/index.ts") },
  { find: /^@lockdb\/server$/, replacement: source("packages/server/src/index.ts") },
  { find: /^#number-map$/, replacement: source("packages/lockdb/src/protocol/number-map.ts") },
  { find: /^#runtime$/, replacement: source("packages/lockdb/src/runtime/node.ts") },
  { find: /^#lead$/, replacement: source("packages/lockdb/src/client/lead.ts") },
  { find: /^#tracing$/, replacement: source("packages/lockdb/src/client/tracing.ts") },
  { find: /^#web-locks$/, replacement: source("packages/lockdb/src/client/web-locks.ts") },
];
const shared = { testTimeout: 20_000, hookTimeout: 20_000, maxWorkers: 2 };

// What measures real processes in real time has the machine to itself: one file at a time, after all others.
const ALONE = "tests/processes/**/*.test.ts";

// Every answer in these is compared with the OpenAPI document.
const OVER_HTTP = "packages/server/test/http/**/*.test.ts";

export default defineConfig({
  test: {
    reporters: ["default", source("tests/closing-line.ts")],
    projects: [
      {
        resolve: { alias },
        test: {
          ...shared,
          name: "rules",
          include: ["packages/*/test/**/*.test.ts", "tests/**/*.test.ts", "examples/**/*.test.ts"],
          exclude: [ALONE, OVER_HTTP, "**/node_modules/**"],
          sequence: { groupOrder: 0 },
        },
      },
      {
        resolve: { alias },
        test: {
          ...shared,
          name: "http",
          setupFiles: [source("packages/server/test/http/every-answer.ts")],
          include: [OVER_HTTP],
          sequence: { groupOrder: 0 },
        },
      },
      {
        resolve: { alias },
        test: {
          ...shared,
          name: "processes",
          include: [ALONE],
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
