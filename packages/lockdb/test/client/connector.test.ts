import type { ServerMessage } from "lockdb/protocol";
import { describe, expect, test } from "vitest";
import { Connector, connectUrl } from "../../src/client/connector.js";
import { type Line, Machine, type ServerEnd, VirtualRuntime, World } from "./virtual.js";

/** A connector to addresses that accept or refuse as the test says. */
function connecting(urls: readonly string[] = ["http://one"]) {
  const world = new World();
  const machine = new Machine(world, "ann");
  const runtime = new VirtualRuntime(machine);
  const log: string[] = [];
  const received: ServerMessage[][] = [];
  const frames: unknown[][] = [];
  const lines: Line[] = [];
  let isWanted = true;
  let isQuiet = false;
  const connector = new Connector(runtime, urls, "key", {
    isWanted: () => isWanted,
    isQuiet: () => isQuiet,
    opened: () => log.push("opened"),
    received: (messages) => received.push([...messages]),
    closed: (reason, code) => log.push(code === null ? `closed: ${reason}` : `closed: ${code}`),
  });
  const accept = (line: Line): ServerEnd => {
    lines.push(line);
    return { message: (text) => frames.push(JSON.parse(text)), close: () => log.push("server: closed") };
  };
  const listen = (url: string) => world.endpoints.set(url, { accept });
  const want = (value: boolean) => {
    isWanted = value;
  };
  const quiet = (value: boolean) => {
    isQuiet = value;
  };
  return { world, machine, runtime, connector, log, received, frames, lines, listen, want, quiet };
}

/** When each attempt was made, from the first on. */
async function attempts(urls: readonly string[], forMs: number, seed?: number) {
  const on = connecting(urls);
  const begun: { atMs: number; url: string }[] = [];
  if (seed !== undefined) for (let at = 0; at < seed; at++) on.world.random();
  on.world.watch = () => {
    while (begun.length < on.world.lines.length) {
      begun.push({ atMs: on.world.nowMs, url: on.world.lines[begun.length]!.url });
    }
  };
  on.connector.want();
  await on.world.run(forMs);
  return begun;
}

test("[I2y] a message that is alone leaves as soon as may be, and others together at the end of the turn", async () => {
  const { world, runtime, connector, frames, listen, quiet } = connecting();
  listen("http://one");
  connector.want();
  await world.until(() => connector.isOpen);
  const soon: (() => void)[] = [];
  runtime.soon = (callback) => void soon.push(callback);
  quiet(true);
  connector.send(["alone"]);
  expect(soon.length).toBe(1);
  soon[0]!();
  quiet(false);
  connector.send(["two"]);
  connector.send(["three"]);
  expect(soon.length).toBe(1);
  await world.until(() => frames.length === 2);
  expect(frames).toEqual([
    [0, ["alone"]],
    [0, ["two"], ["three"]],
  ]);
});

describe("making a connection", () => {
  test("[R3n] a pause between attempts grows to half a second, and not beyond", async () => {
    const begun = await attempts(["http://one"], 30_000);
    const pauses = begun.slice(1).map(({ atMs }, at) => atMs - begun[at]!.atMs);
    expect(pauses[0]).toBeGreaterThanOrEqual(12.5);
    expect(pauses[0]).toBeLessThanOrEqual(50 + 3);
    const late = pauses.slice(10);
    expect(Math.max(...late)).toBeLessThanOrEqual(500 + 3);
    expect(Math.min(...late)).toBeGreaterThanOrEqual(125);
    expect(Math.max(...late)).toBeGreaterThan(375);
    expect(Math.min(...late)).toBeLessThan(250);
  });

  test("[R3ad] when nobody waits and a hundred attempts have failed it grows to two seconds, until somebody does", async () => {
    const { world, connector } = connecting(["http://one"]);
    connector.want();
    await world.run(120_000);
    let before = world.lines.length;
    await world.run(60_000);
    const idle = world.lines.length - before;
    expect(idle).toBeGreaterThan(29);
    expect(idle).toBeLessThan(121);
    connector.keepAlive(true);
    before = world.lines.length;
    await world.run(503);
    expect(world.lines.length).toBeGreaterThan(before);
    await world.run(60_000);
    expect(world.lines.length - before).toBeGreaterThan(120);
  });

  test("[R3o] pauses differ between clients: a thousand do not return in step", async () => {
    const [one, other] = await Promise.all([
      attempts(["http://one"], 20_000, 0),
      attempts(["http://one"], 20_000, 7),
    ]);
    expect(one.map(({ atMs }) => atMs)).not.toEqual(other.map(({ atMs }) => atMs));
  });

  test("[R3p] the other addresses are tried at once, one after the other; then comes the pause", async () => {
    const begun = await attempts(["http://a", "http://b", "http://c"], 30_000);
    expect(begun.slice(0, 6).map(({ url }) => url.slice(5, 6))).toEqual(["a", "b", "c", "a", "b", "c"]);
    // Only the way there and back lies between those of one round.
    expect(begun[1]!.atMs - begun[0]!.atMs).toBeLessThanOrEqual(2);
    expect(begun[2]!.atMs - begun[1]!.atMs).toBeLessThanOrEqual(2);
    expect(begun[3]!.atMs - begun[2]!.atMs).toBeGreaterThanOrEqual(12.5);
    const rounds = begun.slice(30).filter((_, at) => at % 3 === 0);
    const pauses = rounds.slice(1).map(({ atMs }, at) => atMs - rounds[at]!.atMs);
    expect(Math.max(...pauses)).toBeLessThanOrEqual(500 + 10);
  });

  test("[R3q] a connection that worked makes the next pause short again", async () => {
    const { world, connector, listen, lines } = connecting();
    connector.want();
    await world.run(20_000);
    listen("http://one");
    await world.until(() => connector.isOpen);
    connector.settled();
    lines[0]!.cut();
    const cutAtMs = world.nowMs;
    await world.until(() => connector.isOpen);
    expect(world.nowMs - cutAtMs).toBeLessThanOrEqual(50 + 2);
  });

  test("[R3r] one that is accepted and dropped each time does not", async () => {
    const { world, connector, listen, lines } = connecting();
    listen("http://one");
    connector.want();
    for (let at = 0; at < 10; at++) {
      await world.until(() => connector.isOpen);
      lines.at(-1)!.cut();
    }
    const cutAtMs = world.nowMs;
    await world.until(() => connector.isOpen);
    expect(world.nowMs - cutAtMs).toBeGreaterThanOrEqual(500);
  });

  test("[R3s] being called often does not put the next attempt off", async () => {
    const { world, connector, lines, listen } = connecting();
    connector.want();
    await world.run(20_000);
    listen("http://one");
    // Callers come and go every 100 ms, as those of a `check` with a short wait do.
    for (let at = 0; at < 25 && lines.length === 0; at++) {
      connector.keepAlive(at % 2 === 0);
      connector.want();
      await world.run(100);
    }
    expect(lines).toHaveLength(1);
  });

  test("[R3t] a lost connection is not made again until it is wanted; then at once", async () => {
    const { world, connector, listen, lines, want } = connecting();
    listen("http://one");
    connector.want();
    await world.until(() => connector.isOpen);
    connector.settled();
    want(false);
    lines[0]!.cut();
    await world.run(60_000);
    expect(lines).toHaveLength(1);
    want(true);
    connector.want();
    await world.run(2);
    expect(connector.isOpen).toBe(true);
  });

  test("[R3u] asking for a connection that is there or under way does not make a second", async () => {
    const { world, connector, listen } = connecting();
    listen("http://one");
    for (let at = 0; at < 5; at++) {
      connector.want();
      await world.run(1);
    }
    expect(world.lines).toHaveLength(1);
  });

  test("[Ea] a refusal with a reason is told by its code; without a code it is a failure like others", async () => {
    const { world, connector, log } = connecting();
    const refusals = [{ message: "no", code: "UNAUTHORIZED" }, { message: "no" }] as const;
    for (const refusal of refusals) {
      world.endpoints.set("http://one", { accept: () => ({ refusal }) });
      connector.want();
      await world.until(() => log.includes("code" in refusal ? "closed: UNAUTHORIZED" : "closed: no"));
    }
    expect(log.at(-1)).toBe("closed: no");
  });

  test("[I1f] the address of a server becomes that of its WebSocket, below a path too", () => {
    expect(connectUrl("http://127.0.0.1:5625")).toBe("ws://127.0.0.1:5625/v1/connect");
    expect(connectUrl("https://locks.test/")).toBe("wss://locks.test/v1/connect");
    expect(connectUrl("https://locks.test/team//")).toBe("wss://locks.test/team/v1/connect");
  });
});

describe("frames", () => {
  async function open() {
    const on = connecting();
    on.listen("http://one");
    on.connector.want();
    await on.world.until(() => on.connector.isOpen);
    return on;
  }

  test("[I2a] the messages of one turn are one frame, which begins with how many were settled", async () => {
    const { world, connector, frames, lines } = await open();
    connector.send(["heartbeat", 1]);
    void Promise.resolve().then(() => connector.send(["heartbeat", 2]));
    await world.run(5);
    lines[0]!.say('[["done",1,null],["done",2,null]]');
    lines[0]!.say('[["done",3,null]]');
    await world.run(5);
    connector.send(["heartbeat", 3]);
    await world.run(5);
    connector.acknowledge();
    connector.send(["heartbeat", 4]);
    await world.run(5);
    expect(frames).toEqual([
      [0, ["heartbeat", 1], ["heartbeat", 2]],
      [0, ["heartbeat", 3]],
      [3, ["heartbeat", 4]],
    ]);
  });

  test("[N3a] a long turn is several frames, each far below what the server takes", async () => {
    const { world, connector, lines } = await open();
    const name = "€".repeat(170);
    for (let id = 1; id <= 6_000; id++) connector.send(["acquire", id, name, 0]);
    await world.run(5);
    const { sent } = lines[0]!;
    expect(sent.length).toBeGreaterThan(2);
    expect(Math.max(...sent.map((frame) => Buffer.byteLength(frame)))).toBeLessThan(1_024 * 1_024);
    const ids = sent
      .flatMap((frame) => (JSON.parse(frame) as [number, ...unknown[][]]).slice(1))
      .map((m) => (m as unknown[])[1]);
    expect(ids).toEqual(Array.from({ length: 6_000 }, (_, at) => at + 1));
  });

  test("[L2r] the moment that send gives is before the frame leaves, however late in the turn", async () => {
    const { world, machine, connector } = await open();
    const first = connector.send(["heartbeat", 1]);
    await world.run(0);
    machine.block();
    await world.run(500);
    const second = connector.send(["heartbeat", 2]);
    await world.run(500);
    const third = connector.send(["heartbeat", 3]);
    machine.wake();
    await world.run(5);
    expect(first.monotonicMs).toBeLessThanOrEqual(second.monotonicMs);
    // It waits in the frame that the second one began.
    expect(third).toEqual(second);
  });

  test("[R3v] what was not sent when the connection went is not sent on the next one", async () => {
    const { world, connector, frames, lines } = await open();
    connector.send(["heartbeat", 1]);
    lines[0]!.cut();
    await world.until(() => connector.isOpen);
    connector.send(["heartbeat", 2]);
    await world.run(5);
    expect(frames).toEqual([[0, ["heartbeat", 2]]]);
  });

  test("[R3w] what arrives on a connection that was given up is ignored, its end too", async () => {
    const { world, connector, received, lines, log } = await open();
    connector.drop("it does not answer");
    lines[0]!.say('[["done",1,null]]');
    await world.until(() => lines.length === 2 && connector.isOpen);
    lines[0]!.say('[["done",1,null]]');
    lines[0]!.hangUp();
    await world.run(100);
    expect(received).toEqual([]);
    expect(connector.isOpen).toBe(true);
    expect(log.filter((line) => line.startsWith("closed"))).toEqual(["closed: it does not answer"]);
  });

  test("[I2b] a frame that is no list of messages ends the connection, not the process", async () => {
    const on = await open();
    for (const text of ["", "{", "null", "7", '"text"', "{}", "[null]", "[[1],7]", '[{"0":"done"}]']) {
      const before = on.lines.length;
      await on.world.until(() => on.connector.isOpen);
      on.lines.at(-1)!.say(text);
      await on.world.until(() => on.lines.length > before && on.connector.isOpen);
    }
    expect(on.received).toEqual([]);
  });

  test("[I1g] only while it is told so does it keep the process alive: connected, connecting, or between", async () => {
    const { world, runtime, connector, lines } = await open();
    connector.keepAlive(true);
    expect(runtime.isKeptAlive).toBe(true);
    connector.keepAlive(false);
    expect(runtime.isKeptAlive).toBe(false);
    world.endpoints.clear();
    connector.keepAlive(true);
    lines[0]!.cut();
    await world.run(0);
    expect(runtime.isKeptAlive).toBe(true);
    connector.keepAlive(false);
    expect(runtime.isKeptAlive).toBe(false);
    await world.run(10_000);
    expect(runtime.isKeptAlive).toBe(false);
  });

  test("[I1h] after close nothing is tried any more, and the server hears of it", async () => {
    const { world, connector, log } = await open();
    connector.close();
    await world.run(60_000);
    expect(log).toEqual(["opened", "server: closed"]);
    expect(world.lines).toHaveLength(1);
  });
});
