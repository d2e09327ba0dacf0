import { describe, expect, test } from "vitest";
import type { HeldLease } from "../../src/client/lease.js";
import { stage, terms } from "./script.js";
import { outcomeOf } from "./virtual.js";

describe("what a session's holds hear", () => {
  test("[L6j] all are warned when half of the lease has passed without a renewal, and lost at its end, in order", async () => {
    const { world, machine, session } = stage();
    const heard: string[] = [];
    for (const name of ["disk", "tape"]) {
      const lease = (await world.settled(session.acquire(terms(name)))) as HeldLease;
      lease.onAtRisk(() => heard.push(`${name} at risk`));
      lease.signal.addEventListener("abort", () => heard.push(`${name} lost`));
    }
    machine.cutOff();
    await world.run(6_000);
    expect(heard).toEqual(["disk at risk", "tape at risk"]);
    await world.run(6_000);
    expect(heard.slice(2)).toEqual(["disk lost", "tape lost"]);
  });

  test("[L5ie] a detached hold whose time is over throws when it is asked, though no timer could fire", async () => {
    const { world, machine, session } = stage();
    const lease = (await world.settled(session.acquire(terms("disk", { detachedMs: 2_000 })))) as HeldLease;
    machine.block();
    await world.run(2_000);
    expect(() => lease.assertHeld()).toThrow(/its lease ran out/);
    expect(lease.isLost).toBe(true);
  });

  test("[R3xc] a loss that the server has heard, or has said itself, is not said again by the next connection", async () => {
    for (const end of ["heard", "said", "neither"]) {
      const { world, machine, script, session } = stage();
      const lease = (await world.settled(session.acquire(terms("disk", { maxHoldMs: 1_000 })))) as HeldLease;
      if (end === "neither") machine.cutOff();
      await world.run(1_500);
      expect(lease.isLost).toBe(true);
      if (end === "said") script.visit.say(["lost", lease.token, "expiry"]);
      if (end === "heard") script.visit.line.cut();
      await world.run(3_000);
      if (end === "neither") machine.reachable();
      else script.visit.line.cut();
      await world.run(20_000);
      const claims = script.visit.of("hold").map(([, token, , extra]) => [token, extra?.lost]);
      expect({ end, claims }).toEqual({ end, claims: end === "neither" ? [[lease.token, true]] : [] });
    }
  });
});

describe("what is not said", () => {
  test("[L9ib] a detached hold that came to its end is nothing that the next connection tells of", async () => {
    const { world, script, session } = stage();
    const lease = (await world.settled(session.acquire(terms("disk", { detachedMs: 1_000 })))) as HeldLease;
    await world.run(1_500);
    expect(lease.signal.aborted).toBe(true);
    expect(lease.isLost).toBe(true);
    script.visit.line.cut();
    await world.run(5_000);
    expect(script.visits).toHaveLength(2);
    expect(script.visit.of("hold")).toEqual([]);
  });

  test("[Q7id] a grant that is told twice is not given back", async () => {
    const { world, script, session } = stage();
    const lease = (await world.settled(session.acquire(terms("disk")))) as HeldLease;
    const [, id] = script.visit.of("acquire")[0]!;
    script.visit.say(["granted", id, lease.token]);
    await world.run(10);
    expect(script.visit.of("cancel")).toEqual([]);
    lease.assertHeld();
  });

  test("[L5ih] why a hold was lost is what the server says: force, or its end", async () => {
    for (const [endedBy, text] of [
      ["force", /freed by force/],
      ["expiry", /the server ended it/],
    ] as const) {
      const { world, script, session } = stage();
      const lease = (await world.settled(session.acquire(terms("disk")))) as HeldLease;
      script.visit.say(["lost", lease.token, endedBy]);
      await world.run(10);
      expect(() => lease.assertHeld()).toThrow(text);
    }
  });

  test("[R3xe] what another session was granted is not what this one holds: its grant counts from when it asked itself", async () => {
    const { world, script, session } = stage();
    script.mute.add("acquire");
    const asked = outcomeOf(session.acquire(terms("disk", { maxHoldMs: 5_000, waitMs: 60_000 })));
    await world.run(4_900);
    script.mute.delete("acquire");
    script.visit.end("SESSION_ENDED");
    await world.run(3_000);
    expect(script.visit.of("hello")[0]?.[1]).toMatchObject({ connection: 1, resume: false });
    expect((asked.value as HeldLease | undefined)?.remainingMs).toBeGreaterThan(1_000);
  });
});

describe("what a session waits for", () => {
  test("[Q7ic] a cancel that a server on its way out has refused goes out again on the next connection", async () => {
    for (const code of ["UNAVAILABLE", "SESSION_ENDED", "NOT_HELD"] as const) {
      const { world, script, session } = stage();
      script.answer = ([kind, id]) => {
        if (kind === "acquire") return [];
        return kind === "cancel" && script.visits.length === 1
          ? [["refused", id as number, code, "-"]]
          : null;
      };
      const controller = new AbortController();
      void outcomeOf(session.acquire(terms("disk"), controller.signal));
      await world.run(10);
      controller.abort();
      await world.run(10);
      script.visit.line.cut();
      await world.run(2_000);
      expect({ code, again: script.visit.of("cancel").length }).toEqual({
        code,
        again: code === "NOT_HELD" ? 0 : 1,
      });
    }
  });

  test("[Q9zc] a watch is told what happens and what was left out, in order", async () => {
    const { world, script, session } = stage();
    script.answer = (message) =>
      message[0] === "watch" ? [["done", message[1], { position: "log.7", missed: false }]] : null;
    const watch = session.watch({});
    const read = [watch.next(), watch.next(), watch.next()].map((each) => outcomeOf(each));
    await world.run(1_000);
    const [, id] = script.visit.of("watch")[0]!;
    const event = { type: "granted", lock: "disk", token: 4 };
    script.visit.say(["event", id, "log.8", "log.7", event] as never, ["gap", id, "log.9"]);
    script.visit.say(["event", id, "log.10", "log.9", { ...event, token: 5 }] as never);
    await world.run(10);
    expect(read.map(({ value }) => value?.value)).toMatchObject([
      expect.objectContaining({ token: 4 }),
      { type: "gap" },
      expect.objectContaining({ token: 5 }),
    ]);
  });

  test("[I1ca] a client that was closed has no timer and no connection left, and makes none when its last one goes", async () => {
    const { world, machine, script, session, runtime } = stage();
    const lease = (await world.settled(session.acquire(terms("disk")))) as HeldLease;
    void outcomeOf(session.call(30_000, (id) => ["inspect", id, "x"]));
    await world.settled(session.close());
    expect(lease.signal.reason).toMatchObject({ message: expect.stringMatching(/was closed/) });
    expect(() => session.watch({})).toThrow(/closed/);
    await world.run(6_000);
    expect({ timers: machine.timerCount, kept: runtime.isKeptAlive, visits: script.visits.length }).toEqual({
      timers: 0,
      kept: false,
      visits: 1,
    });
  });

  test("[I1cb] an idle client whose server is away looks for it, and keeps no process alive", async () => {
    const { world, script, session, runtime } = stage();
    await world.settled(session.call(5_000, (id) => ["inspect", id, "x"]));
    script.refusal = { message: "connect ECONNREFUSED" };
    script.visit.line.cut();
    await world.run(20_000);
    expect(runtime.isKeptAlive).toBe(false);
    script.refusal = null;
    await world.run(20_000);
    expect(script.visits).toHaveLength(2);
  });

  test("[Q10ic] a server that cannot read what was said is left, and all that was asked fails with its words", async () => {
    const { world, script, session } = stage();
    const lease = (await world.settled(session.acquire(terms("disk")))) as HeldLease;
    script.mute.add("inspect");
    const asked = outcomeOf(session.call(5_000, (id) => ["inspect", id, "x"]));
    const watched = outcomeOf(session.watch({}).next());
    await world.run(10);
    const { line } = script.visit;
    script.visit.say(["error", "INVALID", "It makes no sense."]);
    await world.run(10);
    expect(asked.error).toMatchObject({
      code: "INVALID",
      message: expect.stringMatching(/no sense/),
    });
    expect(lease.isLost).toBe(true);
    expect(line.isUp).toBe(false);
    expect(watched.error).toMatchObject({ code: "INVALID" });
  });
});
