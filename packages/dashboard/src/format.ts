/** How numbers and times are shown. */
const UNITS: readonly (readonly [string, number])[] = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1_000],
];

/** As `1 h 20 m`; below a second in milliseconds. @param withTenths of a second, below ten */
export function span(ms: number, withTenths = false): string {
  if (ms < 1) return "0 s";
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 10_000 && ms % 1_000 >= 100 && withTenths) return `${(Math.floor(ms / 100) / 10).toFixed(1)} s`;
  const at = UNITS.findIndex(([, size]) => ms >= size);
  const [unit, size] = UNITS[at]!;
  const next = UNITS[at + 1];
  const whole = Math.floor(ms / size);
  if (next === undefined) return `${whole} ${unit}`;
  const rest = Math.floor((ms - whole * size) / next[1]);
  return rest === 0 ? `${whole} ${unit}` : `${whole} ${unit} ${rest} ${next[0]}`;
}

const COUNT = new Intl.NumberFormat("en");
export function count(value: number): string {
  return COUNT.format(value);
}

/** With as many digits as one can read: 0.4, 12, 10,400. */
export function rate(value: number): string {
  return value > 0 && value < 10 ? value.toFixed(1) : count(Math.round(value));
}

export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** `14:03:22` in UTC; with the day, when that is another one. */
export function utc(ms: number, nowMs: number, withMs = false): string {
  const [day, time = ""] = new Date(ms).toISOString().split("T");
  const clock = time.slice(0, withMs ? 12 : 8);
  return day === new Date(nowMs).toISOString().split("T")[0] ? clock : `${day} ${clock}`;
}

export function fullUtc(ms: number): string {
  return `${new Date(ms).toISOString().replace("T", " ").replace("Z", "")} UTC`;
}

export function ago(ms: number): string {
  return ms < 1_000 ? "now" : `${span(ms)} ago`;
}

export function ahead(ms: number): string {
  return ms <= 0 ? "now" : `in ${span(ms)}`;
}
