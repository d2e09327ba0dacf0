import { filesIn } from "./bundle.js";

/** What is mutated, and why that. */
export const ROOMS = [
  {
    name: "engine",
    about: "packages/server/src/engine, all of it",
    holds: (/** @type {string} */ file) => file.startsWith("packages/server/src/engine/"),
  },
  {
    // What a client believes to hold, and until when: its session and that session's renewals, its requests, its holds. Left out: how connections are made
    // (connector), what only hands on (lockdb, look, watch, lead), and other faces of the same (web-locks, tracing).
    name: "client",
    about: "the lease logic of packages/lockdb/src/client",
    holds: (/** @type {string} */ file) =>
      /^packages\/lockdb\/src\/client\/(trust|heartbeats|session|session-holds|granting|lease|inner-lease|borrowed-hold|request|cancels)\.ts$/.test(
        file,
      ),
  },
];

/** What a test imports that starts a server, a program or a browser. */
const MACHINE = /from "(\.\/real\.js|@lockdb\/server|node:(child_process|http|net)|.*\/runtime\/node\.js)"/;

/** Tests that need no machine: of the engine, and of clients in virtual time. */
export function testFiles() {
  const isTest = (/** @type {string} */ file) => file.endsWith(".test.ts");
  return [
    ...filesIn("packages/server/test/engine", (_, file) => isTest(file)),
    ...filesIn("packages/lockdb/test/client", (text, file) => isTest(file) && !MACHINE.test(text)),
  ];
}

/** They prove what much of something costs, and take seconds for it. */
export const COSTLY = /\[(N3[npqr]|Q5g|R3j)\]/;

const STEPS = 2_000;
const SEEDS = 8;

/** The simulator comes after the tests. */
export const RUNS = Array.from({ length: SEEDS }, (_, at) => ({ seed: at + 1, steps: STEPS }));
