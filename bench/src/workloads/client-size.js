import { gzipSync } from "node:zlib";
import { inRepository } from "../own-server.js";
import { dependencyVersion } from "../processes.js";

/** @type {import("./alone.js").Alone} */
export const clientSize = {
  name: "client-size",
  about: "the client as a bundler puts it into a web page: all of `import … from 'lockdb'`",
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
      target: "es2022",
      write: false,
      metafile: true,
      legalComments: "none",
    });
    const [{ contents }] = outputFiles;
    const foreign = Object.keys(metafile.inputs).filter((file) => file.includes("node_modules"));
    const [output] = Object.values(metafile.outputs);
    const largest = Object.entries(output.inputs)
      .map(([file, { bytesInOutput }]) => ({ file: file.replace(/.*\/dist\//, ""), bytes: bytesInOutput }))
      .sort((a, b) => b.bytes - a.bytes)
      .slice(0, 8)
      .map(({ file, bytes }) => `${file} ${(bytes / 1_024).toFixed(1)}`);
    return {
      rounds: [
        { gzipKib: gzipSync(contents, { level: 9 }).length / 1_024, minifiedKib: contents.length / 1_024 },
      ],
      said: [`By ${dependencyVersion("esbuild")}. Its largest parts, KiB minified: ${largest.join(", ")}.`],
      // A page has no use for them (I1).
      failures: foreign.length > 0 ? [`it brings dependencies: ${foreign.join(", ")}`] : [],
    };
  },
};
