import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const SKIPPED = new Set(["node_modules", "dist", ".git", "coverage", "lockdb-data"]);

describe("manners of the repository", () => {
  test("[M1a] imports point one way", () => {
    const wrong: string[] = [];
    for (const file of sources()) {
      for (const target of importsOf(file)) {
        const [from, to] = [roomOf(file), roomOf(target)];
        if (from !== to && !MAY_IMPORT[from]?.includes(to))
          wrong.push(`${file} (${from}) -> ${target} (${to})`);
      }
    }
    expect(wrong).toEqual([]);
  });

  test("[M1b] every source file is in a room of the map", () => {
    const strays = sources().filter((file) => !Object.hasOwn(MAY_IMPORT, roomOf(file)));
    expect(strays).toEqual([]);
  });

  test("[M2a] engine and protocol touch no clock, timer, randomness or module of Node.js", () => {
    const found: string[] = [];
    for (const file of sources().filter((path) => PURE.has(roomOf(path)))) {
      const code = withoutComments(read(file));
      for (const pattern of IMPURE) if (pattern.test(code)) found.push(`${file}: ${pattern}`);
    }
    expect(found).toEqual([]);
  });

  test("[M2b] the client proper touches no module of Node.js: only its runtime does", () => {
    const found = sources().filter((file) => roomOf(file) === "client" && /["']node:/.test(read(file)));
    expect(found).toEqual([]);
  });

  test("[M3a] every built rule of SPEC.md has a test", () => {
    const tested = new Set(testNames().map((name) => name.rule));
    expect(rules().built.filter((rule) => !tested.has(rule))).toEqual([]);
  });

  test("[M3b] every test is named by a built rule of SPEC.md", () => {
    const { built } = rules();
    const strays = testNames().filter(({ rule }) => !built.includes(rule));
    expect(strays.map(({ file, name }) => `${file}: ${name}`)).toEqual([]);
  });

  test("[M3c] no fact of a rule has two tests of one name", () => {
    const names = testNames().map(({ name }) => name);
    expect(names.filter((name, at) => names.indexOf(name) !== at)).toEqual([]);
  });

  test("[M4a] no file passes 500 lines", () => {
    const long = files((path) => /\.(ts|js|mjs|tsx)$/.test(path)).filter(
      (file) => read(file).split("\n").length > 501,
    );
    expect(long).toEqual([]);
  });

  test("[M4b] the lock files name no registry", () => {
    const named = files((path) => path.endsWith("package-lock.json")).filter((file) =>
      /"resolved": "http/.test(read(file)),
    );
    expect(named).toEqual([]);
  });
});

/** Which rooms may import which. `bin`, tests, examples and the bench may import everything; nothing imports them. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  protocol: [],
  runtime: ["protocol"],
  guards: ["protocol"],
  client: ["protocol", "runtime"],
  lockdb: ["protocol", "client"],
  cli: ["protocol", "client", "runtime", "lockdb", "server"],
  engine: ["protocol"],
  store: ["protocol", "engine"],
  loop: ["protocol", "engine", "store"],
  access: ["protocol", "engine", "store", "loop"],
  metrics: ["protocol", "engine", "store", "loop", "access", "webhooks", "cluster"],
  webhooks: ["protocol", "engine", "store", "loop"],
  backup: ["protocol", "engine", "store", "loop", "cluster"],
  cluster: ["protocol", "engine", "store", "loop"],
  http: ["protocol", "engine", "store", "access", "loop", "webhooks", "backup", "metrics"],
  options: ["protocol", "store", "access", "webhooks", "http"],
  server: [
    "cluster",
    "protocol",
    "engine",
    "store",
    "access",
    "loop",
    "webhooks",
    "backup",
    "metrics",
    "http",
    "options",
  ],
  // Of what goes over the HTTP API it takes the types.
  dashboard: ["protocol"],
};

const PURE = new Set(["engine", "protocol"]);
const IMPURE = [
  /from "node:/,
  /\b(Date|performance)\.now\b/,
  /\bnew Date\b/,
  /\bMath\.random\b/,
  /\b(set|clear)(Timeout|Interval|Immediate)\b/,
  /\bprocess\b/,
  /\bawait\b/,
  /\bPromise\b/,
  /\bcrypto\b/,
];

function sources(): string[] {
  return files((path) => /^packages\/[^/]+\/src\/.*\.tsx?$/.test(path));
}

/** The room of a file: its folder below `src`, or the package for the files beside them. */
function roomOf(path: string): string {
  if (path.startsWith("packages/dashboard/")) return "dashboard";
  if (path === "lockdb/protocol") return "protocol";
  if (path === "lockdb/guards") return "guards";
  if (path === "#number-map") return "protocol";
  if (path === "#runtime") return "runtime";
  if (["#lead", "#tracing", "#web-locks"].includes(path)) return "client";
  if (path === "lockdb") return "lockdb";
  if (path === "@lockdb/server") return "server";
  const match = /^packages\/([^/]+)\/src\/(?:([^/]+)\/)?/.exec(path);
  return match?.[2] ?? match?.[1] ?? path;
}

/** What a file imports of this repository, as paths from the root or package names. */
function importsOf(file: string): string[] {
  const found = [...withoutComments(read(file)).matchAll(/(?:from|import\()\s*["']([^"']+)["']/g)].map(
    (match) => match[1]!,
  );
  return found
    .filter((name) => name.startsWith(".") || name.startsWith("#") || /^(@lockdb\/|lockdb(\/|$))/.test(name))
    .map((name) => (name.startsWith(".") ? relative(ROOT, join(ROOT, dirname(file), name)) : name));
}

/** The rules of SPEC.md, such as Q1. One that begins with "(planned" is not built yet. */
function rules(): { readonly built: readonly string[] } {
  const lines = read("SPEC.md").split("\n");
  const found = lines.flatMap((line) => /^- ([A-Z]\d+) (\(planned)?/.exec(line) ?? []);
  const built: string[] = [];
  for (let at = 0; at < found.length; at += 3) if (found[at + 2] === undefined) built.push(found[at + 1]!);
  // Part E is a table and not a list.
  return { built: [...built, "E"] };
}

function testNames(): { readonly file: string; readonly name: string; readonly rule: string }[] {
  return files((path) => path.endsWith(".test.ts") || /\/test\/.*contract\.ts$/.test(path)).flatMap((file) =>
    [...read(file).matchAll(/\btest(?:\.\w+)*(?:\([^"'`]*\))?\(\s*["'`]([^"'`]+)/g)].map((match) => {
      const name = match[1]!;
      return { file, name, rule: /^\[([A-Z]\d*)[a-z]*\]/.exec(name)?.[1] ?? name };
    }),
  );
}

function files(wanted: (path: string) => boolean, folder = ""): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (SKIPPED.has(entry.name)) return [];
    if (entry.isDirectory()) return files(wanted, path);
    return wanted(path) ? [path] : [];
  });
}

function withoutComments(code: string): string {
  return code.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
}

function read(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}
