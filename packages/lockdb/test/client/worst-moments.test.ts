import { describe, expect, test } from "vitest";
import { abortAsGranted, engineStage } from "./engine-stage.js";
import { stage, terms } from "./script.js";
import { outcomeOf } from "./virtual.js";

describe("grants that were not heard", () => {
  test("[R3ae] one that was freed by force is not told again when its session is back", async () => {
    const { world, connected } = await engineStage();
    const { ann, bob } = await connected("ann", "bob");
    const outcome = outcomeOf(ann.session.acquire(terms("a")));
    await world.run(1.2);
    // It is granted at the server, and the answer is on its way.
    ann.line().lose();
    const [holder] = (await bob.inspect("a")).holders;
    await world.settled(bob.force("a", holder!.token));
    const next = await world.settled(bob.session.acquire(terms("a")));
    ann.line().cut();
    await world.run(60_000);
    next.assertHeld();
    expect(outcome.state).toBe("rejected");
    expect(outcome.error).toMatchObject({ code: "LOCK_LOST" });
  });

  test("[R3af] nor is a detached one", async () => {
    const { world, connected } = await engineStage();
    const { ann, bob } = await connected("ann", "bob");
    const outcome = outcomeOf(ann.session.acquire(terms("a", { detachedMs: 300_000 })));
    await world.run(1.2);
    ann.line().lose();
    const [holder] = (await bob.inspect("a")).holders;
    await world.settled(bob.force("a", holder!.token));
    ann.line().cut();
    await world.run(5_000);
    expect(outcome.error).toMatchObject({ code: "LOCK_LOST" });
  });

  test("[R3ag] one that was lost before the welcome is not believed after it", async () => {
    const { world, script, session } = stage();
    await world.settled(session.call(5_000, (id) => ["inspect", id, "x"]));
    script.mute.add("acquire");
    script.mute.add("sync");
    const outcome = outcomeOf(session.acquire(terms("a")));
    await world.run(10);
    script.visit.line.cut();
    await world.run(1_000);
    const [, id] = script.visit.of("acquire")[0]!;
    const [, { session: name, leaseMs }] = script.visit.of("hello")[0]!;
    script.visit.say(["granted", id, 7]);
    script.visit.say(["lost", 7, "force"]);
    script.visit.say(["welcome", { session: name, leaseMs, resumed: true }]);
    await world.run(10);
    expect(outcome.state).toBe("resolved");
    expect(outcome.value!.remainingMs).toBe(0);
    expect(outcome.value!.signal.aborted).toBe(true);
  });

  /** ann has asked for many locks with much metadata, and heard nothing. The second frame of her resume is late. */
  async function resumeInFrames() {
    const { world, connected } = await engineStage();
    const { ann, bob } = await connected("ann", "bob");
    const metadata = { note: "m".repeat(1_000) };
    const asked = Array.from({ length: 400 }, (_, n) =>
      outcomeOf(ann.session.acquire(terms(`lock${n}`, { metadata }))),
    );
    await world.run(0.5);
    ann.line().losesToClient = true;
    await world.run(100);
    const { token, owner } = (await bob.inspect("lock0")).holders[0]!;
    expect(owner).toBe("ann");
    ann.line().cut();
    let isLate = false;
    world.latencyMs = () => {
      const isSecond = !isLate && world.lines.at(-1)!.sent.length === 2;
      isLate ||= isSecond;
      return isSecond ? 50 : 1;
    };
    await world.until(() => world.lines.at(-1)!.machine === ann.machine && ann.line().sent.length >= 2);
    await world.run(10);
    world.latencyMs = () => 1;
    return { world, ann, bob, asked, token };
  }

  test("[R3ah] also when force falls between the frames of a long resume", async () => {
    const { world, bob, asked, token } = await resumeInFrames();
    await world.settled(bob.force("lock0", token));
    await world.run(20_000);
    const next = await world.settled(bob.session.acquire(terms("lock0")));
    expect(next.remainingMs).toBeGreaterThan(0);
    expect(asked[0]!.value?.remainingMs ?? 0).toBe(0);
  });

  test("[Q6m] answers that are only put aside are not acknowledged: they come again if the connection breaks", async () => {
    const { world, ann, asked } = await resumeInFrames();
    void outcomeOf(ann.session.acquire(terms("other")));
    await world.run(5);
    ann.line().losesToClient = true;
    await world.run(100);
    ann.line().cut();
    await world.run(3_000);
    expect(asked.filter(({ state }) => state !== "resolved")).toEqual([]);
  });
});

describe("what the next holder is told", () => {
  test("[Q11l] stays when a grant that crosses an abort is given back", async () => {
    const { world, connected } = await engineStage();
    const { ann, bob } = await connected("ann", "bob");
    const lease = await world.settled(bob.session.acquire(terms("a")));
    await world.settled(ann.force("a", lease.token));
    const outcome = await abortAsGranted(world, ann, "a");
    expect(outcome.state).toBe("rejected");
    expect(await bob.inspect("a")).toMatchObject({ holders: [], previous: { endedBy: "force" } });
  });

  test("[Q11m] stays when a grant comes too late and is asked for again", async () => {
    const { world, connected } = await engineStage();
    const { ann, bob } = await connected("ann", "bob");
    const lease = await world.settled(bob.session.acquire(terms("a")));
    await world.settled(ann.force("a", lease.token));
    const outcome = outcomeOf(ann.session.acquire(terms("a", { maxHoldMs: 300 })));
    await world.run(1.9);
    ann.machine.block();
    await world.run(200);
    ann.machine.wake();
    await world.run(50);
    expect(outcome.value!.token).toBe(lease.token + 2);
    expect(outcome.value!.previous).toMatchObject({ endedBy: "force", token: lease.token });
  });

  test("[Q11n] is told though the client was closed as soon as its hold had ended by itself", async () => {
    const { world, connected } = await engineStage();
    const { ann, bob } = await connected("ann", "bob");
    const lease = await world.settled(ann.session.acquire(terms("a", { maxHoldMs: 60_000 })));
    lease.signal.addEventListener("abort", () => void ann.session.close());
    await world.run(61_000);
    expect(lease.signal.aborted).toBe(true);
    const next = await world.settled(bob.session.acquire(terms("a")));
    expect(next.previous).toMatchObject({ endedBy: "expiry", token: lease.token });
  });
});

describe("after a crash", () => {
  test("[R3ai] a healthy holder keeps its lock, though the one before it is back first and names it as lost", async () => {
    const { world, server, connected } = await engineStage();
    const { ann, bob, cid } = await connected("ann", "bob", "cid");
    await world.settled(server.setLockDelay(2_000));
    const before = await world.settled(ann.session.acquire(terms("a", { maxHoldMs: 5_000 })));
    const outcome = outcomeOf(bob.session.acquire(terms("a", { waitMs: 60_000 })));
    await world.run(4_500);
    // ann hears nothing for a few seconds, less than her session's lease. Her hold ends by its longest time.
    ann.machine.cutOff();
    await world.until(() => outcome.state === "resolved");
    expect(before.remainingMs).toBe(0);
    server.crash();
    await server.start();
    bob.machine.cutOff();
    ann.machine.reachable();
    for (const line of world.lines) if (line.machine === ann.machine) line.cut();
    await world.run(200);
    bob.machine.reachable();
    for (const line of world.lines) if (line.machine === bob.machine) line.cut();
    const next = outcomeOf(cid.session.acquire(terms("a", { waitMs: 60_000 })));
    await world.run(4_000);
    expect(outcome.value!.remainingMs).toBeGreaterThan(0);
    expect(next.state).toBe("pending");
    await world.settled(outcome.value!.release());
    await world.until(() => next.state === "resolved");
  });

  test("[L7g] a minimum hold lasts as long as it should", async () => {
    const { world, server, connected } = await engineStage();
    const { ann, bob, cid } = await connected("ann", "bob", "cid");
    const first = await world.settled(bob.session.acquire(terms("a")));
    const outcome = outcomeOf(ann.session.acquire(terms("a", { minHoldMs: 5_000 })));
    await world.run(3_200);
    await world.settled(first.release());
    await world.until(() => outcome.state === "resolved");
    const grantedAtMs = world.nowMs;
    server.crash();
    await server.start();
    await world.run(1_000);
    await world.settled(outcome.value!.release());
    await world.settled(cid.session.acquire(terms("a")));
    expect(world.nowMs - grantedAtMs).toBeGreaterThan(4_990);
  });
});
