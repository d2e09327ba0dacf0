import type { GrantExtra, LockNames, LockSpec, Previous, ServerMessage } from "lockdb/protocol";
import { expect } from "vitest";
import type { Command, DurableChange, Effects, EngineEvent, EngineOptions } from "../../src/engine/index.js";
import { Engine } from "../../src/engine/index.js";
import { manyRecords } from "./many-records.js";

/**
 * Stories: a line is a time on the lease clock, who, what, and after `->` what comes of it, in order, with commas
 * between. Actors are sessions; one called `http…` is an HTTP caller. `hello` is said for a session at its first word,
 * when the story does not. Durable changes are shown after `|` where a line has that sign.
 *
 *     0 ann acquire disk       -> ann granted #1
 *     5 bob acquire disk 10s   -> bob queued t1
 *     9 -   tick
 */
export class Story {
  options: EngineOptions;
  engine: Engine;
  /** What a store would hold: the engine's durable changes, applied. */
  readonly durable = new Map<string, DurableChange>();
  readonly #actors = new Map<string, Actor>();
  nowMs = 0;
  /** Holds come at a restart as from a store, so that they may stay packed. */
  packs = true;
  /** What happened, for a test that watches. */
  events: EngineEvent[] | undefined;
  /** Of the blocks in which they come. */
  blockBytes = 1_000;

  constructor(options: Partial<EngineOptions> = {}) {
    this.options = {
      waitersMax: 100,
      holdsMax: 100,
      sessionsMax: 100,
      packedMin: 1,
      writesSessionHolds: false,
      ...options,
    };
    this.engine = new Engine(this.options);
  }

  /** Plays a story and checks every line of it. */
  check(text: string): this {
    for (const line of text.split("\n").map((raw) => raw.trim())) {
      if (line === "" || line.startsWith("//")) continue;
      const [action, expected = ""] = line.split("->").map((part) => part.trim());
      const [wantAnswers, wantChanges] = expected.split("|").map((part) => part.trim());
      const out = this.play(action!);
      const said = out.answers.map(({ to, message }) => this.#shown(to, message)).join(", ");
      const changed = out.changes.map(shownChange).join(", ");
      const got = `${action} -> ${said}${wantChanges === undefined ? "" : ` | ${changed}`}`;
      const want = `${action} -> ${wantAnswers}${wantChanges === undefined ? "" : ` | ${wantChanges}`}`;
      expect(got.trim()).toBe(want.trim());
    }
    return this;
  }

  play(action: string): Effects {
    const [at, who, verb, ...args] = action.split(/\s+/);
    this.nowMs = Number(at);
    const out: Effects = { answers: [], changes: [], events: this.events };
    if (verb === "crash") this.restart(out, false);
    else if (verb === "stop") this.restart(out, true);
    else this.#apply(this.#command(who!, verb!, args), out);
    return out;
  }

  apply(command: Command): Effects {
    const out: Effects = { answers: [], changes: [] };
    this.#apply(command, out);
    return out;
  }

  /** A new process on what was durable. A crash loses the rest; a clean stop writes it down first. */
  restart(out: Effects, clean: boolean): void {
    if (clean) this.#keep(this.engine.stop());
    this.engine = new Engine(this.options);
    // As a store gives them: in the order of their keys.
    const durable = [...this.durable.entries()]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, record]) => record);
    const isMany = ({ type }: DurableChange) => this.packs && type === "hold";
    const others = durable.filter((record) => !isMany(record));
    this.engine.restore(others, this.nowMs, out, manyRecords(durable.filter(isMany), this.blockBytes));
    this.#keep(out.changes);
    for (const actor of this.#actors.values()) actor.isConnected = false;
  }

  #apply(command: Command, out: Effects): void {
    this.engine.apply(command, this.nowMs, out);
    this.#keep(out.changes);
  }

  #keep(changes: readonly DurableChange[]): void {
    for (const change of changes) {
      const key = `${change.type}/${change.id}`;
      if ("isNew" in change && change.isNew) expect([key, this.durable.has(key)]).toEqual([key, false]);
      if (change.value === null) this.durable.delete(key);
      else this.durable.set(key, change);
    }
  }

  #actor(name: string): Actor {
    let actor = this.#actors.get(name);
    if (actor === undefined) {
      actor = { name, connection: 0, id: 0, isConnected: false };
      this.#actors.set(name, actor);
    }
    return actor;
  }

  #command(who: string, verb: string, args: string[]): Command {
    if (who === "-") return { kind: "tick" };
    if (who.startsWith("http")) return this.#callerCommand(who, verb, args);
    const actor = this.#actor(who);
    if (verb === "hello" || verb === "resume") return this.#hello(actor, verb === "resume", args);
    if (!actor.isConnected && verb !== "stale") {
      this.#apply(this.#hello(actor, false, []), { answers: [], changes: [] });
      this.#apply({ kind: "sync", ...of(actor) }, { answers: [], changes: [] });
    }
    // `acquire:7` says the id; else it is the actor's next.
    const [kind, idText] = verb.split(":");
    const id = idText === undefined ? actor.id + 1 : Number(idText);
    actor.id = Math.max(actor.id, id);
    const from = { id, ...of(actor) };
    const [first = "", second = ""] = args;
    switch (kind) {
      case "acquire":
        return { kind, ...from, names: namesOf(first), ...acquireTerms(args.slice(1)), owner: null };
      case "release":
        return { kind, ...from, token: tokenOf(first), name: second === "" ? null : second };
      case "abandon":
        return { kind, ...from, token: tokenOf(first) };
      case "force":
        return { kind, ...from, name: second, token: tokenOf(first), reason: "it hangs", who: who };
      case "unlock":
      case "check":
        return { kind, ...from, name: first, waitMs: second === "" ? 5_000 : spanOf(second) };
      case "inspect":
        return { kind, ...from, name: first };
      case "cancel":
        return { kind, ...from, token: first === "" ? null : tokenOf(first) };
      case "heartbeat":
      case "bye":
        return { kind, ...from };
      case "ack":
        return {
          kind: "acknowledge",
          ...of(actor),
          ids: args.filter((arg) => !arg.startsWith("#")).map(Number),
          lostTokens: args.filter((arg) => arg.startsWith("#")).map(tokenOf),
        };
      case "hold": {
        const extra = Object.fromEntries(
          args
            .slice(2)
            .map((arg) => arg.split("="))
            .map(([k, v]) => [k, v === "true" ? true : spanOf(v!)]),
        );
        return { kind: "claim", ...of(actor), token: tokenOf(first), names: namesOf(second), extra };
      }
      case "sync":
        return { kind: "sync", ...of(actor) };
      case "away":
        actor.isConnected = false;
        return { kind: "disconnect", ...of(actor) };
      default:
        throw new Error(`no such verb: ${verb}`);
    }
  }

  #hello(actor: Actor, resume: boolean, args: string[]): Command {
    const options = Object.fromEntries(args.map((arg) => arg.split("=")));
    actor.connection = options.connection === undefined ? actor.connection + 1 : Number(options.connection);
    actor.isConnected = true;
    return {
      kind: "hello",
      address: `${actor.name}@${actor.connection}`,
      session: options.session ?? `session-${actor.name}`,
      client: options.client ?? `client-${actor.name}`,
      connection: actor.connection,
      resume,
      leaseMs: options.lease === undefined ? 10_000 : spanOf(options.lease),
      owner: actor.name,
    };
  }

  #callerCommand(address: string, verb: string, args: string[]): Command {
    const from = { id: 1, session: null, address };
    const [name = "", wait] = args;
    switch (verb) {
      case "acquire": {
        const terms = acquireTerms(args.slice(1));
        return {
          kind: "acquire",
          ...from,
          names: namesOf(name),
          ...terms,
          detachedMs: terms.detachedMs ?? 300_000,
          owner: address,
        };
      }
      case "unlock":
      case "check":
        return { kind: verb, ...from, name, waitMs: wait === undefined ? 5_000 : spanOf(wait) };
      case "delay":
        return { kind: "settings", ...from, change: { lockDelayMs: spanOf(name) }, who: address };
      case "cancel":
        return { kind: "cancel", ...from, token: null };
      case "delivered":
        return { kind: "delivered", address };
      case "leave":
      case "hangup":
        return { kind: "leave", address, hungUp: verb === "hangup" };
      case "renew":
        return {
          kind: "renew",
          ...from,
          token: tokenOf(name),
          leaseMs: wait === undefined ? null : spanOf(wait),
        };
      case "open":
        return {
          kind: "openSession",
          address,
          id: 1,
          session: name,
          leaseMs: spanOf(wait ?? "10s"),
          owner: "curl",
        };
      case "keep":
        return { kind: "keepSession", address, id: 1, session: name };
      case "end":
        return { kind: "endSession", address, id: 1, session: name };
      case "ask":
        return { kind: "ask", ...from, token: tokenOf(name), name: wait!, reason: "repair" };
      case "force":
        return {
          kind: "force",
          ...from,
          token: tokenOf(name),
          name: wait!,
          reason: "it hangs",
          who: address,
        };
      default:
        return this.#callCommand(from, verb, args);
    }
  }

  /** `call:REQUEST NAMES [WAIT] [lease=30s] [of=SESSION]`; `giveback[:REQUEST] #TOKEN [of=SESSION]`. */
  #callCommand(from: { id: number; session: null; address: string }, verb: string, args: string[]): Command {
    const [kind, request = null] = verb.split(":");
    const ofText = args.find((arg) => arg.startsWith("of="));
    const of = ofText === undefined ? null : ofText.slice(3);
    if (kind === "giveback") return { kind: "giveBack", ...from, token: tokenOf(args[0]!), of, request };
    if (kind !== "call") throw new Error(`no such verb for a caller: ${verb}`);
    const lease = args.find((arg) => arg.startsWith("lease="));
    const rest = args.slice(1).filter((arg) => arg !== lease && arg !== ofText);
    const leaseMs = lease === undefined ? 30_000 : spanOf(lease.slice(6));
    return {
      kind: "call",
      ...from,
      request: request!,
      of,
      names: namesOf(args[0]!),
      ...acquireTerms(rest),
      detachedMs: of === null ? leaseMs : null,
      owner: "curl",
    };
  }

  #shown(to: string, message: ServerMessage): string {
    const who = to.split("@")[0];
    switch (message[0]) {
      case "welcome":
        return `${who} welcome${message[1].resumed ? " back" : ""}`;
      case "queued":
        return `${who} queued t${message[2]}`;
      case "granted":
        return `${who} granted #${message[2]}${message[3]?.reentrant ? " again" : ""}${shownEnd(message[3])}${shownPrevious(message[3]?.previous)}`;
      case "done":
        return `${who} done ${typeof message[2] === "object" ? JSON.stringify(message[2]) : message[2]}`;
      case "refused":
        return `${who} refused ${message[2]}`;
      case "lost":
        return `${who} lost #${message[1]}${message[2] === "force" ? " by force" : ""}`;
      case "asked":
        return `${who} asked #${message[1]}: ${message[2]}`;
      case "event":
      case "gap":
      case "ended":
      case "error":
      case "moved":
      case "members":
        return `${who} ${message[0]} ${message[1]}`;
    }
  }
}

export function check(text: string, options: Partial<EngineOptions> = {}): Story {
  return new Story(options).check(text);
}

interface Actor {
  readonly name: string;
  connection: number;
  id: number;
  isConnected: boolean;
}

function of(actor: Actor): { session: string; address: string } {
  return { session: `session-${actor.name}`, address: `${actor.name}@${actor.connection}` };
}

/** `10s`, `forever`, `now`; then `for=5s` (detached), `min=`, `max=`, `ticket=`, `hook=` (a webhook). */
function acquireTerms(args: string[]) {
  const [wait = "30s", ...rest] = args[0]?.includes("=") ? ["30s", ...args] : args;
  const options = Object.fromEntries(rest.map((arg) => arg.split("=")));
  const span = (name: string) => (options[name] === undefined ? null : spanOf(options[name]));
  return {
    waitMs: wait === "now" ? 0 : wait === "forever" ? Number.POSITIVE_INFINITY : spanOf(wait),
    detachedMs: span("for"),
    minHoldMs: span("min") ?? 0,
    maxHoldMs: span("max"),
    metadata: {},
    ticket: options.ticket === undefined ? null : Number(options.ticket),
    within: options.within === undefined ? [] : options.within.split("+").map(tokenOf),
    reentrant: options.reentrant === "true",
    leads: options.leads === "true",
    stolenBy: options.steal ?? null,
    webhookUrl: options.hook,
    outboxIsFull: options.full === "true",
    trialIsOver: options.over === "true",
  };
}

/** `disk`, `disk:s` shared, `disk:2/5` two of five permits; with `+` between them a set. */
function namesOf(text: string): LockNames {
  const specs = text.split("+").map((each): LockSpec => {
    const [name = "", mode] = each.split(":");
    if (mode === undefined) return name;
    if (mode === "s") return [name, "shared"];
    const [weight, permits] = mode.split("/").map(Number);
    return [name, permits!, weight!];
  });
  return specs.length === 1 && typeof specs[0] === "string" ? specs[0] : specs;
}

function spanOf(text: string): number {
  const match = /^(\d+)(ms|s|m|)$/.exec(text);
  if (match === null) throw new Error(`no time: ${text}`);
  return Number(match[1]) * ({ s: 1_000, m: 60_000 }[match[2]!] ?? 1);
}

function tokenOf(text: string): number {
  return Number(text.replace("#", ""));
}

function shownEnd({ reentrant, expiresInMs }: GrantExtra = {}): string {
  return expiresInMs === undefined || reentrant ? "" : ` for ${expiresInMs}`;
}

function shownPrevious(previous: Previous | undefined): string {
  return previous === undefined ? "" : ` after #${previous.token} by ${previous.endedBy}`;
}

function shownChange({ type, id, value }: DurableChange): string {
  const isToken = type === "hold" || type === "revoked";
  const name = isToken ? `#${Number.parseInt(id, 10)}` : id.replace(/^session-|^client-/, "");
  return `${value === null ? "-" : "+"}${type}${name === "" ? "" : ` ${name}`}`;
}
