import { describe, expect, test } from "vitest";
import { check, Story } from "./story.js";

describe("locking", () => {
  test("[Q1a] a second request for a held lock waits", () =>
    check(`
      0 ann acquire disk      -> ann granted #1
      1 bob acquire disk      -> bob queued t1
      2 bob acquire disk now  -> bob refused LOCK_TIMEOUT`));

  test("[N3zh] what may outlive its session counts until it is over, also what remains of a hold", () =>
    check(
      `
      0  http1 acquire a           -> http1 granted #1
      0  ann   acquire b min=10ms  -> ann granted #2
      1  ann   release #2          -> ann done true
      2  http2 acquire c           -> http2 refused LIMIT_EXCEEDED
      10 -     tick
      11 http3 acquire c           -> http3 granted #3
      12 http4 acquire d           -> http4 refused LIMIT_EXCEEDED
      13 http9 unlock a            -> http9 done true
      14 http4 acquire d           -> http4 granted #4
      15 http5 acquire e           -> http5 refused LIMIT_EXCEEDED`,
      { holdsMax: 2 },
    ));

  test("[Q1b] other names are free", () =>
    check(`
      0 ann acquire disk      -> ann granted #1
      1 bob acquire Disk      -> bob granted #2`));

  test("[Q2a] waiters are granted in the order of their tickets, in the same step as the release", () =>
    check(`
      0 ann acquire disk      -> ann granted #1
      1 bob acquire disk      -> bob queued t1
      2 cid acquire disk      -> cid queued t2
      3 ann release #1        -> bob granted #2, ann done true
      4 bob release #2        -> cid granted #3, bob done true`));

  test("[Q2b] a release wakes only the next waiter", () =>
    check(`
      0 ann acquire disk      -> ann granted #1
      1 bob acquire disk      -> bob queued t1
      2 cid acquire tape      -> cid granted #2
      3 dan acquire tape      -> dan queued t2
      4 ann release #1        -> bob granted #3, ann done true`));

  test("[Q3a] a wait of 0 asks once", () =>
    check(`
      0 ann acquire disk now  -> ann granted #1
      0 bob acquire disk now  -> bob refused LOCK_TIMEOUT
      1 ann release #1        -> ann done true`));

  test("[Q3b] a request that times out leaves the queue and is never granted later", () =>
    check(`
      0    ann acquire disk     -> ann granted #1
      0    bob acquire disk 1s  -> bob queued t1
      999  -   tick
      1000 -   tick             -> bob refused LOCK_TIMEOUT
      1001 ann release #1       -> ann done true`));

  test("[Q3c] a cancelled request leaves the queue", () =>
    check(`
      0 ann acquire disk        -> ann granted #1
      0 bob acquire:5 disk      -> bob queued t1
      1 cid acquire disk        -> cid queued t2
      2 bob cancel:5            -> bob done true
      3 ann release #1          -> cid granted #2, ann done true`));

  test("[Q3d] a request whose session has ended is never granted", () =>
    check(`
      0     ann acquire disk 30s  -> ann granted #1
      0     bob acquire disk 30s  -> bob queued t1
      9000  ann heartbeat         -> ann done null
      10000 -   tick              -> bob ended SESSION_ENDED
      10001 ann release #1        -> ann done true`));

  test("[Q3e] a wait of forever has no deadline of its own", () => {
    const story = check(`
      0 ann acquire disk              -> ann granted #1
      0 bob acquire disk forever      -> bob queued t1`);
    for (let at = 5_000; at < 1_000_000; at += 5_000) story.check(`${at} bob heartbeat -> bob done null`);
    story.check("1000000 -   tick -> ann ended SESSION_ENDED, bob granted #2 after #1 by expiry");
  });

  test("[Q3f] a refusal in time tells who holds the lock and how many are ahead", () => {
    const story = check("0 ann acquire disk -> ann granted #1\n0 bob acquire disk -> bob queued t1");
    const [answer] = story.play("500 cid acquire disk now").answers;
    expect(answer!.message).toEqual([
      "refused",
      1,
      "LOCK_TIMEOUT",
      expect.any(String),
      { holder: expect.objectContaining({ owner: "ann", token: 1, heldForMs: 500 }), ahead: 1 },
    ]);
  });

  test("[Q7a] an HTTP caller that hangs up leaves the queue", () =>
    check(`
      0 http1 acquire disk      -> http1 granted #1
      1 http2 acquire disk      -> http2 queued t1
      2 http3 acquire disk      -> http3 queued t2
      3 http2 cancel            -> http2 done true
      4 ann   unlock disk       -> http3 granted #2, ann done true`));

  test("[Q7b] a grant whose HTTP caller hung up is taken back at once, and the next waiter has the lock", () =>
    check(`
      0 http1 acquire disk      -> http1 granted #1
      1 http2 acquire disk      -> http2 queued t1
      2 http1 cancel            -> http2 granted #2, http1 done true`));

  test("[Q7ba] also after a wait: it is an ordinary release to those who watch", () => {
    const story = new Story();
    story.events = [];
    story.check(`
      0 http1 acquire disk         -> http1 granted #1
      1 http2 acquire disk         -> http2 queued t1
      2 http3 acquire disk         -> http3 queued t2
      3 http9 unlock disk          -> http2 granted #2, http9 done true
      4 http2 cancel               -> http3 granted #3, http2 done true`);
    expect(story.events.slice(-2)).toMatchObject([
      { type: "released", token: 2 },
      { type: "granted", token: 3 },
    ]);
  });

  test("[Q7c] a grant that was handed over is no longer taken back", () =>
    check(`
      0 http1 acquire disk      -> http1 granted #1
      1 http1 delivered
      2 http1 cancel            -> http1 done false
      3 ann   check disk        -> ann done true`));

  test("[Q7d] a cancel that meets its grant on the way takes the grant back", () =>
    check(`
      0 ann acquire:3 disk      -> ann granted #1
      1 bob acquire disk        -> bob queued t1
      2 ann cancel:3            -> bob granted #2, ann done true
      3 ann release #1          -> ann refused NOT_HELD`));

  test("[Q7da] also before all is said on a new connection: its grant is not told again", () =>
    check(`
      0 ann acquire:1 disk         -> ann granted #1
      1 ann away
      2 ann resume
      2 ann cancel:1               -> ann done true
      3 ann acquire:1 disk         -> ann refused REQUEST_ID_REUSED
      4 ann sync                   -> ann welcome back
      5 bob acquire disk now       -> bob granted #2`));

  test("[Q7e] a waiter whose connection is down keeps its ticket and is passed over", () =>
    check(`
      0 ann acquire disk        -> ann granted #1
      1 bob acquire:1 disk      -> bob queued t1
      2 cid acquire disk        -> cid queued t2
      3 dan acquire disk        -> dan queued t3
      4 bob away
      5 ann release #1          -> cid granted #2, ann done true
      6 bob resume
      6 bob acquire:1 disk      -> bob queued t1
      6 bob sync                -> bob welcome back
      7 cid release #2          -> bob granted #3, cid done true`));

  test("[Q7f] a lock whose waiters are all away is given to whoever asks, and to them when they return", () =>
    check(`
      0 ann acquire disk        -> ann granted #1
      1 bob acquire:1 disk      -> bob queued t1
      2 bob away
      3 ann release #1          -> ann done true
      4 cid acquire disk        -> cid granted #2
      5 cid release #2          -> cid done true
      6 bob resume
      6 bob acquire:1 disk      -> bob queued t1
      6 bob sync                -> bob granted #3, bob welcome back`));

  test("[Q7u] a detached grant that its own client has heard of and does not want is taken back by its token, and no other's", () =>
    check(`
      0 ann acquire:1 disk 30s for=60s   -> ann granted #1
      1 ann acquire:2 tape 30s for=60s   -> ann granted #2
      2 ann ack 1 2
      3 bob cancel:1 #1                  -> bob done false |
      4 ann cancel:2 #1                  -> ann done false |
      5 ann cancel:1 #1                  -> ann done true | -hold #1
      6 -   crash
      7 ann cancel:2 #2                  -> ann done true | -hold #2`));

  test("[Q7g] a grant already sent stays until the session resumes", () =>
    check(`
      0 ann acquire:1 disk      -> ann granted #1
      1 ann away
      2 bob acquire disk now    -> bob refused LOCK_TIMEOUT
      3 ann resume
      3 ann acquire:1 disk      -> ann granted #1
      3 ann sync                -> ann welcome back
      4 bob acquire disk now    -> bob refused LOCK_TIMEOUT`));

  test("[Q8a] a release frees only the hold whose token it names, once", () =>
    check(`
      0 ann acquire disk        -> ann granted #1
      1 ann release #2          -> ann refused NOT_HELD
      2 ann release #1          -> ann done true
      3 ann release #1          -> ann refused NOT_HELD`));

  test("[Q8b] a late release never touches the next holder, and says so", () =>
    check(`
      0     ann acquire disk    -> ann granted #1
      1     bob acquire disk 60s -> bob queued t1
      8000  bob heartbeat       -> bob done null
      10000 -   tick            -> ann ended SESSION_ENDED, bob granted #2 after #1 by expiry
      10001 ann hello session=session-ann2
      10001 bob check disk      -> bob done true`));

  test("[Q8c] a release of somebody else's session hold is refused", () =>
    check(`
      0 ann acquire disk        -> ann granted #1
      1 bob release #1          -> bob refused NOT_HELD
      2 bob acquire disk now    -> bob refused LOCK_TIMEOUT`));

  test("[Q8d] a release that names another lock than its token's is refused", () =>
    check(`
      0 ann acquire disk        -> ann granted #1
      1 ann release #1 tape     -> ann refused NOT_HELD
      2 ann release #1 disk     -> ann done true`));

  test("[Q9a] check is whether anyone holds it", () =>
    check(`
      0 ann check disk          -> ann done false
      1 bob acquire disk        -> bob granted #1
      2 ann check disk          -> ann done true
      3 bob release #1          -> bob done true
      4 ann check disk          -> ann done false`));

  test("[Q9b] inspect tells the holder and the queue in order", () => {
    const story = check(`
      0 ann acquire disk max=60s -> ann granted #1
      1 bob acquire disk        -> bob queued t1
      2 cid acquire disk        -> cid queued t2
      3 bob away`);
    const [answer] = story.play("1000 dan inspect disk").answers;
    expect(answer!.message[2]).toEqual({
      name: "disk",
      held: true,
      holders: [
        {
          token: 1,
          owner: "ann",
          state: "held",
          mode: "exclusive",
          detached: false,
          heldForMs: 1_000,
          expiresInMs: 9_000,
          metadata: {},
        },
      ],
      holderCount: 1,
      queue: [
        { ticket: 1, owner: "bob", waitingForMs: 999, mode: "exclusive", away: true },
        { ticket: 2, owner: "cid", waitingForMs: 998, mode: "exclusive", away: false },
      ],
      queueLength: 2,
      recovering: false,
    });
  });

  test("[Q9c] inspecting a lock that nobody holds says that it is free, and makes nothing", () => {
    const story = new Story();
    const [answer] = story.play("0 ann inspect disk").answers;
    expect(answer!.message[2]).toMatchObject({ held: false, holders: [], queueLength: 0 });
    expect(story.engine.counts.locks).toBe(0);
  });

  test("[N3a] a full queue refuses the next waiter, and nobody else notices", () =>
    check(
      `
      0 ann acquire disk        -> ann granted #1
      1 bob acquire disk        -> bob queued t1
      2 cid acquire disk        -> cid refused QUEUE_FULL
      3 cid acquire tape        -> cid granted #2
      4 ann release #1          -> bob granted #3, ann done true`,
      { waitersMax: 1 },
    ));

  test("[N3b] a session at its limit of holds is refused more, and another is not", () =>
    check(
      `
      0 ann acquire disk        -> ann granted #1
      1 ann acquire tape        -> ann refused LIMIT_EXCEEDED
      2 bob acquire tape        -> bob granted #2
      3 ann release #1          -> ann done true
      4 ann acquire disk        -> ann granted #3`,
      { holdsMax: 1 },
    ));

  test("[N3c] a service at its limit of sessions refuses the next hello", () =>
    check(
      `
      0 ann hello
      0 bob hello               -> bob ended LIMIT_EXCEEDED`,
      { sessionsMax: 1 },
    ));

  test("[N3d] idle locks take no memory", () => {
    const story = new Story({ holdsMax: 10_000, waitersMax: 10_000 });
    for (let n = 1; n <= 1_000; n++) story.check(`${n} ann acquire lock${n} -> ann granted #${n}`);
    for (let n = 1; n <= 1_000; n++) story.check(`2000 ann release #${n} -> ann done true`);
    story.check("2001 ann acquire disk -> ann granted #1001\n2001 bob acquire:1 disk -> bob queued t1");
    story.check("2002 bob cancel:1 -> bob done true\n2003 ann release #1001 -> ann done true");
    expect(story.engine.counts).toMatchObject({ locks: 0, holds: 0 });
  });
});
