import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { isErrorCode, SCOPES } from "lockdb/protocol";
import { describe, expect, test } from "vitest";
import { LIMITS_TRIAL } from "../packages/server/src/access/index.js";
import { ApiDocument } from "./docs/api-document.js";
// @ts-expect-error Plain JavaScript, which makes the page after a build.
import { apiPage, entries } from "./docs/api-page.js";
import { type Block, blocksOf, files, headingsOf, linksOf, pages, ROOT, read } from "./docs/pages.js";
import { isScript, scriptProblems, sentenceProblems } from "./docs/scripts.js";
import { typeErrors } from "./docs/typed.js";

describe("the docs", () => {
  test("[M6a] have the limits of a trial as they are", () => {
    const rows = [...read("docs/access.md").matchAll(/^\| `(\w+)` \| ([\d,]+) \|/gm)];
    const told = Object.fromEntries(
      rows.map(([, name, limit]) => [name, Number(limit!.replaceAll(",", ""))]),
    );
    expect(told).toEqual(LIMITS_TRIAL);
  });

  test("[M6b] have every scope, and no other", () => {
    const [, table] = read("docs/access.md").split("| scope | allows |");
    const told = [...table!.split("\n\n")[0]!.matchAll(/^\| `(\w+)` \|/gm)].map(([, scope]) => scope);
    expect(told).toEqual(SCOPES);
  });

  test("[M6c] name no error that is none", () => {
    const wrong = pages().flatMap((page) =>
      [...read(page).matchAll(/\b(?:40\d|413|42\d|50\d) `([A-Z_]{4,})`/g)]
        .filter(([, code]) => !isErrorCode(code))
        .map(([text]) => `${page}: ${text}`),
    );
    expect(wrong).toEqual([]);
  });

  test("[M6d] lead to files and headings that are there", () => {
    const wrong: string[] = [];
    for (const page of pages()) {
      for (const target of linksOf(page)) {
        const [path, heading] = target.split("#");
        if (/^[a-z]+:/.test(target)) {
          if (!target.startsWith("https://") || !URL.canParse(target)) wrong.push(`${page}: ${target}`);
          continue;
        }
        const file = path === "" ? page : join(dirname(page), path!);
        const isThere = existsSync(join(ROOT, file));
        if (!isThere || (heading !== undefined && !headingsOf(file).has(heading)))
          wrong.push(`${page}: ${target}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  test("[M6l] are all in the list of pages", () => {
    const listed = new Set(linksOf("docs/README.md").map((target) => join("docs", target.split("#")[0]!)));
    const all = pages().filter((page) => page.startsWith("docs/") && page !== "docs/README.md");
    expect(all.filter((page) => !listed.has(page))).toEqual([]);
  });

  test("[M6e] name tests that are there", () => {
    const ids = new Set(
      files((path) => path.endsWith(".test.ts")).flatMap((path) =>
        [...read(path).matchAll(/["'`]\[([A-Z]\d*[a-z]*)\]/g)].map(([, id]) => id!),
      ),
    );
    const named = [...read("docs/security.md").matchAll(/`([A-Z]\d{1,2}[a-z]{1,2}|E[a-z])`/g)].map(
      ([, id]) => id!,
    );
    expect(named.length).toBeGreaterThan(100);
    expect([...new Set(named)].filter((id) => !ids.has(id))).toEqual([]);
  });

  test("[M6f] show JavaScript and TypeScript that fits the packages, or stands in a program that tests run", () => {
    const shown = allBlocks.filter(({ language }) => ["js", "ts"].includes(language));
    expect(shown.length).toBeGreaterThan(25);
    expect(typeErrors(shown.filter((block) => !isRun(block)))).toEqual([]);
  });

  test("[M6g] show commands with flags that are known, and requests that the API takes", async () => {
    const document = await ApiDocument.ofServer();
    const wrong: string[] = [];
    for (const block of allBlocks.filter(isScript)) wrong.push(...(await scriptProblems(block, document)));
    for (const page of pages()) wrong.push(...(await sentenceProblems(page, document)));
    expect(wrong).toEqual([]);
  });

  test("[M6h] show JSON that is JSON, and in other languages what stands in a program or a test", () => {
    const wrong = allBlocks.filter((block) => {
      const { language, code } = block;
      switch (language) {
        case "":
        case "js":
        case "ts":
        case "sh":
          return false;
        case "json":
          return !isJson(code);
        case "http":
          return !isJson(code.split("\n\n")[1]!);
        case "sql":
          return !isRun(block) && statementsOf(code).some((statement) => !statements.has(statement));
        default:
          return !isRun(block);
      }
    });
    expect(wrong.map(({ at, language }) => `${at} (${language})`)).toEqual([]);
  });

  test("[M6j] have a reference that is made of the types as they are", () => {
    expect(read("docs/api.md") === apiPage(), "node tests/page.js api > docs/api.md").toBe(true);
  });

  test("[M6k] tell of each public name what it is, with an example, its errors, its default and its unit", () => {
    const names: ApiName[] = entries().flatMap((entry: { names: ApiName[] }) => entry.names);
    expect(names.length).toBeGreaterThan(35);
    const examples = names.flatMap(({ doc, members }) => [doc, ...members.map((each) => each.doc)]);
    const shown = new Set(examples.flatMap(({ example }) => example.match(/\w+/g) ?? []));
    const wrong = names.flatMap((each) => [
      ...(each.doc.text === "" ? [`${each.name}: no text`] : []),
      ...(each.doc.example === "" && !shown.has(each.name) ? [`${each.name}: no example`] : []),
      ...(each.kind === "function" && !tellsErrors(each.doc) ? [`${each.name}: no errors`] : []),
      ...each.members.flatMap((member) => memberProblems(each, member, shown)),
    ]);
    expect(wrong).toEqual([]);
  });

  test("[M6i] come with programs that a test runs, each of them", () => {
    const tests = files((path) => /^examples\/.*\.ts$/.test(path)).map((path) => read(path));
    const all = files((path) => /^examples\/.*\.(js|sh|py|pl)$/.test(path));
    expect(
      all.filter((path) => ![...tests, ...programs].some((text) => text.includes(basename(path)))),
    ).toEqual([]);
  });
});

interface Doc {
  readonly text: string;
  readonly throws: string;
  readonly example: string;
}

interface ApiName {
  readonly name: string;
  readonly kind: string;
  readonly doc: Doc;
  readonly members: readonly {
    readonly name: string;
    readonly isCallable: boolean;
    readonly isOptional: boolean;
    readonly type: string;
    readonly doc: Doc;
  }[];
}

/** Numbers that are of no unit. */
const COUNTS = /^(token|seen|status|ticket|permits|weight|holderCount|queueLength)$/;

function memberProblems(
  of: ApiName,
  { name, isCallable, isOptional, type, doc }: ApiName["members"][number],
  shown: ReadonlySet<string>,
): string[] {
  const place = `${of.name}.${name}`;
  if (doc.text === "") return [`${place}: no text`];
  const hasExample = doc.example !== "" || shown.has(name);
  // What OpenTelemetry gives, this client calls.
  if (isCallable && name !== "constructor" && of.name !== "Tracer") {
    if (!hasExample) return [`${place}: no example`];
    if (of.name === "LockDB" && !tellsErrors(doc)) return [`${place}: no errors`];
  }
  const tellsDefault = /default|else|absent|where|of a|of the/i.test(doc.text);
  if (isOptional && !tellsDefault) return [`${place}: no default, and not when it is absent`];
  const hasUnit = /Ms$|Seconds$/.test(name) || COUNTS.test(name) || type.includes("Duration");
  return /(^|\| )number\b/.test(type) && !hasUnit ? [`${place}: no unit`] : [];
}

function tellsErrors({ text, throws }: Doc): boolean {
  return throws !== "" || /does not (throw|reject)/.test(text);
}

/** Blocks of these pages and languages are run by tests of their own, as they stand. */
const RUN_ELSEWHERE: ReadonlySet<string> = new Set([
  "docs/webhooks.md python",
  "docs/web-locks.md js",
  "docs/fencing.md sql",
  "docs/fencing.md lua",
  "packages/lockdb/README.md cjs",
]);

/** SPEC.md says in few words what the packages export, and is no program. */
const allBlocks = pages()
  .filter((page) => page !== "SPEC.md")
  .flatMap(blocksOf);
const programs = files((path) => /^examples\/.*\.(js|sql|lua)$/.test(path)).map(read);

const statements = new Set(
  files((path) => /^examples\/.*\.sql$/.test(path)).flatMap((path) => statementsOf(read(path))),
);

/** Without comments, and in one line each. */
function statementsOf(sql: string): string[] {
  const lines = sql.replaceAll(/--.*$/gm, "").replaceAll(/\s+/g, " ");
  return lines.split(";").flatMap((each) => (each.trim() === "" ? [] : [each.trim()]));
}

function isRun({ page, language, code }: Block): boolean {
  return RUN_ELSEWHERE.has(`${page} ${language}`) || programs.some((text) => text.includes(code));
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
