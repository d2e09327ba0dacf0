import { describe, expect, test } from "vitest";
import { check, Story } from "./story.js";

describe("the end of a hold with a webhook owes a delivery, in the same batch", () => {
  test("[C5a] when it is unlocked, released by its token, run out, forced or stolen", () =>
    check(`
      0     http1 acquire disk 30s hook=u        -> http1 granted #1 | +ceiling, +hold #1
      1     ann   unlock disk                    -> ann done true | +answer ann/1, +delivery 1.0, -hold #1
      2     http2 acquire disk 30s hook=u        -> http2 granted #2 | +hold #2
      3     ann   release #2                     -> ann done true | +answer ann/2, +delivery 2.0, -hold #2
      4     http3 acquire disk 30s for=5s hook=u -> http3 granted #3 | +hold #3
      5004  -     tick                           -> | +delivery 3.0, -hold #3, +previous disk
      5005  http4 acquire disk 30s hook=u        -> http4 granted #4 after #3 by expiry | +hold #4
      5006  ann   force #4 disk                  -> ann done true | +audit, +answer ann/3, +delivery 4.0, -hold #4, +previous disk
      5007  http5 acquire disk 30s hook=u        -> http5 granted #5 after #4 by force | +hold #5
      5008  ann   acquire disk now steal=ann     -> ann granted #6 after #5 by force | +audit, +delivery 5.0, -hold #5, +previous disk`));

  test("[C5za] but a session's hold owes none", () =>
    check(`
      0     ann acquire disk 30s hook=u          -> ann granted #1
      1     ann release #1                       -> ann done true |`));

  test("[C5b] it says where to, which lock, which hold and how that ended", () => {
    const story = check(`
      0     http1 acquire disk 30s hook=u        -> http1 granted #1
      0     http2 acquire tape 30s for=5s hook=v -> http2 granted #2`);
    expect(story.play("1 ann unlock disk").changes).toContainEqual({
      type: "delivery",
      id: "1.0",
      value: { url: "u", lockName: "disk", token: 1, endedBy: "release" },
    });
    expect(story.play("5000 - tick").changes).toContainEqual({
      type: "delivery",
      id: "2.0",
      value: { url: "v", lockName: "tape", token: 2, endedBy: "expiry" },
    });
  });

  test("[C5c] of a set there is one for each name", () => {
    const story = check(`
      0 ann acquire disk+tape:s+reel:1/3 30s for=60s hook=u -> ann granted #1
      1 bob release #1 -> bob done true | +answer bob/1, +delivery 1.0, +delivery 1.1, +delivery 1.2, -hold #1, +answer ann/1`);
    const names = [...story.durable.values()].flatMap((change) =>
      change.type === "delivery" ? [change.value.lockName] : [],
    );
    expect(names.sort()).toEqual(["disk", "reel", "tape"]);
  });

  test("[C5d] a grant that is taken back, or cancelled, was none: nothing is owed", () =>
    check(`
      0     http1 acquire disk 30s hook=u          -> http1 granted #1
      1     http1 cancel                           -> http1 done true | -hold #1
      2     ann   acquire:7 disk 30s for=60s hook=u -> ann granted #2
      3     ann   cancel:7 #2                      -> ann done true | -hold #2
      4     http2 acquire disk 30s hook=u          -> http2 granted #3
      5     http3 acquire disk 30s hook=u          -> http3 queued t1
      6     http3 cancel                           -> http3 done true |
      7     http2 delivered
      8     ann   unlock disk                      -> ann done true | +answer ann/8, +delivery 3.0, -hold #3`));

  test("[C5e] a lock that stays closed after its hold has its delivery at the hold's end, and no other", () =>
    check(`
      0     http1 delay 10s                      -> http1 done {"lockDelayMs":10000}
      1     http2 acquire disk 30s for=5s hook=u -> http2 granted #1
      5001  -     tick                           -> | +delivery 1.0, +hold #1
      15001 -     tick                           -> | -hold #1, +previous disk`));

  test("[C5f] it outlives a crash and a clean stop with its hold, and is owed once", () =>
    check(`
      0     http1 acquire disk 30s hook=u  -> http1 granted #1
      1     -     crash
      2     -     stop
      3     http2 unlock disk              -> http2 done true | +delivery 1.0, -hold #1
      4     -     crash
      5     http3 unlock disk              -> http3 done false |
      6     http4 acquire disk             -> http4 granted #100002
      7     http5 unlock disk              -> http5 done true | -hold #100002`));

  test("[C5g] who has waited has the webhook that he asked for, and no other's", () =>
    check(`
      0     http1 acquire disk 30s         -> http1 granted #1
      1     http2 acquire disk 30s hook=u  -> http2 queued t1
      2     http3 unlock disk              -> http2 granted #2, http3 done true | -hold #1, +hold #2
      3     http3 unlock disk              -> http3 done true | +delivery 2.0, -hold #2`));

  test("[C5h] while the outbox is full a new hold with a webhook is refused, and one without is not", () =>
    check(`
      0     http1 acquire disk 30s hook=u full=true  -> http1 refused LIMIT_EXCEEDED |
      1     http2 acquire disk                       -> http2 granted #1`));

  test("[C5zb] that is said, and what to do; any other limit is not said to be that one", () => {
    const text = (options: object, action: string) => {
      const story = new Story(options);
      story.play("0 ann acquire other");
      return story.play(action).answers[0]!.message[3];
    };
    expect(text({}, "1 http1 acquire disk 30s hook=u full=true")).toMatch(/webhook deliveries .* pending/);
    expect(text({ holdsMax: 1 }, "1 ann acquire disk")).not.toMatch(/webhook/);
    expect(text({}, "1 http1 acquire other now hook=u")).not.toMatch(/webhook/);
  });

  test("[C5i] a request that comes again gets what it has, though the outbox is full by now", () =>
    check(`
      0     ann   acquire:3 disk 30s for=60s hook=u            -> ann granted #1
      1     ann   acquire:3 disk 30s for=60s hook=u full=true  -> ann granted #1 |
      2     ann   acquire:4 tape 30s for=60s hook=u full=true  -> ann refused LIMIT_EXCEEDED`));

  test("[C5da] a lease over HTTP has one, too: given back, run out, forced", () =>
    check(`
      0     http1 call:a disk hook=u             -> http1 granted #1 for 30000 | +ceiling, +hold #1
      0     http1 delivered
      1     http2 giveback:b #1                  -> http2 done true | +answer http::b/1, +delivery 1.0, -hold #1, +answer http::a/1
      2     http3 call:c disk lease=5s hook=u    -> http3 granted #2 for 5000 | +hold #2
      5002  -     tick                           -> | +delivery 2.0, -hold #2, +answer http::c/1, +previous disk
      5003  http4 call:d disk hook=u             -> http4 granted #3 for 30000 after #2 by expiry | +hold #3
      5004  http5 force #3 disk                  -> http5 done true | +audit, +delivery 3.0, -hold #3, +answer http::d/1, +previous disk`));

  test("[C5db] that lease keeps it when it is renewed, over a crash and a clean stop, and owes it once", () => {
    for (const end of ["crash", "stop"])
      check(`
        0     http1 call:a disk lease=10s hook=u -> http1 granted #1 for 10000 | +ceiling, +hold #1
        1     http1 delivered
        5000  http2 renew #1                     -> http2 done {"token":1,"expiresInMs":10000} | +hold #1
        5001  -     ${end}
        5002  -     ${end}
        60000 -     tick                         -> | +delivery 1.0, -hold #1, +answer http::a/1, +previous disk
        60001 -     ${end}
        60002 http3 call:b disk now              -> http3 granted #${end === "crash" ? 100002 : 2} for 30000 after #1 by expiry`);
  });

  test("[C5dc] a call that has waited has it; a grant that it never read owes nothing, and asked anew it does", () =>
    check(`
      0     ann   acquire disk                   -> ann granted #1
      1     http1 call:a disk hook=u             -> http1 queued t1
      2     ann   release #1                     -> http1 granted #2 for 30000, ann done true | +hold #2
      3     http1 hangup                         -> | -hold #2
      4     http2 call:a disk hook=u             -> http2 granted #3 for 30000 | +hold #3
      5     http3 giveback #3                    -> http3 done true | +delivery 3.0, -hold #3, +answer http::a/1`));

  test("[C5dd] a call that comes again has its grant, or its place, though the outbox is full by now", () =>
    check(`
      0     http1 call:a disk hook=u             -> http1 granted #1 for 30000
      1     http2 call:b disk hook=u             -> http2 queued t1
      2     http3 call:a disk hook=u full=true   -> http3 granted #1 for 29998
      3     http4 call:b disk hook=u full=true   -> http2 refused REQUEST_ID_REUSED, http4 queued t1
      4     http5 call:c tape hook=u full=true   -> http5 refused LIMIT_EXCEEDED |
      5     http6 call:c tape                    -> http6 granted #2 for 30000`));

  test("[C5j] nothing of it stays with an engine whose holds are over", () => {
    const story = new Story();
    for (let round = 0; round < 3; round++) {
      story.play(`${round} http${round} acquire disk 30s hook=u`);
      story.play(`${round} http${round} ${round === 1 ? "cancel" : "unlock disk"}`);
    }
    expect(story.engine.counts).toMatchObject({ holds: 0, locks: 0 });
    story.play("9 http9 acquire disk");
    expect(story.play("9 http9 unlock disk").changes.map(({ type }) => type)).toEqual(["hold"]);
  });
});
