import { describe, expect, test } from "vitest";
import type { ClientSession } from "../../src/client/session.js";
import { abortAsGranted, engineStage } from "./engine-stage.js";
import { terms } from "./script.js";
import { outcomeOf } from "./virtual.js";

describe("with a real engine", () => {
  test("[Q7f] a grant that crosses the abort is not used and not leaked", async () => {
    const { world, client } = await engineStage();
    const [ann, bob] = [client("ann"), client("bob")];
    await ann.inspect("x");
    for (const waitMs of [0, 1, 1.5, 2, 3]) {
      const aborter = new AbortController();
      const outcome = outcomeOf(ann.session.acquire(terms("a"), aborter.signal));
      await world.run(waitMs);
      const isGranted = outcome.state === "resolved";
      aborter.abort();
      await world.run(20);
      if (isGranted) await world.settled(outcome.value!.release());
      expect((await bob.inspect("a")).holders).toEqual([]);
    }
  });

  test("[Q7g] also when it arrives in the very turn of the abort, and the cancel's frame acknowledges it", async () => {
    const { world, client } = await engineStage();
    const [ann, bob] = [client("ann"), client("bob")];
    await ann.inspect("x");
    const outcome = await abortAsGranted(world, ann, "a");
    expect(outcome.state).toBe("rejected");
    expect((await bob.inspect("a")).holders).toEqual([]);
  });

  test("[Q7h] also when the connection drops between, for a session hold and a detached one", async () => {
    for (const detachedMs of [null, 300_000]) {
      for (const cutAfterMs of [0.5, 1, 1.5, 2, 3]) {
        const { world, client } = await engineStage();
        const [ann, bob] = [client("ann"), client("bob")];
        await ann.inspect("x");
        const aborter = new AbortController();
        const outcome = outcomeOf(ann.session.acquire(terms("a", { detachedMs }), aborter.signal));
        await world.run(1.2);
        aborter.abort();
        await world.run(cutAfterMs);
        ann.line().cut();
        await world.run(1_000);
        expect(outcome.state).toBe("rejected");
        expect((await bob.inspect("a")).holders).toEqual([]);
      }
    }
  });

  test("[Q7i] a detached grant is taken back even when the session ended before the cancel got through", async () => {
    const { world, client } = await engineStage();
    const [ann, bob] = [client("ann"), client("bob")];
    await ann.inspect("x");
    const aborter = new AbortController();
    void outcomeOf(ann.session.acquire(terms("a", { detachedMs: 300_000 }), aborter.signal));
    await world.run(1.2);
    ann.machine.cutOff();
    aborter.abort();
    // The server hears nothing for longer than the lease.
    await world.run(15_000);
    expect((await bob.inspect("a")).holders).toHaveLength(1);
    ann.machine.reachable();
    await world.run(10_000);
    expect((await bob.inspect("a")).holders).toEqual([]);
  });

  test("[R3k] a request that is given up while another one waits for the same lock frees it for that one, once", async () => {
    const { world, client } = await engineStage();
    const [ann, bob] = [client("ann"), client("bob")];
    await ann.inspect("x");
    const aborter = new AbortController();
    void outcomeOf(ann.session.acquire(terms("a"), aborter.signal));
    const second = outcomeOf(ann.session.acquire(terms("a")));
    // The first is granted and the second queued, but nobody hears of it.
    await world.run(1.2);
    ann.line().lose();
    aborter.abort();
    ann.line().cut();
    await world.until(() => second.state === "resolved");
    const rival = outcomeOf(bob.session.acquire(terms("a")));
    await world.run(5_000);
    // The grant may have been told twice. It is believed, so nobody else may have it.
    second.value!.assertHeld();
    expect(rival.state).toBe("pending");
    expect((await bob.inspect("a")).holders).toMatchObject([{ owner: "ann", token: second.value!.token }]);
  });

  test("[R3l] holds and queue places survive lost connections and a crash of the server", async () => {
    const { world, server, client } = await engineStage();
    const [ann, bob] = [client("ann"), client("bob")];
    const lease = await world.settled(ann.session.acquire(terms("a", { waitMs: 60_000 })));
    const next = outcomeOf(bob.session.acquire(terms("a", { waitMs: 60_000 })));
    await world.run(100);
    for (let at = 0; at < 3; at++) {
      ann.line().cut();
      bob.line().cut();
      await world.run(1_000);
    }
    server.crash();
    await world.run(2_000);
    await server.start();
    await world.run(3_000);
    lease.assertHeld();
    expect(next.state).toBe("pending");
    expect(await world.settled(lease.release())).toBe(true);
    await world.until(() => next.state === "resolved");
    expect(next.value!.token).toBeGreaterThan(lease.token);
  });

  test("[Q6d] whatever is asked has its answer, wherever on its way the connection breaks", async () => {
    type Ask = (session: ClientSession, token: number) => Promise<unknown>;
    const asks: [what: string, ask: Ask, answer: unknown][] = [
      ["acquire", (session) => session.acquire(terms("free")).then((lease) => lease.isHeld), true],
      [
        "a try",
        (session) => session.acquire(terms("taken", { waitMs: 0 })).catch((e) => e.code),
        "LOCK_TIMEOUT",
      ],
      ["release", (session, token) => session.releaseAny(token, "detached"), true],
      ["a vain release", (session) => session.releaseAny(99, "free"), false],
      ["unlock", (session) => session.call(5_000, (id) => ["unlock", id, "detached"]), true],
      ["a vain unlock", (session) => session.call(5_000, (id) => ["unlock", id, "free"]), false],
      ["check", (session) => session.call(5_000, (id) => ["check", id, "taken", 5_000]), true],
    ];
    const wrong: string[] = [];
    for (const [what, ask, answer] of asks) {
      for (const cutAfterMs of [0.2, 1, 1.2, 2]) {
        const { world, client } = await engineStage();
        const [ann, bob] = [client("ann"), client("bob")];
        await world.settled(bob.session.acquire(terms("taken")));
        const { token } = await world.settled(ann.session.acquire(terms("detached", { detachedMs: 60_000 })));
        const outcome = outcomeOf(ask(ann.session, token).catch(({ code }) => code));
        await world.run(cutAfterMs);
        ann.line().cut();
        await world.until(() => outcome.state !== "pending");
        if (outcome.value !== answer) wrong.push(`${what}, cut after ${cutAfterMs} ms: ${outcome.value}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  test("[R3m] a release whose answer is lost is true, however often the connection breaks", async () => {
    for (const cutAfterMs of [0.2, 1, 1.2, 2]) {
      const { world, client } = await engineStage();
      const ann = client("ann");
      const lease = await world.settled(ann.session.acquire(terms("a")));
      const released = outcomeOf(lease.release());
      await world.run(cutAfterMs);
      ann.line().cut();
      await world.until(() => released.state !== "pending");
      expect(released.value).toBe(true);
      expect((await ann.inspect("a")).holders).toEqual([]);
    }
  });

  test("[L5x] a hold that is shorter than a heartbeat is granted in time after a long wait", async () => {
    const { world, client } = await engineStage();
    const [ann, bob] = [client("ann"), client("bob")];
    for (const [own, shortMs] of [
      ["maxHoldMs", 1_000],
      ["maxHoldMs", 250],
      ["detachedMs", 1_000],
    ] as const) {
      for (const heldMs of [700, 3_100, 8_000]) {
        const lease = await world.settled(ann.session.acquire(terms("a")));
        const outcome = outcomeOf(bob.session.acquire(terms("a", { [own]: shortMs })));
        await world.run(heldMs);
        await world.settled(lease.release());
        await world.until(() => outcome.state !== "pending");
        // At the first attempt: a grant that is given back has taken a token.
        expect(outcome.value!.token).toBe(lease.token + 1);
        expect(outcome.value!.remainingMs).toBeGreaterThan((shortMs * 0.97 - 200) / 2);
        await world.settled(outcome.value!.release());
      }
    }
  });

  test("[L4i] and no more heartbeats are sent than that needs", async () => {
    const { world, client } = await engineStage();
    const [ann, bob] = [client("ann"), client("bob")];
    const lease = await world.settled(ann.session.acquire(terms("a")));
    const outcome = outcomeOf(bob.session.acquire(terms("a", { maxHoldMs: 1_000 })));
    await world.run(100);
    const sent = () => bob.line().sent.length;
    let before = sent();
    await world.run(9_900);
    // A quarter of the 770 ms for which such a hold can be trusted.
    expect(sent() - before).toBeGreaterThan(40);
    expect(sent() - before).toBeLessThan(56);
    await world.settled(lease.release());
    await world.until(() => outcome.state !== "pending");
    await world.settled(outcome.value!.release());
    before = sent();
    await world.run(10_000);
    expect(sent() - before).toBeLessThan(5);
  });

  test("[Q11j] who is lost by its own clocks is no clean end: the next holder is told", async () => {
    const { world, client } = await engineStage();
    const [ann, bob] = [client("ann"), client("bob")];
    const lease = await world.settled(ann.session.acquire(terms("a")));
    ann.machine.jumpWall(3_600_000);
    await world.run(2_000);
    expect(lease.signal.aborted).toBe(true);
    const next = await world.settled(bob.session.acquire(terms("a")));
    expect(next.previous).toEqual({ endedBy: "expiry", token: lease.token, owner: "ann" });
    await world.settled(next.release());
    expect((await world.settled(bob.session.acquire(terms("a")))).previous).toBeUndefined();
  });

  test("[L9n] a hold that is freed by force is lost at once, and others have the lock", async () => {
    const { world, client } = await engineStage();
    const [ann, bob] = [client("ann"), client("bob")];
    const lease = await world.settled(ann.session.acquire(terms("a")));
    const { signal } = lease;
    await world.settled(bob.force("a", lease.token));
    await world.run(10);
    expect(signal.reason).toMatchObject({
      code: "LOCK_LOST",
      message: expect.stringMatching(/freed by force/),
    });
    expect(await lease.release()).toBe(false);
    const next = await world.settled(bob.session.acquire(terms("a")));
    expect(next.previous).toMatchObject({ endedBy: "force", owner: "ann" });
    const again = outcomeOf(bob.force("a", lease.token));
    await world.until(() => again.state !== "pending");
    expect(again.error).toMatchObject({ code: "NOT_HELD", details: { holder: { owner: "bob" } } });
  });

  test("[R3s] also when its holder is away and the server crashes before it returns", async () => {
    const { world, server, client } = await engineStage();
    const [ann, bob] = [client("ann"), client("bob")];
    const lease = await world.settled(ann.session.acquire(terms("a")));
    const { signal } = lease;
    ann.machine.block();
    ann.line().cut();
    await world.settled(bob.force("a", lease.token));
    server.crash();
    await server.start();
    ann.machine.wake();
    await world.until(() => signal.aborted);
    expect(signal.reason).toMatchObject({ message: expect.stringMatching(/freed by force/) });
    await world.run(1_000);
    expect((await bob.inspect("a")).holders).toEqual([]);
  });
});
