import { describe, expect, test } from "vitest";
import { LockLostError } from "../../src/client/errors.js";
import { type Stage, stage, terms } from "./script.js";
import { outcomeOf } from "./virtual.js";

type Message = readonly unknown[];

const kindsOf = (messages: readonly Message[]) => messages.map(([kind]) => kind);
const idsOf = (messages: readonly Message[]) => messages.map(([, id]) => id);

/** Connected, and everything before is said. */
async function connected(): Promise<Stage> {
  const on = stage();
  await on.world.settled(on.session.call(5_000, (id) => ["check", id, "x", 1]));
  return on;
}

/** The connection breaks; the client is back, and has said what it has. */
async function reconnect({ world, script }: Stage): Promise<void> {
  const before = script.visits.length;
  script.visit.line.cut();
  await world.until(() => script.visits.length > before && script.visit.of("sync").length === 1);
}

describe("a resume", () => {
  test("[R3b] says hello, all holds, what was given up, all pending requests, and sync, in this order and one frame", async () => {
    const on = await connected();
    const { world, script, session } = on;
    const first = await world.settled(session.acquire(terms("a", { maxHoldMs: 60_000, metadata: { n: 1 } })));
    const second = await world.settled(session.acquire(terms("b")));
    await world.settled(session.acquire(terms("detached", { detachedMs: 60_000 })));
    for (const kind of ["acquire", "cancel", "check", "release", "unlock"] as const) script.mute.add(kind);
    const aborter = new AbortController();
    const outcomes = [
      outcomeOf(session.acquire(terms("c"), aborter.signal)),
      outcomeOf(session.acquire(terms("d"))),
      outcomeOf(session.call(5_000, (id) => ["check", id, "e", 5_000])),
      outcomeOf(session.call(5_000, (id) => ["unlock", id, "f"])),
      outcomeOf(second.release()),
    ];
    aborter.abort();
    await world.run(100);
    const asked = script.visit.messages.slice(-6);
    expect(kindsOf(asked)).toEqual(["acquire", "acquire", "check", "unlock", "release", "cancel"]);
    await reconnect(on);
    const { frames } = script.visit;
    expect(frames).toHaveLength(1);
    const said = frames[0]!.messages;
    expect(kindsOf(said)).toEqual([
      "hello",
      "hold",
      "hold",
      "cancel",
      "acquire",
      "check",
      "unlock",
      "release",
      "sync",
    ]);
    expect(said[1]).toMatchObject(["hold", first.token, "a", { maxHoldMs: 60_000, metadata: { n: 1 } }]);
    // Its release was not answered: it may still be held.
    expect(said[2]).toEqual(["hold", second.token, "b", { heldMs: expect.any(Number) }]);
    expect(idsOf(said.slice(3, 8))).toEqual([asked[5]![1], ...idsOf(asked.slice(1, 5))]);
    expect(outcomes.map(({ state }) => state)).toEqual([
      "rejected",
      "pending",
      "pending",
      "pending",
      "pending",
    ]);
  });

  test("[R3c] has the same session, a number that rises, and says since when it was welcomed", async () => {
    const on = await connected();
    const lease = await on.world.settled(on.session.acquire(terms("a")));
    for (let at = 0; at < 4; at++) await reconnect(on);
    const hellos = on.script.visits.map((visit) => visit.of("hello")[0]![1]);
    expect(hellos.map(({ connection }) => connection)).toEqual([1, 2, 3, 4, 5]);
    expect(hellos.map(({ resume }) => resume)).toEqual([false, true, true, true, true]);
    expect(new Set(hellos.map(({ session, client }) => `${client} ${session}`)).size).toBe(1);
    lease.assertHeld();
  });

  test("[R3d] before the first welcome it is no resume: the session may have to be opened anew", async () => {
    const { world, script, session } = stage();
    script.mute.add("sync");
    const outcome = outcomeOf(session.acquire(terms("a")));
    await world.run(100);
    // It was granted, but what the server has heard is not known yet.
    expect(outcome.state).toBe("pending");
    script.visit.line.cut();
    await world.until(() => script.visits.length === 2 && script.visit.of("sync").length === 1);
    const [, hello] = script.visit.of("hello")[0]!;
    expect(hello).toMatchObject({ connection: 2, resume: false });
    expect(script.visit.of("acquire")).toHaveLength(1);
  });

  test("[R3e] a request keeps its ticket, and what is left of its wait", async () => {
    const on = await connected();
    const { world, script, session } = on;
    script.answer = ([kind, id]) => (kind === "acquire" ? [["queued", id, 42, 3]] : null);
    const outcome = outcomeOf(session.acquire(terms("a", { waitMs: 30_000 })));
    await world.run(10_000);
    const [, id, , waitMs] = script.visit.of("acquire")[0]!;
    expect(waitMs).toBe(30_000);
    await reconnect(on);
    const [, idAgain, , waitAgainMs, extra] = script.visit.of("acquire")[0]!;
    expect(idAgain).toBe(id);
    expect(waitAgainMs).toBeGreaterThan(19_000);
    expect(waitAgainMs).toBeLessThanOrEqual(20_000);
    expect(extra).toEqual({ ticket: 42 });
    script.visit.say(["granted", id, 7, { ticket: 42 }]);
    await world.until(() => outcome.state === "resolved");
    expect(outcome.value!.ticket).toBe(42);
  });

  test("[R3f] a wait for ever stays one", async () => {
    const on = await connected();
    on.script.mute.add("acquire");
    void outcomeOf(on.session.acquire(terms("a", { waitMs: Number.POSITIVE_INFINITY })));
    await on.world.run(100);
    await reconnect(on);
    expect(on.script.visit.of("acquire")[0]).toEqual(["acquire", expect.any(Number), "a", null]);
  });

  test("[R3g] a hold that the server does not have is lost, and its holder told", async () => {
    const on = await connected();
    const lease = await on.world.settled(on.session.acquire(terms("a")));
    const other = await on.world.settled(on.session.acquire(terms("b")));
    const { signal } = lease;
    on.script.answer = ([kind, token]) =>
      kind === "hold" && token === lease.token ? [["lost", lease.token, "expiry"]] : null;
    await reconnect(on);
    await on.world.run(10);
    expect(signal.reason).toBeInstanceOf(LockLostError);
    other.assertHeld();
  });

  test("[R3h] a hold that is not trusted any more is named as lost, once", async () => {
    const on = await connected();
    const { world, machine, script, session } = on;
    const lease = await world.settled(session.acquire(terms("a")));
    const { signal } = lease;
    script.mute.add("acquire");
    void outcomeOf(session.acquire(terms("b")));
    await world.run(10);
    machine.block();
    script.visit.line.cut();
    await world.run(20_000);
    machine.wake(false);
    await world.until(() => script.visits.length === 2 && script.visit.of("sync").length === 1);
    expect(signal.aborted).toBe(true);
    expect(script.visit.of("hold")).toEqual([
      ["hold", lease.token, "a", { heldMs: expect.any(Number), lost: true }],
    ]);
    await world.run(10);
    await reconnect(on);
    expect(script.visit.of("hold")).toHaveLength(0);
  });

  test("[L8m] so is one whose own time has run out meanwhile, but not after the server has ended it", async () => {
    for (const isTold of [false, true]) {
      const on = await connected();
      const { world, script, session } = on;
      const lease = await world.settled(session.acquire(terms("a", { maxHoldMs: 1_000 })));
      await world.run(1_000);
      expect(lease.isHeld).toBe(false);
      if (isTold) script.visit.say(["lost", lease.token, "expiry"]);
      await world.run(10);
      await reconnect(on);
      const named = script.visit.of("hold").map(([, token, , extra]) => [token, extra?.lost]);
      expect(named).toEqual(isTold ? [] : [[lease.token, true]]);
    }
  });

  test("[R3i] who hears of the loss at that moment may ask again at once: all still goes out in the order of the ids", async () => {
    const on = await connected();
    const { world, machine, script, session } = on;
    const lease = await world.settled(session.acquire(terms("a")));
    script.mute.add("acquire");
    const pending = outcomeOf(session.acquire(terms("b")));
    const asked: ReturnType<typeof outcomeOf>[] = [];
    lease.signal.addEventListener("abort", () => asked.push(outcomeOf(session.acquire(terms("a")))));
    await world.run(10);
    // It is back just when trust runs out: the socket opens before any timer fires.
    script.visit.line.cut();
    await world.until(() => world.lines.length === 2);
    machine.block();
    await world.run(20_000);
    machine.wake(false);
    await world.until(() => script.visits.length >= 2 && script.visit.of("sync").length === 1);
    const said = script.visit.messages;
    expect(said[0]![0]).toBe("hello");
    const ids = idsOf(said.slice(1, -1)) as number[];
    expect(ids).toEqual([...ids].sort((a, b) => a - b));
    expect(new Set(ids).size).toBe(ids.length);
    expect([pending, ...asked].map(({ state }) => state)).toEqual(["pending", "pending"]);
  });

  test("[R3j] what still arrives on a connection that was given up is ignored", async () => {
    const on = await connected();
    const { world, script, session } = on;
    script.mute.add("acquire");
    const outcome = outcomeOf(session.acquire(terms("a")));
    await world.run(10);
    const old = script.visit;
    const [, id] = old.of("acquire")[0]!;
    script.mute.add("heartbeat");
    await world.until(() => script.visits.length === 2);
    old.say(["granted", id, 99], ["ended", "SESSION_ENDED", "over"]);
    await world.run(100);
    expect(outcome.state).toBe("pending");
    expect(script.visits).toHaveLength(2);
    script.visit.say(["granted", id, 7]);
    await world.until(() => outcome.state === "resolved");
    expect(outcome.value!.token).toBe(7);
  });
});

describe("answers of unknown fate", () => {
  test("[Q6a] are asked for again under the same id, once for each connection, until one comes", async () => {
    const on = await connected();
    const { world, script, session } = on;
    await world.settled(session.acquire(terms("b")));
    script.mute.add("release");
    const outcome = outcomeOf(session.releaseAny(7, "a"));
    await world.run(50);
    for (let at = 0; at < 3; at++) await reconnect(on);
    script.visit.say(["done", script.visit.of("release")[0]![1], true]);
    await world.until(() => outcome.state === "resolved");
    expect(outcome.value).toBe(true);
    const sent = script.visits.map((visit) => idsOf(visit.of("release")));
    expect(sent.map((ids) => ids.length)).toEqual([1, 1, 1, 1]);
    expect(new Set(sent.flat()).size).toBe(1);
    await reconnect(on);
    expect(script.visit.of("release")).toHaveLength(0);
  });

  test("[Q6b] a grant that is told twice is one grant: the second telling gives nothing back", async () => {
    const { world, script, session } = await connected();
    const lease = await world.settled(session.acquire(terms("a")));
    const detached = await world.settled(session.acquire(terms("b", { detachedMs: 60_000 })));
    const [first, second] = idsOf(script.visit.of("acquire")) as [number, number];
    script.visit.say(["granted", first, lease.token], ["granted", second, detached.token]);
    await world.run(1_000);
    expect(script.visit.of("release")).toHaveLength(0);
    lease.assertHeld();
    detached.assertHeld();
  });

  test("[Q6c] UNAVAILABLE is no answer: the request stays, and goes out again under its id", async () => {
    const { world, script, session } = await connected();
    script.answer = ([kind, id]) => (kind === "acquire" ? [["refused", id, "UNAVAILABLE", "later"]] : null);
    const outcome = outcomeOf(session.acquire(terms("a")));
    await world.run(10);
    const [, id] = script.visit.of("acquire")[0]!;
    script.answer = () => null;
    script.visit.end("UNAVAILABLE");
    await world.until(() => outcome.state === "resolved");
    expect(script.visits).toHaveLength(2);
    expect(script.visit.of("acquire")[0]![1]).toBe(id);
    expect(script.visit.of("hello")[0]![1].resume).toBe(true);
  });
});

describe("giving up", () => {
  test("[Q7a] an abort rejects at once with the signal's reason, and the server is told", async () => {
    const { world, script, session } = await connected();
    script.mute.add("acquire");
    const aborter = new AbortController();
    const outcome = outcomeOf(session.acquire(terms("a"), aborter.signal));
    await world.run(10);
    const reason = new Error("the user went home");
    aborter.abort(reason);
    await world.run(0);
    expect(outcome.error).toBe(reason);
    await world.run(10);
    expect(idsOf(script.visit.of("cancel"))).toEqual(idsOf(script.visit.of("acquire")));
  });

  test("[Q7b] a signal that was aborted before asks nothing", async () => {
    const { world, script, session } = stage();
    const reason = new Error("too late");
    expect(() => session.acquire(terms("a"), AbortSignal.abort(reason))).toThrow(reason);
    await world.run(1_000);
    expect(script.visits).toHaveLength(0);
  });

  test("[Q7c] what was never sent need not be taken back", async () => {
    const { world, script, session } = stage();
    const aborter = new AbortController();
    const outcome = outcomeOf(session.acquire(terms("a"), aborter.signal));
    aborter.abort();
    await world.run(1_000);
    expect(outcome.state).toBe("rejected");
    expect(script.visits.flatMap((visit) => visit.of("acquire"))).toHaveLength(0);
  });

  test("[Q7d] an abort after the grant changes nothing", async () => {
    const { world, script, session } = await connected();
    const aborter = new AbortController();
    const lease = await world.settled(session.acquire(terms("a"), aborter.signal));
    aborter.abort();
    await world.run(1_000);
    lease.assertHeld();
    expect(script.visit.of("cancel")).toHaveLength(0);
  });

  test("[Q7e] an unconfirmed cancel brings the client back, even if nothing else does, but keeps no process alive", async () => {
    const on = await connected();
    const { world, runtime, script, session } = on;
    for (const kind of ["acquire", "cancel"] as const) script.mute.add(kind);
    const aborter = new AbortController();
    void outcomeOf(session.acquire(terms("a"), aborter.signal));
    await world.run(10);
    aborter.abort();
    await world.run(10);
    expect(runtime.isKeptAlive).toBe(false);
    await reconnect(on);
    expect(script.visit.of("cancel")).toHaveLength(1);
    script.visit.say(["done", script.visit.of("cancel")[0]![1] as number, true]);
    await world.run(10);
    // Confirmed: it is not said again.
    await reconnect(on);
    expect(script.visit.of("cancel")).toEqual([]);
  });
});
