import { describe, expect, test } from "vitest";
import { check, Story } from "./story.js";

describe("shared and exclusive", () => {
  test("[Q4a] any number share a lock, never beside an exclusive holder", () =>
    check(`
      0 ann acquire disk:s         -> ann granted #1
      1 bob acquire disk:s         -> bob granted #2
      2 cid acquire disk now       -> cid refused LOCK_TIMEOUT
      3 cid acquire disk           -> cid queued t1
      4 ann release #1             -> ann done true
      5 bob release #2             -> cid granted #3, bob done true
      6 ann acquire disk:s now     -> ann refused LOCK_TIMEOUT`));

  test("[Q4b] a shared request behind a queued exclusive one waits, so that writers do not starve", () =>
    check(`
      0 ann acquire disk:s         -> ann granted #1
      1 bob acquire disk           -> bob queued t1
      2 cid acquire disk:s         -> cid queued t2
      3 dan acquire disk:s now     -> dan refused LOCK_TIMEOUT
      4 ann release #1             -> bob granted #2, ann done true
      5 bob release #2             -> cid granted #3, bob done true`));

  test("[Q4c] all who share and stand together are granted in one step", () =>
    check(`
      0 ann acquire disk           -> ann granted #1
      1 bob acquire disk:s         -> bob queued t1
      2 cid acquire disk:s         -> cid queued t2
      3 dan acquire disk           -> dan queued t3
      4 eve acquire disk:s         -> eve queued t4
      5 ann release #1             -> bob granted #2, cid granted #3, ann done true
      6 bob release #2             -> bob done true
      7 cid release #3             -> dan granted #4, cid done true
      8 dan release #4             -> eve granted #5, dan done true`));

  test("[Q4d] who leaves the queue does not hold up those behind him", () =>
    check(`
      0    ann acquire disk:s      -> ann granted #1
      1    bob acquire:5 disk      -> bob queued t1
      2    cid acquire disk:s      -> cid queued t2
      3    bob cancel:5            -> cid granted #2, bob done true
      4    bob acquire disk 1s     -> bob queued t3
      5    dan acquire disk:s      -> dan queued t4
      1004 -   tick                -> dan granted #3, bob refused LOCK_TIMEOUT
      1005 bob acquire disk        -> bob queued t5
      1006 eve acquire disk:s      -> eve queued t6
      1007 bob away                -> eve granted #4`));
});

describe("semaphores", () => {
  test("[Q4e] as many permits as there are, in the order of asking", () =>
    check(`
      0 ann acquire pool:2/3       -> ann granted #1
      1 bob acquire pool:1/3       -> bob granted #2
      2 cid acquire pool:1/3       -> cid queued t1
      3 dan acquire pool:2/3       -> dan queued t2
      4 bob release #2             -> cid granted #3, bob done true
      5 ann release #1             -> dan granted #4, ann done true`));

  test("[Q4f] who needs more than is left is not passed by who needs less", () =>
    check(`
      0 ann acquire pool:2/3       -> ann granted #1
      1 bob acquire pool:2/3       -> bob queued t1
      2 cid acquire pool:1/3       -> cid queued t2
      3 ann release #1             -> bob granted #2, cid granted #3, ann done true`));

  test("[Q4g] another number of permits than that of the holders is refused", () =>
    check(`
      0 ann acquire pool:1/3       -> ann granted #1
      1 bob acquire pool:1/4       -> bob refused PERMITS_MISMATCH
      2 bob acquire pool           -> bob refused PERMITS_MISMATCH
      3 bob acquire pool:s         -> bob refused PERMITS_MISMATCH
      4 ann release #1             -> ann done true
      5 bob acquire pool:1/4       -> bob granted #2
      6 bob release #2             -> bob done true
      7 bob acquire pool           -> bob granted #3
      8 ann acquire pool:1/4       -> ann refused PERMITS_MISMATCH`));
});

describe("sets", () => {
  test("[Q5a] all in one step, or none", () =>
    check(`
      0 ann acquire a+b+c          -> ann granted #1
      1 bob acquire b now          -> bob refused LOCK_TIMEOUT
      2 bob acquire b+d            -> bob queued t1
      3 cid acquire d now          -> cid refused LOCK_TIMEOUT
      4 ann release #1             -> bob granted #2, ann done true
      5 cid acquire a+c            -> cid granted #3
      6 bob release #2             -> bob done true
      7 dan acquire b+d            -> dan granted #4`));

  test("[Q5b] nobody who is in its way passes it, and whoever is not does", () =>
    check(`
      0 ann acquire a              -> ann granted #1
      1 bob acquire a+b            -> bob queued t1
      2 cid acquire b              -> cid queued t2
      3 dan acquire c              -> dan granted #2
      4 ann release #1             -> bob granted #3, ann done true
      5 bob release #3             -> cid granted #4, bob done true`));

  test("[Q5c] each lock in its own mode", () =>
    check(`
      0 ann acquire a:s+b          -> ann granted #1
      1 bob acquire a:s            -> bob granted #2
      2 cid acquire a:s+b:s        -> cid queued t1
      3 dan acquire a              -> dan queued t2
      4 ann release #1             -> cid granted #3, ann done true
      5 bob release #2             -> bob done true
      6 cid release #3             -> dan granted #4, cid done true`));

  test("[Q5d] sets that overlap in a ring neither deadlock nor starve", () =>
    check(`
      0 ann acquire a+b            -> ann granted #1
      1 bob acquire b+c            -> bob queued t1
      2 cid acquire c+a            -> cid queued t2
      3 dan acquire a+b+c          -> dan queued t3
      4 ann release #1             -> bob granted #2, ann done true
      5 bob release #2             -> cid granted #3, bob done true
      6 cid release #3             -> dan granted #4, cid done true`));

  test("[Q5e] a set is one hold: its end frees all, whatever ends it", () =>
    check(`
      0     ann acquire a+b 30s max=1s   -> ann granted #1
      1000  -   tick                     -> ann lost #1
      1001  bob acquire a                -> bob granted #2 after #1 by expiry
      1001  cid acquire b                -> cid granted #3 after #1 by expiry
      1002  bob release #2               -> bob done true
      1002  cid release #3               -> cid done true
      1003  http1 acquire a+b            -> http1 granted #4
      1004  cid unlock a                 -> cid refused NOT_HELD
      1005  cid release #4 b             -> cid done true
      1006  ann acquire a+b 30s min=60s  -> ann granted #5
      1007  ann release #5               -> ann done true
      1008  bob acquire b now            -> bob refused LOCK_TIMEOUT
      1009  bob force #5 b               -> bob done true
      1010  bob acquire a+b now          -> bob granted #6`));

  test("[Q5g] ten thousand who share one lock and wait for another cost its hand-overs and time-outs next to nothing", () => {
    const story = new Story({ holdsMax: 20_000, waitersMax: 20_000 });
    story.play("0 ann acquire tenant:s+hot");
    for (let n = 0; n < 10_000; n++) story.play("0 bob acquire tenant:s+hot 5s");
    for (let token = 1; token <= 1_000; token++) {
      const { answers } = story.play(`1 ${token === 1 ? "ann" : "bob"} release #${token}`);
      expect(answers[0]!.message.slice(0, 3)).toEqual(["granted", token, token + 1]);
    }
    expect(story.play("5001 - tick").answers.filter(({ message }) => message[0] === "refused")).toHaveLength(
      9_000,
    );
  }, 20_000);

  test("[Q5h] who has room in one queue and waits in another is still before those who come later", () =>
    check(`
      0 ann acquire b              -> ann granted #1
      1 bob acquire a+b            -> bob queued t1
      2 cid acquire a:s            -> cid queued t2
      3 eve acquire a              -> eve queued t3
      4 ann release #1             -> bob granted #2, ann done true
      5 bob release #2             -> cid granted #3, bob done true
      6 cid release #3             -> eve granted #4, cid done true`));

  test("[Q5i] a lock that is taken by force from those who had room for more is given back to all who wait", () =>
    check(`
      0 ann acquire b              -> ann granted #1
      1 bob acquire a:s            -> bob granted #2
      2 cid acquire a:s+b          -> cid queued t1
      3 eve acquire a steal=op     -> bob lost #2 by force, eve granted #3 after #2 by force
      4 ann release #1             -> ann done true
      5 eve release #3             -> cid granted #4, eve done true`));

  test("[Q5f] a set survives a crash as it was, and a claim to part of it is none", () =>
    check(`
      0 ann   acquire a:s+b        -> ann granted #1
      0 bob   acquire c            -> bob granted #2
      0 http1 acquire d+e:2/3      -> http1 granted #3
      1 -     crash
      2 bob   resume
      2 bob   hold #2 c
      2 bob   sync                 -> bob welcome back
      3 ann   resume
      3 ann   hold #1 a:s+b
      3 ann   sync                 -> ann welcome back
      4 cid   acquire b now        -> cid refused LOCK_TIMEOUT
      4 cid   acquire a:s now      -> cid granted #100002
      4 cid   acquire d now        -> cid refused LOCK_TIMEOUT
      4 cid   acquire e:1/3 now    -> cid granted #100003
      5 ann   away
      6 ann   resume
      6 ann   hold #1 a            -> ann lost #1
      6 ann   sync                 -> ann welcome back`));

  test("[R3ak] of claims that are in each other's way the lower tokens are over, and others stay", () =>
    check(`
      0 ann acquire a:s            -> ann granted #1
      0 bob acquire b              -> bob granted #2
      0 cid acquire c              -> cid granted #3
      0 dan acquire d              -> dan granted #4
      1 -   crash
      2 ann resume
      2 ann hold #1 a:s
      2 bob resume
      2 bob hold #2 a:s
      3 cid resume
      3 cid hold #3 a              -> bob lost #2, ann lost #1
      4 dan resume
      4 dan hold #4 a:s            -> cid lost #3
      5 bob hold #2 b
      5 bob sync                   -> bob welcome back`));

  test("[Q9d] inspect shows modes, sets, and all who hold", () => {
    const story = check(`
      0 ann acquire a:s+b          -> ann granted #1
      1 bob acquire a:s            -> bob granted #2
      2 cid acquire a+c            -> cid queued t1`);
    expect(story.play("3 dan inspect a").answers[0]!.message[2]).toMatchObject({
      held: true,
      holders: [
        { token: 2, owner: "bob", mode: "shared" },
        { token: 1, owner: "ann", mode: "shared", names: ["a", "b"] },
      ],
      queue: [{ owner: "cid", mode: "exclusive", names: ["a", "c"] }],
    });
    story.check("4 dan acquire pool:2/3 -> dan granted #3");
    expect(story.play("5 dan inspect pool").answers[0]!.message[2]).toMatchObject({
      holders: [{ mode: "semaphore", permits: 3, weight: 2 }],
    });
  });
});

describe("deadlocks", () => {
  test("[D2a] two who ask for what the other has: the second is refused, and told why", () => {
    const story = check(`
      0 ann acquire a              -> ann granted #1
      1 bob acquire b              -> bob granted #2
      2 ann acquire b 30s within=#1 -> ann queued t1`);
    const [answer] = story.play("3 bob acquire a 30s within=#2").answers;
    expect(answer!.message.slice(0, 3)).toEqual(["refused", 2, "DEADLOCK"]);
    expect(answer!.message[4]).toEqual({
      cycle: [
        'bob (token 2, holding "b") waits for "a", which ann holds (token 1)',
        'ann (token 1, holding "a") waits for "b", which bob holds (token 2)',
      ],
    });
    story.check(`
      4 bob release #2             -> ann granted #3, bob done true`);
  });

  test("[D2b] who says nothing of being inside a hold is never refused", () =>
    check(`
      0 ann acquire a              -> ann granted #1
      1 bob acquire b              -> bob granted #2
      2 ann acquire b              -> ann queued t1
      3 bob acquire a              -> bob queued t2`));

  test("[D2c] a shared holder that asks again behind a queued writer waits for himself", () => {
    const story = check(`
      0 ann acquire a:s            -> ann granted #1
      1 bob acquire a              -> bob queued t1`);
    const [answer] = story.play("2 ann acquire a:s 30s within=#1").answers;
    expect(answer!.message[4]).toEqual({
      cycle: [
        'ann (token 1, holding "a") waits for "a", behind bob (ticket 1), who waits for "a", which ann holds (token 1)',
      ],
    });
  });

  test("[D2d] for a semaphore a cycle needs every holder", () =>
    check(`
      0 ann acquire pool:1/2       -> ann granted #1
      1 bob acquire pool:1/2       -> bob granted #2
      2 cid acquire c              -> cid granted #3
      3 ann acquire c 30s within=#1 -> ann queued t1
      4 cid acquire pool:1/2 30s within=#3 -> cid queued t2
      5 bob acquire c 30s within=#2 -> bob refused DEADLOCK
      6 bob release #2             -> cid granted #4, bob done true
      7 cid release #4             -> cid done true
      8 cid release #3             -> ann granted #5, cid done true`));

  test("[D2e] a long way round is found, through queues and sets", () =>
    check(`
      0 ann acquire a              -> ann granted #1
      1 bob acquire b              -> bob granted #2
      2 cid acquire c              -> cid granted #3
      3 eve acquire x+b            -> eve queued t1
      4 ann acquire x 30s within=#1 -> ann queued t2
      5 bob acquire c 30s within=#2 -> bob queued t3
      6 cid acquire a 30s within=#3 -> cid refused DEADLOCK`));

  test("[D2f] who waits for somebody who will let go is not refused", () =>
    check(`
      0 ann acquire a              -> ann granted #1
      1 bob acquire b              -> bob granted #2
      2 cid acquire c              -> cid granted #3
      3 ann acquire b 30s within=#1 -> ann queued t1
      4 bob acquire c 30s within=#2 -> bob queued t2
      5 cid release #3             -> bob granted #4, cid done true
      6 bob release #4             -> bob done true
      7 bob release #2             -> ann granted #5, bob done true`));

  test("[D2g] a hold whose request was given up, or is away, can let go", () =>
    check(`
      0 ann acquire a              -> ann granted #1
      1 bob acquire b              -> bob granted #2
      2 ann acquire:9 b 30s within=#1 -> ann queued t1
      3 ann cancel:9               -> ann done true
      4 bob acquire:7 a 30s within=#2 -> bob queued t2
      5 bob away
      6 ann acquire:10 b 30s within=#1 -> ann queued t3`));

  test("[D2h] who asks once, without waiting, is busy and not deadlocked", () =>
    check(`
      0 ann acquire a              -> ann granted #1
      1 ann acquire a now within=#1 -> ann refused LOCK_TIMEOUT`));

  test("[D2j] a step names who holds the lock, and through whom he asks for the next", () => {
    const story = check(`
      0 ann acquire a              -> ann granted #1
      1 bob acquire b              -> bob granted #2
      2 cid acquire a 30s within=#2 -> cid queued t1`);
    const [answer] = story.play("3 bob acquire b 30s within=#1").answers;
    expect(answer!.message[4]).toEqual({
      cycle: [
        'ann (token 1, holding "a") waits through bob for "b", which bob holds (token 2)',
        'bob (token 2, holding "b") waits through cid for "a", which ann holds (token 1)',
      ],
    });
  });

  test("[D2k] a cycle begins at the hold to which it comes round, also when that is an inner one", () => {
    const story = check(`
      0 ann acquire a              -> ann granted #1
      1 ann acquire b 30s within=#1 -> ann granted #2
      2 bob acquire c              -> bob granted #3
      3 bob acquire b 30s within=#3 -> bob queued t1`);
    const [answer] = story.play("4 ann acquire c 30s within=#1+#2").answers;
    expect(answer!.message[4]).toEqual({
      cycle: [
        'ann (token 2, holding "b") waits for "c", which bob holds (token 3)',
        'bob (token 3, holding "c") waits for "b", which ann holds (token 2)',
      ],
    });
  });

  test("[D3a] asking again for what an enclosing hold has is a cycle of one", () => {
    const story = check("0 ann acquire a -> ann granted #1");
    expect(story.play("1 ann acquire a 30s within=#1").answers[0]!.message[4]).toEqual({
      cycle: ['ann (token 1, holding "a") waits for "a", which ann holds (token 1)'],
    });
  });

  test("[D3b] with reentrant it is the same hold, also for another session, and for part of a set", () =>
    check(`
      0 ann acquire a+b:s          -> ann granted #1
      1 ann acquire a 30s within=#1 reentrant=true -> ann granted #1 again
      2 bob acquire b:s 30s within=#1 reentrant=true -> bob granted #1 again
      3 bob acquire b 30s within=#1 reentrant=true -> bob refused DEADLOCK
      4 bob acquire a now within=#9 reentrant=true -> bob refused LOCK_TIMEOUT
      5 ann release #1             -> ann done true
      6 bob acquire a now          -> bob granted #2`));

  test("[D3h] giving up a request that entered a hold again does not end the hold", () =>
    check(`
      0 ann acquire a              -> ann granted #1
      1 ann acquire:7 a 30s within=#1 reentrant=true -> ann granted #1 again
      2 ann cancel:7 #1            -> ann done false
      3 bob acquire a now          -> bob refused LOCK_TIMEOUT`));

  test("[D3i] a request that entered a hold again is told when the hold is over by then", () =>
    check(`
      0 ann acquire a              -> ann granted #1
      1 ann acquire:7 a 30s within=#1 reentrant=true -> ann granted #1 again
      2 ann away
      3 bob force #1 a             -> bob done true
      4 ann resume
      4 ann hold #1 a              -> ann lost #1 by force
      4 ann acquire:7 a 30s within=#1 reentrant=true -> ann refused LOCK_LOST
      4 ann sync                   -> ann welcome back`));

  test("[D2r] when the hold around it is over, a request waits as any other", () =>
    check(`
      0 ann acquire a              -> ann granted #1
      1 bob acquire b              -> bob granted #2
      2 ann acquire b forever within=#1 -> ann queued t1
      3 bob force #1 a             -> ann lost #1 by force, bob done true
      4 bob acquire a within=#2    -> bob granted #3 after #1 by force
      5 bob release #2             -> ann granted #4, bob done true`));
});
