/**
 * @typedef {object} Result One peer in one workload.
 * @property {string} workload
 * @property {string} peer
 * @property {Record<string, number>[]} rounds The figures of each round that worked, in order.
 * @property {string[]} failures
 * @property {string} [unfit]
 */

/** @param {readonly number[]} values */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * @param {readonly number[]} values
 * @param {number} percent
 */
export function percentile(values, percent) {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.max(0, Math.ceil((sorted.length * percent) / 100) - 1)] ?? Number.NaN;
}

/** @param {Result | undefined} result */
export const isValid = (result) =>
  result !== undefined && result.rounds.length > 0 && result.failures.length === 0;

/**
 * A ratio is taken within a round, where both peers met the same machine; then the median over rounds.
 *
 * @param {Result | undefined} subject
 * @param {Result | undefined} peer
 * @param {string} key
 */
export function ratioOf(subject, peer, key) {
  if (!subject || !peer || !isValid(subject) || !isValid(peer)) return undefined;
  const rounds = Math.min(subject.rounds.length, peer.rounds.length);
  const ratios = subject.rounds
    .slice(0, rounds)
    .map((figures, round) => figures[key] / peer.rounds[round][key]);
  return ratios.every(Number.isFinite) ? median(ratios) : undefined;
}

/** @param {{ subject?: string }} workload */
export const subjectOf = (workload) => workload.subject ?? "lockdb";

/**
 * @param {import("./workloads/index.js").Workload} workload
 * @param {readonly import("./peers/index.js").Peer[]} peers
 * @param {readonly Result[]} results Those of this workload.
 */
export function tableOf(workload, peers, results) {
  if (workload.isSelfMeasured) {
    return tableOfFigures(
      workload,
      results.find(({ unfit }) => unfit === undefined),
    );
  }
  return [`${workload.name}: ${workload.about}`, ...align(rowsOfPeers(workload, peers, results))].join("\n");
}

/**
 * A row a figure, for what has no peer.
 *
 * @param {{ name: string, about: string, figures: readonly import("./workloads/index.js").Figure[] }} workload
 * @param {Result | undefined} result
 */
export const tableOfFigures = ({ name, about, figures }, result) =>
  [`${name}: ${about}`, ...align(rowsOfFigures(figures, result))].join("\n");

/**
 * @param {import("./workloads/index.js").Workload} workload
 * @param {readonly import("./peers/index.js").Peer[]} peers
 * @param {readonly Result[]} results
 */
function rowsOfPeers({ name, subject, figures }, peers, results) {
  const [first] = figures;
  const own = results.find(({ peer }) => peer === subjectOf(/** @type {any} */ ({ subject })));
  const head = ["", ...figures.map(({ title }) => title), "lowest-highest", "LockDB is", "on disk"];
  /** @type {string[][]} */
  const rows = [head];
  /** @type {Map<string, string[]>} */
  const unfit = new Map();
  for (const peer of peers) {
    const result = results.find((one) => one.peer === peer.name);
    if (result?.unfit !== undefined) {
      unfit.set(result.unfit, [...(unfit.get(result.unfit) ?? []), peer.name]);
    } else if (result === undefined || (result.rounds.length === 0 && result.failures.length === 0)) {
      rows.push([peer.title, "not measured: no time was left"]);
    } else if (result.failures.length > 0) {
      rows.push([peer.title, `VOID: ${result.failures[0].split("\n")[0]}`]);
    } else {
      const ratio = ratioOf(own, result, first.key);
      rows.push([
        peer.title,
        ...figures.map((figure) => medianText(figure, result)),
        rangeText(first, result),
        ratio === undefined ? "?" : `${ratio.toFixed(2)} x it`,
        peer.durable ? "yes" : "no",
      ]);
    }
  }
  for (const [why, names] of unfit) rows.push([`left out: ${names.join(", ")} (${why})`]);
  if (rows.length === 1) throw new Error(`nobody took part in ${name}`);
  return rows;
}

/**
 * @param {readonly import("./workloads/index.js").Figure[]} figures One that no round has is left out.
 * @param {Result | undefined} result
 */
function rowsOfFigures(figures, result) {
  if (result === undefined || (result.rounds.length === 0 && result.failures.length === 0)) {
    return [["not measured: no time was left"]];
  }
  if (result.failures.length > 0) return [[`VOID: ${result.failures[0].split("\n")[0]}`]];
  const taken = figures.filter(({ key }) => result.rounds.every((round) => round[key] !== undefined));
  const rows = taken.map((figure) => [figure.title, medianText(figure, result), rangeText(figure, result)]);
  return [["", "median", "lowest-highest"], ...rows];
}

/**
 * @param {import("./workloads/index.js").Figure} figure
 * @param {Result} result
 */
const medianText = ({ key, digits }, { rounds }) =>
  figureText(median(rounds.map((figures) => figures[key])), digits);

/**
 * @param {import("./workloads/index.js").Figure} figure
 * @param {Result} result
 */
function rangeText({ key, digits }, { rounds }) {
  const values = rounds.map((figures) => figures[key]);
  return `${figureText(Math.min(...values), digits)}-${figureText(Math.max(...values), digits)}`;
}

export const figureText = (/** @type {number} */ value, digits = 0) =>
  value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });

/**
 * Columns under each other; the first to the left, the others to the right. A row with fewer cells is a sentence.
 *
 * @param {readonly string[][]} rows
 */
export function align(rows) {
  const whole = rows.filter((row) => row.length === rows[0].length);
  const widths = rows[0].map((_, column) => Math.max(...whole.map((row) => row[column].length)));
  return rows.map((row) =>
    row
      .map((cell, column) => {
        if (column === 0) return `  ${cell.padEnd(row.length === 1 ? 0 : widths[0])}`;
        return row.length === rows[0].length ? cell.padStart(widths[column]) : cell;
      })
      .join("  "),
  );
}
