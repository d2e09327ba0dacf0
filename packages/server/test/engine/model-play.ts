import type { HolderInfo, LockInfo, ServerMessage, WaiterInfo } from "lockdb/protocol";
import { type Histogram, Totals } from "../../src/engine/index.js";
import { Naive, type NaiveHold, type NaiveMode, type NaiveRequest, type NaiveWant } from "./naive.js";
import { Story } from "./story.js";

export const NAMES = ["a", "b", "c", "d"] as const;
const ACTORS = ["ann", "bob", "cid", "dan"] as const;
const WAITERS_MAX = 4;

/**
 * No two things of different kinds end at one time, where the order would matter: a line of a story takes 1 ms, pauses
 * are whole multiples of `PAUSE_MS`, and each kind of end has digits of its own between them.
 */
const PAUSE_MS = 1_000_000;
const WAIT_MS = { none: 0, short: PAUSE_MS + 1_000, long: 3 * PAUSE_MS + 2_000, forever: Infinity };
const LEASE_MS = 10 * PAUSE_MS + 3_000;
const HOLD_MS = { session: Infinity, detached: 5 * PAUSE_MS + 10_000, max: 4 * PAUSE_MS + 100_000 };

/** What happens next. A `pick` is counted round among what there is to pick from. */
export type Step =
  | {
      readonly do: "acquire";
      readonly who: number;
      readonly wants: readonly NaiveWant[];
      readonly wait: keyof typeof WAIT_MS;
      readonly hold: keyof typeof HOLD_MS;
      /** Inside of which holds: the newest of its own, all of them, or one of somebody else's. */
      readonly inside: "none" | "newest" | "all" | "other";
      readonly reentrant: boolean;
    }
  /** `who: null` is the holder. */
  | {
      readonly do: "release";
      readonly who: number | null;
      readonly pick: number;
      readonly name: string | null;
    }
  | { readonly do: "force"; readonly who: number; readonly pick: number; readonly name: string | null }
  | { readonly do: "unlock"; readonly who: number; readonly name: string }
  | { readonly do: "cancel"; readonly pick: number }
  | { readonly do: "leave" | "bye"; readonly who: number }
  | { readonly do: "comeBack"; readonly who: number; readonly forgets: number | null }
  | { readonly do: "pause"; readonly pauses: number };

type StepOf<D extends Step["do"]> = Extract<Step, { do: D }>;

/** Plays steps to the engine and to the naive model, and compares all that can be seen of them after each. */
export class Play {
  readonly #totals = new Totals();
  readonly #story = new Story({ waitersMax: WAITERS_MAX, totals: this.#totals });
  readonly #naive = new Naive({ leaseMs: LEASE_MS, waitersMax: WAITERS_MAX });
  readonly #tally: Map<string, number>;
  /** How many sessions each actor has had: `ann`, then `ann2`. */
  readonly #opened = new Map<string, number>();
  readonly #requests: NaiveRequest[] = [];
  /** All that were ever asked for. */
  readonly #names = new Set<string>();
  readonly #lines: string[] = [];
  #nowMs = 0;
  #idNext = 1;
  #tokenMax = 0;
  #ticketMax = 0;

  /** @param tally counts what is answered, so that a test knows that it has tried something */
  constructor(tally: Map<string, number>) {
    this.#tally = tally;
  }

  step(step: Step): void {
    const naive = this.#naive;
    const id = this.#idNext++;
    switch (step.do) {
      case "acquire":
        return this.#acquire(this.#speaker(step.who), id, step);
      case "release": {
        const token = this.#tokenOf(step.pick);
        const holder = naive.holds.find((hold) => hold.token === token)?.session ?? ACTORS[0];
        const who = this.#speaker(step.who ?? actorOf(holder));
        const action = `release:${id} #${token} ${step.name ?? ""}`;
        return this.#line(who, action, () => naive.release(who, id, token, step.name));
      }
      case "force": {
        const token = this.#tokenOf(step.pick);
        const name = step.name ?? naive.holds.find((hold) => hold.token === token)?.wants.at(-1)?.name ?? "a";
        const who = this.#speaker(step.who);
        return this.#line(who, `force:${id} #${token} ${name}`, () => naive.force(who, id, token, name));
      }
      case "unlock": {
        const who = this.#speaker(step.who);
        return this.#line(who, `unlock:${id} ${step.name}`, () => naive.unlock(who, id, step.name));
      }
      case "cancel":
        return this.#cancel(step.pick);
      case "leave": {
        const who = this.#speaker(step.who);
        return this.#line(who, "away", () => naive.leave(who));
      }
      case "comeBack":
        return void this.#speaker(step.who, step.forgets);
      case "bye": {
        const who = this.#speaker(step.who);
        return this.#line(who, `bye:${id}`, () => naive.bye(who, id));
      }
      case "pause":
        return this.#pause(step.pauses);
    }
  }

  /**
   * Everybody is back, and lets go of all that has no request inside it which still waits: then nobody waits any more.
   * Sets neither deadlock nor starve (Q5), and what would wait for itself was refused (D2).
   */
  letGo(): void {
    for (const { name } of this.#naive.sessions) this.#speaker(actorOf(name));
    for (;;) {
      const { holds, waiters } = this.#naive;
      if (waiters.length === 0) return;
      const at = holds.findIndex(({ token }) => !waiters.some(({ within }) => within.includes(token!)));
      if (at === -1) break;
      this.step({ do: "release", who: null, pick: at, name: null });
    }
    this.#fail("who waits, waits for ever");
  }

  /** The session that speaks. It is opened when there is none, and back when it was away. */
  #speaker(actorAt: number, forgets: number | null = null): string {
    const actor = ACTORS[actorAt]!;
    const session = this.#naive.sessions.find(({ name }) => name.startsWith(actor));
    if (session?.isAway === true) this.#comeBack(session.name, forgets);
    if (session !== undefined) return session.name;
    const count = (this.#opened.get(actor) ?? 0) + 1;
    this.#opened.set(actor, count);
    const name = count === 1 ? actor : `${actor}${count}`;
    this.#line(name, `hello lease=${LEASE_MS}`, () => this.#naive.open(name));
    this.#line(name, "sync", () => this.#naive.said.push(`${name} welcome`));
    return name;
  }

  #acquire(who: string, id: number, { wants, wait, hold, inside, reentrant }: StepOf<"acquire">): void {
    const naive = this.#naive;
    const own = naive.holds.filter((each) => each.session === who);
    const others = naive.holds.filter((each) => each.session !== who);
    const outer = { none: [], newest: own.slice(-1), all: own, other: others.slice(0, 1) }[inside];
    const within = outer.map(({ token }) => token!);
    const terms = [
      wait === "forever" ? wait : WAIT_MS[wait],
      ...{ session: [], detached: [`for=${HOLD_MS.detached}`], max: [`max=${HOLD_MS.max}`] }[hold],
      ...(within.length === 0 ? [] : [`within=${within.map((token) => `#${token}`).join("+")}`]),
      ...(reentrant ? ["reentrant=true"] : []),
    ];
    const text = `acquire:${id} ${shownWants(wants)} ${terms.join(" ")}`;
    for (const name of namesOf({ wants })) this.#names.add(name);
    this.#line(who, text, () => {
      const waitUntilMs = this.#nowMs + WAIT_MS[wait];
      const isDetached = hold === "detached";
      const holdMs = HOLD_MS[hold];
      const request = { who, id, wants, waitUntilMs, holdMs, isDetached, within, text, ticket: null };
      this.#requests.push(request);
      naive.acquire(request, reentrant);
    });
  }

  /** A waiter, or a grant that was heard of. */
  #cancel(pick: number): void {
    const { waiters, holds } = this.#naive;
    const isThere = (request: NaiveRequest) => this.#naive.session(request.who) !== undefined;
    const made = picked([...waiters, ...holds.filter((hold) => isThere(hold.request))], pick);
    if (made === undefined) return;
    const [{ who, id }, token] = "request" in made ? [made.request, ` #${made.token}`] : [made, ""];
    this.#speaker(actorOf(who));
    this.#line(who, `cancel:${id}${token}`, () => this.#naive.cancel(who, id));
  }

  /** A session says what it has, and hears what it has missed (R3). */
  #comeBack(name: string, forgets: number | null): void {
    const naive = this.#naive;
    const { lost, timedOut } = naive.session(name)!;
    const holds = naive.holds.filter(({ session }) => session === name);
    const waiters = naive.waiters.filter(({ who }) => who === name);
    const forgotten = forgets === null ? undefined : picked([...holds, ...waiters], forgets);
    this.#line(name, "resume", () => {});
    for (const hold of holds) if (hold !== forgotten) this.#line(name, claimOf(hold), () => {});
    for (const { hold, by } of lost)
      this.#line(name, claimOf(hold), () => naive.said.push(`${name} lost #${hold.token} by ${by}`));
    for (const { id, text } of timedOut)
      this.#line(name, text, () => naive.said.push(`${name} refused :${id} LOCK_TIMEOUT`));
    for (const waiter of waiters) {
      if (waiter === forgotten) continue;
      this.#line(name, waiter.text, () => naive.said.push(`${name} queued :${waiter.id}`));
    }
    this.#line(name, "sync", () => naive.comeBack(name, forgotten));
  }

  #pause(pauses: number): void {
    const untilMs = this.#nowMs + pauses * PAUSE_MS;
    while (this.#nowMs < untilMs) {
      const nextMs = this.#story.engine.nextDeadlineMs;
      if (nextMs <= this.#nowMs) this.#fail("The engine's next deadline is over.");
      this.#at(Math.min(nextMs, untilMs), "-", "tick", () => this.#naive.tick());
    }
  }

  /** Of a hold; when there is none, of one that is over, or was never there. */
  #tokenOf(pick: number): number {
    return picked(this.#naive.holds, pick)?.token ?? this.#tokenMax + 1 - pick;
  }

  #line(who: string, action: string, expectedOf: () => void): void {
    this.#at(this.#nowMs + 1, who, action, () => {
      if (action !== "away") this.#naive.renew(who);
      expectedOf();
    });
  }

  #at(nowMs: number, who: string, action: string, expectedOf: () => void): void {
    this.#nowMs = nowMs;
    this.#lines.push(`${nowMs} ${who} ${action}`);
    this.#naive.nowMs = nowMs;
    this.#naive.said = [];
    expectedOf();
    const { answers } = this.#story.play(`${nowMs} ${who} ${action}`);
    const said = answers.map(({ to, message }) => this.#said(to.split("@")[0]!, message));
    this.#lines.push(`${this.#lines.pop()} -> ${said.join(", ")}`);
    this.#compare("answers", said.sort().join(", "), this.#naive.said.sort().join(", "));
    for (const name of this.#names) this.#compare(name, this.#engineView(name), this.#naiveView(name));
    const { sessions, holds, locks } = this.#story.engine.counts;
    this.#compare("counts", `${sessions} ${holds} ${locks}`, this.#naiveCounts());
    // What was granted has ended, or is there (I6).
    const { granted, ended, waitMs, heldMs } = this.#totals;
    const over = Object.values(ended).reduce((sum, count) => sum + count);
    this.#compare(
      "totals",
      `${granted - over} ${countOf(waitMs)} ${countOf(heldMs)}`,
      `${holds} ${granted} ${over}`,
    );
  }

  #compare(what: string, engine: string, naive: string): void {
    if (engine !== naive) this.#fail(`${what}\n  engine: ${engine}\n  naive:  ${naive}`);
  }

  #fail(why: string): never {
    throw new Error(`${this.#lines.join("\n")}\n\n${why}`);
  }

  /** An answer, without what neither model nor rule foresees: the numbers themselves. */
  #said(who: string, message: ServerMessage): string {
    const said = this.#shown(message);
    const kind = said.replace(/[:#]\d+ ?/g, "").trim();
    this.#tally.set(kind, (this.#tally.get(kind) ?? 0) + 1);
    return `${who} ${said}`;
  }

  #shown(message: ServerMessage): string {
    switch (message[0]) {
      case "welcome":
        return message[1].resumed ? "welcome back" : "welcome";
      case "queued":
        this.#takeTicket(message[1], message[2]);
        return `queued :${message[1]}`;
      case "granted":
        if (message[3]?.reentrant) return `granted :${message[1]} again as #${message[2]}`;
        this.#takeToken(message[1], message[2]);
        return `granted :${message[1]}`;
      case "done":
        return `done :${message[1]} ${message[2]}`;
      case "refused":
        if (message[2] === "DEADLOCK") this.#checkCycle(message[4]);
        return `refused :${message[1]} ${message[2]}`;
      case "lost":
        return `lost #${message[1]} by ${message[2]}`;
      case "asked":
      case "event":
      case "gap":
      case "ended":
      case "error":
      case "moved":
      case "members":
        return `${message[0]} ${message[1]}`;
    }
  }

  /** Tickets rise (Q2); one that is told again is the same (R3). */
  #takeTicket(id: number, ticket: number): void {
    const request = this.#requests.find((each) => each.id === id)!;
    if (request.ticket === null && ticket > this.#ticketMax) this.#ticketMax = request.ticket = ticket;
    if (request.ticket !== ticket) this.#fail(`ticket ${ticket} of request ${id} is not to be`);
  }

  /** Tokens rise (F1), in the order in which they are told. */
  #takeToken(id: number, token: number): void {
    if (token <= this.#tokenMax) this.#fail(`token ${token} after ${this.#tokenMax}`);
    this.#tokenMax = token;
    const hold = this.#naive.holds.find(({ request }) => request.id === id);
    if (hold !== undefined) hold.token = token;
  }

  #checkCycle(details: unknown): void {
    const { cycle } = details as { readonly cycle: readonly string[] };
    const isSpelledOut = cycle.length > 0 && cycle.every((line) => / waits (through \w+ )?for /.test(line));
    if (!isSpelledOut) this.#fail(`a deadlock without a cycle: ${JSON.stringify(cycle)}`);
  }

  #engineView(name: string): string {
    const asked = { kind: "inspect", id: 1, session: null, address: "watch", name } as const;
    const info = this.#story.apply(asked).answers[0]!.message[2] as unknown as LockInfo;
    const modeOf = ({ mode, weight, permits, names }: HolderInfo | WaiterInfo) =>
      `${mode === "semaphore" ? `${weight}/${permits}` : mode} of ${names?.join("+") ?? name}`;
    const holders = info.holders.map(
      (each) => `#${each.token} ${each.owner} ${modeOf(each)}${waitingFor(each.waitsFor ?? [])}`,
    );
    const queue = info.queue.map(
      (each) => `t${each.ticket} ${each.owner} ${modeOf(each)}${each.away ? " away" : ""}`,
    );
    return `${holders.join(", ")} | ${queue.join(", ")}`;
  }

  #naiveView(name: string): string {
    const modeOf = (wants: readonly NaiveWant[]) =>
      `${shownMode(wants.find((want) => want.name === name)!.mode)} of ${namesOf({ wants }).join("+")}`;
    const wantsIt = (each: NaiveHold | NaiveRequest) => namesOf(each).includes(name);
    const { holds, waiters } = this.#naive;
    const insideOf = (hold: NaiveHold) => waiters.filter(({ within }) => within.includes(hold.token!));
    const isAway = (who: string) => this.#naive.session(who)!.isAway;
    // The newest holder first, the oldest waiter first.
    const held = holds.filter(wantsIt).sort((a, b) => b.token! - a.token!);
    const holders = held.map(
      (each) =>
        `#${each.token} ${each.request.who} ${modeOf(each.wants)}${waitingFor(insideOf(each).flatMap(namesOf))}`,
    );
    const queue = waiters
      .filter(wantsIt)
      .map((each) => `t${each.ticket} ${each.who} ${modeOf(each.wants)}${isAway(each.who) ? " away" : ""}`);
    return `${holders.join(", ")} | ${queue.join(", ")}`;
  }

  /** A lock that nobody holds or wants is forgotten. */
  #naiveCounts(): string {
    const { sessions, holds, waiters } = this.#naive;
    const locks = new Set([...holds, ...waiters].flatMap(namesOf));
    return `${sessions.length} ${holds.length} ${locks.size}`;
  }
}

function waitingFor(names: readonly string[]): string {
  return names.length === 0 ? "" : `, inside it ${names.join("+")} wanted`;
}

function namesOf({ wants }: { readonly wants: readonly NaiveWant[] }): readonly string[] {
  return wants.map(({ name }) => name);
}

function picked<T>(all: readonly T[], pick: number): T | undefined {
  return all[pick % all.length];
}

function actorOf(session: string): number {
  return ACTORS.findIndex((actor) => session.startsWith(actor));
}

function claimOf(hold: NaiveHold): string {
  return `hold #${hold.token} ${shownWants(hold.wants)}`;
}

/** As a story has it: `a+b:s+c:2/5`. */
function shownWants(wants: readonly NaiveWant[]): string {
  const suffixOf = (mode: NaiveMode) =>
    mode === "exclusive" ? "" : mode === "shared" ? ":s" : `:${shownMode(mode)}`;
  return wants.map(({ name, mode }) => name + suffixOf(mode)).join("+");
}

function shownMode(mode: NaiveMode): string {
  return typeof mode === "string" ? mode : `${mode[0]}/${mode[1]}`;
}

function countOf({ counts }: Histogram): number {
  return counts.reduce((sum, count) => sum + count);
}
