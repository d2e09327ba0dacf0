import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const SKIPPED = new Set(["node_modules", "dist", ".git", "coverage", "lockdb-data"]);

/** A block of code of a page. */
export interface Block {
  /** Page and line, to be found by. */
  readonly at: string;
  readonly page: string;
  readonly language: string;
  readonly code: string;
}

/** What is for people to read; decisions are of their day. */
export function pages(): string[] {
  return files((path) => path.endsWith(".md") && !path.startsWith("docs/decisions"));
}

export function blocksOf(page: string): Block[] {
  const text = read(page);
  return [...text.matchAll(/^( *)```(\w*)\n([\s\S]*?)^ *```$/gm)].map((match) => ({
    at: `${page}:${text.slice(0, match.index).split("\n").length}`,
    page,
    language: match[2]!,
    code: match[3]!.replaceAll(new RegExp(`^${match[1]}`, "gm"), ""),
  }));
}

/** As the places that show Markdown make them: one that comes again gets a number. */
export function headingsOf(page: string): ReadonlySet<string> {
  const found = new Set<string>();
  for (const [, text] of withoutCode(read(page)).matchAll(/^#+ (.*)$/gm)) {
    const slug = text!
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, "")
      .replaceAll(" ", "-");
    let name = slug;
    for (let again = 1; found.has(name); again++) name = `${slug}-${again}`;
    found.add(name);
  }
  return found;
}

/** Where a page leads: links, pictures, and sources of pictures. */
export function linksOf(page: string): string[] {
  const text = withoutCode(read(page)).replace(/`[^`\n]*`/g, "``");
  const targets = [...text.matchAll(/\]\(([^)\s]+)(?: "[^"]*")?\)/g)];
  const sources = [...text.matchAll(/\b(?:href|src|srcset)="([^"]+)"/g)];
  return [...targets, ...sources].map(([, target]) => target!);
}

export function withoutCode(markdown: string): string {
  return markdown.replace(/^ *```[\s\S]*?^ *```$/gm, "");
}

export function files(wanted: (path: string) => boolean, folder = ""): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (SKIPPED.has(entry.name)) return [];
    if (entry.isDirectory()) return files(wanted, path);
    return wanted(path) ? [path] : [];
  });
}

export function read(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}
