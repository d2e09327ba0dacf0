import { describe, expect, test } from "vitest";
import { check } from "./story.js";

describe("resume", () => {
  test("[R3a] a session that lost its connection keeps what it lists", () =>
    check(`
      0 ann acquire:1 disk       -> ann granted #1
      1 ann away
      2 ann resume
      2 ann hold #1 disk
      2 ann sync                 -> ann welcome back
      3 bob acquire disk now     -> bob refused LOCK_TIMEOUT`));

  test("[R3b] a hold that the client does not list is released", () =>
    check(`
      0 ann acquire disk         -> ann granted #1
      1 bob acquire disk         -> bob queued t1
      2 ann away
      3 ann resume
      3 ann sync                 -> bob granted #2 after #1 by expiry, ann welcome back`));

  test("[R3c] a pending request keeps its ticket, and one that is not repeated leaves the queue", () =>
    check(`
      0 ann acquire disk         -> ann granted #1
      1 bob acquire:1 disk       -> bob queued t1
      1 bob acquire:2 disk       -> bob queued t2
      2 cid acquire disk         -> cid queued t3
      3 bob away
      4 bob resume
      4 bob acquire:2 disk       -> bob queued t2
      4 bob sync                 -> bob welcome back
      5 ann release #1           -> bob granted #2, ann done true
      6 bob release #2           -> cid granted #3, bob done true`));

  test("[R3d] a pending request that was answered meanwhile gets its answer", () =>
    check(`
      0    ann acquire disk       -> ann granted #1
      1    bob acquire:1 disk 1s  -> bob queued t1
      2    bob away
      1001 -   tick
      1002 bob resume
      1002 bob acquire:1 disk 1s  -> bob refused LOCK_TIMEOUT
      1002 bob sync               -> bob welcome back`));

  test("[R3e] a hold that the server does not have is lost", () =>
    check(`
      0 ann hello
      0 ann sync                 -> ann welcome
      1 ann away
      2 ann resume
      2 ann hold #7 disk         -> ann lost #7
      2 ann sync                 -> ann welcome back`));

  test("[R3f] a resume with an older connection number is refused", () =>
    check(`
      0 ann hello connection=5
      0 ann sync                 -> ann welcome back
      1 ann resume connection=4  -> ann ended INVALID
      1 ann resume connection=5  -> ann ended INVALID
      // Neither of these began to say anew what it has.
      2 ann sync`));

  test("[R3zi] a resume renews the lease at once, and what is not asked again after it was answered is forgotten", () =>
    check(`
      0     bob acquire disk 30s for=60m -> bob granted #1
      0     ann acquire:1 disk now   -> ann refused LOCK_TIMEOUT
      0     ann acquire:2 disk now   -> ann refused LOCK_TIMEOUT
      1     ann away
      9000  bob bye                  -> bob done true
      9000  ann resume
      9001  ann acquire:2 disk now   -> ann refused LOCK_TIMEOUT
      10500 -   tick
      19000 -   tick
      19000 ann sync                 -> ann welcome back
      19001 ann acquire:2 disk now   -> ann refused LOCK_TIMEOUT
      19002 ann acquire:1 disk now   -> ann refused REQUEST_ID_REUSED
      29001 -   tick
      29002 -   tick                 -> ann ended SESSION_ENDED`));

  test("[R3zj] a claim of its own hold under another name is none", () =>
    check(`
      0 ann acquire disk             -> ann granted #1
      1 ann away
      2 ann resume
      2 ann hold #1 tape             -> ann lost #1
      2 ann sync                     -> ann welcome back
      3 bob acquire disk now         -> bob granted #2 after #1 by expiry`));

  test("[R3g] a newer connection supersedes the older, whose words are then ignored", () => {
    const story = check("0 ann acquire:1 disk -> ann granted #1");
    const old = { session: "session-ann", address: "ann@1" };
    story.check(`
      1 ann resume               -> ann ended INVALID
      1 ann hold #1 disk
      1 ann sync                 -> ann welcome back`);
    const { answers } = story.apply({ kind: "release", id: 9, token: 1, name: null, ...old });
    expect(answers).toEqual([{ to: "ann@1", message: ["refused", 9, "SESSION_ENDED", expect.any(String)] }]);
    story.apply({ kind: "disconnect", ...old });
    story.check("2 bob acquire disk now -> bob refused LOCK_TIMEOUT");
  });

  test("[R3h] another client cannot take a session over", () =>
    check(`
      0 ann hello
      1 ann resume client=client-eve -> ann ended INVALID`));

  test("[R3i] a session that the server ended cannot be resumed", () =>
    check(`
      0     ann acquire disk     -> ann granted #1
      1     ann away
      10001 -   tick
      10002 ann resume           -> ann ended SESSION_ENDED`));

  test("[R3j] many thousand holds come back in one resume", () => {
    const story = check("0 ann hello\n0 ann sync -> ann welcome", { holdsMax: 20_000 });
    for (let n = 1; n <= 10_000; n++) story.check(`1 ann acquire:${n} lock${n} -> ann granted #${n}`);
    story.check("2 - crash\n3 ann resume");
    for (let n = 1; n <= 10_000; n++) story.check(`3 ann hold #${n} lock${n}`);
    story.check("3 ann sync -> ann welcome back\n4 bob acquire lock9999 now -> bob refused LOCK_TIMEOUT");
    expect(story.engine.counts.holds).toBe(10_000);
  });
});

describe("recovery", () => {
  test("[R4z] a ticket that was never given out is not believed, and nobody has the ticket of another", () =>
    check(`
      0 bob acquire disk                 -> bob granted #1
      1 -   crash
      2 ann hello
      2 ann sync                         -> ann welcome
      3 bob resume
      3 bob hold #1 disk
      3 bob acquire:2 tape 30s ticket=100001 -> bob queued t100001
      4 ann acquire disk                 -> ann queued t100002
      5 bob sync                         -> bob granted #100002, bob welcome back`));

  test("[R4y] at its end queues move in ticket order, whichever locks are older", () =>
    check(`
      0 http1 acquire a:s 30s for=60m    -> http1 granted #1
      0 http2 acquire b:s 30s for=60m    -> http2 granted #2
      0 ann acquire own                  -> ann granted #3
      1 -   crash
      2 http3 acquire c                  -> http3 queued t100001
      3 http4 acquire b:s                -> http4 queued t100002
      4 http5 acquire d                  -> http5 queued t100003
      5 http6 acquire a:s                -> http6 queued t100004
      6 ann resume
      6 ann sync                         -> http3 granted #100002, http4 granted #100003, http5 granted #100004, http6 granted #100005, ann welcome back`));

  test("[R4a] after a crash nothing is granted until every session is back", () =>
    check(`
      0 ann acquire disk         -> ann granted #1
      0 bob acquire tape         -> bob granted #2
      1 -   crash
      2 bob resume
      2 bob hold #2 tape
      2 bob sync                 -> bob welcome back
      3 bob acquire:9 disk       -> bob queued t100001
      4 ann resume
      4 ann hold #1 disk
      4 ann sync                 -> ann welcome back
      5 ann release #1           -> bob granted #100002, ann done true`));

  test("[R4b] recovery ends when the missing have had a full lease of up time", () =>
    check(`
      0     ann acquire disk       -> ann granted #1
      5000  -   crash
      5001  bob acquire disk 60s   -> bob queued t100001
      14000 bob heartbeat          -> bob done null
      14999 -   tick
      15000 -   tick               -> bob granted #100002 | -session ann`));

  test("[R4c] while recovering a request with a wait of 0 gets RECOVERING", () =>
    check(`
      0 ann acquire disk         -> ann granted #1
      1 -   crash
      2 bob acquire tape now     -> bob refused RECOVERING`));

  test("[R4d] while recovering check is true for a known holder, and else waits for the end", () =>
    check(`
      0 ann acquire disk         -> ann granted #1
      0 http1 acquire tape       -> http1 granted #2
      1 -   crash
      2 bob check tape           -> bob done true
      3 bob check disk
      3 bob check:9 none
      4 ann resume
      4 ann hold #1 disk
      4 ann sync                 -> bob done true, bob done false, ann welcome back`));

  test("[R4e] a check that waits for the end of recovery is refused at its time-out", () =>
    check(`
      0    ann acquire disk      -> ann granted #1
      1    -   crash
      2    bob check disk 1s
      1002 -   tick              -> bob refused RECOVERING`));

  test("[R4f] while recovering an unlock of an unknown holder waits, and of a detached hold works", () =>
    check(`
      0 ann acquire disk         -> ann granted #1
      0 http1 acquire tape       -> http1 granted #2
      1 -   crash
      2 bob unlock tape          -> bob done true
      3 bob unlock disk
      4 ann resume
      4 ann hold #1 disk
      4 ann sync                 -> bob refused NOT_HELD, ann welcome back`));

  test("[R4g] inspect works and says that the service recovers", () => {
    const story = check("0 ann acquire disk -> ann granted #1\n1 - crash");
    expect(story.play("2 bob inspect disk").answers[0]!.message[2]).toMatchObject({
      held: false,
      recovering: true,
    });
  });

  test("[R4h] waiters from before the crash keep their order", () =>
    check(`
      0 ann acquire disk           -> ann granted #1
      1 bob acquire:1 disk         -> bob queued t1
      2 cid acquire:1 disk         -> cid queued t2
      3 -   crash
      4 cid resume
      4 cid acquire:1 disk 30s ticket=2 -> cid queued t2
      4 cid sync                   -> cid welcome back
      5 bob resume
      5 bob acquire:1 disk 30s ticket=1 -> bob queued t1
      5 bob sync                   -> bob welcome back
      6 ann resume
      6 ann sync                   -> bob granted #100002, ann welcome back`));

  test("[R4i] a ticket is believed in a session's first resume only", () =>
    check(`
      0 ann acquire disk           -> ann granted #1
      1 bob acquire:1 disk         -> bob queued t1
      2 cid acquire:1 disk 30s ticket=1 -> cid queued t2`));

  test("[R4j] recovery waits for nobody when no session was open", () =>
    check(`
      0 http1 acquire disk       -> http1 granted #1
      1 -     crash
      2 bob   acquire tape now   -> bob granted #100002
      3 bob   check disk         -> bob done true`));

  test("[R3k] a claim is refused when its token was never given out", () =>
    check(`
      0 ann acquire disk         -> ann granted #1
      1 -   crash
      2 ann resume
      2 ann hold #100002 disk    -> ann lost #100002
      2 ann sync                 -> ann welcome back
      3 bob acquire disk         -> bob granted #100002`));

  test("[R3l] of two claims to one lock the higher token has it", () =>
    check(`
      0 ann acquire disk         -> ann granted #1
      0 bob acquire tape         -> bob granted #2
      1 -   crash
      2 ann resume
      2 ann hold #1 disk
      3 bob resume
      3 bob hold #2 disk         -> ann lost #1
      3 bob sync                 -> bob welcome back
      3 ann sync                 -> ann welcome back
      4 ann release #1           -> ann refused NOT_HELD
      5 bob release #2           -> bob done true`));

  test("[R3m] a claim never takes a lock from a detached hold", () =>
    check(`
      0 http1 acquire disk       -> http1 granted #1
      0 ann   acquire tape       -> ann granted #2
      1 -     crash
      2 ann   resume
      2 ann   hold #2 disk       -> ann lost #2
      2 ann   sync               -> ann welcome back
      3 ann   check disk         -> ann done true`));

  test("[R3n] a restored hold keeps its longest and shortest time", () =>
    check(`
      0     ann acquire disk 30s max=8s -> ann granted #1
      0     ann acquire tape 30s min=8s -> ann granted #2
      1000  -   crash
      2000  ann resume
      2000  ann hold #1 disk heldMs=2000 maxHoldMs=8000
      2000  ann hold #2 tape heldMs=2000 minHoldMs=8000
      2000  ann sync             -> ann welcome back
      2001  ann release #2       -> ann done true | +hold #2
      8000  -   tick             -> ann lost #1 | +previous disk, -hold #2`));

  test("[R5a] after a clean stop nobody is waited for, and session holds are still held", () =>
    check(`
      0 ann acquire disk         -> ann granted #1
      1 -   stop
      2 bob acquire tape         -> bob granted #2
      3 bob acquire disk now     -> bob refused LOCK_TIMEOUT
      4 ann resume
      4 ann hold #1 disk
      4 ann sync                 -> ann welcome back`));

  test("[R5b] the list of a clean stop is erased by the start that reads it", () => {
    const story = check("0 ann acquire disk -> ann granted #1\n1 - stop -> | -hold #1, -stopped");
    expect([...story.durable.keys()]).toEqual(["session/session-ann", "ceiling/"]);
    // The next crash therefore recovers, instead of believing the old list.
    story.check("2 - crash\n3 bob acquire tape now -> bob refused RECOVERING");
  });

  test("[R5c] a session that does not return after a clean stop ends a lease later", () =>
    check(`
      0     ann acquire disk       -> ann granted #1
      5000  -   stop
      6000  bob acquire disk 60s   -> bob queued t1
      14000 bob heartbeat          -> bob done null
      14999 -   tick
      15000 -   tick               -> bob granted #2 after #1 by expiry`));

  test("[Q6n] what a client has acknowledged leaves nothing behind: neither its grant nor its unlock is kept for a crash", () => {
    const kept = (story: ReturnType<typeof check>) =>
      [...story.durable.keys()].filter((key) => key.startsWith("answer/")).sort();
    const story = check(`
      0 ann acquire:1 disk 30s for=60s -> ann granted #1
      1 ann ack 1                      ->
      2 ann unlock:2 disk              -> ann done true`);
    // The grant was heard of before its hold ended; the unlock was not yet.
    expect(kept(story)).toEqual(["answer/client-ann/2"]);
    story.check("3 ann ack 2 ->");
    expect(kept(story)).toEqual([]);
    // Not heard of: both are kept, and answered again after a crash.
    story.check(`
      4 ann acquire:3 disk 30s for=60s -> ann granted #2
      5 ann unlock:4 disk              -> ann done true`);
    expect(kept(story)).toEqual(["answer/client-ann/3", "answer/client-ann/4"]);
  });

  test("[R6a] what a missing session has left is durable: a server restarted again and again still ends it", () =>
    check(`
      0     ann acquire disk       -> ann granted #1
      1000  -   crash              -> | +session ann
      4000  -   crash              -> |
      8000  -   crash              -> |
      10999 -   tick
      11000 -   tick               -> | -session ann`));

  test("[R6b] what a session had left is erased with its resume", () =>
    check(`
      0     ann acquire disk       -> ann granted #1
      1000  -   crash              -> | +session ann
      2000  ann resume             -> | +session ann
      2000  ann hold #1 disk
      2000  ann sync               -> ann welcome back
      9000  -   crash              -> | +session ann
      18999 -   tick
      19000 -   tick               -> | -session ann`));

  test("[R5d] a clean stop does not forget who is still waited for, though he has said hello", () =>
    check(`
      0    ann acquire disk         -> ann granted #1
      1000 -   crash
      2000 ann resume
      3000 -   stop
      4000 bob acquire disk now     -> bob refused RECOVERING
      5000 ann resume
      5000 ann hold #1 disk
      5000 ann sync                 -> ann welcome back
      6000 bob acquire disk now     -> bob refused LOCK_TIMEOUT`));

  test("[R4k] who says hello and never syncs holds recovery up for one lease at most", () =>
    check(`
      0     ann acquire disk        -> ann granted #1
      1000  -   crash
      2000  ann resume
      8000  ann heartbeat           -> ann done null
      9000  ann resume              -> ann ended INVALID
      11999 -   tick
      12000 -   tick                -> ann ended SESSION_ENDED
      12001 bob acquire disk now    -> bob granted #100002`));

  test("[R3o] a hello that was stuck in the network does not open an ended session again", () =>
    check(`
      0     ann bye                   -> ann done true
      1000  ann hello connection=1    -> ann ended SESSION_ENDED
      60000 -   tick`));

  test("[Q7h] a waiter whose session is back and has not spoken of it is passed over", () =>
    check(`
      0 ann acquire disk              -> ann granted #1
      1 bob acquire:1 disk            -> bob queued t1
      2 cid acquire disk              -> cid queued t2
      3 bob away
      4 bob resume
      5 ann release #1                -> cid granted #2, ann done true
      6 bob sync                      -> bob welcome back
      7 cid release #2                -> cid done true`));

  test("[L7e] the shortest time of a detached hold outlives a restart", () =>
    check(`
      0    ann acquire disk 30s for=300s min=60s -> ann granted #1
      1000 -   crash
      2000 bob unlock disk            -> bob done true
      2001 bob acquire disk now       -> bob refused RECOVERING
      3000 ann resume
      3000 ann sync                   -> ann welcome back
      3001 bob acquire disk now       -> bob refused LOCK_TIMEOUT`));
});
