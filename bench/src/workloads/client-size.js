import { resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { inRepository } from "../own-server.js";
import { dependencyVersion } from "../processes.js";

/** @type {import("./alone.js").Alone} */
export const clientSize = {
  name: "client-size",
  about:
    "the client as a bundler puts it into a web page: what all of `import … from 'lockdb'` loads at first",
  figures: [
    { key: "gzipKib", title: "minified and gzipped, KiB", digits: 2 },
    { key: "minifiedKib", title: "minified, KiB", digits: 2 },
  ],
  async measure() {
    // Loaded here: whoever runs other workloads needs no bundler.
    const { buildSync } = await import("esbuild");
    const { outputFiles, metafile } = buildSync({
      entryPoints: [inRepository("packages/lockdb/dist/index.js")],
      bundle: true,
      minify: true,
      format: "esm",
      platform: "browser",
      splitting: true,
      outdir: "out",
      target: "es2022",
      write: false,
      metafile: true,
      legalComments: "none",
    });
    const { outputs } = metafile;
    const first = loadedAtFirst(outputs);
    const later = Object.keys(outputs).filter((file) => !first.includes(file));
    /** @param {readonly string[]} files */
    const gzipKib = (files) => {
      const paths = files.map((file) => resolve(file));
      const zipped = outputFiles
        .filter(({ path }) => paths.includes(path))
        .map(({ contents }) => gzipSync(contents, { level: 9 }));
      return zipped.reduce((sum, { length }) => sum + length, 0) / 1_024;
    };
    const minifiedKib = first.reduce((sum, file) => sum + outputs[file].bytes, 0) / 1_024;
    const foreign = Object.keys(metafile.inputs).filter((file) => file.includes("node_modules"));
    const largest = first
      .flatMap((file) => Object.entries(outputs[file].inputs))
      .map(([file, { bytesInOutput }]) => ({ file: file.replace(/.*\/dist\//, ""), bytes: bytesInOutput }))
      .sort((a, b) => b.bytes - a.bytes)
      .slice(0, 8)
      .map(({ file, bytes }) => `${file} ${(bytes / 1_024).toFixed(1)}`);
    return {
      rounds: [{ gzipKib: gzipKib(first), minifiedKib }],
      said: [
        `By ${dependencyVersion("esbuild")}. Its largest parts, KiB minified: ${largest.join(", ")}.`,
        `Web Locks, loaded when used: ${gzipKib(later).toFixed(2)} KiB.`,
      ],
      // A page has no use for them (I1).
      failures: foreign.length > 0 ? [`it brings dependencies: ${foreign.join(", ")}`] : [],
    };
  },
};

/**
 * The file that a page names, and those that it imports. What it imports by a call is loaded when it is used.
 *
 * @param {import("esbuild").Metafile["outputs"]} outputs
 * @returns {string[]}
 */
function loadedAtFirst(outputs) {
  const first = Object.keys(outputs).filter((file) => outputs[file].entryPoint?.endsWith("/dist/index.js"));
  for (const file of first) {
    const imported = outputs[file].imports.filter(({ kind }) => kind === "import-statement");
    first.push(...imported.map(({ path }) => path).filter((path) => !first.includes(path)));
  }
  return first;
}
