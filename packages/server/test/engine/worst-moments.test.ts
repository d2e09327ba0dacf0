import { describe, expect, test } from "vitest";
import { check, Story } from "./story.js";

describe("answers that were lost", () => {
  test("[R3u] a grant that was freed by force before it was heard of is not told again as one", () =>
    check(`
      0  ann acquire:7 disk       -> ann granted #1
      1  ann away
      2  eve force #1 disk        -> eve done true
      3  bob acquire disk         -> bob granted #2 after #1 by force
      4  ann resume
      4  ann acquire:7 disk       -> ann refused LOCK_LOST
      4  ann sync                 -> ann welcome back
      5  ann acquire:7 disk       -> ann refused LOCK_LOST`));

  test("[R3v] nor is a detached one, after a crash too", () =>
    check(`
      0  ann acquire:7 disk 30s for=60s -> ann granted #1
      1  ann away
      2  eve force #1 disk        -> eve done true
      3  -   crash
      4  ann resume
      4  ann acquire:7 disk 30s for=60s -> ann refused LOCK_LOST
      4  ann sync                 -> ann welcome back`));

  test("[Q6l] a grant that was written down is given again after a crash, or a clean stop, not asked for anew", () => {
    for (const [options, end] of [
      [{ writesSessionHolds: true }, "crash"],
      [{ writesSessionHolds: true }, "stop"],
      [{ writesSessionHolds: false }, "stop"],
    ] as const) {
      new Story(options).check(`
        0     http1 delay 60s            -> http1 done {"lockDelayMs":60000}
        0     ann   acquire:7 disk       -> ann granted #1
        1     -     ${end}
        2     ann   resume
        2     ann   acquire:7 disk now   -> ann granted #1
        2     ann   sync                 -> ann welcome back
        3     ann   release #1           -> ann done true
        4     bob   acquire disk now     -> bob granted #${end === "crash" ? 100_002 : 2}`);
    }
  });

  test("[Q7j] a grant that is given back unused has never been: the news of the one before it stays", () =>
    check(`
      0     ann acquire disk 30s max=1s   -> ann granted #1
      1000  -   tick                      -> ann lost #1
      1001  bob acquire:5 disk            -> bob granted #2 after #1 by expiry
      1002  bob ack 5
      1003  bob cancel:5 #2               -> bob done true
      1004  cid acquire:5 disk min=9s     -> cid granted #3 after #1 by expiry
      1005  cid ack 5
      1006  cid cancel:5 #3               -> cid done true
      1007  bob cancel:9 #3               -> bob done false
      1008  ann acquire disk              -> ann granted #4 after #1 by expiry
      1009  eve cancel:1 #4               -> eve done false
      1010  bob acquire disk now          -> bob refused LOCK_TIMEOUT`));
});

describe("claims after a crash", () => {
  test("[R3w] the true holder has the lock, though one before it has come first and named it as lost", () =>
    check(`
      0    http1 delay 1s                  -> http1 done {"lockDelayMs":1000}
      0    ann   acquire disk 30s max=2s   -> ann granted #1
      0    bob   acquire disk 60s          -> bob queued t1
      100  ann   away
      2000 -     tick
      3000 -     tick                      -> bob granted #2 after #1 by expiry
      3100 -     crash
      3200 ann   resume
      3200 ann   hold #1 disk lost=true
      3200 ann   sync                      -> ann welcome back
      3250 -     crash
      3300 bob   resume
      3300 bob   hold #2 disk
      3300 bob   sync                      -> bob welcome back
      3400 ann   resume
      3400 ann   sync                      -> ann welcome back
      3401 cid   acquire disk now          -> cid refused LOCK_TIMEOUT
      9000 bob   heartbeat                 -> bob done null
      9001 bob   release #2                -> bob done true`));

  test("[R3x] whose limit was lowered in the meantime are believed all the same", () => {
    const story = check(`
      0 ann acquire disk                   -> ann granted #1
      0 ann acquire tape                   -> ann granted #2`);
    story.options = { ...story.options, holdsMax: 1 };
    story.check(`
      1 -   crash
      2 ann resume
      2 ann hold #1 disk
      2 ann hold #2 tape
      2 ann sync                           -> ann welcome back
      3 bob acquire tape now               -> bob refused LOCK_TIMEOUT`);
  });

  test("[R3y] of somebody else's token touch neither its revocation nor what its next holder is told", () =>
    check(`
      0    ann acquire disk                -> ann granted #1
      0    bob acquire tape 30s max=1s     -> bob granted #2
      0    eve acquire x                   -> eve granted #3
      1    ann away
      2    bob force #1 disk               -> bob done true
      1000 -   tick                        -> bob lost #2
      1001 -   crash
      1002 eve resume
      1002 eve hold #1 z
      1002 eve hold #2 y lost=true
      1002 eve sync                        -> eve welcome back
      1003 eve force #1 z                  -> eve lost #1 by force, eve done true
      1004 eve ack #1
      1005 -   crash
      1006 ann resume
      1006 ann hold #1 disk                -> ann lost #1 by force
      1006 ann sync                        -> ann welcome back
      1007 bob resume
      1007 bob sync                        -> bob welcome back
      1008 eve resume
      1008 eve sync                        -> eve welcome back
      1009 cid acquire tape                -> cid granted #100002 after #2 by expiry`));

  test("[R4s] force waits for the holder to be known", () =>
    check(
      `
      0 ann acquire disk                   -> ann granted #1
      1 -   crash
      2 eve force #1 disk                  -> eve refused RECOVERING
      3 ann resume
      3 ann hold #1 disk
      3 ann sync                           -> ann welcome back
      4 eve force:9 #1 disk                -> ann lost #1 by force, eve done true`,
    ));
});

describe("force between hello and sync", () => {
  test("[R3z] is not forgotten by the sync of a client that named its hold before", () =>
    check(`
      0 ann acquire disk                   -> ann granted #1
      1 ann away
      2 ann resume
      2 ann hold #1 disk
      3 eve force #1 disk                  -> ann lost #1 by force, eve done true
      4 ann sync                           -> ann welcome back
      5 -   crash
      6 ann resume
      6 ann hold #1 disk                   -> ann lost #1 by force`));
});

describe("time that is left", () => {
  test("[L4j] a session that is back after a recovery with a lock delay ends a lease after its last word", () =>
    check(`
      0     http1 delay 60s                -> http1 done {"lockDelayMs":60000}
      0     ann   acquire disk             -> ann granted #1
      1000  -     crash
      2000  ann   resume
      2000  ann   hold #1 disk
      2000  ann   sync                     -> ann welcome back
      2001  ann   away
      11999 -     tick                     -> |
      12000 -     tick                     -> | -session ann, +hold #1`));

  test("[L8o] a clean stop between hello and sync keeps the delay", () =>
    check(`
      0     http1 delay 60s                -> http1 done {"lockDelayMs":60000}
      0     ann   acquire disk             -> ann granted #1
      1000  -     crash
      1001  ann   resume
      1002  -     stop
      1003  http2 acquire disk 300s        -> http2 queued t100001
      11001 -     tick
      71000 -     tick
      71001 -     tick                     -> http2 granted #100002`));

  test("[L8p] a delay that is lowered is lowered for the recovery that waits for it, too", () =>
    check(`
      0     http1 delay 60s                -> http1 done {"lockDelayMs":60000}
      0     ann   acquire disk             -> ann granted #1
      1000  -     crash
      2000  http2 delay 5s                 -> http2 done {"lockDelayMs":5000}
      15999 -     tick
      15999 http3 acquire tape now         -> http3 refused RECOVERING
      16000 -     tick
      16000 http3 acquire tape now         -> http3 granted #100002`));

  test("[R6d] clean restarts prolong nothing either", () =>
    check(`
      0     ann acquire disk               -> ann granted #1
      5000  -   stop
      10000 -   stop
      14999 -   tick
      14999 bob acquire disk now           -> bob refused LOCK_TIMEOUT
      15000 -   tick
      15000 bob acquire disk now           -> bob granted #2 after #1 by expiry`));

  test("[R5f] a clean stop knows what a strict server has written, and the next start waits for nobody", () => {
    const story = new Story({ writesSessionHolds: true }).check("0 ann acquire disk -> ann granted #1");
    story.options = { ...story.options, writesSessionHolds: false };
    story.check(`
      1 -     crash
      2 -     stop
      3 http1 acquire tape now             -> http1 granted #100002
      3 http1 acquire disk now             -> http1 refused LOCK_TIMEOUT
      4 -     crash
      5 http2 acquire reel now             -> http2 refused RECOVERING`);
  });
});

describe("limits", () => {
  test("[N3o] what remains of holds is counted with the detached ones", () => {
    const story = new Story({ holdsMax: 3 });
    for (let n = 1; n <= 3; n++) {
      story.check(
        `0 ann acquire lock${n} 30s min=60s -> ann granted #${n}\n0 ann release #${n} -> ann done true`,
      );
    }
    story.check(`
      0     ann   acquire more 30s min=60s -> ann refused LIMIT_EXCEEDED
      0     http1 acquire more             -> http1 refused LIMIT_EXCEEDED
      0     ann   acquire more             -> ann granted #4
      0     http2 delay 1s                 -> http2 done {"lockDelayMs":1000}
      0     bob   acquire rest             -> bob refused LIMIT_EXCEEDED`);
  });

  test("[N3p] a queue whose waiters are all away costs nobody else anything", () => {
    const story = new Story({ holdsMax: 200_000, waitersMax: 200_000 });
    story.play("0 ann acquire disk");
    for (let n = 0; n < 50_000; n++) story.play("0 bob acquire disk forever");
    story.play("0 bob away");
    story.play("0 ann release #1");
    // Each of these would walk along fifty thousand waiters: some 10^9 steps and more.
    for (let n = 2; n < 50_000; n++) {
      story.play("0 ann acquire disk");
      story.play(`0 ann release #${n}`);
    }
    expect(story.engine.counts).toMatchObject({ holds: 0, locks: 1 });
  }, 10_000);

  test("[N3q] nor do a hundred thousand questions that wait for the end of a recovery", () => {
    const story = new Story({ waitersMax: 200_000 });
    story.check("0 ann acquire disk -> ann granted #1\n1 - crash");
    for (let n = 0; n < 100_000; n++) story.play("2 bob check disk");
    for (let n = 1; n <= 100_000; n++) story.play(`3 bob cancel:${n}`);
    expect(story.play("4 - crash").answers).toEqual([]);
  }, 10_000);

  test("[N3r] nor does a session that comes back with its waiters in the wrong order", () => {
    const story = new Story({ holdsMax: 200_000, waitersMax: 200_000 });
    story.play("0 ann acquire disk");
    for (let n = 1; n <= 50_000; n++) story.play(`0 bob acquire:${n} disk forever`);
    story.play("0 bob away");
    story.play("0 bob resume");
    for (let n = 50_000; n >= 1; n--) story.play(`0 bob acquire:${n} disk forever`);
    story.play("0 bob sync");
    expect(story.play("0 ann release #1").answers[0]!.message).toEqual(["granted", 1, 2, { ticket: 1 }]);
  }, 10_000);
});
