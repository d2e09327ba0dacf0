import { METRICS, type MetricRow, type Part } from "./table.js";

/** docs/metrics.md: made of the table, and compared with it by a test. */
export function metricsPage(): string {
  const parts = [...new Set(METRICS.map(({ part }) => part))];
  return `${HEAD}\n${parts.map(partText).join("\n")}`;
}

const HEAD = `# Metrics

\`GET /metrics\` gives them as text for Prometheus. It needs a key of the account \`default\` with the scope \`read\` and no list of
services. Times are in seconds; counters begin at 0 with the process. No label grows with names, services, accounts or keys.
Alerts and a dashboard are in \`deploy/\`; [operating.md](operating.md) says how to use them.

This page is made by \`node tests/metrics-page.js > docs/metrics.md\` from the table in \`packages/server/src/metrics/table.ts\`.
`;

function partText(part: Part): string {
  const rows = METRICS.filter((row) => row.part === part).map(rowText);
  return `## ${part}\n\n| metric | type | unit | what |\n| --- | --- | --- | --- |\n${rows.join("\n")}\n`;
}

function rowText({ name, type, label, help }: MetricRow): string {
  const shown = label === null ? name : `${name}{${label}}`;
  return `| \`${shown}\` | ${type} | ${unitOf(name)} | ${help} |`;
}

/** The name says it, as Prometheus has it. */
function unitOf(name: string): string {
  return /_(seconds|bytes|records)(_total)?$/.exec(name)?.[1] ?? "";
}
