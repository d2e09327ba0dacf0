import { describe, expect, test } from "vitest";
import { check, Story } from "./story.js";

describe("the next holder is told how the last hold ended", () => {
  test("[Q11a] by expiry of its session, of a detached hold, or of its longest time", () =>
    check(`
      0     ann   acquire disk               -> ann granted #1
      0     http1 acquire tape 30s for=5s    -> http1 granted #2
      0     bob   acquire reel 30s max=6s    -> bob granted #3
      5000  -     tick
      5001  cid   acquire tape               -> cid granted #4 after #2 by expiry
      6000  -     tick                       -> bob lost #3
      6001  cid   acquire reel               -> cid granted #5 after #3 by expiry
      9000  bob   heartbeat                  -> bob done null
      9000  cid   acquire disk 30s           -> cid queued t1
      10000 -     tick                       -> ann ended SESSION_ENDED, cid granted #6 after #1 by expiry`));

  test("[Q11b] whose it was is told too", () => {
    const story = check("0 ann acquire disk -> ann granted #1\n10000 - tick -> ann ended SESSION_ENDED");
    expect(story.play("10001 bob acquire disk").answers[0]!.message).toEqual([
      "granted",
      1,
      2,
      { previous: { endedBy: "expiry", token: 1, owner: "ann" } },
    ]);
  });

  test("[Q11c] a release, an unlock and a goodbye are no such end", () =>
    check(`
      0     ann   acquire disk   -> ann granted #1
      1     ann   release #1     -> ann done true
      2     http1 acquire disk   -> http1 granted #2
      3     bob   unlock disk    -> bob done true
      4     bob   acquire disk   -> bob granted #3
      5     bob   bye            -> bob done true
      6     ann   acquire disk   -> ann granted #4`));

  test("[Q11d] it is told until a later holder has given the lock back", () =>
    check(`
      0     ann   acquire disk 30s max=1s   -> ann granted #1
      1000  -     tick                      -> ann lost #1 | +previous disk
      1001  http1 acquire disk 30s          -> http1 granted #2 after #1 by expiry
      1002  http1 cancel                    -> http1 done true
      1003  bob   acquire disk 30s max=1s   -> bob granted #3 after #1 by expiry
      2003  -     tick                      -> bob lost #3 | +previous disk
      2004  ann   acquire disk              -> ann granted #4 after #3 by expiry
      2005  ann   release #4                -> ann done true | -previous disk
      2006  bob   acquire disk              -> bob granted #5`));

  test("[Q11e] it outlives a crash, and lasts until a later holder has given the lock back", () =>
    check(`
      0     ann acquire disk 30s max=1s     -> ann granted #1
      1000  -   tick                        -> ann lost #1
      1001  ann bye                         -> ann done true
      1002  -   crash
      1003  bob acquire disk                -> bob granted #100002 after #1 by expiry
      1004  -   crash
      1005  bob resume
      1005  bob sync                        -> bob welcome back
      1006  bob acquire disk                -> bob granted #200003 after #1 by expiry
      1007  bob release #200003             -> bob done true
      1008  -   stop
      1009  cid acquire disk                -> cid granted #200004`));

  test("[Q11f] a request that is repeated is told again", () =>
    check(`
      0     ann acquire disk 30s max=1s     -> ann granted #1
      1000  -   tick                        -> ann lost #1
      1001  bob acquire:7 disk 30s for=60s  -> bob granted #2 after #1 by expiry
      1002  bob acquire:7 disk 30s for=60s  -> bob granted #2 after #1 by expiry
      1003  ann bye                         -> ann done true
      1003  -   crash
      1004  bob resume
      1004  bob acquire:7 disk 30s for=60s  -> bob granted #2 after #1 by expiry
      1004  bob sync                        -> bob welcome back`));

  test("[Q11g] a holder that has lost trust and says so, or does not name its hold, has not given it back", () =>
    check(`
      0     ann acquire disk                -> ann granted #1
      0     ann acquire tape                -> ann granted #2
      1     ann abandon #1                  -> ann done true
      2     ann away
      3     ann resume
      3     ann sync                        -> ann welcome back
      4     bob acquire disk                -> bob granted #3 after #1 by expiry
      5     bob acquire tape                -> bob granted #4 after #2 by expiry
      6     bob abandon #4                  -> bob done true
      7     bob abandon #4                  -> bob refused NOT_HELD`));

  test("[Q11k] after a crash, too, a hold that its holder names as lost has not been given back", () =>
    check(`
      0     ann acquire disk                -> ann granted #1
      0     bob acquire tape                -> bob granted #2
      1     -   crash
      2     bob resume
      2     bob hold #2 tape
      2     bob sync                        -> bob welcome back
      3     ann resume
      3     ann hold #1 disk lost=true
      3     ann sync                        -> ann welcome back
      4     bob acquire disk                -> bob granted #100002 after #1 by expiry`));

  test("[L8n] and its lock stays closed for the delay", () =>
    check(`
      0     http1 delay 5s                  -> http1 done {"lockDelayMs":5000}
      0     ann   acquire disk              -> ann granted #1
      1     -     crash
      1000  ann   resume
      1000  ann   hold #1 disk lost=true
      1000  ann   sync                      -> ann welcome back
      5999  -     tick
      5999  ann   acquire disk now          -> ann refused LOCK_TIMEOUT
      6000  -     tick
      6000  ann   acquire disk now          -> ann granted #100002 after #1 by expiry`));

  test("[R3t] a hold that is named as lost while the server runs ends, and one that it never had is no news", () =>
    check(`
      0     ann acquire disk                -> ann granted #1
      1     ann away
      2     ann resume
      2     ann hold #1 disk lost=true
      2     ann hold #7 tape lost=true      -> ann lost #7
      2     ann sync                        -> ann welcome back
      3     bob acquire disk now            -> bob granted #2 after #1 by expiry`));

  test("[Q11h] nobody can abandon what is not his", () =>
    check(`
      0     ann   acquire disk              -> ann granted #1
      0     http1 acquire tape              -> http1 granted #2
      1     bob   abandon #1                -> bob refused NOT_HELD
      2     bob   abandon #2                -> bob refused NOT_HELD
      3     bob   acquire disk now          -> bob refused LOCK_TIMEOUT
      4     bob   acquire tape now          -> bob refused LOCK_TIMEOUT`));

  test("[Q11i] inspect tells it as well", () => {
    const story = check("0 ann acquire disk -> ann granted #1\n10000 - tick -> ann ended SESSION_ENDED");
    expect(story.play("10001 bob inspect disk").answers[0]!.message[2]).toMatchObject({
      held: false,
      previous: { endedBy: "expiry", token: 1, owner: "ann" },
    });
  });

  test("[N3n] a service remembers a hundred thousand such locks, and forgets the oldest first", () => {
    const story = new Story({ holdsMax: 200_000 });
    for (let n = 0; n <= 100_000; n++) story.play(`0 http${n} acquire lock${n} 30s for=1s`);
    story.play("1000 - tick");
    story.check(`
      1001 ann acquire lock0                -> ann granted #100002
      1002 ann acquire lock1                -> ann granted #100003 after #2 by expiry`);
    expect([...story.durable.keys()].filter((key) => key.startsWith("previous/"))).toHaveLength(100_000);
    expect(story.engine.counts.locks).toBe(2);
  });
});

test("[Q11o] who gets several locks is told of the newest hold that was lost of them", () =>
  check(`
    0    http1 acquire a for=1s            -> http1 granted #1
    0    http2 acquire b for=1s            -> http2 granted #2
    1000 -     tick
    1001 ann   acquire b+a+c               -> ann granted #3 after #2 by expiry`));

test("[Q11p] whoever was let in by the end of a session beside a hold of it, which ends in the same moment, is told of that", () =>
  check(`
    0     ann acquire disk:s            -> ann granted #1
    0     bob acquire tape:s            -> bob granted #2
    1     ann acquire tape              -> ann queued t1
    9000  bob heartbeat                 -> bob done null
    9000  cid acquire tape:s+disk:s     -> cid queued t2
    10001 -   tick                      -> ann ended SESSION_ENDED, cid granted #3 after #1 by expiry`));

test("[N3zf] an account that may hold little has as few lost holds remembered, in memory and in the store", () => {
  let max = 3;
  const story = new Story({ lostMax: () => max });
  for (let n = 0; n < 10; n++) story.play(`${n} http${n} acquire lock${n} 30s for=1s`);
  story.play("1500 - tick");
  const kept = () => [...story.durable.keys()].filter((key) => key.startsWith("previous/"));
  expect(kept()).toEqual(["previous/lock7", "previous/lock8", "previous/lock9"]);
  max = 4;
  story.play("1501 http99 acquire lock99 30s for=1s");
  story.play("2600 - tick");
  expect(kept()).toEqual(["previous/lock7", "previous/lock8", "previous/lock9", "previous/lock99"]);
});

describe("the lock delay", () => {
  test("[L8a] a lock stays closed after a hold that ended by expiry", () =>
    check(`
      0     http1 delay 5s                  -> http1 done {"lockDelayMs":5000} | +settings, +audit
      0     ann   acquire disk              -> ann granted #1
      1     bob   acquire disk 60s          -> bob queued t1
      9000  bob   heartbeat                 -> bob done null
      10000 -     tick                      -> ann ended SESSION_ENDED | -session ann, +hold #1
      10001 cid   acquire disk now          -> cid refused LOCK_TIMEOUT
      10002 cid   unlock disk               -> cid refused NOT_HELD
      10003 cid   release #1                -> cid refused NOT_HELD
      10004 cid   check disk                -> cid done true
      14999 -     tick
      15000 -     tick                      -> bob granted #2 after #1 by expiry | -hold #1, +previous disk`));

  test("[L8b] and not after a release, an unlock, or force", () =>
    check(`
      0     http1 delay 5s                  -> http1 done {"lockDelayMs":5000}
      0     ann   acquire disk              -> ann granted #1
      1     bob   acquire disk              -> bob queued t1
      2     ann   release #1                -> bob granted #2, ann done true
      3     ann   force #2 disk             -> bob lost #2 by force, ann done true
      4     http2 acquire disk              -> http2 granted #3 after #2 by force
      5     ann   unlock disk               -> ann done true
      6     bob   acquire disk now          -> bob granted #4`));

  test("[L8c] it outlives a crash", () =>
    check(`
      0     http1 delay 5s                  -> http1 done {"lockDelayMs":5000}
      0     http2 acquire disk 30s for=1s   -> http2 granted #1
      1000  -     tick
      2000  -     crash
      5999  -     tick
      5999  bob   acquire disk now          -> bob refused LOCK_TIMEOUT
      6000  -     tick
      6000  bob   acquire disk now          -> bob granted #100002 after #1 by expiry`));

  test("[L8d] after a crash it follows the lease of a session that stays away, whose locks nobody knows", () =>
    check(`
      0     http1 delay 5s                  -> http1 done {"lockDelayMs":5000}
      0     ann   acquire disk              -> ann granted #1
      1000  -     crash
      2000  bob   acquire disk 60s          -> bob queued t100001
      9000  bob   heartbeat                 -> bob done null
      15999 -     tick
      16000 -     tick                      -> bob granted #100002`));

  test("[L8e] none is the default, and none can be set again", () =>
    check(`
      0     http1 delay 5s                  -> http1 done {"lockDelayMs":5000}
      1     -     crash
      2     http2 delay 0                   -> http2 done {"lockDelayMs":0}
      2     ann   acquire disk 30s max=1s   -> ann granted #1
      1002  -     tick                      -> ann lost #1
      1002  bob   acquire disk now          -> bob granted #2 after #1 by expiry`));

  test("[L8f] who gives a lock up as lost goes round neither the delay nor a minimum hold", () =>
    check(`
      0     http1 delay 5s                  -> http1 done {"lockDelayMs":5000}
      0     ann   acquire disk              -> ann granted #1
      0     ann   acquire tape 30s min=8s   -> ann granted #2
      1000  ann   abandon #1                -> ann done true
      1000  ann   abandon #2                -> ann done true
      6000  -     tick
      6000  bob   acquire disk now          -> bob granted #3 after #1 by expiry
      6000  bob   acquire tape now          -> bob refused LOCK_TIMEOUT
      8000  -     tick
      8000  bob   acquire tape now          -> bob granted #4 after #2 by expiry`));

  test("[L8l] a request that is cancelled when its hold is over opens neither", () =>
    check(`
      0     http1 delay 5s                  -> http1 done {"lockDelayMs":5000}
      0     ann   acquire:1 disk 30s for=1s -> ann granted #1
      0     ann   acquire:2 tape 30s for=60s min=9s -> ann granted #2
      500   ann   release #2                -> ann done true
      1000  -     tick
      1001  ann   cancel:1                  -> ann done false
      1001  ann   cancel:2                  -> ann done false
      1002  bob   acquire disk now          -> bob refused LOCK_TIMEOUT
      1002  bob   acquire tape now          -> bob refused LOCK_TIMEOUT`));

  test("[L8g] inspect shows that the lock is closed, and until when", () => {
    const story = check(`
      0     http1 delay 5s                  -> http1 done {"lockDelayMs":5000}
      0     http2 acquire disk 30s for=1s   -> http2 granted #1
      1000  -     tick`);
    expect(story.play("2000 bob inspect disk").answers[0]!.message[2]).toMatchObject({
      held: true,
      holders: [{ token: 1, state: "closed", expiresInMs: 4_000 }],
    });
  });
});

describe("asking for a hold", () => {
  test("[L9qe] tells its holder, and again when it comes back, and ends nothing", () =>
    check(`
      0     ann   acquire disk              -> ann granted #1
      1     http1 ask #1 disk               -> ann asked #1: repair, http1 done {"told":true}
      2     ann   away
      3     http2 ask #1 disk               -> http2 done {"told":false}
      4     ann   resume
      4     ann   hold #1 disk              -> ann asked #1: repair
      4     ann   sync                      -> ann welcome back
      5     http3 ask #1 tape               -> http3 refused NOT_HELD
      6     http4 ask #2 disk               -> http4 refused NOT_HELD
      7     ann   release #1                -> ann done true
      8     http5 ask #1 disk               -> http5 refused NOT_HELD`));
});

test("[L9x] while the service recovers a hold may be there that is not known yet: who asks for it asks again", () =>
  check(`
      0     ann   acquire disk              -> ann granted #1
      1     -     crash
      2     http1 ask #1 disk               -> http1 refused RECOVERING
      3     ann   resume
      3     ann   hold #1 disk
      4     http2 ask #1 disk               -> ann asked #1: repair, http2 done {"told":true}`));

describe("release by force", () => {
  test("[L9e] frees what somebody else holds, if the token fits, and its holder is told", () =>
    check(`
      0     ann   acquire disk              -> ann granted #1
      0     bob   acquire disk              -> bob queued t1
      1     eve   force #2 disk             -> eve refused NOT_HELD
      1     eve   force #1 tape             -> eve refused NOT_HELD
      2     eve   force #1 disk             -> ann lost #1 by force, bob granted #2 after #1 by force, eve done true
      3     ann   release #1                -> ann refused NOT_HELD`));

  test("[L9v] a set is freed by any of its names; sent again it does no more, and its id is for nothing else", () =>
    check(`
      0     ann   acquire disk+tape         -> ann granted #1
      0     bob   acquire reel              -> bob granted #2
      1     eve   force:3 #1 reel           -> eve refused NOT_HELD
      2     eve   force:4 #1 tape           -> ann lost #1 by force, eve done true
      3     eve   force:4 #1 tape           -> eve done true
      4     eve   force:4 #2 reel           -> eve refused REQUEST_ID_REUSED
      5     eve   check reel                -> eve done true
      6     -     crash
      7     http1 force #2 reel             -> http1 refused RECOVERING`));

  test("[L9f] a refusal tells who has the lock now", () => {
    const story = check("0 ann acquire disk -> ann granted #1");
    expect(story.play("5 eve force #7 disk").answers[0]!.message[4]).toMatchObject({
      holder: { token: 1, owner: "ann" },
    });
  });

  test("[L9g] is durable with its record in the audit log, before anybody hears of it", () => {
    const story = check("0 ann acquire disk -> ann granted #1");
    const { changes } = story.play("5 eve force #1 disk");
    expect(changes.map(({ type }) => type)).toEqual(["audit", "revoked", "answer", "previous"]);
    expect(changes[0]!.value).toEqual({
      who: "eve",
      what: "force release",
      details: { name: "disk", token: 1, holder: "ann", reason: "it hangs" },
    });
  });

  test("[L9m] opens what remains of a hold", () =>
    check(`
      0     ann   acquire disk 30s min=60s  -> ann granted #1
      1     ann   release #1                -> ann done true
      2     bob   acquire disk              -> bob queued t1
      3     eve   force #1 disk             -> bob granted #2, eve done true`));

  test("[Q6k] asked again, also after a crash, it does nothing more and has the same answer", () =>
    check(`
      0     ann   acquire disk              -> ann granted #1
      1     eve   force:3 #1 disk           -> ann lost #1 by force, eve done true
      2     eve   force:3 #1 disk           -> eve done true
      3     -     crash
      4     eve   resume
      4     eve   force:3 #1 disk           -> eve done true
      4     eve   sync                      -> eve welcome back`));

  test("[R3q] what was freed by force stays freed when its session was away and the server crashed", () =>
    check(`
      0     ann   acquire disk              -> ann granted #1
      1     ann   away
      2     eve   force #1 disk             -> eve done true | +audit, +revoked #1, +answer eve/1, +previous disk
      3     -     crash
      4     ann   resume
      4     ann   hold #1 disk              -> ann lost #1 by force
      4     ann   sync                      -> ann welcome back
      5     -     crash
      6     ann   resume
      6     ann   hold #1 disk              -> ann lost #1 by force
      6     ann   sync                      -> ann welcome back`));

  test("[R3r] the revocation is forgotten when the session has heard of it, names it no more, or ends", () => {
    const story = check(`
      0     ann   acquire disk              -> ann granted #1
      0     ann   acquire tape              -> ann granted #2
      0     ann   acquire reel              -> ann granted #3
      1     eve   force #1 disk             -> ann lost #1 by force, eve done true
      2     eve   force #2 tape             -> ann lost #2 by force, eve done true
      3     eve   force #3 reel             -> ann lost #3 by force, eve done true
      4     ann   ack #1                    -> | -revoked #1
      5     ann   ack #1                    -> |
      6     ann   away
      7     ann   resume
      7     ann   hold #3 reel              -> ann lost #3 by force
      7     ann   sync                      -> ann welcome back | -revoked #2
      8     ann   bye                       -> ann done true | -session ann, -revoked #3`);
    expect([...story.durable.keys()].filter((key) => key.startsWith("revoked/"))).toEqual([]);
  });
});
