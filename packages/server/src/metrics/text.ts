import type { Histogram } from "../engine/index.js";
import type { Scrape, Sources } from "./sources.js";
import { METRICS, type MetricRow } from "./table.js";

/** Text format 0.0.4 of Prometheus. */
export const METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** All metrics as they are now. */
export async function metricsText(sources: Sources): Promise<string> {
  const { loop, webhooks, cluster } = sources;
  const etcdMembers = cluster === null ? null : await cluster.etcdMembers();
  const scrape: Scrape = {
    ...sources,
    census: loop.services.census(),
    deliveries: webhooks?.census() ?? { pending: 0, pausedTargets: 0 },
    seen: cluster?.seen() ?? null,
    etcdMembers,
  };
  return METRICS.map((row) => textOf(row, scrape)).join("");
}

function textOf(row: MetricRow, scrape: Scrape): string {
  const { name, type, help } = row;
  const samples = samplesOf(row, scrape);
  // Not known here, such as the files that are open on a system that does not tell.
  if (samples === null) return "";
  return `${[`# HELP ${name} ${escaped(help, false)}`, `# TYPE ${name} ${type}`, ...samples].join("\n")}\n`;
}

function samplesOf(row: MetricRow, scrape: Scrape): readonly string[] | null {
  const { name } = row;
  if (row.type === "histogram") {
    const value = row.read(scrape);
    return value === null ? null : bucketsOf(name, value, row.scale);
  }
  if (row.label === null) {
    const value = row.read(scrape);
    return value === null ? null : [`${name} ${numberText(value)}`];
  }
  const values = row.read(scrape);
  if (values === null) return null;
  return Object.entries(values).map(
    ([label, value]) => `${name}{${row.label}="${escaped(label, true)}"} ${numberText(value)}`,
  );
}

function bucketsOf(name: string, { bounds, counts, sum }: Histogram, scale: number): readonly string[] {
  let count = 0;
  const lines = counts.map((own, at) => {
    count += own;
    const bound = at < bounds.length ? numberText(bounds[at]! / scale) : "+Inf";
    return `${name}_bucket{le="${bound}"} ${count}`;
  });
  return [...lines, `${name}_sum ${numberText(sum / scale)}`, `${name}_count ${count}`];
}

function numberText(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return "+Inf";
  if (value === Number.NEGATIVE_INFINITY) return "-Inf";
  return String(value);
}

function escaped(text: string, isLabel: boolean): string {
  const plain = text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
  return isLabel ? plain.replaceAll('"', '\\"') : plain;
}
