import type { GrantExtra, LockInfo, ServerMessage } from "../../packages/lockdb/dist/protocol/messages.js";
import type {
  Answer,
  Command,
  DurableChange,
  Effects,
  EngineEvent,
  HoldRecord,
} from "../../packages/server/dist/engine/commands.js";
import { Engine } from "../../packages/server/dist/engine/engine.js";
import type { DurableRecord } from "../../packages/server/dist/engine/packed-holds.js";
import { decodeRecord } from "../../packages/server/dist/store/records.js";
import { Deliveries } from "./deliveries.js";
import { DetachedHolds } from "./detached-holds.js";
import { Endings } from "./endings.js";
import { EventRules } from "./event-rules.js";
import { LeaseTime } from "./lease-time.js";
import { LockRules } from "./lock-rules.js";
import { locksOf, wantsOf } from "./modes.js";
import type { Plan } from "./plan.js";
import { PostponedUnlocks } from "./postponed-unlocks.js";
import { type Durable, type Servers, serviceFor, serviceIn } from "./servers.js";
import type { About } from "./story.js";
import { tell } from "./tell.js";
import { type Asked, clientOf, type Locks, newAsked, newView, serviceOf, type View } from "./view.js";
import type { World } from "./world.js";

type Granted = readonly ["granted", id: number, token: number, extra?: GrantExtra];

/** What came of one command. */
interface Outcome {
  readonly answers: readonly Answer[];
  readonly changes: readonly DurableChange[];
  readonly events: readonly EngineEvent[];
}

/** Commands that change no lock. */
const HARMLESS: ReadonlySet<Command["kind"]> = new Set([
  "heartbeat",
  "acknowledge",
  "inspect",
  "list",
  "check",
]);

/** Looks on at every engine of a run: each command, what came of it, and what became audible. */
export class EngineWatch {
  readonly detached: DetachedHolds;
  readonly endings: Endings;
  readonly #plan: Plan;
  /** Null: each of several servers has one of its own. */
  readonly #leaseTime: LeaseTime | null;
  readonly #world: World;
  readonly #disk: Durable;
  readonly #servers: Servers | null;
  readonly #views = new WeakMap<Engine, View>();
  readonly #rules: LockRules;
  readonly #deliveries: Deliveries;
  readonly #events: EventRules;
  readonly #postponed = new PostponedUnlocks();
  readonly #asked = new Map<string, Asked>();
  /** Sessions that ended, as the newest engine knows it. */
  readonly #ended = new Set<string>();
  readonly #audibleMax = new Map<string, number>();
  readonly #apply = Engine.prototype.apply;
  readonly #restoring = Engine.prototype.restoring;
  /** The engine in use, by service. */
  readonly #living = new Map<string, Engine>();
  grants = 0;
  #engines = 0;

  constructor(world: World, plan: Plan, disk: Durable, servers: Servers | null = null) {
    this.#world = world;
    this.#disk = disk;
    this.#servers = servers;
    this.detached = new DetachedHolds(world);
    this.#deliveries = new Deliveries(world);
    const commitMsMax = Math.max(disk.plan.commitMsMax, disk.plan.slowChance > 0 ? disk.plan.slowMsMax : 0);
    this.#leaseTime = servers === null ? new LeaseTime(world, commitMsMax, plan.lockDelayMs) : null;
    this.#plan = plan;
    this.#rules = new LockRules(world);
    this.#events = new EventRules(world);
    this.endings = new Endings(world, plan.lockDelayMs);
    disk.onApply = (batch) => this.#deliveries.written(disk.records, batch);
    disk.onOpen = () => {
      this.#living.clear();
      this.#leaseTime?.opened();
    };
  }

  /** Puts itself between the loop and its engines, until the returned function is called. */
  install(): () => void {
    const watch = this;
    const [apply, restoring] = [this.#apply, this.#restoring];
    Engine.prototype.apply = function (this: Engine, command, nowMs, out) {
      if (watch.#isElsewhere(watch.#viewOf(this).service || serviceFor(command)))
        return apply.call(this, command, nowMs, out);
      const outcome = { answers: [], changes: [], events: [] } satisfies Effects;
      watch.#before(this, command, nowMs);
      apply.call(this, command, nowMs, outcome);
      watch.#after(this, command, nowMs, outcome);
      out.answers.push(...outcome.answers);
      out.changes.push(...outcome.changes);
      out.events?.push(...outcome.events);
    };
    Engine.prototype.restoring = function* (this: Engine, records, nowMs, out, many, slices) {
      // Before: what an engine has taken it may let go.
      const holds = Array.from({ length: many?.size ?? 0 }, (_, index) => many!.at(index));
      yield* restoring.call(this, records, nowMs, out, many, slices);
      if (watch.#isElsewhere(serviceIn(records))) return;
      watch.#restored(this, [...records, ...holds], nowMs);
    };
    return () => {
      Engine.prototype.apply = apply;
      Engine.prototype.restoring = restoring;
    };
  }

  /** Somebody else serves it now, or will: what was in memory is gone. */
  moved(service: string): void {
    this.#living.delete(service);
  }

  /** What a server does that does not own a service any more concerns nobody, as long as it is not heard. */
  #isElsewhere(service: string): boolean {
    return this.#servers !== null && service !== "" && !this.#servers.isAtOwner(service);
  }

  /** A frame leaves the server: what it says must be durable by now (R1). */
  audible(service: string, session: string | null, text: string, sentMs: number): void {
    this.endings.audible(session, text, sentMs);
    // What ended in the batch in which it began was never stored, and need not be.
    const isOver = session !== null && this.#ended.has(session);
    if (text.includes('"welcome"') && !isOver) this.#mustBeStored(service, `session/${session}`, "a welcome");
    if (!text.includes('"granted"')) return;
    for (const message of JSON.parse(text) as unknown[][]) {
      if (message[0] !== "granted") continue;
      const token = message[2] as number;
      this.#audibleMax.set(service, Math.max(token, this.#audibleMax.get(service) ?? 0));
      const ceiling = this.#stored(service, "ceiling/") as { tokens: number } | null;
      if (ceiling === null || token >= ceiling.tokens) {
        this.#world.violate("F2", `token ${token} of ${service} is told, and no stored ceiling is above it`);
      }
      if (this.detached.isNew(service, token))
        this.#mustBeStored(service, `hold/${token}`, `detached token ${token}`);
      const isStrict = this.#plan.durability === "strict";
      if (isStrict && this.sessionHolds(service).some((hold) => hold.token === token))
        this.#mustBeStored(service, `hold/${token}`, `token ${token}`);
      this.detached.told(service, token);
    }
  }

  #mustBeStored(service: string, id: string, what: string): void {
    if (this.#disk.records.has(`default/service/${service}/${id}`)) return;
    this.#world.violate("R1", `${what} is told before ${id} of ${service} is durable`);
  }

  #stored(service: string, id: string): unknown {
    const key = `default/service/${service}/${id}`;
    const value = this.#disk.records.get(key);
    return value === undefined ? null : decodeRecord({ key, value });
  }

  #viewOf(engine: Engine): View {
    let view = this.#views.get(engine);
    if (view === undefined) {
      view = newView(++this.#engines);
      this.#views.set(engine, view);
    }
    return view;
  }

  #restored(engine: Engine, records: readonly DurableRecord[], nowMs: number): void {
    const view = this.#viewOf(engine);
    const holds = new Map<number, HoldRecord>();
    let { service } = view;
    for (const { type, id, value } of records) {
      if (type === "answer" || type === "previous") service = serviceOf(id);
      if (type === "session") {
        service = serviceOf(id);
        this.#ended.delete(id);
      }
      if (type === "answer") {
        const { message } = value as { message: readonly unknown[] };
        if (message[0] === "granted") view.known.add(message[2] as number);
      }
      if (type !== "hold") continue;
      const wants = wantsOf((value as HoldRecord).names);
      service = serviceOf(wants[0]!.lock);
      holds.set(Number(id), value as HoldRecord);
      view.known.add(Number(id));
      view.wantsByToken.set(Number(id), wants);
    }
    this.#leaseTime?.restored(service, records);
    view.service = service;
    if (service !== "" && this.#servers !== null) {
      this.#living.set(service, engine);
      this.#servers.restored(service, records, nowMs);
    }
    // Without a record of its own it is known by its first command.
    view.isRestored = service !== "";
    if (service !== "") this.detached.restored(service, holds, nowMs);
    this.#deliveries.restored(service, holds);
    const locks = this.#look(engine, service, nowMs);
    this.endings.restored(service, locks, records);
    this.#events.restored(view, locks);
    this.#postponed.restored((lock) => locks.has(lock));
    this.#rules.check(view, locks, false);
    if (this.#plan.durability === "strict" && engine.recovering) {
      this.#world.violate("R4", `${service} waits for its clients, and all holds are written down`);
    }
    this.#world.story.note(null, "engine", () => {
      const kept = records.map(({ type, id }) => `${type} ${id}`.trim()).join(", ");
      return `#${view.number} of ${service || "?"} starts at lease time ${nowMs}${engine.recovering ? ", recovering" : ""}, from: ${kept}`;
    });
  }

  #before(engine: Engine, command: Command, nowMs: number): void {
    const view = this.#viewOf(engine);
    view.service = serviceFor(command) || view.service;
    if (view.service !== "") this.#living.set(view.service, engine);
    if (view.service !== "" && !view.isRestored) this.#restored(engine, [], nowMs);
    switch (command.kind) {
      case "acquire": {
        const key = this.#keyOf(view, command.address, command.id);
        const asked = this.#asked.get(key);
        if (asked !== undefined) {
          asked.gone = null;
          asked.isRepeated = true;
        } else this.#asked.set(key, newAsked(key, wantsOf(command.names), command));
        break;
      }
      case "hello":
        this.#leaseTime?.returned(command.session);
        this.#checkAway(engine, view, command.session);
        view.sessionByAddress.set(command.address, command.session);
        break;
      case "acknowledge":
        for (const id of command.ids) this.#heard(`${command.session}/${id}`);
        break;
      case "claim":
        view.known.add(command.token);
        if (!view.wantsByToken.has(command.token)) {
          view.wantsByToken.set(command.token, wantsOf(command.names));
        }
        break;
      default:
    }
  }

  #after(engine: Engine, command: Command, nowMs: number, outcome: Outcome): void {
    const { answers, changes } = outcome;
    const view = this.#viewOf(engine);
    this.#leaseTime?.read(nowMs);
    if (view.service !== "") this.#servers?.read(view.service, nowMs);
    tell(this.#world.story, view, command, outcome, nowMs, this.#aboutOf(view, command));
    if (command.kind === "hello") this.#hello(view, command.address, command.session, answers);
    if ("session" in command && view.addressBySession.get(command.session ?? "") === command.address) {
      if (command.kind === "sync") view.synced.add(command.session!);
      if (command.kind === "disconnect") this.#disconnected(view, command.session);
    }
    const isQuiet = command.kind === "tick" && answers.length + changes.length + outcome.events.length === 0;
    if (HARMLESS.has(command.kind) || isQuiet) return;
    const locks = this.#look(engine, view.service, nowMs);
    const unlocked = this.#postponed.freedBy(command, answers);
    if (command.kind === "cancel") {
      this.#checkTakenBack(view, locks, command.address, command.id);
      this.#gone(view, command.address, command.id, "it was cancelled");
    }
    for (const change of changes) {
      if (change.type === "session" && change.value === null) this.#sessionEnded(view, change.id);
    }
    this.detached.changed(view.service, command, unlocked, changes, nowMs);
    this.#deliveries.applied(view.service, command, changes);
    this.endings.applied(command, locks, unlocked, answers, changes, nowMs);
    this.#events.applied(view, locks, outcome.events);
    if (command.kind === "acquire") this.#checkAnswer(engine, view, locks, command, answers);
    for (const { to, message } of answers) {
      if (message[0] === "refused") this.#gone(view, to, message[1], `it was refused with ${message[2]}`);
      if (message[0] === "queued") this.#queued(view, this.#keyOf(view, to, message[1]), command, message[2]);
    }
    // Of several in one step the first to be told need not be the first that was granted.
    const grants = answers.flatMap(({ to, message }) => (message[0] === "granted" ? [{ to, message }] : []));
    grants.sort((a, b) => a.message[2] - b.message[2]);
    for (const { to, message } of grants) this.#granted(engine, view, locks, to, message, nowMs);
    const asked =
      "id" in command ? this.#asked.get(this.#keyOf(view, command.address, command.id)) : undefined;
    this.#rules.checkDeadlocks(view, locks, outcome.events, asked);
    this.#rules.check(view, locks, !engine.recovering, engine.nextDeadlineMs <= nowMs + 1);
    // Once more: what was granted in this very step may be over in it as well.
    this.detached.changed(view.service, command, unlocked, changes, nowMs);
  }

  /** What a request for locks is told at once. */
  #checkAnswer(
    engine: Engine,
    view: View,
    locks: Locks,
    { address, id }: Extract<Command, { kind: "acquire" }>,
    answers: readonly Answer[],
  ): void {
    const asked = this.#asked.get(this.#keyOf(view, address, id));
    const message = answers.find(({ to, message }) => to === address && message[1] === id)?.message;
    if (asked === undefined || message === undefined) return;
    const isRefused = (code: string) => message[0] === "refused" && message[2] === code;
    // Its answer may be an old one.
    if (asked.isRepeated) return;
    if (message[0] === "queued" || isRefused("PERMITS_MISMATCH")) {
      this.#rules.checkPermits(locks, asked, message[0] === "refused");
    }
    if (message[0] === "granted" || engine.recovering) return;
    if (message[0] === "queued" || ["LOCK_TIMEOUT", "DEADLOCK", "PERMITS_MISMATCH"].some(isRefused)) {
      this.#rules.checkNotReentrant(view, locks, asked);
    }
  }

  #look(engine: Engine, service: string, nowMs: number): Locks {
    return new Map(this.#locksOf(service).map((lock) => [lock, this.inspect(engine, lock, nowMs)]));
  }

  #locksOf(service: string): readonly string[] {
    return this.#plan.locks.filter((lock) => serviceOf(lock) === service);
  }

  #hello(view: View, address: string, session: string, answers: readonly Answer[]): void {
    const isRefused = answers.some(({ to, message }) => to === address && message[0] === "ended");
    if (isRefused) return;
    this.#ended.delete(session);
    view.addressBySession.set(session, address);
    view.synced.delete(session);
  }

  #disconnected(view: View, session: string): void {
    view.addressBySession.delete(session);
    view.synced.delete(session);
  }

  #sessionEnded(view: View, session: string): void {
    this.#disconnected(view, session);
    this.#ended.add(session);
    for (const [key, asked] of this.#asked) {
      if (key.startsWith(`${session}/`)) asked.gone = "its session has ended";
    }
  }

  #keyOf(view: View, address: string, id: number): string {
    const session = view.sessionByAddress.get(address);
    return session === undefined ? `${view.number}:${address}` : `${session}/${id}`;
  }

  #heard(key: string): void {
    const asked = this.#asked.get(key);
    if (asked !== undefined) asked.isHeard = true;
  }

  #gone(view: View, address: string, id: number, why: string): void {
    const session = view.sessionByAddress.get(address);
    // What is said on a connection that was taken over concerns nobody.
    if (session !== undefined && view.addressBySession.get(session) !== address) return;
    const asked = this.#asked.get(this.#keyOf(view, address, id));
    if (asked !== undefined) asked.gone = why;
  }

  /** Who says which ticket it had keeps it, over restarts too (R3, R4). */
  #queued(view: View, key: string, command: Command, ticket: number): void {
    const asked = this.#asked.get(key);
    if (asked === undefined) return;
    if (
      command.kind === "acquire" &&
      command.ticket !== null &&
      command.ticket === asked.ticket &&
      ticket !== command.ticket
    ) {
      this.#world.violate(
        "R4",
        `${key} had ticket ${command.ticket}, and is given ${ticket}`,
        locksOf(asked.wants),
      );
    }
    asked.ticket = ticket;
    view.askedByTicket.set(ticket, asked);
  }

  #granted(
    engine: Engine,
    view: View,
    locks: Locks,
    to: string,
    [, id, token, extra]: Granted,
    nowMs: number,
  ): void {
    const key = this.#keyOf(view, to, id);
    const asked = this.#asked.get(key);
    const about = asked === undefined ? null : locksOf(asked.wants);
    const violate = (rule: string, text: string) => this.#world.violate(rule, text, about);
    if (asked === undefined) return violate("Q3", `token ${token} is granted to ${key}, which never asked`);
    if (extra?.reentrant === true) return this.#rules.checkReentrant(locks, asked, token);
    if (view.known.has(token)) return;
    view.known.add(token);
    view.wantsByToken.set(token, asked.wants);
    this.grants++;
    const lock = about!.join(" and ");
    const { service } = view;
    const audibleMax = this.#audibleMax.get(service) ?? 0;
    if (engine.recovering) violate("R4", `token ${token} of ${lock} is granted while ${service} recovers`);
    if (token <= view.lastToken) violate("F1", `token ${token} is granted after ${view.lastToken}`);
    if (token <= audibleMax) violate("F1", `token ${token} is granted, and ${audibleMax} was told before`);
    view.lastToken = token;
    if (asked.gone !== null) violate("Q3", `token ${token} of ${lock} is granted to ${key}: ${asked.gone}`);
    if (asked.granted?.view === view && asked.detachedMs === null) {
      violate("Q6", `${key} is granted token ${token}, and was granted ${asked.granted.token} before`);
    }
    asked.granted = { token, view };
    this.detached.granted({ ...asked, service, token, nowMs });
    this.#deliveries.granted(service, token, asked.webhookUrl);
    if (asked.steals && extra?.ticket === undefined) return;
    this.#rules.checkOrder(view, locks, asked.wants, token, extra?.ticket ?? Number.POSITIVE_INFINITY);
  }

  /** The newest engine of each service: after the end of a run they are empty. */
  living(): readonly Engine[] {
    return [...this.#living.values()];
  }

  engineOf(service: string): Engine | undefined {
    return this.#living.get(service);
  }

  /** What a session has when it returns it had before, or was told of: nobody is granted anything while away (Q7). */
  #checkAway(engine: Engine, view: View, session: string): void {
    if (view.addressBySession.has(session)) return;
    for (const lock of this.#locksOf(serviceOf(session))) {
      for (const { token, owner } of this.inspect(engine, lock, 0).holders) {
        if (owner !== clientOf(session) || view.known.has(token)) continue;
        this.#world.violate(
          "Q7",
          `token ${token} of ${lock} was granted to ${session} while it was away`,
          lock,
        );
      }
    }
  }

  /** Holds that live in sessions, as the newest engines have them. */
  sessionHolds(ofService: string | null = null): readonly { lock: string; token: number; owner: string }[] {
    return [...this.#living].flatMap(([service, engine]) =>
      this.#locksOf(service)
        .filter(() => ofService === null || service === ofService)
        .flatMap((lock) => this.inspect(engine, lock, 0).holders.map((holder) => ({ lock, ...holder })))
        .filter(({ detached }) => !detached),
    );
  }

  /** Nobody will use what was granted to a request that is cancelled (Q7). */
  #checkTakenBack(view: View, locks: Locks, address: string, id: number): void {
    const asked = this.#asked.get(this.#keyOf(view, address, id));
    // Who has heard of a grant gives it back by its token.
    if (asked?.granted?.view !== view || asked.gone !== null || asked.isHeard) return;
    const { token } = asked.granted;
    const lock = asked.wants[0]!.lock;
    // What remains of a hold that has ended meanwhile stays closed.
    const isKept = locks
      .get(lock)!
      .holders.some((holder) => holder.token === token && holder.state === "held");
    if (!isKept) return;
    this.#world.violate("Q7", `token ${token} of ${lock} is kept, and ${asked.key} was cancelled`, lock);
  }

  inspect(engine: Engine, lock: string, nowMs: number): LockInfo {
    const out: Effects = { answers: [], changes: [] };
    this.#apply.call(
      engine,
      { kind: "inspect", session: null, address: "watch", id: 1, name: lock },
      nowMs,
      out,
    );
    return (
      out.answers[0]!.message as Extract<ServerMessage, readonly ["done", ...unknown[]]>
    )[2] as LockInfo;
  }

  #aboutOf(view: View, command: Command): About {
    if ("names" in command) return locksOf(wantsOf(command.names));
    if ("name" in command && command.name !== null) return command.name;
    if ("token" in command && command.token != null) {
      const wants = view.wantsByToken.get(command.token);
      if (wants !== undefined) return locksOf(wants);
    }
    const asked =
      "id" in command ? this.#asked.get(this.#keyOf(view, command.address, command.id)) : undefined;
    return asked === undefined ? null : locksOf(asked.wants);
  }
}
