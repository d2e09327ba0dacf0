import { CLIENT } from "./equivalents-client.js";
import { ENGINE } from "./equivalents-engine.js";

/**
 * Mutants that behave like the healthy code, so that no test can find them. They are told apart from survivors, and counted both ways.
 * A row is for all mutants of its line (by its text) that put `to` for `from`; without these two, for all of its line.
 * @type {readonly import("./equivalents.js").Equivalent[]}
 */
export const EQUIVALENTS = [...ENGINE, ...CLIENT];

/** @param {{ file: string, from: string, put: string }} mutant @param {string} line the text of its line in the source */
export function equivalentOf(mutant, line) {
  return EQUIVALENTS.find(
    (row) =>
      row.file === mutant.file &&
      row.line === line.trim() &&
      (row.from === undefined || row.from === mutant.from.replace(/\s+/g, " ")) &&
      (row.to === undefined || row.to === mutant.put.replace(/\s+/g, " ")),
  );
}
