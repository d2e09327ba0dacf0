import { type Finding, fail, ok, skipped, warn } from "./finding.js";

/** What the server's clocks said, and what ours said in the middle of the question. */
export interface Sample {
  readonly server: { readonly wallMs: number; readonly monotonicMs: number };
  readonly own: { readonly wallMs: number; readonly monotonicMs: number };
  /** How long the question took: the server's clocks were read within. */
  readonly tripMs: number;
}

/** Leases hold while the rates of two clocks differ by at most so much (L2). */
const RATE_MAX = 0.02;
/** No sound clock does this: quartz is a hundred times better, and time services slew by a tenth of it. */
const RATE_ODD = 0.005;
const SKEW_MS_MAX = 2_000;
const STEP_MS_MAX = 200;

/** Of several questions the one that took least, which tells most. */
export async function sampleOf(ask: () => Promise<Sample["server"]>, count = 5): Promise<Sample> {
  let best: Sample | null = null;
  for (let n = 0; n < count; n++) {
    const before = { wallMs: Date.now(), monotonicMs: performance.now() };
    const server = await ask();
    const tripMs = performance.now() - before.monotonicMs;
    const own = { wallMs: before.wallMs + tripMs / 2, monotonicMs: before.monotonicMs + tripMs / 2 };
    if (best === null || tripMs < best.tripMs) best = { server, own, tripMs };
  }
  return best!;
}

/** Whether time of day is the same here and there. Locks do not depend on it. */
export function skewFinding({ server, own, tripMs }: Sample): Finding {
  const skewMs = own.wallMs - server.wallMs;
  const sureMs = Math.abs(skewMs) - tripMs / 2;
  if (sureMs <= SKEW_MS_MAX)
    return ok("clock", `time of day differs by ${Math.max(0, Math.round(sureMs))} ms from the server's`);
  const text = `time of day here is ${spanText(Math.abs(skewMs))} ${skewMs > 0 ? "ahead of" : "behind"} the server's`;
  return warn(
    "clock",
    text,
    "Set the clock that is wrong, and keep it so (chrony, systemd-timesyncd: `timedatectl`). Locks do not depend on it; ends of keys, trials and certificates do, and times in logs.",
  );
}

/** How fast time goes here, beside the server. */
export function rateFinding(from: Sample, to: Sample): Finding {
  const ownMs = to.own.monotonicMs - from.own.monotonicMs;
  const serverMs = to.server.monotonicMs - from.server.monotonicMs;
  if (serverMs <= 0) return skipped("clock-rate", "the server was started anew meanwhile");
  const rate = ownMs / serverMs - 1;
  // Its clock was read at any moment of the question, at both ends.
  const doubt = (from.tripMs + to.tripMs) / 2 / serverMs;
  const sure = Math.abs(rate) - doubt;
  const over = `over ${spanText(ownMs)}`;
  const what = `clocks here run ${percent(Math.abs(rate))} ${rate > 0 ? "faster" : "slower"} than the server's (± ${percent(doubt)}, ${over})`;
  const mend =
    "One of the two machines counts time wrongly: compare both with a third. Look at its time service (`chronyc tracking`), and in a virtual machine at the clock source and the host. " +
    "Locks are safe while rates differ by at most 2 %; beyond that only fencing tokens protect (docs/fencing.md).";
  if (sure > RATE_MAX) return fail("clock-rate", what, mend);
  if (doubt > RATE_MAX / 2)
    return skipped(
      "clock-rate",
      `answers take too long to measure rates of clocks ${over}`,
      "Measure longer: --measure 1m.",
    );
  if (sure > RATE_ODD) return warn("clock-rate", what, mend);
  // A clock of one machine that disagrees with the other one of it was set just now.
  const steps = [
    ["here", to.own.wallMs - from.own.wallMs - ownMs],
    ["at the server", to.server.wallMs - from.server.wallMs - serverMs],
  ] as const;
  const stepped = steps.find(([, stepMs]) => Math.abs(stepMs) > STEP_MS_MAX + to.tripMs);
  if (stepped !== undefined)
    return warn(
      "clock-rate",
      `time of day ${stepped[0]} moved by ${spanText(Math.abs(stepped[1]))} beside the machine's other clock, ${over}`,
      "Something sets it: let one time service do that, and slew. A step forward ends clients' trust in their locks early; it never makes it last longer.",
    );
  return ok("clock-rate", `clocks here and at the server run alike (± ${percent(doubt)}, ${over})`);
}

function percent(part: number): string {
  return `${(part * 100).toFixed(part < 0.01 ? 2 : 1)} %`;
}

function spanText(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  return ms < 120_000 ? `${(ms / 1_000).toFixed(1)} s` : `${Math.round(ms / 60_000)} min`;
}
