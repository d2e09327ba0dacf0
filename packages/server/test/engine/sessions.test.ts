import { describe, expect, test } from "vitest";
import { check, Story } from "./story.js";

describe("request ids", () => {
  test("[Q6o] an answer that nobody acknowledges is kept for a minute, and forgotten with one of the next answers", () =>
    check(`
      0     bob acquire disk 30s for=60m -> bob granted #1
      1     ann acquire:1 disk now       -> ann refused LOCK_TIMEOUT
      9000  ann heartbeat:2              -> ann done null
      18000 ann heartbeat:3              -> ann done null
      27000 ann heartbeat:4              -> ann done null
      36000 ann heartbeat:5              -> ann done null
      45000 ann heartbeat:6              -> ann done null
      54000 ann heartbeat:7              -> ann done null
      59000 ann acquire:8 disk now       -> ann refused LOCK_TIMEOUT
      60000 ann acquire:1 disk now       -> ann refused LOCK_TIMEOUT
      69001 ann acquire:9 disk now       -> ann refused LOCK_TIMEOUT
      69002 ann acquire:1 disk now       -> ann refused REQUEST_ID_REUSED
      69003 ann acquire:8 disk now       -> ann refused LOCK_TIMEOUT`));

  test("[Q6a] an acquire that is sent again gets the same token, and no second hold", () => {
    const story = check(`
      0 ann acquire:1 disk      -> ann granted #1
      1 ann acquire:1 disk      -> ann granted #1`);
    expect(story.engine.counts.holds).toBe(1);
  });

  test("[Q6b] a waiter's request that is sent again keeps its place", () =>
    check(`
      0 ann acquire disk        -> ann granted #1
      1 bob acquire:1 disk      -> bob queued t1
      2 cid acquire disk        -> cid queued t2
      3 bob acquire:1 disk      -> bob queued t1
      4 ann release #1          -> bob granted #2, ann done true`));

  test("[Q6c] a release that is sent again is answered as before, and does not free the next holder", () =>
    check(`
      0 ann acquire:1 disk      -> ann granted #1
      1 bob acquire disk        -> bob queued t1
      2 ann release:2 #1        -> bob granted #2, ann done true
      3 ann release:2 #1        -> ann done true
      4 bob check disk          -> bob done true`));

  test("[Q6d] an id that comes again for something else is refused", () =>
    check(`
      0 ann acquire:1 disk      -> ann granted #1
      1 ann acquire:1 tape      -> ann refused REQUEST_ID_REUSED
      2 ann release:1 #1        -> ann refused REQUEST_ID_REUSED
      3 ann acquire:2 tape      -> ann granted #2`));

  test("[Q6e] answers are kept while the hold lives and a minute more, however long that is", () => {
    const story = check(`
      0 ann acquire:1 disk      -> ann granted #1`);
    for (let at = 5_000; at <= 300_000; at += 5_000) story.check(`${at} ann heartbeat:9 -> ann done null`);
    story.check(`
      300001 ann acquire:10 tape -> ann granted #2
      300002 ann acquire:1 disk  -> ann granted #1
      300003 ann release:11 #1   -> ann done true
      300004 ann acquire:1 disk  -> ann granted #1
      300005 bob acquire disk    -> bob granted #3`);
  });

  test("[Q6f] an answer that was acknowledged is forgotten, and its id is not used again", () =>
    check(`
      0 ann acquire:1 disk      -> ann granted #1
      1 ann ack 1
      2 ann acquire:1 disk      -> ann refused REQUEST_ID_REUSED`));

  test("[Q6fa] so it is with a detached hold's, whose end then leaves no answer, and with what was granted again", () =>
    check(`
      0     http1 acquire other              -> http1 granted #1
      1     ann acquire:7 disk 30s for=60s   -> ann granted #2
      2     ann acquire:8 disk 30s within=#2 reentrant=true -> ann granted #2 again
      3     ann ack 7 8                      -> |
      4     ann acquire:7 disk 30s for=60s   -> ann refused REQUEST_ID_REUSED
      5     ann acquire:9 tape 30s for=60s   -> ann granted #3
      6     bob release:1 #3                 -> bob done true | +answer bob/1, -hold #3, +answer ann/9
      7     ann ack 9                        -> | -answer ann/9
      8     bob ack 1                        -> | -answer bob/1
      9     bob release:2 #2                 -> bob done true | +answer bob/2, -hold #2
      // All that was acknowledged is over with that: nothing ends at its minute.
      9000  ann heartbeat                    -> ann done null
      9000  bob heartbeat                    -> bob done null
      18000 ann heartbeat                    -> ann done null
      18000 bob heartbeat                    -> bob done null
      27000 ann heartbeat                    -> ann done null
      27000 bob heartbeat                    -> bob done null
      36000 ann heartbeat                    -> ann done null
      36000 bob heartbeat                    -> bob done null
      45000 ann heartbeat                    -> ann done null
      45000 bob heartbeat                    -> bob done null
      54000 ann heartbeat                    -> ann done null
      54000 bob heartbeat                    -> bob done null
      60008 - tick                           -> |
      60009 - tick                           -> | -answer bob/2`));

  test("[Q6g] a detached hold's request gets the same token after a crash", () =>
    check(`
      0 ann acquire:1 disk for=60s -> ann granted #1
      1 -   crash
      2 ann resume
      2 ann acquire:1 disk for=60s -> ann granted #1
      2 ann sync                   -> ann welcome back`));

  test("[Q6h] an unlock by name that is sent again after a crash does not free the next holder", () =>
    check(`
      0 http1 acquire disk       -> http1 granted #1
      1 ann   unlock:1 disk      -> ann done true
      2 http2 acquire disk       -> http2 granted #2
      3 -     crash
      4 ann   resume
      4 ann   sync               -> ann welcome back
      5 ann   unlock:1 disk      -> ann done true
      6 ann   check disk         -> ann done true`));

  test("[Q6i] durable answers are kept a minute, then forgotten in the store too", () => {
    const story = check(`
      0     http1 acquire disk   -> http1 granted #1
      0     http1 delivered
      1     ann unlock:1 disk    -> ann done true | +answer ann/1, -hold #1`);
    story.check("60001 - tick -> ann ended SESSION_ENDED | -session ann, -answer ann/1");
    expect([...story.durable.keys()]).toEqual(["ceiling/"]);
  });

  test("[Q6j] the same client's next session finds what its durable request has done", () =>
    check(`
      0     ann acquire:1 disk for=60s -> ann granted #1
      1     ann away
      10000 -   tick
      10001 zoe hello client=client-ann
      10001 zoe acquire:1 disk for=60s -> zoe granted #1`));
});

describe("tokens", () => {
  test("[F1a] tokens start at 1 and rise, whatever the lock", () =>
    check(`
      0 ann acquire disk        -> ann granted #1
      0 ann acquire tape        -> ann granted #2
      1 ann release #1          -> ann done true
      2 ann acquire disk        -> ann granted #3`));

  test("[F1b] tokens after a crash are above all before it", () =>
    check(`
      0 ann acquire disk        -> ann granted #1
      1 ann release #1          -> ann done true
      2 ann bye                 -> ann done true
      3 -   crash
      4 bob acquire disk        -> bob granted #100002`));

  test("[F1c] tokens after a clean stop go on without a gap", () =>
    check(`
      0 ann acquire disk        -> ann granted #1
      1 ann release #1          -> ann done true
      2 ann bye                 -> ann done true
      3 -   stop
      4 bob acquire disk        -> bob granted #2`));

  test("[F2a] a ceiling is durable before any token below it is told", () => {
    const story = check("0 ann acquire disk -> ann granted #1 | +ceiling");
    expect(story.durable.get("ceiling/")!.value).toEqual({ tokens: 100_001 + 1, tickets: 100_001 });
  });

  test("[F2b] tickets after a crash are above all before it", () =>
    check(`
      0 http1 acquire disk      -> http1 granted #1
      1 http2 acquire disk      -> http2 queued t1
      2 -     crash
      3 http3 acquire disk      -> http3 queued t100001`));

  test("[F4a] each grant and each inspection shows the token", () => {
    const story = check("0 ann acquire disk -> ann granted #1");
    const [answer] = story.play("1 bob inspect disk").answers;
    expect(answer!.message[2]).toMatchObject({ holders: [{ token: 1 }] });
  });
});

describe("leases and sessions", () => {
  test("[L1a] a session that falls silent ends a full lease after its last message, not before", () =>
    check(`
      0     ann acquire disk    -> ann granted #1
      5000  ann heartbeat       -> ann done null
      14999 -   tick
      15000 -   tick            -> ann ended SESSION_ENDED
      15001 bob acquire disk    -> bob granted #2 after #1 by expiry`));

  test("[L4a] any message of a session renews it", () =>
    check(`
      0     ann acquire disk    -> ann granted #1
      9000  ann check disk      -> ann done true
      18000 ann acquire tape    -> ann granted #2
      27000 ann inspect none    -> ann done {"name":"none","held":false,"holders":[],"holderCount":0,"queue":[],"queueLength":0,"recovering":false}
      36000 -   tick
      37000 -   tick            -> ann ended SESSION_ENDED`));

  test("[L4b] a message after the end renews nothing, and nothing is revived", () =>
    check(`
      0     ann acquire disk    -> ann granted #1
      10000 -   tick            -> ann ended SESSION_ENDED
      10001 ann heartbeat       -> ann refused SESSION_ENDED
      10002 ann acquire disk    -> ann refused SESSION_ENDED
      10003 bob acquire disk    -> bob granted #2 after #1 by expiry`));

  test("[L4c] a session may ask for another lease", () =>
    check(`
      0     ann hello lease=2s
      0     ann acquire disk    -> ann granted #1
      1999  -   tick
      2000  -   tick            -> ann ended SESSION_ENDED`));

  test("[L7a] maxHold ends a hold, however alive its session is, and says so", () =>
    check(`
      0     ann acquire disk 30s max=5s -> ann granted #1
      0     bob acquire disk    -> bob queued t1
      4999  ann heartbeat       -> ann done null
      5000  -   tick            -> ann lost #1, bob granted #2 after #1 by expiry
      5001  ann release #1      -> ann refused NOT_HELD`));

  test("[L7b] minHold keeps the lock closed after an early release, durably", () =>
    check(
      `
      0     ann acquire disk 30s min=60s -> ann granted #1
      1000  ann release #1      -> ann done true | +hold #1
      1001  bob acquire disk now -> bob refused LOCK_TIMEOUT
      1002  bob unlock disk     -> bob refused NOT_HELD
      1003  -   crash
      1004  http1 acquire disk 99s -> http1 queued t100001
      59999 -   tick
      60000 -   tick            -> http1 granted #100002`,
    ));

  test("[L7c] minHold that is over costs nothing at the release", () =>
    check(`
      0     ann acquire disk 30s min=5s -> ann granted #1
      5000  ann release #1      -> ann done true |
      5001  bob acquire disk    -> bob granted #2`));

  test("[L7d] minHold outlasts a close of the session", () =>
    check(`
      0     ann acquire disk 30s min=5s -> ann granted #1
      1     ann bye             -> ann done true
      2     bob acquire disk now -> bob refused LOCK_TIMEOUT
      5000  bob acquire disk    -> bob queued t1
      5000  -   tick            -> bob granted #2`));

  test("[L9a] a detached hold outlives its maker's session, and ends at its own time", () =>
    check(`
      0     ann acquire disk 30s for=60s -> ann granted #1
      1     ann bye             -> ann done true
      59999 -   tick
      59999 bob check disk      -> bob done true
      60000 -   tick
      60000 bob check disk      -> bob done false`));

  test("[L9b] anyone in the service may unlock a detached hold by name", () =>
    check(`
      0     ann acquire disk 30s for=60s -> ann granted #1
      1     bob unlock disk     -> bob done true
      2     bob unlock disk     -> bob done false
      3     ann release #1      -> ann refused NOT_HELD`));

  test("[L9c] anyone in the service may release a detached hold by its token", () =>
    check(`
      0     ann acquire disk 30s for=60s -> ann granted #1
      1     bob release #1 disk -> bob done true`));

  test("[L9d] a session hold is not unlocked by name", () =>
    check(`
      0     ann acquire disk    -> ann granted #1
      1     bob unlock disk     -> bob refused NOT_HELD
      2     http1 unlock disk   -> http1 refused NOT_HELD
      3     bob check disk      -> bob done true`));

  test("[N4a] a hold of thirty days ends in thirty days", () => {
    const days30 = 30 * 24 * 3_600_000;
    const story = check(`0 http1 acquire disk 30s for=${days30} -> http1 granted #1`);
    expect(story.engine.nextDeadlineMs).toBe(days30);
    story.check(`${days30 - 1} - tick\n${days30 - 1} http2 check disk -> http2 done true`);
    story.check(`${days30} - tick\n${days30} http3 check disk -> http3 done false`);
  });
});

describe("what is durable", () => {
  test("[R2a] a session is durable with its hello, before its first grant", () => {
    const story = new Story();
    story.check("0 ann hello -> | +session ann");
    story.check("0 ann acquire disk -> ann granted #1 | +ceiling");
  });

  test("[R2b] a session's end is durable with the grants that come of it", () =>
    check(`
      0     ann acquire disk     -> ann granted #1
      0     bob acquire disk 30s -> bob queued t1
      9999  bob heartbeat        -> bob done null
      10000 -   tick             -> ann ended SESSION_ENDED, bob granted #2 after #1 by expiry | -session ann, +previous disk`));

  test("[R2c] a session's lock and unlock write nothing", () =>
    check(`
      0     ann acquire disk     -> ann granted #1
      1     ann release #1       -> ann done true |
      2     ann acquire disk     -> ann granted #2 |
      3     ann release #2       -> ann done true |`));

  test("[R1a] a detached hold is durable with its grant, and its end with its release", () =>
    check(`
      0     http1 acquire disk   -> http1 granted #1 | +ceiling, +hold #1
      1     http2 unlock disk    -> http2 done true | -hold #1`));
});
