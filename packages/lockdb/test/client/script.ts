import type { ClientMessage, ServerMessage } from "lockdb/protocol";
import { type AcquireTerms, PLAIN_TERMS } from "../../src/client/request.js";
import { ClientSession } from "../../src/client/session.js";
import type { SessionOptions } from "../../src/client/session-options.js";
import type { SocketClosed } from "../../src/runtime/runtime.js";
import { type Endpoint, type Line, Machine, type ServerEnd, VirtualRuntime, World } from "./virtual.js";

type Kind = ClientMessage[0];
type MessageOf<K extends Kind> = Extract<ClientMessage, readonly [K, ...unknown[]]>;

/** A server that does what a test tells it to; by default it grants whatever is asked. */
export class Script implements Endpoint {
  readonly visits: Visit[] = [];
  /** Messages of these kinds are not answered. */
  readonly mute = new Set<Kind>();
  /** Answers instead of the default ones. */
  answer: (message: ClientMessage, visit: Visit) => readonly ServerMessage[] | null = () => null;
  /** Connections are refused with this. */
  refusal: SocketClosed | null = null;
  /** Connections get no answer at all. */
  isDeaf = false;
  tokenNext = 1;

  accept(line: Line): ServerEnd | { readonly refusal: SocketClosed } | null {
    if (this.isDeaf) return null;
    if (this.refusal !== null) return { refusal: this.refusal };
    const visit = new Visit(line, this);
    this.visits.push(visit);
    return visit;
  }

  /** The present or latest connection. */
  get visit(): Visit {
    return this.visits.at(-1)!;
  }

  /** What a healthy server without rivals says. */
  reply(message: ClientMessage, visit: Visit): readonly ServerMessage[] {
    const special = this.answer(message, visit);
    if (special !== null) return special;
    if (this.mute.has(message[0])) return [];
    switch (message[0]) {
      case "hello":
      case "hold":
        return [];
      case "sync": {
        const [, { session, leaseMs, connection }] = visit.of("hello")[0]!;
        return [["welcome", { session, leaseMs, resumed: connection > 1 }]];
      }
      case "acquire":
        return [["granted", message[1], this.tokenNext++]];
      case "heartbeat":
        return [["done", message[1], null]];
      case "cancel":
      case "release":
      case "abandon":
      case "force":
      case "unlock":
      case "check":
      case "inspect":
      case "list":
      case "watch":
      case "unwatch":
      case "bye":
        return [["done", message[1], true]];
    }
  }
}

/** One connection as the scripted server sees it. */
export class Visit implements ServerEnd {
  readonly line: Line;
  /** What has arrived: how many messages the client had then, and what it said. */
  readonly frames: { readonly received: number; readonly messages: readonly ClientMessage[] }[] = [];
  isOver = false;
  readonly #script: Script;

  constructor(line: Line, script: Script) {
    this.line = line;
    this.#script = script;
  }

  get messages(): readonly ClientMessage[] {
    return this.frames.flatMap((frame) => frame.messages);
  }

  of<K extends Kind>(kind: K): readonly MessageOf<K>[] {
    return this.messages.filter((message): message is MessageOf<K> => message[0] === kind);
  }

  message(text: string): void {
    const [received, ...messages] = JSON.parse(text) as [number, ...ClientMessage[]];
    this.frames.push({ received, messages });
    this.say(...messages.flatMap((message) => this.#script.reply(message, this)));
  }

  close(): void {
    this.isOver = true;
  }

  say(...messages: readonly ServerMessage[]): void {
    if (messages.length > 0) this.line.say(JSON.stringify(messages));
  }

  end(code: Extract<ServerMessage, readonly ["ended", ...unknown[]]>[1], text = "over"): void {
    this.say(["ended", code, text]);
    this.line.hangUp();
  }
}

export interface Stage {
  readonly world: World;
  readonly machine: Machine;
  readonly runtime: VirtualRuntime;
  readonly script: Script;
  readonly session: ClientSession;
}

/** A client on a machine, and a scripted server. */
export function stage(options: Partial<SessionOptions> = {}): Stage {
  const world = new World();
  const machine = new Machine(world, "ann");
  const runtime = new VirtualRuntime(machine);
  const script = new Script();
  world.endpoints.set("http://one", script);
  return { world, machine, runtime, script, session: sessionOn(runtime, options) };
}

export function sessionOn(runtime: VirtualRuntime, options: Partial<SessionOptions> = {}): ClientSession {
  const owner = runtime.ownerDefault();
  const defaults = { service: "reports", apiKey: "key", urls: ["http://one"], leaseMs: 10_000, owner };
  return new ClientSession(runtime, { ...defaults, ...options });
}

/** What to ask for: an ordinary lock, waited for half a minute, unless said otherwise. */
export function terms(name: string, other: Partial<AcquireTerms> = {}) {
  return { ...PLAIN_TERMS, names: name, waitMs: 30_000, ...other };
}
