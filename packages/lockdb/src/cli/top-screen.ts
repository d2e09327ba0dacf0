import type { Crowd, CrowdHolder } from "./answers.js";
import { oneLine, spanText } from "./words.js";

/** What `top` shows at one moment. */
export interface TopView {
  /** Null: nothing has been heard yet. */
  readonly crowd: Crowd | null;
  /** Null: it takes two looks to know. */
  readonly grantsPerS: number | null;
  /** Which service, or all, and where. */
  readonly title: string;
  /** Why the numbers are old; null: they are not. */
  readonly lost: string | null;
}

export interface Screen {
  readonly columns: number;
  readonly rows: number;
  readonly colours: boolean;
}

type Cells = readonly string[];

const TABLES: readonly {
  readonly heading: string;
  readonly columns: Cells;
  /** Of a terminal of 100 columns; the last takes what is left. */
  readonly widths: readonly number[];
  readonly none: string;
  readonly rows: (crowd: Crowd) => readonly Cells[];
}[] = [
  {
    heading: "Hottest locks",
    columns: ["WAITING", "LONGEST", "SERVICE", "LOCK", "HELD FOR", "TOKEN", "HOLDER"],
    widths: [9, 12, 14, 30, 12, 9, 0],
    none: "nobody waits",
    rows: ({ hottest }) =>
      hottest.map(({ service, lock }) => {
        const { name, queueLength, holders, holderCount, queue } = lock;
        const longest = queue[0] === undefined ? "" : spanText(queue[0].waitingForMs);
        const more = holderCount > 1 ? ` and ${holderCount - 1} more` : "";
        const [heldFor, token, owner] = holderCells(holders[0]);
        return [String(queueLength), longest, service, name, heldFor, token, owner + more];
      }),
  },
  {
    heading: "Longest waits",
    columns: ["WAITED", "WAITER", "SERVICE", "LOCK", "HELD FOR", "TOKEN", "HOLDER"],
    widths: [12, 18, 14, 23, 12, 9, 0],
    none: "nobody waits",
    rows: ({ longestWaits }) =>
      longestWaits.map(({ service, name, waiter, holder }) => [
        spanText(waiter.waitingForMs),
        waiter.owner,
        service,
        name,
        ...holderCells(holder),
      ]),
  },
  {
    heading: "Oldest holds",
    columns: ["HELD FOR", "SERVICE", "LOCK", "WAITING", "TOKEN", "HOLDER"],
    widths: [12, 14, 30, 9, 9, 0],
    none: "nothing is held",
    rows: ({ oldestHolds }) =>
      oldestHolds.map(({ service, name, holder, queueLength }) => {
        const [heldFor, token, owner] = holderCells(holder);
        return [heldFor, service, name, String(queueLength), token, owner];
      }),
  },
];

/** Lines that belong to no table: the title, the counts, and headings with a line between. */
const OTHER_LINES = 2 + TABLES.length * 3 + 1;

/** How many rows of each table a screen of this height has room for. */
export function rowsATable(rows: number): number {
  return Math.max(1, Math.min(50, Math.floor((rows - OTHER_LINES) / TABLES.length)));
}

/** The lines of a terminal, none longer than it is wide, and no more than it has. */
export function screenLines(view: TopView, screen: Screen): readonly string[] {
  const { columns, rows } = screen;
  const { crowd, lost } = view;
  const bold = (text: string) => (screen.colours ? `\x1b[1m${text}\x1b[0m` : text);
  const alarm = (text: string) => (screen.colours ? `\x1b[31m${text}\x1b[0m` : text);
  const cut = (text: string) => cutTo(text, columns);
  const lines = [bold(cut(oneLine(view.title)))];
  if (crowd !== null) {
    lines.push(cut(countsText(crowd, view.grantsPerS)));
    for (const { heading, columns: names, widths, none, rows: rowsOf } of TABLES) {
      lines.push("", bold(cut(heading)));
      const found = rowsOf(crowd).slice(0, rowsATable(rows));
      if (found.length === 0) lines.push(cut(`  ${none}`));
      else for (const cells of [names, ...found]) lines.push(cut(tableLine(cells, scaled(widths, columns))));
    }
  }
  const foot = lost === null ? "q quits, space looks now" : lost;
  const kept = lines.slice(0, Math.max(0, rows - 1));
  return [...kept, lost === null ? cut(foot) : alarm(cut(oneLine(foot)))];
}

/** The same for a pipe: columns separated by tabs, a section after the other. */
export function plainLines({ crowd, grantsPerS }: TopView): readonly string[] {
  if (crowd === null) return [];
  const lines = [countsText(crowd, grantsPerS)];
  for (const { heading, columns, rows } of TABLES) {
    lines.push("", heading);
    for (const cells of [columns, ...rows(crowd)]) lines.push(cells.map(oneLine).join("\t"));
  }
  return lines;
}

function countsText(crowd: Crowd, grantsPerS: number | null): string {
  const { waiters, holds, locks, sessions, services, recovering } = crowd;
  return [
    `${grantsPerS === null ? "-" : countText(grantsPerS)} grants/s`,
    `${countText(waiters)} waiting`,
    `${countText(holds)} holds`,
    `${countText(locks)} locks`,
    `${countText(sessions)} sessions`,
    ...(services === 1 ? [] : [`${countText(services)} services`]),
    ...(recovering === 0 ? [] : [`${recovering} recovering`]),
  ].join("   ");
}

function holderCells(
  holder: CrowdHolder | null | undefined,
): [heldFor: string, token: string, owner: string] {
  if (holder == null) return ["", "", "nobody"];
  const { heldForMs, token, owner, state } = holder;
  return [spanText(heldForMs), String(token), state === "closed" ? `${owner}, closed after it` : owner];
}

/** 1234567 as `1,234,567`; less than ten with a digit behind the point. */
function countText(count: number): string {
  if (count > 0 && count < 10 && !Number.isInteger(count)) return count.toFixed(1);
  return String(Math.round(count)).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** Names have what is left, or give what is missing. */
function scaled(widths: readonly number[], columns: number): readonly number[] {
  const part = Math.max(0.5, Math.min(2, columns / 100));
  return widths.map((width) => (width > 12 ? Math.round(width * part) : width));
}

function tableLine(cells: Cells, widths: readonly number[]): string {
  return cells
    .map((cell, at) => {
      const width = widths[at]!;
      if (width === 0) return oneLine(cell);
      const text = cutTo(oneLine(cell), width - 1);
      return text + " ".repeat(width - columnsOf(text));
    })
    .join("")
    .trimEnd();
}

/** No longer than so many columns, with a sign where something was left out. */
function cutTo(text: string, columns: number): string {
  if (columnsOf(text) <= columns && text.length <= 4 * columns) return text;
  let kept = "";
  let used = 0;
  for (const char of text) {
    used += columnsOfChar(char);
    // Marks without end would take no column, and the rest of the line.
    if (used > columns - 1 || kept.length >= 4 * columns) break;
    kept += char;
  }
  return `${kept}…`;
}

function columnsOf(text: string): number {
  let columns = 0;
  for (const char of text) columns += columnsOfChar(char);
  return columns;
}

const NO_COLUMN = /^[\p{Mn}\p{Me}\p{Cf}]$/u;
const TWO_COLUMNS =
  /^[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}\p{Emoji_Presentation}]$/u;

function columnsOfChar(char: string): number {
  // Nearly all.
  if (char < "\u0300") return 1;
  if (NO_COLUMN.test(char)) return 0;
  return TWO_COLUMNS.test(char) ? 2 : 1;
}
