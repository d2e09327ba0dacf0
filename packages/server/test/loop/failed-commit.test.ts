import type { ServerMessage } from "lockdb/protocol";
import { expect, test } from "vitest";
import type { Command } from "../../src/engine/index.js";
import { ServiceKey } from "../../src/loop/index.js";
import { type Change, openMemoryStore, type Store } from "../../src/store/index.js";
import { stillLoop } from "./still-loop.js";

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
  const loop = await stillLoop(async () => storeOf(memory, commit));
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

test("[R7va] nothing of a start that failed lives on: it would end what the next one has", async () => {
  const memory = openMemoryStore();
  let nowMs = 0;
  let failures = 0;
  let openings = 0;
  const timers = new Set<() => void>();
  const commit = async (batch: readonly Change[]) => {
    if (failures > 0 && failures-- > 0) throw new Error("the disk is full");
    return memory.commit(batch);
  };
  const openStore = async () => {
    openings++;
    return storeOf(memory, commit);
  };
  const loop = await stillLoop(openStore, {
    monotonicMs: () => nowMs,
    setTimer: (run) => {
      timers.add(run);
      return () => void timers.delete(run);
    },
  });
  const heard: ServerMessage[] = [];
  const answerTo = async (command: (address: string) => Command) => {
    heard.length = 0;
    const address = loop.attach({ service: KEY, receive: (message) => heard.push(message), flush: () => {} });
    loop.submit(KEY, command(address));
    while (heard.length === 0) await turn();
    return heard[0]!;
  };
  const [kind, , token] = await answerTo((address) => acquire(address, "given back"));
  expect(kind).toBe("granted");
  // This one, and that of the next start.
  failures = 2;
  expect((await answerTo((address) => acquire(address, "never written")))[0]).toBe("ended");
  while (failures > 0) await turn();
  while (!loop.ready) {
    for (const run of timers) run();
    await turn();
  }
  expect(openings).toBe(3);
  const release = { kind: "release", session: null, id: 2, token: Number(token), name: null } as const;
  expect(await answerTo((address) => ({ ...release, address }))).toEqual(["done", 2, true]);
  expect((await answerTo((address) => acquire(address, "expires")))[0]).toBe("granted");
  const keys = async (type: string) => (await keysOf(memory)).filter((key) => key.includes(`/${type}/`));
  while ((await keys("hold")).length > 0) {
    nowMs += 250;
    for (const run of timers) run();
    await turn();
  }
  // To the start that failed the first had not been given back.
  expect(await keys("previous")).toEqual([expect.stringMatching(/expires$/)]);
  await loop.stop();
});

/** What is in memory outlives each opening. */
function storeOf(memory: Store, commit: Store["commit"]): Store {
  return { load: (prefix) => memory.load(prefix), commit, close: async () => {} };
}

async function keysOf(store: Store): Promise<readonly string[]> {
  const keys: string[] = [];
  for await (const { key } of store.load("")) keys.push(key);
  return keys;
}

function acquire(address: string, name: string): Command {
  const terms = { waitMs: 0, detachedMs: 60_000, minHoldMs: 0, maxHoldMs: null, metadata: {}, ticket: null };
  const inside = { within: [], reentrant: false, leads: false, stolenBy: null };
  return { kind: "acquire", session: null, address, id: 1, names: name, ...terms, ...inside, owner: null };
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
