/**
 * What must hold with real processes, and takes too long for `npm test`. Each part is a file of this folder.
 *
 *     npm run torture -- [--only PART]… [--quick] [--rounds N] [--write FILE]
 *
 * Figures come at the end, then a line of totals. Exit code 1: a part has failed. `--quick` is a tenth of it or less, and judges no times: for CI.
 * `--rounds` is in place of all counts. `--write` puts the figures into the table of a page, in place of those that these parts had there.
 */
import { readdirSync } from "node:fs";
import { loadavg } from "node:os";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { lacking } from "./lib/needs.js";
import { Stage } from "./lib/stage.js";
import { writeTable } from "./lib/table.js";

/**
 * @typedef {object} Figure one row of the table
 * @property {string} what
 * @property {string} seen
 * @property {string} [bound] what was promised; absent: told only
 * @property {boolean} [isKept] absent: told only
 */

const FOLDER = fileURLToPath(new URL(".", import.meta.url));
const USAGE = "npm run torture -- [--only PART]… [--quick] [--rounds N] [--write FILE]";
const names = readdirSync(FOLDER)
  .filter((file) => file.endsWith(".js") && file !== "run.js")
  .map((file) => basename(file, ".js"));

const { only, isQuick, rounds, page } = optionsOf(process.argv.slice(2));
const stray = only.find((name) => !names.includes(name));
if (stray !== undefined) {
  console.error(`There is no part "${stray}". There are: ${names.join(", ")}.`);
  process.exit(64);
}
// What was started is ended when this process exits, and not when a signal ends it.
for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
  ["SIGHUP", 129],
])
  process.once(signal, () => process.exit(code));
process.setMaxListeners(0);
process.exit(await main(only.length > 0 ? only : names));

/** @param {readonly string[]} chosen */
async function main(chosen) {
  const done = [];
  for (const name of chosen) {
    const { about, run, needs = [] } = await import(`./${name}.js`);
    console.log(`\n${name}: ${about}`);
    const stage = new Stage({ isQuick, rounds });
    const startedMs = performance.now();
    /** @type {Figure[]} */
    let figures = [];
    let failure = lacking(needs);
    const isSkipped = failure !== null;
    try {
      if (!isSkipped) figures = await run(stage);
    } catch (error) {
      failure = error instanceof Error ? (error.stack ?? error.message) : String(error);
    } finally {
      await stage.end();
    }
    if (isSkipped) console.log(`SKIPPED: ${failure}`);
    else if (failure !== null) console.log(`failed: ${failure}`);
    const seconds = (performance.now() - startedMs) / 1_000;
    const isKept = isSkipped || (failure === null && figures.every((figure) => figure.isKept !== false));
    done.push({ name, figures, failure, isSkipped, isKept, seconds });
  }
  if (page !== null) writeTable(page, done, { isQuick });
  return report(done);
}

/** @param {readonly any[]} done */
function report(done) {
  const rows = done.flatMap(({ name, figures, failure, isSkipped, isKept, seconds }) => [
    [name, isSkipped ? "skipped" : isKept ? "kept" : "FAILED", `${seconds.toFixed(0)} s`, ""],
    ...figures.map((/** @type {Figure} */ { what, seen, bound, isKept: kept }) => [
      `  ${what}`,
      seen,
      bound ?? "",
      kept === false ? "FAILED" : "",
    ]),
    ...(failure === null ? [] : [[`  ${failure.split("\n")[0]}`, "", "", ""]]),
  ]);
  const widths = [0, 1, 2].map((at) => Math.max(...rows.map((row) => Math.min(70, row[at].length))));
  console.log("");
  for (const row of rows)
    console.log(
      row
        .map((cell, at) => cell.padEnd(widths[at] ?? 0))
        .join("  ")
        .trimEnd(),
    );
  const failed = done.filter(({ isKept }) => !isKept).length;
  const skipped = done.filter(({ isSkipped }) => isSkipped).length;
  const judged = done.flatMap(({ figures }) => figures).filter(({ isKept }) => isKept !== undefined);
  console.log(
    `\nload of the machine at the end: ${loadavg()
      .map((each) => each.toFixed(1))
      .join(", ")}`,
  );
  console.log(
    `${done.length - failed - skipped} parts kept, ${failed} failed, ${skipped} skipped; ` +
      `${judged.filter(({ isKept }) => isKept).length} of ${judged.length} bounds kept`,
  );
  return failed === 0 ? 0 : 1;
}

/** @param {readonly string[]} args */
function optionsOf(args) {
  const only = [];
  let isQuick = false;
  let rounds = null;
  let page = null;
  for (let at = 0; at < args.length; at++) {
    if (args[at] === "--quick") isQuick = true;
    else if (args[at] === "--only") only.push(args[++at] ?? "");
    else if (args[at] === "--rounds" && /^[1-9]\d*$/.test(args[at + 1] ?? "")) rounds = Number(args[++at]);
    else if (args[at] === "--write" && args[at + 1] !== undefined) page = args[++at];
    else {
      console.error(`Not "${args[at]}": ${USAGE}`);
      process.exit(64);
    }
  }
  return { only, isQuick, rounds, page };
}
