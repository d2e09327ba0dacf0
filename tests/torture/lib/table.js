// The table of figures in a page, between two markers. A part that was not run keeps the rows that it has.
import { readFileSync, writeFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";

const BEGIN = "<!-- figures: written by `npm run torture -- --write` -->";
const END = "<!-- end of figures -->";
const HEAD = ["| part | seen | promised |", "| --- | --- | --- |"];
const PART = /^\| \*\*([\w-]+)\*\*/;

/**
 * @param {string} page its file
 * @param {readonly { name: string, figures: readonly any[], isSkipped: boolean, isKept: boolean, failure: string | null, seconds: number }[]} done
 * @param {{ isQuick: boolean }} options
 * @throws Error when the page has no such table
 */
export function writeTable(page, done, { isQuick }) {
  const text = readFileSync(page, "utf8");
  const [from, to] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (from < 0 || to < from) throw new Error(`"${page}" has no table between "${BEGIN}" and "${END}"`);
  const parts = partsOf(text.slice(from + BEGIN.length, to));
  for (const part of done) if (!part.isSkipped) parts.set(part.name, rowsOf(part, isQuick));
  const rows = [...parts].sort(([a], [b]) => (a < b ? -1 : 1)).flatMap(([, each]) => each);
  const table = ["", "", ...HEAD, ...rows, "", ""].join("\n");
  writeFileSync(page, `${text.slice(0, from + BEGIN.length)}${table}${text.slice(to)}`);
}

/** @param {string} table @returns {Map<string, string[]>} */
function partsOf(table) {
  const parts = new Map();
  let rows = [];
  for (const line of table.split("\n").slice(1)) {
    const name = PART.exec(line)?.[1];
    if (name !== undefined) {
      rows = [];
      parts.set(name, rows);
    }
    if (parts.size > 0 && line.startsWith("|")) rows.push(line);
  }
  return parts;
}

function rowsOf({ name, figures, isKept, failure, seconds }, isQuick) {
  const date = new Date().toISOString().slice(0, 10);
  const which = `${isQuick ? "quick, " : ""}${date}, ${seconds.toFixed(0)} s, ${machine()}`;
  return [
    row(
      `**${name}**`,
      isKept ? "kept" : `**failed**${failure === null ? "" : `: ${failure.split("\n")[0]}`}`,
      which,
    ),
    ...figures.map(({ what, seen, bound = "", isKept: kept }) =>
      row(what, kept === false ? `**${seen}**` : seen, bound),
    ),
  ];
}

function row(...cells) {
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|").replaceAll("\n", " ")).join(" | ")} |`;
}

function machine() {
  const all = cpus();
  const gib = Math.round(totalmem() / 1_024 ** 3);
  return `${all.length} × ${all[0]?.model.trim() ?? "?"}, ${gib} GiB, Linux ${release().split("-")[0]}, Node.js ${process.versions.node}`;
}
