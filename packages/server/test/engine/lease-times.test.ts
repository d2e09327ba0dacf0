import { expect, test } from "vitest";
import { type DurableChange, LEASE_TIMES, onOtherClock } from "../../src/engine/index.js";
import { Story } from "./story.js";

/** All kinds of records, with all that they may have: each is looked at after each line. */
const STORIES = [
  `
      0 http0 delay 700ms
      1 ann   acquire disk min=8s max=20s
      2 bob   acquire tape for=60s
      3 bob   acquire hooked for=60s hook=https://example.com
      4 ann   acquire leads leads=true
     10 http1 call:r leased lease=30s
     11 http1 delivered
   9000 http2 renew #5 40s
  15500 http3 call:q slow lease=5s
  15501 http3 delivered
  15600 http4 open session-curl 10s
  15601 http5 call:s held of=session-curl
  15602 http5 delivered
  15700 http6 force #2 tape
  15701 http7 force #1 disk
  15702 bob   acquire kept min=90s
  15703 bob   release #8
  15800 http8 giveback:x #5
  16000 -     crash
  16100 ann   resume
  16101 ann   hold #4 leads heldMs=16000
  16102 ann   sync
  16200 -     crash
  40000 -     tick`,
  `
      0 ann   acquire disk min=8s max=20s
      1 bob   acquire tape
      2 http1 open session-curl 10s
      3 http2 call:s held of=session-curl min=5s
      4 http2 delivered
   3000 -     stop
   3500 bob   resume
   4000 http3 force #1 disk
   4100 http4 end session-curl
  30000 -     tick
  30001 -     stop`,
];

function later(story: string, ms: number): string[] {
  const lines = story.split("\n").map((line) => line.trim());
  return lines
    .filter((line) => line !== "")
    .map((line) => line.replace(/^\d+/, (at) => String(Number(at) + ms)));
}

const sorted = (story: Story) => [...story.durable].sort(([a], [b]) => (a < b ? -1 : 1));

test("[R6wa] what is written on one lease clock is on another what would have been written there: of each record of each kind", () => {
  const AHEAD_MS = 1_234_567;
  const kinds = new Set<string>();
  const moments = new Set<string>();
  for (const strict of [false, true]) {
    for (const text of STORIES) {
      const [here, there] = [
        new Story({ writesSessionHolds: strict }),
        new Story({ writesSessionHolds: strict }),
      ];
      const theirs = later(text, AHEAD_MS);
      for (const [at, line] of later(text, 0).entries()) {
        here.play(line);
        there.play(theirs[at]!);
        const moved = sorted(here).map(([key, change]) => {
          const value = onOtherClock(change.type, change.value!, AHEAD_MS);
          kinds.add(change.type);
          for (const name of Object.keys(value))
            if (value !== change.value && value[name as never] !== change.value![name as never])
              moments.add(`${change.type}.${name}`);
          return [key, { ...change, value } as DurableChange];
        });
        expect(moved, line).toEqual(sorted(there));
      }
    }
  }
  // All of them were there.
  const listed = Object.entries(LEASE_TIMES).flatMap(([type, natures]) =>
    Object.entries(natures).flatMap(([name, nature]) => (nature === "moment" ? [`${type}.${name}`] : [])),
  );
  expect([...moments].sort()).toEqual(listed.sort());
  // What a clean stop leaves is gone after the next start; a delivery lies beside its service.
  const records = [...kinds, "stopped"].filter((kind) => kind !== "audit" && kind !== "delivery");
  expect(records.sort()).toEqual(Object.keys(LEASE_TIMES).sort());
});

test("[R6wb] a record that names no moment stays what it is, byte by byte", () => {
  const settings = { lockDelayMs: 500 };
  expect(onOtherClock("settings", settings, 9)).toBe(settings);
  expect(onOtherClock("something new", settings, 9)).toBe(settings);
  expect(onOtherClock("hold", { expiresAtMs: null }, 9)).toEqual({ expiresAtMs: null });
});
