import type {
  Answer,
  Command,
  DurableChange,
  HoldRecord,
  PreviousRecord,
  RevokedRecord,
} from "../../packages/server/dist/engine/commands.js";
import type { DurableRecord } from "../../packages/server/dist/engine/restore.js";
import type { World } from "./world.js";

interface Holder {
  readonly token: number;
  readonly state: string;
}

interface Previous {
  readonly token: number;
  readonly endedBy: string;
}

interface Forced {
  readonly session: string;
  hasResumed: boolean;
  /** When the news was sent to its holder. */
  toldMs: number;
}

/** What the engine says of a lock. */
export type Look = (lock: string) => readonly Holder[];

/**
 * How holds end, as seen from outside the engine: who holds a lock before and after a command tells it, and the command
 * tells why. Whoever is granted the lock next must be told the same (Q11), and not before its delay is over (L8). What was
 * freed by force is never a hold again (R3).
 */
export class Endings {
  readonly #world: World;
  readonly #lockDelayMs: number;
  readonly #holders = new Map<string, Holder>();
  readonly #previous = new Map<string, Previous>();
  readonly #closedUntilMs = new Map<string, number>();
  /** Session holds that were freed by force, by service and token: until its holder hears of it, two may believe in a lock. */
  readonly #forced = new Map<string, Forced>();
  /** Tokens that were freed by force, as far as that was stored when a server started. */
  readonly #revoked = new Set<string>();

  constructor(world: World, lockDelayMs: number) {
    this.#world = world;
    this.#lockDelayMs = lockDelayMs;
  }

  /** A server has started: what was not durable has never been. */
  restored(service: string, locks: readonly string[], records: readonly DurableRecord[], look: Look): void {
    for (const lock of locks) {
      this.#previous.delete(lock);
      this.#closedUntilMs.delete(lock);
      this.#note(lock, look);
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
      this.#previous.set(id, value as PreviousRecord);
    }
    // Last: what remains of a hold is newer than the record of another that ended before.
    for (const { id, value } of records.filter(({ type }) => type === "hold")) {
      const { name, endedBy, expiresAtMs } = value as HoldRecord;
      if (endedBy === undefined) continue;
      this.#previous.set(name, { token: Number(id), endedBy });
      if (this.#lockDelayMs > 0) this.#closedUntilMs.set(name, expiresAtMs!);
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

  /** @param locks the locks that the command may have changed */
  applied(
    command: Command,
    locks: readonly string[],
    look: Look,
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
    for (const lock of locks) {
      const before = this.#holders.get(lock);
      const after = this.#note(lock, look);
      const isOver = before?.state === "held" && (after?.token !== before.token || after.state !== "held");
      if (isOver) this.#over(lock, before.token, command, after, nowMs);
      else if (command.kind === "force" && before?.state === "closed" && after?.token !== before.token) {
        this.#closedUntilMs.delete(lock);
      }
      if (after === undefined || after.token === before?.token || command.kind === "claim") continue;
      this.#begun(lock, after.token, answers, nowMs);
    }
    if (command.kind === "claim") this.#claimed(command.name, command.token, look);
  }

  #over(lock: string, token: number, command: Command, after: Holder | undefined, nowMs: number): void {
    switch (command.kind) {
      case "release":
      case "unlock":
      case "bye":
        this.#previous.delete(lock);
        return;
      case "force":
        this.#previous.set(lock, { token, endedBy: "force" });
        return;
      case "tick":
      case "sync":
      case "abandon":
        this.#previous.set(lock, { token, endedBy: "expiry" });
        if (this.#lockDelayMs === 0) return;
        this.#closedUntilMs.set(lock, nowMs + this.#lockDelayMs);
        if (after?.token === token) return;
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

  #begun(lock: string, token: number, answers: readonly Answer[], nowMs: number): void {
    const closedUntilMs = this.#closedUntilMs.get(lock) ?? 0;
    if (nowMs < closedUntilMs) {
      this.#world.violate(
        "L8",
        `token ${token} of ${lock} is granted at ${nowMs}, before ${closedUntilMs}`,
        lock,
      );
    }
    this.#closedUntilMs.delete(lock);
    const grant = answers.find(({ message }) => message[0] === "granted" && message[2] === token);
    // Nobody is told of what is granted to somebody whose connection is gone.
    if (grant === undefined) return;
    const told = (grant.message[3] as { previous?: Previous } | undefined)?.previous;
    const last = this.#previous.get(lock);
    if (told?.token === last?.token && told?.endedBy === last?.endedBy) return;
    const words = (previous: Previous | undefined) =>
      previous === undefined ? "nothing" : `token ${previous.token}, ended by ${previous.endedBy}`;
    this.#world.violate(
      "Q11",
      `token ${token} of ${lock} is told of ${words(told)} before it, and it was ${words(last)}`,
      lock,
    );
  }

  #claimed(lock: string, token: number, look: Look): void {
    const service = lock.slice(0, lock.indexOf("/"));
    if (!this.#revoked.has(`${service}/${token}`) || look(lock)[0]?.token !== token) return;
    this.#world.violate("R3", `token ${token} of ${lock} was freed by force, and is held again`, lock);
  }

  #note(lock: string, look: Look): Holder | undefined {
    const [holder] = look(lock);
    if (holder === undefined) this.#holders.delete(lock);
    else this.#holders.set(lock, { token: holder.token, state: holder.state });
    return holder;
  }
}
