import { readdirSync, readFileSync } from "node:fs";
import { SourceMap } from "node:module";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

const SHIM = fileURLToPath(new URL("vitest.js", import.meta.url));
const ENTRY = "\0score-entry";
const MARK = "\0score-file:";

const ALIASES = new Map(
  Object.entries({
    vitest: "tests/score/vitest.js",
    lockdb: "packages/lockdb/src/index.ts",
    "lockdb/protocol": "packages/lockdb/src/protocol/index.ts",
    "@lockdb/server": "packages/server/src/index.ts",
    "#number-map": "packages/lockdb/src/protocol/number-map.ts",
    "#runtime": "packages/lockdb/src/runtime/node.ts",
    "#lead": "packages/lockdb/src/client/lead.ts",
    "#tracing": "packages/lockdb/src/client/tracing.ts",
    "#web-locks": "packages/lockdb/src/client/web-locks.ts",
  }).map(([name, path]) => [name, join(ROOT, path)]),
);

/** @typedef {{ code: string, placeOf: (offset: number) => { file: string, line: number } }} Bundle */

/**
 * Sources, tests and simulator as one script, in the text of which mutants are planted.
 * @param {readonly string[]} files the tests
 * @param {RegExp} leftOut tests of such names
 * @param {readonly { seed: number, steps: number }[]} seeds
 * @returns {Promise<Bundle>}
 */
export async function bundle(files, leftOut, seeds) {
  /** @type {any} */
  const result = await build({
    root: ROOT,
    configFile: false,
    logLevel: "error",
    plugins: [
      { name: "score", enforce: "pre", resolveId, load: (id) => load(id, entryOf(files, leftOut, seeds)) },
    ],
    ssr: { noExternal: [], external: true },
    build: {
      ssr: true,
      write: false,
      minify: false,
      sourcemap: "hidden",
      target: "node20",
      rollupOptions: {
        input: ENTRY,
        external: ["score-expect"],
        treeshake: false,
        output: { format: "cjs", codeSplitting: false },
      },
    },
  });
  const chunk = result.output[0];
  const map = new SourceMap(chunk.map);
  const starts = [0];
  for (let at = chunk.code.indexOf("\n"); at !== -1; at = chunk.code.indexOf("\n", at + 1))
    starts.push(at + 1);
  const placeOf = (/** @type {number} */ offset) => {
    let low = 0;
    for (let high = starts.length; high - low > 1; ) {
      const middle = (low + high) >> 1;
      if (starts[middle] <= offset) low = middle;
      else high = middle;
    }
    const entry = map.findEntry(low, offset - starts[low]);
    if (!("originalLine" in entry)) return { file: "", line: 0 };
    return { file: entry.originalSource.replace(/^(\.\.\/)+/, ""), line: entry.originalLine + 1 };
  };
  return { code: chunk.code, placeOf };
}

/** @param {string} id @param {string | undefined} importer */
function resolveId(id, importer) {
  if (id === ENTRY || id.startsWith(MARK)) return id;
  const alias = ALIASES.get(id);
  if (alias !== undefined) return alias;
  // The simulator runs what is built; here it has the sources, like the tests.
  const built = /packages\/(lockdb|server)\/dist\/(.*)\.js$/.exec(id);
  if (built !== null) return join(ROOT, `packages/${built[1]}/src/${built[2]}.ts`);
  return importer === undefined ? undefined : null;
}

/** @param {string} id @param {string} entry */
function load(id, entry) {
  if (id === ENTRY) return entry;
  if (!id.startsWith(MARK)) return null;
  return `import { begin } from ${JSON.stringify(SHIM)}; begin(${JSON.stringify(id.slice(MARK.length))});`;
}

/** @param {readonly string[]} files @param {RegExp} leftOut @param {readonly { seed: number, steps: number }[]} seeds */
function entryOf(files, leftOut, seeds) {
  const imports = files.flatMap((file) => [
    `import ${JSON.stringify(MARK + file)};`,
    `import ${JSON.stringify(join(ROOT, file))};`,
  ]);
  return `${imports.join("\n")}
    import { expect, tests as all } from ${JSON.stringify(SHIM)};
    import { simulate } from ${JSON.stringify(join(ROOT, "sim/src/simulate.ts"))};
    const tests = all.filter(({ name }) => !${leftOut}.test(name));
    for (const run of ${JSON.stringify(seeds)})
      tests.push({
        file: "sim",
        name: "seed " + run.seed + ", " + run.steps + " steps",
        run: async () => expect((await simulate(run)).violations).toEqual([]),
      });
    export { tests };`;
}

/** @param {string} folder @param {(text: string, file: string) => boolean} isWanted */
export function filesIn(folder, isWanted) {
  return readdirSync(join(ROOT, folder))
    .map((name) => join(folder, name))
    .filter((file) => file.endsWith(".ts") && isWanted(readFileSync(join(ROOT, file), "utf8"), file))
    .map((file) => relative(ROOT, join(ROOT, file)))
    .sort();
}
