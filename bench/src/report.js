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
 * A ratio is taken within a round, where both peers met the same machine; then the median over rounds.
 *
 * @param {Result | undefined} lockdb
 * @param {Result} peer
 * @param {string} key
 */
export function ratioToLockdb(lockdb, peer, key) {
  if (lockdb === undefined || lockdb.failures.length > 0 || peer.failures.length > 0) return undefined;
  const ratios = lockdb.rounds.map((figures, round) => figures[key] / peer.rounds[round]?.[key]);
  return ratios.length > 0 && ratios.every(Number.isFinite) ? median(ratios) : undefined;
}

/**
 * @param {import("./workloads/index.js").Workload} workload
 * @param {readonly import("./peers/index.js").Peer[]} peers
 * @param {readonly Result[]} results Those of this workload.
 */
export function tableOf(workload, peers, results) {
  const [first] = workload.figures;
  const lockdb = results.find(({ peer }) => peer === "lockdb");
  const head = ["", ...workload.figures.map(({ title }) => title), "lowest-highest", "LockDB is", "on disk"];
  const rows = peers.map((peer) => {
    const result = results.find((one) => one.peer === peer.name);
    if (result === undefined) return [peer.title, "not measured"];
    if (result.unfit !== undefined) return [peer.title, `left out: ${result.unfit}`];
    if (result.failures.length > 0) return [peer.title, `VOID: ${result.failures[0].split("\n")[0]}`];
    const ratio = ratioToLockdb(lockdb, result, first.key);
    const main = result.rounds.map((figures) => figures[first.key]);
    return [
      peer.title,
      ...workload.figures.map(({ key, digits }) =>
        figureText(median(result.rounds.map((figures) => figures[key])), digits),
      ),
      `${figureText(Math.min(...main))}-${figureText(Math.max(...main))}`,
      ratio === undefined ? "?" : `${ratio.toFixed(2)} x it`,
      peer.durable ? "yes" : "no",
    ];
  });
  return [`${workload.name}: ${workload.about}`, ...align([head, ...rows])].join("\n");
}

const figureText = (/** @type {number} */ value, digits = 0) =>
  value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });

/** @param {string[][]} rows */
function align(rows) {
  const whole = rows.filter((row) => row.length === rows[0].length);
  const widths = rows[0].map((_, column) => Math.max(...whole.map((row) => row[column].length)));
  widths[0] = Math.max(...rows.map((row) => row[0].length));
  return rows.map((row) =>
    row
      .map((cell, column) => {
        if (column === 0) return `  ${cell.padEnd(widths[0])}`;
        return row.length === rows[0].length ? cell.padStart(widths[column]) : cell;
      })
      .join("  "),
  );
}
