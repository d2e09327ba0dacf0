import { describe, test } from "vitest";
import { check } from "./story.js";

/** Bugs that were planted (tests/mutants) and that no other test had found. */
describe("orders that matter", () => {
  test("[R3aj] of two claims to one lock the higher token keeps it, though the lower comes after it", () =>
    check(`
      0 ann acquire disk         -> ann granted #1
      0 bob acquire tape         -> bob granted #2
      1 -   crash
      2 bob resume
      2 bob hold #2 disk
      2 bob sync                 -> bob welcome back
      3 ann resume
      3 ann hold #1 disk         -> ann lost #1
      3 ann sync                 -> ann welcome back
      4 bob release #2           -> bob done true`));

  test("[R4t] an unlock that waited for the end of recovery does not free the holder that comes after it", () =>
    check(`
      0 ann   acquire disk       -> ann granted #1
      1 -     crash
      2 bob   unlock disk
      3 http1 acquire disk 30s   -> http1 queued t100001
      4 ann   resume
      4 ann   sync               -> bob done false, http1 granted #100002, ann welcome back
      5 bob   check disk         -> bob done true`));

  test("[Q3g] a session that says goodbye is not granted what it gives back", () =>
    check(`
      0 ann acquire disk         -> ann granted #1
      0 ann acquire disk         -> ann queued t1
      1 ann bye                  -> ann done true
      2 bob acquire disk         -> bob granted #2`));
});
