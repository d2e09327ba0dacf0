import { ERRORS, type ServerMessage, type WatchQuery } from "lockdb/protocol";
import {
  type Answer,
  type Command,
  Deadlines,
  type DurableChange,
  type EngineEvent,
} from "../engine/index.js";
import { type Change, decodeRecord, encodeRecord, type Store } from "../store/index.js";
import { AuditLog } from "./audit-log.js";
import { BrokenServices } from "./broken-services.js";
import type { Past } from "./event-log.js";
import { EventLogs } from "./event-logs.js";
import { LeaseClock } from "./lease-clock.js";
import type { LoopOptions } from "./options.js";
import { type Act, type Outbox, Outside, type OutsideChange, type OutsideRecord } from "./outbox.js";
import type { Recipient } from "./recipient.js";
import { Recipients } from "./recipients.js";
import type { LoopRuntime } from "./runtime.js";
import { ServerTotals } from "./server-totals.js";
import type { Service, ServiceKey } from "./service.js";
import { Services, type ServicesSeen } from "./services.js";
import { CLOCK_KEY, readService, readStored, type StoredService } from "./stored.js";

/** While anything runs on the lease clock it is read at least this often, so that only a stall meets the 250 ms step. */
const SAMPLE_MS = 100;

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
  readonly #options: LoopOptions;
  readonly #services: Services;
  readonly #broken: BrokenServices;
  #timed = new Deadlines<Service>();
  /** Services with answers behind a batch that is not flushed. */
  readonly #holding = new Set<Service>();
  readonly #recipients = new Recipients();
  readonly #logs: EventLogs;
  readonly #audit: AuditLog;
  readonly #outside: Outside;
  #store: Store | null = null;
  #clock: LeaseClock;
  #state: "running" | "stopping" | "failed" | "stopped" = "failed";
  /** Services with something in their inboxes. */
  #touched: Service[] = [];
  #turnIsDue = false;
  #batch: Change[] = [];
  #batchNumber = 1;
  #committed = 0;
  #committing: Promise<void> | null = null;
  #cancelTimer: (() => void) | null = null;
  #timerDueMs = Number.POSITIVE_INFINITY;
  /** Something runs on the lease clock since the last turn. */
  #isSampled = false;
  #clockWrittenMs = 0;
  #reopening: Promise<void> | null = null;

  private constructor(options: LoopOptions) {
    this.#options = options;
    this.totals = options.totals ?? new ServerTotals();
    this.#services = new Services(options, this.totals.engine);
    this.#broken = this.#newBroken();
    this.#audit = new AuditLog(options.runtime.wallMs);
    this.#outside = new Outside(options.outbox, [this.#audit, ...(options.keepers ?? [])]);
    this.#logs = new EventLogs(options.runtime, options.limitsOf);
    this.#clock = new LeaseClock(0, options.runtime.monotonicMs());
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
    for (const { key, value } of changes) this.#put(key, value);
    for (const act of acts) this.#addAct(act);
    this.#scheduleTurn();
    return this.#outside.kept(this.#batchNumber);
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
    const nowMs = this.runtime.monotonicMs();
    const isFull = service === null || service.log?.isFull === true;
    const code = this.ready ? (isFull ? "LIMIT_EXCEEDED" : null) : "UNAVAILABLE";
    if (code !== null) to.receive(["refused", id, code, ERRORS[code].message]);
    else {
      const log = this.#logs.of(service!);
      log.watch(to, id, query, (start) => to.receive(["done", id, start]), nowMs);
    }
    this.#recipients.told(to);
    this.#scheduleTurn();
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
    return { ...this.#services.useOf(account), acts: this.#audit.countOf(account) };
  }

  /** False when an account has filled its part of the audit log: nothing more is done that would have to be recorded. */
  mayAct(account: string): boolean {
    const { acts = null } = this.#options.limitsOf?.(account) ?? {};
    return acts === null || this.#audit.countOf(account) < acts;
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

  /** Lease time as it was last read, in milliseconds. */
  get leaseMs(): number {
    return this.#clock.lastMs;
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
      return this.#scheduleTurn();
    }
    if (!("address" in command)) return;
    const isMuch = this.ready && !isStuck && this.#services.get(key) === undefined;
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
      this.#cancelTimer?.();
      await this.#settle();
    }
    const wasRunning = this.#works;
    this.#state = "stopped";
    this.#cancelTimer?.();
    this.#recipients.end("The server is stopping. Try again soon.");
    await this.#reopening;
    if (wasRunning) {
      for (const service of this.#services.all()) this.#addChanges(service, service.engine.stop());
      this.#addClock(this.#readClock());
    }
    try {
      if (wasRunning) await this.#store!.commit(this.#batch);
    } finally {
      this.#outside.over(new Error("The server has stopped."));
      await this.#store?.close();
    }
  }

  /** What was taken is still applied and committed. */
  get #works(): boolean {
    return this.#state === "running" || this.#state === "stopping";
  }

  /** A service that is ready for work; null: not now, or there are too many. */
  #use(key: ServiceKey): Service | null {
    const service = this.ready ? this.#services.use(key) : null;
    return service?.isLoading === true ? null : service;
  }

  // --- a turn ---

  #scheduleTurn(): void {
    if (this.#turnIsDue) return;
    this.#turnIsDue = true;
    this.#options.runtime.defer(() => {
      // Unless it was run already, by a stop that did not wait.
      if (this.#turnIsDue) this.#runTurn();
    });
  }

  #runTurn(): void {
    this.#turnIsDue = false;
    if (!this.#works) return;
    const nowMs = this.#readClock();
    const touched = new Set(this.#touched);
    this.#touched = [];
    for (const service of touched) this.#apply(service, service.takeInbox(), nowMs);
    // After the inbox: a renewal that has arrived counts, however late this turn is.
    for (let due = this.#timed.takeDue(nowMs); due !== undefined; due = this.#timed.takeDue(nowMs)) {
      this.#apply(due, TICK, nowMs);
      if (!due.isOver) this.#timed.set(due, due.engine.nextDeadlineMs);
      touched.add(due);
    }
    for (const service of touched) if (!service.isOver) this.#collect(service);
    const clockAgeMs = nowMs - this.#clockWrittenMs;
    const isWriting = this.#batch.length > 0;
    const runs = this.#timed.nextMs !== Number.POSITIVE_INFINITY;
    if (runs && clockAgeMs >= (isWriting ? CLOCK_AGE_MS : CLOCK_WRITTEN_MS)) this.#addClock(nowMs);
    this.#recipients.flush();
    this.#commit();
    this.#arm(nowMs);
  }

  /** An error here is a mistake of ours. It ends what is in memory of that service, and of no other. */
  #apply(service: Service, commands: readonly Command[], nowMs: number): void {
    if (service.isOver) return;
    try {
      for (const command of commands) service.engine.apply(command, nowMs, service.out);
    } catch (error) {
      this.#services.replace(service);
      this.#timed.delete(service);
      // What waits for a flush is not told any more, either: they come back and ask.
      this.#holding.delete(service);
      this.#logs.forget(service);
      this.#recipients.end("The service is read anew. Try again soon.", service.key);
      this.#broken.broke(service.key, error);
    }
  }

  /** Sends a service's answers on their way: at once, or behind the changes they must not overtake (R1). */
  #collect(service: Service): void {
    const { answers, changes, events = [] } = service.takeEffects();
    this.#timed.set(service, service.engine.nextDeadlineMs);
    if (changes.length > 0) {
      this.#addChanges(service, changes);
      service.waitsFor = this.#batchNumber;
    }
    if (service.waitsFor <= this.#committed) this.#tell(service, answers, events);
    else if (answers.length > 0 || events.length > 0) {
      service.held.push({ batch: service.waitsFor, answers, events });
      service.heldCount += answers.length;
      this.#holding.add(service);
    }
  }

  #addChanges(service: Service, changes: readonly DurableChange[]): void {
    for (const change of changes) {
      if (change.type === "audit") {
        const { account, id } = service.key;
        this.#addAct({ account, service: id, ...change.value });
      } else if (change.type === "delivery") {
        const { key, value } = this.#outside.owe(service.key, change, this.#batchNumber);
        this.#put(key, value);
      } else this.#put(`${service.key.prefix}${change.type}/${change.id}`, change.value);
    }
  }

  #addAct(act: Act): void {
    const { key, value } = this.#audit.record(act, this.#clock.lastMs);
    this.#put(key, value);
  }

  #put(key: string, value: object | null): void {
    this.#batch.push({ key, value: value === null ? null : encodeRecord(key, value) });
  }

  #addClock(nowMs: number): void {
    this.#clockWrittenMs = nowMs;
    this.#put(CLOCK_KEY, { nowMs });
  }

  #commit(): void {
    if (this.#committing !== null || this.#batch.length === 0 || !this.#works) return;
    const batch = this.#batch;
    const number = this.#batchNumber++;
    this.#batch = [];
    this.#committing = this.#store!.commit(batch).then(
      () => this.#flushed(number),
      (error: unknown) => this.#fail(error),
    );
  }

  #flushed(number: number): void {
    this.#committing = null;
    this.#committed = number;
    for (const service of this.#holding) {
      while (service.held.length > 0 && service.held[0]!.batch <= number) {
        const { answers, events } = service.held.shift()!;
        service.heldCount -= answers.length;
        this.#tell(service, answers, events);
      }
      if (service.held.length === 0) this.#holding.delete(service);
    }
    this.#recipients.flush();
    this.#outside.flushed(number);
    this.#commit();
  }

  async #settle(): Promise<void> {
    while (this.#committing !== null) await this.#committing;
  }

  #tell(service: Service, answers: readonly Answer[], events: readonly EngineEvent[]): void {
    this.#recipients.deliver(answers);
    for (const watcher of this.#logs.add(service, events)) this.#recipients.told(watcher);
  }

  // --- time ---

  #readClock(): number {
    return this.#clock.read(this.#options.runtime.monotonicMs(), this.#isSampled);
  }

  #arm(nowMs: number): void {
    const nextMs = this.#timed.nextMs;
    this.#isSampled = nextMs !== Number.POSITIVE_INFINITY;
    if (!this.#isSampled) return;
    const dueMs = Math.min(nextMs, nowMs + SAMPLE_MS);
    if (this.#cancelTimer !== null && this.#timerDueMs <= dueMs) return;
    this.#cancelTimer?.();
    this.#timerDueMs = dueMs;
    // Sockets first: after a stall, the renewals that wait in them are applied before anything expires.
    const ring = () => {
      this.#cancelTimer = null;
      this.#scheduleTurn();
    };
    this.#cancelTimer = this.#options.runtime.setTimer(ring, Math.max(1, dueMs - nowMs));
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
    this.#clock = new LeaseClock(clockMs, this.#options.runtime.monotonicMs());
    this.#clockWrittenMs = clockMs;
    this.#isSampled = false;
    for (const { key, records, holds } of services) {
      const service = this.#services.add(key);
      service.engine.restore(records, clockMs, service.out, holds);
      this.#addChanges(service, service.takeEffects().changes);
      this.#timed.set(service, service.engine.nextDeadlineMs);
    }
    const batch = this.#batch;
    this.#batch = [];
    await store.commit(batch);
  }

  /** A commit failed, or its outcome is unknown: all memory is dropped, and the store is read anew (R7). */
  #fail(error: unknown): void {
    this.#committing = null;
    this.#state = "failed";
    this.#options.log.error(
      { err: error },
      "the store failed: nothing unflushed was acknowledged; opening it anew",
    );
    this.#services.clear();
    this.#logs.clear();
    this.#holding.clear();
    this.#timed = new Deadlines();
    this.#touched = [];
    this.#batch = [];
    this.#committed = this.#batchNumber - 1;
    this.#outside.over(error);
    this.#recipients.end("The store does not work now. Try again soon.");
    this.#reopening ??= this.#reopen();
  }

  /** How a service comes back whose memory was dropped by `#apply`. */
  #newBroken(): BrokenServices {
    const { log, runtime, onFatal = () => {} } = this.#options;
    return new BrokenServices({
      monotonicMs: () => runtime.monotonicMs(),
      isWanted: (key) => this.ready && this.#services.get(key)?.isLoading === true,
      flushed: () => this.keep([{ key: CLOCK_KEY, value: { nowMs: this.#clock.lastMs } }]),
      read: (key) => readService(this.#store!, key),
      restore: (stored) => this.#takeUp(stored),
      totals: this.totals,
      log,
      onFatal,
    });
  }

  /** Its answers wait for what this changes (R5, R6), as all do. */
  #takeUp({ key, records, holds }: StoredService): void {
    const service = this.#services.replace(this.#services.get(key)!);
    service.engine.restore(records, this.#readClock(), service.out, holds);
    service.isLoading = false;
    this.#collect(service);
    this.#scheduleTurn();
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
        this.#batch = [];
        this.#options.log.warn({ err: error }, "the store cannot be opened yet");
        await new Promise<void>((resolve) => this.#options.runtime.setTimer(resolve, REOPEN_MS));
      }
    }
    this.#reopening = null;
  }
}
