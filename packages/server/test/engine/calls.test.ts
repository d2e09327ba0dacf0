import { describe, expect, test } from "vitest";
import { check, Story } from "./story.js";

/** Requests for locks over the HTTP API. `http1`, `http2` are HTTP requests; `call:r` is one with the requestId r. */
describe("a call", () => {
  test("[Q6ha] that comes again gets the same token, with what is left of its lease", () =>
    check(`
         0 http1 call:r disk             -> http1 granted #1 for 30000
         1 http1 delivered
      5000 http2 call:r disk             -> http2 granted #1 for 25000
      5001 http2 hangup
      6000 http3 call:s disk now         -> http3 refused LOCK_TIMEOUT`));

  test("[Q6hb] that comes again for something else is refused, and has no effect", () =>
    check(`
      0 http1 call:r disk                -> http1 granted #1 for 30000
      1 http2 call:r tape                -> http2 refused REQUEST_ID_REUSED
      2 http3 call:s disk                -> http3 queued t1
      3 http4 call:s tape                -> http4 refused REQUEST_ID_REUSED
      4 http5 call:s disk:s              -> http5 refused REQUEST_ID_REUSED
      5 bob   acquire tape               -> bob granted #2`));

  test("[Q6hc] whose hold is over is never told 'granted' again: two could be inside", () =>
    check(`
          0 http1 call:r disk            -> http1 granted #1 for 30000
          1 http1 delivered
          2 http2 giveback #1            -> http2 done true
          3 http3 call:r disk            -> http3 refused REQUEST_ID_REUSED
          4 -     crash
          5 http4 call:r disk            -> http4 refused REQUEST_ID_REUSED
      60002 -     tick
      60003 http5 call:r disk            -> http5 granted #100002 for 30000`));

  test("[Q6hd] that was granted is found by its id after a crash", () =>
    check(`
      0 http1 call:r disk                -> http1 granted #1 for 30000 | +ceiling, +hold #1
      1 -     crash
      2 http2 call:r disk                -> http2 granted #1 for 29998
      3 http3 giveback:x #1              -> http3 done true
      4 -     crash
      5 http4 giveback:x #1              -> http4 done true
      6 http5 giveback:y #1              -> http5 refused NOT_HELD
      7 http6 giveback:r #1              -> http6 refused REQUEST_ID_REUSED`));

  test("[Q6he] has the same place and ticket in each slice", () =>
    check(`
          0 ann   acquire disk           -> ann granted #1
          1 http1 call:r disk 60s        -> http1 queued t1
      25001 http1 leave                  -> http1 queued t1
      25100 http2 call:r disk 60s        -> http2 queued t1
      25200 http3 call:s disk 60s        -> http3 queued t2`));

  test("[Q6hf] whose second HTTP request comes while the first waits goes on there", () =>
    check(`
      0 ann   acquire disk               -> ann granted #1
      1 http1 call:r disk                -> http1 queued t1
      2 http2 call:r disk                -> http1 refused REQUEST_ID_REUSED, http2 queued t1
      3 http1 hangup
      4 ann   release #1                 -> http2 granted #2 for 30000, ann done true`));

  test("[Q6hg] is another one in another session, or without one", () =>
    check(`
      0 http1 open s1                    -> http1 done {"session":"s1","leaseMs":10000,"resumed":false}
      1 http2 call:r disk of=s1          -> http2 granted #1 for 10000
      2 http3 call:r tape                -> http3 granted #2 for 30000
      3 http4 call:r disk of=s1          -> http4 granted #1 for 10000`));
});

describe("a call that nobody listens to", () => {
  test("[Q7ha] keeps its ticket and is passed over, in and between slices", () =>
    check(`
      0 ann   acquire disk               -> ann granted #1
      1 http1 call:r disk                -> http1 queued t1
      2 http2 call:s disk                -> http2 queued t2
      3 http1 hangup
      4 ann   release #1                 -> http2 granted #2 for 30000, ann done true
      5 http3 call:t disk                -> http3 queued t3
      6 http4 call:r disk                -> http4 queued t1
      7 http5 giveback #2                -> http4 granted #3 for 30000, http5 done true`));

  test("[Q7hb] and comes back to a free lock is granted it at once", () =>
    check(`
      0 ann   acquire disk               -> ann granted #1
      1 http1 call:r disk                -> http1 queued t1
      2 http1 leave                      -> http1 queued t1
      3 ann   release #1                 -> ann done true
      4 http2 call:r disk                -> http2 queued t1, http2 granted #2 for 30000`));

  test("[Q7hc] gives its place up after thirty seconds", () =>
    check(`
          0 http0 call:q disk lease=1m   -> http0 granted #1 for 60000
          1 http1 call:r disk 60s        -> http1 queued t1
          2 http1 leave                  -> http1 queued t1
      30001 -     tick
      30002 -     tick
      30003 http2 call:r disk 60s        -> http2 queued t2`));

  test("[Q7hd] has its grant taken back at once, and asks anew when it comes again", () =>
    check(`
      0 http1 call:r disk                -> http1 granted #1 for 30000
      1 bob   acquire disk               -> bob queued t1
      2 http1 hangup                     -> bob granted #2
      3 http2 call:r disk                -> http2 queued t2
      4 bob   release #2                 -> http2 granted #3 for 30000, bob done true`));

  test("[Q7hl] keeps a grant that was told just as its HTTP request would have waited no longer", () =>
    check(`
      0 http1 call:r disk          -> http1 granted #1 for 30000
      1 http1 leave                -> |
      2 http2 call:r disk          -> http2 granted #1 for 29998
      3 http3 call:s disk now      -> http3 refused LOCK_TIMEOUT`));

  test("[Q7he] keeps a grant that somebody has heard, whatever becomes of later HTTP requests", () =>
    check(`
      0 http1 call:r disk                -> http1 granted #1 for 30000
      1 http2 call:r disk                -> http2 granted #1 for 29999
      2 http1 hangup
      3 http3 call:s disk now            -> http3 refused LOCK_TIMEOUT
      4 http1 delivered
      5 http2 delivered
      6 http4 call:r disk                -> http4 granted #1 for 29994
      7 http4 hangup
      8 http5 call:s disk now            -> http5 refused LOCK_TIMEOUT`));

  test("[Q7hk] keeps a grant as long as one of those who were told may hear it", () =>
    check(`
      0 http1 call:r disk                -> http1 granted #1 for 30000
      1 http2 call:r disk                -> http2 granted #1 for 29999
      2 http2 hangup
      3 http3 call:s disk now            -> http3 refused LOCK_TIMEOUT
      4 http1 hangup
      5 http4 call:s disk now            -> http4 granted #2 for 30000`));

  test("[Q7hf] keeps a grant that the first HTTP request has heard, when only the second hangs up", () =>
    check(`
      0 http1 call:r disk                -> http1 granted #1 for 30000
      1 http2 call:r disk                -> http2 granted #1 for 29999
      2 http1 delivered
      3 http2 hangup
      4 http5 call:s disk now            -> http5 refused LOCK_TIMEOUT`));

  test("[Q3ha] hears of its time-out when it comes again, and not of a new wait", () =>
    check(`
          0 ann   acquire disk forever   -> ann granted #1
          1 http1 call:r disk 2s         -> http1 queued t1
       1000 http1 leave                  -> http1 queued t1
       2001 -     tick
       2002 http2 call:r disk 2s         -> http2 refused LOCK_TIMEOUT
       2003 http3 call:r disk 2s         -> http3 queued t2`));
});

describe("a leased hold", () => {
  test("[L4ha] is renewed by its token, from when that is processed on", () =>
    check(`
          0 http1 call:r disk lease=10s  -> http1 granted #1 for 10000
       9000 http2 renew #1               -> http2 done {"token":1,"expiresInMs":10000}
      18999 -     tick
      18999 http3 call:s disk now        -> http3 refused LOCK_TIMEOUT
      19000 -     tick
      19001 http4 call:s disk now        -> http4 granted #2 for 30000 after #1 by expiry`));

  test("[L4hb] that is over is not revived", () =>
    check(`
          0 http1 call:r disk lease=10s  -> http1 granted #1 for 10000
      10000 -     tick
      10001 http2 renew #1               -> http2 refused NOT_HELD
      10002 http3 call:s disk now        -> http3 granted #2 for 30000 after #1 by expiry
      10003 http4 renew #1               -> http4 refused NOT_HELD
      10004 http5 giveback #1            -> http5 refused NOT_HELD`));

  test("[R6ha] that was never renewed ends after a crash when it would have ended", () =>
    check(`
          0 http1 call:r disk lease=10s  -> http1 granted #1 for 10000
       5000 -     crash
       9999 -     tick
       9999 http2 call:s disk now        -> http2 refused LOCK_TIMEOUT
      10000 -     tick
      10001 http3 call:s disk now        -> http3 granted #100002 for 30000 after #1 by expiry`));

  test("[R6hb] lasts after a crash at least as long as was told, though renewals are seldom written", () =>
    check(`
          0 http1 call:r disk lease=10s  -> http1 granted #1 for 10000 | +ceiling, +hold #1
       3000 http2 renew #1               -> http2 done {"token":1,"expiresInMs":10000} | +hold #1
       6000 http2 renew #1               -> http2 done {"token":1,"expiresInMs":10000} |
      12000 http2 renew #1               -> http2 done {"token":1,"expiresInMs":10000} |
      13000 http2 renew #1               -> http2 done {"token":1,"expiresInMs":10000} |
      13001 -     crash
      22999 -     tick
      22999 http3 renew #1 1s            -> http3 done {"token":1,"expiresInMs":1000} | +hold #1
      23999 -     tick
      24000 http4 call:s disk now        -> http4 granted #100002 for 30000 after #1 by expiry`));

  test("[R6hd] need not be written anew after a crash, as long as what is written is late enough", () =>
    check(`
          0 http1 call:r disk lease=10s  -> http1 granted #1 for 10000
       3000 http2 renew #1               -> http2 done {"token":1,"expiresInMs":10000} | +hold #1
       4000 -     crash
      13000 http3 renew #1               -> http3 done {"token":1,"expiresInMs":10000} |
      13001 http4 renew #1               -> http4 done {"token":1,"expiresInMs":10000} | +hold #1`));

  test("[R6hc] is not prolonged by crash after crash", () =>
    check(`
          0 http1 call:r disk lease=10s  -> http1 granted #1 for 10000
       3000 http2 renew #1               -> http2 done {"token":1,"expiresInMs":10000}
       4000 -     crash
       9000 -     crash
      20000 -     crash
      22999 -     tick
      22999 http3 call:s disk now        -> http3 refused LOCK_TIMEOUT
      23000 -     tick
      23001 http4 call:s disk now        -> http4 granted #100002 for 30000 after #1 by expiry`));

  test("[R5ha] has its exact end after a clean stop", () =>
    check(`
          0 http1 call:r disk lease=10s  -> http1 granted #1 for 10000
       3000 http2 renew #1               -> http2 done {"token":1,"expiresInMs":10000}
       4000 -     stop
      13000 -     tick
      13001 http4 call:s disk now        -> http4 granted #2 for 30000 after #1 by expiry`));

  test("[L7ha] is not renewed beyond its longest time, before and after a crash", () =>
    check(`
          0 http1 call:r disk lease=10s max=15s -> http1 granted #1 for 10000
       9000 http2 renew #1               -> http2 done {"token":1,"expiresInMs":6000}
       9001 -     crash
      14000 http3 renew #1               -> http3 done {"token":1,"expiresInMs":1000}
      15000 -     tick
      15001 http4 call:s disk now        -> http4 granted #100002 for 30000 after #1 by expiry`));

  test("[L9ha] is not unlocked by its name, and released by its token", () =>
    check(`
      0 http1 call:r disk                -> http1 granted #1 for 30000
      1 http2 unlock disk                -> http2 refused NOT_HELD
      2 -     crash
      3 ann   unlock disk                -> ann refused NOT_HELD
      4 http3 giveback #1                -> http3 done true
      5 http4 giveback #1                -> http4 refused NOT_HELD`));

  test("[Q11ha] that was freed by force is told so when its call comes again", () =>
    check(`
      0 http1 call:r disk                -> http1 granted #1 for 30000
      1 http2 force #1 disk              -> http2 done true
      2 http3 renew #1                   -> http3 refused NOT_HELD
      3 http4 call:r disk                -> http4 refused LOCK_LOST
      4 -     crash
      5 http5 call:r disk                -> http5 refused LOCK_LOST`));
});

describe("an HTTP session", () => {
  test("[R2ha] is durable, and so are its holds", () =>
    check(`
      0 http1 open s1                    -> http1 done {"session":"s1","leaseMs":10000,"resumed":false} | +session s1
      1 http2 call:r disk of=s1          -> http2 granted #1 for 10000 | +ceiling, +hold #1
      2 http3 giveback #1 of=s1          -> http3 done true | -hold #1, +answer http:s1:r/1`));

  test("[L4hc] is kept by heartbeats and by what it asks, and ends with all its holds and calls", () =>
    check(`
          0 http1 open s1                -> http1 done {"session":"s1","leaseMs":10000,"resumed":false}
          1 http2 call:r disk of=s1      -> http2 granted #1 for 10000
       9000 http3 keep s1                -> http3 done {"session":"s1","leaseMs":10000,"resumed":true}
      18000 http4 call:q tape of=s1      -> http4 granted #2 for 10000
      18001 ann   acquire belt           -> ann granted #3
      18002 http5 call:b belt of=s1      -> http5 queued t1
      27000 ann   heartbeat              -> ann done null
      28002 -     tick                   -> http5 refused SESSION_ENDED
      28003 http6 call:x disk now        -> http6 granted #4 for 30000 after #1 by expiry
      28004 http7 keep s1                -> http7 refused SESSION_ENDED
      28005 http8 call:r disk of=s1      -> http8 refused SESSION_ENDED
      28006 http9 open s1                -> http9 refused SESSION_ENDED`));

  test("[L9hb] alone frees its holds: neither a name nor a token does", () =>
    check(`
      0 http1 open s1                    -> http1 done {"session":"s1","leaseMs":10000,"resumed":false}
      1 http2 call:r disk of=s1          -> http2 granted #1 for 10000
      2 http3 giveback #1                -> http3 refused NOT_HELD
      3 http4 unlock disk                -> http4 refused NOT_HELD
      4 http5 renew #1                   -> http5 refused NOT_HELD
      5 ann   release #1                 -> ann refused NOT_HELD
      6 http6 giveback #1 of=s1          -> http6 done true`));

  test("[L4hd] that is closed gives back all it has, in order, and its waiting calls first", () =>
    check(`
      0 http1 open s1                    -> http1 done {"session":"s1","leaseMs":10000,"resumed":false}
      1 http2 call:r disk of=s1          -> http2 granted #1 for 10000
      2 http3 call:q disk of=s1          -> http3 queued t1
      3 bob   acquire disk               -> bob queued t2
      4 http4 end s1                     -> http3 refused SESSION_ENDED, bob granted #2, http4 done true`));

  test("[R4ha] is not waited for after a crash: its holds are known", () =>
    check(`
          0 http1 open s1                -> http1 done {"session":"s1","leaseMs":10000,"resumed":false}
          1 http2 call:r disk of=s1      -> http2 granted #1 for 10000
          2 -     crash
          3 http3 call:t tape now        -> http3 granted #100002 for 30000
          4 http4 call:s disk now        -> http4 refused LOCK_TIMEOUT
          5 http5 call:r disk of=s1      -> http5 granted #1 for 10000
      10004 -     tick
      10004 http6 call:s disk now        -> http6 refused LOCK_TIMEOUT
      10005 -     tick
      10006 http7 call:s disk now        -> http7 granted #100003 for 30000 after #1 by expiry`));

  test("[R6hd] that nobody keeps ends in spite of crash after crash", () =>
    check(`
          0 http1 open s1                -> http1 done {"session":"s1","leaseMs":10000,"resumed":false}
          1 http2 call:r disk of=s1      -> http2 granted #1 for 10000
       1000 -     crash
       8000 -     crash
      11000 -     tick
      11001 http3 call:s disk now        -> http3 granted #100002 for 30000 after #1 by expiry`));

  test("[R6he] has a full lease again once it was kept, also through the next crash", () =>
    check(`
          0 http1 open s1                -> http1 done {"session":"s1","leaseMs":10000,"resumed":false}
          1 http2 call:r disk of=s1      -> http2 granted #1 for 10000
       1000 -     crash
       9000 http3 keep s1                -> http3 done {"session":"s1","leaseMs":10000,"resumed":true} | +session s1
       9001 -     crash
      19000 -     tick
      19000 http4 call:s disk now        -> http4 refused LOCK_TIMEOUT
      19001 -     tick
      19002 http5 call:s disk now        -> http5 granted #100002 for 30000 after #1 by expiry`));

  test("[R5hb] has its holds after a clean stop, and after the crash that follows", () =>
    check(`
          0 http1 open s1                -> http1 done {"session":"s1","leaseMs":10000,"resumed":false}
          1 http2 call:r disk of=s1      -> http2 granted #1 for 10000
          2 -     stop
          3 http3 keep s1                -> http3 done {"session":"s1","leaseMs":10000,"resumed":true}
          4 -     crash
          5 http4 call:r disk of=s1      -> http4 granted #1 for 10000
          6 http5 call:s disk now        -> http5 refused LOCK_TIMEOUT`));

  test("[R3ha] is no native session, and no native session is one", () =>
    check(`
      0 http1 open session-ann           -> http1 done {"session":"session-ann","leaseMs":10000,"resumed":false}
      1 ann   hello                      -> ann ended INVALID
      2 bob   hello
      2 bob   sync                       -> bob welcome
      3 http2 open session-bob           -> http2 refused REQUEST_ID_REUSED
      4 http3 keep session-bob           -> http3 refused SESSION_ENDED
      5 http4 end session-bob            -> http4 refused SESSION_ENDED
      6 http5 open session-ann           -> http5 done {"session":"session-ann","leaseMs":10000,"resumed":true}
      7 http6 open session-ann 20s       -> http6 refused REQUEST_ID_REUSED`));

  test("[L9hc] whose hold is freed by force leaves no trace of it", () => {
    const story = check(`
      0 http1 open s1                    -> http1 done {"session":"s1","leaseMs":10000,"resumed":false}
      1 http2 call:r disk of=s1          -> http2 granted #1 for 10000
      2 http3 force #1 disk              -> http3 done true
      3 http4 giveback #1 of=s1          -> http4 refused NOT_HELD
      4 http5 call:r disk of=s1          -> http5 refused LOCK_LOST
      5 http6 end s1                     -> http6 done true
  70000 -     tick`);
    expect([...story.durable.keys()].filter((key) => !/^(ceiling|audit|previous)/.test(key))).toEqual([]);
  });
});

describe("the end of what calls live in", () => {
  test("[Q6rb] ends them, in their own words, and nothing of them is waited for any more", () => {
    const story = new Story();
    story.check(`
      0   http1 open cron 30s             -> http1 done {"session":"cron","leaseMs":30000,"resumed":false}
      0   http2 acquire disk 30s for=60m  -> http2 granted #1
      1   http3 call:r1 disk 60s of=cron  -> http3 queued t1
      2   http4 call:r2 disk 60s of=cron  -> http4 queued t2
      3   http4 leave                     -> http4 queued t2`);
    const { answers } = story.play("4 http5 end cron");
    expect(answers.map(({ to, message }) => [to, ...message.slice(0, 3)])).toEqual([
      ["http3", "refused", 1, "SESSION_ENDED"],
      ["http5", "done", 1, true],
    ]);
    // That the session has ended is known for a minute more.
    expect(story.engine.nextDeadlineMs).toBe(60_004);
  });

  test("[Q3ra] the calls of a session that is closed leave their queues before anybody is served: none of them is granted", () =>
    check(`
      0 http1 open s1                       -> http1 done {"session":"s1","leaseMs":10000,"resumed":false}
      1 ann   acquire disk                  -> ann granted #1
      2 http2 call:a disk+tape forever of=s1 -> http2 queued t1
      3 http3 call:b tape forever of=s1     -> http3 queued t2
      4 http4 end s1                        -> http2 refused SESSION_ENDED, http3 refused SESSION_ENDED, http4 done true`));

  test("[Q3rb] so do those of a session that runs out: the next holder is told of nobody", () =>
    check(`
      0     http9 delay 60s                  -> http9 done {"lockDelayMs":60000}
      0     http1 open s1                    -> http1 done {"session":"s1","leaseMs":10000,"resumed":false}
      1     ann   acquire disk               -> ann granted #1
      2     http2 call:a disk+tape forever of=s1 -> http2 queued t1
      3     http3 call:b tape forever of=s1  -> http3 queued t2
      9000  ann   heartbeat                  -> ann done null
      10004 -     tick                       -> http2 refused SESSION_ENDED, http3 refused SESSION_ENDED
      10005 bob   acquire tape now           -> bob granted #2`));

  test("[R6r] a lease that was made shorter lasts no longer after a crash than that and once more", () =>
    check(`
      0     http1 call:r disk lease=3600s    -> http1 granted #1 for 3600000
      1     http1 delivered
      2     http2 renew #1 10s               -> http2 done {"token":1,"expiresInMs":10000}
      3     -     crash
      4     http3 renew #1                   -> http3 done {"token":1,"expiresInMs":10000}
      5     -     crash
      20100 -     tick
      20101 http4 call:s disk now            -> http4 granted #100002 for 30000 after #1 by expiry`));

  test("[Q6ra] a lock may be named as another request: an id that is used for both is refused", () => {
    const story = check(`
      0 http1 call:r disk                    -> http1 granted #1 for 30000
      1 http1 delivered
      2 http2 giveback:z #1                  -> http2 done true`);
    const terms = { minHoldMs: 0, maxHoldMs: null, metadata: {}, ticket: null, within: [] };
    const rest = {
      reentrant: false,
      leads: false,
      stolenBy: null,
      owner: null,
      waitMs: 0,
      detachedMs: 30_000,
    };
    const from = { session: null, address: "http3", id: 1, request: "z", of: null };
    const { answers } = story.apply({ kind: "call", ...from, names: "release 1", ...terms, ...rest });
    expect(answers.map(({ message }) => message[2])).toEqual(["REQUEST_ID_REUSED"]);
  });

  test("[Q6rc] of an HTTP session's hold that is over it says so as long as its lock stays closed, too", () =>
    check(`
      0 http1 open cron 30s             -> http1 done {"session":"cron","leaseMs":30000,"resumed":false}
      1 http2 call:r1 disk of=cron min=10s -> http2 granted #1 for 30000
      2 http3 giveback #1 of=cron       -> http3 done true
      3 http4 call:r1 disk of=cron      -> http4 refused REQUEST_ID_REUSED
      4 http5 check disk                -> http5 done true
     10001 - tick
     10002 http6 check disk             -> http6 done false
     10003 http7 call:r1 disk of=cron   -> http7 refused REQUEST_ID_REUSED`));

  test("[Q7rb] whoever hangs up when his hold was given back by its token meanwhile takes nothing back", () =>
    check(`
      0 http1 call:r1 disk         -> http1 granted #1 for 30000
      1 http2 giveback #1          -> http2 done true | -hold #1, +answer http::r1/1
      2 http3 call:r3 disk         -> http3 granted #2 for 30000
      3 http1 hangup               -> |
      4 http4 check disk           -> http4 done true`));

  test("[Q7ra] a grant that was taken back is not told again", () =>
    check(`
      0 ann acquire:3 disk now for=300s      -> ann granted #1
      1 ann cancel:3                         -> ann done true
      2 ann acquire:3 disk now for=300s      -> ann refused REQUEST_ID_REUSED`));
});
