/** A small line of what was seen, at most of ten minutes. */
import { useEffect, useRef } from "preact/hooks";
import type UPlot from "uplot";
import { theme } from "./state.js";

/** From left to right at least so long, so that the first minute does not jump about. */
const SPAN_S_MIN = 60;
const HEIGHT = 44;

/** @param points times in seconds, ascending, with what was seen then; null: nothing */
export function Spark({
  times,
  values,
  tone,
}: {
  readonly times: readonly number[];
  readonly values: readonly (number | null)[];
  readonly tone: string;
}) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<UPlot | null>(null);
  const colours = theme.value;
  useEffect(() => {
    const root = place.current!;
    let isGone = false;
    // What draws is loaded once something is to be drawn.
    void import("uplot").then(({ default: Plot }) => {
      if (isGone) return;
      const colour = getComputedStyle(root).getPropertyValue(tone).trim();
      const range = (_: unknown, __: number, max: number | null): [number, number] => [
        0,
        Math.max(1, max ?? 1) * 1.1,
      ];
      plot.current = new Plot(
        {
          ...{
            width: root.clientWidth || 200,
            height: HEIGHT,
            legend: { show: false },
            cursor: { show: false },
          },
          ...{ padding: [2, 0, 2, 0], axes: [{ show: false }, { show: false }] },
          scales: {
            x: { time: false, range: (_, min, max) => [Math.min(min, max - SPAN_S_MIN), max] },
            y: { range },
          },
          series: [
            {},
            {
              stroke: colour,
              width: 1.5,
              fill: `color-mix(in srgb, ${colour} 14%, transparent)`,
              points: { show: false },
              spanGaps: true,
            },
          ],
        },
        [[], []],
        root,
      );
      plot.current.setData([[...times], [...values]] as never);
    });
    const resized = new ResizeObserver(() =>
      plot.current?.setSize({ width: root.clientWidth, height: HEIGHT }),
    );
    resized.observe(root);
    return () => {
      isGone = true;
      resized.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [colours, tone]);
  useEffect(() => plot.current?.setData([[...times], [...values]] as never), [times.at(-1)]);
  return <div class="spark" ref={place} aria-hidden="true" />;
}
