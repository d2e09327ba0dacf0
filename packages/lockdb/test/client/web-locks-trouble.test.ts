import type { HolderInfo, LockInfo } from "lockdb/protocol";
import { describe, expect, test, vi } from "vitest";
import { errorOf as lockdbError } from "../../src/client/errors.js";
import { type WebLockOptions, WebLocks } from "../../src/client/web-locks.js";
import { engineStage } from "./engine-stage.js";
import { stage } from "./script.js";
import { outcomeOf } from "./virtual.js";

/** Locks of two clients of one real engine. */
async function pair() {
  const { world, server, connected } = await engineStage();
  const { ann, bob } = await connected("ann", "bob");
  return {
    world,
    server,
    ann,
    bob,
    annLocks: new WebLocks(ann.session),
    bobLocks: new WebLocks(bob.session),
  };
}

/** A request whose callback ends when the test says so. */
function begun(locks: WebLocks, name: string, options: WebLockOptions = {}) {
  let end!: (value: string) => void;
  const ending = new Promise<string>((resolve) => {
    end = resolve;
  });
  const callback = vi.fn(() => ending);
  return { callback, end, outcome: outcomeOf(locks.request(name, options, callback)) };
}

describe("a lease that is lost", () => {
  test("[I1wda] rejects with AbortError by the client's own clock, before anybody else has the lock", async () => {
    const { world, ann, annLocks, bobLocks } = await pair();
    const held = begun(annLocks, "a");
    await world.until(() => held.callback.mock.calls.length === 1);
    const next = begun(bobLocks, "a");
    ann.machine.cutOff();
    await world.until(() => held.outcome.state !== "pending");
    expect(held.outcome).toMatchObject({
      state: "rejected",
      error: { name: "AbortError", cause: { code: "LOCK_LOST" } },
    });
    expect(next.callback).not.toHaveBeenCalled();
    await world.until(() => next.callback.mock.calls.length === 1);
    held.end("too late");
    await world.run(10);
    expect(held.outcome.state).toBe("rejected");
  });

  test("[I1wdb] also when the event loop stood still, and the callback ends before any timer rings", async () => {
    const { world, ann, annLocks } = await pair();
    const held = begun(annLocks, "a");
    await world.until(() => held.callback.mock.calls.length === 1);
    ann.machine.block();
    await world.run(20_000);
    held.end("as if nothing had been");
    await world.run(0);
    expect(held.outcome).toMatchObject({ state: "rejected", error: { name: "AbortError" } });
  });

  test("[I1wdc] lost in the very turn of its grant, the callback is not run", async () => {
    const { world, script, session } = stage();
    script.answer = (message) =>
      message[0] === "acquire"
        ? [
            ["granted", message[1], 1],
            ["lost", 1, "force"],
          ]
        : null;
    const held = begun(new WebLocks(session), "a");
    await world.until(() => held.outcome.state !== "pending");
    expect(held.outcome).toMatchObject({ state: "rejected", error: { name: "AbortError" } });
    expect(held.callback).not.toHaveBeenCalled();
  });

  test("[I1wdd] stolen while the release is on its way, it is AbortError; of unknown fate, it is the result", async () => {
    for (const answer of ["NOT_HELD", "none"] as const) {
      const { world, script, session } = stage();
      if (answer === "none") script.mute.add("release");
      else {
        script.answer = (message) =>
          message[0] === "release" ? [["refused", message[1], answer, "It is over."]] : null;
      }
      const held = begun(new WebLocks(session), "a");
      await world.until(() => held.callback.mock.calls.length === 1);
      held.end("done");
      await world.until(() => held.outcome.state !== "pending");
      if (answer === "none") expect(held.outcome).toMatchObject({ state: "resolved", value: "done" });
      else expect(held.outcome).toMatchObject({ state: "rejected", error: { name: "AbortError" } });
    }
  });
});

describe("a signal", () => {
  test("[I1wde] that aborts in the very turn of the grant gives the lock back unused", async () => {
    const { world, script, session } = stage();
    const aborter = new AbortController();
    const acquire = session.acquire.bind(session);
    session.acquire = (terms, signal) => {
      const asked = acquire(terms, signal);
      asked.then(() => aborter.abort("just now")).catch(() => {});
      return asked;
    };
    const given = begun(new WebLocks(session), "a", { signal: aborter.signal });
    await world.until(() => given.outcome.state !== "pending");
    await world.run(10);
    expect(given.outcome).toMatchObject({ state: "rejected", error: "just now" });
    expect(given.callback).not.toHaveBeenCalled();
    expect(script.visit.of("release")).toHaveLength(1);
  });

  test("[I1wdf] whose reason is an error of LockDB is taken for nothing else", async () => {
    for (const reason of [lockdbError("RECOVERING"), lockdbError("CLOSED"), lockdbError("LOCK_TIMEOUT")]) {
      const { world, script, session } = stage();
      script.mute.add("acquire");
      const aborter = new AbortController();
      const given = begun(new WebLocks(session), "a", { signal: aborter.signal });
      await world.run(100);
      aborter.abort(reason);
      await world.run(3_000);
      expect(given.outcome.error).toBe(reason);
      expect(script.visit.of("acquire")).toHaveLength(1);
    }
  });
});

describe("a server that recovers", () => {
  /** Ann has the lock, and is away when the server comes back after a crash. */
  async function recovering() {
    const all = await pair();
    const { world, server, ann, annLocks } = all;
    const held = begun(annLocks, "a");
    await world.until(() => held.callback.mock.calls.length === 1);
    ann.machine.cutOff();
    server.crash();
    await world.run(100);
    await server.start();
    await world.run(2_000);
    return { ...all, held };
  }

  test("[I1wdg] is asked again by ifAvailable, until it knows: busy when the holder is back", async () => {
    const { world, ann, bob, bobLocks, held } = await recovering();
    const tried = outcomeOf(bobLocks.request("a", { ifAvailable: true }, (lock) => [lock]));
    const free = outcomeOf(bobLocks.request("free", { ifAvailable: true }, (lock) => lock?.name));
    await world.run(4_000);
    expect([tried.state, free.state]).toEqual(["pending", "pending"]);
    // Not in haste: 50 ms, and twice as long each time, up to a second.
    const asked = bob.line().sent.join().split('["acquire"').length - 1;
    expect(asked).toBeGreaterThan(4);
    expect(asked).toBeLessThan(30);
    ann.machine.reachable();
    await world.until(() => tried.state !== "pending" && free.state !== "pending");
    expect(tried.value).toEqual([null]);
    expect(free.value).toBe("free");
    held.end("held all the time");
    await world.until(() => held.outcome.state === "resolved");
  });

  test("[I1wdh] is asked again by steal, which robs the holder when he is back", async () => {
    const { world, ann, bobLocks, held } = await recovering();
    const thief = begun(bobLocks, "a", { steal: true });
    await world.run(2_000);
    expect(thief.callback).not.toHaveBeenCalled();
    ann.machine.reachable();
    await world.until(() => thief.callback.mock.calls.length === 1);
    await world.until(() => held.outcome.state === "rejected");
    expect(held.outcome.error).toMatchObject({ name: "AbortError" });
    thief.end("loot");
    await world.until(() => thief.outcome.state === "resolved");
  });

  test("[I1wdi] is not asked any more by a client that was closed", async () => {
    const { world, bob, bobLocks } = await recovering();
    const tried = outcomeOf(bobLocks.request("a", { ifAvailable: true }, (lock) => [lock]));
    await world.run(1_000);
    await world.settled(bob.session.close());
    await world.until(() => tried.state !== "pending", 1_500);
    expect(tried).toMatchObject({ state: "rejected", error: { name: "InvalidStateError" } });
    await world.run(5_000);
    expect(bob.machine.isKeptAliveByTimers).toBe(false);
  });

  test("[I1wdj] lets those wait who can wait, and shows by query what it knows", async () => {
    const { world, ann, bobLocks, held } = await recovering();
    const next = begun(bobLocks, "a");
    await world.run(10);
    expect(await world.settled(bobLocks.query())).toEqual({
      held: [],
      pending: [{ name: "a", mode: "exclusive", clientId: "bob" }],
    });
    ann.machine.reachable();
    await world.run(5_000);
    held.end("held all the time");
    await world.until(() => next.callback.mock.calls.length === 1 && held.outcome.state !== "pending");
    expect(held.outcome).toMatchObject({ state: "resolved", value: "held all the time" });
    expect(await world.settled(bobLocks.query())).toEqual({
      held: [{ name: "a", mode: "exclusive", clientId: "bob" }],
      pending: [],
    });
  });
});

describe("connections that break", () => {
  test("[I1wdk] a theft whose answer was lost is one theft", async () => {
    for (const cutAfterMs of [0.5, 1.2, 1.9]) {
      const { world, bob, annLocks, bobLocks } = await pair();
      const held = begun(annLocks, "a");
      await world.until(() => held.callback.mock.calls.length === 1);
      const thief = begun(bobLocks, "a", { steal: true });
      await world.run(cutAfterMs);
      bob.line().cut();
      await world.until(() => thief.callback.mock.calls.length === 1);
      await world.until(() => held.outcome.state === "rejected");
      // The first was the holder's, the second the thief's: none was lost on the way.
      expect((await bob.inspect("a")).holders).toMatchObject([{ owner: "bob", token: 2 }]);
    }
  });

  test("[I1wdl] a request keeps its place, and a lock its holder", async () => {
    const { world, ann, bob, annLocks, bobLocks } = await pair();
    const held = begun(annLocks, "a", { mode: "shared" });
    await world.until(() => held.callback.mock.calls.length === 1);
    const next = begun(bobLocks, "a");
    await world.run(100);
    ann.line().cut();
    bob.line().cut();
    await world.run(3_000);
    expect(next.callback).not.toHaveBeenCalled();
    held.end("whole");
    await world.until(() => next.callback.mock.calls.length === 1 && held.outcome.state !== "pending");
    expect(held.outcome).toMatchObject({ state: "resolved", value: "whole" });
  });
});

describe("a snapshot from several pages", () => {
  const holder = (token: number, owner: string): HolderInfo => ({
    token,
    owner,
    state: "held",
    mode: "exclusive",
    detached: false,
    heldForMs: 0,
    expiresInMs: 1_000,
    metadata: {},
  });
  const lock = (name: string, ...holders: readonly HolderInfo[]): LockInfo => {
    return {
      name,
      held: true,
      holders,
      holderCount: holders.length,
      queue: [],
      queueLength: 0,
      recovering: false,
    };
  };

  test("[I1wdm] shows a lock that changed hands meanwhile as it was last", async () => {
    const { world, script, session } = stage();
    script.answer = (message) => {
      if (message[0] !== "list") return null;
      const [, id, { next }] = message;
      if (next === undefined) {
        return [
          ["done", id, { locks: [lock("a", holder(1, "ann")), lock("b", holder(3, "bob"))], next: "1.1" }],
        ];
      }
      return [
        ["done", id, { locks: [lock("c", holder(2, "cid")), lock("a", holder(4, "bob"))], next: null }],
      ];
    };
    const { held } = await world.settled(new WebLocks(session).query());
    expect(held.map(({ name, clientId }) => `${name} ${clientId}`)).toEqual(["c cid", "b bob", "a bob"]);
    expect(script.visit.of("list").map(([, , query]) => query)).toEqual([
      { limit: 500 },
      { limit: 500, next: "1.1" },
    ]);
  });

  test("[I1wdn] begins anew when the server has forgotten the list, and only then", async () => {
    const { world, script, session } = stage();
    let refusals = 0;
    script.answer = (message) => {
      if (message[0] !== "list") return null;
      const [, id, { next }] = message;
      if (next === undefined) return [["done", id, { locks: [lock("a", holder(1, "ann"))], next: "1.1" }]];
      if (refusals++ === 0) return [["refused", id, "NOT_FOUND", "It is over."]];
      return [["done", id, { locks: [lock("b", holder(2, "bob"))], next: null }]];
    };
    const { held } = await world.settled(new WebLocks(session).query());
    expect(held.map(({ name }) => name)).toEqual(["a", "b"]);
    script.answer = (message) =>
      message[0] === "list" ? [["refused", message[1], "NOT_FOUND", "There is no such service."]] : null;
    const refused = outcomeOf(new WebLocks(session).query());
    await world.run(1_000);
    expect(refused.error).toMatchObject({ code: "NOT_FOUND" });
  });
});
