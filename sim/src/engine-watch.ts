import type {
  Answer,
  Command,
  DurableChange,
  Effects,
  HoldRecord,
} from "../../packages/server/dist/engine/commands.js";
import { Engine } from "../../packages/server/dist/engine/engine.js";
import type { DurableRecord } from "../../packages/server/dist/engine/restore.js";
import { decodeRecord } from "../../packages/server/dist/store/records.js";
import { DetachedHolds } from "./detached-holds.js";
import type { Disk } from "./disk.js";
import { Endings } from "./endings.js";
import { LeaseTime } from "./lease-time.js";
import type { Plan } from "./plan.js";
import type { World } from "./world.js";

type LockInfo = {
  holders: { token: number; owner: string; detached: boolean; state: string }[];
  queue: { ticket: number; owner: string; away: boolean }[];
};
type Granted = readonly ["granted", id: number, token: number, extra?: { ticket?: number }];

/** A request for a lock, whatever connection it comes on. */
interface Asked {
  readonly key: string;
  readonly lock: string;
  readonly detachedMs: number | null;
  /** Scope of its id for durable effects; null for an HTTP caller. */
  readonly durableKey: string | null;
  /** The last token that it was granted, and by which engine. */
  granted: { readonly token: number; readonly view: View } | null;
  /** Its answer was acknowledged. */
  isHeard: boolean;
  /** Its place in the queue, if it has one. */
  ticket: number | null;
  /** Why it must not be granted any more. */
  gone: string | null;
}

/** One engine's life, as its commands and answers show it. */
interface View {
  /** Sessions by the address of their connection. */
  readonly sessionByAddress: Map<string, string>;
  readonly addressBySession: Map<string, string>;
  /** Sessions that are connected, and have said all they have to say. */
  readonly synced: Set<string>;
  /** Tokens that were granted or known before this engine began. */
  readonly known: Set<number>;
  lastToken: number;
  /** Empty until the first command that tells. */
  service: string;
  /** Addresses begin anew with every engine. */
  readonly number: number;
  /** What it began with is known; a service that nothing is stored of begins with nothing. */
  isRestored: boolean;
}

/** Looks on at every engine of a run: each command, what came of it, and what became audible. */
export class EngineWatch {
  readonly detached: DetachedHolds;
  readonly endings: Endings;
  readonly #plan: Plan;
  readonly #leaseTime: LeaseTime;
  readonly #world: World;
  readonly #disk: Disk;
  readonly #views = new WeakMap<Engine, View>();
  readonly #asked = new Map<string, Asked>();
  /** Names that were asked for. */
  readonly #locks = new Set<string>();
  /** Sessions that ended, as the newest engine knows it. */
  readonly #ended = new Set<string>();
  readonly #audibleMax = new Map<string, number>();
  readonly #apply = Engine.prototype.apply;
  readonly #restore = Engine.prototype.restore;
  /** The engine in use, by service. */
  readonly #living = new Map<string, Engine>();
  grants = 0;
  #engines = 0;

  constructor(world: World, plan: Plan, disk: Disk) {
    this.#world = world;
    this.#disk = disk;
    this.detached = new DetachedHolds(world);
    this.#leaseTime = new LeaseTime(
      world,
      Math.max(disk.plan.commitMsMax, disk.plan.slowChance > 0 ? disk.plan.slowMsMax : 0),
      plan.lockDelayMs,
    );
    this.#plan = plan;
    this.endings = new Endings(world, plan.lockDelayMs);
    disk.onOpen = () => {
      this.#living.clear();
      this.#leaseTime.opened();
    };
  }

  /** Puts itself between the loop and its engines, until the returned function is called. */
  install(): () => void {
    const watch = this;
    const [apply, restore] = [this.#apply, this.#restore];
    Engine.prototype.apply = function (this: Engine, command, nowMs, out) {
      const [answersAt, changesAt] = [out.answers.length, out.changes.length];
      watch.#before(this, command, nowMs);
      apply.call(this, command, nowMs, out);
      watch.#after(this, command, nowMs, out.answers.slice(answersAt), out.changes.slice(changesAt));
    };
    Engine.prototype.restore = function (this: Engine, records, nowMs, out) {
      restore.call(this, records, nowMs, out);
      watch.#restored(this, records, nowMs);
    };
    return () => {
      Engine.prototype.apply = apply;
      Engine.prototype.restore = restore;
    };
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
      if (
        isStrict &&
        this.sessionHolds().some((hold) => hold.token === token && serviceOf(hold.lock) === service)
      )
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
      view = {
        sessionByAddress: new Map(),
        addressBySession: new Map(),
        synced: new Set(),
        known: new Set(),
        lastToken: 0,
        service: "",
        number: ++this.#engines,
        isRestored: false,
      };
      this.#views.set(engine, view);
    }
    return view;
  }

  #restored(engine: Engine, records: readonly DurableRecord[], nowMs: number): void {
    const view = this.#viewOf(engine);
    const holds = new Map<number, HoldRecord>();
    view.isRestored = true;
    let { service } = view;
    for (const { type, id, value } of records) {
      if (type === "session") {
        service = serviceOf(id);
        this.#ended.delete(id);
      }
      if (type === "answer") {
        const { message } = value as { message: readonly unknown[] };
        if (message[0] === "granted") view.known.add(message[2] as number);
      }
      if (type !== "hold") continue;
      service = serviceOf((value as HoldRecord).name);
      holds.set(Number(id), value as HoldRecord);
      view.known.add(Number(id));
    }
    this.#leaseTime.restored(service, records);
    view.service = service;
    if (service !== "") this.detached.restored(service, holds, nowMs);
    const locks = this.#locksOf(service);
    this.endings.restored(service, locks, records, (lock) => this.inspect(engine, lock, nowMs).holders);
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
    if ("session" in command && command.session !== null) view.service = serviceOf(command.session);
    else if ("name" in command && command.name !== null) view.service = serviceOf(command.name);
    if (view.service !== "") this.#living.set(view.service, engine);
    if (view.service !== "" && !view.isRestored) this.#restored(engine, [], nowMs);
    switch (command.kind) {
      case "acquire": {
        const { session, address, id, name, detachedMs } = command;
        const key = this.#keyOf(view, address, id);
        this.#locks.add(name);
        const durableKey = session === null ? null : `${clientOf(session)}/${id}`;
        const asked = this.#asked.get(key);
        if (asked !== undefined) asked.gone = null;
        else
          this.#asked.set(key, {
            key,
            lock: name,
            detachedMs,
            durableKey,
            granted: null,
            isHeard: false,
            ticket: null,
            gone: null,
          });
        break;
      }
      case "hello":
        this.#leaseTime.returned(command.session);
        this.#checkAway(engine, view, command.session);
        view.sessionByAddress.set(command.address, command.session);
        break;
      case "acknowledge":
        for (const id of command.ids) this.#heard(`${command.session}/${id}`);
        break;
      case "claim":
        view.known.add(command.token);
        break;
      default:
    }
  }

  #after(
    engine: Engine,
    command: Command,
    nowMs: number,
    answers: readonly Answer[],
    changes: readonly DurableChange[],
  ): void {
    const view = this.#viewOf(engine);
    this.#leaseTime.read(nowMs);
    this.#tell(view, command, answers, changes, nowMs);
    if (command.kind === "hello") this.#hello(view, command.address, command.session, answers);
    if ("session" in command && view.addressBySession.get(command.session ?? "") === command.address) {
      if (command.kind === "sync") view.synced.add(command.session!);
      if (command.kind === "disconnect") this.#disconnected(view, command.session);
    }
    if (command.kind === "cancel") {
      this.#checkTakenBack(engine, view, command.address, command.id, nowMs);
      this.#gone(view, command.address, command.id, "it was cancelled");
    }
    for (const change of changes) {
      if (change.type === "session" && change.value === null) this.#sessionEnded(view, change.id);
    }
    this.detached.changed(view.service, command, changes, nowMs);
    const look = (lock: string) => this.inspect(engine, lock, nowMs).holders;
    this.endings.applied(command, this.#touched(view, command), look, answers, changes, nowMs);
    for (const { to, message } of answers) {
      if (message[0] === "refused") this.#gone(view, to, message[1], `it was refused with ${message[2]}`);
      if (message[0] === "queued") this.#queued(this.#keyOf(view, to, message[1]), command, message[2]);
      if (message[0] === "granted") this.#granted(engine, view, to, message as Granted, nowMs);
    }
    // Once more: what was granted in this very step may be over in it as well.
    this.detached.changed(view.service, command, changes, nowMs);
  }

  /** The locks that a command may have changed. */
  #touched(view: View, command: Command): readonly string[] {
    if (command.kind === "heartbeat" || command.kind === "acknowledge" || command.kind === "inspect")
      return [];
    if ("name" in command && command.name !== null) return [command.name];
    return this.#locksOf(view.service);
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
  #queued(key: string, command: Command, ticket: number): void {
    const asked = this.#asked.get(key);
    if (asked === undefined) return;
    if (
      command.kind === "acquire" &&
      command.ticket !== null &&
      command.ticket === asked.ticket &&
      ticket !== command.ticket
    ) {
      this.#world.violate("R4", `${key} had ticket ${command.ticket}, and is given ${ticket}`, asked.lock);
    }
    asked.ticket = ticket;
  }

  #granted(engine: Engine, view: View, to: string, [, id, token, extra]: Granted, nowMs: number): void {
    if (view.known.has(token)) return;
    view.known.add(token);
    this.grants++;
    const key = this.#keyOf(view, to, id);
    const asked = this.#asked.get(key);
    const violate = (rule: string, text: string) => this.#world.violate(rule, text, asked?.lock ?? null);
    if (asked === undefined) return violate("Q3", `token ${token} is granted to ${key}, which never asked`);
    const { lock } = asked;
    const service = serviceOf(lock);
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
    this.#checkOrder(engine, view, lock, token, extra?.ticket ?? Number.POSITIVE_INFINITY, nowMs);
  }

  /** Whoever stands before the one that was granted must be away (Q2, Q7). */
  #checkOrder(engine: Engine, view: View, lock: string, token: number, ticket: number, nowMs: number): void {
    const { holders, queue } = this.inspect(engine, lock, nowMs);
    if (holders[0]?.token !== token) return;
    const back = new Set([...view.synced].map(clientOf));
    for (const waiter of queue) {
      if (waiter.ticket >= ticket) continue;
      if (waiter.away && !back.has(waiter.owner)) continue;
      this.#world.violate(
        "Q2",
        `token ${token} of ${lock} overtakes ticket ${waiter.ticket} of ${waiter.owner}`,
        lock,
      );
    }
  }

  /** The newest engine of each service: after the end of a run they are empty. */
  living(): readonly Engine[] {
    return [...this.#living.values()];
  }

  /** What a session has when it returns it had before, or was told of: nobody is granted anything while away (Q7). */
  #checkAway(engine: Engine, view: View, session: string): void {
    if (view.addressBySession.has(session)) return;
    for (const lock of this.#locks) {
      if (serviceOf(lock) !== serviceOf(session)) continue;
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
  sessionHolds(): readonly { lock: string; token: number; owner: string }[] {
    return [...this.#living].flatMap(([service, engine]) =>
      [...this.#locks]
        .filter((lock) => serviceOf(lock) === service)
        .flatMap((lock) => this.inspect(engine, lock, 0).holders.map((holder) => ({ lock, ...holder })))
        .filter(({ detached }) => !detached),
    );
  }

  /** Nobody will use what was granted to a request that is cancelled (Q7). */
  #checkTakenBack(engine: Engine, view: View, address: string, id: number, nowMs: number): void {
    const asked = this.#asked.get(this.#keyOf(view, address, id));
    // Who has heard of a grant gives it back by its token.
    if (asked?.granted?.view !== view || asked.gone !== null || asked.isHeard) return;
    const { token } = asked.granted;
    const [holder] = this.inspect(engine, asked.lock, nowMs).holders;
    // What remains of a hold that has ended meanwhile stays closed.
    if (holder?.token !== token || holder.state !== "held") return;
    this.#world.violate(
      "Q7",
      `token ${token} of ${asked.lock} is kept, and ${asked.key} was cancelled`,
      asked.lock,
    );
  }

  inspect(engine: Engine, lock: string, nowMs: number): LockInfo {
    const out: Effects = { answers: [], changes: [] };
    this.#apply.call(
      engine,
      { kind: "inspect", session: null, address: "watch", id: 1, name: lock },
      nowMs,
      out,
    );
    return (out.answers[0]!.message as unknown as [string, number, LockInfo])[2];
  }

  #tell(
    view: View,
    command: Command,
    answers: readonly Answer[],
    changes: readonly DurableChange[],
    nowMs: number,
  ): void {
    if (command.kind === "tick" && answers.length === 0 && changes.length === 0) return;
    if (command.kind === "heartbeat" || command.kind === "acknowledge") return;
    const lock =
      "name" in command && typeof command.name === "string"
        ? command.name
        : "id" in command
          ? (this.#asked.get(this.#keyOf(view, command.address, command.id))?.lock ?? null)
          : null;
    this.#world.story.note(lock, "engine", () => {
      const said = answers.map(
        ({ to, message }) => `${view.sessionByAddress.get(to) ?? to} <- ${wordsOf(message)}`,
      );
      const stored = changes.map(({ type, id, value }) =>
        `${value === null ? "erases" : "writes"} ${type} ${id}`.trim(),
      );
      return `#${view.number} ${Math.round(nowMs)}: ${commandWords(command)} => ${[...said, ...stored].join("; ") || "nothing"}`;
    });
  }
}

/** Lock names, client ids and session ids begin with their service. */
export function serviceOf(id: string): string {
  return /^\w+/.exec(id)![0];
}

/** A session's id is its client's with a number behind it. */
function clientOf(session: string): string {
  return session.slice(0, session.lastIndexOf("-"));
}

function commandWords(command: Command): string {
  const { kind, ...rest } = command as { kind: string } & Record<string, unknown>;
  const who = (rest.session ?? rest.address ?? "") as string;
  const facts = [rest.id, rest.token, rest.name, rest.waitMs, rest.connection].filter((fact) => fact != null);
  return [who, kind, ...facts].join(" ").trim();
}

function wordsOf(message: readonly unknown[]): string {
  const [kind, ...rest] = message;
  return `${kind} ${rest.map((fact) => (typeof fact === "object" ? "" : String(fact))).join(" ")}`
    .trim()
    .slice(0, 80);
}
