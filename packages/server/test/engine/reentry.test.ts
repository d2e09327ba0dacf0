import { describe, expect, test } from "vitest";
import { check, Story } from "./story.js";

describe("what is granted again inside a hold", () => {
  test("[D3n] is not its request's own to cancel, after a crash either", () =>
    check(`
      0 ann acquire a                    -> ann granted #1
      1 -   crash
      2 ann resume
      2 ann hold #1 a
      2 ann sync                         -> ann welcome back
      3 ann acquire:9 a 30s within=#1 reentrant=true -> ann granted #1 again
      4 ann cancel:9                     -> ann done false
      5 ann acquire:10 a 30s within=#1 reentrant=true -> ann granted #1 again
      6 ann cancel:10 #1                 -> ann done false
      7 bob acquire a now                -> bob refused LOCK_TIMEOUT`));

  test("[D3o] is found at the end of a recovery, too: the holder may come after who asks inside his hold", () =>
    check(`
      0 ann acquire a                    -> ann granted #1
      0 bob acquire b                    -> bob granted #2
      1 -   crash
      2 bob resume
      2 bob hold #2 b
      2 bob acquire:9 a 30s within=#1 reentrant=true -> bob queued t100001
      2 bob sync                         -> bob welcome back
      3 ann resume
      3 ann hold #1 a
      3 ann sync                         -> bob granted #1 again, ann welcome back
      4 bob cancel:9                     -> bob done false
      5 bob acquire a now                -> bob refused LOCK_TIMEOUT`));

  test("[D3oa] found then, it is told as one that has left the queue, and is not its request's own to cancel", () => {
    const story = new Story();
    story.check(`
      0 ann acquire a                    -> ann granted #1
      1 bob acquire b                    -> bob granted #2
      2 -   crash
      3 ann resume
      3 ann acquire:9 a 30s within=#1 reentrant=true -> ann queued t100001
      3 ann hold #1 a
      3 ann sync                         -> ann welcome back`);
    story.events = [];
    story.check(`
      4 bob resume
      4 bob sync                         -> ann granted #1 again, bob welcome back`);
    expect(story.events).toMatchObject([{ type: "left", ticket: 100_001, reason: "granted again" }]);
    story.check(`
      5 ann cancel:9 #1                  -> ann done false
      6 bob acquire a now                -> bob refused LOCK_TIMEOUT`);
  });

  test("[D3p] must be all that is asked for: a set of which a part is held is a deadlock", () =>
    check(`
      0 ann acquire a                    -> ann granted #1
      1 ann acquire a+b 30s within=#1 reentrant=true -> ann refused DEADLOCK`));

  test("[D3q] is not what remains of a hold", () =>
    check(`
      0 ann acquire a 30s min=60s        -> ann granted #1
      1 ann release #1                   -> ann done true
      2 ann acquire a now within=#1 reentrant=true -> ann refused LOCK_TIMEOUT`));
});

describe("a hold that its holder does not trust", () => {
  test("[D3u] is not granted again by the resume that gives it up", () =>
    check(`
      0 ann acquire a                    -> ann granted #1
      1 bob acquire a forever            -> bob queued t1
      2 ann away
      3 ann resume
      3 ann hold #1 a lost=true
      3 ann acquire a 30s within=#1 reentrant=true -> ann queued t2
      3 ann sync                         -> bob granted #2 after #1 by expiry, ann welcome back`));

  test("[D3v] is not kept by a request inside it that comes again", () =>
    check(`
      0 ann acquire a                    -> ann granted #1
      1 ann acquire:7 a 30s within=#1 reentrant=true -> ann granted #1 again
      1 bob acquire a forever            -> bob queued t1
      2 ann away
      3 ann resume
      3 ann hold #1 a lost=true
      3 ann acquire:7 a 30s within=#1 reentrant=true -> ann refused LOCK_LOST
      3 ann sync                         -> bob granted #2 after #1 by expiry, ann welcome back`));

  test("[D3w] what remains of one is none", () =>
    check(`
      0 ann acquire a min=10s            -> ann granted #1
      1 ann acquire:7 a 30s within=#1 reentrant=true -> ann granted #1 again
      2 ann release #1                   -> ann done true
      3 ann acquire:9 a now within=#1 reentrant=true -> ann refused LOCK_TIMEOUT`));
});

describe("claims of a semaphore", () => {
  test("[R3al] are judged two by two: when there are too many, nobody knows which of them is over", () =>
    check(`
      0 ann acquire a:2/4                -> ann granted #1
      0 bob acquire a:2/4                -> bob granted #2
      0 cid acquire a:2/4                -> cid queued t1
      0 dan acquire a:2/4                -> dan queued t2
      1 bob release:9 #2                 -> cid granted #3, bob done true
      // The answer was lost: bob names it still.
      2 -   crash
      3 cid resume
      3 cid hold #3 a:2/4
      3 cid sync                         -> cid welcome back
      3 ann resume
      3 ann hold #1 a:2/4
      3 ann sync                         -> ann welcome back
      3 dan resume
      3 dan acquire:1 a:2/4 30s          -> dan queued t100001
      3 dan sync                         -> dan welcome back
      3 bob resume
      3 bob hold #2 a:2/4
      3 bob release:9 #2                 -> bob done true
      3 bob sync                         -> bob welcome back
      4 ann release #1                   -> dan granted #100002, ann done true`));
});

describe("a claim that is outranked", () => {
  test("[R3am] a shared claim beside a newer exclusive one is none, though it comes later", () =>
    check(`
      0 ann acquire a:s                  -> ann granted #1
      0 bob acquire b                    -> bob granted #2
      1 -   crash
      2 bob resume
      2 bob hold #2 a
      3 ann resume
      3 ann hold #1 a:s                  -> ann lost #1`));

  test("[R3an] a claim that is none leaves nothing of its locks that nobody else has", () => {
    const story = check(`
      0 ann acquire a+b                  -> ann granted #1
      0 bob acquire c                    -> bob granted #2
      1 -   crash
      2 bob resume
      2 bob hold #2 b
      2 ann resume
      2 ann hold #1 a+b                  -> ann lost #1`);
    expect(story.engine.counts).toMatchObject({ holds: 1, locks: 1 });
  });

  test("[R3ab] if it was a set, it leaves nothing of the locks that nobody else claims", () => {
    const story = check(`
      0 ann acquire a+b                  -> ann granted #1
      0 bob acquire c                    -> bob granted #2
      1 -   crash
      2 ann resume
      2 ann hold #1 a+b
      2 bob resume
      2 bob hold #2 b                    -> ann lost #1`);
    expect(story.engine.counts).toMatchObject({ holds: 1, locks: 1 });
  });
});

describe("an unlock while the service recovers", () => {
  test("[R4ah] that is sent again waits no longer than it said at first", () =>
    check(`
      0    ann acquire disk              -> ann granted #1
      1    -   crash
      2    bob unlock:5 disk 1s
      902  bob unlock:5 disk 1s
      1001 -   tick
      1002 -   tick                      -> bob refused RECOVERING`));

  test("[R4ag] waits where others may share the lock: its name would not say whose hold is meant", () =>
    check(`
      0 ann   acquire a:s 30s for=60s    -> ann granted #1
      0 bob   acquire a:s                -> bob granted #2
      0 ann   acquire b 30s for=60s      -> ann granted #3
      1 -     crash
      2 http1 unlock a
      2 http2 unlock b                   -> http2 done true
      2 http3 check a                    -> http3 done true
      3 ann   resume
      3 ann   sync                       -> ann welcome back
      4 bob   resume
      4 bob   hold #2 a:s
      4 bob   sync                       -> http1 refused NOT_HELD, bob welcome back`));
});
