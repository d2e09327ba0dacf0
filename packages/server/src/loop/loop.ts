import { ERRORS, type ServerMessage, type WatchQuery } from "lockdb/protocol";
import { type Answer, type Command, Deadlines, type EngineEvent } from "../engine/index.js";
import { type Change, decodeRecord, type Store } from "../store/index.js";
import { AuditLog } from "./audit-log.js";
import { Batches } from "./batches.js";
import { BrokenServices } from "./broken-services.js";
import type { Past } from "./event-log.js";
import { EventLogs } from "./event-logs.js";
import { HandOvers, type IsIn } from "./hand-overs.js";
import { HeldAnswers } from "./held-answers.js";
import { LeaseTime } from "./lease-time.js";
import { Moves } from "./moves.js";
import type { LoopOptions } from "./options.js";
import { type Act, type Outbox, Outside, type OutsideChange, type OutsideRecord } from "./outbox.js";
import { type Placement, TrustLostError } from "./placement.js";
import type { Recipient } from "./recipient.js";
import { Recipients } from "./recipients.js";
import type { LoopRuntime } from "./runtime.js";
import { ServerTotals } from "./server-totals.js";
import type { Service, ServiceKey } from "./service.js";
import { Services, type ServicesSeen } from "./services.js";
import { CLOCK_KEY, readService, readStored, type StoredService } from "./stored.js";
import { Turns } from "./turns.js";
import { Writing } from "./writing.js";

/** How often the lease clock is written down while something runs on it (R6). */
const CLOCK_WRITTEN_MS = 1_000;

/** When something is written anyway, the clock goes along if the written one is this old. */
const CLOCK_AGE_MS = 100;

/** Answers of one service that wait for a flush; beyond it the disk hangs, and more is refused (N3). */
const HELD_MAX = 1_000_000;

const REOPEN_MS = 1_000;

const TICK: readonly Command[] = [{ kind: "tick" }];

/**
 * Everything that arrives in a turn of the event loop is applied, its durable changes are committed as one batch, and
 * the answers leave when that is flushed. One commit is in flight at a time; what comes meanwhile is the next batch.
 */
export class Loop {
  /** What has happened since this process began. */
  readonly totals: ServerTotals;
  readonly audit: AuditLog;
  readonly #options: LoopOptions;
  readonly #services: Services;
  readonly #broken: BrokenServices;
  #timed = new Deadlines<Service>();
  readonly #held = new HeldAnswers();
  readonly #recipients = new Recipients();
  readonly #logs: EventLogs;
  readonly #outside: Outside;
  readonly #batches: Batches;
  readonly #writing: Writing;
  readonly #handOvers = new HandOvers();
  readonly #time: LeaseTime;
  readonly #moves: Moves;
  #store: Store | null = null;
  #state: "running" | "stopping" | "failed" | "stopped" = "failed";
  /** Services with something in their inboxes. */
  #touched: Service[] = [];
  readonly #turns: Turns;
  #reopening: Promise<void> | null = null;

  private constructor(options: LoopOptions) {
    this.#options = options;
    this.totals = options.totals ?? new ServerTotals();
    this.#services = new Services(options, this.totals.engine);
    this.#broken = this.#newBroken();
    this.audit = new AuditLog(options.runtime.wallMs, options.placement);
    this.#outside = new Outside(options.outbox, [this.audit, ...(options.keepers ?? [])]);
    this.#logs = new EventLogs(options.runtime, options.limitsOf);
    // Sockets first: after a stall, the renewals that wait in them are applied before anything expires.
    this.#turns = new Turns(options.runtime, () => this.#runTurn());
    this.#time = new LeaseTime(options.runtime, () => this.#turns.schedule());
    this.#batches = new Batches({
      store: () => (this.#works ? this.#store : null),
      flushed: (batch) => this.#flushed(batch),
      failed: (error) => this.#fail(error),
    });
    this.#writing = new Writing(this.#batches, this.audit, this.#outside, () => this.#time.lastMs);
    this.#moves = this.#newMoves();
  }

  /** Opens the store and takes up what is in it. Rejects when the store is damaged (R9) or in use (R8). */
  static async start(options: LoopOptions): Promise<Loop> {
    const loop = new Loop(options);
    await loop.#open();
    return loop;
  }

  get runtime(): LoopRuntime {
    return this.#options.runtime;
  }

  /** False while the store does not work, and once the loop is stopped. */
  get ready(): boolean {
    return this.#state === "running";
  }

  /** What is known of the cluster; undefined: there is none. */
  get placement(): Placement | undefined {
    return this.#options.placement;
  }

  /** Who sees to the webhooks of holds. */
  get outbox(): Pick<Outbox, "urlProblem" | "isFull"> {
    return this.#outside.outbox;
  }

  /**
   * Writes records that belong to no service, in the batch that is next, and with them the acts that they come from: what
   * cannot be recorded does not happen (A7). Resolves once they are durable. Rejects when that is not known: their keepers are
   * told then what there is (R7).
   */
  keep(changes: readonly OutsideChange[], ...acts: readonly Act[]): Promise<void> {
    if (this.#state !== "running") return Promise.reject(new Error("The store does not work now."));
    this.#turns.schedule();
    return this.#writing.keep(changes, acts);
  }

  /** A new address for somebody who will send commands. */
  attach(recipient: Recipient): string {
    return this.#recipients.attach(recipient);
  }

  /** Nothing more is delivered there. */
  detach(address: string): void {
    this.#recipients.detach(address);
  }

  /**
   * Tells a recipient of a service's events from now on, or from where it has come to: first the answer to `id`, then what
   * has happened since. Only what is durable is told (R1).
   */
  watch(key: ServiceKey, to: Recipient, id: number, query: WatchQuery): void {
    const service = this.#use(key);
    const isFull = service === null || service.log?.isFull === true;
    const code = this.isHere(key) ? (isFull ? "LIMIT_EXCEEDED" : null) : "UNAVAILABLE";
    if (code !== null) to.receive(["refused", id, code, ERRORS[code].message]);
    else this.#logs.watch(service!, to, id, query);
    this.#recipients.told(to);
    this.#turns.schedule();
  }

  /** What has happened in a service, as far as it is kept: from the first time that somebody looked. Null: not now, or there are too many services. */
  past(key: ServiceKey, query: WatchQuery, limit: number): Past | null {
    const service = this.#use(key);
    return service === null ? null : this.#logs.of(service).past(query, limit, this.runtime.monotonicMs());
  }

  /** What there is in memory, to look at. */
  get services(): ServicesSeen {
    return this.#services;
  }

  /** What an account has in all its services together, and entries in the audit log. */
  useOf(account: string): ReturnType<Services["useOf"]> & { readonly acts: number } {
    return { ...this.#services.useOf(account), acts: this.audit.countOf(account) };
  }

  /** False when an account has filled its part of the audit log: nothing more is done that would have to be recorded. */
  mayAct(account: string): boolean {
    const { acts = null } = this.#options.limitsOf?.(account) ?? {};
    return acts === null || this.audit.countOf(account) < acts;
  }

  /**
   * Durable records in the order of their keys, as of one moment: all that was acknowledged before, and perhaps more.
   * @param after only those behind this key
   */
  async *records(prefix: string, after = ""): AsyncGenerator<OutsideRecord & { readonly bytes: Uint8Array }> {
    if (!this.ready) throw new Error("The store does not work now.");
    for await (const entry of this.#store!.load(prefix, after))
      yield { key: entry.key, value: decodeRecord(entry) as object, bytes: entry.value };
  }

  /** Lease time now, in milliseconds: what is counted from here on must not begin with a step that was due before (L3). */
  get leaseMs(): number {
    return this.#time.read();
  }

  /** The end of one watch, or of all of a recipient. */
  unwatch(key: ServiceKey, to: Recipient, id: number | null): void {
    const log = this.#services.get(key)?.log;
    const nowMs = this.runtime.monotonicMs();
    if (id === null) log?.leave(to, nowMs);
    else log?.unwatch(to, id, nowMs);
    this.#logs.forgetUnwanted(nowMs);
  }

  /** Puts a command into this turn's inbox. While the store does not work it is refused at once. */
  submit(key: ServiceKey, command: Command): void {
    const service = this.#use(key);
    const isRequest = "id" in command && command.kind !== "cancel";
    const isStuck = isRequest && service !== null && service.heldCount > HELD_MAX;
    if (service !== null && !isStuck) {
      if (service.inbox.push(command) === 1) this.#touched.push(service);
      if (command.kind === "disconnect") this.#turns.ended();
      return this.#turns.schedule();
    }
    // Of a service that is handed over everybody is told where it is, when that is known.
    if (!("address" in command) || this.#handOvers.has(key)) return;
    const isMuch = this.isHere(key) && !isStuck && this.#services.get(key) === undefined;
    const code = isMuch ? "LIMIT_EXCEEDED" : "UNAVAILABLE";
    // Whoever is refused by a disk that hangs must come back, with this request too: its connection ends.
    const message: ServerMessage =
      "id" in command && !isStuck
        ? ["refused", command.id, code, ERRORS[code].message]
        : ["ended", code, ERRORS[code].message];
    this.#recipients.deliver([{ to: command.address, message }]);
    this.#recipients.flush();
  }

  /** Stops for good: everybody is told, then the session holds are written down for the next start (R5). */
  async stop(): Promise<void> {
    if (this.#state === "stopped" || this.#state === "stopping") return;
    if (this.#state === "running") {
      // Nothing new is taken from here on, or the last flush would never come.
      this.#state = "stopping";
      this.#runTurn();
      this.#time.disarm();
      await this.#batches.settle();
    }
    const wasRunning = this.#works;
    this.#state = "stopped";
    this.#time.disarm();
    this.#recipients.end("The server is stopping. Try again soon.");
    await this.#reopening;
    if (wasRunning) {
      for (const service of this.#services.working())
        this.#writing.addChanges(service, service.engine.stop());
      this.#writing.addClock(this.#time.read());
    }
    try {
      if (wasRunning) await this.#store!.commit(this.#batches.take());
    } finally {
      this.#outside.over(new Error("The server has stopped."));
      await this.#store?.close();
    }
  }

  /** What was taken is still applied and committed. */
  get #works(): boolean {
    return this.#state === "running" || this.#state === "stopping";
  }

  /** A service that is ready for work; null: not now, not here, or there are too many. */
  #use(key: ServiceKey): Service | null {
    if (!this.ready) return null;
    // Those in memory are here: it is asked only of those that would come to be.
    const service = this.#services.get(key) ?? (this.isHere(key) ? this.#services.use(key) : null);
    return service?.isLoading === true ? null : service;
  }

  // --- what comes from other members, and goes to them ---

  /** True while a service is served here, and the store works. */
  isHere(key: ServiceKey): boolean {
    const { placement } = this.#options;
    if (!this.ready || placement === undefined) return this.ready;
    return !this.#handOvers.has(key) && placement.placeOf(key) === "here";
  }

  /**
   * Takes up all that there is of a partition which this member has claimed, as it was read behind the claim. Resolves when what that
   * changes is durable; nothing that depends on it is answered before (R5). What is much is made in slices, and not known to anybody before it is whole.
   * @param outside records outside services that come with them
   * @param leaseMs their lease time, which stands still until they are served (R6)
   * @param first that they are served here, as the store takes it; told by how much their lease time is ahead of the loop's clock, in whole milliseconds
   * @throws Error when a record is damaged (R9): nothing is taken up then; when the store does not work, or fails meanwhile
   */
  async takeUp(
    services: readonly StoredService[],
    outside: readonly OutsideRecord[],
    leaseMs: number,
    first: (offsetMs: number) => readonly Change[],
  ): Promise<void> {
    return this.#moves.takeUp(services, outside, leaseMs, first);
  }

  /**
   * Gives services away. From now on nothing of them is taken. What is on its way is flushed first, and told: it was done, and to ask for it again would do
   * it twice. Then nothing of them is told any more, and one batch has what a
   * clean stop writes of them (R5), the lease clock, and `last`. When that is flushed, all who speak with them are told where they are, which
   * `Placement.placeOf` must know as soon as `over` was called, and this resolves.
   * @param last who serves them from then on, as the store takes it
   * @param over called when that is durable
   * @throws Error when the store does not work, or fails meanwhile: it is not known then whether they were given away
   */
  async handOver(isIn: IsIn, last: readonly Change[], over: () => void): Promise<void> {
    return this.#moves.handOver(isIn, last, over);
  }

  /** This member may not answer any more: as after a failed commit nothing is delivered, and the store is opened anew (R7). */
  distrust(reason: Error): void {
    if (this.#works) this.#fail(reason);
  }

  get #isTrusted(): boolean {
    return this.#options.placement?.isTrusted() !== false;
  }

  /** Nothing of it is applied any more. What was applied is told when it is flushed, which is before its last batch is on its way. */
  #drop(service: Service): void {
    this.#services.remove(service);
    this.#timed.delete(service);
    this.#logs.forget(service);
  }

  // --- a turn ---

  #runTurn(): void {
    this.#turns.begun();
    if (!this.#works) return;
    if (!this.#isTrusted) return this.distrust(new TrustLostError());
    const nowMs = this.#time.read();
    const touched = new Set(this.#touched);
    this.#touched = [];
    for (const service of touched) this.#apply(service, service.takeInbox(), nowMs);
    // After the inbox: a renewal that has arrived counts, however late this turn is.
    for (let due = this.#timed.takeDue(nowMs); due !== undefined; due = this.#timed.takeDue(nowMs)) {
      this.#apply(due, TICK, nowMs);
      if (!due.isOver) this.#timed.set(due, due.nextDeadlineMs);
      touched.add(due);
    }
    // However long that took: what is told leaves at once.
    if (!this.#isTrusted) return this.distrust(new TrustLostError());
    for (const service of touched) if (!service.isOver) this.#collect(service);
    const clockAgeMs = nowMs - this.#writing.clockMs;
    const isWriting = !this.#batches.isEmpty;
    const runs = this.#timed.nextMs !== Number.POSITIVE_INFINITY;
    if (runs && clockAgeMs >= (isWriting ? CLOCK_AGE_MS : CLOCK_WRITTEN_MS)) this.#writing.addClock(nowMs);
    this.#recipients.flush();
    this.#batches.commit();
    this.#time.arm(nowMs, this.#timed.nextMs);
  }

  /** An error here is a mistake of ours. It ends what is in memory of that service, and of no other. */
  #apply(service: Service, commands: readonly Command[], nowMs: number): void {
    if (service.isOver) return;
    try {
      const serviceMs = nowMs + service.offsetMs;
      for (const command of commands) service.engine.apply(command, serviceMs, service.out);
    } catch (error) {
      this.#services.replace(service);
      this.#timed.delete(service);
      // What waits for a flush is not told any more, either: they come back and ask.
      this.#held.forget(service);
      this.#logs.forget(service);
      this.#recipients.end("The service is read anew. Try again soon.", service.key);
      this.#broken.broke(service.key, error);
    }
  }

  /** Sends a service's answers on their way: at once, or behind the changes they must not overtake (R1). */
  #collect(service: Service): void {
    const { answers, changes, events = [] } = service.takeEffects();
    this.#timed.set(service, service.nextDeadlineMs);
    if (changes.length > 0) {
      this.#writing.addChanges(service, changes);
      service.waitsFor = this.#batches.number;
    }
    if (service.waitsFor <= this.#batches.committed) this.#tell(service, answers, events);
    else if (answers.length > 0 || events.length > 0) this.#held.add(service, answers, events);
  }

  #flushed(batch: number): void {
    if (!this.#isTrusted) return this.distrust(new TrustLostError());
    this.#held.flushed(batch, (service, answers, events) => this.#tell(service, answers, events));
    this.#recipients.flush();
    this.#outside.flushed(batch);
    this.#handOvers.flushed(batch, (isIn) => this.#recipients.moved(isIn, this.#options.placement));
    this.#batches.commit();
  }

  #tell(service: Service, answers: readonly Answer[], events: readonly EngineEvent[]): void {
    this.#recipients.deliver(answers);
    for (const watcher of this.#logs.add(service, events)) this.#recipients.told(watcher);
  }

  // --- start and failure ---

  async #open(): Promise<void> {
    const store = await this.#options.openStore();
    try {
      await this.#load(store);
      if (this.#state === "stopped") return store.close();
      this.#store = store;
      this.#state = "running";
      this.#outside.opened();
    } catch (error) {
      if (this.#state === "running") this.#state = "failed";
      this.#store = null;
      await store.close();
      throw error;
    }
    this.#runTurn();
  }

  async #load(store: Store): Promise<void> {
    const { clockMs, services } = await readStored(store, this.#outside, this.#services);
    this.#time.goOn(clockMs);
    this.#writing.clockMs = clockMs;
    for (const service of this.#services.restore(services, clockMs)) {
      this.#writing.addChanges(service, service.takeEffects().changes);
      this.#timed.set(service, service.nextDeadlineMs);
    }
    await store.commit(this.#batches.take());
  }

  /** A commit failed, or its outcome is unknown: all memory is dropped, and the store is read anew (R7). */
  #fail(error: unknown): void {
    this.#state = "failed";
    this.#options.log.error(
      { err: error },
      "the store failed: nothing unflushed was acknowledged; opening it anew",
    );
    this.#services.clear();
    this.#logs.clear();
    this.#held.clear();
    this.#timed = new Deadlines();
    this.#touched = [];
    this.#batches.clear();
    this.#outside.over(error);
    this.#handOvers.failed(error);
    this.#recipients.end("The store does not work now. Try again soon.");
    this.#reopening ??= this.#reopen();
  }

  #newMoves(): Moves {
    const { runtime, sliceMax, listMax } = this.#options;
    const parts = { services: this.#services, batches: this.#batches, writing: this.#writing };
    return new Moves({
      ...{ runtime, sliceMax, listMax, ...parts },
      ...{ outside: this.#outside, time: this.#time, handOvers: this.#handOvers },
      store: () => (this.ready ? this.#store : null),
      collect: (service) => this.#collect(service),
      drop: (service) => this.#drop(service),
      schedule: () => this.#turns.schedule(),
      failed: (reason) => this.distrust(reason),
    });
  }

  /** How a service comes back whose memory was dropped by `#apply`. */
  #newBroken(): BrokenServices {
    const { log, runtime, onFatal = () => {} } = this.#options;
    return new BrokenServices({
      monotonicMs: () => runtime.monotonicMs(),
      isWanted: (key) => this.ready && this.#services.get(key)?.isLoading === true,
      flushed: () => this.keep([{ key: CLOCK_KEY, value: { nowMs: this.#time.lastMs } }]),
      read: (key) => readService(this.#store!, key),
      restore: (stored) => this.#readAnew(stored),
      totals: this.totals,
      log,
      onFatal,
    });
  }

  /** Its answers wait for what this changes (R5, R6), as all do. */
  #readAnew({ key, records, holds }: StoredService): void {
    const service = this.#services.replace(this.#services.get(key)!);
    service.engine.restore(records, this.#time.read() + service.offsetMs, service.out, holds);
    service.isLoading = false;
    this.#collect(service);
    this.#turns.schedule();
  }

  async #reopen(): Promise<void> {
    while (this.#state === "failed") {
      // Also one that was opened anew and failed at once.
      await this.#store?.close().catch(() => {});
      this.#store = null;
      try {
        await this.#open();
      } catch (error) {
        // Nothing of a start that came to nothing may live on: its services would end what the next ones have.
        this.#services.clear();
        this.#timed = new Deadlines();
        this.#batches.take();
        this.#options.log.warn({ err: error }, "the store cannot be opened yet");
        await new Promise<void>((resolve) => this.#options.runtime.setTimer(resolve, REOPEN_MS));
      }
    }
    this.#reopening = null;
  }
}
