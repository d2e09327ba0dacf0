import { describe, expect, test } from "vitest";
import { ConnectionError, LockLostError, UnauthorizedError } from "../../src/client/errors.js";
import { Script, type Stage, sessionOn, stage, terms } from "./script.js";
import { outcomeOf } from "./virtual.js";

const FOREVER = Number.POSITIVE_INFINITY;

async function holding(): Promise<Stage & { lease: Awaited<ReturnType<Stage["session"]["acquire"]>> }> {
  const on = stage();
  return { ...on, lease: await on.world.settled(on.session.acquire(terms("disk"))) };
}

describe("a server that is not there", () => {
  test("[I1i] a client that never reached one gives up after 5 s, says why, and that nothing was done", async () => {
    const { world, session } = stage({ urls: ["http://nobody"] });
    const outcome = outcomeOf(session.acquire(terms("disk", { waitMs: FOREVER })));
    await world.run(4_900);
    expect(outcome.state).toBe("pending");
    await world.run(400);
    expect(outcome.error).toBeInstanceOf(ConnectionError);
    expect(outcome.error).toMatchObject({ code: "CONNECTION", retryable: true, mayHaveApplied: false });
    expect((outcome.error as Error).message).toMatch(/ECONNREFUSED.*ws:\/\/nobody/);
  });

  test("[I1bv] a request that was given up takes no time from the next one", async () => {
    const { world, script, session } = stage({ urls: ["http://two"] });
    const controller = new AbortController();
    const given = outcomeOf(session.acquire(terms("disk"), controller.signal));
    await world.run(1_000);
    controller.abort();
    await world.run(9_000);
    expect(given.state).toBe("rejected");
    world.endpoints.set("http://two", script);
    expect((await world.settled(session.acquire(terms("disk")))).token).toBe(1);
  });

  test("[I1j] after that it tries no more until it is asked again, and then for 5 s again", async () => {
    const { world, script, session } = stage({ urls: ["http://two"] });
    await expect(world.settled(session.acquire(terms("disk")))).rejects.toThrow(ConnectionError);
    const tried = world.lines.length;
    await world.run(60_000);
    expect(world.lines.length).toBeLessThanOrEqual(tried + 1);
    const again = outcomeOf(session.acquire(terms("disk")));
    await world.run(4_000);
    expect(again.state).toBe("pending");
    world.endpoints.set("http://two", script);
    await world.until(() => again.state === "resolved", 3_000);
  });

  test("[I1k] one that accepts and then says nothing is as good as none: it may have applied what was sent", async () => {
    const { world, script, session } = stage();
    for (const kind of ["sync", "acquire"] as const) script.mute.add(kind);
    const outcome = outcomeOf(session.acquire(terms("disk", { waitMs: FOREVER })));
    await world.until(() => outcome.state === "rejected", 6_000);
    expect(outcome.error).toMatchObject({ code: "CONNECTION", mayHaveApplied: true });
  });

  test("[I1l] one that was reached is tried again for as long as its callers wait, and 5 s more", async () => {
    const { world, script, session } = await holding();
    world.endpoints.clear();
    script.visit.line.cut();
    const short = outcomeOf(session.acquire(terms("a", { waitMs: 10_000 })));
    const long = outcomeOf(session.acquire(terms("b", { waitMs: FOREVER })));
    const call = outcomeOf(session.call(2_000, (id) => ["check", id, "x", 2_000]));
    await world.run(1_900);
    expect(call.state).toBe("pending");
    await world.run(500);
    expect(call.error).toBeInstanceOf(ConnectionError);
    await world.run(12_500);
    expect(short.state).toBe("pending");
    await world.run(500);
    expect(short.error).toBeInstanceOf(ConnectionError);
    await world.run(3_600_000);
    expect(long.state).toBe("pending");
    world.endpoints.set("http://one", script);
    await world.until(() => long.state === "resolved", 5_000);
  });

  test("[I1m] of several addresses the one that answers is used", async () => {
    const { world, session } = stage({ urls: ["http://dead", "http://deaf", "http://one"] });
    const deaf = new Script();
    deaf.isDeaf = true;
    world.endpoints.set("http://deaf", deaf);
    const lease = await world.settled(session.acquire(terms("disk")), 6_000);
    lease.assertHeld();
  });

  test("[R3z] one that was away for long and is back is not waited for long when it goes again", async () => {
    const { world, script } = await holding();
    script.visit.line.cut();
    script.refusal = { message: "down" };
    await world.run(9_000);
    script.refusal = null;
    await world.until(() => script.visits.length === 2);
    await world.run(10);
    script.visit.line.cut();
    await world.run(60);
    expect(script.visits).toHaveLength(3);
  });

  test("[L5s] after a lost connection the next address is tried at once, and the session goes on there", async () => {
    const { world, script, session } = stage({ urls: ["http://one", "http://two"] });
    const lease = await world.settled(session.acquire(terms("disk")));
    world.endpoints.delete("http://one");
    world.endpoints.set("http://two", script);
    script.visit.line.cut();
    await world.run(5);
    expect(script.visits).toHaveLength(2);
    expect(script.visit.of("hold")).toHaveLength(1);
    lease.assertHeld();
  });
});

describe("half-open connections", () => {
  test("[L4c] a heartbeat that is not answered in a third of the lease ends the connection; the session goes on", async () => {
    const { world, script, lease } = await holding();
    script.visit.line.lose();
    const lostAtMs = world.nowMs;
    await world.until(() => script.visits.length === 2);
    // It is the welcome that renews, and no heartbeat after it.
    script.mute.add("heartbeat");
    expect(world.nowMs - lostAtMs).toBeLessThanOrEqual((2 * 10_000) / 3 + 100);
    await world.run(10);
    lease.assertHeld();
    expect(lease.remainingMs).toBeGreaterThan(9_600);
  });

  test("[L4d] one that is half open from its first message on is noticed too", async () => {
    const { world, script, session } = await holding();
    script.isDeaf = true;
    script.visit.line.cut();
    await world.run(100);
    script.isDeaf = false;
    // It opens, but what is said on it is lost.
    const accept = script.accept.bind(script);
    let losing = true;
    script.accept = (line) => {
      const end = accept(line);
      if (losing) line.losesToServer = true;
      return end;
    };
    const outcome = outcomeOf(session.acquire(terms("other", { waitMs: FOREVER })));
    await world.until(() => script.visits.length === 2);
    losing = false;
    await world.until(() => outcome.state === "resolved", 15_000);
  });

  test("[L4e] one way is enough: a server that hears us, but is not heard, is left", async () => {
    const { world, script } = await holding();
    script.visit.line.losesToClient = true;
    await world.until(() => script.visits.length === 2, 8_000);
  });
});

describe("the end of a session", () => {
  test("[L5t] leases are lost; pending requests go on in a new session, with the same ids", async () => {
    const { world, script, session, lease } = await holding();
    const { signal } = lease;
    script.mute.add("acquire").add("check");
    const waiting = outcomeOf(session.acquire(terms("other", { waitMs: FOREVER })));
    const call = outcomeOf(session.call(60_000, (id) => ["check", id, "x", 1]));
    await world.run(10);
    const asked = script.visit.messages.filter(([kind]) => kind === "acquire" || kind === "check").slice(-2);
    const [, before] = script.visit.of("hello")[0]!;
    script.mute.clear();
    script.visit.end("SESSION_ENDED");
    await world.until(() => waiting.state === "resolved" && call.state === "resolved");
    expect(signal.reason).toBeInstanceOf(LockLostError);
    expect(script.visits).toHaveLength(2);
    const [, hello] = script.visit.of("hello")[0]!;
    expect(hello).toMatchObject({ client: before.client, connection: 1, resume: false });
    expect(hello.session).not.toBe(before.session);
    expect(script.visit.of("hold")).toHaveLength(0);
    const again = script.visit.messages.filter(([kind]) => kind === "acquire" || kind === "check");
    expect(again.map(([kind, id]) => [kind, id])).toEqual(asked.map(([kind, id]) => [kind, id]));
  });

  test("[L5w] what comes after the word that it is over, in the same frame, is ignored", async () => {
    const { world, script, session } = await holding();
    script.mute.add("acquire");
    const outcome = outcomeOf(session.acquire(terms("other")));
    await world.run(10);
    const [, id] = script.visit.of("acquire").at(-1)!;
    script.mute.clear();
    script.visit.say(["ended", "SESSION_ENDED", "over"], ["granted", id, 99]);
    await world.until(() => outcome.state === "resolved");
    expect(outcome.value!.token).not.toBe(99);
  });

  test("[L5u] a release that is on its way when the session ends is false: it was over", async () => {
    const { world, script, lease } = await holding();
    script.mute.add("release");
    const released = outcomeOf(lease.release());
    await world.run(10);
    script.answer = ([kind, id]) => (kind === "release" ? [["refused", id, "NOT_HELD", "over"]] : null);
    script.visit.end("SESSION_ENDED");
    await world.until(() => released.state !== "pending");
    expect(released.value).toBe(false);
  });

  test("[L5v] holds of the new session are trusted by its own renewals, not by the old one's end", async () => {
    const { world, script, session } = await holding();
    script.visit.end("SESSION_ENDED");
    const lease = await world.settled(session.acquire(terms("disk")));
    await world.run(60_000);
    lease.assertHeld();
  });
});

describe("a server that cannot, or will not", () => {
  test("[R7a] UNAVAILABLE is a reason to come back: holds stay, and so do requests", async () => {
    const { world, script, session, lease } = await holding();
    script.mute.add("acquire");
    const outcome = outcomeOf(session.acquire(terms("other")));
    await world.run(10);
    script.mute.clear();
    script.visit.end("UNAVAILABLE");
    script.refusal = { message: "starting", code: "UNAVAILABLE" };
    await world.run(2_000);
    script.refusal = null;
    await world.until(() => outcome.state === "resolved");
    lease.assertHeld();
    expect(script.visit.of("hello")[0]![1]).toMatchObject({ connection: 2, resume: true });
  });

  test("[Eb] a wrong key is UnauthorizedError at once, with the message that the original client gives", async () => {
    const { world, script, session } = stage();
    script.refusal = { message: "The key is wrong.", code: "UNAUTHORIZED" };
    const outcomes = [
      outcomeOf(session.acquire(terms("disk", { waitMs: FOREVER }))),
      outcomeOf(session.call(5_000, (id) => ["check", id, "x", 1])),
    ];
    await world.run(10);
    for (const { error } of outcomes) {
      expect(error).toBeInstanceOf(UnauthorizedError);
      expect(error).toMatchObject({ message: "Unauthorized", code: "UNAUTHORIZED", retryable: false });
    }
    await world.run(60_000);
    expect(world.lines.length).toBeLessThanOrEqual(2);
  });

  test("[Ec] a key that is revoked while locks are held does not end them before their time", async () => {
    const { world, script, lease } = await holding();
    script.refusal = { message: "no", code: "UNAUTHORIZED" };
    script.visit.line.cut();
    await world.run(5_000);
    lease.assertHeld();
    await world.run(5_000);
    expect(() => lease.assertHeld()).toThrow(LockLostError);
    const tried = world.lines.length;
    await world.run(60_000);
    expect(world.lines.length).toBeLessThanOrEqual(tried + 1);
  });

  test("[Ed] each refusal keeps its code, its message, and what goes with it", async () => {
    const { world, script, session } = await holding();
    const holder = { owner: "bob", token: 3 };
    script.answer = ([kind, id]) =>
      kind === "acquire" ? [["refused", id, "LOCK_TIMEOUT", "busy", { holder, ahead: 2 }]] : null;
    await expect(world.settled(session.acquire(terms("x")))).rejects.toMatchObject({
      name: "TimeoutError",
      code: "LOCK_TIMEOUT",
      message: "busy",
      details: { holder, ahead: 2 },
    });
    script.answer = ([kind, id]) => (kind === "acquire" ? [["refused", id, "QUEUE_FULL", "full"]] : null);
    await expect(world.settled(session.acquire(terms("x")))).rejects.toMatchObject({
      name: "LockDBError",
      code: "QUEUE_FULL",
      retryable: true,
    });
  });

  test("[Ee] a session that may not be opened fails its requests with the reason", async () => {
    const { world, script, session } = stage();
    script.answer = ([kind]) => (kind === "sync" ? [["ended", "LIMIT_EXCEEDED", "too many sessions"]] : []);
    await expect(world.settled(session.acquire(terms("x")))).rejects.toMatchObject({
      code: "LIMIT_EXCEEDED",
      message: "too many sessions",
    });
  });

  test("[R3aa] a server that cannot read what we say of our holds has freed them: we do not believe in them", async () => {
    const { world, script, session, lease } = await holding();
    const { signal } = lease;
    script.mute.add("acquire");
    const outcome = outcomeOf(session.acquire(terms("other", { waitMs: FOREVER })));
    await world.run(10);
    script.answer = ([kind]) => (kind === "hold" ? [["error", "INVALID", "Unknown field."]] : null);
    script.visit.line.cut();
    await world.until(() => outcome.state === "rejected");
    expect(outcome.error).toMatchObject({ code: "INVALID", message: "Unknown field." });
    expect(signal.reason).toBeInstanceOf(LockLostError);
    script.mute.clear();
    script.answer = () => null;
    (await world.settled(session.acquire(terms("disk")))).assertHeld();
  });

  test("[Q3a] a server that does not answer in time: the request is given up there too", async () => {
    const { world, script, session } = await holding();
    script.mute.add("acquire");
    const outcome = outcomeOf(session.acquire(terms("x", { waitMs: 1_000 })));
    await world.run(5_900);
    expect(outcome.state).toBe("pending");
    await world.run(400);
    expect(outcome.error).toMatchObject({ code: "CONNECTION", mayHaveApplied: true });
    await world.run(10);
    expect(script.visit.of("cancel")[0]![1]).toBe(script.visit.of("acquire").at(-1)![1]);
    // It was only late: nobody uses it.
    script.visit.say(["granted", script.visit.of("acquire").at(-1)![1], 99]);
    await world.run(10);
    expect(script.visit.of("release").map(([, , token]) => token)).not.toContain(1);
  });
});

describe("close", () => {
  test("[I1n] says bye, waits for the answer, and leaves nothing behind", async () => {
    const { world, runtime, script, session, lease } = await holding();
    const { signal } = lease;
    await world.settled(session.close());
    expect(script.visit.of("bye")).toHaveLength(1);
    expect(signal.reason).toBeInstanceOf(LockLostError);
    await world.run(10);
    expect(script.visit.isOver).toBe(true);
    expect(runtime.isKeptAlive).toBe(false);
    const sent = script.visit.messages.length;
    await world.run(60_000);
    expect(script.visits).toHaveLength(1);
    expect(script.visit.messages).toHaveLength(sent);
  });

  test("[I1o] what is pending is rejected with CLOSED, and so is all that comes later", async () => {
    const { world, script, session } = await holding();
    script.mute.add("acquire").add("check");
    const outcomes = [
      outcomeOf(session.acquire(terms("x"))),
      outcomeOf(session.call(5_000, (id) => ["check", id, "x", 1])),
    ];
    await world.run(10);
    const closed = session.close();
    outcomes.push(outcomeOf(session.acquire(terms("y"))));
    await world.settled(closed);
    outcomes.push(outcomeOf(session.acquire(terms("z"))));
    await world.run(10);
    for (const { error } of outcomes) expect(error).toMatchObject({ code: "CLOSED", retryable: false });
  });

  test("[I1p] what was asked and is not answered is taken back: a detached grant may be on its way", async () => {
    const { world, script, session } = await holding();
    script.mute.add("acquire");
    void outcomeOf(session.acquire(terms("x", { detachedMs: 300_000 })));
    await world.run(10);
    await world.settled(session.close());
    const said = script.visit.messages.slice(-3);
    expect(said.map(([kind]) => kind)).toEqual(["acquire", "cancel", "bye"]);
    expect(said[1]![1]).toBe(said[0]![1]);
  });

  test("[I1q] who hears of it and calls again at once meets a closed client; close twice is close once", async () => {
    const { world, script, session, lease } = await holding();
    const outcomes: ReturnType<typeof outcomeOf>[] = [];
    lease.signal.addEventListener("abort", () => {
      outcomes.push(outcomeOf(session.acquire(terms("disk"))), outcomeOf(session.close()));
    });
    await world.settled(session.close());
    await world.settled(session.close());
    await world.run(10);
    expect(outcomes.map(({ state }) => state)).toEqual(["rejected", "resolved"]);
    expect(script.visit.of("bye")).toHaveLength(1);
  });

  test("[I1r] a server that does not answer the bye is waited for a second, not longer", async () => {
    const { world, runtime, script, session } = await holding();
    script.visit.line.lose();
    await world.settled(session.close(), 1_100);
    await world.run(10);
    expect(runtime.isKeptAlive).toBe(false);
  });

  test("[I1s] without a connection it is done at once, and never connects again", async () => {
    const never = stage();
    await never.world.settled(never.session.close(), 1);
    const { world, script, session } = await holding();
    world.endpoints.clear();
    script.visit.line.cut();
    await world.run(1_000);
    await world.settled(session.close(), 1);
    const tried = world.lines.length;
    await world.run(60_000);
    expect(world.lines).toHaveLength(tried);
  });
});

describe("keeping the process alive", () => {
  test("[I1t] a lock that is held or waited for does; an idle client does not", async () => {
    const { world, runtime, script, session } = stage();
    expect(runtime.isKeptAlive).toBe(false);
    const asked = session.acquire(terms("a"));
    expect(runtime.isKeptAlive).toBe(true);
    const lease = await world.settled(asked);
    expect(runtime.isKeptAlive).toBe(true);
    await world.run(30_000);
    expect(runtime.isKeptAlive).toBe(true);
    await world.settled(lease.release());
    expect(runtime.isKeptAlive).toBe(false);
    // Not while its heartbeats go on, either.
    await world.run(3_334);
    expect(runtime.isKeptAlive).toBe(false);
    script.mute.add("acquire");
    const waiting = outcomeOf(session.acquire(terms("b", { waitMs: 60_000 })));
    await world.run(1_000);
    expect(runtime.isKeptAlive).toBe(true);
    script.visit.line.cut();
    expect(runtime.isKeptAlive).toBe(true);
    script.mute.clear();
    await world.until(() => waiting.state === "resolved");
  });

  test("[I1u] a detached lease does not: it needs nobody", async () => {
    const { world, runtime, session } = stage();
    await world.settled(session.acquire(terms("a", { detachedMs: 60_000 })));
    expect(runtime.isKeptAlive).toBe(false);
  });

  test("[I1v] a lock that is lost does not any more", async () => {
    const { world, runtime, script } = await holding();
    world.endpoints.clear();
    script.visit.line.cut();
    await world.run(5_000);
    expect(runtime.isKeptAlive).toBe(true);
    await world.run(10_000);
    expect(runtime.isKeptAlive).toBe(false);
  });

  test("[R4r] an idle client comes back while its lease lasts, for the server may wait for it", async () => {
    const { world, runtime, script, lease } = await holding();
    await world.settled(lease.release());
    script.visit.line.cut();
    await world.run(1_000);
    expect(script.visits).toHaveLength(2);
    expect(script.visit.of("hello")[0]![1]).toMatchObject({ resume: true });
    expect(runtime.isKeptAlive).toBe(false);
  });

  test("[R4w] an idle client comes back however long the server was away, and keeps no process alive", async () => {
    const { world, runtime, script, lease } = await holding();
    await world.settled(lease.release());
    script.refusal = { message: "down" };
    script.visit.line.cut();
    await world.run(600_000);
    expect(runtime.isKeptAlive).toBe(false);
    script.refusal = null;
    await world.run(3_000);
    expect(script.visits).toHaveLength(2);
    expect(script.visit.of("hello")[0]![1]).toMatchObject({ resume: true });
  });

  test("[R4x] one whose key is refused does not try again before it is asked", async () => {
    const { world, script, lease, session } = await holding();
    await world.settled(lease.release());
    script.refusal = { message: "no", code: "UNAUTHORIZED" };
    script.visit.line.cut();
    await world.run(1_000);
    const attempts = world.lines.length;
    await world.run(600_000);
    expect(world.lines).toHaveLength(attempts);
    script.refusal = null;
    await world.settled(session.call(5_000, (id) => ["check", id, "x", 1]));
    expect(script.visits).toHaveLength(2);
  });
});

test("[I1x] a client's ids are its own: two clients of one process are two sessions", async () => {
  const { world, runtime, script, session } = stage();
  const other = sessionOn(runtime);
  await world.settled(session.acquire(terms("a")));
  await world.settled(other.acquire(terms("b")));
  const [one, two] = script.visits.map((visit) => visit.of("hello")[0]![1]);
  expect(one!.client).not.toBe(two!.client);
  expect(one!.session).not.toBe(two!.session);
});
