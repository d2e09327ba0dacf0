import {
  type Answer,
  type Command,
  type Effects,
  Engine,
  type EngineEvent,
  type EngineOptions,
  type Timed,
} from "../engine/index.js";
import type { EventLog } from "./event-log.js";

/** Which service of which account, made once by whoever sends it commands. */
export class ServiceKey {
  readonly account: string;
  readonly id: string;
  /** What the keys of its records begin with. */
  readonly prefix: string;

  constructor(account: string, id: string) {
    this.account = account;
    this.id = id;
    this.prefix = `${account}/service/${id}/`;
  }
}

/** A service in memory: its engine, and what waits for a flush. */
export class Service implements Timed {
  readonly key: ServiceKey;
  readonly engine: Engine;
  /** By how much its lease time is ahead of the loop's clock: it goes on from where it was at another member (R6). */
  offsetMs: number;
  dueMs = 0;
  heapIndex = -1;
  /** What has arrived since the last turn. */
  inbox: Command[] = [];
  out: Effects = { answers: [], changes: [] };
  /** Null until somebody watches. */
  log: EventLog | null = null;
  /** Number of the last batch with changes of this service. */
  waitsFor = 0;
  /** Answers behind a batch that is not flushed, in order. */
  heldCount = 0;
  readonly held: Held[] = [];
  /** Which reading of the store it comes from; 0: it has come to be since. */
  reading = 0;
  /** After a failure, by whoever had it before, too. */
  isReadAnew = false;
  /** Its records are being read, after a failure: nothing is taken meanwhile. */
  isLoading = false;
  /** Another one has taken its place. */
  isOver = false;

  constructor(key: ServiceKey, options: EngineOptions, offsetMs = 0) {
    this.key = key;
    this.engine = new Engine(options);
    this.offsetMs = offsetMs;
  }

  /** When something is due next, by the loop's clock. */
  get nextDeadlineMs(): number {
    return this.engine.nextDeadlineMs - this.offsetMs;
  }

  takeInbox(): readonly Command[] {
    const { inbox } = this;
    this.inbox = [];
    return endedFirst(inbox);
  }

  /** What has come of commands since the last time. */
  takeEffects(): Effects {
    const { out } = this;
    this.out = this.log === null ? { answers: [], changes: [] } : { answers: [], changes: [], events: [] };
    return out;
  }
}

/** What waits for a batch to be flushed. */
interface Held {
  readonly batch: number;
  readonly answers: readonly Answer[];
  readonly events: readonly EngineEvent[];
}

/**
 * What connections said that have ended comes first, each in its order: what arrived in one turn has none between connections, and nobody who is gone is to
 * be granted what somebody else releases (Q7).
 */
function endedFirst(commands: readonly Command[]): readonly Command[] {
  const ended = new Set<string>();
  for (const command of commands) if (command.kind === "disconnect") ended.add(command.address);
  if (ended.size === 0) return commands;
  const isOfEnded = (command: Command) =>
    "address" in command && command.address !== null && ended.has(command.address);
  return [...commands.filter(isOfEnded), ...commands.filter((command) => !isOfEnded(command))];
}
