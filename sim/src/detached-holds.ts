import type { Command, DurableChange, HoldRecord } from "../../packages/server/dist/engine/commands.js";
import { conflict, locksOf, type Want } from "./modes.js";
import type { World } from "./world.js";

const ANSWER_KEPT_MS = 60_000;

/** A detached hold from its grant on. Times are on the lease clock. */
interface DetachedHold {
  readonly service: string;
  readonly wants: readonly Want[];
  readonly token: number;
  readonly expiresAtMs: number;
  readonly durableKey: string | null;
  /** Its maker was told. Before that it may vanish in a crash. */
  told: boolean;
  /** What freed it, as the engine knows it; a crash may undo that until it is durable. */
  freedBy: string | null;
  /** Somebody was told that it is over: it must not come back. */
  isOver: boolean;
}

interface Grant {
  readonly service: string;
  readonly wants: readonly Want[];
  readonly token: number;
  readonly detachedMs: number | null;
  readonly durableKey: string | null;
  readonly nowMs: number;
}

/** Detached holds outlive every crash: an acknowledged one ends at its time, or when somebody frees it, and not else. */
export class DetachedHolds {
  readonly #world: World;
  /** By service and token. */
  readonly #holds = new Map<string, DetachedHold>();
  /** Holds freed by a request, by `client/id`: one request frees one hold (Q6). */
  readonly #freed = new Map<string, string>();

  constructor(world: World) {
    this.#world = world;
  }

  granted({ service, wants, token, detachedMs, durableKey, nowMs }: Grant): void {
    for (const hold of this.#holds.values()) {
      if (hold.service !== service) continue;
      if (isOwed(hold) && hold.expiresAtMs > nowMs && conflict(hold.wants, wants)) {
        this.#world.violate(
          "L9",
          `token ${token} of ${locksOf(wants)} is granted, and the detached hold ${hold.token} lives until ${hold.expiresAtMs} (now ${nowMs})`,
          locksOf(wants),
        );
      }
      const isRepeated =
        detachedMs !== null && durableKey !== null && hold.durableKey === durableKey && hold.told;
      if (isRepeated && hold.expiresAtMs + ANSWER_KEPT_MS > nowMs && hold.freedBy === null) {
        this.#world.violate(
          "Q6",
          `${durableKey} is granted detached ${token}, and was told ${hold.token} before`,
          locksOf(wants),
        );
      }
    }
    // What a lost batch has granted has never been, and its token may be given again.
    this.#holds.delete(`${service}/${token}`);
    if (detachedMs === null) return;
    const expiresAtMs = nowMs + detachedMs;
    const hold = {
      service,
      wants,
      token,
      expiresAtMs,
      durableKey,
      told: false,
      freedBy: null,
      isOver: false,
    };
    this.#holds.set(`${service}/${token}`, hold);
  }

  /** True for a detached hold that nobody was told of yet. */
  isNew(service: string, token: number): boolean {
    const hold = this.#holds.get(`${service}/${token}`);
    return hold !== undefined && !hold.told && hold.freedBy === null;
  }

  told(service: string, token: number): void {
    const hold = this.#holds.get(`${service}/${token}`);
    if (hold !== undefined) hold.told = true;
  }

  /** Somebody was told that this hold is over. */
  over(service: string, token: number): void {
    const hold = this.#holds.get(`${service}/${token}`);
    if (hold !== undefined) hold.isOver = true;
  }

  /** Nobody has freed it, as far as the engine knows. */
  stands(service: string, token: number): boolean {
    return this.#holds.get(`${service}/${token}`)?.freedBy === null;
  }

  /** @param unlocked locks that unlocks have freed which had waited for the end of a recovery */
  changed(
    service: string,
    command: Command,
    unlocked: ReadonlySet<string>,
    changes: readonly DurableChange[],
    nowMs: number,
  ): void {
    for (const change of changes) {
      if (change.type !== "hold") continue;
      const isLetGo = change.value === null || change.value.remainder;
      if (!isLetGo) continue;
      const hold = this.#holds.get(`${service}/${change.id}`);
      if (hold === undefined || hold.freedBy !== null) continue;
      if (hold.wants.some(({ lock }) => unlocked.has(lock))) {
        hold.freedBy = "unlock";
        continue;
      }
      if (command.kind === "tick") {
        if (nowMs < hold.expiresAtMs) this.#early(hold, nowMs);
        hold.freedBy = "expiry";
        continue;
      }
      hold.freedBy = command.kind;
      // A steal frees all who hold the lock.
      if (command.kind === "acquire") continue;
      if ("session" in command && command.session !== null && "id" in command) this.#freedOnce(command, hold);
    }
  }

  restored(service: string, records: ReadonlyMap<number, HoldRecord>, nowMs: number): void {
    for (const hold of this.#holds.values()) {
      if (hold.service !== service) continue;
      const record = records.get(hold.token);
      const isThere = record !== undefined && !record.remainder;
      if (isThere && hold.isOver) {
        this.#world.violate(
          "R1",
          `the detached hold ${hold.token} of ${locksOf(hold.wants)} is back, and its end was told`,
          locksOf(hold.wants),
        );
      }
      if (isThere) {
        hold.freedBy = null;
        this.#neverFreed(hold);
      } else if (isOwed(hold) && hold.expiresAtMs > nowMs) {
        this.#world.violate(
          "L9",
          `the detached hold ${hold.token} of ${locksOf(hold.wants)} is lost in a restart`,
          locksOf(hold.wants),
        );
      }
      // What was never told and is not in the store has never been, and nor has what freed it.
      if (!isThere && !hold.told) {
        hold.freedBy = "crash";
        this.#neverFreed(hold);
      }
    }
  }

  #neverFreed({ service, token }: DetachedHold): void {
    for (const [request, name] of this.#freed) {
      if (name === `${service}/${token}`) this.#freed.delete(request);
    }
  }

  #freedOnce(command: { session: string | null; id: number; kind: string }, hold: DetachedHold): void {
    const client = command.session!.slice(0, command.session!.lastIndexOf("-"));
    const request = `${client}/${command.id}`;
    const name = `${hold.service}/${hold.token}`;
    const before = this.#freed.get(request);
    if (before !== undefined && before !== name) {
      this.#world.violate(
        "Q6",
        `${command.kind} ${request} frees ${name}, and freed ${before} before`,
        locksOf(hold.wants),
      );
    }
    this.#freed.set(request, name);
  }

  #early(hold: DetachedHold, nowMs: number): void {
    const { token, wants, expiresAtMs } = hold;
    this.#world.violate(
      "L9",
      `the detached hold ${token} of ${locksOf(wants)} ends at ${nowMs}, before ${expiresAtMs}`,
      locksOf(wants),
    );
  }
}

function isOwed(hold: DetachedHold): boolean {
  return hold.told && hold.freedBy === null;
}
