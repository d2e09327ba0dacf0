import type { ServerMessage } from "lockdb/protocol";
import type { Command } from "../../src/engine/index.js";
import {
  CLOCK_KEY,
  Loop,
  type LoopOptions,
  type OutsideRecord,
  type Place,
  type Placement,
  readServices,
  ServiceKey,
  type StoredService,
} from "../../src/loop/index.js";
import { type Change, encodeRecord, openMemoryStore, type Store } from "../../src/store/index.js";

/** A service of this account. */
export function serviceOf(id: string): ServiceKey {
  return new ServiceKey("default", id);
}

/** The records of a partition as they are in etcd, for whoever claims it. */
export async function claimed(
  store: Store,
): Promise<{ readonly services: readonly StoredService[]; readonly outside: readonly OutsideRecord[] }> {
  const outside: OutsideRecord[] = [];
  const services = await readServices(store.load(""), (_, record) => outside.push(record));
  return { services, outside };
}

/** A commit on its way. */
interface Commit {
  readonly batch: readonly Change[];
  go(): void;
  fail(error: Error): void;
}

/** A member of a cluster, as far as its loop knows: its own clock, and a store that all members share. */
export class Member implements Placement {
  loop!: Loop;
  /** Of all services but those in `places`. */
  place: Place = "here";
  readonly places = new Map<string, Place>();
  offsetMs = 0;
  epoch: number | null = null;
  floor: { readonly tokens: number; readonly tickets: number } | null = null;
  readonly url = "http://one:1";
  memberUrls: readonly string[] = ["http://one:1", "http://two:2"];
  memberId = "m1";
  isTrusted: () => boolean = () => true;
  nowMs = 0;
  /** Batches that were given to the store. */
  readonly batches: (readonly Change[])[] = [];
  /** Called as one of them is given to the store. */
  begins: () => void = () => {};
  /** While true each commit waits for the test. */
  holds = false;
  readonly commits: Commit[] = [];
  /** False: a store that is closed lets what is on its way be. */
  closeWaits = true;
  /** How often the store was opened. */
  openings = 0;
  readonly #shared: Store;
  readonly #watchers = new Set<() => void>();
  readonly #timers = new Set<{ readonly atMs: number; readonly run: () => void }>();
  #clock: Uint8Array | null = null;

  private constructor(shared: Store) {
    this.#shared = shared;
  }

  /** @param leaseMs where its lease clock begins */
  static async start(shared: Store, options: Partial<LoopOptions> = {}, leaseMs = 0): Promise<Member> {
    const member = new Member(shared);
    member.#clock = encodeRecord(CLOCK_KEY, { nowMs: leaseMs });
    member.loop = await Loop.start({
      openStore: () => member.#open(),
      service: { waitersMax: 99, holdsMax: 99, sessionsMax: 99, writesSessionHolds: false },
      servicesMax: 99,
      placement: member,
      runtime: {
        monotonicMs: () => member.nowMs,
        wallMs: () => 0,
        randomId: () => "log",
        defer: (run) => void setImmediate(run),
        setTimer: (run, ms) => {
          const timer = { atMs: member.nowMs + ms, run };
          member.#timers.add(timer);
          return () => void member.#timers.delete(timer);
        },
      },
      log: { warn: () => {}, error: () => {} },
      ...options,
    });
    return member;
  }

  /** @param offsetMs by how much their lease time is ahead of this member's clock */
  takeUp(
    services: readonly StoredService[],
    outside: readonly OutsideRecord[],
    offsetMs: number,
    first: readonly Change[],
  ): Promise<void> {
    return this.loop.takeUp(services, outside, this.loop.leaseMs + offsetMs, () => first);
  }

  placeOf({ id }: ServiceKey): Place {
    return this.places.get(id) ?? this.place;
  }

  epochOf(): number | null {
    return this.epoch;
  }

  offsetMsOf(): number {
    return this.offsetMs;
  }

  watch(changed: () => void): () => void {
    this.#watchers.add(changed);
    return () => void this.#watchers.delete(changed);
  }

  changed(): void {
    for (const watcher of [...this.#watchers]) watcher();
  }

  /** Lets time pass at this member, and what is due comes to be. */
  async pass(ms: number): Promise<void> {
    const endMs = this.nowMs + ms;
    while (this.nowMs < endMs) {
      this.nowMs = Math.min(endMs, this.nowMs + 50);
      for (const timer of [...this.#timers]) {
        if (timer.atMs > this.nowMs) continue;
        this.#timers.delete(timer);
        timer.run();
      }
      await turn();
    }
  }

  /** Lets commits go until none is on its way. */
  async letGo(): Promise<void> {
    this.holds = false;
    while (this.commits.length > 0) {
      this.commits.shift()!.go();
      await turn();
    }
  }

  /** As an etcd that all members write to, with a clock record of its own. */
  async #open(): Promise<Store> {
    const opening = ++this.openings;
    const own = openMemoryStore();
    if (this.#clock !== null) await own.commit([{ key: CLOCK_KEY, value: this.#clock }]);
    const inFlight = new Set<Promise<void>>();
    return {
      load: (prefix, after) => (prefix === "" ? own.load("") : this.#shared.load(prefix, after)),
      commit: (batch) => {
        const done = this.#commit(batch, opening);
        inFlight.add(done);
        return done;
      },
      close: async () => {
        if (this.closeWaits) await Promise.allSettled(inFlight);
      },
    };
  }

  async #commit(batch: readonly Change[], opening: number): Promise<void> {
    if (batch.length === 0) return;
    this.batches.push(batch);
    this.begins();
    if (this.holds)
      await new Promise<void>((resolve, reject) => this.commits.push({ batch, go: resolve, fail: reject }));
    // An etcd takes nothing of a life that is over, whatever is told of it.
    if (opening !== this.openings) return;
    this.#clock = batch.findLast(({ key }) => key === CLOCK_KEY)?.value ?? this.#clock;
    await this.#shared.commit(batch.filter(({ key }) => key !== CLOCK_KEY));
  }
}

/** Somebody with a session at a service, who hears what is said to him. */
export class Talker {
  readonly heard: ServerMessage[] = [];
  readonly key: ServiceKey;
  readonly name: string;
  #member: Member;
  #address = "";
  #connection = 0;
  #id = 0;

  constructor(member: Member, key: ServiceKey, name: string) {
    this.#member = member;
    this.key = key;
    this.name = name;
  }

  get kinds(): readonly string[] {
    return this.heard.map(([kind]) => kind);
  }

  /** Says what it holds, as a client does when it is back. */
  hello(held: Readonly<Record<number, string>> = {}, member = this.#member): void {
    this.#member.loop.detach(this.#address);
    this.#member = member;
    this.heard.length = 0;
    const receive = (message: ServerMessage) => void this.heard.push(message);
    this.#address = member.loop.attach({ service: this.key, receive, flush: () => {} });
    const connection = ++this.#connection;
    const facts = { client: `client-${this.name}`, leaseMs: 60_000, owner: this.name };
    this.#submit({ kind: "hello", connection, resume: connection > 1, ...facts });
    for (const [token, names] of Object.entries(held))
      this.#submit({ kind: "claim", token: Number(token), names, extra: {} });
    this.#submit({ kind: "sync" });
  }

  /** @param detachedMs null: a session hold */
  acquire(names: string, detachedMs: number | null = null, webhookUrl?: string): void {
    const terms = {
      waitMs: 60_000,
      detachedMs,
      webhookUrl,
      minHoldMs: 0,
      maxHoldMs: null,
      metadata: {},
      ticket: null,
    };
    const inside = { within: [], reentrant: false, leads: false, stolenBy: null, owner: null };
    this.#submit({ kind: "acquire", id: ++this.#id, names, ...terms, ...inside });
  }

  release(token: number): void {
    this.#submit({ kind: "release", id: ++this.#id, token, name: null });
  }

  async next(kind: ServerMessage[0]): Promise<ServerMessage> {
    for (;;) {
      const at = this.heard.findIndex((message) => message[0] === kind);
      if (at !== -1) return this.heard.splice(at, 1)[0]!;
      await turn();
    }
  }

  #submit(command: object): void {
    const from = { session: `session-${this.name}`, address: this.#address };
    this.#member.loop.submit(this.key, { ...from, ...command } as Command);
  }
}

export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Some turns, in which nothing more is to happen. */
export async function turns(): Promise<void> {
  for (let count = 0; count < 5; count++) await turn();
}
