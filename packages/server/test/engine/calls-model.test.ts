import fc from "fast-check";
import type { LockInfo, Renewed, ServerMessage, SessionInfo } from "lockdb/protocol";
import { expect, test } from "vitest";
import type { Command } from "../../src/engine/index.js";
import { Story } from "./story.js";

/** `LOCKDB_SEED` tries others than those that are tried each time. */
const SEED = Number(process.env.LOCKDB_SEED ?? 1);
/** So many of the runs: of each mutant of `npm run score` only a few are tried. */
const SHARE = Number(process.env.LOCKDB_MODEL_SHARE ?? 1);
const NAMES = ["a", "b"] as const;
const LEASE_MS = 10_000;

type Step =
  | {
      readonly do: "ask";
      readonly request: number;
      readonly session: number | null;
      readonly waitMs: number;
      readonly other: boolean;
    }
  | { readonly do: "read" | "leave" | "hangUp" | "renew" | "giveBack" | "forget"; readonly pick: number }
  | { readonly do: "open" | "keep" | "end"; readonly session: number }
  | { readonly do: "pause"; readonly ms: number }
  | { readonly do: "crash" | "stop" };

/** An HTTP request that is open, and what has been written to it and not been read yet. */
interface Exchange {
  readonly address: string;
  readonly request: number;
  readonly name: string;
  readonly session: number | null;
  /** Its session's name, when it asked. */
  readonly of: string | null;
  readonly sentMs: number;
  granted: { readonly token: number; readonly expiresInMs: number } | null;
}

/** What somebody believes who goes by what he has read, and counts from when he sent it. */
interface Belief {
  readonly token: number;
  readonly name: string;
  readonly session: number | null;
  untilMs: number;
}

/** Callers that read, hang up, come again, renew and die in any order, before a server that does, too. */
class World {
  readonly #story = new Story();
  #exchanges: Exchange[] = [];
  #beliefs: Belief[] = [];
  /** Until when each open session may rely on its lease. */
  readonly #sessions = new Map<number, number>();
  /** How many sessions there have been under each number. */
  readonly #opened = new Map<number, number>();
  readonly #givenBack = new Set<number>();
  readonly #lines: string[] = [];
  readonly #tally: Map<string, number>;
  #addresses = 0;
  #tokenMax = 0;
  #nowMs = 0;

  constructor(tally: Map<string, number>) {
    this.#tally = tally;
  }

  step(step: Step): void {
    this.#lines.push(`${this.#nowMs} ${JSON.stringify(step)}`);
    this.#nowMs += 1;
    switch (step.do) {
      case "ask":
        this.#ask(step);
        break;
      case "read":
        this.#read(step.pick);
        break;
      case "leave":
      case "hangUp":
        this.#leave(step.pick, step.do === "hangUp");
        break;
      case "renew":
        this.#renew(step.pick);
        break;
      case "giveBack":
        this.#giveBack(step.pick);
        break;
      case "forget":
        // Somebody dies, and with him what he believes.
        this.#beliefs = this.#beliefs.filter((belief) => belief !== picked(this.#beliefs, step.pick));
        break;
      case "open":
      case "keep":
      case "end":
        this.#session(step.do, step.session);
        break;
      case "pause":
        this.#pause(step.ms);
        break;
      case "crash":
      case "stop":
        this.#story.nowMs = this.#nowMs;
        this.#story.restart({ answers: [], changes: [] }, step.do === "stop");
        this.#exchanges = [];
        break;
    }
    this.#check();
  }

  /** When everybody has gone, nothing is left. */
  end(): void {
    for (const exchange of [...this.#exchanges])
      this.#apply({ kind: "leave", address: exchange.address, hungUp: true });
    this.#exchanges = [];
    this.#beliefs = [];
    this.#pause(200_000);
    const { sessions, holds, locks, waiters } = this.#story.engine.counts;
    if (sessions + holds + locks + waiters > 0) this.#fail("something is left behind");
    const left = [...this.#story.durable.keys()].filter((key) => !/^(ceiling|previous)\//.test(key));
    if (left.length > 0) this.#fail(`in the store there is still ${left}`);
  }

  #ask({ request, session, waitMs, other }: Extract<Step, { do: "ask" }>): void {
    const name = NAMES[(request + (other ? 1 : 0)) % NAMES.length]!;
    const address = `x${++this.#addresses}`;
    const of = session === null ? null : this.#sessionId(session);
    const exchange: Exchange = { address, request, name, session, of, sentMs: this.#nowMs, granted: null };
    this.#exchanges.push(exchange);
    if (session !== null && this.#sessions.has(session)) this.#touch(session);
    this.#apply({
      kind: "call",
      session: null,
      address,
      id: 1,
      request: `r${request}`,
      of,
      names: name,
      waitMs,
      detachedMs: session === null ? LEASE_MS : null,
      minHoldMs: 0,
      maxHoldMs: null,
      metadata: {},
      ticket: null,
      within: [],
      reentrant: false,
      leads: false,
      stolenBy: null,
      owner: "x",
    });
  }

  /** It reads what was written to it, and asks for more, or closes in good order. */
  #read(pick: number): void {
    const exchange = picked(
      this.#exchanges.filter(({ granted }) => granted !== null),
      pick,
    );
    if (exchange === undefined) return;
    this.#close(exchange);
    const { granted, name, session, sentMs, address } = exchange;
    this.#apply({ kind: "delivered", address });
    // Whoever has ended it himself does not believe in it because of an answer that was late.
    const isOwn =
      session === null || (this.#sessions.has(session) && this.#sessionId(session) === exchange.of);
    if (!isOwn || this.#givenBack.has(granted!.token)) return;
    this.#beliefs = this.#beliefs.filter(({ token }) => token !== granted!.token);
    const untilMs = sentMs + granted!.expiresInMs;
    this.#beliefs.push({ token: granted!.token, name, session, untilMs });
  }

  #leave(pick: number, hungUp: boolean): void {
    const exchange = picked(
      this.#exchanges.filter(({ granted }) => hungUp || granted === null),
      pick,
    );
    if (exchange === undefined) return;
    if (hungUp) this.#close(exchange);
    this.#apply({ kind: "leave", address: exchange.address, hungUp });
  }

  #renew(pick: number): void {
    const believed = picked(
      this.#beliefs.filter(({ session }) => session === null),
      pick,
    );
    // Half of the time somebody renews what is over, perhaps: it must not come back (L4).
    const token = pick % 2 === 0 ? believed?.token : this.#tokenMax - pick;
    if (token === undefined || token < 1) return;
    const isHeld = NAMES.some((name) => this.#inspect(name).holders[0]?.token === token);
    const from = { session: null, address: "renewer", id: 1 } as const;
    const [message] = this.#apply({ kind: "renew", ...from, token, leaseMs: null });
    const belief = this.#beliefs.find((each) => each.token === token);
    if (message![0] === "refused" && belief?.session === null)
      this.#disbelieve(belief, "its renewal was refused");
    if (message![0] === "refused") return;
    if (!isHeld) this.#fail(`#${token} was renewed, and nobody held it`);
    if (belief !== undefined)
      belief.untilMs = this.#nowMs + (message as unknown as ["done", number, Renewed])[2].expiresInMs;
  }

  #giveBack(pick: number): void {
    const belief = picked(this.#beliefs, pick);
    if (belief === undefined) return;
    const of = belief.session === null ? null : this.#sessionId(belief.session);
    if (belief.session !== null && this.#sessions.has(belief.session)) this.#touch(belief.session);
    const given = {
      kind: "giveBack",
      session: null,
      address: "giver",
      id: 1,
      token: belief.token,
      of,
      request: null,
    } as const;
    this.#givenBack.add(belief.token);
    const [message] = this.#apply(given);
    if (message![0] === "refused") return this.#disbelieve(belief, "its release was refused");
    this.#beliefs = this.#beliefs.filter((each) => each !== belief);
  }

  #session(op: "open" | "keep" | "end", session: number): void {
    const isOpen = this.#sessions.has(session);
    if (op === "open" && !isOpen) this.#opened.set(session, (this.#opened.get(session) ?? 0) + 1);
    const from = { address: "session", id: 1, session: this.#sessionId(session) };
    const [message] = this.#apply(
      op === "open"
        ? { kind: "openSession", ...from, leaseMs: LEASE_MS, owner: "x" }
        : { kind: op === "keep" ? "keepSession" : "endSession", ...from },
    );
    if (op === "end") {
      this.#sessions.delete(session);
      this.#beliefs = this.#beliefs.filter((belief) => belief.session !== session);
    } else if (message![0] === "done") {
      const { leaseMs } = message![2] as unknown as SessionInfo;
      this.#sessions.set(session, this.#nowMs + leaseMs);
      this.#touch(session);
    } else this.#sessions.delete(session);
  }

  /** A session has spoken, and the server has answered: all its holds have a full lease again. */
  #touch(session: number): void {
    if ((this.#sessions.get(session) ?? 0) <= this.#nowMs) return void this.#sessions.delete(session);
    this.#sessions.set(session, this.#nowMs + LEASE_MS);
    for (const belief of this.#beliefs) {
      if (belief.session === session && belief.untilMs > this.#nowMs) belief.untilMs = this.#nowMs + LEASE_MS;
    }
  }

  #pause(ms: number): void {
    const untilMs = this.#nowMs + ms;
    for (;;) {
      const nextMs = this.#story.engine.nextDeadlineMs;
      this.#nowMs = Math.max(this.#nowMs, Math.min(nextMs, untilMs));
      this.#apply({ kind: "tick" });
      this.#check();
      if (nextMs >= untilMs) return;
    }
  }

  /** @returns the messages to others than exchanges */
  #apply(command: Command): readonly ServerMessage[] {
    this.#story.nowMs = this.#nowMs;
    const rest: ServerMessage[] = [];
    for (const { to, message } of this.#story.apply(command).answers) {
      const kind = message[0] === "refused" ? message[2] : message[0];
      this.#tally.set(kind, (this.#tally.get(kind) ?? 0) + 1);
      if (!to.startsWith("x")) {
        rest.push(message);
        continue;
      }
      const exchange = this.#exchanges.find(({ address }) => address === to);
      if (exchange === undefined) this.#fail(`${to} is told ${JSON.stringify(message)}, and nobody is there`);
      else this.#told(exchange, message, command.kind === "leave");
    }
    return rest;
  }

  #told(exchange: Exchange, message: ServerMessage, isEndOfSlice: boolean): void {
    if (message[0] === "queued" && !isEndOfSlice) return;
    if (message[0] !== "granted") return this.#close(exchange);
    const [, , token, extra] = message;
    const isKnown = this.#beliefs.some((belief) => belief.token === token) || token <= this.#tokenMax;
    if (!isKnown) this.#tokenMax = token;
    exchange.granted = { token, expiresInMs: extra!.expiresInMs! };
  }

  #close(exchange: Exchange): void {
    this.#exchanges = this.#exchanges.filter((each) => each !== exchange);
  }

  /** Somebody is told that his hold is over. By his own clock it must have been. */
  #disbelieve(belief: Belief, why: string): void {
    if (belief.untilMs > this.#nowMs)
      this.#fail(`#${belief.token} is believed in until ${belief.untilMs}, and ${why}`);
    this.#beliefs = this.#beliefs.filter((each) => each !== belief);
  }

  #check(): void {
    this.#beliefs = this.#beliefs.filter(({ untilMs }) => untilMs > this.#nowMs);
    for (const name of NAMES) {
      const info = this.#inspect(name);
      const believed = this.#beliefs.filter((belief) => belief.name === name);
      if (new Set(believed.map(({ token }) => token)).size > 1) this.#fail(`two believe in ${name}`);
      const [holder, second] = info.holders;
      if (second !== undefined) this.#fail(`two hold ${name}`);
      for (const { token } of believed) {
        if (holder?.token !== token)
          this.#fail(`#${token} of ${name} is believed in, and the server has #${holder?.token}`);
      }
      const isWanted = info.queue.some(({ away }) => !away);
      if (holder === undefined && isWanted) this.#fail(`${name} is free, and somebody waits for it`);
    }
  }

  #inspect(name: string): LockInfo {
    const asked = { kind: "inspect", id: 1, session: null, address: "watch", name } as const;
    return this.#story.apply(asked).answers[0]!.message[2] as unknown as LockInfo;
  }

  #sessionId(session: number): string {
    return `session-${session}-${this.#opened.get(session) ?? 0}`;
  }

  #fail(why: string): never {
    throw new Error(`${this.#lines.join("\n")}\n\n${this.#nowMs}: ${why}`);
  }
}

function picked<T>(all: readonly T[], pick: number): T | undefined {
  return all[pick % all.length];
}

const pick = fc.nat(5);
const session = fc.nat(1);
const of = <D extends Step["do"]>(does: D) => fc.constant(does);
const STEP: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      do: of("ask"),
      request: fc.nat(4),
      session: fc.oneof({ weight: 2, arbitrary: fc.constant(null) }, session),
      waitMs: fc.constantFrom(0, 3_000, 60_000, Number.POSITIVE_INFINITY),
      other: fc.oneof({ weight: 9, arbitrary: fc.constant(false) }, fc.constant(true)),
    }),
  },
  { weight: 8, arbitrary: fc.record({ do: of("read"), pick }) },
  { weight: 3, arbitrary: fc.record({ do: of("leave"), pick }) },
  { weight: 3, arbitrary: fc.record({ do: of("hangUp"), pick }) },
  { weight: 4, arbitrary: fc.record({ do: of("renew"), pick }) },
  { weight: 3, arbitrary: fc.record({ do: of("giveBack"), pick }) },
  { weight: 1, arbitrary: fc.record({ do: of("forget"), pick }) },
  { weight: 2, arbitrary: fc.record({ do: of("open"), session }) },
  { weight: 2, arbitrary: fc.record({ do: of("keep"), session }) },
  { weight: 1, arbitrary: fc.record({ do: of("end"), session }) },
  {
    weight: 6,
    arbitrary: fc.record({ do: of("pause"), ms: fc.constantFrom(100, 2_000, 6_000, 9_990, 31_000) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom("crash" as const, "stop" as const) }) },
);

test("[Q1h] nobody believes in a lock over HTTP that another believes in or waits for in vain, whatever happens", {
  timeout: 120_000,
}, () => {
  const tally = new Map<string, number>();
  const runs = Math.ceil(3_000 * SHARE);
  fc.assert(
    fc.property(fc.array(STEP, { minLength: 5, maxLength: 40, size: "max" }), (steps) => {
      const world = new World(tally);
      for (const step of steps) world.step(step);
      world.end();
    }),
    { seed: SEED, numRuns: runs },
  );
  // Of few runs it is not sure.
  if (SHARE < 1) return;
  for (const kind of [
    "granted",
    "queued",
    "LOCK_TIMEOUT",
    "REQUEST_ID_REUSED",
    "NOT_HELD",
    "SESSION_ENDED",
    "done",
  ])
    expect(tally.get(kind) ?? 0, kind).toBeGreaterThan(runs / 20);
});
