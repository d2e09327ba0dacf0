import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { isErrorCode, SCOPES } from "lockdb/protocol";
import { describe, expect, test } from "vitest";
import { LIMITS_TRIAL } from "../packages/server/src/access/index.js";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const SKIPPED = new Set(["node_modules", "dist", ".git", "coverage", "lockdb-data"]);

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
      for (const [, target] of withoutCode(read(page)).matchAll(/\]\(([^)\s]+)\)/g)) {
        const [path, heading] = target!.split("#");
        if (/^[a-z]+:/.test(target!)) continue;
        const file = path === "" ? page : join(dirname(page), path!);
        const isThere = existsSync(join(ROOT, file));
        if (!isThere || (heading !== undefined && !headingsOf(file).has(heading)))
          wrong.push(`${page}: ${target}`);
      }
    }
    expect(wrong).toEqual([]);
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
});

/** What is for people to read; decisions are of their day. */
function pages(): string[] {
  return files((path) => path.endsWith(".md") && !path.startsWith("docs/decisions"));
}

/** As the places that show Markdown make them. */
function headingsOf(page: string): ReadonlySet<string> {
  const headings = withoutCode(read(page)).matchAll(/^#+ (.*)$/gm);
  return new Set(
    [...headings].map(([, text]) =>
      text!
        .toLowerCase()
        .replace(/[^\p{L}\p{N}\s_-]/gu, "")
        .replaceAll(" ", "-"),
    ),
  );
}

function withoutCode(markdown: string): string {
  return markdown.replace(/^```[\s\S]*?^```$/gm, "");
}

function files(wanted: (path: string) => boolean, folder = ""): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (SKIPPED.has(entry.name)) return [];
    if (entry.isDirectory()) return files(wanted, path);
    return wanted(path) ? [path] : [];
  });
}

function read(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}
