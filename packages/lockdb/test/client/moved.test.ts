/** Servers of a cluster that tell a client where to go. */
import type { ServerMessage } from "lockdb/protocol";
import { describe, expect, test } from "vitest";
import { Script, type Stage, stage, terms } from "./script.js";
import { outcomeOf } from "./virtual.js";

const ONE = "http://one";
const TWO = "http://two";
const THREE = "http://three";

/** A client that knows one server, and others that it does not know of. */
function cluster(options: Parameters<typeof stage>[0] = {}): Stage & { two: Script; three: Script } {
  const on = stage(options);
  const [two, three] = [new Script(), new Script()];
  on.world.endpoints.set(TWO, two);
  on.world.endpoints.set(THREE, three);
  return { ...on, two, three };
}

/** Connected, and everything before is said. */
async function connected(options: Parameters<typeof stage>[0] = {}) {
  const on = cluster(options);
  await on.world.settled(on.session.call(5_000, (id) => ["check", id, "x", 1]));
  return on;
}

/** What a server says that is not where a service is. */
const movesTo = (url: string, urls: readonly string[] = [ONE, TWO, THREE]) => {
  const moved: readonly ServerMessage[] = [["moved", url, urls]];
  return ([kind]: readonly unknown[]) => (kind === "hello" ? moved : null);
};

const hellosOf = (script: Script) => script.visits.map((visit) => visit.of("hello")[0]?.[1]);

const epochsOf = ({ visits }: Script) =>
  visits.flatMap((visit) => visit.of("hello").map(([, { epoch }]) => epoch));

describe("a server that is not the place", () => {
  test("[R3va] leads to the one that is, at once, and the caller has nothing but a wait", async () => {
    const { world, script, two, session } = cluster();
    script.answer = movesTo(TWO);
    const lease = await world.settled(session.acquire(terms("a")));
    lease.assertHeld();
    // The way there and back twice, and no pause.
    expect(world.nowMs).toBeLessThan(15);
    expect(script.visits).toHaveLength(1);
    expect(script.visit.isOver).toBe(true);
    expect(hellosOf(two)).toMatchObject([{ connection: 2, resume: false }]);
    // It stays there.
    await world.run(60_000);
    expect([script.visits.length, two.visits.length]).toEqual([1, 1]);
    expect(world.lines).toHaveLength(2);
  });

  test("[R3vb] hands a session over: it is resumed where it went, with its holds and requests", async () => {
    const { world, script, two, session } = await connected();
    const lease = await world.settled(session.acquire(terms("a")));
    script.mute.add("acquire");
    const waits = outcomeOf(session.acquire(terms("b")));
    await world.run(10);
    script.visit.say(["moved", TWO, [ONE, TWO]]);
    await world.until(() => two.visits.length === 1 && two.visit.of("sync").length === 1);
    expect(two.visit.messages.map(([kind]) => kind)).toEqual(["hello", "hold", "acquire", "sync"]);
    expect(hellosOf(two)).toMatchObject([{ connection: 2, resume: true }]);
    await world.until(() => waits.state === "resolved");
    lease.assertHeld();
  });

  test("[R3vp] while nobody has its service it goes on for as long as its callers wait, and has learnt of the others", async () => {
    const { world, script, two, three, session } = cluster();
    world.endpoints.delete(TWO);
    script.answer = ([kind]) => (kind === "hello" ? [["members", [ONE, TWO, THREE]]] : []);
    three.answer = script.answer;
    const asked = outcomeOf(session.acquire(terms("a", { waitMs: 60_000 })));
    await world.run(20_000);
    expect(asked.state).toBe("pending");
    expect(three.visits.length).toBeGreaterThan(0);
    three.answer = () => null;
    world.endpoints.set(TWO, two);
    await world.until(() => asked.state === "resolved", 12_000);
  });

  test("[I1ln] a server that cannot serve anybody now, and says so, is one that was reached", async () => {
    const { world, script, session } = cluster();
    script.answer = ([kind]) => (kind === "hello" ? [["ended", "UNAVAILABLE", "Not now."]] : []);
    const asked = outcomeOf(session.acquire(terms("a", { waitMs: 60_000 })));
    await world.run(20_000);
    expect(asked.state).toBe("pending");
    script.answer = () => null;
    await world.until(() => asked.state === "resolved", 3_000);
  });

  test("[R3vo] says there behind which change of owners it has heard that, until it is led elsewhere", async () => {
    const { world, script, two, three, session } = await connected();
    const lease = await world.settled(session.acquire(terms("a")));
    script.visit.say(["moved", TWO, [ONE, TWO], 7]);
    await world.until(() => epochsOf(two).length === 1);
    // A connection that is lost changes nothing of that.
    two.visit.line.cut();
    await world.until(() => epochsOf(script).length === 2);
    script.visit.say(["moved", THREE, [ONE, TWO, THREE]]);
    await world.until(() => epochsOf(three).length === 1);
    expect([script, two, three].map(epochsOf)).toEqual([[undefined, 7], [7], [undefined]]);
    lease.assertHeld();
  });

  test("[L2va] renews nothing by saying so", async () => {
    const { world, script, two, session } = await connected();
    const lease = await world.settled(session.acquire(terms("a")));
    await world.run(2_000);
    script.mute.add("heartbeat");
    two.isDeaf = true;
    const [beforeMs, atMs] = [lease.remainingMs, world.nowMs];
    script.visit.say(["moved", TWO, [ONE, TWO]]);
    await world.run(1_000);
    expect(lease.remainingMs).toBeLessThanOrEqual(beforeMs - (world.nowMs - atMs));
  });

  test("[R3vc] is heard until it says so: what stands before that in the frame counts, and nothing behind it", async () => {
    const { world, script, two, session } = await connected();
    script.mute.add("acquire");
    const [before, behind] = [outcomeOf(session.acquire(terms("a"))), outcomeOf(session.acquire(terms("b")))];
    await world.run(10);
    const [first, second] = script.visit.of("acquire").map(([, id]) => id);
    two.isDeaf = true;
    script.visit.say(["granted", first!, 7], ["moved", TWO, [ONE, TWO]], ["granted", second!, 8]);
    await world.run(100);
    expect(before).toMatchObject({ state: "resolved", value: { token: 7 } });
    expect(behind.state).toBe("pending");
  });

  test("[R3vd] before its welcome it has granted nothing", async () => {
    const { world, script, two, session } = await connected();
    script.mute.add("sync").add("acquire");
    script.visit.line.cut();
    await world.until(() => script.visits.length === 2 && script.visit.of("hello").length === 1);
    two.mute.add("acquire");
    const asked = outcomeOf(session.acquire(terms("a")));
    await world.run(10);
    const [, id] = script.visit.of("acquire")[0]!;
    script.visit.say(["granted", id, 7], ["moved", TWO, [TWO]]);
    await world.until(() => two.visits.length === 1 && two.visit.of("sync").length === 1);
    await world.run(100);
    expect(asked.state).toBe("pending");
  });

  test("[R3ve] that leads to one that cannot be reached is not the end: all others are asked in turn", async () => {
    const { world, script, two, three, session } = cluster();
    world.endpoints.delete(TWO);
    script.answer = movesTo(TWO);
    const lease = await world.settled(session.acquire(terms("a", { waitMs: 60_000 })));
    lease.assertHeld();
    expect(two.visits).toHaveLength(0);
    expect(hellosOf(three)).toHaveLength(1);
  });

  test("[R3vf] a client that was led somewhere waits as long as its callers do, not only as for a first server", async () => {
    const { world, script, two, session } = cluster();
    world.endpoints.delete(TWO);
    world.endpoints.delete(THREE);
    script.answer = movesTo(TWO);
    const asked = outcomeOf(session.acquire(terms("a", { waitMs: 60_000 })));
    await world.run(15_000);
    expect(asked.state).toBe("pending");
    world.endpoints.set(TWO, two);
    await world.until(() => asked.state === "resolved", 3_000);
  });

  test("[R3vg] servers that send a client to and fro are asked ever less often", async () => {
    const { world, script, two, session } = cluster();
    script.answer = movesTo(TWO);
    two.answer = movesTo(ONE);
    const asked = outcomeOf(session.acquire(terms("a", { waitMs: 60_000 })));
    await world.run(100);
    const first = world.lines.length;
    await world.run(30_000);
    const all = world.lines.length;
    expect(first).toBeGreaterThanOrEqual(4);
    // Half a second at most lies between, and a quarter of that at least.
    expect(all - first).toBeLessThan(30_000 / 125 + 10);
    expect(all - first).toBeGreaterThan(30_000 / 510 - 10);
    two.answer = () => null;
    await world.until(() => asked.state === "resolved", 1_000);
  });

  test("[R3vh] so are those that welcome it first", async () => {
    const { world, script, two, session } = cluster();
    for (const [server, other] of [
      [script, TWO],
      [two, ONE],
    ] as const) {
      server.answer = (message, visit) => {
        if (message[0] !== "sync") return null;
        server.answer = () => null;
        const said = server.reply(message, visit);
        server.answer = again;
        return [...said, ["moved", other, [ONE, TWO]]];
      };
      const again = server.answer;
    }
    void outcomeOf(session.acquire(terms("a", { waitMs: 60_000 })));
    await world.run(30_000);
    expect(world.lines.length).toBeLessThan(30_000 / 125 + 20);
  });

  test("[R3vi] a move after a while of rest is made at once again", async () => {
    const { world, script, two, session } = await connected();
    await world.settled(session.acquire(terms("a")));
    for (let at = 0; at < 6; at++) {
      const [from, to, url] = at % 2 === 0 ? [script, two, TWO] : [two, script, ONE];
      await world.run(10_001);
      const before = to.visits.length;
      from.visit.say(["moved", url!, [ONE, TWO]]);
      await world.run(3);
      expect(to.visits.length).toBe(before + 1);
    }
  });
});

describe("addresses that a server tells", () => {
  test("[R3vj] are tried when that server is gone, after those that were given", async () => {
    const { world, script, two, three } = await connected({ urls: [ONE, "http://given"] });
    script.visit.say(["members", [TWO, THREE]]);
    await world.run(10);
    world.endpoints.delete(ONE);
    world.endpoints.delete(TWO);
    script.visit.line.cut();
    await world.until(() => three.visits.length === 1);
    expect(world.lines.map(({ url }) => new URL(url).hostname)).toEqual(["one", "given", "two", "three"]);
    expect(two.visits).toHaveLength(0);
  });

  test("[R3vk] take the place of those that were told before; what was given stays", async () => {
    const { world, script, three } = await connected();
    script.visit.say(["members", [TWO]], ["members", [THREE]]);
    await world.run(10);
    world.endpoints.delete(ONE);
    three.isDeaf = true;
    script.visit.line.cut();
    await world.run(10_000);
    const tried = new Set(world.lines.map(({ url }) => new URL(url).hostname));
    expect([...tried]).toEqual(["one", "three"]);
  });

  test("[R3vl] are no more than sixty-four, and only what is an address of a server", async () => {
    const { world, script } = await connected();
    const none = ["two", "ftp://two", "http://two?x", "http://two#x", "http://two:99999", 7, null, {}];
    const many = Array.from({ length: 100 }, (_, at) => `http://member-${at}`);
    for (const urls of [null, 7, "http://two", {}, []])
      script.visit.line.say(JSON.stringify([["members", urls]]));
    script.visit.line.say(JSON.stringify([["members", [...none, ...many]]]));
    await world.run(10);
    expect(script.visit.isOver).toBe(false);
    world.endpoints.clear();
    script.visit.line.cut();
    await world.run(60_000);
    const tried = new Set(world.lines.map(({ url }) => new URL(url).hostname));
    expect([...tried]).toEqual(["one", ...many.slice(0, 64).map((url) => url.slice(7))]);
  });

  test("[R3vm] never lead from TLS to where there is none", async () => {
    const { world, script, session } = stage({ urls: ["https://one"] });
    const two = new Script();
    world.endpoints.set("https://one", script);
    world.endpoints.set(TWO, two);
    script.answer = movesTo(TWO, [TWO]);
    void outcomeOf(session.acquire(terms("a", { waitMs: 60_000 })));
    await world.run(20_000);
    expect(two.visits).toHaveLength(0);
    expect(new Set(world.lines.map(({ url }) => url))).toEqual(new Set(["wss://one/v1/connect"]));
  });

  test("[R3vn] and whatever else it says that a client does not know, do no harm", async () => {
    const { world, script, session } = cluster();
    script.answer = ([kind]) => (kind === "hello" ? ([["news", 1], ["news"], []] as never) : null);
    const lease = await world.settled(session.acquire(terms("a")));
    script.visit.line.say('[["later",{"a":1}],["members"],[]]');
    await world.run(3_000);
    lease.assertHeld();
    expect(world.lines).toHaveLength(1);
  });
});
