import { Help } from "commander";
import type { HolderInfo, WaiterInfo } from "../protocol/index.js";
import { painter } from "./colour.js";

/** Who has a lock, as a sentence. */
export function holderText(holder: HolderInfo): string {
  const { owner, state, heldForMs, detached, expiresInMs } = holder;
  const facts = factsOf(holder);
  if (state === "closed") {
    return `The lock is closed for another ${spanText(expiresInMs)}: ${owner} had it (${facts}).`;
  }
  if (!detached) return `${owner} has held it for ${spanText(heldForMs)} (${facts}).`;
  // Whoever locked it has probably ended since.
  return `${owner} locked it ${spanText(heldForMs)} ago, for another ${spanText(expiresInMs)} (${facts}).`;
}

function factsOf(holder: HolderInfo): string {
  const { token, names, leads, waitsFor } = holder;
  return [
    `token ${token}`,
    ...modeWords(holder),
    ...(leads === true ? ["leads"] : []),
    ...(names === undefined
      ? []
      : [`together with the rest of ${names.map((name) => `"${name}"`).join(", ")}`]),
    ...(waitsFor === undefined ? [] : [`waits for ${waitsFor.map((name) => `"${name}"`).join(", ")}`]),
  ].join(", ");
}

/** How a lock is held or wanted, where it is not exclusively. */
export function modeWords({ mode, permits, weight }: HolderInfo | WaiterInfo): readonly string[] {
  if (mode === "semaphore") return [`${weight} of ${permits} permits`];
  return mode === "shared" ? ["shared"] : [];
}

/** A time span for people, in its two largest units. */
export function spanText(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  const seconds = Math.floor(ms / 1_000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** Owners and names come from others: what could steer a terminal or turn the text around is escaped. */
export function printable(text: string): string {
  return text.replace(
    /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** The same where a line end would begin a line of somebody else's. */
export function oneLine(text: string): string {
  return printable(text).replaceAll("\n", "\\n");
}

/** JSON of something from elsewhere: it means the same, and steers no terminal. */
export function jsonLine(value: unknown): string {
  return printable(JSON.stringify(value));
}

/**
 * One line of a table.
 * @param widths of a terminal's columns; null: tabs between
 */
export function row(cells: readonly string[], widths: readonly number[] | null): string {
  const texts = cells.map((cell) => oneLine(cell));
  if (widths === null) return texts.join("\t");
  return texts
    .map((text, at) => `${text.padEnd(widths[at]! - 1)} `)
    .join("")
    .trimEnd();
}

/** The first line of a table. */
export function headRow(cells: readonly string[], widths: readonly number[] | null): string {
  return painter(process.stdout)("bold", row(cells, widths));
}

/** A text of help in lines of 80 characters; all but the first are indented. */
export function wrapped(text: string, indent: number): string {
  return new Help().boxWrap(text, 80 - indent).replaceAll("\n", `\n${" ".repeat(indent)}`);
}
