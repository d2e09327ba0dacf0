import { describe, expect, test } from "vitest";
import type { Effects } from "../../src/engine/index.js";
import { check, Story } from "./story.js";

/** What the first answer to a line says in words. */
function said(story: Story, line: string): string {
  return story.play(line).answers[0]!.message[3] as string;
}

describe("refusals say why", () => {
  test("[Q10zb] whatever a session asks that is over is refused as such, and has no effect", () => {
    const story = check(`
      0 http1 acquire disk               -> http1 granted #1
      1 ann   hello
      1 ann   sync                       -> ann welcome
      2 ann   bye                        -> ann done true`);
    const of = { id: 9, session: "session-ann", address: "ann@1" };
    const terms = { detachedMs: null, minHoldMs: 0, maxHoldMs: null, metadata: {}, within: [], leads: false };
    for (const command of [
      { kind: "acquire", names: "tape", waitMs: 0, ticket: null, reentrant: false, stolenBy: null, ...terms },
      { kind: "release", token: 1, name: null },
      { kind: "abandon", token: 1 },
      { kind: "force", name: "disk", token: 1, reason: "", who: "ann" },
      { kind: "check", name: "disk", waitMs: 0 },
      { kind: "unlock", name: "disk", waitMs: 0 },
      { kind: "inspect", name: "disk" },
      { kind: "list", query: {} },
      { kind: "cancel", token: null },
      { kind: "heartbeat" },
      { kind: "bye" },
    ]) {
      const { answers, changes } = story.apply({ ...of, ...command } as never);
      expect(answers, command.kind).toMatchObject([
        { to: "ann@1", message: ["refused", 9, "SESSION_ENDED", expect.any(String)] },
      ]);
      expect(changes).toEqual([]);
    }
    for (const kind of ["sync", "disconnect", "claim", "acknowledge"]) {
      const more = { token: 1, names: "disk", extra: {}, ids: [1], lostTokens: [1] };
      expect(story.apply({ ...of, kind, ...more } as never)).toEqual({ answers: [], changes: [] });
    }
    expect(story.engine.counts).toMatchObject({ sessions: 0, holds: 1, locks: 1 });
  });

  test("[Q10zc] a plain grant says its token and nothing else, one inside a hold also how long that lasts", () => {
    const story = new Story();
    expect(story.play("0 ann acquire disk").answers[0]!.message).toStrictEqual(["granted", 1, 1]);
    expect(story.play("4 ann acquire disk 30s within=#1 reentrant=true").answers[0]!.message).toStrictEqual([
      "granted",
      2,
      1,
      { reentrant: true, expiresInMs: 10_000 },
    ]);
  });

  test("[L9w] a lock cannot be unlocked by its name: each reason is its own", () => {
    const story = check(`
      0 ann   acquire session            -> ann granted #1
      0 http1 acquire shared:s           -> http1 granted #2
      0 http2 acquire shared:s           -> http2 granted #3
      0 http3 call:r leased              -> http3 granted #4 for 30000
      0 http4 acquire set+other          -> http4 granted #5
      0 ann   acquire closed min=9s      -> ann granted #6
      1 ann   release #6                 -> ann done true`);
    expect(said(story, "2 bob unlock session")).toMatch(/held by a session \(ann\)/);
    expect(said(story, "2 bob unlock shared")).toMatch(/^Several hold/);
    expect(said(story, "2 bob unlock leased")).toMatch(/under a lease \(curl\)/);
    expect(said(story, "2 bob unlock set")).toMatch(/part of a set/);
    expect(said(story, "2 bob unlock closed")).toMatch(/closed for the rest/);
    expect(story.engine.counts.holds).toBe(6);
  });

  test("[L4hg] what an HTTP session has is not renewed by its token, but with the session: that is said, and of no other", () => {
    const story = check(`
      0 http1 open cron                  -> http1 done {"session":"cron","leaseMs":10000,"resumed":false}
      1 http2 call:r disk of=cron        -> http2 granted #1 for 10000
      2 ann   acquire tape               -> ann granted #2`);
    expect(said(story, "3 http3 renew #1")).toMatch(/heartbeats of the session/);
    expect(said(story, "3 http4 renew #2")).not.toMatch(/heartbeats of the session/);
    expect(said(story, "3 http5 renew #9")).not.toMatch(/heartbeats of the session/);
  });

  test("[Q6rd] a call whose hold is over, and one that was taken over, are told so", () => {
    const story = check(`
      0 http1 call:r disk                -> http1 granted #1 for 30000
      1 http2 giveback #1                -> http2 done true
      2 http3 acquire disk               -> http3 granted #2
      3 http4 call:w disk                -> http4 queued t1`);
    expect(said(story, "4 http5 call:r disk")).toMatch(/its hold is over/);
    const { message } = story.play("4 http6 call:r tape").answers[0]!;
    expect(message.slice(0, 3)).toEqual(["refused", 1, "REQUEST_ID_REUSED"]);
    expect(message[3]).not.toMatch(/its hold is over/);
    expect(said(story, "5 http7 call:w disk")).toMatch(/has taken this one's place/);
  });

  test("[Q9za] a list that is over says so, and settings that nobody changes are told and written nowhere", () => {
    const story = check('0 http1 delay 2s -> http1 done {"lockDelayMs":2000} | +settings, +audit');
    const ask = (command: object) =>
      story.apply({ id: 1, session: null, address: "http", ...command } as never);
    expect(ask({ kind: "settings", change: null, who: "http" })).toMatchObject({
      answers: [{ message: ["done", 1, { lockDelayMs: 2_000 }] }],
      changes: [],
    });
    const { answers } = ask({ kind: "list", query: { next: "7.1" } });
    expect(answers).toMatchObject([
      { message: ["refused", 1, "NOT_FOUND", expect.stringMatching(/Begin anew/)] },
    ]);
  });

  test("[Q2ib] a call hears how many stand before it, a thousand at most, and of a set's locks as many as before the fullest", () => {
    const story = new Story({ waitersMax: 2_000, holdsMax: 2_000 });
    story.play("0 ann acquire disk");
    for (let n = 0; n < 1_001; n++) story.play("1 bob acquire disk forever");
    expect(story.play("2 http1 call:r disk").answers[0]!.message).toEqual(["queued", 1, 1_002, 1_000]);
    story.check("3 ann acquire tape -> ann granted #2\n3 cid acquire tape -> cid queued t1003");
    expect(story.play("4 dan acquire tape+disk forever").answers[0]!.message).toEqual([
      "queued",
      1,
      1_004,
      1_002,
    ]);
    expect(story.play("4 dan acquire disk+tape forever").answers[0]!.message).toEqual([
      "queued",
      2,
      1_005,
      1_003,
    ]);
  });
});

test("[R9za] a hold that is stored without the session it belongs to is not taken up, and both are named", () => {
  const story = new Story({ writesSessionHolds: true });
  story.play("0 ann acquire disk");
  story.durable.delete("session/session-ann");
  expect(() => story.play("1 - crash")).toThrow(
    /hold\/1 belongs to the session session-ann, which is not stored/,
  );
});

describe("bounds, and what is said at them", () => {
  test("[N3ic] a session's holds and those who wait for one count together", () =>
    check(
      `
      0 bob acquire disk     -> bob granted #1
      1 ann acquire disk     -> ann queued t1
      2 ann acquire tape     -> ann granted #2
      3 ann acquire reel     -> ann refused LIMIT_EXCEEDED
      4 ann release #2       -> ann done true
      5 ann acquire reel     -> ann granted #3
      6 bob acquire tape     -> bob granted #4
      7 bob acquire more     -> bob refused LIMIT_EXCEEDED`,
      { holdsMax: 2 },
    ));

  test("[A4z] when a trial is over a new lock is refused, and what is held or waited for goes on", () =>
    check(`
      0 ann acquire:1 disk            -> ann granted #1
      1 bob acquire:1 disk            -> bob queued t1
      2 bob acquire:2 tape 30s over=true -> bob refused TRIAL_ENDED
      3 ann acquire:1 disk 30s over=true -> ann granted #1
      4 ann release:2 #1              -> bob granted #2, ann done true`));

  test("[N3id] an account that has as many sessions as it may opens no more, of either kind", () => {
    let isFull = false;
    const story = new Story({ isFull: (what: string) => isFull && what === "sessions" });
    story.check(`
      0 http1 open cron            -> http1 done {"session":"cron","leaseMs":10000,"resumed":false}
      0 ann hello`);
    isFull = true;
    story.check(`
      1 bob hello                  -> bob ended LIMIT_EXCEEDED
      2 http2 open other           -> http2 refused LIMIT_EXCEEDED
      3 http3 open cron            -> http3 done {"session":"cron","leaseMs":10000,"resumed":true}
      4 ann resume                 -> ann ended INVALID`);
  });

  test("[R4zb] who only looks is waited for by nobody, and his session is never one that may lock", () => {
    const story = new Story();
    const hello = { kind: "hello", session: "session-eve", client: "client-eve", leaseMs: 10_000 } as const;
    const say = (connection: number, more: object) =>
      story.apply({
        ...hello,
        address: `eve@${connection}`,
        connection,
        resume: false,
        owner: "eve",
        ...more,
      });
    expect(say(1, { reads: true }).changes).toMatchObject([{ type: "session", value: { reads: true } }]);
    story.check(`
      1 - crash
      2 bob acquire disk now       -> bob granted #1`);
    expect(say(2, {}).answers).toMatchObject([{ message: ["ended", "SESSION_ENDED", expect.any(String)] }]);
    expect(say(2, { reads: true }).answers).toEqual([]);
    const [, taken] = [say(3, { reads: false }), say(3, { reads: true })];
    expect(taken.answers).toMatchObject([{ to: "eve@2", message: ["ended", "INVALID", expect.any(String)] }]);
    expect(story.play("3 bob resume").answers).toMatchObject([{ to: "bob@1" }]);
    // Nor does recovery end with him.
    story.check("4 - crash");
    say(4, { reads: true });
    story.apply({ kind: "sync", session: "session-eve", address: "eve@4" });
    story.check("5 cid acquire tape now -> cid refused RECOVERING");
  });

  test("[N3ie] so many questions wait for the end of a recovery as may wait for a lock", () =>
    check(
      `
      0 ann acquire disk           -> ann granted #1
      1 -   crash
      2 http1 check tape
      3 http2 check tape
      4 http3 check tape           -> http3 refused QUEUE_FULL
      5 http1 cancel               -> http1 done false
      6 http3 check tape
      7 ann resume
      7 ann sync                   -> http2 done false, http3 done false, ann welcome back`,
      { waitersMax: 2 },
    ));

  test("[Q10za] a refusal tells who has the first of its locks that somebody has, and how many wait for that one", () => {
    const story = check(`
      0 ann acquire held           -> ann granted #1
      1 bob acquire held           -> bob queued t1
      1 cid acquire held           -> cid queued t2`);
    const details = (action: string) => story.play(action).answers[0]!.message[4];
    expect(details("2 dan acquire free+held now")).toMatchObject({
      holder: { token: 1, owner: "ann" },
      ahead: 2,
    });
    story.check("3 - crash");
    expect(details("4 dan acquire free now")).toEqual({ holder: null, ahead: 0 });
    expect(details("4 http1 force #9 free")).toEqual(undefined);
  });

  test("[D2zg] a refusal tells two thousand characters of a long cycle, and all of it in its details", () => {
    const story = new Story();
    const name = (n: number) => `${n}`.padEnd(64, "x");
    for (let n = 1; n <= 16; n++) story.play(`0 p${n} acquire ${name(n)}`);
    for (let n = 1; n < 16; n++) story.play(`1 p${n} acquire ${name(n + 1)} forever within=#${n}`);
    const { message } = story.play(`2 p16 acquire ${name(1)} forever within=#16`).answers[0]!;
    const { cycle } = message[4] as { cycle: string[] };
    expect(cycle).toHaveLength(16);
    expect(message[3]).toBe(
      `This request would wait for itself. ${cycle.join("; ").slice(0, 2_000)}…. Release what you hold, then ask again.`,
    );
  });

  test("[I6zx] of those who have waited long ten thousand are counted a step, with sixteen names of a set", () => {
    const story = new Story({ waitersMax: 20_000, holdsMax: 20_000 });
    const set = Array.from({ length: 17 }, (_, n) => `s${n}`);
    story.play("0 ann acquire s3");
    story.play(`1 bob acquire ${set.join("+")} forever`);
    for (let n = 0; n < 10_000; n++) story.play("2 bob acquire s3 forever");
    const slow = (slowMs: number, nowMs: number) =>
      story.engine.takeSlowWaits({ slowMs, shownMax: 1 }, nowMs);
    expect(slow(30_000, 30_000).count).toBe(0);
    expect(slow(30_000, 30_002)).toEqual({
      count: 10_000,
      shown: [
        {
          names: set.slice(0, 16),
          owner: "bob",
          ticket: 1,
          waitedMs: 30_001,
          lock: "s3",
          holder: { owner: "ann", token: 1, heldMs: 30_002, state: "held" },
          queueLength: 10_001,
        },
      ],
    });
    expect(slow(30_000, 30_002)).toMatchObject({ count: 1, shown: [{ lock: "s3", ticket: 10_001 }] });
    expect(slow(30_000, 90_000).count).toBe(0);
  });

  test("[F2za] numbers are made durable ahead for a service that has sessions, and for no other", () => {
    const story = new Story();
    const reserved = () => {
      const out: Effects = { answers: [], changes: [] };
      story.engine.reserve(out);
      return out.changes;
    };
    expect(reserved()).toEqual([]);
    story.check("0 ann hello");
    expect(reserved()).toEqual([{ type: "ceiling", id: "", value: { tokens: 100_001, tickets: 100_001 } }]);
    story.check(`
      0 ann sync           -> ann welcome
      1 ann acquire disk   -> ann granted #1 |
      2 ann acquire disk   -> ann queued t1 |`);
  });
});
