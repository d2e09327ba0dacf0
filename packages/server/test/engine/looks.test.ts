import type { LockInfo, SessionPage } from "lockdb/protocol";
import { describe, expect, test } from "vitest";
import { Most } from "../../src/engine/contention.js";
import { Story } from "./story.js";

function looked(text: string, options = {}) {
  const story = new Story(options).check(text);
  const ask = (command: object) =>
    story.apply({ session: null, address: "http", id: 1, ...command } as never).answers[0]!.message[2];
  return {
    story,
    sessions: (after: number, limit: number) => ask({ kind: "sessions", after, limit }) as SessionPage,
    survey: (budget = 1_000) => {
      const survey = story.engine.survey();
      let steps = 0;
      for (; !survey.isDone; steps++) survey.step(budget);
      return { steps, ...survey.found(false, story.nowMs) };
    },
  };
}

describe("the list of sessions", () => {
  test("[Q9ka] has them in the order in which they came, page by page, with what each holds and waits for", () => {
    const { sessions, story } = looked(`
      0 ann acquire disk+tape:s        -> ann granted #1
    100 http1 open cron 30s            -> http1 done {"session":"cron","leaseMs":30000,"resumed":false}
    200 bob acquire disk               -> bob queued t1
    300 ann acquire plain              -> ann granted #2
    400 bob away`);
    const page = sessions(0, 2);
    expect(page).toEqual({
      sessions: [
        {
          number: 1,
          owner: "ann",
          kind: "native",
          state: "here",
          leaseMs: 10_000,
          expiresInMs: 9_900,
          holdCount: 2,
          holds: ["plain", "disk", "tape"],
          waiterCount: 0,
          waitsFor: [],
        },
        expect.objectContaining({
          number: 2,
          owner: "curl",
          kind: "http",
          state: "here",
          expiresInMs: 29_700,
        }),
      ],
      next: 2,
    });
    expect(sessions(2, 2)).toMatchObject({
      sessions: [{ number: 3, owner: "bob", state: "away", waiterCount: 1, waitsFor: ["disk"] }],
      next: null,
    });
    expect(sessions(0, 3).next).toBeNull();
    expect(sessions(3, 3)).toEqual({ sessions: [], next: null });
    const hello = { kind: "hello", address: "eve@1", session: "session-eve", client: "client-eve" } as const;
    story.apply({ ...hello, connection: 1, resume: false, leaseMs: 10_000, owner: "eve", reads: true });
    expect(sessions(3, 3).sessions).toMatchObject([{ owner: "eve", kind: "reader" }]);
    story.check("500 - crash");
    expect(sessions(0, 1).sessions).toMatchObject([{ state: "awaited" }]);
  });

  test("[Q9kb] shows ten names of what a session holds and waits for, and how many there are", () => {
    const twelve = Array.from({ length: 12 }, (_, n) => `l${n}`);
    const { story, sessions } = looked("0 ann acquire a0 -> ann granted #1");
    for (const [n, name] of twelve.entries()) {
      story.play(`${n} ann acquire ${name}`);
      story.play(`${n} bob acquire ${name} forever`);
    }
    story.play(`20 cid acquire ${twelve.join("+")} forever`);
    const [ann, bob, cid] = sessions(0, 10).sessions;
    expect(ann).toMatchObject({ holdCount: 13, holds: twelve.slice(2).reverse() });
    expect(bob).toMatchObject({ waiterCount: 12, waitsFor: twelve.slice(0, 10) });
    expect(cid).toMatchObject({ waiterCount: 1, waitsFor: twelve.slice(0, 10) });
    story.play(`30 dan acquire ${twelve.map((name) => `${name}-b`).join("+")}`);
    expect(sessions(3, 1).sessions[0]).toMatchObject({
      holds: twelve.slice(0, 10).map((name) => `${name}-b`),
    });
  });
});

describe("where to look first", () => {
  const CROWDED = `
      0 ann acquire old min=5s          -> ann granted #1
      1 bob acquire disk                -> bob granted #2
      2 cid acquire tape                -> cid granted #3
      3 dan acquire tape forever        -> dan queued t1
      4 eve acquire disk+tape forever   -> eve queued t2
      5 fay acquire tape forever        -> fay queued t3
     10 ann release #1                  -> ann done true`;

  test("[Q9kd] a look at all of it goes step by step, and finds the same, whatever comes and goes meanwhile", () => {
    const { survey, story } = looked(CROWDED);
    const found = survey(1);
    expect(found.steps).toBe(3);
    expect(found).toMatchObject({
      grants: 3,
      hottest: [
        { name: "tape", queueLength: 3, queue: [{ ticket: 1 }], holderCount: 1 },
        { name: "disk", queueLength: 1 },
      ],
      longestWaits: [
        { name: "tape", waiter: { ticket: 1, waitingForMs: 7 }, holder: { token: 3 }, queueLength: 3 },
        { name: "disk", waiter: { ticket: 2 }, holder: { token: 2 } },
        { name: "tape", waiter: { ticket: 3 } },
      ],
      oldestHolds: [
        { name: "old", holder: { token: 1, state: "closed" }, queueLength: 0 },
        { name: "disk", holder: { token: 2, heldForMs: 9 }, queueLength: 1 },
        { name: "tape", holder: { token: 3 } },
      ],
    });
    expect(survey(1_000).steps).toBe(1);
    const walk = story.engine.survey();
    expect(walk.step(2)).toBe(0);
    story.check(`
     20 cid release #3   -> dan granted #4, cid done true
     21 bob release #2   -> bob done true
     22 dan release #4   -> eve granted #5, dan done true
     23 eve release #5   -> fay granted #6, eve done true
     24 fay release #6   -> fay done true`);
    // What it had come to is over: it goes on behind it.
    expect(walk.step(7)).toBe(7);
    expect({ isDone: walk.isDone, ...walk.found(false, 30) }).toMatchObject({
      isDone: true,
      hottest: [],
      longestWaits: [],
      oldestHolds: [{ name: "old" }],
    });
    // Who has gone by the time it is told waits nowhere.
    const emptied = new Story().check("0 ann acquire disk -> ann granted #1");
    emptied.check("1 bob acquire disk -> bob queued t1");
    const early = emptied.engine.survey();
    early.step(10);
    emptied.check("2 bob cancel:1 -> bob done true");
    expect(early.found(false, 3)).toMatchObject({
      hottest: [],
      oldestHolds: [{ name: "disk", queueLength: 0 }],
    });
    const left = story.engine.survey();
    left.giveUp();
    expect(left.isDone).toBe(true);
  });

  test("[Q9ke] a hold of many locks is shown once, and each who shares one counts as a step", () => {
    const { story, survey } = looked("0 ann acquire a+b -> ann granted #1");
    for (let n = 0; n < 4; n++) story.play(`${n} http${n} acquire shared:s`);
    expect(survey().oldestHolds.map(({ name }) => name)).toEqual([
      "a",
      "shared",
      "shared",
      "shared",
      "shared",
    ]);
    const walk = story.engine.survey();
    expect(walk.step(3)).toBe(0);
    expect(walk.isDone).toBe(true);
    expect(story.engine.survey().step(10)).toBe(10 - 2 - 4);
  });

  test("[Q9kp] grants are counted from when the service came to be in memory", () => {
    const { story, survey } = looked(`
      0 http1 acquire a for=60s -> http1 granted #1
      1 http2 acquire b for=60s -> http2 granted #2`);
    expect(survey().grants).toBe(2);
    story.check("2 - crash\n3 http3 acquire c -> http3 granted #100002");
    expect(survey().grants).toBe(1);
  });

  test("[Q9kf] of many the greatest are kept, the greatest first, and of equal ones those that came first", () => {
    const most = new Most<string>(3, ({ length }) => length);
    for (const word of ["aa", "b", "ccc", "dd", "eee", "ff", "g"]) most.add(word);
    expect(most.items).toEqual(["ccc", "eee", "aa"]);
    const few = new Most<string>(3, ({ length }) => length);
    for (const word of ["a", "bb"]) few.add(word);
    expect(few.items).toEqual(["bb", "a"]);
    const last = new Most<string>(3, ({ length }) => length);
    for (const word of ["aaaa", "bbb", "c", "dd"]) last.add(word);
    expect(last.items).toEqual(["aaaa", "bbb", "dd"]);
  });

  test("[Q9km] fifty of each are found, and of a lock that very many share the thousand who came last are looked at", () => {
    const { story, survey } = looked("0 ann acquire first -> ann granted #1", { holdsMax: 2_000 });
    for (let n = 1; n <= 51; n++) {
      story.play(`${n} http${n} acquire busy-${n}`);
      story.play(`${n} bob acquire busy-${n} forever`);
    }
    const { hottest, longestWaits } = survey();
    const names = Array.from({ length: 50 }, (_, n) => `busy-${n + 1}`);
    expect(hottest.map(({ name }) => name)).toEqual(names);
    expect(longestWaits.map(({ name }) => name)).toEqual(names);
    const shared = new Story({ holdsMax: 2_000 });
    for (let n = 1; n <= 1_002; n++) shared.play(`${n} http${n} acquire shared:s`);
    const walk = shared.engine.survey();
    expect(walk.step(2_000)).toBe(2_000 - 1_000);
    expect(walk.found(false, 2_000).oldestHolds.slice(0, 2)).toMatchObject([
      { holder: { token: 3 } },
      { holder: { token: 4 } },
    ]);
  });

  test("[Q9kn] a walk that has gone on is not called back when a lock ends that it stood before", () => {
    const { story } = looked("0 ann acquire a -> ann granted #1");
    for (const name of ["b", "c", "d"]) story.play(`1 ann acquire ${name}`);
    const walk = story.engine.survey();
    walk.step(1);
    walk.step(1);
    // It stood before `b`, and stands before `c` now.
    story.check("2 ann release #2 -> ann done true");
    expect(walk.step(10)).toBe(10 - 2);
    expect(walk.found(false, 3).oldestHolds.map(({ name }) => name)).toEqual(["a", "c", "d"]);
  });

  test("[Q9ko] who waits for several is shown at the first that somebody has, and at his first when nobody has any", () => {
    const { story, survey } = looked(`
      0 ann acquire held             -> ann granted #1
      1 bob acquire free+held forever -> bob queued t1`);
    expect(survey().longestWaits).toMatchObject([{ name: "held", holder: { token: 1 }, queueLength: 1 }]);
    story.check(`
      2 -   crash
      3 bob resume
      3 bob acquire:1 free+held forever -> bob queued t100001
      3 bob sync                     -> bob welcome back`);
    expect(survey().longestWaits).toMatchObject([{ name: "free", holder: null, waiter: { owner: "bob" } }]);
  });
});

describe("a look at one lock", () => {
  test("[Q9kq] shows the newest hundred who have it and the first hundred who wait, a list ten of each; and how many there are", () => {
    const { story } = looked("0 ann acquire pool:1/102 -> ann granted #1", {
      waitersMax: 200,
      holdsMax: 200,
    });
    for (let n = 2; n <= 101; n++) story.play(`${n} http${n} acquire pool:1/102`);
    for (let n = 1; n <= 101; n++) {
      story.play(`200 ${n % 2 === 0 ? "bob" : "cid"} acquire pool:2/102 forever`);
      if (n === 90) story.play("200 bob away");
      if (n === 90) story.play("200 bob resume");
    }
    const ask = (command: object) =>
      story.apply({ session: null, address: "http", id: 1, ...command } as never).answers[0]!.message[2];
    const shown = ({ holders, queue, holderCount, queueLength }: LockInfo) => ({
      tokens: holders.map(({ token }) => token),
      tickets: queue.map(({ ticket }) => ticket),
      counts: [holderCount, queueLength],
    });
    const up = (from: number, count: number) => Array.from({ length: count }, (_, n) => from + n);
    const { locks } = ask({ kind: "list", query: {} }) as unknown as { locks: LockInfo[] };
    expect(shown(ask({ kind: "inspect", name: "pool" }) as never)).toEqual({
      tokens: up(2, 100).reverse(),
      tickets: up(1, 100),
      counts: [101, 101],
    });
    expect(shown(locks[0]!)).toEqual({
      tokens: up(92, 10).reverse(),
      tickets: up(1, 10),
      counts: [101, 101],
    });
  });

  test("[Q9kr] shows sixteen names of a set, and of what is waited for inside a hold", () => {
    const set = Array.from({ length: 17 }, (_, n) => `l${n}`);
    const { story } = looked("0 ann acquire own max=9s -> ann granted #1");
    story.play(`0 bob acquire ${set.join("+")}`);
    story.play(`1 ann acquire ${set.join("+")} forever within=#1`);
    const info = (name: string) =>
      story.apply({ kind: "inspect", session: null, address: "http", id: 1, name }).answers[0]!
        .message[2] as unknown as LockInfo;
    expect(info("l0").holders[0]!.names).toEqual(set.slice(0, 16));
    expect(info("l0").queue[0]!.names).toEqual(set.slice(0, 16));
    expect(info("own").holders[0]).toMatchObject({ waitsFor: set.slice(0, 16), expiresInMs: 9_000 - 1 });
    // When nobody has said yet that it is over, nothing is left.
    story.nowMs = 20_000;
    expect(info("own").holders[0]!.expiresInMs).toBe(0);
  });

  test("[Q9kg] shows the holder that is asked for first, once, before the newest of the others", () => {
    const { story } = looked(`
      0 ann acquire disk:s   -> ann granted #1
      1 bob acquire disk:s   -> bob granted #2
      2 cid acquire disk:s   -> cid granted #3`);
    const tokens = (token?: number) => {
      const of = { kind: "inspect", session: null, address: "http", id: 1, name: "disk" } as const;
      const { message } = story.apply(token === undefined ? of : { ...of, token }).answers[0]!;
      return (message[2] as unknown as LockInfo).holders.map((holder) => holder.token);
    };
    expect(tokens()).toEqual([3, 2, 1]);
    expect(tokens(1)).toEqual([1, 3, 2]);
    expect(tokens(9)).toEqual([3, 2, 1]);
  });
});
