import type { LockInfo, ServerMessage } from "lockdb/protocol";
import { describe, expect, test } from "vitest";
import { sweepAnswers } from "../../src/engine/answers.js";
import { Totals } from "../../src/engine/totals.js";
import { check, Story } from "./story.js";

/** What is answered to a line, in full. */
function told(story: Story, line: string): readonly ServerMessage[] {
  return story.play(line).answers.map(({ message }) => message);
}

describe("what answers say", () => {
  test("[Q2ia] who is queued hears how many stand before it, now and whenever it asks again", () => {
    const story = check(`
      0 ann acquire disk     -> ann granted #1
      1 bob acquire disk     -> bob queued t1`);
    expect(told(story, "2 cid acquire disk")).toEqual([["queued", 1, 2, 1]]);
    expect(told(story, "3 http1 call:r disk 60s")).toEqual([["queued", 1, 3, 2]]);
    story.play("4 http1 leave");
    story.play("5 bob cancel:1");
    expect(told(story, "6 http2 call:r disk 60s")).toEqual([["queued", 1, 3, 1]]);
    expect(told(story, "7 cid acquire:1 disk")).toMatchObject([["queued", 1, 2, expect.any(Number)]]);
  });

  test("[Q10ib] a refused set is told who has the first of its locks that anybody has", () => {
    const story = check("0 ann acquire tape -> ann granted #1");
    expect(told(story, "500 bob acquire disk+tape now")).toMatchObject([
      ["refused", 1, "LOCK_TIMEOUT", expect.any(String), { holder: { token: 1, heldForMs: 500 }, ahead: 0 }],
    ]);
    story.play("600 cid acquire tape forever");
    expect(told(story, "700 bob acquire tape now")).toMatchObject([
      ["refused", 2, "LOCK_TIMEOUT", expect.any(String), { holder: { token: 1 }, ahead: 1 }],
    ]);
  });

  test("[Q9kh] a look shows who leads, and who was asked to give it back", () => {
    const story = check(`
      0 ann acquire disk leads=true   -> ann granted #1
      1 bob acquire tape              -> bob granted #2
      2 http1 ask #1 disk             -> ann asked #1: repair, http1 done {"told":true}`);
    const holder = (name: string) =>
      (told(story, `3 cid inspect ${name}`)[0]![2] as unknown as { holders: object[] }).holders[0];
    expect(holder("disk")).toMatchObject({ leads: true, askedFor: "repair" });
    expect(holder("tape")).not.toHaveProperty("leads");
    expect(holder("tape")).not.toHaveProperty("askedFor");
  });
});

describe("what is written down of a hold", () => {
  const written = (line: string, options = {}) => {
    const { changes } = new Story(options).play(line);
    return changes.find(({ type }) => type === "hold")?.value;
  };

  test("[R1ia] is all that a restart needs, and nothing that it has not", () => {
    expect(written("5 http acquire disk for=9s")).toEqual({
      names: "disk",
      owner: "http",
      grantedAtMs: 5,
      expiresAtMs: 9_005,
      metadata: {},
      request: null,
      remainder: false,
    });
    expect(written("5 ann acquire a:s+b:2/3 for=9s min=1s leads=true")).toMatchObject({
      names: [
        ["a", "shared"],
        ["b", 3, 2],
      ],
      leads: true,
      minUntilMs: 1_005,
      request: "client-ann/1",
    });
    expect(written("5 http1 call:r disk lease=7s")).toMatchObject({ leaseMs: 7_000 });
    const strict = { writesSessionHolds: true };
    expect(written("5 ann acquire disk max=7s", strict)).toMatchObject({
      expiresAtMs: null,
      maxUntilMs: 7_005,
      session: "session-ann",
    });
  });
});

describe("what is written down for the first time", () => {
  test("[R1ib] is said to be new, and only then: a hold with its grant, a durable answer", () => {
    const story = new Story();
    const newIn = (line: string) =>
      story
        .play(line)
        .changes.flatMap((change) =>
          "isNew" in change && change.isNew ? [`${change.type} ${change.id}`] : [],
        );
    expect(newIn("0 http1 call:r disk lease=10s")).toEqual(["hold 1"]);
    expect(newIn("3000 http2 renew #1")).toEqual([]);
    expect(newIn("4000 ann acquire tape for=9s min=1s")).toEqual(["hold 2"]);
    // What remains of it is under the same token.
    expect(newIn("4500 ann release #2")).toEqual(["answer client-ann/2"]);
  });
});

describe("two requests under one id, which is a mistake of their client", () => {
  test("[R1ic] the answer of the one is forgotten when the other is granted: what is in the store is found by its request", () => {
    const story = check(`
      0 own acquire x forever for=300s   -> own granted #1
      0 a hello client=c                 ->
      0 a sync                           -> a welcome
      0 b hello client=c                 ->
      0 b sync                           -> b welcome
      1 a acquire:1 x forever for=5s     -> a queued t1
      2 b acquire:1 y forever for=60s    -> b granted #2
      3 b release:2 #2                   -> b done true
      4 own release #1                   -> a granted #3, own done true`);
    expect([...story.durable.keys()]).not.toContain("answer/c/1");
    // A story sees that what is said to be new is so.
    story.play("5 a release:3 #3");
    expect(story.durable.get("answer/c/1")!.value).toMatchObject({ message: ["granted", 1, 3] });
    story.play("60005 - tick");
    expect([...story.durable.keys()].filter((key) => key.startsWith("answer/c/"))).toEqual([]);
  });

  test("[R1ic] holds of which a crash has left no request take no answer from each other", () => {
    const story = check(`
          0 ann acquire a forever min=40s     -> ann granted #1
          0 ann acquire b forever min=70s     -> ann granted #2
         10 -   crash
         20 ann resume                        ->
         20 ann hold #1 a minHoldMs=40s heldMs=1s ->
         20 ann hold #2 b minHoldMs=70s heldMs=1s ->
         20 ann sync                          -> ann welcome back
         30 ann release #1                    -> ann done true
         30 ann release #2                    -> ann done true
        100 -   crash
      45000 -   tick
      45010 -   crash`);
    for (const line of ["80000 - tick", "80010 - crash", "200000 - tick"]) story.play(line);
    expect([...story.durable.keys()].filter((key) => /^(answer|hold)/.test(key))).toEqual([]);
  });
});

describe("answers that nobody has acknowledged", () => {
  test("[Q6ia] are kept for a minute, and as long as their hold or their waiter lives; they are looked at every ten seconds", () => {
    const answers = new Map([
      [1, { message: ["granted", 1, 7] }],
      [2, { message: ["granted", 2, 8] }],
      [3, { message: ["done", 3, true] }],
      [4, { message: null }],
    ] as const) as unknown as Map<number, { atMs: number }>;
    for (const [id, answer] of answers) answers.set(id, { ...answer, atMs: 1_000 });
    const session = { answers, sweepAtMs: 0 };
    const holds = { has: (token: number) => token === 7 };
    const sweep = (nowMs: number) => {
      sweepAnswers(session as never, holds as never, nowMs);
      return [...answers.keys()];
    };
    expect(sweep(60_999)).toEqual([1, 2, 3, 4]);
    // It has just looked.
    expect(sweep(70_998)).toEqual([1, 2, 3, 4]);
    expect(sweep(70_999)).toEqual([1, 4]);
    expect(answers.get(1)?.atMs).toBe(70_999);
    expect(session.sweepAtMs).toBe(80_999);
  });
});

describe("limits and ends", () => {
  test("[N3ia] an account that is full is granted nothing, and one whose waiters are full does not wait", () => {
    const full = new Set<string>();
    const story = new Story({ isFull: (what: string) => full.has(what) });
    story.check("0 ann acquire disk -> ann granted #1");
    full.add("holds");
    story.check("1 bob acquire tape -> bob refused LIMIT_EXCEEDED");
    full.clear();
    full.add("waiters");
    story.check(`
      2 bob acquire disk     -> bob refused LIMIT_EXCEEDED
      3 bob acquire disk now -> bob refused LOCK_TIMEOUT
      4 bob acquire tape     -> bob granted #2`);
  });

  test("[Q11ia] of more lost holds than a service remembers the oldest are forgotten, again and again", () => {
    const story = new Story({ lostMax: () => 2 });
    for (let n = 1; n <= 7; n++) {
      story.play(`${n * 10} http${n} acquire l${n} for=1ms`);
      story.play(`${n * 10 + 5} - tick`);
    }
    const remembered = [...story.durable.values()].filter(({ type }) => type === "previous");
    expect(remembered.map(({ id }) => id)).toEqual(["l6", "l7"]);
    story.check(`
      200 ann acquire l5     -> ann granted #8
      201 ann acquire l6     -> ann granted #9 after #6 by expiry`);
  });

  test("[R3xd] whose session comes back on another connection is passed over until all is said there", () =>
    check(`
      0 ann acquire disk     -> ann granted #1
      1 bob acquire disk     -> bob queued t1
      2 cid acquire disk     -> cid queued t2
      3 bob resume           -> bob ended INVALID
      4 ann release #1       -> cid granted #2, ann done true
      5 bob acquire:1 disk ticket=1 -> bob queued t1
      6 bob sync             -> bob welcome back
      7 cid release #2       -> bob granted #3, cid done true`));

  test("[F3ia] a service that is to start above some numbers begins there", () => {
    const story = new Story();
    story.engine.startAbove(500, 70);
    story.check(`
      0 ann acquire disk         -> ann granted #500
      1 bob acquire disk         -> bob queued t70`);
  });

  test("[R4ia] a question that does not wait is refused at once while the service recovers", () =>
    check(`
      0 ann acquire disk         -> ann granted #1
      1 -   crash
      2 bob check tape 0         -> bob refused RECOVERING
      3 bob unlock tape 0        -> bob refused RECOVERING
      4 bob check tape 5s
      5 ann resume
      5 ann sync                 -> bob done false, ann welcome back`));

  test("[Q4kd] who wants other permits is refused while somebody has the lock, and not when nobody has it", () =>
    check(`
      0 ann acquire pool:1/3     -> ann granted #1
      1 bob acquire pool:1/4 now -> bob refused PERMITS_MISMATCH
      2 bob acquire pool now     -> bob refused PERMITS_MISMATCH
      3 bob acquire pool:1/3 now -> bob granted #2
      4 ann release #1           -> ann done true
      5 bob release #2           -> bob done true
      6 bob acquire pool:1/4 now -> bob granted #3`));

  test("[N3ib] a session that has as many calls and holds as it may gets no more", () => {
    const story = new Story({ holdsMax: 2 });
    story.check(`
      0 http1 open s             -> http1 done {"session":"s","leaseMs":10000,"resumed":false}
      1 http2 call:a disk of=s   -> http2 granted #1 for 10000
      2 http3 call:b disk of=s   -> http3 queued t1
      3 http4 call:c tape of=s   -> http4 refused LIMIT_EXCEEDED
      4 http5 giveback #1 of=s   -> http3 granted #2 for 10000, http5 done true
      5 http6 call:c tape of=s   -> http6 granted #3 for 10000`);
  });

  test("[Q7ie] who goes away twice before all is said stands where it stood, and is in nobody's way meanwhile", () =>
    check(`
      0 ann acquire disk            -> ann granted #1
      0 bob acquire disk forever    -> bob queued t1
      0 cid acquire disk forever    -> cid queued t2
      1 bob away
      2 bob resume
      3 bob away
      4 ann release #1              -> cid granted #2, ann done true
      5 dan acquire disk forever    -> dan queued t3
      6 bob resume
      6 bob acquire:1 disk forever  -> bob queued t1
      6 bob sync                    -> bob welcome back
      7 cid release #2              -> bob granted #3, cid done true
      8 bob release #3              -> dan granted #4, bob done true`));

  test("[C5ia] what remains of a hold has no webhook: that it was opened by force is told to nobody", () => {
    const story = new Story();
    const owed = (line: string) => story.play(line).changes.filter(({ type }) => type === "delivery").length;
    expect(owed("0 http1 acquire disk 30s for=20s min=10s hook=u")).toBe(0);
    expect(owed("1 ann release #1")).toBe(1);
    expect(owed("2 ann force #1 disk")).toBe(0);
    story.check("3 bob acquire disk now -> bob granted #2");
  });

  test("[R3xf] a connection that is not newer than the present one does not take a session over", () =>
    check(`
      0 ann acquire disk             -> ann granted #1
      1 ann resume connection=1      -> ann ended INVALID
      2 ann resume connection=2      -> ann ended INVALID`));

  test("[L4ia] an HTTP session that is opened again is renewed by that", () =>
    check(`
          0 http1 open s 10s -> http1 done {"session":"s","leaseMs":10000,"resumed":false}
       9000 http2 open s 10s -> http2 done {"session":"s","leaseMs":10000,"resumed":true}
      15000 -     tick
      15001 http3 keep s     -> http3 done {"session":"s","leaseMs":10000,"resumed":true}
      25001 -     tick
      25002 http4 keep s     -> http4 refused SESSION_ENDED`));

  test("[L4ib] what is only closed is not renewed, and a session that never was gives nothing back", () =>
    check(`
          0 http1 call:r disk min=20s       -> http1 granted #1 for 30000
          1 http2 giveback #1               -> http2 done true
          2 http3 renew #1                  -> http3 refused NOT_HELD
          3 http4 giveback #1 of=nobody     -> http4 refused SESSION_ENDED
          4 http5 giveback #1               -> http5 refused NOT_HELD`));

  test("[Q9ki] two lists that stand before a lock that ends both go on behind it", () => {
    const story = new Story();
    for (let n = 1; n <= 4; n++) story.play(`0 ann acquire l${n}`);
    const page = (next?: string) => {
      const query = next === undefined ? { limit: 1 } : { next };
      const answer = story.apply({ kind: "list", session: null, address: "http", id: 1, query });
      return answer.answers[0]!.message[2] as unknown as { locks: { name: string }[]; next: string };
    };
    const lists = [page(), page()];
    const survey = story.engine.survey();
    survey.step(1);
    story.play("1 ann release #2");
    for (const { next } of lists) expect(page(next).locks.map(({ name }) => name)).toEqual(["l3", "l4"]);
    survey.step(10);
    expect(survey.isDone).toBe(true);
  });

  test("[I6zh] what a restart takes up is counted, but for what is only closed; and deadlocks are", () => {
    const totals = new Totals();
    const story = new Story({ totals });
    story.check(`
      0 http1 acquire disk for=60s        -> http1 granted #1
      1 http2 acquire tape for=60s min=30s -> http2 granted #2
      2 ann   release #2                  -> ann done true
      3 -     crash
      4 ann   bye                         -> ann done true
  20000 -     tick
  20001 cid   acquire a                   -> cid granted #100002
  20002 dan   acquire b                   -> dan granted #100003
  20003 cid   acquire b forever within=#100002 -> cid queued t100001
  20004 dan   acquire a forever within=#100003 -> dan refused DEADLOCK`);
    expect(totals.restored).toBe(1);
    expect(story.engine.tally.deadlocks).toBe(1);
  });

  test("[I6zg] a service counts its grants, who was queued, and how holds ended", () => {
    const story = check(`
      0 ann acquire disk         -> ann granted #1
      1 bob acquire disk         -> bob queued t1
    300 ann release #1           -> bob granted #2, ann done true
    301 http acquire tape for=1s -> http granted #3
   2000 -   tick`);
    expect(story.engine.tally).toMatchObject({ granted: 3, queued: 1, released: 1, expired: 1, forced: 0 });
    expect(story.engine.tally.waits.reduce((sum, count) => sum + count)).toBe(3);
    expect(story.engine.counts).toEqual({ sessions: 2, holds: 1, locks: 1, waiters: 0, nested: 0 });
  });
});

describe("what those who watch are told", () => {
  /** `type names #token tTICKET`, and what more is said. */
  const events = (text: string) => {
    const story = new Story();
    story.events = [];
    story.check(text);
    return story.events.map(({ type, names, owner, token, ticket, ...more }) =>
      [
        `${type} ${names.join("+")} ${owner}`,
        ...(token === undefined ? [] : [`#${token}`]),
        ...(ticket === undefined ? [] : [`t${ticket}`]),
        ...Object.entries(more).map(([name, value]) => `${name}=${JSON.stringify(value)}`),
      ].join(" "),
    );
  };

  test("[Q9kj] is each thing that happens to holds and waiters, once, in order, with what concerns it", () => {
    expect(
      events(`
          0 ann acquire disk leads=true         -> ann granted #1
          1 bob acquire disk+tape leads=true    -> bob queued t1
          2 cid acquire disk                    -> cid queued t2
          3 dan acquire disk 5s                 -> dan queued t3
          4 cid cancel:1                        -> cid done true
          5 http1 ask #1 disk                   -> ann asked #1: repair, http1 done {"told":true}
          6 ann release #1                      -> bob granted #2, ann done true
          7 http2 force #2 disk                 -> bob lost #2 by force, dan granted #3 after #2 by force, http2 done true
          8 dan release #3                      -> dan done true
          9 eve acquire disk min=1s for=2s      -> eve granted #4
         10 eve release #4                      -> eve done true
         11 fay acquire disk 100ms              -> fay queued t4
        111 -   tick                            -> fay refused LOCK_TIMEOUT
       1009 -   tick
       1010 http3 acquire tape for=1s           -> http3 granted #5 after #2 by force
       2010 -   tick`),
    ).toEqual([
      "granted disk ann #1 leads=true",
      "queued disk+tape bob t1 leads=true",
      "queued disk cid t2",
      "queued disk dan t3",
      'left disk cid t2 reason="cancelled"',
      'asked disk ann #1 leads=true reason="repair"',
      "released disk ann #1 leads=true",
      "granted disk+tape bob #2 t1 leads=true",
      'forced disk+tape bob #2 leads=true reason="it hangs"',
      "granted disk dan #3 t3",
      "released disk dan #3",
      "granted disk eve #4",
      "released disk eve #4 closedForMs=999",
      "queued disk fay t4",
      'left disk fay t4 reason="timed out"',
      "opened disk eve #4",
      "granted tape http3 #5",
      "expired tape http3 #5",
    ]);
  });

  test("[Q9kk] a claim is told as restored, and who has to give way to it as expired", () => {
    expect(
      events(`
        0 ann acquire disk  -> ann granted #1
        0 bob acquire tape  -> bob granted #2
        1 -   crash
        2 ann resume
        2 ann hold #1 disk
        2 ann sync          -> ann welcome back
        3 bob resume
        3 bob hold #2 disk  -> ann lost #1
        3 bob sync          -> bob welcome back`).slice(2),
    ).toEqual(["restored disk ann #1", "expired disk ann #1", "restored disk bob #2"]);
  });

  test("[Q9kl] a set of many names is shown with sixteen of them, a lock with a hundred of its holders and waiters", () => {
    const names = Array.from({ length: 17 }, (_, n) => `l${n}`);
    const story = check(`0 ann acquire ${names.join("+")} -> ann granted #1`);
    const inspect = (name: string) => told(story, `1 zoe inspect ${name}`)[0]![2] as unknown as LockInfo;
    expect(inspect("l3").holders[0]?.names).toEqual(names.slice(0, 16));
    const many = new Story({ waitersMax: 1_000, holdsMax: 1_000 });
    for (let n = 0; n < 102; n++) many.play(`0 http${n} acquire pool:s`);
    for (let n = 0; n < 102; n++) many.play(`0 http${n}x acquire pool forever`);
    const { holders, holderCount, queue, queueLength } = told(
      many,
      "1 zoe inspect pool",
    )[0]![2] as unknown as LockInfo;
    expect([holders.length, holderCount, queue.length, queueLength]).toEqual([100, 102, 100, 102]);
  });
});
