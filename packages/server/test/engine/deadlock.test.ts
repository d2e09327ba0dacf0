import { describe, expect, test } from "vitest";
import { check, Story } from "./story.js";

describe("deadlocks that could not be seen when they were asked for", () => {
  test("[D2j] both have asked while the server recovered: the younger is refused when that is over", () =>
    check(`
      0 ann acquire a              -> ann granted #1
      1 bob acquire b              -> bob granted #2
      2 -   crash
      3 ann resume
      3 ann hold #1 a
      3 ann acquire:2 b forever within=#1 -> ann queued t100001
      3 ann sync                   -> ann welcome back
      4 bob resume
      4 bob hold #2 b
      4 bob acquire:2 a forever within=#2 -> bob queued t100002
      4 bob sync                   -> bob refused DEADLOCK, bob welcome back
      5 bob release:3 #2           -> ann granted #100002, bob done true`));

  test("[D2k] the hold that a request is made inside of may come back later than the request", () =>
    check(`
      0 ann acquire a              -> ann granted #1
      1 bob acquire b              -> bob granted #2
      2 -   crash
      3 bob resume
      3 bob acquire:2 a forever within=#1+#2 -> bob queued t100001
      3 bob hold #2 b
      3 bob sync                   -> bob welcome back
      4 ann resume
      4 ann hold #1 a
      4 ann sync                   -> bob refused DEADLOCK, ann welcome back`));

  test("[D2l] whoever comes back to the front of a queue may close a circle", () =>
    check(`
      0 ann acquire a:s            -> ann granted #1
      1 dan acquire b              -> dan granted #2
      2 bob acquire:1 a forever    -> bob queued t1
      3 bob away
      4 ann acquire a:s+b forever within=#1 -> ann queued t2
      5 bob resume
      5 bob acquire:1 a forever    -> bob queued t1
      5 bob sync                   -> ann refused DEADLOCK, bob welcome back
      6 ann release #1             -> bob granted #3, ann done true`));

  test("[D2m] one who is away holds nobody up for ever, and is asked when he comes back", () =>
    check(`
      0 ann acquire a              -> ann granted #1
      1 bob acquire b              -> bob granted #2
      2 ann acquire:5 b forever within=#1 -> ann queued t1
      3 ann away
      4 bob acquire a forever within=#2 -> bob queued t2
      5 ann resume
      5 ann hold #1 a
      5 ann acquire:5 b forever within=#1 -> ann queued t1
      5 ann sync                   -> bob refused DEADLOCK, ann welcome back
      6 bob release #2             -> ann granted #3, bob done true`));

  test("[D2n] who only stands behind a deadlock of others is not the one who is refused", () =>
    check(`
      0 ann acquire a              -> ann granted #1
      1 bob acquire b              -> bob granted #2
      2 cid acquire c              -> cid granted #3
      3 ann acquire:5 b forever within=#1 -> ann queued t1
      4 ann away
      5 bob acquire a forever within=#2 -> bob queued t2
      6 cid acquire b forever within=#3 -> cid queued t3
      7 ann resume
      7 ann hold #1 a
      7 ann acquire:5 b forever within=#1 -> ann queued t1
      7 ann sync                   -> bob refused DEADLOCK, ann welcome back
      8 bob release #2             -> ann granted #4, bob done true
      9 ann release #4             -> cid granted #5, ann done true`));

  test("[D2o] what remains of a hold opens at its time, and is no deadlock", () =>
    check(`
      0 ann acquire a min=10s      -> ann granted #1
      1 bob acquire b              -> bob granted #2
      2 ann acquire b forever within=#1 -> ann queued t1
      3 ann release #1             -> ann done true
      4 bob acquire a forever within=#2 -> bob queued t2`));
});

describe("how a cycle is told", () => {
  test("[D2p] a line a step, each with owner, token and lock, from the one who asks round to itself", () => {
    const story = new Story();
    story.check(`
      0 ann acquire a              -> ann granted #1
      1 bob acquire b              -> bob granted #2
      2 cid acquire c+d            -> cid granted #3
      3 ann acquire b forever within=#1 -> ann queued t1
      4 bob acquire d forever within=#2 -> bob queued t2`);
    const [answer] = story.play("5 cid acquire a forever within=#3").answers;
    expect(answer!.message[4]).toEqual({
      cycle: [
        'cid (token 3, holding "c", "d") waits for "a", which ann holds (token 1)',
        'ann (token 1, holding "a") waits for "b", which bob holds (token 2)',
        'bob (token 2, holding "b") waits for "d", which cid holds (token 3)',
      ],
    });
  });

  test("[D2q] a long way round is cut off, and so is a long list of names", () => {
    const story = new Story();
    const set = Array.from({ length: 9 }, (_, n) => `s${n}`).join("+");
    story.play(`0 p0 acquire ${set}`);
    for (let n = 1; n < 60; n++) story.play(`0 p${n} acquire l${n}`);
    for (let n = 1; n < 59; n++) story.play(`1 p${n} acquire l${n + 1} forever within=#${n + 1}`);
    story.play("1 p59 acquire s0 forever within=#60");
    const [answer] = story.play("2 p0 acquire l1 forever within=#1").answers;
    const { cycle } = answer!.message[4] as { cycle: string[] };
    expect(cycle[0]).toBe(
      'p0 (token 1, holding "s0", "s1", "s2" and 6 more) waits for "l1", which p1 holds (token 2)',
    );
    expect(cycle).toHaveLength(17);
    expect(cycle.at(-1)).toBe("and so on");
  });
});

describe("a lock that is stolen", () => {
  test("[L9s] is taken from all who hold it, who are told, and comes before all who wait", () =>
    check(`
      0 ann acquire a:s+b          -> ann granted #1
      1 bob acquire a:s            -> bob granted #2
      2 cid acquire a              -> cid queued t1
      3 dan acquire b              -> dan queued t2
      4 eve acquire a steal=eve    -> bob lost #2 by force, ann lost #1 by force, dan granted #4 after #1 by force, eve granted #3 after #1 by force | +audit, +revoked #2, +audit, +revoked #1, +previous a, +previous a, +previous b
      5 eve release #3             -> cid granted #5, eve done true`));

  test("[L9t] is granted at once when nobody has it, and waits for nobody to come back from a crash", () =>
    check(`
      0 ann acquire a steal=ann    -> ann granted #1
      1 -   crash
      2 bob acquire a steal=bob    -> bob refused RECOVERING
      3 ann resume
      3 ann hold #1 a
      3 ann sync                   -> ann welcome back
      4 bob acquire a steal=bob    -> ann lost #1 by force, bob granted #100002 after #1 by force`));

  test("[L9u] a stolen remainder of a hold opens, and its end stays what it was", () =>
    check(`
      0 ann acquire a min=10s      -> ann granted #1
      1 ann release #1             -> ann done true
      2 bob acquire a steal=bob    -> bob granted #2`));
});
