import { describe, expect, test } from "vitest";
import { LockLostError } from "../../src/client/errors.js";
import type { HeldLease } from "../../src/client/lease.js";
import { stage, terms } from "./script.js";
import { outcomeOf } from "./virtual.js";

describe("asking again inside a hold", () => {
  test("[D3k] a hold that was lost meanwhile is not believed in again, whatever the server still says", async () => {
    const { world, script, session } = stage();
    const outer = (await world.settled(session.acquire(terms("disk", { maxHoldMs: 1_000 })))) as HeldLease;
    script.answer = ([kind]) => (kind === "acquire" ? [] : null);
    const inside = { enclosing: outer.enclosing, reentrant: true };
    const asked = outcomeOf(session.acquire(terms("disk", inside)));
    await world.run(2_000);
    expect(outer.isLost).toBe(true);
    const [, id] = script.visit.of("acquire")[1]!;
    script.visit.say(["granted", id, outer.token, { reentrant: true, expiresInMs: 9_000 }]);
    await world.run(10);
    expect(asked.error).toBeInstanceOf(LockLostError);
  });

  test("[D3l] a request that was given up gives nothing back that was granted again", async () => {
    const { world, script, session } = stage();
    const outer = (await world.settled(session.acquire(terms("disk")))) as HeldLease;
    script.answer = ([kind]) => (kind === "acquire" || kind === "cancel" ? [] : null);
    const controller = new AbortController();
    const inside = { enclosing: outer.enclosing, reentrant: true };
    void outcomeOf(session.acquire(terms("disk", inside), controller.signal));
    await world.run(10);
    controller.abort();
    const [, id] = script.visit.of("acquire")[1]!;
    script.visit.say(["granted", id, outer.token, { reentrant: true, expiresInMs: 9_000 }]);
    await world.run(10);
    expect(script.visit.of("cancel").map((message) => message.slice(0, 3))).toContainEqual(["cancel", id]);
    expect(script.visit.of("cancel").some(([, , token]) => token !== undefined)).toBe(false);
    expect(outer.isHeld).toBe(true);
  });
});
