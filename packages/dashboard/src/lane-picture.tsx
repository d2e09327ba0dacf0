import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { plural, span, utc } from "./format.js";
import type { Bar, Lane, Wait } from "./lanes.js";
import { times } from "./state.js";
import { Foreign } from "./ui.js";

const ROW = 30;
const LANES_MAX = 14;
/** Of the window, from its beginning to now. */
const TICKS = [1, 0.8, 0.6, 0.4, 0.2, 0];
const ENDS = { released: "given back", expired: "ran out", forced: "freed by force" } as const;

export function LanePicture({
  lanes,
  nowMs,
  sinceMs,
  windowMs,
}: {
  readonly lanes: readonly Lane[];
  readonly nowMs: number;
  readonly sinceMs: number;
  readonly windowMs: number;
}) {
  const width = useSignal(600);
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const measure = () => {
      width.value = Math.max(160, place.current?.clientWidth ?? 600);
    };
    measure();
    const resized = new ResizeObserver(measure);
    resized.observe(place.current!);
    return () => resized.disconnect();
  }, []);
  const shown = lanes.slice(0, LANES_MAX);
  const beginMs = nowMs - windowMs;
  const x = (ms: number) => (Math.min(Math.max(ms, beginMs), nowMs) - beginMs) * (width.value / windowMs);
  const height = shown.length * ROW;
  // A service that nobody looked at keeps no past.
  const isShort = sinceMs > beginMs + 1_000;
  return (
    <div class="lanes">
      <div class="lane-names">
        {shown.map(({ owner }) => (
          <div key={owner} style={{ height: `${ROW}px` }}>
            <Foreign text={owner} />
          </div>
        ))}
      </div>
      <div class="lane-lines" ref={place}>
        <svg
          width={width.value}
          height={height}
          role="img"
          aria-label={`The last ${span(windowMs)}: ${lanes.map(laneText).join("; ")}`}
        >
          {isShort ? <rect class="unseen" x={0} y={0} width={x(sinceMs)} height={height} /> : null}
          {TICKS.slice(0, -1).map((part) => (
            <line
              key={part}
              class="grid"
              x1={x(nowMs - part * windowMs)}
              x2={x(nowMs - part * windowMs)}
              y1={0}
              y2={height}
            />
          ))}
          {shown.map(({ owner }, at) => (
            <line
              key={owner}
              class="floor"
              x1={0}
              x2={width.value}
              y1={(at + 1) * ROW - 0.5}
              y2={(at + 1) * ROW - 0.5}
            />
          ))}
          {shown.map((lane, at) => (
            <g key={lane.owner} transform={`translate(0 ${at * ROW})`}>
              {lane.waits.map((wait) => (
                <WaitLine key={wait.ticket} wait={wait} x={x} nowMs={nowMs} />
              ))}
              {lane.bars.map((bar) => (
                <HoldBar key={bar.token} bar={bar} x={x} nowMs={nowMs} />
              ))}
              {lane.marks.map((mark) => (
                <g
                  key={`${mark.kind}${mark.atMs}`}
                  class={mark.kind}
                  transform={`translate(${x(mark.atMs)} ${ROW / 2})`}
                >
                  <title>
                    {mark.kind === "asked" ? `asked to give it back: ${mark.text}` : "refused as a deadlock"}
                  </title>
                  {mark.kind === "asked" ? <path d="M-4 5V-1a4 4 0 0 1 8 0v6zM-2 8h4" /> : <circle r={5.5} />}
                </g>
              ))}
            </g>
          ))}
        </svg>
        <div class="lane-ticks" aria-hidden="true">
          {TICKS.map((part) => (
            <span key={part}>{tickText(part * windowMs, nowMs)}</span>
          ))}
        </div>
      </div>
      <p class="legend dim">
        <span>
          <i class="key-hold" /> held
        </span>
        <span>
          <i class="key-wait" /> waiting
        </span>
        <span>
          <b class="key-ended">×</b> ran out
        </span>
        <span>
          <b class="key-ended">◆</b> freed by force
        </span>
        {lanes.length > shown.length ? (
          <span>{plural(lanes.length - shown.length, "more owner")} not shown</span>
        ) : null}
        {isShort ? <span>What was before {utc(sinceMs, nowMs)} UTC nobody watched.</span> : null}
      </p>
    </div>
  );
}

function tickText(backMs: number, nowMs: number): string {
  if (times.value === "utc") return utc(nowMs - backMs, nowMs).slice(0, backMs < 60_000 ? 8 : 5);
  return backMs === 0 ? "now" : `−${span(backMs)}`;
}

interface Drawn {
  readonly x: (ms: number) => number;
  readonly nowMs: number;
}

function HoldBar({ bar, x, nowMs }: { readonly bar: Bar } & Drawn) {
  const { fromMs, toMs, end, token, reason } = bar;
  const [left, right] = [x(fromMs), x(toMs ?? nowMs)];
  const how = end === null ? "held now" : ENDS[end];
  return (
    <g class={`hold ${end ?? "open"}`}>
      <title>{`token ${token}, ${span((toMs ?? nowMs) - fromMs)}, ${how}${reason === "" ? "" : `: ${reason}`}`}</title>
      <rect
        x={left}
        y={7}
        width={Math.max(2, right - left)}
        height={ROW - 14}
        rx={Math.min(3, Math.max(2, right - left) / 2)}
      />
      {end === "expired" ? <path class="end" d={`M${right - 4} ${ROW / 2 - 4}l8 8m0-8l-8 8`} /> : null}
      {end === "forced" ? <path class="end" d={`M${right} ${ROW / 2 - 6}l6 6l-6 6l-6-6z`} /> : null}
    </g>
  );
}

function WaitLine({ wait, x, nowMs }: { readonly wait: Wait } & Drawn) {
  const { fromMs, toMs, reason, ticket } = wait;
  const [left, right] = [x(fromMs), x(toMs ?? nowMs)];
  return (
    <g class={`wait ${reason === "" ? "" : "left"}`}>
      <title>{`ticket ${ticket}, ${toMs === null ? "has waited" : "waited"} ${span((toMs ?? nowMs) - fromMs)}${reason === "" ? "" : `, then left: ${reason}`}`}</title>
      <line x1={left} x2={Math.max(left + 2, right)} y1={ROW / 2} y2={ROW / 2} />
      {reason === "" ? null : <line x1={right} x2={right} y1={ROW / 2 - 4} y2={ROW / 2 + 4} />}
    </g>
  );
}

function laneText({ owner, bars, waits }: Lane): string {
  const ends = bars.filter(({ end }) => end === "expired" || end === "forced").map(({ end }) => ENDS[end!]);
  return [owner, plural(bars.length, "hold"), plural(waits.length, "wait"), ...ends].join(", ");
}
