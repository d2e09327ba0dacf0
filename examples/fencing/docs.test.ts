import { readdirSync, readFileSync } from "node:fs";
import { POSTGRES_MIGRATION, postgresFence, redisFence } from "lockdb/guards";
import { expect, test } from "vitest";

const read = (path: string) => readFileSync(new URL(path, import.meta.url), "utf8");
const SQL_FILES = readdirSync(new URL("sql", import.meta.url)).map((name) => read(`sql/${name}`));
const GUARDS = [POSTGRES_MIGRATION, postgresFence("a", "b").statement(1).text];
const PROGRAMS = ["guards.js", "sql.js", "object-store.js"].map(read);

test("[F4z] what the docs show is what is tested: each statement as it stands, each program in its own words", () => {
  const shown = blocks(read("../../docs/fencing.md"));
  expect(shown.sql.toSorted()).toEqual([...SQL_FILES, ...GUARDS].toSorted());
  expect(shown.lua).toEqual([redisFence("a", "b").script(1).script]);
  expect(shown.js.length).toBeGreaterThan(0);
  expect(shown.js.filter((code) => !PROGRAMS.some((program) => program.includes(code)))).toEqual([]);
});

function blocks(page: string) {
  const all = [...page.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)];
  const of = (language: string) => all.filter((match) => match[1] === language).map((match) => match[2]!);
  return { sql: of("sql"), lua: of("lua"), js: of("js") };
}
