import { Member } from "../../src/cluster/member.js";
import type { MemberOptions } from "../../src/cluster/member-options.js";
import type { Loop, OutsideRead } from "../../src/loop/index.js";
import type { Etcd, Txn, TxnOutcome } from "../../src/store/etcd-api.js";
import { type Change, encodeRecord } from "../../src/store/index.js";
import type { Store } from "../../src/store/store.js";
import { MemoryEtcd } from "../store/memory-etcd.js";

export const AT = "/test/";

interface Timer {
  readonly atMs: number;
  readonly run: () => void;
}

/** Members over an etcd in memory. Time stands still until a test lets it go on. */
export class World {
  readonly etcd = new MemoryEtcd();
  nowMs = 1_000;
  #ids = 0;
  readonly #timers = new Set<Timer>();
  readonly runtime = {
    monotonicMs: () => this.nowMs,
    wallMs: () => this.nowMs,
    randomId: () => `id${String(++this.#ids).padStart(3, "0")}`,
    defer: (run: () => void) => void setImmediate(run),
    setTimer: (run: () => void, ms: number) => {
      const timer = { atMs: this.nowMs + ms, run };
      this.#timers.add(timer);
      return () => void this.#timers.delete(timer);
    },
  };

  member(url: string, options: Partial<MemberOptions> = {}): TestMember {
    return new TestMember(this, url, options);
  }

  async pass(ms: number): Promise<void> {
    const endMs = this.nowMs + ms;
    for (;;) {
      await turns();
      const next = [...this.#timers].sort((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined || next.atMs > endMs) break;
      this.nowMs = Math.max(this.nowMs, next.atMs);
      this.#timers.delete(next);
      next.run();
    }
    this.nowMs = endMs;
    await turns();
  }

  async value(key: string): Promise<string | null> {
    const { entries } = await this.etcd.client().range({ key: `${AT}${key}` });
    const text = entries[0]?.value.toString("latin1");
    return text === undefined ? null : text.slice(text.indexOf("{"));
  }

  async keys(area: string): Promise<string[]> {
    const { entries } = await this.etcd.client().range({ key: `${AT}${area}`, end: `${AT}${area}~` });
    return entries.map(({ key }) => key.toString().slice(AT.length));
  }

  async put(key: string, record: object): Promise<void> {
    const value = encodeRecord(key, record);
    await this.etcd.client().txn({ compare: [], ops: [{ put: `${AT}${key}`, value }] });
  }

  async delete(...keys: string[]): Promise<void> {
    await this.etcd.client().txn({ compare: [], ops: keys.map((key) => ({ delete: `${AT}${key}` })) });
  }
}

/** What a member knows of what all share. */
export class Common {
  readonly records = new Map<string, object>();
  /** What was read, in this order. */
  readonly reads: OutsideRead[] = [];

  readonly onCommon = async (read: () => Promise<OutsideRead>): Promise<void> => {
    const found = await read();
    this.reads.push(found);
    if (found.isWhole) this.records.clear();
    for (const { key, value } of found.isWhole ? found.records : found.changes) {
      if (value === null) this.records.delete(key);
      else this.records.set(key, value);
    }
  };

  get values(): object[] {
    return [...this.records.values()];
  }
}

/** A member with as much of a loop as it needs. */
export class TestMember {
  readonly member: Member;
  readonly taken: { readonly offsetMs: number; readonly first: readonly Change[] }[] = [];
  readonly reasons: Error[] = [];
  /** While set, an answer of etcd waits for it. */
  held: Promise<void> | null = null;
  /** A transaction of this member waits for what these give: before it is made, and before its answer comes. */
  before: (txn: Txn) => Promise<void> | null = () => null;
  after: (txn: Txn) => Promise<void> | null = () => null;
  /** What its loop serves, as far as a hand-over asks for it. */
  services: readonly unknown[] = [];
  /** Nothing that it asks of etcd is answered any more. */
  readonly die: () => void;
  /** What it has asked for without a transaction. */
  readonly ranges: string[] = [];
  /** While set, answers to that wait for it. */
  heldRanges: Promise<void> | null = null;
  /** Tells it of entries below a prefix, as a watch does. */
  hint: (entries: Readonly<Record<string, object>>) => void = () => {};
  leaseMs = 0;
  store!: Store;
  readonly #loop = {
    ready: true,
    services: { seen: () => this.services },
    distrust: (reason: Error) => void this.reasons.push(reason),
    takeUp: async (
      _services: unknown,
      _outside: unknown,
      leaseMs: number,
      firstOf: (offsetMs: number) => readonly Change[],
    ) => {
      const offsetMs = leaseMs - this.leaseMs;
      const first = firstOf(offsetMs);
      this.taken.push({ offsetMs, first });
      await this.store.commit(first);
    },
    handOver: async (_isIn: unknown, last: readonly Change[], over: () => void) => {
      await this.store.commit(last);
      over();
    },
  };

  constructor(world: World, url: string, options: Partial<MemberOptions>) {
    const client = world.etcd.client();
    this.die = () => client.die();
    const etcd: Etcd = {
      ...client,
      txn: async (txn: Txn): Promise<TxnOutcome> => {
        await this.before(txn);
        const outcome = await client.txn(txn);
        await this.after(txn);
        await this.held;
        return outcome;
      },
      watch: (prefix, onHint) => {
        const before = this.hint;
        this.hint = (entries) => {
          before(entries);
          const found = Object.entries(entries).filter(([key]) => `${AT}${key}`.startsWith(String(prefix)));
          if (found.length === 0) return;
          onHint(
            found.map(([key, record]) => {
              return {
                key: Buffer.from(`${AT}${key}`),
                value: Buffer.from(encodeRecord(key, record)),
                revision: 1,
              };
            }),
          );
        };
        return () => {};
      },
      range: async (query) => {
        this.ranges.push(String(query.key).slice(AT.length));
        const found = await client.range(query);
        await this.heldRanges;
        return found;
      },
    };
    const log = { info: () => {}, warn: () => {}, error: () => {} };
    this.member = new Member({ etcd, at: AT, url, version: "1", runtime: world.runtime, log, ...options });
    Object.defineProperty(this.#loop, "leaseMs", { get: () => this.leaseMs });
  }

  async join(): Promise<string> {
    this.store = await this.member.openStore();
    return this.member.memberId;
  }

  start(): void {
    this.member.start(this.#loop as unknown as Loop);
  }

  get serves(): number {
    return Array.from({ length: 256 }, (_, at) => this.member.placeOfPartition(at)).filter(
      (place) => place === "here",
    ).length;
  }
}

export async function turns(): Promise<void> {
  for (let count = 0; count < 40; count++) await new Promise((resolve) => setImmediate(resolve));
}
