import type {
  Answer,
  Command,
  DurableChange,
  HoldRecord,
  PreviousRecord,
  RevokedRecord,
} from "../../packages/server/dist/engine/commands.js";
import type { DurableRecord } from "../../packages/server/dist/engine/packed-holds.js";
import { wantsOf } from "./modes.js";
import type { Locks } from "./view.js";
import type { World } from "./world.js";

interface Previous {
  readonly token: number;
  readonly endedBy: string;
}

/** What remains of a hold that is over. */
interface Closed extends Previous {
  readonly untilMs: number;
}

interface Forced {
  readonly session: string;
  hasResumed: boolean;
  /** When the news was sent to its holder. */
  toldMs: number;
}

/**
 * How holds end, as seen from outside the engine: who holds a lock before and after a command tells it, and the command
 * tells why. Whoever is granted the lock next must be told the same (Q11), and not before its delay is over (L8). What was
 * freed by force is never a hold again (R3).
 */
export class Endings {
  readonly #world: World;
  readonly #lockDelayMs: number;
  /** By lock and token: `held` or `closed`. */
  readonly #holders = new Map<string, ReadonlyMap<number, string>>();
  /** The holds of each lock that were the last to end without their holders' wish; of several in one step any. */
  readonly #previous = new Map<string, readonly Previous[]>();
  /** Those whose lock is closed for its delay, by lock and token. */
  readonly #closed = new Map<string, Map<number, Closed>>();
  /** Locks that unlocks have freed in this step which had waited for the end of a recovery. */
  #unlocked: ReadonlySet<string> = new Set();
  /** Session holds that were freed by force, by service and token: until its holder hears of it, two may believe in a lock. */
  readonly #forced = new Map<string, Forced>();
  /** Tokens that were freed by force, as far as that was stored when a server started. */
  readonly #revoked = new Set<string>();

  constructor(world: World, lockDelayMs: number) {
    this.#world = world;
    this.#lockDelayMs = lockDelayMs;
  }

  /** A server has started: what was not durable has never been. */
  restored(service: string, locks: Locks, records: readonly DurableRecord[]): void {
    for (const lock of locks.keys()) {
      this.#previous.delete(lock);
      this.#closed.delete(lock);
      this.#note(lock, locks);
    }
    const revoked = new Set<string>();
    for (const { type, value } of records) {
      if (type === "revoked") revoked.add(`${service}/${(value as RevokedRecord).token}`);
    }
    for (const key of revoked) this.#revoked.add(key);
    for (const key of this.#forced.keys()) {
      // It was not durable, so it has never been; or its holder has heard of it.
      if (key.startsWith(`${service}/`) && !revoked.has(key)) this.#forced.delete(key);
    }
    for (const { id, value } of records.filter(({ type }) => type === "previous")) {
      this.#previous.set(id, [value as PreviousRecord]);
    }
    for (const { id, value } of records.filter(({ type }) => type === "hold")) {
      const { names, endedBy, expiresAtMs } = value as HoldRecord;
      if (endedBy === undefined) continue;
      const untilMs = this.#lockDelayMs > 0 ? expiresAtMs! : 0;
      for (const { lock } of wantsOf(names)) this.#close(lock, { token: Number(id), endedBy, untilMs });
    }
  }

  /** True for a hold that was freed by force, when its holder has heard nothing of the server since. */
  isForced(service: string, token: number, heardMs: number): boolean {
    const forced = this.#forced.get(`${service}/${token}`);
    return forced !== undefined && heardMs < forced.toldMs;
  }

  /** A frame leaves the server: a loss, or a welcome to who has resumed since, is the news that a holder must hear. */
  audible(session: string | null, text: string, sentMs: number): void {
    for (const [key, forced] of this.#forced) {
      if (forced.session !== session || forced.toldMs !== Number.POSITIVE_INFINITY) continue;
      const isLost = text.includes(`["lost",${key.slice(key.indexOf("/") + 1)},`);
      if (isLost || (forced.hasResumed && text.includes('"welcome"'))) forced.toldMs = sentMs;
    }
  }

  /**
   * @param locks as they are after the command
   * @param unlocked of which locks somebody has been told that his unlock, which had waited, has freed them
   */
  applied(
    command: Command,
    locks: Locks,
    unlocked: ReadonlySet<string>,
    answers: readonly Answer[],
    changes: readonly DurableChange[],
    nowMs: number,
  ): void {
    for (const { type, value } of changes) {
      if (type !== "revoked" || value === null) continue;
      const { token, session } = value;
      const service = session.slice(0, session.indexOf("-"));
      this.#forced.set(`${service}/${token}`, {
        session,
        hasResumed: false,
        toldMs: Number.POSITIVE_INFINITY,
      });
    }
    for (const forced of this.#forced.values()) {
      if (command.kind === "sync" && command.session === forced.session) forced.hasResumed = true;
    }
    this.#unlocked = unlocked;
    /** Locks of each hold that has begun, and those of them that others hold or held beside it. */
    const begun = new Map<number, { lock: string; isAlone: boolean }[]>();
    for (const lock of locks.keys()) {
      const before = this.#holders.get(lock) ?? NOBODY;
      const after = this.#note(lock, locks);
      if (before.size > 0) this.#ended(lock, before, after, command, nowMs);
      for (const token of after.keys()) {
        if (before.has(token)) continue;
        begun.set(token, [
          ...(begun.get(token) ?? []),
          { lock, isAlone: after.size === 1 && before.size < 2 },
        ]);
      }
    }
    if (command.kind === "claim") return this.#claimed(command, locks);
    for (const [token, its] of begun) this.#begun(token, its, answers);
  }

  /** What has become of those who held a lock before a command. */
  #ended(
    lock: string,
    before: ReadonlyMap<number, string>,
    after: ReadonlyMap<number, string>,
    command: Command,
    nowMs: number,
  ): void {
    const last: Previous[] = [];
    for (const [token, state] of before) {
      const now = after.get(token);
      if (state === "held" && now !== "held") this.#over(lock, token, command, now, nowMs, last);
      else if (state === "closed" && now === undefined) this.#opened(lock, token, command, nowMs, last);
    }
    if (last.length > 0) this.#previous.set(lock, last);
  }

  #over(
    lock: string,
    token: number,
    command: Command,
    state: string | undefined,
    nowMs: number,
    last: Previous[],
  ): void {
    switch (this.#unlocked.has(lock) ? "unlock" : command.kind) {
      case "release":
      case "unlock":
      case "bye":
        this.#previous.delete(lock);
        return;
      case "force":
        last.push({ token, endedBy: "force" });
        return;
      case "acquire":
        if (isSteal(command)) return void last.push({ token, endedBy: "force" });
        return this.#world.violate("Q8", `token ${token} of ${lock} is ended by somebody who asks`, lock);
      case "tick":
      case "sync":
      case "abandon":
        if (state === "closed") {
          const untilMs = this.#lockDelayMs === 0 ? 0 : nowMs + this.#lockDelayMs;
          return this.#close(lock, { token, endedBy: "expiry", untilMs });
        }
        last.push({ token, endedBy: "expiry" });
        if (this.#lockDelayMs === 0) return;
        this.#world.violate(
          "L8",
          `${lock} is open after the expiry of token ${token}, without its delay`,
          lock,
        );
        return;
      default:
        // A grant that was taken back, or a claim that another outranks: nobody has worked under it, as far as is known.
        return;
    }
  }

  /** Nothing remains of a hold any more. */
  #opened(lock: string, token: number, command: Command, nowMs: number, last: Previous[]): void {
    const closed = this.#closed.get(lock)?.get(token);
    if (closed === undefined) return;
    this.#closed.get(lock)!.delete(token);
    // A claim with a higher token shows that it was over before the crash.
    if (command.kind === "claim") return;
    last.push(closed);
    const isForced = command.kind === "force" || isSteal(command);
    if (isForced || nowMs >= closed.untilMs) return;
    this.#world.violate("L8", `${lock} is opened at ${nowMs}, before ${closed.untilMs}`, lock);
  }

  #close(lock: string, closed: Closed): void {
    const ofLock = this.#closed.get(lock) ?? new Map<number, Closed>();
    this.#closed.set(lock, ofLock.set(closed.token, closed));
  }

  /** Whoever is granted something is told of the last hold before it that was not given back (Q11). */
  #begun(
    token: number,
    its: readonly { readonly lock: string; readonly isAlone: boolean }[],
    answers: readonly Answer[],
  ): void {
    const grant = answers.find(({ message }) => message[0] === "granted" && message[2] === token);
    // Nobody is told of what is granted to somebody whose connection is gone.
    if (grant === undefined) return;
    const told = (grant.message[3] as { previous?: Previous } | undefined)?.previous;
    const all = its.flatMap(({ lock }) => this.#previous.get(lock) ?? []);
    // Of those beside it some may have begun before the end that it is told of, and some after it.
    const sure = its.filter(({ isAlone }) => isAlone).map(({ lock }) => this.#previous.get(lock) ?? []);
    const oldest = sure.map((last) => (last.length === 0 ? 0 : Math.min(...last.map((each) => each.token))));
    const newest = Math.max(0, ...oldest);
    const isKnown = all.some((last) => last.token === told?.token && last.endedBy === told.endedBy);
    const isCrowded = its.some(({ isAlone }) => !isAlone);
    const isRight = told === undefined ? newest === 0 : (isKnown || isCrowded) && told.token >= newest;
    if (isRight) return;
    const words = (previous: Previous | undefined) =>
      previous === undefined ? "nothing" : `token ${previous.token}, ended by ${previous.endedBy}`;
    const locks = its.map(({ lock }) => lock);
    this.#world.violate(
      "Q11",
      `token ${token} of ${locks.join(" and ")} is told of ${words(told)} before it, and it was ${all.map(words).join(" or ") || "nothing"}`,
      locks,
    );
  }

  #claimed({ token, names }: Extract<Command, { kind: "claim" }>, locks: Locks): void {
    const { lock } = wantsOf(names)[0]!;
    const service = lock.slice(0, lock.indexOf("/"));
    const isHeld = locks.get(lock)!.holders.some((holder) => holder.token === token);
    if (!this.#revoked.has(`${service}/${token}`) || !isHeld) return;
    this.#world.violate("R3", `token ${token} of ${lock} was freed by force, and is held again`, lock);
  }

  #note(lock: string, locks: Locks): ReadonlyMap<number, string> {
    const holders = locks.get(lock)!.holders;
    const noted = holders.length === 0 ? NOBODY : new Map(holders.map(({ token, state }) => [token, state]));
    this.#holders.set(lock, noted);
    return noted;
  }
}

function isSteal(command: Command): boolean {
  return command.kind === "acquire" && command.stolenBy !== null;
}

const NOBODY: ReadonlyMap<number, string> = new Map();
