import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";

const root = mkdtempSync(join(tmpdir(), "lockdb-store-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let folders = 0;

/** An empty folder that goes when the tests of the file are over. */
export function newFolder(): string {
  const folder = join(root, String(folders++));
  mkdirSync(folder);
  return folder;
}
