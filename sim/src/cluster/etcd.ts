import {
  type CallOptions,
  CODE,
  type Etcd,
  type EtcdEntry,
  EtcdError,
  type EtcdMemberStatus,
  type Key,
  type RangeAnswer,
  type RangeQuery,
  type Txn,
  type TxnOutcome,
} from "../../../packages/server/dist/store/etcd-api.js";
import type { Process } from "../process.js";
import type { Scheduled, World } from "../world.js";
import type { EtcdPlan } from "./etcd-plan.js";
import { EtcdState } from "./etcd-state.js";

const TIMEOUT_MS = 1_000;
/** Transactions that a stale range is behind at most. */
const OLDER_MAX = 60;
const BACK_MAX = 20;
const MINUTE_MS = 60_000;

/** What becomes of a transaction. */
type Fate = "answered" | "not-applied" | "never" | "unheard" | "late";

/** Until when nothing passes between a member and etcd, by direction. */
interface Silence {
  up: number;
  down: number;
  /** What is sent meanwhile is lost, and not late. */
  loses: boolean;
}

interface Watch {
  readonly prefix: string;
  readonly process: Process;
  readonly onHint: (entries: readonly EtcdEntry[]) => void;
}

/** Three etcd members, seen from outside as one: it keeps what it has said was done, and does all else wrong that it may. */
export class SimEtcd {
  readonly state = new EtcdState();
  readonly #world: World;
  readonly #plan: EtcdPlan;
  readonly #silences = new Map<string, Silence>();
  readonly #watches = new Set<Watch>();
  /** What is to be done later. */
  readonly #late = new Set<{ scheduled: Scheduled; readonly run: () => void }>();
  #outUntilMs = 0;
  #calm = false;
  /** Transactions by what came of them. */
  readonly counts: Record<Fate, number> = { answered: 0, "not-applied": 0, never: 0, unheard: 0, late: 0 };

  constructor(world: World, plan: EtcdPlan) {
    this.#world = world;
    this.#plan = plan;
  }

  /** @param author who sends: the member's id */
  clientOf(process: Process, host: string, author: () => string): Etcd {
    return new SimEtcdClient(this, process, host, author);
  }

  /** One member and etcd do not hear each other for a while, or one of them does not. */
  silence(host: string, up: boolean, down: boolean, ms: number): void {
    const untilMs = this.#world.nowMs + ms;
    const silence = this.#silences.get(host) ?? { up: 0, down: 0, loses: false };
    if (up) silence.up = Math.max(silence.up, untilMs);
    if (down) silence.down = Math.max(silence.down, untilMs);
    silence.loses = this.#world.random.chance(0.5);
    this.#silences.set(host, silence);
  }

  /** No quorum: nothing is done, whoever asks. */
  out(ms: number): void {
    this.#outUntilMs = Math.max(this.#outUntilMs, this.#world.nowMs + ms);
  }

  heal(): void {
    this.#calm = true;
    this.#outUntilMs = 0;
    this.#silences.clear();
    for (const late of [...this.#late]) {
      late.scheduled.cancelled = true;
      late.scheduled = this.#world.after(this.#world.random.span(1, 1_000), () => this.#runLate(late));
    }
  }

  /** Sends a transaction on its way. @param answer is called at most once, in no process */
  send(
    process: Process,
    host: string,
    author: string,
    txn: Txn,
    answer: (outcome: TxnOutcome) => void,
  ): void {
    const { random } = this.#world;
    const departsMs = process.localMs;
    const fate = this.#fateOf();
    this.counts[fate]++;
    const silence = this.#silences.get(host);
    const isSilent = (untilMs: number | undefined) => untilMs !== undefined && untilMs > departsMs;
    const isOut = this.#outUntilMs > departsMs;
    if (fate === "not-applied" || (isOut && random.chance(0.4))) {
      if (isSilent(silence?.down) || isSilent(silence?.up)) return;
      const outcome: TxnOutcome = { kind: "not-applied", error: unavailable("simulated: it has no leader") };
      this.#world.at(departsMs + this.#latencyMs(), () => answer(outcome));
      return;
    }
    if (fate === "never") return;
    let arrivesMs = departsMs + this.#latencyMs();
    if (isSilent(silence?.up)) {
      if (silence!.loses) return;
      arrivesMs = Math.max(arrivesMs, silence!.up + this.#latencyMs());
    }
    if (isOut) {
      if (random.chance(0.5)) return;
      arrivesMs = Math.max(arrivesMs, this.#outUntilMs + this.#latencyMs());
    }
    if (fate === "late") arrivesMs += random.span(10, this.#plan.lateMsMax);
    const done = () => {
      // It stood still, and died before that left it.
      if (process.diedMs < departsMs) return;
      const outcome = this.#apply(txn, author);
      if (fate === "unheard") return;
      const stuckMs = isSilent(silence?.down) ? silence!.down : 0;
      this.#world.at(Math.max(this.#world.nowMs, stuckMs) + this.#latencyMs(), () => answer(outcome));
    };
    this.#later(arrivesMs, done);
  }

  range(
    process: Process,
    host: string,
    query: RangeQuery,
    answer: (found: RangeAnswer | EtcdError) => void,
  ): void {
    const { random } = this.#world;
    const departsMs = process.localMs;
    const silence = this.#silences.get(host);
    const isSilent = Math.max(silence?.up ?? 0, silence?.down ?? 0, this.#outUntilMs) > departsMs;
    if (isSilent || (!this.#calm && random.chance(this.#plan.neverChance))) return;
    this.#world.at(departsMs + this.#latencyMs(), () => {
      const isStale = !this.#calm && random.chance(this.#plan.staleChance);
      let found: RangeAnswer | EtcdError;
      try {
        found = this.state.range(query, isStale ? random.int(OLDER_MAX) : 0);
      } catch (error) {
        found = error as EtcdError;
      }
      this.#world.after(this.#latencyMs(), () => answer(found));
    });
  }

  watch(watch: Watch): () => void {
    this.#watches.add(watch);
    this.#hintForNothing(watch);
    return () => void this.#watches.delete(watch);
  }

  #apply(txn: Txn, author: string): TxnOutcome {
    const { random } = this.#world;
    const goesBack = !this.#calm && random.chance(this.#plan.backChance);
    const order = this.state.order;
    const isStale = !this.#calm && random.chance(this.#plan.staleChance);
    this.state.author = author;
    const outcome = this.state.apply(
      txn,
      goesBack ? 1 + random.int(BACK_MAX) : 0,
      isStale ? random.int(OLDER_MAX) : 0,
    );
    if (this.state.order > order) this.#hint(outcome.kind === "applied" ? txn.ops : (txn.otherwise ?? []));
    return outcome;
  }

  #hint(ops: Txn["ops"]): void {
    for (const watch of this.#watches) {
      if (!watch.process.alive) this.#watches.delete(watch);
      else if (ops.some((op) => textOfOp(op)?.startsWith(watch.prefix)))
        this.#tell(watch, entriesIn(ops, watch.prefix));
    }
  }

  #tell(watch: Watch, entries: readonly EtcdEntry[] = []): void {
    const { random } = this.#world;
    const { hintLostChance, hintLateMsMax, hintTwiceChance } = this.#plan;
    if (!this.#calm && random.chance(hintLostChance)) return;
    const times = !this.#calm && random.chance(hintTwiceChance) ? 2 : 1;
    for (let time = 0; time < times; time++) {
      const ms = this.#calm ? this.#latencyMs() : random.span(0.1, hintLateMsMax);
      this.#world.after(ms, () => {
        if (this.#watches.has(watch)) watch.process.arrive(() => watch.onHint(entries));
      });
    }
  }

  #hintForNothing(watch: Watch): void {
    const { hintsPerMinute } = this.#plan;
    if (hintsPerMinute === 0) return;
    const ms = (-Math.log(1 - this.#world.random.next()) * MINUTE_MS) / hintsPerMinute;
    this.#world.after(ms, () => {
      if (this.#calm || !this.#watches.has(watch)) return;
      this.#tell(watch);
      this.#hintForNothing(watch);
    });
  }

  #later(dueMs: number, run: () => void): void {
    const late = { scheduled: { cancelled: false } as Scheduled, run };
    late.scheduled = this.#world.at(dueMs, () => this.#runLate(late));
    this.#late.add(late);
  }

  #runLate(late: { readonly run: () => void }): void {
    this.#late.delete(late as { scheduled: Scheduled; readonly run: () => void });
    late.run();
  }

  #fateOf(): Fate {
    if (this.#calm) return "answered";
    const { notAppliedChance, neverChance, unheardChance, lateChance } = this.#plan;
    let at = this.#world.random.next();
    for (const [fate, chance] of [
      ["not-applied", notAppliedChance],
      ["never", neverChance],
      ["unheard", unheardChance],
      ["late", lateChance],
    ] as const) {
      at -= chance;
      if (at < 0) return fate;
    }
    return "answered";
  }

  #latencyMs(): number {
    const { random } = this.#world;
    const ms = random.span(0.05, this.#plan.latencyMsMax);
    if (this.#calm || !random.chance(this.#plan.slowChance)) return ms;
    return ms + random.span(1, this.#plan.slowMsMax);
  }
}

/** One process's way to it. */
class SimEtcdClient implements Etcd {
  readonly #etcd: SimEtcd;
  readonly #process: Process;
  readonly #host: string;
  readonly #author: () => string;
  readonly #ends = new Set<() => void>();
  #isClosed = false;

  constructor(etcd: SimEtcd, process: Process, host: string, author: () => string) {
    this.#etcd = etcd;
    this.#author = author;
    this.#process = process;
    this.#host = host;
  }

  txn(txn: Txn, { timeoutMs = TIMEOUT_MS }: CallOptions = {}): Promise<TxnOutcome> {
    if (this.#isClosed)
      return Promise.resolve({ kind: "not-applied", error: unavailable("simulated: closed") });
    return this.#ask<TxnOutcome>(
      timeoutMs,
      (answer) => this.#etcd.send(this.#process, this.#host, this.#author(), txn, answer),
      () => ({ kind: "unknown", error: timedOut() }),
    );
  }

  async range(query: RangeQuery, { timeoutMs = TIMEOUT_MS }: CallOptions = {}): Promise<RangeAnswer> {
    const found = await this.#ask<RangeAnswer | EtcdError>(
      timeoutMs,
      (answer) => this.#etcd.range(this.#process, this.#host, query, answer),
      timedOut,
    );
    if (found instanceof EtcdError) throw found;
    return found;
  }

  async status(): Promise<readonly EtcdMemberStatus[]> {
    return [];
  }

  watch(prefix: Key, onHint: Watch["onHint"]): () => void {
    return this.#etcd.watch({ prefix: String(prefix), process: this.#process, onHint });
  }

  close(): void {
    this.#isClosed = true;
    for (const end of [...this.#ends]) end();
  }

  #ask<T>(timeoutMs: number, send: (answer: (found: T) => void) => void, failed: () => T): Promise<T> {
    return new Promise((resolve) => {
      const settle = (found: T) => {
        cancel();
        this.#ends.delete(end);
        resolve(found);
      };
      const end = () => settle(failed());
      this.#ends.add(end);
      const cancel = this.#process.setTimer(end, timeoutMs);
      send((found) => this.#process.arrive(() => settle(found)));
    });
  }
}

/** What a hint says: that it was there once. */
function entriesIn(ops: Txn["ops"], prefix: string): readonly EtcdEntry[] {
  return ops.flatMap((op) => {
    if (!("put" in op) || !String(op.put).startsWith(prefix)) return [];
    return [{ key: Buffer.from(String(op.put)), value: Buffer.from(op.value), revision: 0 }];
  });
}

function textOfOp(op: Txn["ops"][number]): string | null {
  if ("put" in op) return String(op.put);
  return "delete" in op ? String(op.delete) : null;
}

function timedOut(): EtcdError {
  return new EtcdError(CODE.DEADLINE_EXCEEDED, "simulated: no answer in time", "sim");
}

function unavailable(text: string): EtcdError {
  return new EtcdError(CODE.UNAVAILABLE, text, "sim");
}
