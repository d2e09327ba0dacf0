import { describe, expect, test } from "vitest";
import { Story } from "./story.js";

/** With `--durability strict`: session holds are written down too. */
function strict(text: string): Story {
  return new Story({ writesSessionHolds: true }).check(text);
}

describe("durability strict", () => {
  test("[R4l] a session's hold is durable with its grant, and its end with its release", () => {
    strict(`
      0     ann hello                       -> | +session ann
      0     ann sync                        -> ann welcome
      0     ann acquire disk                -> ann granted #1 | +ceiling, +hold #1
      1     bob acquire disk                -> bob queued t1
      2     ann release #1                  -> bob granted #2, ann done true | -hold #1, +hold #2`);
  });

  test("[R4m] after a crash nobody is waited for, and every hold is still held", () => {
    strict(`
      0     ann acquire disk                -> ann granted #1
      1     -   crash
      2     bob acquire tape now            -> bob granted #100002
      2     bob acquire disk now            -> bob refused LOCK_TIMEOUT
      3     ann resume
      3     ann hold #1 disk
      3     ann sync                        -> ann welcome back
      4     bob acquire disk now            -> bob refused LOCK_TIMEOUT
      5     ann release #1                  -> ann done true | -hold #1`);
  });

  test("[R4n] what the store does not have is lost, whatever a client says", () => {
    strict(`
      0     ann acquire disk                -> ann granted #1
      1     ann release #1                  -> ann done true
      2     -   crash
      3     ann resume
      3     ann hold #1 disk                -> ann lost #1
      3     ann sync                        -> ann welcome back
      4     bob acquire disk now            -> bob granted #100002`);
  });

  test("[Q6hn] a request whose hold is over is not told its grant again, after a crash either", () => {
    strict(`
      0     ann acquire:1 disk              -> ann granted #1
      1     -   crash
      2     ann resume
      2     ann hold #1 disk
      2     ann acquire:1 disk              -> ann granted #1
      2     ann sync                        -> ann welcome back
      3     ann release:2 #1                -> ann done true | -hold #1
      4     ann ack 1 2
      5     ann acquire:1 disk              -> ann refused REQUEST_ID_REUSED`);
  });

  test("[R4mb] a server that was not strict before writes what comes back, and waits for that session no more", () => {
    const story = new Story();
    story.check("0 ann acquire disk -> ann granted #1");
    story.options = { ...story.options, writesSessionHolds: true };
    story.check(`
      1000  -   crash                       -> | +session ann
      2000  bob acquire disk now            -> bob refused RECOVERING
      2001  ann resume                      -> | +session ann
      2001  ann hold #1 disk
      2001  ann sync                        -> ann welcome back | +hold #1, +session ann`);
    expect(story.durable.get("session/session-ann")!.value).toEqual({
      client: "client-ann",
      leaseMs: 10_000,
      owner: "ann",
      holdsKnown: true,
    });
    story.check(`
      3000  -   crash
      3001  bob acquire disk now            -> bob refused LOCK_TIMEOUT`);
  });

  test("[R6c] a session that stays away ends after one lease, however often the server is restarted", () => {
    strict(`
      0     ann acquire disk                -> ann granted #1
      1000  -   crash                       -> | +session ann
      4000  -   crash                       -> |
      8000  -   crash                       -> |
      8001  bob acquire disk 30s            -> bob queued t100001
      10999 -   tick
      11000 -   tick                        -> bob granted #100002 after #1 by expiry | -session ann, -hold #1, +previous disk, +hold #100002`);
  });

  test("[R5e] a clean stop and the next start leave the records as they are", () => {
    const story = strict("0 ann acquire disk -> ann granted #1\n1 - stop -> | -stopped");
    expect([...story.durable.keys()].sort()).toEqual(["ceiling/", "hold/1", "session/session-ann"]);
    story.check(`
      2     -   crash
      3     bob acquire tape now            -> bob granted #2
      3     bob acquire disk now            -> bob refused LOCK_TIMEOUT`);
  });

  test("[L7f] the longest and the shortest time of a hold outlive a crash", () => {
    strict(`
      0     ann acquire disk 30s max=8s     -> ann granted #1
      0     ann acquire tape 30s min=8s     -> ann granted #2
      1000  -   crash
      2000  ann resume
      2000  ann hold #1 disk
      2000  ann hold #2 tape
      2000  ann sync                        -> ann welcome back
      2001  ann release #2                  -> ann done true | +hold #2
      8000  -   tick                        -> ann lost #1 | -hold #1, +previous disk, -hold #2`);
  });

  test("[R4o] a session from before strict is waited for once, and then written down", () => {
    const story = new Story();
    story.check("0 ann acquire disk -> ann granted #1");
    story.options = { ...story.options, writesSessionHolds: true };
    story.check(`
      1     -   crash                       -> | +session ann
      2     bob acquire tape now            -> bob refused RECOVERING
      3     ann resume                      -> | +session ann
      3     ann hold #1 disk
      3     ann sync                        -> ann welcome back | +hold #1, +session ann
      4     -   crash
      5     cid acquire tape now            -> cid granted #100002
      5     cid acquire disk now            -> cid refused LOCK_TIMEOUT`);
  });

  test("[R4p] a session from before standard is waited for again, from the second crash on", () => {
    const story = strict("0 ann acquire disk -> ann granted #1");
    story.options = { ...story.options, writesSessionHolds: false };
    story.check(`
      1     -   crash                       -> | +session ann
      2     bob acquire tape now            -> bob granted #100002
      3     ann resume                      -> | +session ann
      3     ann hold #1 disk
      3     ann sync                        -> ann welcome back
      4     ann acquire reel                -> ann granted #100003 |
      5     -   crash
      6     cid acquire reel now            -> cid refused RECOVERING
      7     ann resume
      7     ann hold #1 disk
      7     ann hold #100003 reel
      7     ann sync                        -> ann welcome back
      8     cid acquire reel now            -> cid refused RECOVERING
      9     bob resume
      9     bob hold #100002 tape
      9     bob sync                        -> bob welcome back
      10    cid acquire reel now            -> cid refused LOCK_TIMEOUT
      11    ann release #1                  -> ann done true | -hold #1`);
  });
});
