/** A strict reader of Prometheus' text format 0.0.4, which shares nothing with what writes it. */

export interface Family {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  /** By what stands before the value, such as `lockdb_refusals_total{code="INVALID"}`. */
  readonly samples: ReadonlyMap<string, number>;
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/;
const TYPES = ["counter", "gauge", "histogram"];

/** @throws Error that names the line */
export function parseMetrics(text: string): ReadonlyMap<string, Family> {
  if (!text.endsWith("\n")) throw new Error("the last line does not end");
  if (/\r|\n\n/.test(text)) throw new Error("there is a line that is none");
  const families = new Map<string, Family>();
  const lines = text.slice(0, -1).split("\n");
  for (let at = 0; at < lines.length; ) {
    const [, name = "", help = ""] = wanted(/^# HELP (\S+) (.+)$/, lines[at++]!);
    const [, typed, type = ""] = wanted(/^# TYPE (\S+) (\S+)$/, lines[at++] ?? "");
    if (!NAME.test(name) || typed !== name || !TYPES.includes(type)) throw new Error(`wrong head of ${name}`);
    if (/\\(?![\\n])/.test(help)) throw new Error(`wrong escape in the help of ${name}`);
    if (families.has(name)) throw new Error(`${name} is there twice`);
    const samples = new Map<string, number>();
    for (; at < lines.length && !lines[at]!.startsWith("#"); at++) {
      const line = lines[at]!;
      const [, own = "", labels = "", value = ""] = wanted(SAMPLE, line);
      if (!namesOf(name, type).includes(own)) throw new Error(`not of ${name}: ${line}`);
      checkLabels(labels, line);
      const key = line.slice(0, line.lastIndexOf(" "));
      if (samples.has(key)) throw new Error(`twice: ${line}`);
      samples.set(key, numberOf(value, line));
    }
    if (samples.size === 0) throw new Error(`${name} has no sample`);
    if (type === "counter" && ![...samples.values()].every((value) => value >= 0 && value < Infinity))
      throw new Error(`${name} counts below 0`);
    if (type === "histogram") checkHistogram(name, samples);
    families.set(name, { name, type, help, samples });
  }
  return families;
}

function wanted(form: RegExp, line: string): RegExpExecArray {
  const found = form.exec(line);
  if (found === null) throw new Error(`not as ${form}: ${line}`);
  return found;
}

function namesOf(name: string, type: string): readonly string[] {
  return type === "histogram" ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name];
}

function checkLabels(labels: string, line: string): void {
  const names = new Set<string>();
  for (let rest = labels; rest !== ""; ) {
    const [all, name = ""] = wanted(LABEL, rest);
    if (names.has(name)) throw new Error(`a label twice: ${line}`);
    names.add(name);
    rest = rest.slice(all.length);
  }
}

function numberOf(text: string, line: string): number {
  if (text === "+Inf") return Infinity;
  if (text === "-Inf") return -Infinity;
  if (!/^-?\d+(\.\d+)?(e[+-]?\d+)?$/.test(text)) throw new Error(`no number: ${line}`);
  return Number(text);
}

/** Bounds rise, counts never fall, the last bound is +Inf and has as many as there are. */
function checkHistogram(name: string, samples: ReadonlyMap<string, number>): void {
  const all = [...samples];
  const buckets = all.slice(0, -2);
  if (all.at(-2)![0] !== `${name}_sum` || all.at(-1)![0] !== `${name}_count`)
    throw new Error(`${name} does not end with its sum and count`);
  let [bound, count] = [-Infinity, 0];
  for (const [key, value] of buckets) {
    const le = numberOf(wanted(/^\w+_bucket\{le="([^"]+)"\}$/, key)[1]!, key);
    if (le <= bound || value < count) throw new Error(`${key} is out of order`);
    [bound, count] = [le, value];
  }
  if (bound !== Infinity || count !== samples.get(`${name}_count`))
    throw new Error(`${name} has no right +Inf`);
}
