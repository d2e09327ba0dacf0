import type { ServerMessage } from "lockdb/protocol";
import { afterEach, expect, test, vi } from "vitest";
import { type Command, Engine } from "../../src/engine/index.js";
import { Loop, type LoopOptions, nodeRuntime, ServiceKey } from "../../src/loop/index.js";
import { openMemoryStore, type Store } from "../../src/store/index.js";

const SICK = new ServiceKey("default", "sick");
const WELL = new ServiceKey("default", "well");
/** A lock that the rules of the engine stumble over. */
const POISON = "poison";

const logged: { readonly facts: object; readonly text: string }[] = [];
let loop: Loop;

afterEach(async () => {
  vi.restoreAllMocks();
  logged.length = 0;
  await loop.stop();
});

async function start(store: Store, options: Partial<LoopOptions> = {}) {
  const note = (facts: object, text: string) => void logged.push({ facts, text });
  loop = await Loop.start({
    openStore: async () => ({
      load: (prefix) => store.load(prefix),
      commit: (batch) => store.commit(batch),
      close: async () => {},
    }),
    service: { waitersMax: 10, holdsMax: 10, sessionsMax: 10, writesSessionHolds: false },
    servicesMax: 10,
    runtime: nodeRuntime,
    log: { warn: note, error: note },
    ...options,
  });
}

/** The engine has done half of it when it fails. */
function plantMistake() {
  const apply = Engine.prototype.apply;
  vi.spyOn(Engine.prototype, "apply").mockImplementation(function (this: Engine, command, nowMs, out) {
    apply.call(this, command, nowMs, out);
    if ("names" in command && command.names === POISON) throw new Error("planted");
  });
}

/** Somebody with a session, who hears what is said to him. */
class Talker {
  readonly heard: ServerMessage[] = [];
  readonly key: ServiceKey;
  readonly name: string;
  address = "";
  #connection = 0;
  #id = 0;

  constructor(key: ServiceKey, name: string) {
    this.key = key;
    this.name = name;
  }

  /** Says what it holds, as a client does when it is back. */
  hello(held: Readonly<Record<number, string>> = {}): void {
    loop.detach(this.address);
    this.heard.length = 0;
    this.address = loop.attach({
      service: this.key,
      receive: (message) => void this.heard.push(message),
      flush: () => {},
    });
    const from = { session: `session-${this.name}`, address: this.address };
    const connection = ++this.#connection;
    const facts = {
      client: `client-${this.name}`,
      connection,
      resume: connection > 1,
      leaseMs: 60_000,
      owner: this.name,
    };
    loop.submit(this.key, { kind: "hello", ...from, ...facts });
    for (const [token, names] of Object.entries(held))
      loop.submit(this.key, { kind: "claim", ...from, token: Number(token), names, extra: {} });
    loop.submit(this.key, { kind: "sync", ...from });
  }

  acquire(names: string, detachedMs: number | null = null, waitMs = 0): void {
    const terms = { waitMs, detachedMs, minHoldMs: 0, maxHoldMs: null, metadata: {}, ticket: null };
    const inside = { within: [], reentrant: false, leads: false, stolenBy: null, owner: null };
    const from = { session: `session-${this.name}`, address: this.address, id: ++this.#id };
    loop.submit(this.key, { kind: "acquire", ...from, names, ...terms, ...inside } as Command);
  }

  async next(...kinds: readonly ServerMessage[0][]): Promise<ServerMessage> {
    for (;;) {
      const at = this.heard.findIndex(([kind]) => kinds.includes(kind));
      if (at !== -1) return this.heard.splice(at, 1)[0]!;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

test("[R7w] a mistake in the rules of one service ends its memory alone; it is read anew, and holders keep what they hold", async () => {
  await start(openMemoryStore());
  const [ann, bob, dan] = [new Talker(SICK, "ann"), new Talker(SICK, "bob"), new Talker(WELL, "dan")];
  for (const talker of [ann, bob, dan]) talker.hello();
  for (const talker of [ann, bob, dan]) await talker.next("welcome");
  ann.acquire("disk");
  const token = Number((await ann.next("granted"))[2]);
  bob.acquire("tape", 60_000);
  const detached = Number((await bob.next("granted"))[2]);
  dan.acquire("disk");
  await dan.next("granted");

  plantMistake();
  bob.acquire("before it, in the same turn");
  bob.acquire(POISON);
  dan.acquire("tape");
  for (const talker of [ann, bob]) expect((await talker.next("ended"))[1]).toBe("UNAVAILABLE");
  // Nothing of that turn was told.
  expect(bob.heard).toEqual([]);
  expect((await dan.next("granted"))[0]).toBe("granted");
  expect(dan.heard).toEqual([]);
  expect(loop.ready).toBe(true);
  expect(loop.totals.serviceFailures).toBe(1);
  expect(logged[0]).toMatchObject({ facts: { account: "default", service: "sick" } });

  // Who comes before it is back is told so, and comes again.
  for (;;) {
    bob.hello();
    if ((await bob.next("welcome", "ended"))[0] === "welcome") break;
  }
  // As after a crash: nothing is granted before all who may hold something are back.
  expect(loop.services.statsOf(SICK)).toMatchObject({ recovering: true });
  bob.acquire("disk", null, 60_000);
  await bob.next("queued");
  ann.hello({ [token]: "disk" });
  await ann.next("welcome");
  expect(ann.heard).toEqual([]);
  expect(loop.services.statsOf(SICK)).toMatchObject({ recovering: false, holds: 2, waiters: 1 });
  loop.submit(SICK, {
    kind: "release",
    session: "session-ann",
    address: ann.address,
    id: 9,
    token,
    name: null,
  });
  expect(Number((await bob.next("granted"))[2])).toBeGreaterThan(detached);
});

test("[R7w] what was not flushed before the mistake is flushed before the service is read anew", async () => {
  const memory = openMemoryStore();
  const held: (() => void)[] = [];
  let holds = false;
  const store: Store = {
    load: (prefix) => memory.load(prefix),
    close: async () => {},
    commit: async (batch) => {
      if (holds) await new Promise<void>((resolve) => held.push(resolve));
      await memory.commit(batch);
    },
  };
  await start(store);
  const ann = new Talker(SICK, "ann");
  ann.hello();
  await ann.next("welcome");
  holds = true;
  ann.acquire("durable", 60_000);
  await turn();
  plantMistake();
  ann.acquire(POISON);
  await ann.next("ended");
  // Its answer waited for that flush, and is not told to a connection that is over.
  expect(ann.heard).toEqual([]);
  expect(loop.services.statsOf(SICK)).toMatchObject({ recovering: true, holds: 0 });
  holds = false;
  for (const release of held) release();
  while (loop.services.statsOf(SICK)!.holds === 0) await turn();
  expect(loop.services.census()).toMatchObject({ holds: 1, services: 1 });
});

test("[R7x] services that fail again and again stop the server, with the reason", async () => {
  let onFatal: (error: Error) => void = () => {};
  const fatal = new Promise<Error>((resolve) => {
    onFatal = resolve;
  });
  await start(openMemoryStore(), { onFatal });
  plantMistake();
  const ann = new Talker(SICK, "ann");
  for (let round = 0; round < 4; ) {
    ann.hello();
    const [kind] = await ann.next("welcome", "ended");
    if (kind !== "welcome") continue;
    ann.acquire(POISON);
    await ann.next("ended");
    round++;
  }
  expect((await fatal).message).toMatch(/failed 4 times in 60 seconds.*planted/);
  expect(loop.totals.serviceFailures).toBe(4);
});

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
