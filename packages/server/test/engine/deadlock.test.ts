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

/** What whoever is refused is told. */
function cycleOf(story: Story, action: string): readonly string[] {
  const { message } = story.play(action).answers[0]!;
  expect(message.slice(2, 3)).toEqual(["DEADLOCK"]);
  return (message[4] as { cycle: string[] }).cycle;
}

describe("how far a cycle is told", () => {
  test("[D2s] sixteen steps are told whole, of seventeen the last is left out; a picture has sixteen, with three names each", () => {
    for (const count of [16, 17]) {
      const story = new Story();
      story.events = [];
      story.play("0 p1 acquire a+b+c+d");
      for (let n = 2; n <= count; n++) story.play(`0 p${n} acquire l${n}`);
      for (let n = 2; n < count; n++) story.play(`1 p${n} acquire l${n + 1} forever within=#${n}`);
      story.play(`1 p${count} acquire a forever within=#${count}`);
      const cycle = cycleOf(story, "2 p1 acquire l2 forever within=#1");
      expect(cycle[0]).toBe(
        'p1 (token 1, holding "a", "b", "c" and 1 more) waits for "l2", which p2 holds (token 2)',
      );
      expect(cycle[15]).toMatch(/^p16 /);
      expect(cycle.slice(16)).toEqual(count === 16 ? [] : ["and so on"]);
      const { round } = story.events.find(({ type }) => type === "deadlock")!;
      expect(round).toHaveLength(16);
      expect(round![0]).toEqual({ owner: "p1", token: 1, holds: ["a", "b", "c"], wants: "l2", of: "p2" });
      expect(round![1]).toEqual({ owner: "p2", token: 2, holds: ["l2"], wants: "l3", of: "p3" });
    }
  });

  test("[D2t] sixty-four characters of a name are told", () => {
    const story = new Story();
    const [exact, long] = ["x".padEnd(64, "y"), "x".padEnd(65, "y")];
    story.play(`0 ann acquire ${exact}`);
    story.play(`0 bob acquire ${long}`);
    story.play(`1 bob acquire ${exact} forever within=#2`);
    expect(cycleOf(story, `2 ann acquire ${long} forever within=#1`)).toEqual([
      `ann (token 1, holding "${exact}") waits for "${exact}…", which bob holds (token 2)`,
      `bob (token 2, holding "${exact}…") waits for "${exact}", which ann holds (token 1)`,
    ]);
  });

  test("[D2u] who stands behind whom is told to the third, and of one more only that he is in the way", () => {
    const story = () =>
      check(`
        0 zoe acquire z              -> zoe granted #1
        0 ann acquire a              -> ann granted #2
        1 p1 acquire x1+z forever    -> p1 queued t1
        2 p2 acquire x2+x1 forever   -> p2 queued t2
        3 p3 acquire x3+x2 forever   -> p3 queued t3
        4 p4 acquire x4+x3 forever   -> p4 queued t4
        5 zoe acquire a forever within=#1 -> zoe queued t5`);
    expect(cycleOf(story(), "6 ann acquire x3 forever within=#2")).toEqual([
      'ann (token 2, holding "a") waits for "x3", behind p3 (ticket 3), who waits for "x2", behind p2 (ticket 2), who waits for "x1", behind p1 (ticket 1), who waits for "z", which zoe holds (token 1)',
      'zoe (token 1, holding "z") waits for "a", which ann holds (token 2)',
    ]);
    const far = story();
    far.events = [];
    expect(cycleOf(far, "6 ann acquire x4 forever within=#2")).toEqual([
      'ann (token 2, holding "a") waits for "x4", behind p4 (ticket 4), who waits for "x3", behind p3 (ticket 3), who waits for "x2", behind p2 (ticket 2), who waits for "x1", behind p1 (ticket 1)',
    ]);
    expect(far.events).toMatchObject([
      { type: "deadlock", round: [{ owner: "ann", token: 2, wants: "x4", of: "" }] },
    ]);
  });

  test("[D2v] nobody is told of who will be granted, or is not in the way", () => {
    const story = check(`
      0 ann acquire mine           -> ann granted #1
      0 bob acquire b              -> bob granted #2
      0 cid acquire c              -> cid granted #3
      1 dan acquire s+c forever    -> dan queued t1
      2 eve acquire r:s+b forever  -> eve queued t2
      3 bob acquire mine forever within=#2 -> bob queued t3`);
    // dan has s as soon as cid lets go; eve waits as long as ann does, and both share r.
    expect(cycleOf(story, "4 ann acquire s+r:s+b forever within=#1")).toEqual([
      'ann (token 1, holding "mine") waits for "b", which bob holds (token 2)',
      'bob (token 2, holding "b") waits for "mine", which ann holds (token 1)',
    ]);
  });

  test("[D2w] a way that comes into a ring that is none without it ends where that ring is closed", () => {
    const story = check(`
      0 ann acquire a              -> ann granted #1
      1 ann acquire pool:1/2       -> ann granted #2
      2 bob acquire pool:1/2       -> bob granted #3
      3 cid acquire c              -> cid granted #4
      4 cid acquire pool:1/2 forever within=#4 -> cid queued t1
      5 bob acquire c forever within=#3 -> bob queued t2`);
    expect(cycleOf(story, "6 ann acquire c forever within=#2")).toEqual([
      'ann (token 2, holding "pool") waits for "c", which cid holds (token 4)',
      'cid (token 4, holding "c") waits for "pool", which bob holds (token 3)',
      'bob (token 3, holding "pool") waits for "c", which cid holds (token 4)',
    ]);
  });
});

describe("who is stuck", () => {
  test("[D2x] nobody is who waits for several locks that will all come free", () =>
    check(`
      0 ann acquire a              -> ann granted #1
      1 bob acquire b              -> bob granted #2
      2 cid acquire c+d            -> cid granted #3
      3 bob acquire c+d forever within=#2 -> bob queued t1
      4 ann acquire b forever within=#1 -> ann queued t2
      5 cid release #3             -> bob granted #4, cid done true
      6 bob release #4             -> bob done true
      7 bob release #2             -> ann granted #5, bob done true`));

  test("[D2y] of those in one queue some may be stuck, and others not", () =>
    check(`
      0 ann acquire pool:1/2       -> ann granted #1
      1 dan acquire pool:1/2       -> dan granted #2
      2 bob acquire b              -> bob granted #3
      3 eve acquire e              -> eve granted #4
      4 eve acquire pool:1/2 forever within=#4 -> eve queued t1
      5 bob acquire pool:2/2 forever within=#3 -> bob queued t2
      6 fay acquire e forever within=#2 -> fay queued t3
      7 ann acquire b forever within=#1 -> ann refused DEADLOCK`));

  test("[D2z] who is asked inside no hold is never the one who is refused, however stuck and however young", () => {
    const story = new Story();
    story.events = [];
    story.check(`
      0 ann acquire a              -> ann granted #1
      1 bob acquire b              -> bob granted #2
      2 -   crash
      3 ann resume
      3 ann hold #1 a
      3 ann acquire:2 b forever within=#1 -> ann queued t100001
      3 ann acquire:3 b forever within=#1 -> ann queued t100002
      3 ann sync                   -> ann welcome back
      4 dan acquire a forever      -> dan queued t100003
      5 bob resume
      5 bob hold #2 b
      5 bob acquire:2 a forever within=#2 -> bob queued t100004
      5 bob acquire:3 a forever within=#2 -> bob queued t100005
      5 eve acquire b forever      -> eve queued t100006
      6 bob sync                   -> bob refused DEADLOCK, bob refused DEADLOCK, bob welcome back
      7 bob release:4 #2           -> ann granted #100002, bob done true`);
    expect(story.engine.tally.deadlocks).toBe(2);
    const told = story.events.filter(({ type }) => type === "deadlock");
    expect(told.map(({ ticket, round }) => [ticket, round!.length])).toEqual([
      [100_005, 2],
      [100_004, 2],
    ]);
  });

  test("[D2zb] nobody is refused before all are back from a crash, or have run out", () =>
    check(`
      0 ann acquire a              -> ann granted #1
      1 bob acquire b              -> bob granted #2
      2 cid acquire c              -> cid granted #3
      3 -   crash
      4 ann resume
      4 ann hold #1 a
      4 ann acquire:2 b forever within=#1 -> ann queued t100001
      4 ann sync                   -> ann welcome back
      5 bob resume
      5 bob hold #2 b
      5 bob acquire:2 a forever within=#2 -> bob queued t100002
      5 bob sync                   -> bob welcome back
      6 cid resume
      6 cid sync                   -> bob refused DEADLOCK, cid welcome back`));

  test("[D2zf] what is asked while the server recovers is looked at when that is over, if it could be granted then", () =>
    check(`
      0 ann acquire own            -> ann granted #1
      0 http1 acquire a 30s for=60m -> http1 granted #2
      1 -   crash
      2 bob acquire a forever within=#2 -> bob queued t100001
      3 ann resume
      3 ann sync                   -> bob refused DEADLOCK, ann welcome back`));

  test("[D2zc] it is seen though another request comes back at the same time that is no part of it", () =>
    check(`
      0 ann acquire a              -> ann granted #1
      1 bob acquire b              -> bob granted #2
      2 cid acquire c              -> cid granted #3
      3 ann acquire:5 b forever within=#1 -> ann queued t1
      3 ann acquire:6 c forever within=#1 -> ann queued t2
      4 ann away
      5 bob acquire a forever within=#2 -> bob queued t3
      6 ann resume
      6 ann hold #1 a
      6 ann acquire:5 b forever within=#1 -> ann queued t1
      6 ann acquire:6 c forever within=#1 -> ann queued t2
      6 ann sync                   -> bob refused DEADLOCK, ann welcome back`));

  test("[D2ze] what was asked inside a hold that is over is asked inside none", () => {
    const story = check(`
      0 ann acquire a              -> ann granted #1
      1 bob acquire b              -> bob granted #2
      2 dan acquire c              -> dan granted #3
      2 eve acquire d min=60s      -> eve granted #4
      3 ann acquire:5 b forever within=#1 -> ann queued t1
      3 ann acquire:6 b forever within=#1 -> ann queued t2
      4 ann away
      5 bob acquire a forever within=#2 -> bob queued t3
      5 bob acquire a forever within=#2 -> bob queued t4
      6 dan acquire a forever within=#3 -> dan queued t5
      6 eve acquire a forever within=#4 -> eve queued t6
      7 dan release #3             -> dan done true
      7 eve release #4             -> eve done true
      8 ann resume
      8 ann hold #1 a
      8 ann acquire:5 b forever within=#1 -> ann queued t1
      8 ann acquire:6 b forever within=#1 -> ann queued t2
      8 ann sync                   -> bob refused DEADLOCK, bob refused DEADLOCK, ann welcome back`);
    expect(story.engine.counts).toMatchObject({ waiters: 4, nested: 4 });
    story.check("9 bob release #2 -> ann granted #5, bob done true");
    expect(story.engine.counts).toMatchObject({ waiters: 3, nested: 3 });
  });

  test("[D2zd] what is too much for one step goes on in the next, a millisecond later", () => {
    const story = new Story({ holdsMax: 10_000 });
    for (let n = 1; n <= 15; n++) story.play(`0 ann acquire l${n}`);
    for (let n = 1; n <= 5_000; n++) story.play(`0 http${n} acquire x:s`);
    story.check(`
      1 ann away
      2 ann resume`);
    for (let n = 1; n <= 15; n++) story.play(`2 ann hold #${n} l${n}`);
    for (let n = 1; n <= 15; n++) story.play(`2 ann acquire l${n}+x:s forever within=#${n}`);
    // Each look passes all who share that lock twice, and whoever is refused takes two looks: 200,000 are ten of them.
    const refused = (action: string) =>
      story.play(action).answers.filter(({ message }) => message[2] === "DEADLOCK").length;
    expect(refused("3 ann sync")).toBe(10);
    expect(story.engine.nextDeadlineMs).toBe(4);
    expect(refused("4 - tick")).toBe(5);
    expect(story.engine.nextDeadlineMs).toBeGreaterThan(4);
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
