import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
// @ts-expect-error Plain JavaScript, which makes the page after a build.
import { entries } from "./api-page.js";
import type { Block } from "./pages.js";
import { ROOT } from "./pages.js";

const SURROUNDINGS = join(ROOT, "tests/docs/surroundings.d.ts");

/**
 * Type-checks blocks of JavaScript and TypeScript, all in one run of the compiler, with the packages as they were built.
 * @returns what is wrong, each with page and line of its block
 */
export function typeErrors(blocks: readonly Block[]): string[] {
  // Where packages are found, and git does not look.
  const parent = join(ROOT, "node_modules/.cache");
  mkdirSync(parent, { recursive: true });
  const folder = mkdtempSync(join(parent, "docs-"));
  try {
    const names = blocks.map(({ code }, at) => {
      writeFileSync(join(folder, `block${at}.ts`), moduleOf(code));
      return `block${at}.ts`;
    });
    writeFileSync(join(folder, "exported.d.ts"), exportedNames());
    writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
    const config = {
      extends: join(ROOT, "tsconfig.base.json"),
      compilerOptions: {
        ...{ noEmit: true, composite: false, declaration: false, rootDir: ROOT },
        // Programs in JavaScript, which say no types.
        ...{
          noImplicitAny: false,
          noImplicitReturns: false,
          noUnusedLocals: false,
          noUnusedParameters: false,
        },
        ...{ erasableSyntaxOnly: false, noUncheckedIndexedAccess: false },
      },
      files: [SURROUNDINGS, "exported.d.ts", ...names],
    };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
    const tsc = join(ROOT, "node_modules/typescript/bin/tsc");
    const { stdout, stderr } = spawnSync(process.execPath, [tsc, "--pretty", "false", "-p", folder], {
      encoding: "utf8",
      cwd: folder,
    });
    if (stderr !== "") return [stderr];
    const lines = stdout.split("\n").filter((line) => line !== "" && !line.startsWith(" "));
    return lines.map((line) => line.replace(/^block(\d+)\.ts/, (_, at) => blocks[Number(at)]!.at));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What the packages export, for blocks that leave the import out. */
function exportedNames(): string {
  const all: { name: string; names: { name: string; kind: string }[] }[] = entries();
  const lines = all.flatMap((entry) =>
    entry.names.flatMap(({ name, kind }) => [
      ...(/class|function|const/.test(kind)
        ? [`declare const ${name}: typeof import("${entry.name}").${name};`]
        : []),
      ...(/class|interface|type/.test(kind) ? [`type ${name} = import("${entry.name}").${name};`] : []),
    ]),
  );
  return lines.join("\n");
}

/** A module of its own. What exports nothing may be from the middle of a function, with `return` and `await`. */
function moduleOf(code: string): string {
  if (/^export /m.test(code)) return code;
  const imports = [...code.matchAll(/^import [\s\S]*?;$/gm)].map(([text]) => text);
  const rest = code.replaceAll(/^import [\s\S]*?;$/gm, "");
  return `${imports.join("\n")}\nexport async function shown() {\n${rest}\n}\n`;
}
