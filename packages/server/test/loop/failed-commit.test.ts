import type { ServerMessage } from "lockdb/protocol";
import { expect, test } from "vitest";
import type { Command } from "../../src/engine/index.js";
import { Loop, ServiceKey } from "../../src/loop/index.js";
import { type Change, openMemoryStore } from "../../src/store/index.js";

const KEY = new ServiceKey("default", "reports");

test("[R7u] what waited behind a commit that failed is never written", async () => {
  const memory = openMemoryStore();
  const written: Change[] = [];
  let failing: ((error: Error) => void) | null = null;
  let fails = false;
  const commit = (batch: readonly Change[]) => {
    if (fails) return new Promise<void>((_, reject) => (failing = reject));
    written.push(...batch);
    return memory.commit(batch);
  };
  const loop = await Loop.start({
    openStore: async () => ({ load: (prefix) => memory.load(prefix), commit, close: async () => {} }),
    service: { waitersMax: 10, holdsMax: 10, sessionsMax: 10, writesSessionHolds: false },
    servicesMax: 10,
    runtime: {
      monotonicMs: () => 0,
      wallMs: () => 0,
      randomId: () => "log",
      defer: (run) => void setImmediate(run),
      setTimer: () => () => {},
    },
    log: { warn: () => {}, error: () => {} },
  });
  const [heard, watched]: [ServerMessage[], ServerMessage[]] = [[], []];
  loop.watch(KEY, { service: KEY, receive: (message) => watched.push(message), flush: () => {} }, 1, {});
  const lock = (name: string) => {
    const address = loop.attach({ service: KEY, receive: (message) => heard.push(message), flush: () => {} });
    loop.submit(KEY, acquire(address, name));
  };
  fails = true;
  lock("first");
  await turn();
  lock("second");
  await turn();
  fails = false;
  failing!(new Error("the disk is full"));
  do await turn();
  while (!loop.ready);
  expect(heard.map(([kind]) => kind)).toEqual(["ended", "ended"]);
  expect(written).toEqual([]);
  // Nor is it told to those who watch (R1).
  expect(watched).toEqual([["done", 1, { position: "log.0", missed: false }]]);
  await loop.stop();
});

function acquire(address: string, name: string): Command {
  const terms = { waitMs: 0, detachedMs: 60_000, minHoldMs: 0, maxHoldMs: null, metadata: {}, ticket: null };
  const inside = { within: [], reentrant: false, leads: false, stolenBy: null };
  return { kind: "acquire", session: null, address, id: 1, names: name, ...terms, ...inside, owner: null };
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
