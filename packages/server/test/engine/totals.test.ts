import { expect, test } from "vitest";
import { Histogram, Totals } from "../../src/engine/index.js";
import { Story } from "./story.js";

function played(text: string) {
  const totals = new Totals();
  const story = new Story({ totals });
  story.check(text);
  return { totals, story };
}

test("[I6zc] waits and holds are counted with how long they took, and each hold's end by how it came", () => {
  const { totals } = played(`
      0 ann acquire disk        -> ann granted #1
     10 bob acquire disk        -> bob queued t1
   4000 ann release #1          -> bob granted #2, ann done true
   4100 bob force #2 disk       -> bob lost #2 by force, bob done true
   4200 http acquire tape       -> http granted #3
 304200 -   tick                -> ann ended SESSION_ENDED, bob ended SESSION_ENDED`);
  expect(totals).toMatchObject({ granted: 3, queued: 1, restored: 0, sessionsOpened: 2, sessionsExpired: 2 });
  expect(totals.ended).toEqual({ released: 1, expired: 1, forced: 1, taken_back: 0, displaced: 0 });
  expect(totals.waitMs.sum).toBe(3_990);
  expect(totals.waitMs.counts.reduce((sum, count) => sum + count)).toBe(3);
  expect(totals.heldMs.sum).toBe(4_000 + 100 + 300_000);
});

test("[I6zc] what remains of a hold is not counted a second time, and a grant that is taken back is no release", () => {
  const { totals } = played(`
      0 ann acquire disk min=5s         -> ann granted #1
   1000 ann release #1                  -> ann done true
   1001 ann acquire disk now            -> ann refused LOCK_TIMEOUT
   5000 -   tick                        ->
   5001 ann acquire:9 disk              -> ann granted #2
   5002 ann cancel:9                    -> ann done true`);
  expect(totals.ended).toMatchObject({ released: 1, expired: 0, taken_back: 1 });
  expect(totals.heldMs.sum).toBe(1_001);
});

test("[I6zc] what is taken up after a crash is no new grant, and who has to give way was displaced", () => {
  const { totals } = played(`
      0 ann hello
      0 ann sync          -> ann welcome
      0 bob hello
      0 bob sync          -> bob welcome
      0 ann acquire disk  -> ann granted #1
      1 -   crash         ->
      2 ann resume
      2 ann hold #1 disk
      2 ann sync          -> ann welcome back
      3 bob resume
      3 bob hold #2 disk  -> ann lost #1
      3 bob sync          -> bob welcome back`);
  expect(totals).toMatchObject({ granted: 1, restored: 2, ended: { displaced: 1, expired: 0 } });
});

test("[I6zd] who waits long is told once, the longest first, with who has the lock", () => {
  const { story } = played(`
      0 ann acquire disk  -> ann granted #1
    100 bob acquire disk  -> bob queued t1
    200 cid acquire tape+disk -> cid queued t2
    300 dan acquire disk  -> dan queued t3
    400 bob cancel:1      -> bob done true`);
  const ask = (shownMax: number, nowMs: number) =>
    story.engine.takeSlowWaits({ slowMs: 1_000, shownMax }, nowMs);
  expect(ask(5, 1_199)).toEqual({ count: 0, shown: [] });
  expect(ask(1, 1_300)).toEqual({
    count: 2,
    shown: [
      {
        names: ["tape", "disk"],
        owner: "cid",
        ticket: 2,
        waitedMs: 1_100,
        lock: "disk",
        holder: { owner: "ann", token: 1, heldMs: 1_300, state: "held" },
        queueLength: 2,
      },
    ],
  });
  expect(ask(5, 9_000)).toEqual({ count: 0, shown: [] });
});

test("[I6ze] a bucket's bound belongs to it, and what is above all of them is counted too", () => {
  const histogram = new Histogram([1, 10]);
  for (const value of [0, 1, 1.5, 10, 11]) histogram.observe(value);
  expect(histogram).toMatchObject({ counts: [2, 2, 1], sum: 23.5 });
});
